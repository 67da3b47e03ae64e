"""All partial pair distribution functions of a trajectory in one pass, with first shells and coordination numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.averages import BlockedSums, mean_estimate
from napos_lmp.analysis.base import (
    AtomSet,
    Estimate,
    Floats,
    Integers,
    Result,
    checked_atoms,
    checked_box,
    checked_frames,
)
from napos_lmp.analysis.cutoffs import Cutoff, first_shell, table_cutoff
from napos_lmp.analysis.frames import Frame, measure_frames
from napos_lmp.analysis.neighbours import PairSearch, box_heights
from napos_lmp.errors import AnalysisError

LONGEST_DEFAULT = 10.0


@dataclass(frozen=True)
class PairCorrelation:
    """What one pair of elements tells.

    Attributes
    ----------
    pair
        The two elements, in the order of the system's.
    g
        Shape (B,): g(r); NaN where there are no two atoms to make a pair.
    running
        Running coordination number n(r), shape (B,), at the outer edge of each bin, by direction such as "S around P".
    peak, peak_height
        Position in A and height of the first peak; NaN if there is none.
    cutoff
        End of the first shell and where it is from.
    coordination
        Neighbours within the cutoff, by direction.
    """

    pair: tuple[str, str]
    g: Floats
    running: dict[str, Floats]
    peak: float
    peak_height: float
    cutoff: Cutoff
    coordination: dict[str, Estimate]

    @property
    def name(self) -> str:
        """Such as "P-S"."""
        return "-".join(self.pair)


@dataclass(frozen=True)
class PartialRDFResult(Result):
    """All partial g(r) of a trajectory.

    Attributes
    ----------
    r
        Shape (B,): centres of the bins, A.
    edges
        Shape (B + 1,): edges of the bins, A.
    pairs
        One entry for each unordered pair of elements, by name such as "P-S".
    n_frames
        Frames averaged over.
    volume
        Mean volume of the box, A^3.
    """

    r: Floats
    edges: Floats
    pairs: dict[str, PairCorrelation]
    n_frames: int
    volume: float

    def pair(self, first: str, second: str) -> PairCorrelation:
        """The entry of two elements, in either order.

        Raises
        ------
        AnalysisError
            If there is none; the message lists those that are there.
        """
        for name in (f"{first}-{second}", f"{second}-{first}"):
            if name in self.pairs:
                return self.pairs[name]
        raise AnalysisError(f"pair {first}-{second} is not in the system; it has {', '.join(self.pairs)}")

    def columns(self) -> Mapping[str, ArrayLike]:
        """Distances, g(r) of each pair and running coordination numbers (at `r_outer_A`) of each direction."""
        table: dict[str, ArrayLike] = {"r_A": self.r}
        table.update({f"g_{name}": pair.g for name, pair in self.pairs.items()})
        table["r_outer_A"] = self.edges[1:]
        for pair in self.pairs.values():
            table.update({f"n_{label.replace(' ', '_')}": values for label, values in pair.running.items()})
        return table

    def shells(self) -> ShellTable:
        """First peaks, cutoffs and coordination numbers, one row a direction."""
        return ShellTable(tuple(self.pairs.values()))

    def plot(self, ax: Any, pairs: list[str] | None = None) -> Any:
        """Draw g(r) of all pairs, or of some named such as "P-S", on a matplotlib axis; returns the axis."""
        for name in self.pairs if pairs is None else pairs:
            ax.plot(self.r, self.pair(*name.split("-")).g, label=name, linewidth=1.2)
        ax.axhline(1.0, color="0.7", linewidth=0.8, zorder=0)
        ax.set(xlabel="r (Å)", ylabel="g(r)", xlim=(0, self.edges[-1]))
        ax.legend(frameon=False, ncols=2)
        return ax


@dataclass(frozen=True)
class ShellTable(Result):
    """First shells of all pairs as one table; made by :meth:`PartialRDFResult.shells`."""

    pairs: tuple[PairCorrelation, ...]

    def columns(self) -> Mapping[str, ArrayLike]:
        """One row for each direction of each pair."""
        rows = [(pair, label, number) for pair in self.pairs for label, number in pair.coordination.items()]
        return {
            "neighbours": [label for _, label, _ in rows],
            "first_peak_A": [pair.peak for pair, _, _ in rows],
            "first_peak_height": [pair.peak_height for pair, _, _ in rows],
            "cutoff_A": [pair.cutoff.value for pair, _, _ in rows],
            "cutoff_source": [pair.cutoff.source for pair, _, _ in rows],
            "coordination": [number.value for _, _, number in rows],
            "coordination_low": [number.low for _, _, number in rows],
            "coordination_high": [number.high for _, _, number in rows],
            "note": ["; ".join(filter(None, (pair.cutoff.note, number.note))) for pair, _, number in rows],
        }


class PartialRDF:
    """All partial pair distribution functions g(r) in one neighbour pass a frame.

    g_ab(r) = V n_ab(r) / (N_a N_b 4/3 pi (r2^3 - r1^3)) with n_ab the ordered pairs between r1 and r2, V the volume of
    the same frame, and N_a (N_a - 1) in place of N_a N_b for like atoms, so that an ideal gas gives 1 at any size. The
    bins and the numbers are those of MDAnalysis's ``InterRDF`` (with ``exclusion_block=(1, 1)`` for like atoms).

    Parameters
    ----------
    source
        MDAnalysis Universe or AtomGroup with elements.
    r_max
        Longest distance in A, at most half the smallest height of the box in any frame. By default just under that,
        and at most 10 A.
    bin_width
        Width of a bin in A; adjusted so that a whole number of bins fits.

    Raises
    ------
    AnalysisError
        If elements or the box are missing, or a parameter is out of range.
    """

    def __init__(self, source: Any, *, r_max: float | None = None, bin_width: float = 0.02) -> None:
        if r_max is not None and not (math.isfinite(r_max) and r_max > 0):
            raise AnalysisError(f"r_max is {r_max} A; it must be positive")
        if not (math.isfinite(bin_width) and 0 < bin_width <= (r_max or LONGEST_DEFAULT) / 2):
            raise AnalysisError(f"bin_width is {bin_width} A; it must be positive and fit twice into r_max")
        self._atoms = checked_atoms(source)
        self._r_max = r_max
        self._bin_width = bin_width

    def run(
        self, start: int | None = None, stop: int | None = None, step: int | None = None, workers: int | None = None
    ) -> PartialRDFResult:
        """Count the pairs of the frames `start:stop:step` with at most `workers` processes (all cores by default).

        Raises
        ------
        AnalysisError
            If there are no such frames, a frame has no box, or `r_max` is longer than half the box.
        """
        trajectory = self._atoms.atoms.universe.trajectory
        frames = checked_frames(trajectory, start, stop, step)
        half = min(float(box_heights(checked_box(trajectory[frame])).min()) for frame in frames) / 2
        if self._r_max is not None and self._r_max > half:
            raise AnalysisError(
                f"r_max is {self._r_max:g} A; it must be at most half the smallest height of the box, {half:.2f} A"
            )
        r_max = self._r_max or min(LONGEST_DEFAULT, math.floor(0.999 * half / self._bin_width) * self._bin_width)
        count = _PairCounter(self._atoms, r_max, max(2, round(r_max / self._bin_width)))
        sums = _PairSums(self._atoms, count)
        for counts, volume in measure_frames(self._atoms, frames, count, workers):
            sums.add(counts, volume)
        return sums.result()


class _PairCounter:
    """Histograms of the pair distances of one frame, by pair of elements."""

    def __init__(self, atoms: AtomSet, r_max: float, n_bins: int) -> None:
        self._types = atoms.types
        self._kinds = len(atoms.elements)
        self.r_max = r_max
        self.n_bins = n_bins
        self.pairs = list(combinations_with_replacement(range(self._kinds), 2))

    def __call__(self, frame: Frame) -> tuple[Integers, float]:
        """Pairs found, shape (pairs of elements, bins), and the volume in A^3."""
        kinds, stride = self._kinds, self.n_bins + 1
        search = PairSearch(frame.positions, frame.box, self.r_max)
        row = (self._types[search.owner] * stride).astype(np.float64)
        block = row * kinds
        histogram = np.zeros(kinds * kinds * stride, dtype=np.int64)
        for run in search.runs():
            place = np.sqrt(run.squared, out=run.squared)
            place *= self.n_bins / self.r_max
            np.minimum(place, self.n_bins, out=place)
            place += row.take(run.second)
            place += np.repeat(block.take(run.first), run.lengths)
            histogram += np.bincount(place.astype(np.int64), minlength=len(histogram))
        ordered = histogram.reshape(kinds, kinds, stride)[:, :, : self.n_bins]
        counts = np.array([ordered[a, b] + (ordered[b, a] if a != b else 0) for a, b in self.pairs])
        return counts, abs(float(np.linalg.det(frame.box)))


class _PairSums:
    """The histograms summed over frames, and what they tell."""

    def __init__(self, atoms: AtomSet, counter: _PairCounter) -> None:
        self._elements = atoms.elements
        self._numbers = np.bincount(atoms.types, minlength=len(atoms.elements))
        self._r_max, self._n_bins, self._pairs = counter.r_max, counter.n_bins, counter.pairs
        self._counts = BlockedSums((len(self._pairs), self._n_bins))
        self._volume = 0.0
        self._count_volume = np.zeros((len(self._pairs), self._n_bins))

    def add(self, counts: Integers, volume: float) -> None:
        self._counts.add(counts)
        self._volume += volume
        self._count_volume += counts * volume

    def result(self) -> PartialRDFResult:
        edges = np.linspace(0, self._r_max, self._n_bins + 1)
        names = ["-".join(self._elements[i] for i in pair) for pair in self._pairs]
        return PartialRDFResult(
            r=(edges[1:] + edges[:-1]) / 2,
            edges=edges,
            pairs={name: self._pair(k, edges) for k, name in enumerate(names)},
            n_frames=self._counts.frames,
            volume=self._volume / self._counts.frames,
        )

    def _pair(self, k: int, edges: Floats) -> PairCorrelation:
        a, b = self._pairs[k]
        n_a, n_b = int(self._numbers[a]), int(self._numbers[b])
        frames = self._counts.frames
        counts: Integers = self._counts.total[k]
        pairs = n_a * (n_a - 1) / 2 if a == b else n_a * n_b
        shells = 4 / 3 * math.pi * np.diff(edges**3)
        with np.errstate(divide="ignore", invalid="ignore"):
            g = self._count_volume[k] / (frames * pairs * shells)
            ideal = frames * frames * pairs * shells / self._volume
        shell = first_shell(edges, counts, ideal, frames * min(n_a, n_b))
        cutoff = self._cutoff(a, b, shell.minimum, shell.note)
        directions = self._directions(a, b)
        return PairCorrelation(
            pair=(self._elements[a], self._elements[b]),
            g=g,
            running={label: np.cumsum(counts) * factor / frames for label, factor in directions.items()},
            peak=shell.peak,
            peak_height=shell.height,
            cutoff=cutoff,
            coordination={label: self._coordination(k, cutoff, factor) for label, factor in directions.items()},
        )

    def _directions(self, a: int, b: int) -> dict[str, float]:
        first, second = self._elements[a], self._elements[b]
        if a == b:
            return {f"{first} around {first}": 2 / int(self._numbers[a])}
        return {
            f"{second} around {first}": 1 / int(self._numbers[a]),
            f"{first} around {second}": 1 / int(self._numbers[b]),
        }

    def _cutoff(self, a: int, b: int, minimum: float, note: str) -> Cutoff:
        if not math.isnan(minimum):
            return Cutoff(minimum, "data")
        cutoff = table_cutoff(self._elements[a], self._elements[b], note)
        if cutoff.value > self._r_max:
            return Cutoff(math.nan, "none", f"{note}, and the table's {cutoff.value:g} A is beyond r_max")
        return cutoff

    def _coordination(self, k: int, cutoff: Cutoff, factor: float) -> Estimate:
        if math.isnan(cutoff.value):
            return Estimate(math.nan, math.nan, math.nan, "atoms", note=cutoff.note)
        last = round(cutoff.value / self._r_max * self._n_bins)
        value = float(self._counts.total[k, :last].sum()) * factor / self._counts.frames
        blocks = self._counts.block_means[:, k, :last].sum(axis=1) * factor
        return mean_estimate(blocks, "atoms", value=value, frames_each=self._counts.length, limits=(0.0, math.inf))
