"""How long a run has to be for a given relative error, from the error of a shorter one; and D against run length."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.base import Estimate, Floats, Result, plot_axes
from napos_lmp.analysis.transport.diffusion import DiffusionCoefficient
from napos_lmp.analysis.transport.msd import MeanSquareDisplacementResult
from napos_lmp.errors import AnalysisError


@dataclass(frozen=True)
class RunLengthPlan:
    """What a target error asks for.

    Attributes
    ----------
    length
        Length of the run that was measured in ps.
    error
        Its relative standard error.
    target
        The relative standard error asked for.
    needed
        Length in ps at which it is reached, the measured one included.
    """

    length: float
    error: float
    target: float
    needed: float

    @property
    def reached(self) -> bool:
        """Whether the run is long enough already."""
        return self.needed <= self.length

    @property
    def sentence(self) -> str:
        """The plan in words."""
        now = f"{100 * self.error:.2g} % after {_time(self.length)}"
        if self.reached:
            return f"has a relative error of {now}, below {100 * self.target:.2g} %"
        return f"needs about {_time(self.needed)} for a relative error of {100 * self.target:.2g} % (it is {now})"


def plan_run_length(estimate: Estimate, length: float, target: float) -> RunLengthPlan:
    r"""Length at which a mean over independent stretches of a run has a given relative error, as error ~ 1/sqrt(t).

    The relative standard error is taken from the interval: half its width in the logarithm over the normal quantile.

    Parameters
    ----------
    estimate
        A diffusion coefficient or a conductivity with its interval within the run.
    length
        Length of that run in ps.
    target
        Relative standard error asked for, such as 0.05.

    Raises
    ------
    AnalysisError
        If the estimate has no interval, or a number is out of range.
    """
    from scipy.stats import norm

    if not 0 < target < 1:
        raise AnalysisError(f"target is {target:g}; a relative error lies between 0 and 1, such as 0.05 for 5 %")
    if not length > 0:
        raise AnalysisError(f"length is {length:g} ps; it must be positive")
    if not (math.isfinite(estimate.low) and math.isfinite(estimate.high) and 0 < estimate.low < estimate.high):
        raise AnalysisError(f"{estimate} has no interval above 0 from which a run length could be planned")
    error = math.log(estimate.high / estimate.low) / 2 / float(norm.isf((1 - estimate.level) / 2))
    return RunLengthPlan(length, error, target, length * (error / target) ** 2)


@dataclass(frozen=True)
class RunLengthResult(Result):
    """Diffusion coefficient from the first part of a run, for parts of rising length.

    Attributes
    ----------
    species
        Element.
    lengths
        Length of each part in ps.
    diffusion
        In cm^2/s with intervals; NaN where it was refused.
    refusals
        The reason for each length that gave none, by length in ps.
    """

    species: str
    lengths: Floats
    diffusion: tuple[Estimate, ...]
    refusals: dict[str, str]

    def columns(self) -> Mapping[str, ArrayLike]:
        """Length, D and its interval."""
        return {
            "length_ps": self.lengths,
            "diffusion_cm2_per_s": np.array([each.value for each in self.diffusion]),
            "low_cm2_per_s": np.array([each.low for each in self.diffusion]),
            "high_cm2_per_s": np.array([each.high for each in self.diffusion]),
        }

    def plot(self, ax: Any = None) -> Any:
        """Draw D with its intervals against run length; returns the axes."""
        ax = plot_axes(ax)
        columns = self.columns()
        values, low, high = (np.asarray(columns[f"{name}_cm2_per_s"]) for name in ("diffusion", "low", "high"))
        ax.errorbar(self.lengths, values, [values - low, high - values], fmt="o-", capsize=3)
        ax.set_xscale("log")
        ax.set_xlabel("run length (ps)")
        ax.set_ylabel(f"D({self.species}) (cm²/s)")
        return ax


class RunLengthConvergence:
    """Diffusion coefficients from the first eighth, quarter, half and all of a run, to see whether they settle.

    The parts hold each other, so neighbouring values are not independent.

    Parameters
    ----------
    displacements
        Of the whole run.
    species
        Element.
    parts
        Shares of the run, rising to 1.
    """

    def __init__(
        self,
        displacements: MeanSquareDisplacementResult,
        species: str = "Na",
        parts: Sequence[float] = (0.125, 0.25, 0.5, 1.0),
    ) -> None:
        if not parts or any(not 0 < part <= 1 for part in parts) or list(parts) != sorted(set(parts)):
            raise AnalysisError(f"parts are {list(parts)}; they must rise, above 0 and up to 1")
        self._displacements, self.species, self._parts = displacements, species, tuple(parts)

    def run(self) -> RunLengthResult:
        """Measure each part.

        Raises
        ------
        AnalysisError
            If no part of the run gives a diffusion coefficient.
        """
        whole, nothing = self._displacements, float("nan")
        lengths, found, refusals = [], [], {}
        for part in self._parts:
            n_frames = max(3, round(part * whole.n_frames))
            length = (n_frames - 1) * whole.frame_interval
            lengths.append(length)
            try:
                found.append(DiffusionCoefficient(whole.beginning(n_frames), self.species).run().diffusion)
            except AnalysisError as error:
                refusals[f"{length:g}"] = str(error)
                found.append(Estimate(nothing, nothing, nothing, "cm^2/s", note=str(error)))
        if len(refusals) == len(self._parts):
            raise AnalysisError(f"no part of the run gives a diffusion coefficient: {list(refusals.values())[-1]}")
        return RunLengthResult(self.species, np.array(lengths), tuple(found), refusals)


def _time(ps: float) -> str:
    return f"{ps / 1000:.2g} ns" if ps >= 100 else f"{ps:.2g} ps"
