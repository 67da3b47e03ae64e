"""Primitive (shortest-path) rings of a periodic graph, found for all vertices at once.

A ring is primitive when no path through the graph between two of its vertices is shorter than the way along the ring
(D. S. Franzblau, Phys. Rev. B 44, 4925 (1991)). The search runs on the infinite graph that the periodic links stand
for: a vertex is a number and an image, so that a path that leaves the box and comes back in on the other side is no
ring. From each vertex, shortest paths are grown to half the ring (X. Yuan and A. N. Cormack, Comput. Mater. Sci. 24,
343 (2002)); two that meet, or whose ends are linked, close one. It is primitive if and only if all pairs of vertices
half a ring apart are that far apart in the graph, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napos_lmp.analysis.base import Integers

_BLOCK = 200_000
_ROOTS = 4096


@dataclass(frozen=True)
class FoundRings:
    """Rings of one size, each once or, with `repeats`, as often as it holds images of its lowest vertex.

    Attributes
    ----------
    vertices
        Shape (R, size): the vertices in their order around the ring.
    repeats
        Shape (R,): how often the ring stands here; 1 but for rings that hold two images of one vertex.
    """

    vertices: Integers
    repeats: Integers


def primitive_rings(n_vertices: int, links: Integers, images: Integers, max_size: int) -> Iterator[FoundRings]:
    """Yield the primitive rings of three to `max_size` vertices, in blocks of one size.

    Parameters
    ----------
    n_vertices
        Number of vertices in the cell.
    links
        Shape (L, 2): pairs of vertices, each pair of images once.
    images
        Shape (L, 3): image of the second vertex seen from the first; small numbers, as with vertices inside the box.
    max_size
        Vertices of the largest rings to look for.
    """
    if max_size < 3 or len(links) == 0:
        return
    graph = _Cover.of(n_vertices, links, images, max_size // 2)
    if len(graph.vertex) == 0:
        return
    everything = np.flatnonzero(np.diff(graph.start)).astype(np.int64)
    graph.measure_distances(everything, max_size // 2 - 1)
    for first in range(0, len(everything), _ROOTS):
        yield from _rings_of(graph, everything[first : first + _ROOTS], max_size)


class _Cover:
    """The infinite graph: neighbours of each vertex, and distances between vertices.

    A vertex with its image is one integer, vertex * span + image, where the three numbers of an image are digits of
    base `base`; sums and differences of images are sums and differences of these integers.
    """

    def __init__(self, n_vertices: int, base: int, start: Integers, vertex: Integers, step: Integers) -> None:
        self.n_vertices, self.span, self.zero = n_vertices, base**3, (base**3 - 1) // 2
        self.start, self.vertex, self.step = start, vertex, step
        self._near = np.zeros(0, dtype=np.int64)
        self._level = np.zeros(0, dtype=np.int64)

    @classmethod
    def of(cls, n_vertices: int, links: Integers, images: Integers, depth: int) -> _Cover:
        """Leave out links that end blindly: no ring passes there, and no shortest path between vertices of rings."""
        links, images = _without_dead_ends(n_vertices, links, images)
        base = 2 * max(depth, 1) * int(np.abs(images).max(initial=1)) + 1
        code = (images[:, 0] * base + images[:, 1]) * base + images[:, 2]
        origin = np.concatenate([links[:, 0], links[:, 1]])
        order = np.argsort(origin, kind="stable")
        vertex = np.concatenate([links[:, 1], links[:, 0]])[order]
        step = vertex * base**3 + np.concatenate([code, -code])[order]
        start = np.searchsorted(origin[order], np.arange(n_vertices + 1)).astype(np.int64)
        return cls(n_vertices, base, start, vertex, step)

    def vertex_of(self, place: Integers) -> Integers:
        """The vertex behind each place (vertex and image)."""
        vertices: Integers = (place + self.zero) // self.span
        return vertices

    def neighbours(self, places: Integers) -> tuple[Integers, Integers]:
        """For each place its neighbours: index into `places`, and the neighbour's place."""
        vertex = self.vertex_of(places)
        owner, entry = _runs(self.start[vertex], self.start[vertex + 1])
        return owner, self.step[entry] + (places - vertex * self.span)[owner]

    def key(self, root: Integers, place: Integers) -> Integers:
        """One integer for a place seen from a root in the cell at the origin."""
        keys: Integers = root * (self.n_vertices * self.span) + place + self.zero
        return keys

    def measure_distances(self, roots: Integers, depth: int) -> None:
        """Fill the table of all pairs at most `depth` links apart."""
        levels = [_Level(roots, roots * self.span, self.key(roots, roots * self.span))]
        before = np.zeros(0, dtype=np.int64)
        for _ in range(depth):
            last = levels[-1]
            owner, place = self.neighbours(last.place)
            key = np.unique(self.key(last.root[owner], place))
            key = key[~_among(key, last.key) & ~_among(key, before)]
            root = key // (self.n_vertices * self.span)
            levels.append(_Level(root, key - self.key(root, np.zeros_like(root)), key))
            before = last.key
        near = np.concatenate([level.key for level in levels])
        order = np.argsort(near)
        self._near = near[order]
        self._level = np.repeat(np.arange(len(levels)), [len(level.key) for level in levels])[order]

    def closer(self, first: Integers, second: Integers, distance: int) -> NDArray[np.bool_]:
        """Which pairs of places are fewer than `distance` links apart."""
        vertex = self.vertex_of(first)
        key = self.key(vertex, vertex * self.span + second - first)
        where = np.minimum(np.searchsorted(self._near, key), len(self._near) - 1)
        found: NDArray[np.bool_] = (self._near[where] == key) & (self._level[where] < distance)
        return found


@dataclass(frozen=True)
class _Level:
    """Places at one distance from roots, sorted by key."""

    root: Integers
    place: Integers
    key: Integers


@dataclass(frozen=True)
class _Paths:
    """Shortest paths of one length: `state` (P,) is the end's index in the level, `places` (P, length) the way there.

    Sorted by state; `start` (states + 1,) are the places where each state's paths begin.
    """

    state: Integers
    places: Integers
    start: Integers


def _rings_of(graph: _Cover, roots: Integers, max_size: int) -> Iterator[FoundRings]:
    """Rings whose lowest vertex is one of `roots`."""
    here = _Level(roots, roots * graph.span, graph.key(roots, roots * graph.span))
    paths = _Paths(np.arange(len(roots)), np.zeros((len(roots), 0), dtype=np.int64), np.arange(len(roots) + 1))
    for distance in range(1, max_size // 2 + 1):
        owner, place = graph.neighbours(here.place)
        root = here.root[owner]
        allowed = graph.vertex_of(place) >= root
        owner, place, root = owner[allowed], place[allowed], root[allowed]
        key = graph.key(root, place)
        new = ~graph.closer(root * graph.span, place, distance)
        unique, first, state = np.unique(key[new], return_index=True, return_inverse=True)
        here = _Level(root[new][first], place[new][first], unique)
        paths = _longer(paths, owner[new], state.reshape(-1), here)
        if len(paths.state) == 0:
            return
        if distance > 1:
            yield from _closed(graph, here, paths, _pairs_that_meet(paths), 2 * distance)
        if 2 * distance + 1 <= max_size:
            yield from _closed(graph, here, paths, _pairs_with_linked_ends(graph, here, paths), 2 * distance + 1)


def _longer(paths: _Paths, owner: Integers, state: Integers, level: _Level) -> _Paths:
    """Paths to the next level, along the edges from states `owner` to states `state`."""
    edge, old = _runs(paths.start[owner], paths.start[owner + 1])
    ends = state[edge]
    order = np.argsort(ends, kind="stable")
    ends, old = ends[order], old[order]
    places = np.column_stack([paths.places[old], level.place[ends]])
    return _Paths(ends, places, np.searchsorted(ends, np.arange(len(level.root) + 1)).astype(np.int64))


def _pairs_that_meet(paths: _Paths) -> Iterator[tuple[Integers, Integers]]:
    """Each two paths with the same end once, in blocks."""
    own = np.arange(len(paths.state))
    yield from _blocks(own, own + 1, paths.start[paths.state + 1])


def _pairs_with_linked_ends(graph: _Cover, level: _Level, paths: _Paths) -> Iterator[tuple[Integers, Integers]]:
    """Each two paths whose ends are neighbours at the same distance from the root once, in blocks."""
    owner, place = graph.neighbours(level.place)
    key = graph.key(level.root[owner], place)
    other = np.minimum(np.searchsorted(level.key, key), len(level.key) - 1)
    linked = (level.key[other] == key) & (owner < other)
    owner, other = owner[linked], other[linked]
    edge, first = _runs(paths.start[owner], paths.start[owner + 1])
    yield from _blocks(first, paths.start[other[edge]], paths.start[other[edge] + 1])


def _blocks(first: Integers, begin: Integers, end: Integers) -> Iterator[tuple[Integers, Integers]]:
    """Pairs of `first[k]` with all of `begin[k]`..`end[k]`, at most some 200,000 at a time."""
    total = np.cumsum(end - begin)
    if len(total) == 0 or total[-1] == 0:
        return
    edges = np.searchsorted(total, np.arange(_BLOCK, total[-1] + _BLOCK, _BLOCK), side="right")
    low = 0
    for high in edges.tolist():
        high = max(high, min(low + 1, len(total)))
        if high > low:
            owner, second = _runs(begin[low:high], end[low:high])
            yield first[low:high][owner], second
        low = high


def _closed(
    graph: _Cover, level: _Level, paths: _Paths, pairs: Iterator[tuple[Integers, Integers]], size: int
) -> Iterator[FoundRings]:
    """The primitive rings among pairs of paths."""
    half, odd = size // 2, size % 2
    opposite = [(i, half + 1 - i) for i in range(1, half + 1)] if odd else []
    opposite += [(i, half - i) for i in range(1, half)]
    for first, second in pairs:
        if not odd:
            apart = paths.places[first, 0] != paths.places[second, 0]
            apart &= paths.places[first, -2] != paths.places[second, -2]
            first, second = first[apart], second[apart]
        for i, j in opposite:
            far = ~graph.closer(paths.places[first, i - 1], paths.places[second, j - 1], half)
            first, second = first[far], second[far]
        if len(first) == 0:
            continue
        root = level.root[paths.state[first]]
        back = paths.places[second][:, ::-1] if odd else paths.places[second][:, -2::-1]
        around = graph.vertex_of(np.column_stack([paths.places[first], back]))
        repeats = 1 + np.sum(around == root[:, None], axis=1)
        yield FoundRings(np.column_stack([root, around]), repeats)


def _runs(begin: Integers, end: Integers) -> tuple[Integers, Integers]:
    """All integers of several ranges, one after the other: which range each is of, and the integer."""
    lengths = end - begin
    owner = np.repeat(np.arange(len(lengths)), lengths)
    first = np.cumsum(lengths) - lengths
    return owner, np.arange(len(owner)) + (begin - first)[owner]


def _among(values: Integers, table: Integers) -> NDArray[np.bool_]:
    """Which values stand in a sorted table."""
    if len(table) == 0:
        return np.zeros(len(values), dtype=np.bool_)
    found: NDArray[np.bool_] = table[np.minimum(np.searchsorted(table, values), len(table) - 1)] == values
    return found


def _without_dead_ends(n_vertices: int, links: Integers, images: Integers) -> tuple[Integers, Integers]:
    while True:
        ends = np.bincount(links.ravel(), minlength=n_vertices)
        kept = np.all(ends[links] > 1, axis=1)
        if kept.all():
            return links, images
        links, images = links[kept], images[kept]
