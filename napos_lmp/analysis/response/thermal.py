"""Density, thermal expansion, heat capacity and glass transition from runs that cool at constant pressure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.base import Estimate, Floats, Result, plot_axes
from napos_lmp.analysis.response.broken_line import (
    BrokenLine,
    Curve,
    curve_of,
    fit_broken_line,
    fit_line,
    joined_points,
)
from napos_lmp.errors import AnalysisError
from napos_lmp.manifest import StageRecord
from napos_lmp.trajectory import DeckTrajectory

Property = Literal["volume", "enthalpy"]

EV_IN_J_PER_MOL = 96485.33212
BAR_A3_IN_EV = 6.241509074e-7
SIGNIFICANCE = 0.01
_HELD_SHARE = 0.5
_SHOWN = 200
_UNITS = {"volume": "A3_per_atom", "enthalpy": "eV_per_atom"}
_AXES = {"volume": "volume (Å³ per atom)", "enthalpy": "enthalpy (eV per atom)"}


@dataclass(frozen=True)
class CoolingCurve(Result):
    """Volume and enthalpy against the temperature that the thermostat was set to.

    A ramp gives each line of its log, a hold at one temperature the mean of its second half.

    Attributes
    ----------
    temperatures
        Shape (n,), K.
    volumes
        Shape (n,), A^3 for each atom.
    enthalpies
        Shape (n,), eV for each atom: total energy and pV at the pressure that the barostat was set to.
    densities
        Shape (n,), g/cm^3.
    rate
        Mean cooling rate in K/ps.
    stages
        Names of the stages.
    """

    temperatures: Floats
    volumes: Floats
    enthalpies: Floats
    densities: Floats
    rate: float
    stages: tuple[str, ...]

    def of(self, quantity: Property) -> Floats:
        """The volumes or the enthalpies."""
        return self.volumes if quantity == "volume" else self.enthalpies

    def columns(self) -> Mapping[str, ArrayLike]:
        """Temperature, volume, enthalpy and density."""
        return {
            "temperature_K": self.temperatures,
            "volume_A3_per_atom": self.volumes,
            "enthalpy_eV_per_atom": self.enthalpies,
            "density_g_cm3": self.densities,
        }

    def plot(self, ax: Any = None) -> Any:
        """Draw the density against temperature; returns the axes."""
        ax = plot_axes(ax)
        ax.plot(self.temperatures, self.densities, ".", ms=3)
        ax.set_xlabel("temperature (K)")
        ax.set_ylabel("density (g/cm³)")
        return ax


def read_cooling_curve(source: DeckTrajectory | str | Path, stages: tuple[str, ...] | None = None) -> CoolingCurve:
    """The cooling of a deck, from its log.

    Parameters
    ----------
    source
        The deck or its folder.
    stages
        Names of stages at constant pressure; all quenches at constant pressure unless given.

    Raises
    ------
    DeckError
        If the folder is no deck, or has no such stage.
    AnalysisError
        If no stage cools at constant pressure, or a stage named is not at constant pressure.
    TrajectoryError
        If the log of a stage has no line.
    """
    trajectory = source if isinstance(source, DeckTrajectory) else DeckTrajectory(source)
    manifest = trajectory.manifest
    if stages is None:
        chosen = [stage for stage in manifest.stages if stage.kind == "quench" and stage.ensemble == "npt"]
        if not chosen:
            raise AnalysisError(f"deck {trajectory.folder} has no stage that cools at constant pressure (quench, npt)")
    else:
        chosen = [manifest.stage(name) for name in stages]
        for stage in chosen:
            if stage.ensemble != "npt":
                raise AnalysisError(f"stage {stage.name} has the ensemble {stage.ensemble}; it must be npt")
    n_atoms = manifest.structure.n_atoms
    parts = [_points(trajectory, stage, n_atoms) for stage in chosen]
    columns = np.concatenate(parts)
    return CoolingCurve(
        temperatures=columns[:, 0],
        volumes=columns[:, 1],
        enthalpies=columns[:, 2],
        densities=columns[:, 3],
        rate=_rate(chosen, manifest.timestep_ps),
        stages=tuple(stage.name for stage in chosen),
    )


@dataclass(frozen=True)
class ThermalExpansionResult(Result):
    """Slope of volume or enthalpy against temperature within a window.

    Attributes
    ----------
    quantity
        "volume" or "enthalpy".
    window
        Lowest and highest temperature fitted, K.
    value
        Volume (A^3/atom) or enthalpy (eV/atom) at the middle of the fitted points.
    volumetric, linear
        Expansion coefficients in 1/K, relative to `value`; None for the enthalpy.
    heat_capacity
        At constant pressure in J/(mol K), for a mole of atoms; None for the volume. Classical: nuclear quantum effects
        and electrons are not in it.
    temperatures, values
        Points of the fit, joined to at most 200, K and A^3/atom or eV/atom.
    line
        The line at these temperatures.
    """

    quantity: Property
    window: tuple[float, float]
    value: Estimate
    volumetric: Estimate | None
    linear: Estimate | None
    heat_capacity: Estimate | None
    temperatures: Floats
    values: Floats
    line: Floats

    def columns(self) -> Mapping[str, ArrayLike]:
        """Temperature, value and line."""
        unit = f"{self.quantity}_{_UNITS[self.quantity]}"
        return {"temperature_K": self.temperatures, unit: self.values, f"line_{_UNITS[self.quantity]}": self.line}

    def plot(self, ax: Any = None) -> Any:
        """Draw points and line; returns the axes."""
        return _draw(plot_axes(ax), self.quantity, self.temperatures, self.values, self.line)


class ThermalExpansion:
    r"""Straight line through volume (or enthalpy) against temperature.

    .. math:: \alpha_V = \frac{1}{V}\frac{dV}{dT}, \quad \alpha_L = \alpha_V / 3, \quad C_p = \frac{dH}{dT}

    V is the volume at the mean temperature of the points. The 95 % intervals are Student's t for as many independent
    points as the autocorrelation about the line leaves.

    Parameters
    ----------
    source
        A cooling curve, or a deck's folder.
    quantity
        "volume" or "enthalpy".
    window
        Lowest and highest temperature in K; all unless given.

    Raises
    ------
    AnalysisError
        If fewer than 12 points lie in the window.
    """

    def __init__(
        self,
        source: CoolingCurve | str | Path,
        quantity: Property = "volume",
        window: tuple[float, float] | None = None,
    ) -> None:
        self._quantity = quantity
        self._curve = _curve(source, quantity, window)

    def run(self) -> ThermalExpansionResult:
        """Fit the line."""
        curve = self._curve
        line = fit_line(curve)
        bent = f"the curve bends within the window (p = {line.bend_p_value:.2g}): this is its mean slope"
        note = bent if line.bend_p_value < SIGNIFICANCE else ""
        slope = line.slope, line.slope_error * line.quantile
        half = line.y0_error * line.quantile
        unit = "A^3/atom" if self._quantity == "volume" else "eV/atom"
        is_volume = self._quantity == "volume"
        volumetric = _scaled(slope, 1 / line.y0, "1/K", note) if is_volume else None
        shown = joined_points(curve, _SHOWN)
        return ThermalExpansionResult(
            quantity=self._quantity,
            window=(float(curve.x[0]), float(curve.x[-1])),
            value=Estimate(line.y0, line.y0 - half, line.y0 + half, unit, note=f"at {line.x0:.0f} K"),
            volumetric=volumetric,
            linear=volumetric.scaled(1 / 3, "1/K") if volumetric else None,
            heat_capacity=None if is_volume else _scaled(slope, EV_IN_J_PER_MOL, "J/(mol K)", note),
            temperatures=shown.x,
            values=shown.y,
            line=line.y0 + line.slope * (shown.x - line.x0),
        )


@dataclass(frozen=True)
class GlassTransitionResult(Result):
    """Break of volume or enthalpy against temperature.

    Attributes
    ----------
    quantity
        "volume" or "enthalpy".
    transition
        Tg in K: where the lines of glass and liquid meet, with its 95 % interval (profile likelihood). Other cooling
        rates and other replicas are not in it.
    glass, liquid
        Below and above Tg: volumetric expansion coefficient in 1/K, or heat capacity in J/(mol K) for a mole of atoms.
    line_p_value
        Probability of a break as clear in a straight line.
    rate
        Cooling rate, K/ps; NaN where it is not known.
    temperatures, values, line
        Points joined to at most 200, and the broken line there; K and A^3/atom or eV/atom.
    """

    quantity: Property
    transition: Estimate
    glass: Estimate
    liquid: Estimate
    line_p_value: float
    rate: float
    temperatures: Floats
    values: Floats
    line: Floats

    def columns(self) -> Mapping[str, ArrayLike]:
        """Temperature, value and broken line."""
        unit = f"{self.quantity}_{_UNITS[self.quantity]}"
        return {"temperature_K": self.temperatures, unit: self.values, f"line_{_UNITS[self.quantity]}": self.line}

    def plot(self, ax: Any = None) -> Any:
        """Draw points, lines and the interval of Tg; returns the axes."""
        ax = _draw(plot_axes(ax), self.quantity, self.temperatures, self.values, self.line)
        ax.axvspan(self.transition.low, self.transition.high, color="0.9", zorder=0, label=f"Tg {self.transition}")
        ax.legend()
        return ax


class GlassTransition:
    """Glass transition where volume or enthalpy against temperature breaks.

    Two straight lines that meet are fitted by least squares, each side weighted by its scatter; see
    :func:`napos_lmp.analysis.response.broken_line.fit_broken_line`. The break of a cooling run is that of its rate,
    some 10^9 times those of the laboratory, and lies above the Tg of an experiment.

    Parameters
    ----------
    source
        A cooling curve, or a deck's folder.
    quantity
        "volume" or "enthalpy".
    window
        Lowest and highest temperature in K; all unless given.

    Raises
    ------
    AnalysisError
        If fewer than 12 points lie in the window.
    """

    def __init__(
        self,
        source: CoolingCurve | str | Path,
        quantity: Property = "volume",
        window: tuple[float, float] | None = None,
    ) -> None:
        source = source if isinstance(source, CoolingCurve) else read_cooling_curve(source)
        self._quantity, self._rate = quantity, source.rate
        self._curve = _curve(source, quantity, window)

    def run(self) -> GlassTransitionResult:
        """Fit the lines.

        Raises
        ------
        AnalysisError
            If one line, or a parabola, describes the points as well; if the slope does not rise; or if the break cannot
            be told from one at an end of the range.
        """
        curve = self._curve
        found = fit_broken_line(curve)
        _refuse(found, self._quantity)
        scale = 1 / found.y if self._quantity == "volume" else EV_IN_J_PER_MOL
        unit = "1/K" if self._quantity == "volume" else "J/(mol K)"
        sides = [
            _scaled((slope, error * found.quantile), scale, unit, "at the break as fitted")
            for slope, error in zip(found.slopes, found.slope_errors, strict=True)
        ]
        shown = joined_points(curve, _SHOWN)
        note = "of one cooling run at its rate" if math.isnan(self._rate) else f"of one run at {self._rate:.3g} K/ps"
        return GlassTransitionResult(
            quantity=self._quantity,
            transition=Estimate(found.x, found.low, found.high, "K", note=note),
            glass=sides[0],
            liquid=sides[1],
            line_p_value=found.line_p_value,
            rate=self._rate,
            temperatures=shown.x,
            values=shown.y,
            line=found.at(shown.x),
        )


def _refuse(found: BrokenLine, quantity: str) -> None:
    if found.line_p_value > SIGNIFICANCE:
        raise AnalysisError(
            f"one straight line describes the {quantity} as well as two (p = {found.line_p_value:.2g}): there is no "
            "glass transition to be seen in this range"
        )
    if found.parabola_wins:
        raise AnalysisError(
            f"a parabola describes the {quantity} as well as two lines: it bends evenly and has no break in this range"
        )
    if found.slopes[1] <= found.slopes[0]:
        raise AnalysisError(
            f"the {quantity} rises less steeply above its break at {found.x:.0f} K than below it; that is no glass "
            "transition"
        )
    if not (math.isfinite(found.low) and math.isfinite(found.high)):
        raise AnalysisError(
            f"the break of the {quantity}, near {found.x:.0f} K, cannot be told from one at an end of the range "
            f"{found.first:.0f} to {found.last:.0f} K; cool through a wider one"
        )


def _rate(stages: list[StageRecord], timestep_ps: float) -> float:
    """Fall of temperature over the time it took; a hold at the beginning has reached its temperature already."""
    first = stages[0]
    held = first.temperature_start_K == first.temperature_stop_K
    begin = first.last_step if held else first.first_step
    fall = float(first.temperature_start_K or 0) - float(stages[-1].temperature_stop_K or 0)
    steps = stages[-1].last_step - begin
    return fall / (steps * timestep_ps) if steps else math.nan


def _points(trajectory: DeckTrajectory, stage: StageRecord, n_atoms: int) -> Floats:
    """Columns temperature, volume, enthalpy and density of one stage."""
    thermo = trajectory.thermo(stage.name)
    start, stop = float(stage.temperature_start_K or 0), float(stage.temperature_stop_K or 0)
    share = (thermo["Step"] - stage.first_step) / (stage.last_step - stage.first_step)
    volume = thermo["Volume"] / n_atoms
    enthalpy = thermo["TotEng"] / n_atoms + float(stage.pressure_bar or 0) * BAR_A3_IN_EV * volume
    columns = np.column_stack([start + share * (stop - start), volume, enthalpy, thermo["Density"]])
    if start != stop:
        return columns
    late = columns[share > 1 - _HELD_SHARE]
    if not len(late):
        raise AnalysisError(f"stage {stage.name} has no line of its log in its second half; it has not finished")
    return np.asarray(late.mean(axis=0, keepdims=True))


def _curve(source: CoolingCurve | str | Path, quantity: Property, window: tuple[float, float] | None) -> Curve:
    cooling = source if isinstance(source, CoolingCurve) else read_cooling_curve(source)
    low, high = window or (-math.inf, math.inf)
    inside = (cooling.temperatures >= low) & (cooling.temperatures <= high)
    return curve_of(cooling.temperatures[inside], cooling.of(quantity)[inside])


def _scaled(slope: tuple[float, float], factor: float, unit: str, note: str) -> Estimate:
    value, half = slope[0] * factor, slope[1] * factor
    return Estimate(value, value - half, value + half, unit, note=note)


def _draw(ax: Any, quantity: str, temperatures: Floats, values: Floats, line: Floats) -> Any:
    ax.plot(temperatures, values, ".", ms=4)
    ax.plot(temperatures, line, "-", color="0.3")
    ax.set_xlabel("temperature (K)")
    ax.set_ylabel(_AXES[quantity])
    return ax
