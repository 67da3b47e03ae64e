"""Diffusion or conductivity in cells of different size: what it is in an infinite one, and whether size matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.base import Estimate, Floats, Result, plot_axes
from napos_lmp.analysis.transport.shared_glass import fit_line
from napos_lmp.errors import AnalysisError

State = Literal["melt", "solid"]

YEH_HUMMER = 2.837297
"""Constant of a periodic cubic cell (Yeh and Hummer, J. Phys. Chem. B 108, 15873 (2004))."""
BOLTZMANN_CONSTANT = 1.380649e-23
_UNITS = ("cm^2/s", "S/cm")
_CM2_PER_M2 = 1e4
_M_PER_A = 1e-10
_NOT_IN_A_SOLID = (
    "the correction of Yeh and Hummer is not applicable to a solid: it is for the flow of a liquid, whose momentum "
    "the periodic images share, and a framework that does not flow takes that momentum up"
)


def yeh_hummer_shift(length: float, temperature: float, viscosity: float) -> float:
    r"""What a cubic periodic cell takes from the diffusion coefficient of a liquid, in cm^2/s.

    .. math:: D_\infty - D_L = \frac{\xi k_B T}{6 \pi \eta L}, \quad \xi = 2.837297

    Parameters
    ----------
    length
        Edge L in A.
    temperature
        In K.
    viscosity
        Shear viscosity in Pa s.
    """
    for name, value in (("length", length), ("temperature", temperature), ("viscosity", viscosity)):
        if not (np.isfinite(value) and value > 0):
            raise AnalysisError(f"{name} is {value}; it must be positive")
    return float(
        YEH_HUMMER * BOLTZMANN_CONSTANT * temperature / (6 * np.pi * viscosity * length * _M_PER_A) * _CM2_PER_M2
    )


@dataclass(frozen=True)
class SizeConvergenceResult(Result):
    """Values over 1/L and their line.

    Attributes
    ----------
    lengths
        Edge of each cell, the cube root of its volume, in A.
    values
        With their intervals.
    infinite
        The line at 1/L = 0.
    slope
        Change with 1/L, in A times the unit.
    depends
        Whether the interval of the slope leaves out zero.
    corrected
        Values with the Yeh-Hummer shift added; None where it does not apply.
    correction
        In one sentence, whether and how that was done.
    """

    lengths: Floats
    values: tuple[Estimate, ...]
    infinite: Estimate
    slope: Estimate
    depends: bool
    corrected: Floats | None
    correction: str

    @property
    def sentence(self) -> str:
        """What the line says."""
        if self.depends:
            return f"it changes with the size of the cell; the line leads to {self.infinite} in an infinite one"
        widest = max(abs(each.value / self.infinite.value - 1) for each in self.values)
        return (
            f"no change with the size of the cell can be seen between {self.lengths.min():.1f} and "
            f"{self.lengths.max():.1f} A; values lie within {100 * widest:.0f} % of the line's end, {self.infinite}"
        )

    def columns(self) -> Mapping[str, ArrayLike]:
        """Edge, its inverse, value with interval, and the line."""
        inverse = 1 / self.lengths
        return {
            "length_A": self.lengths,
            "inverse_length_per_A": inverse,
            "value": np.array([each.value for each in self.values]),
            "low": np.array([each.low for each in self.values]),
            "high": np.array([each.high for each in self.values]),
            "line": self.infinite.value + self.slope.value * inverse,
            "corrected": np.full(len(inverse), np.nan) if self.corrected is None else self.corrected,
        }

    def plot(self, ax: Any = None) -> Any:
        """Draw the values and the line against 1/L, to 0; returns the axes."""
        ax = plot_axes(ax)
        inverse = 1 / self.lengths
        values = np.array([each.value for each in self.values])
        errors = [[each.value - each.low for each in self.values], [each.high - each.value for each in self.values]]
        ax.errorbar(inverse, values, errors, fmt="o", capsize=3)
        line = np.array([0.0, inverse.max()])
        ax.plot(line, self.infinite.value + self.slope.value * line, "-", color="0.5")
        half = [[self.infinite.value - self.infinite.low], [self.infinite.high - self.infinite.value]]
        ax.errorbar([0.0], [self.infinite.value], half, fmt="s", mfc="none", capsize=3, label="infinite cell")
        if self.corrected is not None:
            ax.plot(inverse, self.corrected, "x", label="Yeh-Hummer")
        ax.set_xlabel("1 / L (1/Å)")
        ax.set_ylabel(self.infinite.unit)
        ax.legend()
        return ax


class SizeConvergence:
    """Weighted line through diffusion coefficients or conductivities against 1/L.

    Errors of the values are tested against their scatter, and replicas in cells of one size count one by one. An error
    that falls with size as 1/L is what hydrodynamics gives for a melt (Yeh and Hummer 2004); for a solid the line is a
    plain test of whether size matters.

    Parameters
    ----------
    lengths
        Edge of each cell in A: the cube root of its volume.
    values
        Diffusion coefficients in cm^2/s or conductivities in S/cm, each with an interval.
    state
        "melt" if the framework flows, "solid" if not.
    temperature, viscosity
        In K and Pa s, for the Yeh-Hummer correction of diffusion coefficients in a melt.
    level
        Confidence level.
    """

    def __init__(
        self,
        lengths: Sequence[float],
        values: Sequence[Estimate],
        *,
        state: State,
        temperature: float | None = None,
        viscosity: float | None = None,
        level: float = 0.95,
    ) -> None:
        if state not in ("melt", "solid"):
            raise AnalysisError(f"state is {state!r}; it must be 'melt' or 'solid'")
        if len(lengths) != len(values):
            raise AnalysisError(f"{len(lengths)} lengths and {len(values)} values are given; they must match")
        if any(not length > 0 for length in lengths):
            raise AnalysisError(f"lengths are {[*lengths]} A; all must be positive")
        sizes = sorted({round(float(length), 1) for length in lengths})
        if len(sizes) < 2:
            listed = ", ".join(f"{size:g} A" for size in sizes) or "none"
            raise AnalysisError(f"size convergence needs values in cells of two sizes or more; given: {listed}")
        units = {value.unit for value in values}
        if len(units) != 1 or not units <= set(_UNITS):
            raise AnalysisError(f"the values are in {', '.join(sorted(units))}; all must be in cm^2/s, or all in S/cm")
        for value in values:
            if not (np.isfinite([value.low, value.high]).all() and value.low < value.high):
                raise AnalysisError(f"{value} has no interval; size convergence needs one for each value")
        self._lengths = np.asarray(lengths, dtype=np.float64)
        self._values = tuple(values)
        self._unit = units.pop()
        self.state, self.temperature, self.viscosity, self.level = state, temperature, viscosity, level

    def run(self) -> SizeConvergenceResult:
        """Fit the line and correct where that applies."""
        from scipy.stats import norm

        values = np.array([value.value for value in self._values])
        errors = np.array([(v.high - v.low) / 2 / norm.isf((1 - v.level) / 2) for v in self._values])
        scale = float(np.abs(values).max())
        fit = fit_line(1 / self._lengths, values / scale, errors / scale, np.zeros(len(values), dtype=np.int64))
        infinite, slope = (float(entry) * scale for entry in fit.coefficients)
        halves = [fit.half(row, self.level) * scale for row in np.eye(2)]
        corrected, correction = self._correct(values)
        return SizeConvergenceResult(
            lengths=self._lengths,
            values=self._values,
            infinite=Estimate(infinite, infinite - halves[0], infinite + halves[0], self._unit, self.level),
            slope=Estimate(slope, slope - halves[1], slope + halves[1], f"A {self._unit}", self.level),
            depends=abs(slope) > halves[1],
            corrected=corrected,
            correction=correction,
        )

    def _correct(self, values: Floats) -> tuple[Floats | None, str]:
        if self.state == "solid":
            return None, _NOT_IN_A_SOLID
        if self._unit != "cm^2/s":
            return None, "the correction of Yeh and Hummer is for diffusion coefficients, not for a conductivity"
        if self.temperature is None or self.viscosity is None:
            return None, "the correction of Yeh and Hummer applies to this melt but needs its temperature and viscosity"
        shifts = [yeh_hummer_shift(float(length), self.temperature, self.viscosity) for length in self._lengths]
        said = f"corrected after Yeh and Hummer with {self.viscosity:g} Pa s at {self.temperature:g} K, cubic cells"
        return values + np.array(shifts), said
