"""The section that holds the glasses of a study against measured ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from napos_lmp.errors import AnalysisError
from napos_lmp.experiment import (
    ROOM_TEMPERATURE,
    SAME_GLASS,
    SAME_TEMPERATURE,
    USER_FILE,
    Reference,
    experiment_values,
    references_for,
)
from napos_lmp.report.collect import Glass, StudyView
from napos_lmp.report.glass import unit_name
from napos_lmp.report.html import Block, Section, Tabular, Text
from napos_lmp.report.numbers import Cell, Number, Table
from napos_lmp.report.temperature import activation_energy, conductivity_at

_SAME_CONDUCTIVITY_TEMPERATURE = 1.0
_EXACT = 1e-4
_COLUMNS = ("Quantity", "Simulation", "Experiment", "z", "Judgement", "Source")
_LABELS = {
    "density": "Density",
    "glass_transition": "Glass transition",
    "conductivity": "Conductivity",
    "activation_energy": "Activation energy",
    "mean_n": "Mean number of bridging anions",
}


@dataclass(frozen=True)
class Comparison:
    """One measured value beside that of the simulation.

    Attributes
    ----------
    reference
        What was measured.
    label
        What is compared, with the temperature of the simulation.
    simulated
        The simulation's value, refused with the reason where there is none to compare.
    z
        Deviation in standard deviations; None where there is none.
    reason
        Why there is no z; "" where there is.
    """

    reference: Reference
    label: str
    simulated: Number
    z: float | None
    reason: str

    @property
    def judgement(self) -> str:
        """In words how far apart they are."""
        if self.z is None:
            return "no interval" if self.simulated.value is not None else "not comparable"
        if abs(self.z) > 3:
            return "▲▲ off by more than 3 σ"
        return "▲ off by more than 2 σ" if abs(self.z) > 2 else "agrees within 2 σ"


def experiment_section(study: StudyView) -> Section | None:
    """The glasses of a study against measured values; None where none is known for any of them.

    Values of the user's are read from ``experiment.yaml`` in the folder of the study.

    Raises
    ------
    AnalysisError
        If the user's file is unfit.
    """
    tables = []
    found: list[Comparison] = []
    for glass, comparisons in compare(study):
        found.extend(comparisons)
        caption = f"{glass.label} against experiment"
        tables.append(
            Table(f"experiment-{glass.anchor}", caption, _COLUMNS, tuple(_row(glass, each) for each in comparisons))
        )
    if not tables:
        return None
    blocks: list[Block] = [Text(_summary(found)), *(Tabular(table) for table in tables), Text(_how_to_read(), "note")]
    return Section("experiment", "Against experiment", "Against experiment", tuple(blocks))


def compare(study: StudyView) -> Iterator[tuple[Glass, list[Comparison]]]:
    """Each glass of a study for which values are known, and what comes of them; crystals are not compared.

    Raises
    ------
    AnalysisError
        If the user's file is unfit.
    """
    own = study.folder / USER_FILE
    references = experiment_values(own if own.is_file() else None)
    for glass in study.glasses:
        if glass.composition is None or _is_crystal(glass):
            continue
        if matching := references_for(glass.composition, references):
            yield glass, [_compared(glass, reference) for reference in matching]


def _compared(glass: Glass, reference: Reference) -> Comparison:
    label, simulated = _simulated(glass, reference)
    if simulated.value is None:
        return Comparison(reference, label, simulated, None, simulated.refused)
    ends = simulated.ends
    if ends is None:
        return Comparison(reference, label, simulated, None, simulated.note or "the simulation gives no interval")
    try:
        return Comparison(reference, label, simulated, reference.z_score(simulated.value, *ends), "")
    except AnalysisError as error:
        return Comparison(reference, label, simulated, None, str(error))


def _simulated(glass: Glass, reference: Reference) -> tuple[str, Number]:
    """What is compared, and the simulation's number."""
    name = _name(glass, reference)
    if reference.kind == "activation_energy":
        return name, activation_energy(glass)
    key = _own_key(glass, reference.key)
    if reference.temperature is None:
        found = glass.coldest(key)
        return name, found[1] if found else Number.of_refusal(reference.unit, "it was not measured in the simulation")
    allowed = _SAME_CONDUCTIVITY_TEMPERATURE if reference.kind == "conductivity" else SAME_TEMPERATURE
    nearest = min(glass.temperatures(key), key=lambda t: abs(t - (reference.temperature or 0)), default=None)
    if nearest is not None and abs(nearest - reference.temperature) <= allowed:
        return f"{name} at {nearest:.0f} K", glass.number(key, nearest)
    if reference.kind == "conductivity":
        number = conductivity_at(glass, reference.temperature)
        return f"{name}, Arrhenius line drawn to {reference.temperature:.0f} K", number
    looked = f"at {nearest:.0f} K at the nearest" if nearest is not None else "at no temperature"
    reason = f"measured at {reference.temperature:.0f} K in experiment, {looked} in the simulation"
    return name, Number.of_refusal(reference.unit, reason)


def _own_key(glass: Glass, key: str) -> str:
    """The key as the glass's results have it: pairs of elements stand in either order."""
    kind, _, pair = key.partition(".")
    first, dash, second = pair.partition("-")
    other = f"{kind}.{second}-{first}"
    return other if dash and not glass.temperatures(key) and glass.temperatures(other) else key


def _name(glass: Glass, reference: Reference) -> str:
    kind, _, rest = reference.key.partition(".")
    if kind in _LABELS:
        return _LABELS[kind]
    if kind == "unit":
        former, _, bridges = rest.partition(".n")
        return f"{unit_name(former, int(bridges))}, share of {former}"
    key = _own_key(glass, reference.key)
    found = next((m.quantity.label for m in glass.measurements(key) if m.quantity.label), "")
    return found[:1].upper() + found[1:] if found else reference.key


def _row(glass: Glass, compared: Comparison) -> tuple[Cell, ...]:
    reference = compared.reference
    unit = reference.unit.replace("^3", "³")
    low, high = reference.ends
    notes = [f"uncertainty: {reference.uncertainty_from}"]
    if glass.composition is not None and reference.offset(glass.composition) > _EXACT:
        notes.append(f"measured on {reference.glass}")
    if reference.note:
        notes.append(reference.note)
    measured = Number(reference.value, unit, low, high, basis="reference", note="; ".join(notes))
    simulated, z = compared.simulated, compared.z
    if z is None and simulated.value is not None:
        simulated = replace(simulated, note=compared.reason)
    score: Cell = "–" if z is None else Number(z, "σ", basis="reference", decimals=1)
    return (compared.label, simulated, measured, score, compared.judgement, reference.source)


def _is_crystal(glass: Glass) -> bool:
    return all(deck.manifest.label.partition(",")[0].endswith("-crystal") for deck in glass.makers or glass.decks)


def _summary(found: list[Comparison]) -> str:
    scores = [abs(each.z) for each in found if each.z is not None]
    left = len(found) - len(scores)
    text = (
        f"{len(scores)} of {len(found)} measured values can be compared: {sum(z <= 2 for z in scores)} agree within "
        f"two standard deviations, {sum(2 < z <= 3 for z in scores)} are off by more than two (▲), "
        f"{sum(z > 3 for z in scores)} by more than three (▲▲)."
    )
    return text + (f" {left} cannot; the notes under each table say why." if left else "")


def _how_to_read() -> str:
    return (
        "z is the simulation minus the experiment over the standard deviation of their difference, from the interval "
        "of the simulation and the uncertainty of the experiment (shown at the 95 % level). It says nothing of errors "
        "that the interval does not hold: cells too small, quenches many orders of magnitude faster than in the "
        f"laboratory. Glasses are matched within {SAME_GLASS:g} in each mole fraction, temperatures within "
        f"{SAME_TEMPERATURE:g} K; a conductivity is compared at the temperature of the measurement, "
        f"{ROOM_TEMPERATURE:.0f} K for most, which is where the Arrhenius line is drawn to, far below the temperatures "
        "that were simulated."
    )
