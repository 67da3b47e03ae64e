"""Fourier components of the density of each element on the reciprocal lattice of a periodic box.

rho_a(q) = sum_j exp(i q.r_j) over the atoms of element a, for q = 2 pi (h, k, l) B^-1 with B the box vectors. A
component is a product of three one-dimensional exponentials; those of one line (h, k) at all l are one matrix product,

    rho(h, k, +-l) = sum_j P_j (cos l z_j +- i sin l z_j),   P_j = exp(i (h x_j + k y_j)),

so that BLAS does the work. Lines go along the longest axis of the box.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napos_lmp.analysis.base import Floats, Integers
from napos_lmp.analysis.neighbours import box_heights

Complexes = NDArray[np.complex128]

_ATOMS = 256
_LINES = 96
_PLASTIC = 1.3247179572447460


@dataclass(frozen=True)
class VectorSample:
    """Vectors of a reciprocal lattice up to `q_max`, one of each pair q and -q.

    Up to `q_complete` every vector is there. Beyond, each is taken with the probability (q_complete / q)^2, the same
    for all of one length, so that a shell holds as many vectors as one at `q_complete`. Lines (h, k) are taken as a
    whole, out to q_complete / sqrt(u): u is the fractional part of 1/2 + h / g + k / g^2 with g = 1.3247..., a
    recurrence that covers the plane evenly and is no random number: the same box gives the same vectors.

    Attributes
    ----------
    box
        Shape (3, 3), the box vectors as rows, A.
    axes
        Order of the box's axes in which h, k and l are counted; the last is that of the lines.
    h, k, centre
        Shape (L,): indices of each line, and the integer l next to the foot of the perpendicular from the origin.
    reach
        Shape (L,): a line holds l = centre - reach ... centre + reach.
    first
        Shape (L,): the first of these that belongs to the sample, as an offset from centre - reach.
    beyond
        Shape (L,): one past the last that belongs to it.
    q_complete
        Length up to which all vectors are there, 1/A.
    """

    box: Floats
    axes: tuple[int, int, int]
    h: Integers
    k: Integers
    centre: Integers
    reach: Integers
    first: Integers
    beyond: Integers
    q_complete: float

    @classmethod
    def of_box(cls, box: Floats, q_max: float, q_complete: float = math.inf) -> VectorSample:
        """The vectors of one box; all up to `q_max` unless `q_complete` is shorter."""
        order = tuple(int(axis) for axis in np.argsort(box_heights(box), kind="stable"))
        metric = _metric(box, order)
        q_complete = min(q_complete, q_max)
        most = np.floor(q_max * np.linalg.norm(box[list(order[:2])], axis=1) / (2 * math.pi)).astype(np.int64)
        h, k = (grid.ravel() for grid in np.mgrid[0 : most[0] + 1, -most[1] : most[1] + 1])
        kept = (h > 0) | (k >= 0)
        h, k = h[kept], k[kept]
        foot, across = _feet(metric, h, k)
        spread = (0.5 + h / _PLASTIC + k / _PLASTIC**2) % 1.0
        end = np.minimum(q_max, q_complete / np.sqrt(spread))
        room = end * end - across
        inside = room >= 0
        h, k, foot, room = h[inside], k[inside], foot[inside], room[inside]
        half = np.sqrt(room / metric[2, 2])
        low, high = np.ceil(foot - half).astype(np.int64), np.floor(foot + half).astype(np.int64)
        low[(h == 0) & (k == 0)] = 1
        inside = low <= high
        h, k, foot, low, high = (values[inside] for values in (h, k, foot, low, high))
        centre = np.round(foot).astype(np.int64)
        reach = np.maximum(high - centre, centre - low)
        order_of_lines = np.argsort(-reach, kind="stable")
        h, k, centre, reach, low, high = (values[order_of_lines] for values in (h, k, centre, reach, low, high))
        axes = (order[0], order[1], order[2])
        return cls(box, axes, h, k, centre, reach, low - centre + reach, high - centre + reach + 1, q_complete)

    @property
    def n_vectors(self) -> int:
        """Number of vectors."""
        return int(np.sum(self.beyond - self.first))

    def indices(self) -> Integers:
        """Miller indices, shape (V, 3), of all vectors in the order of the box's own axes."""
        lengths = self.beyond - self.first
        line = np.repeat(np.arange(len(self.h)), lengths)
        place = np.arange(len(line)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        counted = np.empty((len(line), 3), dtype=np.int64)
        counted[:, self.axes[0]], counted[:, self.axes[1]] = self.h[line], self.k[line]
        counted[:, self.axes[2]] = (self.centre - self.reach + self.first)[line] + place
        return counted

    def lengths(self) -> Floats:
        """|q| of all vectors, shape (V,), 1/A, in the order of :meth:`indices`."""
        metric = _metric(self.box, self.axes)
        foot, across = _feet(metric, self.h, self.k)
        lengths = self.beyond - self.first
        begin = self.centre - self.reach + self.first - foot - (np.cumsum(lengths) - lengths)
        along = np.repeat(begin, lengths) + np.arange(int(lengths.sum()))
        squared: Floats = np.repeat(np.maximum(across, 0.0), lengths) + along * along * metric[2, 2]
        return np.sqrt(squared, out=squared)

    def vectors(self) -> Floats:
        """All vectors, shape (V, 3), 1/A, in the order of :meth:`indices`."""
        vectors: Floats = self.indices() @ (2 * math.pi * np.linalg.inv(self.box).T)
        return vectors

    def densities(self, positions: Floats, types: Integers, kinds: int) -> Complexes:
        """rho_a(q) of each element, shape (kinds, V), in the order of :meth:`indices`.

        Parameters
        ----------
        positions
            Shape (N, 3), A; need not be wrapped into the box.
        types
            Shape (N,): element of each atom, 0 to kinds - 1.
        kinds
            Number of elements.
        """
        fractional = (positions @ np.linalg.inv(self.box))[:, list(self.axes)]
        fractional -= np.floor(fractional)
        sums = [np.zeros((kinds, 2, end - begin, 2, int(self.reach[begin]) + 1)) for begin, end in self._batches()]
        for kind in range(kinds):
            mine = fractional[types == kind]
            for start in range(0, len(mine), _ATOMS):
                self._add(mine[start : start + _ATOMS], [part[kind] for part in sums])
        ends = np.cumsum(self.beyond - self.first)
        densities = np.empty((kinds, int(ends[-1]) if len(ends) else 0), dtype=np.complex128)
        for (begin, end), part in zip(self._batches(), sums, strict=True):
            columns = slice(int(ends[begin - 1]) if begin else 0, int(ends[end - 1]))
            densities[:, columns] = self._unfolded(begin, end, part)
        return densities

    def _batches(self) -> Iterator[tuple[int, int]]:
        return ((begin, min(begin + _LINES, len(self.h))) for begin in range(0, len(self.h), _LINES))

    def _add(self, fractional: Floats, sums: list[Floats]) -> None:
        """Add some atoms of one element; each entry of `sums` is (re or im of P, lines, cos or sin, l)."""
        x, y, z = fractional.T
        along_x = _powers(x, int(np.abs(self.h).max(initial=0)))
        along_y = _powers(y, int(np.abs(self.k).max(initial=0)))
        along_z = _powers(z, int(max(self.reach.max(initial=0), np.abs(self.centre).max(initial=0))))
        for (begin, end), part in zip(self._batches(), sums, strict=True):
            product = along_x[self.h[begin:end]]
            product *= _signed(along_y, self.k[begin:end])
            if np.any(self.centre[begin:end]):
                product *= _signed(along_z, self.centre[begin:end])
            lines = np.concatenate([product.real, product.imag])
            terms = along_z[: part.shape[-1]]
            waves = np.concatenate([terms.real, terms.imag])
            part += (lines @ waves.T).reshape(part.shape)

    def _unfolded(self, begin: int, end: int, sums: Floats) -> Complexes:
        """Densities, shape (kinds, vectors), of a batch of lines from their products with cosines and sines."""
        cosines, sines = sums[:, 0, :, 0], sums[:, 0, :, 1]
        more_cosines, more_sines = sums[:, 1, :, 0], sums[:, 1, :, 1]
        kinds, _, lines, _, most = sums.shape
        both = np.empty((kinds, lines, 2 * most - 1), dtype=np.complex128)
        np.subtract(cosines, more_sines, out=both.real[..., most - 1 :])
        np.add(sines, more_cosines, out=both.imag[..., most - 1 :])
        np.add(cosines, more_sines, out=both.real[..., most - 1 :: -1])
        np.subtract(more_cosines, sines, out=both.imag[..., most - 1 :: -1])
        offset = np.arange(1 - most, most)
        low = (self.first - self.reach)[begin:end, None]
        high = (self.beyond - self.reach)[begin:end, None]
        chosen = np.flatnonzero((offset >= low) & (offset < high))
        unfolded: Complexes = both.reshape(kinds, -1).take(chosen, axis=1)
        return unfolded


def complete_up_to(volume: float, bin_width: float, most: int) -> float:
    """Length in 1/A at which a shell of `bin_width` holds `most` vectors, of q and -q only one counted."""
    return math.sqrt(most * (2 * math.pi) ** 3 / (2 * math.pi * volume * bin_width))


def _metric(box: Floats, order: tuple[int, ...]) -> Floats:
    reciprocal = 2 * math.pi * np.linalg.inv(box).T[list(order)]
    metric: Floats = reciprocal @ reciprocal.T
    return metric


def _feet(metric: Floats, h: Integers, k: Integers) -> tuple[Floats, Floats]:
    """Where the perpendicular from the origin meets each line, in units of l, and its squared length."""
    lean = h * metric[0, 2] + k * metric[1, 2]
    squared = h * h * metric[0, 0] + 2 * h * k * metric[0, 1] + k * k * metric[1, 1]
    return -lean / metric[2, 2], squared - lean * lean / metric[2, 2]


def _powers(fractional: Floats, most: int) -> Complexes:
    """exp(2 pi i n x) for n = 0 ... most, shape (most + 1, atoms), by doubling."""
    powers = np.empty((most + 1, len(fractional)), dtype=np.complex128)
    powers[0] = 1
    done = 1
    while done <= most:
        factor = np.exp(2j * math.pi * ((done * fractional) % 1.0))
        more = min(done, most + 1 - done)
        np.multiply(powers[:more], factor, out=powers[done : done + more])
        done += more
    return powers


def _signed(powers: Complexes, numbers: Integers) -> Complexes:
    """Rows of `powers` for `numbers` of either sign."""
    rows = powers[np.abs(numbers)]
    np.conjugate(rows, out=rows, where=(numbers < 0)[:, None])
    return rows
