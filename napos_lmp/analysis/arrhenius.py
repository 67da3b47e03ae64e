"""Arrhenius fit of conductivities or diffusion coefficients at several temperatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.base import Estimate, Floats, Result, plot_axes
from napos_lmp.errors import AnalysisError

Quantity = Literal["conductivity", "diffusion"]

BOLTZMANN_CONSTANT_EV = 8.617333262e-5
_UNITS = {"conductivity": "S/cm", "diffusion": "cm^2/s"}
_SCATTER_SIGNIFICANCE = 0.05


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
        unit = _UNITS[self.quantity].replace("/", "_per_").replace("^", "")
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


@dataclass(frozen=True)
class _Line:
    """Fit of y = intercept + slope x with its covariance; `multiple` of a standard error makes half an interval."""

    intercept: float
    slope: float
    covariance: Floats
    new_value_variance: float
    multiple: float
    reduced_chi_square: float
    interval_from: str

    def error_at(self, x: float) -> float:
        """Half the interval of a new value at x."""
        row = np.array([1.0, x])
        return self.multiple * float(np.sqrt(row @ self.covariance @ row + self.new_value_variance))


class Arrhenius:
    r"""Weighted straight line through ln(sigma T) or ln D against 1/T.

    .. math:: \sigma T = A \exp(-E_a / k_B T), \qquad D = D_0 \exp(-E_a / k_B T)

    Weights come from the intervals of the values, taken as normal in their logarithm. From three temperatures on, a
    chi-square test at 5 % asks whether these errors explain the scatter about the line. If so, the interval of the
    activation energy rests on them; if not, they are scaled up to the scatter and Student's t with n - 2 degrees of
    freedom is used. With two temperatures only the errors of the values speak, and without errors only the scatter.

    Parameters
    ----------
    temperatures
        In K, at least two that differ.
    values
        Conductivities in S/cm or diffusion coefficients in cm^2/s, all with an interval or none.
    quantity
        Which of them.
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
        prediction_temperature: float = 300.0,
        level: float = 0.95,
    ) -> None:
        if quantity not in _UNITS:
            raise AnalysisError(f"quantity is {quantity!r}; it must be 'conductivity' or 'diffusion'")
        if len(temperatures) != len(values):
            raise AnalysisError(f"{len(temperatures)} temperatures and {len(values)} values are given; they must match")
        if any(not temperature > 0 for temperature in (*temperatures, prediction_temperature)):
            raise AnalysisError(f"temperatures are {[*temperatures, prediction_temperature]} K; all must be positive")
        distinct = sorted({float(temperature) for temperature in temperatures})
        if len(distinct) < 2:
            raise AnalysisError(f"an Arrhenius fit needs at least two temperatures; given: {distinct} K")
        for value in values:
            if value.unit != _UNITS[quantity]:
                raise AnalysisError(f"{value} is no {quantity}; its unit must be {_UNITS[quantity]}")
            if not value.value > 0 or value.low <= 0:
                raise AnalysisError(
                    f"{value} has no logarithm; values and the ends of their intervals must be positive"
                )
        self._errors_known = all(np.isfinite([value.low, value.high]).all() for value in values)
        if not self._errors_known and any(np.isfinite([value.low, value.high]).all() for value in values):
            raise AnalysisError("some values have an interval and some have none; all or none must have one")
        order = np.argsort(temperatures, kind="stable")
        self._temperatures = np.asarray(temperatures, dtype=np.float64)[order]
        self._values = [values[i] for i in order]
        self.quantity: Quantity = quantity
        self.prediction_temperature = float(prediction_temperature)
        self.level = level

    def run(self) -> ArrheniusResult:
        """Fit and extrapolate."""
        conducting = self.quantity == "conductivity"
        inverse = 1 / (BOLTZMANN_CONSTANT_EV * self._temperatures)
        values = np.array([value.value for value in self._values])
        line = self._fit(inverse, np.log(values * self._temperatures if conducting else values))
        return ArrheniusResult(
            quantity=self.quantity,
            activation_energy=self._estimate(-line.slope, line.multiple * float(np.sqrt(line.covariance[1, 1])), "eV"),
            prefactor=self._exponential(
                line.intercept,
                line.multiple * float(np.sqrt(line.covariance[0, 0])),
                "S K/cm" if conducting else "cm^2/s",
            ),
            prediction=self._predict(line),
            prediction_temperature=self.prediction_temperature,
            extrapolated=not self._temperatures[0] <= self.prediction_temperature <= self._temperatures[-1],
            reduced_chi_square=line.reduced_chi_square,
            interval_from=line.interval_from,
            temperatures=self._temperatures,
            values=values,
            low=np.array([value.low for value in self._values]),
            high=np.array([value.high for value in self._values]),
        )

    def _fit(self, x: Floats, y: Floats) -> _Line:
        from scipy.stats import chi2, norm, t

        errors = self._log_errors()
        weights = 1 / errors**2
        design = np.column_stack([np.ones(len(x)), x])
        covariance = np.linalg.inv(design.T @ (weights[:, None] * design))
        intercept, slope = covariance @ design.T @ (weights * y)
        freedom = len(x) - 2
        chi_square = float(weights @ (y - intercept - slope * x) ** 2)
        scale = chi_square / freedom if freedom else float("nan")
        tail = (1 - self.level) / 2
        if self._errors_known and (not freedom or chi2.sf(chi_square, freedom) >= _SCATTER_SIGNIFICANCE):
            known, multiple, reason = 1.0, float(norm.isf(tail)), "the errors of the values alone"
            if not freedom:
                reason += "; two temperatures cannot show whether the law holds"
        elif not freedom:
            known, multiple, reason = 1.0, float("nan"), "nothing: two temperatures without errors give no interval"
        else:
            known, multiple = scale, float(t.isf(tail, freedom))
            reason = "the scatter about the line"
            if self._errors_known:
                reason += f", {np.sqrt(scale):.1f} times what the errors of the values explain"
        return _Line(
            intercept=float(intercept),
            slope=float(slope),
            covariance=np.asarray(covariance * known),
            new_value_variance=float(np.mean(errors**2)) * known,
            multiple=multiple,
            reduced_chi_square=scale if self._errors_known else float("nan"),
            interval_from=reason,
        )

    def _log_errors(self) -> Floats:
        """Standard errors of the logarithms from the intervals; all 1 when there are none."""
        from scipy.stats import norm

        if not self._errors_known:
            return np.ones(len(self._values))
        return np.array(
            [np.log(value.high / value.low) / (2 * norm.isf((1 - value.level) / 2)) for value in self._values]
        )

    def _predict(self, line: _Line) -> Estimate:
        x = 1 / (BOLTZMANN_CONSTANT_EV * self.prediction_temperature)
        logarithm = line.intercept + line.slope * x
        if self.quantity == "conductivity":
            logarithm -= np.log(self.prediction_temperature)
        estimate = self._exponential(logarithm, line.error_at(x), _UNITS[self.quantity])
        low, high = self._temperatures[[0, -1]]
        if low <= self.prediction_temperature <= high:
            return estimate
        note = f"extrapolated from {low:g}-{high:g} K to {self.prediction_temperature:g} K"
        return Estimate(estimate.value, estimate.low, estimate.high, estimate.unit, estimate.level, note)

    def _estimate(self, value: float, error: float, unit: str) -> Estimate:
        note = "" if np.isfinite(error) else "two temperatures without errors"
        return Estimate(value, value - error, value + error, unit, self.level, note)

    def _exponential(self, logarithm: float, error: float, unit: str) -> Estimate:
        value = self._estimate(logarithm, error, unit)
        return Estimate(
            float(np.exp(value.value)),
            float(np.exp(value.low)),
            float(np.exp(value.high)),
            unit,
            self.level,
            value.note,
        )
