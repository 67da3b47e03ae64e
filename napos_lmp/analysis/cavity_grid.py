"""A periodic grid of points, the spheres that cover some of them, and the connected places that are left."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from napos_lmp.analysis.base import Floats, Integers
from napos_lmp.analysis.neighbours import box_heights

Mask = NDArray[np.bool_]

_CHUNK = 4_000_000
_ORIGIN = np.array([0.237, 0.419, 0.683])


class SphereGrid:
    """Points along the box vectors, one in each of equal cells, off the planes on which crystals have atoms.

    Parameters
    ----------
    box
        Shape (3, 3), the box vectors as rows, A; any angles.
    points
        Number of points along each.
    """

    def __init__(self, box: Floats, points: Integers) -> None:
        self.box, self.shape = box, tuple(int(n) for n in points)
        self._points = np.asarray(points, dtype=np.int64)
        self._cell = box / self._points[:, None]

    @property
    def point_volume(self) -> float:
        """Volume that a point stands for, A^3."""
        return abs(float(np.linalg.det(self._cell)))

    @property
    def coarseness(self) -> float:
        """Distance in A within which there is a point from anywhere: half the longest diagonal of a cell."""
        corners = np.array(list(itertools.product((-0.5, 0.5), repeat=3))) @ self._cell
        return float(np.linalg.norm(corners, axis=1).max())

    def covered(self, positions: Floats, radii: Floats) -> Mask:
        """Which points lie inside a sphere or its periodic images; `positions` (N, 3) and `radii` (N,) in A."""
        place = (positions @ np.linalg.inv(self.box) % 1.0) * self._points - _ORIGIN
        base = np.rint(place).astype(np.int64)
        aside = (place - base) @ self._cell
        pad = self._reach(float(radii.max(initial=0)))
        padded = np.zeros(self._points + 2 * pad + 1, dtype=np.bool_)
        flat = padded.reshape(-1)
        stride = np.array([padded.shape[1] * padded.shape[2], padded.shape[2], 1])
        for radius in np.unique(radii):
            offsets = self._offsets(float(radius))
            vectors, steps = offsets @ self._cell, offsets @ stride
            squared = np.einsum("ij,ij->i", vectors, vectors)
            chosen = np.flatnonzero(radii == radius)
            for part in np.array_split(chosen, -(-len(chosen) * len(offsets) // _CHUNK)):
                away = squared - 2 * aside[part] @ vectors.T
                inside = away <= (radius**2 - np.einsum("ij,ij->i", aside[part], aside[part]))[:, None]
                first = (base[part] + pad + 1) @ stride
                flat[(first[:, None] + steps)[inside]] = True
        for axis in range(3):
            padded = _folded(padded, axis, int(pad[axis]) + 1, self.shape[axis])
        return padded

    def _reach(self, radius: float) -> Integers:
        """Most points along each box vector from an atom's own point to one inside its sphere."""
        reach: Integers = np.ceil(radius / box_heights(self._cell) + 0.5).astype(np.int64)
        return reach

    def _offsets(self, radius: float) -> Integers:
        """Steps to all points that may be within `radius` of an atom half a cell aside at most."""
        most = self._reach(radius)
        steps = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in most), indexing="ij"), axis=-1).reshape(-1, 3)
        near: Integers = steps[np.linalg.norm(steps @ self._cell, axis=1) <= radius + self.coarseness]
        return near

    def clearance(self, where: Integers, positions: Floats, radii: Floats) -> Floats:
        """Distance in A from points (flat indices) to the nearest surface of a sphere or its images."""
        from scipy.spatial import cKDTree

        points = (np.column_stack(np.unravel_index(where, self.shape)) + _ORIGIN) / self._points @ self.box
        margin = 2 * float(radii.max())
        while True:
            nearest = np.full(len(where), np.inf)
            for radius in np.unique(radii):
                images = _images_within(positions[radii == radius], self.box, margin + float(radius))
                if len(images):
                    nearest = np.minimum(nearest, cKDTree(images).query(points)[0] - radius)
            if nearest.max(initial=0) <= margin:
                return nearest
            margin *= 2

    def cavities(self, accessible: Mask, passable: Mask) -> tuple[Integers, int]:
        """Number 1, 2, ... of the cavity that each accessible point is in, 0 elsewhere; and how many there are.

        Two accessible points are in one cavity when a way over face neighbours that are passable leads from one to the
        other, the periodic boundary being no wall.
        """
        from scipy.ndimage import label
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        places, count = label(passable)
        ends = []
        for axis in range(3):
            low, high = np.take(places, 0, axis=axis).ravel(), np.take(places, -1, axis=axis).ravel()
            ends.append(np.column_stack([low, high])[(low > 0) & (high > 0)])
        pairs = np.concatenate(ends)
        matrix = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count + 1, count + 1))
        merged = connected_components(matrix, directed=False)[1][places[accessible]]
        found, numbers = np.unique(merged, return_inverse=True)
        labels = np.zeros(self.shape, dtype=np.int64)
        labels[accessible] = numbers.reshape(-1) + 1
        return labels, len(found)

    def reached(self, labels: Integers, where: Integers, clearance: Floats) -> Integers:
        """The places with all that spheres as wide as the clearance around their points (`where`) reach.

        The ball between the atoms around a point is filled by probes, so that a place's edge does not depend on where
        points happen to lie.
        """
        reached = labels.copy()
        edge = np.flatnonzero(_at_edge(labels)[np.unravel_index(where, self.shape)])
        index, radius = np.unravel_index(where[edge], self.shape), clearance[edge]
        own = labels[index]
        longest = float(radius.max(initial=0))
        for step in self._offsets(longest):
            distance = float(np.linalg.norm(step @ self._cell))
            within = np.flatnonzero(radius >= distance)
            if len(within) == 0:
                continue
            target = tuple((index[axis][within] + step[axis]) % self.shape[axis] for axis in range(3))
            free = reached[target] == 0
            reached[tuple(part[free] for part in target)] = own[within][free]
        return reached


def sampling_error(chosen: Mask) -> float:
    """Standard error of the fraction of points chosen that comes from where the grid happens to lie.

    The eight grids of twice the spacing in it give eight such fractions. Their variance falls with the fourth power of
    the spacing for bodies with smooth surfaces (G. Matheron, 1971; M. G. Kendall, Q. J. Math. 19, 1 (1948)), so that
    the whole grid has a quarter of their standard deviation. All three numbers of points must be even.
    """
    a, b, c = (n // 2 for n in chosen.shape)
    fractions = chosen.reshape(a, 2, b, 2, c, 2).mean(axis=(0, 2, 4))
    return float(fractions.std(ddof=1)) / 4


def _folded(padded: Mask, axis: int, before: int, n: int) -> Mask:
    """The periodic grid, from one with slices before and behind along an axis."""
    moved = np.moveaxis(padded, axis, 0)
    folded = np.zeros((n, *moved.shape[1:]), dtype=np.bool_)
    for start in range(before % n - n if before % n else 0, len(moved), n):
        low, high = max(start, 0), min(start + n, len(moved))
        folded[low - start : high - start] |= moved[low:high]
    return np.moveaxis(folded, 0, axis)


def _at_edge(labels: Integers) -> Mask:
    """Which points have a face neighbour that is in no place."""
    outside = labels == 0
    edge = np.zeros(labels.shape, dtype=np.bool_)
    for axis in range(3):
        edge |= np.roll(outside, 1, axis) | np.roll(outside, -1, axis)
    return edge


def _images_within(positions: Floats, box: Floats, margin: float) -> Floats:
    """The positions in the box and their images up to `margin` around it."""
    pad = margin / box_heights(box)
    fractional = positions @ np.linalg.inv(box) % 1.0
    ranges = (range(-math.ceil(p), math.ceil(p) + 1) for p in pad.tolist())
    images = []
    for shift in itertools.product(*ranges):
        moved = fractional + shift
        images.append(moved[np.all((moved >= -pad) & (moved <= 1 + pad), axis=1)])
    found: Floats = np.concatenate(images) @ box
    return found
