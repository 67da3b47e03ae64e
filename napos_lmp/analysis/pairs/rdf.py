"""All partial pair distribution functions of a trajectory in one pass, with first shells and coordination numbers."""

from __future__ import annotations

import dataclasses
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
from napos_lmp.analysis.frames import Frame, measure_frames
from napos_lmp.analysis.neighbours import PairSearch, box_heights
from napos_lmp.analysis.pairs.cutoffs import Cutoff, first_shell, table_cutoff
from napos_lmp.analysis.pairs.pair_tables import PairCorrelation, PeakTable, ShellTable
from napos_lmp.analysis.pairs.peaks import PairCurve, Peak, pair_peaks
from napos_lmp.errors import AnalysisError

LONGEST_DEFAULT = 10.0


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
    counts
        Atoms of each element.
    volume
        Mean volume of the box, A^3.
    density
        Mean number density N / V, atoms/A^3.
    r_limit
        Half the smallest height of the box in any frame, A: the farthest that g(r) could reach.
    """

    r: Floats
    edges: Floats
    pairs: dict[str, PairCorrelation]
    n_frames: int
    counts: dict[str, int]
    volume: float
    density: float
    r_limit: float
    _blocks: Floats
    _frames_each: int
    _variances: Floats

    @property
    def bin_width(self) -> float:
        """Width of a bin, A."""
        return float(self.edges[1] - self.edges[0])

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

    def peak_table(self) -> PeakTable:
        """The peaks of all pairs, one row a peak and direction."""
        return PeakTable(tuple(self.pairs.values()))

    def mixed(self, weights: Mapping[str, float]) -> PairCurve:
        """The sum of all g(r), weighted by pair, with its counting statistics and blocks of frames.

        Pairs of which the system holds none (the like atoms of a single one) are left out, g = 0.
        """
        factors = np.array([weights[name] for name in self.pairs])
        known = np.array([bool(np.isfinite(pair.g).all()) for pair in self.pairs.values()])
        factors, blocks = factors[known], self._blocks[:, known]
        g = factors @ np.array([pair.g for pair in self.pairs.values()])[known]
        variance = factors**2 @ self._variances[known]
        return PairCurve(self.edges, g, variance, np.einsum("p,npb->nb", factors, blocks), self._frames_each)

    def plot(self, ax: Any, pairs: list[str] | None = None) -> Any:
        """Draw g(r) of all pairs, or of some named such as "P-S", on a matplotlib axis; returns the axis."""
        for name in self.pairs if pairs is None else pairs:
            ax.plot(self.r, self.pair(*name.split("-")).g, label=name, linewidth=1.2)
        ax.axhline(1.0, color="0.7", linewidth=0.8, zorder=0)
        ax.set(xlabel="r (Å)", ylabel="g(r)", xlim=(0, self.edges[-1]))
        ax.legend(frameon=False, ncols=2)
        return ax


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
        sums = _PairSums(self._atoms, count, half)
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
        search = PairSearch(frame.positions, frame.box, self.r_max)
        ordered = search.histogram(self._types, self._kinds, self.n_bins)
        counts = np.array([ordered[a, b] + (ordered[b, a] if a != b else 0) for a, b in self.pairs])
        return counts, abs(float(np.linalg.det(frame.box)))


class _PairSums:
    """The histograms summed over frames, and what they tell."""

    def __init__(self, atoms: AtomSet, counter: _PairCounter, r_limit: float) -> None:
        self._elements = atoms.elements
        self._numbers = np.bincount(atoms.types, minlength=len(atoms.elements))
        self._r_max, self._n_bins, self._pairs = counter.r_max, counter.n_bins, counter.pairs
        self._r_limit = r_limit
        self._edges = np.linspace(0, self._r_max, self._n_bins + 1)
        shape = (len(self._pairs), self._n_bins)
        self._counts = BlockedSums(shape)
        self._densities = BlockedSums(shape, np.float64)
        self._block_counts: Floats = np.zeros((0, *shape))
        self._volume = 0.0

    def add(self, counts: Integers, volume: float) -> None:
        self._counts.add(counts)
        self._densities.add(counts * volume)
        self._volume += volume

    def result(self) -> PartialRDFResult:
        self._block_counts = self._counts.block_means
        names = ["-".join(self._elements[i] for i in pair) for pair in self._pairs]
        numbers = self._numbers.astype(np.float64)
        possible = np.array([numbers[a] * (numbers[b] - (a == b)) / (1 + (a == b)) for a, b in self._pairs])
        frames = self._counts.frames
        with np.errstate(divide="ignore", invalid="ignore"):
            each = 1 / (possible[:, None] * (4 / 3 * math.pi * np.diff(self._edges**3)))
            g = self._densities.total / frames * each
            blocks = self._densities.block_means * each
            ideal = frames * frames / self._volume / each
            variances = np.maximum(self._counts.total, 0.2) / ideal**2
        return PartialRDFResult(
            r=(self._edges[1:] + self._edges[:-1]) / 2,
            edges=self._edges,
            pairs={
                name: self._pair(
                    k, PairCurve(self._edges, g[k], variances[k], blocks[:, k], self._counts.length), ideal[k]
                )
                for k, name in enumerate(names)
            },
            n_frames=frames,
            counts={element: int(self._numbers[i]) for i, element in enumerate(self._elements)},
            volume=self._volume / frames,
            density=float(self._numbers.sum()) * frames / self._volume,
            r_limit=self._r_limit,
            _blocks=blocks,
            _frames_each=self._counts.length,
            _variances=variances,
        )

    def _pair(self, k: int, curve: PairCurve, ideal: Floats) -> PairCorrelation:
        a, b = self._pairs[k]
        frames = self._counts.frames
        counts: Integers = self._counts.total[k]
        fewer = frames * int(min(self._numbers[a], self._numbers[b]))
        shell = first_shell(self._edges, counts, ideal, fewer)
        cutoff = self._cutoff(a, b, shell.minimum, shell.note)
        directions = self._directions(a, b)
        peaks = self._peaks(k, curve, directions) if np.all(ideal > 0) else ()
        inside = [p for p in peaks if shell.peak - 0.3 < p.position.value < cutoff.value]
        first = max(inside, key=lambda peak: peak.height.value, default=None)
        return PairCorrelation(
            pair=(self._elements[a], self._elements[b]),
            g=curve.g,
            running={label: np.cumsum(counts) * factor / frames for label, factor in directions.items()},
            peak=first.position.value if first else shell.peak,
            peak_height=first.height.value if first else shell.height,
            first_shell=first,
            peaks=peaks,
            cutoff=cutoff,
            coordination={label: self._coordination(k, cutoff, factor) for label, factor in directions.items()},
            tail=self._tail(k, ideal),
            beyond=self._beyond(counts, ideal),
        )

    def _peaks(self, k: int, curve: PairCurve, directions: dict[str, float]) -> tuple[Peak, ...]:
        return tuple(
            dataclasses.replace(
                peak, area={label: self._within(k, place.left, place.right, f) for label, f in directions.items()}
            )
            for place, peak in pair_peaks(curve)
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
        return self._within(k, 0, round(cutoff.value / self._r_max * self._n_bins), factor)

    def _within(self, k: int, first: int, last: int, factor: float) -> Estimate:
        """Mean of the pairs a frame in some bins, times `factor`."""
        value = float(self._counts.total[k, first:last].sum()) * factor / self._counts.frames
        blocks = self._block_counts[:, k, first:last].sum(axis=1) * factor
        return mean_estimate(blocks, "atoms", value=value, frames_each=self._counts.length, limits=(0.0, math.inf))

    def _tail(self, k: int, ideal: Floats) -> Estimate:
        first = math.floor(0.8 * self._n_bins)
        expected = float(ideal[first:].sum()) / self._counts.frames
        if expected == 0:
            return Estimate(math.nan, math.nan, math.nan, "", note="there are no two atoms to make a pair")
        return dataclasses.replace(self._within(k, first, self._n_bins, 1 / expected), unit="")

    def _beyond(self, counts: Integers, ideal: Floats) -> float:
        sphere = 4 / 3 * math.pi * self._r_max**3
        mean_volume = self._volume / self._counts.frames
        possible = float(ideal.sum()) * mean_volume / sphere
        if possible == 0 or mean_volume <= sphere:
            return math.nan
        return float((possible - counts.sum()) / (possible - ideal.sum()))
