"""Distributions of the lengths of jumps and of the times between them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.base import Floats, Result, plot_axes
from napos_lmp.analysis.jackknife import FEWEST_GROUPS, jackknife_error
from napos_lmp.analysis.mechanism.jumps import JumpResult

_LENGTH_BIN = 0.25


@dataclass(frozen=True)
class JumpLengths(Result):
    """Distribution of the lengths of jumps.

    Attributes
    ----------
    length
        Shape (B,): centres of the bins, A.
    density
        Shape (B,): probability in 1/A.
    error
        Shape (B,): half its 95 % interval, from the ions; NaN where there is none.
    """

    length: Floats
    density: Floats
    error: Floats

    def columns(self) -> Mapping[str, ArrayLike]:
        """One row a bin."""
        return {"length_A": self.length, "density_1/A": self.density, "error_1/A": self.error}

    def plot(self, ax: Any = None) -> Any:
        """Draw it on a matplotlib axis; returns the axis."""
        ax = plot_axes(ax)
        ax.errorbar(self.length, self.density, np.nan_to_num(self.error), drawstyle="steps-mid", capsize=2)
        ax.set(xlabel="length of a jump (Å)", ylabel="probability (1/Å)", ylim=(0, None))
        return ax


@dataclass(frozen=True)
class Residence(Result):
    """How many ions are still in the cage that they jumped to (Kaplan and Meier, J. Am. Stat. Assoc. 53, 457 (1958)).

    Rests that the end of the run cuts off count as long as they are seen.

    Attributes
    ----------
    time
        Shape (T,): time since the jump, ps; the first is the settling time, which every rest lasts.
    remaining
        Shape (T,): share that is still there.
    exponential
        Shape (T,): the same of an exponential law with the mean residence time.
    """

    time: Floats
    remaining: Floats
    exponential: Floats

    def columns(self) -> Mapping[str, ArrayLike]:
        """One row a time."""
        return {"time_ps": self.time, "remaining": self.remaining, "exponential": self.exponential}

    def plot(self, ax: Any = None) -> Any:
        """Draw it on a matplotlib axis with a logarithmic ordinate; returns the axis."""
        ax = plot_axes(ax)
        ax.semilogy(self.time, self.remaining, drawstyle="steps-post", label="ions")
        ax.semilogy(self.time, self.exponential, ":", color="0.5", label="exponential law")
        ax.set(xlabel="time since the jump (ps)", ylabel="share still there")
        ax.legend(frameon=False)
        return ax


def jump_lengths(result: JumpResult) -> JumpLengths:
    """Distribution of the lengths of jumps, in bins of 0.25 A from the threshold on."""
    longest = float(result.lengths.max()) if len(result.lengths) else result.threshold
    n_bins = max(1, math.ceil((longest - result.threshold) / _LENGTH_BIN + 1e-9))
    which = np.minimum(((result.lengths - result.threshold) / _LENGTH_BIN).astype(np.int64), n_bins - 1)
    counts = np.zeros((result.n_ions, n_bins))
    np.add.at(counts, (result.ion, which), 1)

    def density(total: Floats) -> Floats:
        return np.asarray(total / (total.sum() * _LENGTH_BIN))

    centres = result.threshold + _LENGTH_BIN * (np.arange(n_bins, dtype=np.float64) + 0.5)
    if not len(result.lengths):
        return JumpLengths(centres, np.full(n_bins, np.nan), np.full(n_bins, np.nan))
    from scipy.special import stdtrit

    value, error, groups = jackknife_error(counts, density)
    half = float(stdtrit(groups - 1, 0.975)) * error if groups >= FEWEST_GROUPS else np.full(n_bins, np.nan)
    return JumpLengths(centres, value, np.asarray(half))


def residence(result: JumpResult) -> Residence:
    """Share of the ions that are still in the cage that they jumped to, against time."""
    cages, interval = result.cages, result.frame_interval
    came, left = np.zeros(len(cages.ion), dtype=bool), np.zeros(len(cages.ion), dtype=bool)
    came[cages.left + 1], left[cages.left] = True, True
    frames, ended = (cages.stop - cages.start)[came], left[came]
    lengths = np.unique(frames[ended])
    at_risk = len(frames) - np.searchsorted(np.sort(frames), lengths)
    leaving = np.array([np.sum(frames[ended] == length) for length in lengths])
    time = interval * np.concatenate([[cages.fewest], lengths])
    remaining = np.concatenate([[1.0], np.cumprod(1 - leaving / at_risk)])
    exponential = np.exp(-(time - time[0]) * result.rate.value / 1000)
    return Residence(time, remaining, exponential)
