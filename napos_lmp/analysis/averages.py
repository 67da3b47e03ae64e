"""Means over the frames of one run, with intervals that know that neighbouring frames are alike."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from napos_lmp.analysis.base import Estimate, Floats

FEWEST_BLOCKS = 4

K = TypeVar("K", bound=Hashable)


def statistical_inefficiency(series: ArrayLike) -> float:
    """Number of frames that tell as much as one independent frame, at least 1.

    1 + 2 sum_t (1 - t/N) rho(t), the sum cut where a pair rho(2k) + rho(2k+1) of autocorrelations stops being positive
    (Geyer, Stat. Sci. 7, 473 (1992); Chodera et al., J. Chem. Theory Comput. 3, 26 (2007)).
    """
    values = np.asarray(series, dtype=np.float64)
    n = len(values)
    deviation = values - values.mean()
    power = np.abs(np.fft.rfft(deviation, 2 * n)) ** 2
    covariance = np.fft.irfft(power)[:n]
    if n < 4 or covariance[0] <= 0:
        return 1.0
    rho = covariance / covariance[0]
    pairs = rho[: n // 2 * 2].reshape(-1, 2).sum(axis=1)
    stop = 2 * int(np.argmax(pairs <= 0)) if np.any(pairs <= 0) else len(pairs) * 2
    return max(1.0, float(2 * rho[:stop].sum() - 1))


def mean_estimate(
    series: ArrayLike,
    unit: str,
    *,
    value: float | None = None,
    frames_each: int = 1,
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> Estimate:
    """Mean of a time series with the 95 % interval of its block averages.

    Blocks are twice the statistical inefficiency long; the interval is Student's t of their means. It speaks for one
    run only: replicas tell how runs differ.

    Parameters
    ----------
    series
        Shape (N,): one value a frame, or the mean of each `frames_each` frames.
    unit
        Unit of the values.
    value
        The mean, where it is known from more frames than the series holds.
    frames_each
        Frames behind each entry, for the notes.
    limits
        Values outside of which the quantity cannot lie, such as (0, 1) for a fraction.

    Returns
    -------
    Estimate
        Without an interval, and with the reason, when there are fewer than four blocks or nothing varies.
    """
    values = np.asarray(series, dtype=np.float64)
    mean = float(values.mean()) if value is None else value
    frames = len(values) * frames_each
    if len(values) > 1 and np.ptp(values) <= 1e-12 * max(1.0, abs(mean)):
        return _bare(mean, unit, f"the same in all {frames} frames; only replicas can give an interval")
    if len(values) < 2 * FEWEST_BLOCKS:
        return _bare(mean, unit, f"{frames} frames are too few; an interval needs {2 * FEWEST_BLOCKS}")
    length = max(2, math.ceil(2 * statistical_inefficiency(values)))
    blocks = len(values) // length
    if blocks < FEWEST_BLOCKS:
        return _bare(
            mean, unit, f"{frames} frames change too slowly: {blocks} of the {FEWEST_BLOCKS} independent blocks needed"
        )
    from scipy.special import stdtrit

    means = values[len(values) - blocks * length :].reshape(blocks, length).mean(axis=1)
    half = float(stdtrit(blocks - 1, 0.975)) * float(means.std(ddof=1)) / math.sqrt(blocks)
    return Estimate(mean, max(limits[0], mean - half), min(limits[1], mean + half), unit)


def _bare(value: float, unit: str, note: str) -> Estimate:
    return Estimate(value, math.nan, math.nan, unit, note=note)


class BlockedSums:
    """Sums of an array over blocks of frames, in a memory that does not grow with the number of frames.

    Whenever 128 blocks are full, neighbours are joined and blocks become twice as long.
    """

    _MOST = 128

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike = np.int64) -> None:
        self._full: list[NDArray[Any]] = []
        self._current: NDArray[Any] = np.zeros(shape, dtype=dtype)
        self._pending = 0
        self.frames = 0
        self.length = 1

    def add(self, values: NDArray[Any]) -> None:
        """Add one frame."""
        self._current += values
        self._pending += 1
        self.frames += 1
        if self._pending < self.length:
            return
        self._full.append(self._current)
        self._current, self._pending = np.zeros_like(self._current), 0
        if len(self._full) == self._MOST:
            self._full = [a + b for a, b in zip(self._full[::2], self._full[1::2], strict=True)]
            self.length *= 2

    @property
    def total(self) -> NDArray[Any]:
        """Sum over all frames."""
        total: NDArray[Any] = sum(self._full, start=self._current.copy())
        return total

    @property
    def block_means(self) -> Floats:
        """Mean of each full block, shape (blocks, ...)."""
        means: Floats = np.array(self._full, dtype=np.float64) / self.length
        return means


class FrameAverages(Generic[K]):
    """Means over frames of named numbers, in a memory that does not grow with the number of frames.

    A number that a frame does not name is 0 there. Numbers are kept as sums over blocks of frames; whenever 512 blocks
    are full, neighbours are joined and blocks become twice as long.
    """

    _MOST = 512

    def __init__(self) -> None:
        self._full: dict[K, list[float]] = {}
        self._current: dict[K, float] = {}
        self._pending = 0
        self._n_full = 0
        self.frames = 0
        self.length = 1

    def add(self, numbers: Mapping[K, float]) -> None:
        """Add the numbers of one frame."""
        for key, value in numbers.items():
            self._current[key] = self._current.get(key, 0.0) + value
        self._pending += 1
        self.frames += 1
        if self._pending < self.length:
            return
        for key, value in self._current.items():
            self._blocks(key).append(value)
        self._current, self._pending = {}, 0
        self._n_full += 1
        if self._n_full == self._MOST:
            for key in self._full:
                blocks = self._blocks(key)
                self._full[key] = [a + b for a, b in zip(blocks[::2], blocks[1::2], strict=True)]
            self._n_full //= 2
            self.length *= 2

    def _blocks(self, key: K) -> list[float]:
        blocks = self._full.setdefault(key, [])
        blocks.extend([0.0] * (self._n_full - len(blocks)))
        return blocks

    @property
    def keys(self) -> tuple[K, ...]:
        """Names of all numbers added, sorted as text."""
        return tuple(sorted({*self._full, *self._current}, key=str))

    def total(self, key: K) -> float:
        """Sum over all frames."""
        return math.fsum(self._full.get(key, ())) + self._current.get(key, 0.0)

    def mean(self, key: K, unit: str, limits: tuple[float, float] = (-math.inf, math.inf)) -> Estimate:
        """Mean over all frames with its interval, as :func:`mean_estimate` gives it."""
        series = np.array(self._blocks(key)) / self.length
        return mean_estimate(series, unit, value=self.total(key) / self.frames, frames_each=self.length, limits=limits)

    def ratio(self, numerator: K, denominator: K, unit: str, *, limits: tuple[float, float], none: str) -> Estimate:
        """Ratio of two means, with the interval from the ratios of the blocks.

        `none` is the note of the estimate, a NaN, where the denominator is 0 in all frames.
        """
        below = self.total(denominator)
        if below == 0:
            return _bare(math.nan, unit, none)
        over, under = np.array(self._blocks(numerator)), np.array(self._blocks(denominator))
        known = under != 0
        value = self.total(numerator) / below
        return mean_estimate(over[known] / under[known], unit, value=value, frames_each=self.length, limits=limits)
