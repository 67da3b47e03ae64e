"""All pairs of atoms within a distance, each once, in any periodic box, in double precision.

freud's and MDAnalysis's neighbour queries store whole pair lists in single precision or test every pair; for partial
g(r) that is ten times slower than what stands here and moves pairs between bins. Atoms and the periodic images around
the box are sorted into thin columns of cells along the third box vector. The partners of an atom in one neighbouring
column are then one contiguous run: numba counts distances along it, and where pairs are wanted themselves they come as
runs of indices that numpy works through in cache-sized blocks. Memory does not grow with the number of pairs counted.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from napos_lmp.analysis.base import Floats, Integers
from napos_lmp.analysis.compiled import compiled

_BLOCK = 65536
_MARGIN = 1e-9


@dataclass(frozen=True)
class PairRuns:
    """A block of candidate pairs: atom `first[k]` with each of the `lengths[k]` next entries of `second`.

    `first` (R,) and `second` (C,) index the sorted sites of :class:`PairSearch`; `squared` (C,) is the squared distance
    in A^2. Candidates farther apart than the search distance are among them: the caller drops them.
    """

    first: Integers
    lengths: Integers
    second: Integers
    squared: Floats


class PairSearch:
    """Search for all pairs within `r_max`, each counted once, periodic images included.

    Parameters
    ----------
    positions
        Shape (N, 3), A; need not be wrapped into the box.
    box
        Shape (3, 3), the box vectors as rows, A; any angles.
    r_max
        Distance in A up to which pairs are found. Beyond half the box an atom pairs with several images of another.

    Attributes
    ----------
    owner
        Shape (M,): the atom behind each sorted site, M >= N because images are sites too.
    sites
        Shape (3, M): coordinates of the sites, A.
    """

    def __init__(self, positions: Floats, box: Floats, r_max: float) -> None:
        self._box = box
        self._r_max, self._r = r_max, r_max + _MARGIN
        heights = box_heights(box)
        spacing = (abs(np.linalg.det(box)) / len(positions)) ** (1 / 3)
        width = np.array([max(r_max / 2.5, spacing), max(r_max / 2.5, spacing), max(r_max / 16, spacing / 4)])
        self._cells = np.maximum(1, np.floor(heights / width)).astype(np.int64)
        self._layers = np.ceil(self._r / heights * self._cells).astype(np.int64)
        self._extent = self._cells + 2 * self._layers
        self._sort(positions)

    def _sort(self, positions: Floats) -> None:
        fractional = positions @ np.linalg.inv(self._box)
        whole = np.floor(fractional)
        cell = np.minimum(((fractional - whole) * self._cells).astype(np.int64), self._cells - 1)
        sites = positions - whole @ self._box
        owner = np.arange(len(positions))
        for axis in range(3):
            sites, cell, owner = self._with_images(axis, sites, cell, owner)
        flat = self._flat(cell + self._layers)
        order = np.argsort(flat, kind="stable")
        self.owner: Integers = owner[order]
        self.sites: Floats = np.ascontiguousarray(sites[order].T)
        self._home = np.flatnonzero(order < len(positions))
        self._home_cell = flat[order][self._home]
        self._start_of_cell = np.zeros(int(self._extent.prod()) + 1, dtype=np.int64)
        np.cumsum(np.bincount(flat, minlength=len(self._start_of_cell) - 1), out=self._start_of_cell[1:])

    def _with_images(
        self, axis: int, sites: Floats, cell: Integers, owner: Integers
    ) -> tuple[Floats, Integers, Integers]:
        n, layers = self._cells[axis], self._layers[axis]
        parts = [(sites, cell, owner)]
        for image in range(1, -(-layers // n) + 1):
            for sign in (1, -1):
                shifted = cell[:, axis] + sign * image * n
                chosen = np.flatnonzero((shifted >= -layers) & (shifted < n + layers))
                moved = cell[chosen]
                moved[:, axis] = shifted[chosen]
                parts.append((sites[chosen] + sign * image * self._box[axis], moved, owner[chosen]))
        return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))  # type: ignore[return-value]

    def _flat(self, cell: Integers) -> Integers:
        flat: Integers = (cell[:, 0] * self._extent[1] + cell[:, 1]) * self._extent[2] + cell[:, 2]
        return flat

    def histogram(self, types: Integers, kinds: int, n_bins: int) -> Integers:
        """Pairs by distance and kinds, shape (kinds, kinds, n_bins), each pair in one of its two orders.

        Parameters
        ----------
        types
            Shape (N,): kind of each atom, 0 to kinds - 1.
        kinds
            Number of kinds.
        n_bins
            Bins of equal width from 0 to `r_max`; the last edge is left out.
        """
        offsets = np.array(list(self._offsets()), dtype=np.int64)
        scale = n_bins / self._r_max
        kind = types[self.owner]
        counts: Integers = compiled(count_pairs)(
            self.sites, kind, self._home, self._home_cell, self._start_of_cell, offsets, scale, kinds, n_bins
        )
        return counts

    def runs(self) -> Iterator[PairRuns]:
        """Yield every pair within `r_max` once, in blocks, among some candidates farther apart."""
        x, y, z = self.sites
        for columns, low, high, same in self._offsets():
            base = self._home_cell + columns
            starts = self._home + 1 if same else self._start_of_cell.take(base + low)
            all_lengths = self._start_of_cell.take(base + high + 1) - starts
            ends = np.cumsum(all_lengths)
            shift = starts - ends + all_lengths
            edges = np.searchsorted(ends, np.arange(_BLOCK, ends[-1] + _BLOCK, _BLOCK), side="right")
            for begin, end in itertools.pairwise((0, *edges.tolist())):
                first, lengths = self._home[begin:end], all_lengths[begin:end]
                done = int(ends[begin - 1]) if begin else 0
                second = np.arange(done, done + int(lengths.sum()))
                second += np.repeat(shift[begin:end], lengths)
                squared = _squared_component(x, first, lengths, second)
                squared += _squared_component(y, first, lengths, second)
                squared += _squared_component(z, first, lengths, second)
                yield PairRuns(first, lengths, second, squared)

    def _offsets(self) -> Iterator[tuple[int, int, int, bool]]:
        """Half of the neighbouring columns: flat offset, lowest and highest cell along the column, same column or not.

        A pair is found from the site that comes first in the sorted order; images shift the order of a pair as a
        whole, so that it is found from one side only.
        """
        a, b, c = self._box
        c_squared = float(c @ c)
        lean_a, lean_b = float(a @ c) / c_squared, float(b @ c) / c_squared
        a, b = a - lean_a * c, b - lean_b * c
        metric = float(a @ a), float(a @ b), float(b @ b)
        n_a, n_b, n_c = (int(n) for n in self._cells)
        most_a, most_b, most_c = (int(n) for n in self._layers)
        for i in range(most_a + 1):
            for j in range(-most_b if i else 0, most_b + 1):
                s, t = ((i - 1) / n_a, (i + 1) / n_a), ((j - 1) / n_b, (j + 1) / n_b)
                room = self._r**2 - _nearest_squared(metric, s, t)
                if room < 0:
                    continue
                shear = [-lean_a * s_end - lean_b * t_end for s_end in s for t_end in t]
                reach = math.sqrt(room / c_squared)
                low = max(math.floor((min(shear) - reach) * n_c), -most_c)
                high = min(math.ceil((max(shear) + reach) * n_c), most_c)
                yield int((i * self._extent[1] + j) * self._extent[2]), low, high, i == j == 0


def _squared_component(coordinate: Floats, first: Integers, lengths: Integers, second: Integers) -> Floats:
    difference: Floats = coordinate.take(second)
    difference -= np.repeat(coordinate.take(first), lengths)
    difference *= difference
    return difference


def count_pairs(
    sites: Floats,
    kind: Integers,
    home: Integers,
    home_cell: Integers,
    start: Integers,
    offsets: Integers,
    scale: float,
    kinds: int,
    n_bins: int,
) -> Integers:
    """The loop of :meth:`PairSearch.histogram`, for numba to compile."""
    x, y, z = sites[0], sites[1], sites[2]
    counts = np.zeros((kinds, kinds, n_bins), dtype=np.int64)
    distance = np.empty(_BLOCK)
    for i in range(len(home)):
        m = home[i]
        mine = counts[kind[m]]
        for k in range(len(offsets)):
            base = home_cell[i] + offsets[k, 0]
            low = m + 1 if offsets[k, 3] else start[base + offsets[k, 1]]
            high = start[base + offsets[k, 2] + 1]
            while low < high:
                some = min(high - low, len(distance))
                for o in range(some):
                    a, b, c = x[low + o] - x[m], y[low + o] - y[m], z[low + o] - z[m]
                    distance[o] = math.sqrt(a * a + b * b + c * c) * scale
                for o in range(some):
                    if distance[o] < n_bins:
                        mine[kind[low + o], int(distance[o])] += 1
                low += some
    return counts


def box_heights(box: Floats) -> Floats:
    """The three perpendicular heights, shape (3,), of a box given by its vectors as rows."""
    heights: Floats = 1 / np.linalg.norm(np.linalg.inv(box), axis=0)
    return heights


def pairs_within(positions: Floats, box: Floats, r_max: float) -> tuple[Integers, Integers, Floats]:
    """All pairs at most `r_max` apart, each once.

    Returns
    -------
    first, second, vectors
        Atom indices, shape (P,) each, and the vector from the first to the second atom (or its image), shape (P, 3), A.
    """
    search = PairSearch(positions, box, r_max)
    found_first, found_second = [], []
    for run in search.runs():
        near = np.flatnonzero(run.squared <= r_max * r_max)
        found_first.append(np.repeat(run.first, run.lengths)[near])
        found_second.append(run.second[near])
    first, second = np.concatenate(found_first), np.concatenate(found_second)
    vectors = np.ascontiguousarray((search.sites[:, second] - search.sites[:, first]).T)
    return search.owner[first], search.owner[second], vectors


def _nearest_squared(metric: tuple[float, float, float], s: tuple[float, float], t: tuple[float, float]) -> float:
    """Smallest |s a + t b|^2 over a rectangle of s and t; `metric` holds a.a, a.b and b.b."""
    if s[0] <= 0 <= s[1] and t[0] <= 0 <= t[1]:
        return 0.0
    aa, ab, bb = metric
    nearest = math.inf
    for end in s:
        free = min(max(-end * ab / bb, t[0]), t[1])
        nearest = min(nearest, end * end * aa + 2 * end * free * ab + free * free * bb)
    for end in t:
        free = min(max(-end * ab / aa, s[0]), s[1])
        nearest = min(nearest, end * end * bb + 2 * end * free * ab + free * free * aa)
    return nearest
