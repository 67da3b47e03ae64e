"""Conductivity of one glass over temperature."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napos_lmp.analysis.arrhenius import Arrhenius, ArrheniusResult
from napos_lmp.analysis.base import Estimate
from napos_lmp.errors import AnalysisError
from napos_lmp.report.collect import Glass
from napos_lmp.report.numbers import Cell, Number, Table

Floats = NDArray[np.float64]

_ROOM_TEMPERATURE = 300.0


def valued_points(glass: Glass) -> tuple[Floats, Sequence[Number]]:
    """Temperatures in K at which the conductivity was determined, and the conductivities there."""
    points = [(t, glass.number("conductivity", t)) for t in glass.temperatures("conductivity")]
    known = [(t, number) for t, number in points if number.value is not None]
    return np.array([t for t, _ in known]), [number for _, number in known]


def activation_energy(glass: Glass) -> Number:
    """Activation energy of conductivity times temperature, in eV."""
    fit = _fit(glass)
    return Number.of_refusal("eV", fit) if isinstance(fit, str) else _number(fit.activation_energy, fit)


def arrhenius_line(glass: Glass) -> tuple[Floats, Floats] | None:
    """Temperatures in K and fitted conductivities in S/cm between the lowest and highest; None without a fit."""
    fit = _fit(glass)
    if isinstance(fit, str):
        return None
    temperatures = np.linspace(fit.temperatures[0], fit.temperatures[-1], 60)
    return temperatures, fit.at(temperatures)


def arrhenius_table(glass: Glass) -> Table | None:
    """Activation energy, prefactor and the conductivity at room temperature; None without a fit."""
    fit = _fit(glass)
    if isinstance(fit, str):
        return None
    rows: tuple[tuple[Cell, ...], ...] = (
        ("Activation energy", _number(fit.activation_energy, fit)),
        ("Prefactor of σT", _number(fit.prefactor, fit)),
        (f"Conductivity, line drawn to {_ROOM_TEMPERATURE:.0f} K", _number(fit.prediction, fit)),
    )
    return Table(f"arrhenius-{glass.anchor}", "Arrhenius fit of σT", ("Quantity", "Value"), rows)


def conductivity_at(glass: Glass, temperature: float) -> Number:
    """Conductivity in S/cm where the Arrhenius line is drawn to a temperature in K."""
    fit = _fit(glass, temperature)
    return Number.of_refusal("S/cm", fit) if isinstance(fit, str) else _number(fit.prediction, fit)


def _fit(glass: Glass, prediction_temperature: float = _ROOM_TEMPERATURE) -> ArrheniusResult | str:
    """The fit, or why there is none."""
    temperatures, numbers = valued_points(glass)
    if len(temperatures) < 2:
        known = f"it is known at {temperatures[0]:.0f} K only" if len(temperatures) else "it is known at none"
        return f"an Arrhenius fit needs the conductivity at two temperatures; {known}"
    bounded = all(number.has_interval for number in numbers)
    values = [_estimate(number, bounded=bounded) for number in numbers]
    try:
        return Arrhenius(temperatures.tolist(), values, prediction_temperature=prediction_temperature).run()
    except AnalysisError as error:
        return str(error)


def _estimate(number: Number, *, bounded: bool) -> Estimate:
    low, high = (number.ends or (math.nan, math.nan)) if bounded else (math.nan, math.nan)
    return Estimate(math.nan if number.value is None else number.value, low, high, number.unit)


def _number(estimate: Estimate, fit: ArrheniusResult) -> Number:
    known = math.isfinite(estimate.low) and math.isfinite(estimate.high)
    note = "; ".join(filter(None, (estimate.note, f"interval from {fit.interval_from}" if known else "")))
    low, high = (estimate.low, estimate.high) if known else (None, None)
    return Number(
        estimate.value, estimate.unit, low, high, estimate.level, f"{len(fit.temperatures)} temperatures", note
    )
