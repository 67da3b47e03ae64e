"""Which law a conductivity follows over temperature, Arrhenius or Vogel-Tammann-Fulcher, and what it says at 300 K.

A melt near its glass transition bends away from the Arrhenius line, a glass below it follows one. An extrapolation is
worth no more than the law, so it is refused where the points cannot tell the laws apart and it matters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.base import Estimate, Floats, Result, plot_axes
from napos_lmp.analysis.transport.arrhenius import (
    BOLTZMANN_CONSTANT_EV,
    UNITS,
    Arrhenius,
    ArrheniusResult,
    Quantity,
    TemperaturePoints,
    checked_points,
)
from napos_lmp.analysis.transport.shared_glass import SCATTER_SIGNIFICANCE, SharedGlassFit, fit_line
from napos_lmp.errors import AnalysisError

Law = Literal["Arrhenius", "VTF"]

_CLEAR = 4.0
_SAME = 2.0
_GRID = 400


@dataclass(frozen=True)
class VogelResult(Result):
    """A fitted Vogel-Tammann-Fulcher law.

    Attributes
    ----------
    quantity
        "conductivity" (of which ln sigma T is fitted) or "diffusion" (ln D).
    vogel_temperature
        T0 in K with its profile interval; the lower end 0 is the Arrhenius law.
    strength
        B in eV, the activation energy that it would be at T0 = 0.
    prefactor
        In S K/cm or cm^2/s.
    prediction
        At `prediction_temperature`: all values that some T0 of the interval gives; 0 where one lies above it.
    criterion, arrhenius_criterion
        Akaike's information criterion of this law and of the Arrhenius law; less is better.
    scale
        What the variances were multiplied by to explain the scatter about this law; 1 where they do by themselves.
    predicted_range
        Lowest and highest value at the prediction temperature on the best curve of each T0 of the interval.
    temperatures, values
        The data, in K and S/cm or cm^2/s.
    """

    quantity: Quantity
    vogel_temperature: Estimate
    strength: Estimate
    prefactor: Estimate
    prediction: Estimate
    prediction_temperature: float
    criterion: float
    arrhenius_criterion: float
    scale: float
    predicted_range: tuple[float, float]
    temperatures: Floats
    values: Floats

    def at(self, temperatures: ArrayLike) -> Floats:
        """The fitted quantity at other temperatures in K; 0 at T0 and below."""
        temperature = np.asarray(temperatures, dtype=np.float64)
        above = np.maximum(temperature - self.vogel_temperature.value, 1e-9)
        factor = self.prefactor.value * np.exp(-self.strength.value / (BOLTZMANN_CONSTANT_EV * above))
        return np.asarray(factor / temperature if self.quantity == "conductivity" else factor)

    def columns(self) -> Mapping[str, ArrayLike]:
        """Temperature, value and the curve."""
        unit = UNITS[self.quantity].replace("/", "_per_").replace("^", "")
        return {
            "temperature_K": self.temperatures,
            f"{self.quantity}_{unit}": self.values,
            f"curve_{unit}": self.at(self.temperatures),
        }

    def plot(self, ax: Any = None) -> Any:
        """Draw the values and the curve against 1000/T; returns the axes."""
        ax = plot_axes(ax)
        ax.plot(1000 / self.temperatures, self.values, "o")
        line = np.linspace(self.temperatures.min(), self.temperatures.max(), 100)
        ax.plot(1000 / line, self.at(line), "-", label=f"T0 = {self.vogel_temperature}")
        ax.set_yscale("log")
        ax.set_xlabel("1000 / T (1/K)")
        ax.set_ylabel(f"{self.quantity} ({UNITS[self.quantity]})")
        ax.legend()
        return ax


class VogelTammannFulcher:
    r"""Curve through ln(sigma T) or ln D that bends as melts do.

    .. math:: \sigma T = A \exp\left(-\frac{B}{k_B (T - T_0)}\right)

    For each T0 the rest is a straight line, fitted as :class:`napos_lmp.analysis.transport.arrhenius.Arrhenius` does
    it, with the same covariance of glasses. T0 = 0 is the Arrhenius law. Intervals are those of the profile likelihood
    over T0.
    (Vogel, Phys. Z. 22, 645 (1921); Fulcher, J. Am. Ceram. Soc. 8, 339 (1925); Tammann and Hesse (1926).)

    Parameters
    ----------
    temperatures, values, quantity, glasses, prediction_temperature, level
        As for Arrhenius; at least four temperatures.
    """

    def __init__(
        self,
        temperatures: Sequence[float],
        values: Sequence[Estimate],
        quantity: Quantity = "conductivity",
        *,
        glasses: Sequence[Hashable] | None = None,
        prediction_temperature: float = 300.0,
        level: float = 0.95,
    ) -> None:
        self.points = checked_points(temperatures, values, quantity, glasses, least=4, law="a VTF fit")
        if self.points.errors is None and len(values) < 5:
            raise AnalysisError("a VTF fit to values without intervals needs five of them; given: 4")
        self.quantity: Quantity = quantity
        self.prediction_temperature = float(prediction_temperature)
        self.level = level

    def run(self) -> VogelResult:
        """Fit and extrapolate."""
        from scipy.stats import chi2, f

        points, grid = self.points, self._trials()
        inverse = 1 / (BOLTZMANN_CONSTANT_EV * points.temperatures)
        shared = fit_line(inverse, points.logarithms, points.errors, points.glasses)
        fits = [self._fit(t0, shared.glass_variance) for t0 in grid]
        misfit = np.array([fit.chi_square for fit in fits])
        best, freedom = int(np.argmin(misfit)), len(points.values) - 3
        scaled = points.errors is None or (freedom > 0 and bool(chi2.sf(misfit[best], freedom) < SCATTER_SIGNIFICANCE))
        scale = float(max(misfit[best] / freedom, np.finfo(float).tiny)) if scaled else 1.0
        limit = float(f.isf(1 - self.level, 1, freedom) if scaled else chi2.isf(1 - self.level, 1))
        inside = np.flatnonzero((misfit - misfit[best]) / scale <= limit)
        size = len(points.values)
        return VogelResult(
            quantity=self.quantity,
            vogel_temperature=_kelvin(grid, best, inside, self.level),
            strength=self._over(fits, inside, best, np.array([0.0, -1.0]), "eV"),
            prefactor=self._exponential(fits, inside, best),
            prediction=self._predict(grid, fits, inside, best),
            prediction_temperature=self.prediction_temperature,
            criterion=_criterion(misfit[best] / scale, 3, size, corrected=scaled),
            arrhenius_criterion=_criterion(misfit[0] / scale, 2, size, corrected=scaled),
            scale=scale,
            predicted_range=self._range(grid, fits, inside),
            temperatures=points.temperatures,
            values=points.values,
        )

    def _trials(self) -> Floats:
        """T0 from 0 to just below the lowest temperature, dense where the curve bends most."""
        lowest = float(self.points.temperatures[0])
        return np.asarray(lowest * 0.995 * np.linspace(0, 1, _GRID))

    def _fit(self, t0: float, glass_variance: float) -> SharedGlassFit:
        points = self.points
        x = 1 / (BOLTZMANN_CONSTANT_EV * (points.temperatures - t0))
        return fit_line(x, points.logarithms, points.errors, points.glasses, glass_variance=glass_variance)

    def _over(self, fits: list[SharedGlassFit], inside: Any, best: int, row: Floats, unit: str) -> Estimate:
        """A combination of coefficients with the union of its intervals over T0."""
        ends = [(float(row @ fits[i].coefficients), fits[i].half(row, self.level)) for i in inside]
        low, high = min(value - half for value, half in ends), max(value + half for value, half in ends)
        return Estimate(float(row @ fits[best].coefficients), low, high, unit, self.level)

    def _exponential(self, fits: list[SharedGlassFit], inside: Any, best: int) -> Estimate:
        unit = "S K/cm" if self.quantity == "conductivity" else "cm^2/s"
        found = self._over(fits, inside, best, np.array([1.0, 0.0]), unit)
        value, low, high = (float(np.exp(min(end, 700.0))) for end in (found.value, found.low, found.high))
        return Estimate(value, low, high, unit, self.level)

    def _logarithm(self, t0: float, fit: SharedGlassFit) -> tuple[float, float]:
        """Logarithm of the quantity at the prediction temperature, and half the interval of a new value there."""
        if t0 >= self.prediction_temperature:
            return float("-inf"), 0.0
        row = np.array([1.0, 1 / (BOLTZMANN_CONSTANT_EV * (self.prediction_temperature - t0))])
        shift = np.log(self.prediction_temperature) if self.quantity == "conductivity" else 0.0
        return float(row @ fit.coefficients - shift), fit.half(row, self.level, new_point=True)

    def _predict(self, grid: Floats, fits: list[SharedGlassFit], inside: Any, best: int) -> Estimate:
        ends = [self._logarithm(float(grid[i]), fits[i]) for i in inside]
        low, high = min(value - half for value, half in ends), max(value + half for value, half in ends)
        value = self._logarithm(float(grid[best]), fits[best])[0]
        note = f"T0 from {grid[inside[0]]:.0f} to {grid[inside[-1]]:.0f} K"
        middle, low, high = (float(np.exp(end)) for end in (value, low, high))
        return Estimate(middle, low, high, UNITS[self.quantity], self.level, note)

    def _range(self, grid: Floats, fits: list[SharedGlassFit], inside: Any) -> tuple[float, float]:
        values = [float(np.exp(self._logarithm(float(grid[i]), fits[i])[0])) for i in inside]
        return min(values), max(values)


@dataclass(frozen=True)
class TemperatureLawResult(Result):
    """Which law the values follow, and what it says at the prediction temperature.

    Attributes
    ----------
    law
        "Arrhenius" or "VTF"; None where the points cannot tell.
    reason
        Why, in one sentence.
    arrhenius
        The Arrhenius fit.
    vogel
        The VTF fit; None where there are too few temperatures.
    prediction
        By the law; its value is NaN where there is none, and its note says why.
    warnings
        What else stands against the extrapolation, one sentence each.
    """

    law: Law | None
    reason: str
    arrhenius: ArrheniusResult
    vogel: VogelResult | None
    prediction: Estimate
    warnings: tuple[str, ...]

    def columns(self) -> Mapping[str, ArrayLike]:
        """Those of the Arrhenius fit, and the VTF curve where there is one."""
        columns = dict(self.arrhenius.columns())
        if self.vogel is not None:
            columns |= {name: column for name, column in self.vogel.columns().items() if name.startswith("curve_")}
        return columns

    def plot(self, ax: Any = None) -> Any:
        """Draw the Arrhenius fit, and the VTF curve where there is one; returns the axes."""
        ax = self.arrhenius.plot(ax)
        if self.vogel is not None:
            line = np.linspace(self.vogel.temperatures.min(), self.vogel.temperatures.max(), 100)
            scale = line if self.arrhenius.quantity == "conductivity" else np.ones(len(line))
            ax.plot(1000 / line, self.vogel.at(line) * scale, ":", label="VTF")
            ax.legend()
        return ax


class TemperatureLaw:
    """Choose between Arrhenius and VTF by Akaike's information criterion, and extrapolate only where that is honest.

    VTF is taken where its criterion is lower by more than 4 (Burnham and Anderson, Model Selection and Multimodel
    Inference (2002): "considerably less" support for the other). Else the Arrhenius law is, provided that all T0 that
    the points allow at the confidence level lead to the same within a factor of 2; its interval is then widened by
    theirs. If not, the points cannot tell and the prediction is refused. With three temperatures or less there is
    nothing to tell the laws apart by.

    Parameters
    ----------
    temperatures, values, quantity, glasses, prediction_temperature, level
        As for :class:`napos_lmp.analysis.transport.arrhenius.Arrhenius`.
    glass_transition
        Tg in K where it is known: warned of where it lies between the points, or between them and the prediction.
    """

    def __init__(
        self,
        temperatures: Sequence[float],
        values: Sequence[Estimate],
        quantity: Quantity = "conductivity",
        *,
        glasses: Sequence[Hashable] | None = None,
        prediction_temperature: float = 300.0,
        level: float = 0.95,
        glass_transition: float | None = None,
    ) -> None:
        self._arrhenius = Arrhenius(
            temperatures, values, quantity,
            glasses=glasses, prediction_temperature=prediction_temperature, level=level,
        )  # fmt: skip
        self._vogel: VogelTammannFulcher | str
        try:
            self._vogel = VogelTammannFulcher(
                temperatures, values, quantity,
                glasses=glasses, prediction_temperature=prediction_temperature, level=level,
            )  # fmt: skip
        except AnalysisError as error:
            self._vogel = str(error)
        self._glass_transition = glass_transition

    def run(self) -> TemperatureLawResult:
        """Fit both and choose."""
        arrhenius = self._arrhenius.run()
        vogel = None if isinstance(self._vogel, str) else self._vogel.run()
        law, reason = _choose(arrhenius, vogel, self._vogel if isinstance(self._vogel, str) else "")
        if law == "VTF" and vogel is not None:
            prediction = vogel.prediction
        elif law == "Arrhenius":
            prediction = _widened(arrhenius.prediction, vogel)
        else:
            nothing = float("nan")
            unit, level = UNITS[arrhenius.quantity], arrhenius.prediction.level
            prediction = Estimate(nothing, nothing, nothing, unit, level, reason)
        warnings = transition_warnings(self._arrhenius.points, arrhenius.prediction_temperature, self._glass_transition)
        return TemperatureLawResult(law, reason, arrhenius, vogel, prediction, warnings)


def transition_warnings(
    points: TemperaturePoints, prediction: float, glass_transition: float | None
) -> tuple[str, ...]:
    """Sentences on where the glass transition lies; none where it is not known or does no harm."""
    if glass_transition is None:
        return ()
    low, high = float(points.temperatures[0]), float(points.temperatures[-1])
    if low < glass_transition < high:
        return (
            f"the glass transition, {glass_transition:.0f} K, lies inside the range of {low:g} to {high:g} K: melt and "
            "glass follow different laws, and one line through both is of neither",
        )
    if prediction < glass_transition <= low:
        return (
            f"all values are of the melt: the glass transition, {glass_transition:.0f} K, lies between them and "
            f"{prediction:g} K, and the law of the melt does not hold below it",
        )
    return ()


def _widened(prediction: Estimate, vogel: VogelResult | None) -> Estimate:
    """The Arrhenius prediction with an interval that holds those of all T0 too."""
    if vogel is None:
        return prediction
    low, high = min(prediction.low, vogel.prediction.low), max(prediction.high, vogel.prediction.high)
    return dataclasses.replace(prediction, low=low, high=high)


def _kelvin(grid: Floats, best: int, inside: Any, level: float) -> Estimate:
    return Estimate(float(grid[best]), float(grid[inside[0]]), float(grid[inside[-1]]), "K", level)


def _choose(arrhenius: ArrheniusResult, vogel: VogelResult | None, missing: str) -> tuple[Law | None, str]:
    if not arrhenius.extrapolated:
        return "Arrhenius", "the temperature lies among the points"
    if vogel is None:
        return None, f"Arrhenius and VTF cannot be told apart: {missing}"
    gain = vogel.arrhenius_criterion - vogel.criterion
    if gain > _CLEAR:
        if vogel.vogel_temperature.value >= vogel.prediction_temperature:
            return None, (
                f"the points follow a VTF law with T0 at {vogel.vogel_temperature.value:.0f} K, which says nothing of "
                f"{vogel.prediction_temperature:g} K below it"
            )
        return "VTF", f"the information criterion prefers VTF by {gain:.1f}"
    low, high = vogel.predicted_range
    if high <= _SAME * low:
        return "Arrhenius", f"the information criterion prefers VTF by {gain:.1f} only, and both predict the same"
    ends = vogel.vogel_temperature
    return None, (
        f"the points cannot tell Arrhenius from VTF: any T0 from {ends.low:.0f} to {ends.high:.0f} K fits them, which "
        f"leads to {low:.1g} to {high:.1g} {UNITS[vogel.quantity]} at {vogel.prediction_temperature:g} K"
    )


def _criterion(chi_square: float, parameters: int, size: int, *, corrected: bool) -> float:
    """Akaike's criterion; corrected for few points where their errors come from their scatter."""
    value = chi_square + 2 * parameters
    if not corrected:
        return float(value)
    room = size - parameters - 1
    return float(value + 2 * parameters * (parameters + 1) / room) if room > 0 else float("inf")
