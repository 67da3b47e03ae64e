"""Partial and total structure factors S(q), summed over the reciprocal lattice vectors of each frame's box."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.averages import BlockedSums, mean_estimate
from napos_lmp.analysis.base import AtomSet, Estimate, Floats, Result, checked_atoms, checked_frames
from napos_lmp.analysis.frames import Frame, measure_frames
from napos_lmp.analysis.pairs.peaks import PeakPlace, find_peaks, full_width, jackknife, peak_top
from napos_lmp.analysis.pairs.reciprocal import VectorSample, complete_up_to
from napos_lmp.analysis.pairs.scattering import LABELS, RADIATIONS, faber_ziman_weights
from napos_lmp.errors import AnalysisError

SHARP_PEAK_BEFORE = 2.5
"""Wave number in 1/A below which the first peak of S(q) is taken for the first sharp diffraction peak."""

_SMOOTHING = 0.05
_LEAST_CHANGE = 0.02
_LEAST_BINS = 3


@dataclass(frozen=True)
class SharpPeak:
    """First sharp diffraction peak of a total structure factor.

    Attributes
    ----------
    position, height
        Place of the maximum in 1/A and S(q) there; NaN where there is no such peak.
    width
        Full width in 1/A at half height over the line through the minima on both sides.
    refused
        Why there is none; empty where there is one.
    """

    position: Estimate
    height: Estimate
    width: Estimate
    refused: str = ""


@dataclass(frozen=True)
class StructureFactorResult(Result):
    """Structure factors of a trajectory.

    Attributes
    ----------
    q
        Shape (Q,): mean length in 1/A of the vectors in each bin; bins that hold none are left out.
    bin_width
        Width of a bin, 1/A.
    vectors
        Shape (Q,): vectors in each bin, mean over frames, q and -q counted once.
    partial
        S_ab(q) after Faber and Ziman, shape (Q,), for each unordered pair by name such as "P-S".
    partial_error
        Half width of the 95 % interval of each; NaN where the frames give none.
    total, total_error
        The same weighted for `neutron` and `xray`.
    sharp_peak
        First sharp diffraction peak of each total.
    refusals
        Totals that cannot be made, and why.
    counts
        Atoms of each element.
    density
        Mean number density, atoms/A^3.
    n_frames
        Frames averaged over.
    q_smallest
        Length of the shortest vector in any frame, 1/A: what the box allows.
    q_complete
        Length up to which every vector of every frame is counted, 1/A; beyond, a sample is.
    q_max
        Longest vectors, 1/A.
    """

    q: Floats
    bin_width: float
    vectors: Floats
    partial: dict[str, Floats]
    partial_error: dict[str, Floats]
    total: dict[str, Floats]
    total_error: dict[str, Floats]
    sharp_peak: dict[str, SharpPeak]
    refusals: dict[str, str]
    counts: dict[str, int]
    density: float
    n_frames: int
    q_smallest: float
    q_complete: float
    q_max: float

    def columns(self) -> Mapping[str, ArrayLike]:
        """Wave numbers, numbers of vectors, totals and partial structure factors with their half widths."""
        table: dict[str, ArrayLike] = {"q_1/A": self.q, "vectors": self.vectors}
        for radiation, values in self.total.items():
            table.update({f"S_{radiation}": values, f"S_{radiation}_error": self.total_error[radiation]})
        for name, values in self.partial.items():
            table.update({f"S_{name}": values, f"S_{name}_error": self.partial_error[name]})
        return table

    def plot(self, ax: Any, curves: list[str] | None = None) -> Any:
        """Draw the totals, or curves named such as "P-S" or "xray", on a matplotlib axis; returns the axis."""
        known = {**self.total, **self.partial}
        for name in list(self.total or self.partial) if curves is None else curves:
            label = LABELS.get(name, name)
            ax.plot(self.q, known[name], label=label, linewidth=1.2)
        ax.axhline(1.0, color="0.7", linewidth=0.8, zorder=0)
        ax.set(xlabel="q (1/Å)", ylabel="S(q)", xlim=(0, self.q_max))
        ax.legend(frameon=False, ncols=2)
        return ax


class StructureFactor:
    """Partial structure factors in one pass over the frames, straight from the positions.

    S_ab(q) = 1 + N <rho_a(q) rho_b(-q)> / (N_a N_b) - delta_ab N / N_a (T. E. Faber and J. M. Ziman, Philos. Mag. 11,
    153 (1965)), the mean over the vectors of each frame's own reciprocal lattice in a bin of |q| and over frames. A
    total is sum_ab w_ab(q) S_ab(q) with :func:`~napos_lmp.analysis.pairs.scattering.faber_ziman_weights`.

    Parameters
    ----------
    source
        MDAnalysis Universe or AtomGroup with elements.
    q_max
        Longest vectors, 1/A.
    bin_width
        Width of a bin in 1/A; adjusted so that a whole number of bins fits.
    vectors_per_bin
        Most vectors to take in a bin. Bins at low q hold fewer, and all of them are taken; how the others are sampled
        says :class:`~napos_lmp.analysis.pairs.reciprocal.VectorSample`.

    Raises
    ------
    AnalysisError
        If elements or the box are missing, or a parameter is out of range.
    """

    def __init__(
        self, source: Any, *, q_max: float = 20.0, bin_width: float = 0.05, vectors_per_bin: int = 300
    ) -> None:
        if not (math.isfinite(q_max) and 0 < q_max <= 75):
            raise AnalysisError(f"q_max is {q_max} 1/A; it must be positive and at most 75")
        if not (math.isfinite(bin_width) and 0 < bin_width <= q_max / 2):
            raise AnalysisError(f"bin_width is {bin_width} 1/A; it must be positive and fit twice into q_max")
        if vectors_per_bin < 1:
            raise AnalysisError(f"vectors_per_bin is {vectors_per_bin}; it must be at least 1")
        self._atoms = checked_atoms(source)
        self._q_max = q_max
        self._n_bins = round(q_max / bin_width)
        self._vectors_per_bin = vectors_per_bin

    def run(
        self, start: int | None = None, stop: int | None = None, step: int | None = None, workers: int | None = None
    ) -> StructureFactorResult:
        """Sum the frames `start:stop:step` with at most `workers` processes (all cores by default).

        Raises
        ------
        AnalysisError
            If there are no such frames, a frame has no box, or the box has no reciprocal vector below `q_max`.
        """
        frames = checked_frames(self._atoms.atoms.universe.trajectory, start, stop, step)
        reader = _Reader(self._atoms, self._q_max, self._n_bins, self._vectors_per_bin)
        sums = _Sums(self._atoms, reader)
        for found in measure_frames(self._atoms, frames, reader, workers):
            sums.add(found)
        return sums.result()


@dataclass(frozen=True)
class _Found:
    """One frame: sums over the vectors of each bin (pairs, their number, their lengths), and its box's limits."""

    sums: Floats
    volume: float
    q_smallest: float
    q_complete: float


class _Reader:
    """Products of densities of one frame, summed over the vectors of each bin."""

    def __init__(self, atoms: AtomSet, q_max: float, n_bins: int, vectors_per_bin: int) -> None:
        self._types = atoms.types
        self._kinds = len(atoms.elements)
        self._most = vectors_per_bin
        self.q_max, self.n_bins = q_max, n_bins
        self.pairs = list(combinations_with_replacement(range(self._kinds), 2))

    def __call__(self, frame: Frame) -> _Found:
        volume = abs(float(np.linalg.det(frame.box)))
        complete = complete_up_to(volume, self.q_max / self.n_bins, self._most)
        sample = VectorSample.of_box(frame.box, self.q_max, complete)
        lengths = sample.lengths()
        if len(lengths) == 0:
            raise AnalysisError(
                f"q_max is {self.q_max:g} 1/A; the box of frame {frame.number} has no reciprocal vector that short"
            )
        densities = sample.densities(frame.positions, self._types, self._kinds)
        place = np.minimum((lengths * (self.n_bins / self.q_max)).astype(np.int64), self.n_bins - 1)
        parts = densities.view(np.float64).reshape(self._kinds, -1, 2)
        sums = np.empty((len(self.pairs) + 2, self.n_bins))
        for row, (a, b) in enumerate(self.pairs):
            product = np.einsum("vc,vc->v", parts[a], parts[b])
            sums[row] = np.bincount(place, product, minlength=self.n_bins)
        sums[-2] = np.bincount(place, minlength=self.n_bins)
        sums[-1] = np.bincount(place, lengths, minlength=self.n_bins)
        return _Found(sums, volume, float(lengths.min()), sample.q_complete)


class _Sums:
    """Sums over frames, and the structure factors that they give."""

    def __init__(self, atoms: AtomSet, reader: _Reader) -> None:
        self._counts = atoms.counts
        self._pairs, self._q_max, self._n_bins = reader.pairs, reader.q_max, reader.n_bins
        self._sums = BlockedSums((len(self._pairs) + 2, self._n_bins), np.float64)
        self._volume = 0.0
        self._smallest = self._complete = math.inf

    def add(self, found: _Found) -> None:
        self._sums.add(found.sums)
        self._volume += found.volume
        self._smallest = min(self._smallest, found.q_smallest)
        self._complete = min(self._complete, found.q_complete)

    def result(self) -> StructureFactorResult:
        frames = self._sums.frames
        mean = self._sums.total / frames
        held = mean[-2] > 0
        mean, blocks = mean[:, held], self._sums.block_means[..., held]
        q = mean[-1] / mean[-2]
        partial, curves = self._partial(mean), self._partial(blocks)
        weights, refusals = self._weights(q)
        totals = {radiation: _weighted(partial, weight) for radiation, weight in weights.items()}
        errors = {name: self._half_widths(curve) for name, curve in curves.items()}
        total_errors = {radiation: self._half_widths(_weighted(curves, w)) for radiation, w in weights.items()}
        return StructureFactorResult(
            q=q,
            bin_width=self._q_max / self._n_bins,
            vectors=mean[-2],
            partial=partial,
            partial_error=errors,
            total=totals,
            total_error=total_errors,
            sharp_peak={name: self._sharp_peak(q, mean, blocks, weights[name], total_errors[name]) for name in totals},
            refusals=refusals,
            counts=self._counts,
            density=sum(self._counts.values()) / (self._volume / frames),
            n_frames=frames,
            q_smallest=self._smallest,
            q_complete=self._complete,
            q_max=self._q_max,
        )

    def _partial(self, sums: Floats) -> dict[str, Floats]:
        """S_ab from sums of shape (..., pairs + 2, bins); NaN where a block holds no vector."""
        elements = list(self._counts)
        n = sum(self._counts.values())
        partial = {}
        for row, (a, b) in enumerate(self._pairs):
            n_a, n_b = self._counts[elements[a]], self._counts[elements[b]]
            with np.errstate(invalid="ignore", divide="ignore"):
                products = sums[..., row, :] / sums[..., -2, :]
            partial[f"{elements[a]}-{elements[b]}"] = 1 + n / (n_a * n_b) * products - (n / n_a if a == b else 0)
        return partial

    def _weights(self, q: Floats) -> tuple[dict[str, dict[str, Floats]], dict[str, str]]:
        weights, refusals = {}, {}
        for radiation in RADIATIONS:
            try:
                weights[radiation] = faber_ziman_weights(radiation, self._counts, q)
            except AnalysisError as error:
                refusals[radiation] = str(error)
        return weights, refusals

    def _half_widths(self, blocks: Floats) -> Floats:
        estimates = (mean_estimate(column[np.isfinite(column)], "") if len(column) else None for column in blocks.T)
        return np.array([(e.high - e.low) / 2 if e is not None else math.nan for e in estimates])

    def _sharp_peak(
        self, q: Floats, mean: Floats, blocks: Floats, weights: dict[str, Floats], error: Floats
    ) -> SharpPeak:
        curve = _weighted(self._partial(mean), weights)
        place, reason = _find_sharp_peak(q, curve, mean[-2] * self._sums.frames, error)
        if place is None:
            none = Estimate(math.nan, math.nan, math.nan, "", note=reason)
            return SharpPeak(none, none, none, reason)
        position, height, width = jackknife(
            blocks,
            mean,
            self._sums.length,
            lambda sums: _peak_numbers(q, _weighted(self._partial(sums), weights), place, self._q_max / self._n_bins),
            ("1/Å", "", "1/Å"),
        )
        return SharpPeak(position, height, width)


def _weighted(curves: Mapping[str, Floats], weights: Mapping[str, Floats]) -> Floats:
    total: Floats = np.sum([weights[name] * curve for name, curve in curves.items()], axis=0)
    return total


def _smoothed(q: Floats, curve: Floats) -> Floats:
    """A curve, or some (m, Q), smoothed with a Gaussian; bins may be missing."""
    kernel = np.exp(-((q[:, None] - q[None]) ** 2) / (2 * _SMOOTHING**2))
    smooth: Floats = curve @ (kernel / kernel.sum(axis=1, keepdims=True)).T
    return smooth


def _find_sharp_peak(q: Floats, curve: Floats, vectors: Floats, error: Floats) -> tuple[PeakPlace | None, str]:
    """The first peak of a total S(q) that stands out of its noise, or why there is none."""
    near = q < 2 * SHARP_PEAK_BEFORE
    q, curve, vectors, error = q[near], curve[near], vectors[near], error[near]
    if len(q) < 2 * _LEAST_BINS:
        return None, f"only {len(q)} bins of S(q) lie below {2 * SHARP_PEAK_BEFORE:g} 1/Å; the box is too small"
    smooth = _smoothed(q, curve)
    noise = np.fmax(np.abs(smooth) / np.sqrt(vectors), error / 1.96)
    places = find_peaks(smooth, np.maximum(_LEAST_CHANGE, 3 * noise))
    if not places or q[places[0].top] > SHARP_PEAK_BEFORE:
        return None, f"S(q) has no peak below {SHARP_PEAK_BEFORE:g} 1/Å that stands out of its noise"
    if places[0].top < _LEAST_BINS:
        return None, (
            f"the first peak of S(q), at {q[places[0].top]:.2f} 1/Å, has fewer than {_LEAST_BINS} bins before it: the "
            f"smallest wave number of the box is {q[0]:.2f} 1/Å"
        )
    return places[0], ""


def _peak_numbers(q: Floats, curves: Floats, place: PeakPlace, bin_width: float) -> Floats:
    """Position, height and width, shape (m, 3), of a peak of curves (m, Q), of which the first is the mean."""
    stop = min(len(q), place.right + 20)
    q, curves = q[:stop], curves[:, :stop]
    smooth = _smoothed(q, curves)
    share = (q - q[place.left]) / (q[place.right] - q[place.left])
    background = smooth[:, [place.left]] + share * (smooth[:, [place.right]] - smooth[:, [place.left]])
    position, height = peak_top(q, curves, place, smooth[0], base=float(background[0, place.top]))
    half = background + (smooth - background)[:, [place.top]] / 2
    width = full_width(q, smooth, place, half, math.hypot(_SMOOTHING, bin_width / math.sqrt(12)))
    return np.column_stack([position, height, width])
