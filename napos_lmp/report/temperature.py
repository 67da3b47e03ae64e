"""Conductivity of one glass over temperature, and what the experiments that are known say beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from napos_lmp.analysis.base import Estimate
from napos_lmp.analysis.transport.arrhenius import ArrheniusResult
from napos_lmp.analysis.transport.vogel import TemperatureLaw, TemperatureLawResult
from napos_lmp.errors import AnalysisError
from napos_lmp.experiment import Reference, experiment_values, references_for
from napos_lmp.report.collect import Glass
from napos_lmp.report.figures.transport import arrhenius
from napos_lmp.report.html import Block, Figure, Tabular, Text
from napos_lmp.report.numbers import Cell, Number, Table

Floats = NDArray[np.float64]

CONDUCTIVITIES = {
    "conductivity": "Nernst-Einstein",
    "conductivity.collective": "Einstein-Helfand",
    "conductivity.green_kubo": "Green-Kubo",
}
"""The ways to a conductivity, by the keys of their quantities."""

_ROOM_TEMPERATURE = 300.0


def valued_points(glass: Glass, key: str = "conductivity") -> tuple[Floats, Sequence[Number]]:
    """Temperatures in K at which the conductivity was determined, and the conductivities there."""
    points = [(t, glass.number(key, t)) for t in glass.temperatures(key)]
    known = [(t, number) for t, number in points if number.value is not None]
    return np.array([t for t, _ in known]), [number for _, number in known]


def activation_energy(glass: Glass) -> Number:
    """Activation energy of conductivity times temperature, in eV."""
    fit = _law(glass)
    return Number.of_refusal("eV", fit) if isinstance(fit, str) else _number(fit.arrhenius.activation_energy, fit)


def arrhenius_line(glass: Glass, key: str = "conductivity") -> tuple[Floats, Floats] | None:
    """Temperatures in K and fitted conductivities in S/cm between the lowest and highest; None without a fit."""
    fit = _law(glass, key=key)
    if isinstance(fit, str):
        return None
    temperatures = np.linspace(fit.arrhenius.temperatures[0], fit.arrhenius.temperatures[-1], 60)
    return temperatures, fit.arrhenius.at(temperatures)


def arrhenius_table(glass: Glass, references: Sequence[Reference] | None = None) -> Table | None:
    """Fitted parameters, the law that the points follow and the conductivity at room temperature; None without a fit.

    `references` are measured values, those that come with the package where it is None.
    """
    fit = _law(glass, glass_transition=glass_transition(glass, references))
    if isinstance(fit, str):
        return None
    line = fit.arrhenius
    rows: list[tuple[Cell, ...]] = [
        ("Activation energy", _number(line.activation_energy, fit)),
        ("Prefactor of σT", _number(line.prefactor, fit)),
        *_other_energies(glass),
    ]
    if line.n_glasses > 1:
        spread = Number(100 * line.glass_spread, "%", basis=f"{line.n_glasses} glasses", note="one standard deviation")
        rows.append(("Glasses differ in σ by", spread))
    if fit.vogel is not None:
        rows.append(("T₀ of a VTF law that fits", _plain(fit.vogel.vogel_temperature, "0 is the Arrhenius law")))
    if line.extrapolated:
        rows.append((f"Conductivity at {_ROOM_TEMPERATURE:.0f} K", _predicted(fit)))
        rows.append(
            (f"The same if the Arrhenius law holds to {_ROOM_TEMPERATURE:.0f} K", _number(line.prediction, fit))
        )
    else:
        rows.append((f"Conductivity at {_ROOM_TEMPERATURE:.0f} K, from the line", _number(line.prediction, fit)))
    caption = f"Temperature dependence of σT ({fit.reason})"
    return Table(f"arrhenius-{glass.anchor}", caption, ("Quantity", "Value"), tuple(rows))


def _other_energies(glass: Glass) -> Iterable[tuple[str, Number]]:
    """Activation energies of the conductivities with correlations between ions, where they have fits."""
    for key, way in CONDUCTIVITIES.items():
        fit = _law(glass, key=key)
        if key != "conductivity" and not isinstance(fit, str):
            yield f"Activation energy, {way}", _number(fit.arrhenius.activation_energy, fit)


def conductivity_at(glass: Glass, temperature: float) -> Number:
    """Conductivity in S/cm where the Arrhenius line is drawn to a temperature in K."""
    fit = _law(glass, temperature)
    return Number.of_refusal("S/cm", fit) if isinstance(fit, str) else _number(fit.arrhenius.prediction, fit)


def temperature_blocks(glass: Glass, references: Sequence[Reference] | None = None) -> Iterable[Block]:
    """Figure, table and warnings on conductivity over temperature; nothing below two temperatures but one sentence.

    `references` are measured values, those that come with the package where it is None.
    """
    if len(valued_points(glass)[0]) == 0:
        return
    fit = _law(glass, glass_transition=glass_transition(glass, references))
    if isinstance(fit, str):
        yield Text(f"No temperature dependence: {fit}.", "note")
        return
    measured = measured_conductivities(glass, references)
    extended = _extended(fit.arrhenius, measured)
    points = {way: valued_points(glass, key) for key, way in CONDUCTIVITIES.items()}
    lines = {way: line for key, way in CONDUCTIVITIES.items() if (line := arrhenius_line(glass, key)) is not None}
    yield Figure(
        arrhenius(
            {way: known for way, known in points.items() if len(known[0])}, lines, "S/cm", "σ",
            experiment=measured, extended={CONDUCTIVITIES["conductivity"]: extended} if extended else None,
        ),
        f"Conductivity of {glass.label} against inverse temperature",
        "Conductivity against inverse temperature, of independent ions (Nernst-Einstein) and with correlations between "
        "them, with Arrhenius lines" + ("." if measured is None else "; open: experiment."),
    )  # fmt: skip
    if (table := arrhenius_table(glass, references)) is not None:
        yield Tabular(table)
    yield from (Text(f"{sentence[:1].upper()}{sentence[1:]}.", "alert") for sentence in fit.warnings)


def glass_transition(glass: Glass, references: Sequence[Reference] | None = None) -> float | None:
    """Tg in K: of the simulation where a deck cooled through it, else the measured one of the nearest glass."""
    found = glass.coldest("glass_transition")
    if found is not None and found[1].value is not None:
        return found[1].value
    return next((each.value for each in _references(glass, references) if each.key == "glass_transition"), None)


def measured_conductivities(
    glass: Glass, references: Sequence[Reference] | None = None
) -> tuple[Floats, Sequence[Number]] | None:
    """Temperatures in K and measured conductivities of a glass; None where none is known."""
    found = [each for each in _references(glass, references) if each.key == "conductivity" and each.temperature]
    if not found:
        return None
    numbers = [Number(each.value, "S/cm", *each.ends, basis="reference", note=each.source) for each in found]
    return np.array([each.temperature for each in found], dtype=np.float64), numbers


def _references(glass: Glass, references: Sequence[Reference] | None) -> list[Reference]:
    if glass.composition is None:
        return []
    return references_for(glass.composition, experiment_values() if references is None else references)


def _extended(fit: ArrheniusResult, measured: tuple[Floats, Sequence[Number]] | None) -> tuple[Floats, Floats] | None:
    """The line from the coldest point down to the coldest measured one."""
    if measured is None or measured[0].min() >= fit.temperatures[0]:
        return None
    temperatures = 1 / np.linspace(1 / fit.temperatures[0], 1 / measured[0].min(), 60)
    return temperatures, fit.at(temperatures)


def _law(
    glass: Glass,
    prediction_temperature: float = _ROOM_TEMPERATURE,
    glass_transition: float | None = None,
    key: str = "conductivity",
) -> TemperatureLawResult | str:
    """The fits, or why there are none: each run a value, those of one seed sharing a glass."""
    points = [
        (stage.temperature_K, deck.manifest.seed, quantity)
        for deck in glass.decks
        for stage in (deck.result.stages if deck.result else ())
        if (quantity := stage.get(key)) and quantity.value is not None and stage.temperature_K is not None
    ]
    distinct = sorted({temperature for temperature, _, _ in points})
    if len(distinct) < 2:
        known = f"it is known at {distinct[0]:.0f} K only" if distinct else "it is known at none"
        return f"an Arrhenius fit needs the conductivity at two temperatures; {known}"
    bounded = all(quantity.low is not None and quantity.high is not None for _, _, quantity in points)
    try:
        return TemperatureLaw(
            [temperature for temperature, _, _ in points],
            [_estimate(q.value, q.low if bounded else None, q.high if bounded else None) for _, _, q in points],
            glasses=[seed for _, seed, _ in points],
            prediction_temperature=prediction_temperature,
            glass_transition=glass_transition,
        ).run()
    except AnalysisError as error:
        return str(error)


def _estimate(value: float | None, low: float | None, high: float | None) -> Estimate:
    middle, below, above = (math.nan if number is None else number for number in (value, low, high))
    return Estimate(middle, below, above, "S/cm")


def _predicted(fit: TemperatureLawResult) -> Number:
    if not math.isfinite(fit.prediction.value):
        return Number.of_refusal(fit.prediction.unit, fit.prediction.note)
    return _plain(fit.prediction, f"{fit.law}: {fit.reason}")


def _plain(estimate: Estimate, note: str) -> Number:
    return Number(estimate.value, estimate.unit, estimate.low, estimate.high, estimate.level, "fit", note)


def _number(estimate: Estimate, law: TemperatureLawResult) -> Number:
    fit = law.arrhenius
    known = math.isfinite(estimate.low) and math.isfinite(estimate.high)
    note = "; ".join(filter(None, (estimate.note, f"interval from {fit.interval_from}" if known else "")))
    low, high = (estimate.low, estimate.high) if known else (None, None)
    distinct = len(set(fit.temperatures.tolist()))
    return Number(estimate.value, estimate.unit, low, high, estimate.level, f"{distinct} temperatures", note)
