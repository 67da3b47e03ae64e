"""A periodic grid of points, the spheres that cover some of them, and the connected places that are left."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napos_lmp.analysis.base import Floats, Integers
from napos_lmp.analysis.neighbours import box_heights

Mask = NDArray[np.bool_]

_CHUNK = 4_000_000
_ORIGIN = np.array([0.237, 0.419, 0.683])
_PUSHES = 20


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

    def points(self, where: Integers) -> Floats:
        """Positions of points given by their flat indices, shape (n, 3), A."""
        positions: Floats = (np.column_stack(np.unravel_index(where, self.shape)) + _ORIGIN) / self._points @ self.box
        return positions

    def covered(self, positions: Floats, radii: Floats) -> Mask:
        """Which points lie inside a sphere or its periodic images; `positions` (N, 3) and `radii` (N,) in A."""
        return self.painted(positions, radii, np.ones(len(radii), dtype=np.bool_))

    def painted(self, positions: Floats, radii: Floats, values: NDArray[Any]) -> NDArray[Any]:
        """The value of some sphere that each point lies inside, 0 where there is none; values are positive, (N,)."""
        place = (positions @ np.linalg.inv(self.box) % 1.0) * self._points - _ORIGIN
        base = np.rint(place).astype(np.int64)
        aside = (place - base) @ self._cell
        pad = self._reach(float(radii.max(initial=0)))
        padded = np.zeros(self._points + 2 * pad + 1, dtype=values.dtype)
        flat = padded.reshape(-1)
        stride = np.array([padded.shape[1] * padded.shape[2], padded.shape[2], 1])
        room = radii**2 - np.einsum("ij,ij->i", aside, aside)
        group = np.ceil(radii / self.coarseness)
        for widest in np.unique(group):
            chosen = np.flatnonzero(group == widest)
            offsets = self._offsets(float(radii[chosen].max()))
            vectors, steps = offsets @ self._cell, offsets @ stride
            squared = np.einsum("ij,ij->i", vectors, vectors)
            for part in np.array_split(chosen, -(-len(chosen) * len(offsets) // _CHUNK)):
                sphere, step = np.nonzero(squared - 2 * aside[part] @ vectors.T <= room[part, None])
                flat[((base[part] + pad + 1) @ stride)[sphere] + steps[step]] = values[part[sphere]]
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

    def places(self, passable: Mask) -> Integers:
        """Number 1, 2, ... of the connected place that each passable point is in, 0 elsewhere.

        Face neighbours are connected, also through the periodic boundary.
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
        merged: Integers = connected_components(matrix, directed=False)[1].astype(np.int64)[places]
        return merged


class Surfaces:
    """Surfaces of spheres at `positions` (N, 3) of `radii` (N,) in a periodic box, A."""

    def __init__(self, positions: Floats, radii: Floats, box: Floats) -> None:
        self._positions, self._radii, self._box = positions, radii, box
        self._margin = 2 * float(radii.max()) + 1
        self._plant()

    def _plant(self) -> None:
        from scipy.spatial import cKDTree

        self._trees = []
        for radius in np.unique(self._radii).tolist():
            here = self._positions[self._radii == radius]
            images = _images_within(here, self._box, self._margin + radius)
            if len(images):
                self._trees.append((radius, cKDTree(images)))

    def outward(self, points: Floats) -> tuple[Floats, Floats]:
        """Distance from points to the nearest surface, shape (n,), and the direction away from it, shape (n, 3)."""
        wrapped = points @ np.linalg.inv(self._box) % 1.0 @ self._box
        while True:
            nearest, away = np.full(len(points), np.inf), np.zeros((len(points), 3))
            for radius, tree in self._trees:
                distance, index = (np.asarray(found) for found in tree.query(wrapped))
                closer = distance - radius < nearest
                nearest[closer] = distance[closer] - radius
                away[closer] = wrapped[closer] - tree.data[index[closer]]
            if nearest.max(initial=0) <= self._margin:
                return nearest, away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-12)
            self._margin *= 2
            self._plant()


@dataclass(frozen=True)
class Hollows:
    """Where probes find room.

    Attributes
    ----------
    cavity
        Shape of the grid: number 1, 2, ... of the cavity in which a probe can cover each point, 0 elsewhere.
    count
        Number of cavities.
    largest_radius
        Radius of the largest sphere found between the atoms, A; 0 if no probe fits.
    """

    cavity: Integers
    count: int
    largest_radius: float


def hollows(grid: SphereGrid, surfaces: Surfaces, accessible: Mask, passable: Mask, probe: float) -> Hollows:
    """Cavities, and what probes in them can cover.

    Accessible points are in one cavity when a way over passable points leads from one to the other. From passable
    points where no probe fits, it is pushed away from the nearest atoms a few times; where it fits then, there is a
    cavity or an edge of one that lies between the points of the grid. All balls between the atoms around places where
    a probe fits are filled by probes, so that they are covered to their clearance.
    """
    places = grid.places(passable)
    inside, beside = np.flatnonzero(accessible), np.flatnonzero(passable & ~accessible)
    clearance = surfaces.outward(grid.points(inside))[0]
    pushed, room = _pushed(grid, surfaces, grid.points(beside), probe)
    edge = np.flatnonzero(_at_edge(accessible).reshape(-1)[inside])
    flat = places.reshape(-1)
    found = np.unique(np.concatenate([flat[inside], flat[beside[room >= probe]]]))
    number = np.zeros(int(flat.max(initial=0)) + 1, dtype=np.int32)
    number[found] = np.arange(1, len(found) + 1)
    fits = np.flatnonzero(room >= probe)
    centres = np.concatenate([grid.points(inside[edge]), pushed[fits]])
    radii = np.concatenate([clearance[edge], room[fits]])
    cavity = grid.painted(centres, radii, number[flat[np.concatenate([inside[edge], beside[fits]])]])
    cavity[accessible] = number[flat[inside]]
    largest = max(float(clearance.max(initial=0)), float(room[fits].max(initial=0)))
    return Hollows(cavity.astype(np.int64), len(found), largest)


def _pushed(grid: SphereGrid, surfaces: Surfaces, points: Floats, probe: float) -> tuple[Floats, Floats]:
    """Points moved away from surfaces nearer than the probe's radius, and their distances; -1 where they got lost."""
    moved, room = points.copy(), np.full(len(points), -1.0)
    tight = np.arange(len(points))
    for _ in range(_PUSHES):
        distance, away = surfaces.outward(moved[tight])
        room[tight] = distance
        short = distance < probe
        tight = tight[short]
        moved[tight] += away[short] * (probe * (1 + 1e-6) - distance[short])[:, None]
    lost = np.linalg.norm(moved - points, axis=1) > 2 * grid.coarseness
    return moved, np.where(lost, -1.0, room)


def sampling_error(chosen: Mask) -> float:
    """Standard error of the fraction of points chosen that comes from where the grid happens to lie.

    The eight grids of twice the spacing in it give eight such fractions. Their variance falls with the fourth power of
    the spacing for bodies with smooth surfaces (G. Matheron, 1971; M. G. Kendall, Q. J. Math. 19, 1 (1948)), so that
    the whole grid has a quarter of their standard deviation. All three numbers of points must be even.
    """
    a, b, c = (n // 2 for n in chosen.shape)
    fractions = chosen.reshape(a, 2, b, 2, c, 2).mean(axis=(0, 2, 4))
    return float(fractions.std(ddof=1)) / 4


def _folded(padded: NDArray[Any], axis: int, before: int, n: int) -> NDArray[Any]:
    """The periodic grid, from one with slices before and behind along an axis."""
    moved = np.moveaxis(padded, axis, 0)
    folded = np.zeros((n, *moved.shape[1:]), dtype=padded.dtype)
    for start in range(before % n - n if before % n else 0, len(moved), n):
        low, high = max(start, 0), min(start + n, len(moved))
        part = folded[low - start : high - start]
        np.maximum(part, moved[low:high], out=part)
    return np.moveaxis(folded, 0, axis)


def _at_edge(chosen: Mask) -> Mask:
    """Which points have a face neighbour that is not chosen."""
    edge = np.zeros(chosen.shape, dtype=np.bool_)
    for axis in range(3):
        edge |= ~np.roll(chosen, 1, axis) | ~np.roll(chosen, -1, axis)
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
