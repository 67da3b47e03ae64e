"""Arrhenius fit of conductivities or diffusion coefficients at several temperatures.

Values of one glass at several temperatures err together: what makes this quench conduct better than the next one does
so at all of them. Where values come from several glasses, that is part of the covariance.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.base import Estimate, Floats, Integers, Result, plot_axes
from napos_lmp.analysis.transport.shared_glass import SharedGlassFit, fit_line
from napos_lmp.errors import AnalysisError

Quantity = Literal["conductivity", "diffusion"]

BOLTZMANN_CONSTANT_EV = 8.617333262e-5
UNITS = {"conductivity": "S/cm", "diffusion": "cm^2/s"}
"""Unit of each quantity."""


@dataclass(frozen=True)
class ArrheniusResult(Result):
    """Activation energy, pre-exponential factor and extrapolation.

    Attributes
    ----------
    quantity
        "conductivity" (ln sigma T is fitted) or "diffusion" (ln D).
    activation_energy
        In eV, with its interval.
    prefactor
        In S K/cm or cm^2/s, with its interval.
    prediction
        The quantity at `prediction_temperature` in S/cm or cm^2/s. Its interval is that of a new value there of the
        same precision as those fitted, if the Arrhenius law holds down to it.
    prediction_temperature
        In K.
    extrapolated
        Whether that temperature lies outside the range of the data.
    reduced_chi_square
        Scatter about the line over what the errors of the values explain; NaN for two temperatures or no errors.
    interval_from
        In words, what the intervals rest on.
    n_glasses
        Glasses that the values come from.
    glass_spread
        Standard deviation between glasses in the logarithm of the quantity; NaN for one glass.
    temperatures, values, low, high
        The data that were fitted, in K and S/cm or cm^2/s.
    """

    quantity: Quantity
    activation_energy: Estimate
    prefactor: Estimate
    prediction: Estimate
    prediction_temperature: float
    extrapolated: bool
    reduced_chi_square: float
    interval_from: str
    n_glasses: int
    glass_spread: float
    temperatures: Floats
    values: Floats
    low: Floats
    high: Floats

    def at(self, temperatures: ArrayLike) -> Floats:
        """The fitted quantity at other temperatures in K."""
        temperature = np.asarray(temperatures, dtype=np.float64)
        factor = np.exp(-self.activation_energy.value / (BOLTZMANN_CONSTANT_EV * temperature)) * self.prefactor.value
        return np.asarray(factor / temperature if self.quantity == "conductivity" else factor)

    def columns(self) -> Mapping[str, ArrayLike]:
        """Temperature, value with its interval, and the line."""
        unit = UNITS[self.quantity].replace("/", "_per_").replace("^", "")
        return {
            "temperature_K": self.temperatures,
            f"{self.quantity}_{unit}": self.values,
            f"low_{unit}": self.low,
            f"high_{unit}": self.high,
            f"line_{unit}": self.at(self.temperatures),
        }

    def plot(self, ax: Any = None) -> Any:
        """Draw the values, the line and the extrapolation against 1000/T; returns the axes."""
        ax = plot_axes(ax)
        scale = self.temperatures if self.quantity == "conductivity" else np.ones(len(self.temperatures))
        below, above = (self.values - self.low) * scale, (self.high - self.values) * scale
        errors = None if np.isnan(below).any() else [below, above]
        ax.errorbar(1000 / self.temperatures, self.values * scale, yerr=errors, fmt="o", capsize=3)
        line = np.linspace(min(*self.temperatures, self.prediction_temperature), self.temperatures.max(), 100)
        ax.plot(1000 / line, self.at(line) * (line if self.quantity == "conductivity" else 1), "-", color="0.5")
        there = self.prediction_temperature if self.quantity == "conductivity" else 1.0
        spread = [[self.prediction.value - self.prediction.low], [self.prediction.high - self.prediction.value]]
        ax.errorbar(
            [1000 / self.prediction_temperature],
            [self.prediction.value * there],
            yerr=None if np.isnan(spread).any() else np.array(spread) * there,
            fmt="s",
            mfc="none",
            capsize=3,
            label=f"{'extrapolated to' if self.extrapolated else 'at'} {self.prediction_temperature:g} K",
        )
        ax.set_yscale("log")
        ax.set_xlabel("1000 / T (1/K)")
        ax.set_ylabel("conductivity times T (S K/cm)" if self.quantity == "conductivity" else "D (cm²/s)")
        ax.legend(title=f"activation energy {self.activation_energy}")
        return ax


class Arrhenius:
    r"""Weighted straight line through ln(sigma T) or ln D against 1/T.

    .. math:: \sigma T = A \exp(-E_a / k_B T), \qquad D = D_0 \exp(-E_a / k_B T)

    Weights come from the intervals of the values, taken as normal in their logarithm. A chi-square test at 5 % asks
    whether these errors explain the scatter about the line within each glass. If so, intervals rest on them; if not,
    they are scaled up to the scatter and Student's t is used. With two temperatures only the errors of the values
    speak, and without errors only the scatter.

    Values of one glass share an unknown factor. With two glasses or more its variance is found by restricted maximum
    likelihood and is part of all intervals (see :mod:`napos_lmp.analysis.transport.shared_glass`); with one glass it is
    not.

    Parameters
    ----------
    temperatures
        In K, at least two that differ.
    values
        Conductivities in S/cm or diffusion coefficients in cm^2/s, all with an interval or none.
    quantity
        Which of them.
    glasses
        For each value the glass that it was measured on, such as its seed; None where all are of one glass.
    prediction_temperature
        In K.
    level
        Confidence level of the intervals.
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
        self.points = checked_points(temperatures, values, quantity, glasses, least=2, law="an Arrhenius fit")
        if not prediction_temperature > 0:
            raise AnalysisError(f"prediction_temperature is {prediction_temperature} K; it must be positive")
        self.quantity: Quantity = quantity
        self.prediction_temperature = float(prediction_temperature)
        self.level = level

    def run(self) -> ArrheniusResult:
        """Fit and extrapolate."""
        points, conducting = self.points, self.quantity == "conductivity"
        fit = fit_line(
            1 / (BOLTZMANN_CONSTANT_EV * points.temperatures), points.logarithms, points.errors, points.glasses
        )
        intercept, slope = (float(entry) for entry in fit.coefficients)
        first, last = float(points.temperatures[0]), float(points.temperatures[-1])
        return ArrheniusResult(
            quantity=self.quantity,
            activation_energy=self._estimate(-slope, fit.half(np.array([0.0, 1.0]), self.level), "eV"),
            prefactor=self._exponential(
                intercept, fit.half(np.array([1.0, 0.0]), self.level), "S K/cm" if conducting else "cm^2/s"
            ),
            prediction=self._predict(fit),
            prediction_temperature=self.prediction_temperature,
            extrapolated=not first <= self.prediction_temperature <= last,
            reduced_chi_square=fit.reduced_chi_square,
            interval_from=self._described(fit),
            n_glasses=fit.n_glasses,
            glass_spread=fit.glass_variance**0.5 if fit.n_glasses > 1 else float("nan"),
            temperatures=points.temperatures,
            values=points.values,
            low=points.low,
            high=points.high,
        )

    def _described(self, fit: SharedGlassFit) -> str:
        """What the intervals rest on."""
        known = self.points.errors is not None
        distinct = len(set(self.points.temperatures.tolist()))
        if fit.scaled:
            reason = "the scatter about the line"
            if known:
                reason += f", {np.sqrt(fit.reduced_chi_square):.1f} times what the errors of the values explain"
        elif known:
            reason = "the errors of the values" + (" alone" if fit.n_glasses == 1 else "")
        else:
            reason = "nothing: two temperatures without errors give no interval"
        if fit.n_glasses > 1:
            spread = f"{100 * fit.glass_variance**0.5:.0f} % (one standard deviation)"
            reason += (
                f" and how {fit.n_glasses} glasses differ, {spread if fit.glass_variance else 'no more than that'}"
            )
        if distinct == 2 and known:
            reason += "; two temperatures cannot show whether the law holds"
        return reason

    def _predict(self, fit: SharedGlassFit) -> Estimate:
        row = np.array([1.0, 1 / (BOLTZMANN_CONSTANT_EV * self.prediction_temperature)])
        logarithm = float(row @ fit.coefficients)
        if self.quantity == "conductivity":
            logarithm -= float(np.log(self.prediction_temperature))
        estimate = self._exponential(logarithm, fit.half(row, self.level, new_point=True), UNITS[self.quantity])
        low, high = self.points.temperatures[[0, -1]]
        if low <= self.prediction_temperature <= high:
            return estimate
        note = f"extrapolated from {low:g}-{high:g} K to {self.prediction_temperature:g} K"
        return Estimate(estimate.value, estimate.low, estimate.high, estimate.unit, estimate.level, note)

    def _estimate(self, value: float, error: float, unit: str) -> Estimate:
        note = "" if np.isfinite(error) else "two temperatures without errors"
        return Estimate(value, value - error, value + error, unit, self.level, note)

    def _exponential(self, logarithm: float, error: float, unit: str) -> Estimate:
        value = self._estimate(logarithm, error, unit)
        middle, low, high = (float(np.exp(end)) for end in (value.value, value.low, value.high))
        return Estimate(middle, low, high, unit, self.level, value.note)


@dataclass(frozen=True)
class TemperaturePoints:
    """Checked values over temperature, by rising temperature.

    `logarithms` are ln(sigma T) or ln D, `errors` their standard errors (None where unknown), `glasses` numbers from 0.
    """

    temperatures: Floats
    values: Floats
    low: Floats
    high: Floats
    logarithms: Floats
    errors: Floats | None
    glasses: Integers

    @property
    def distinct(self) -> list[float]:
        """The temperatures, each once."""
        return sorted(set(self.temperatures.tolist()))


def checked_points(
    temperatures: Sequence[float],
    values: Sequence[Estimate],
    quantity: Quantity,
    glasses: Sequence[Hashable] | None,
    *,
    least: int,
    law: str,
) -> TemperaturePoints:
    """Values that a law of temperature can be fitted to, at `least` different temperatures.

    Raises
    ------
    AnalysisError
        If they do not match, are at too few temperatures, have no logarithm, or only some have an interval.
    """
    from scipy.stats import norm

    if quantity not in UNITS:
        raise AnalysisError(f"quantity is {quantity!r}; it must be 'conductivity' or 'diffusion'")
    if len(temperatures) != len(values):
        raise AnalysisError(f"{len(temperatures)} temperatures and {len(values)} values are given; they must match")
    if glasses is not None and len(glasses) != len(values):
        raise AnalysisError(f"{len(glasses)} glasses and {len(values)} values are given; they must match")
    if any(not temperature > 0 for temperature in temperatures):
        raise AnalysisError(f"temperatures are {[*temperatures]} K; all must be positive")
    distinct = sorted({float(temperature) for temperature in temperatures})
    if len(distinct) < least:
        listed = ", ".join(f"{temperature:g} K" for temperature in distinct) or "none"
        words = {2: "two", 4: "four"}
        raise AnalysisError(f"{law} needs values at {words[least]} temperatures or more; given: {listed}")
    for value in values:
        if value.unit != UNITS[quantity]:
            raise AnalysisError(f"{value} is no {quantity}; its unit must be {UNITS[quantity]}")
        if not value.value > 0 or value.low <= 0:
            raise AnalysisError(f"{value} has no logarithm; values and the ends of their intervals must be positive")
    known = [bool(np.isfinite([value.low, value.high]).all()) for value in values]
    if any(known) and not all(known):
        raise AnalysisError("some values have an interval and some have none; all or none must have one")
    order = np.argsort(temperatures, kind="stable")
    sorted_values = [values[i] for i in order]
    numbers = {glass: place for place, glass in enumerate(dict.fromkeys(glasses or [None]))}
    kelvin = np.asarray(temperatures, dtype=np.float64)[order]
    plain = np.array([value.value for value in sorted_values])
    errors = [np.log(v.high / v.low) / (2 * norm.isf((1 - v.level) / 2)) for v in sorted_values] if all(known) else None
    return TemperaturePoints(
        temperatures=kelvin,
        values=plain,
        low=np.array([value.low for value in sorted_values]),
        high=np.array([value.high for value in sorted_values]),
        logarithms=np.log(plain * kelvin if quantity == "conductivity" else plain),
        errors=None if errors is None else np.array(errors),
        glasses=np.array([numbers[glasses[i]] if glasses else 0 for i in order], dtype=np.int64),
    )
