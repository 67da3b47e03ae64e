"""What stands around the atoms of one element in one frame."""

from __future__ import annotations

import math

import numpy as np

from napos_lmp.analysis.base import Floats, Integers
from napos_lmp.analysis.frames import Frame
from napos_lmp.analysis.neighbours import box_heights, pairs_within
from napos_lmp.analysis.network.bonds import BondGraph
from napos_lmp.errors import AnalysisError

ROLES = ("isolated", "terminal", "bridging")
TOTAL = "all anions"
_SMALLEST_FACE = 0.01

Key = tuple[str | int, ...]


class ShellReader:
    """Numbers of one frame: what is in the shells of `centres`, and Voronoi cells where `elements` is given."""

    def __init__(
        self,
        names: tuple[str, ...],
        anions: tuple[Integers, ...],
        centres: Integers,
        cutoffs: Floats,
        core: float,
        elements: tuple[tuple[str, ...], Integers] | None,
    ) -> None:
        self._names, self._centres, self._cutoffs, self._core, self._elements = names, centres, cutoffs, core, elements
        self._atoms = np.concatenate([*anions, centres])
        self._kinds = np.repeat(np.arange(len(anions) + 1), [len(part) for part in (*anions, centres)])
        self._longest = float(np.nanmax(cutoffs))

    def __call__(self, frame: Frame, roles: Integers | None = None) -> dict[Key, float]:
        """Numbers of `frame`; `roles` are those of the anions, 0 to 2 as in `ROLES`, in the order of the shells."""
        half = float(box_heights(frame.box).min()) / 2
        if self._longest > half:
            raise AnalysisError(
                f"cutoff of {self._longest:g} A is longer than half the smallest height of the box, {half:.2f} A"
            )
        first_centre, n_centres = len(self._atoms) - len(self._centres), len(self._centres)
        a, b, vectors = pairs_within(frame.positions[self._atoms], frame.box, self._longest)
        a, b = np.concatenate([a, b]), np.concatenate([b, a])
        squared = np.tile(np.einsum("ij,ij->i", vectors, vectors), 2)
        near = (a >= first_centre) & (squared <= self._cutoffs[self._kinds[b]] ** 2)
        a, b = a[near] - first_centre, b[near]
        kinds = len(self._cutoffs)
        around = np.bincount(a * kinds + self._kinds[b], minlength=n_centres * kinds).reshape(n_centres, kinds)
        numbers: dict[Key, float] = {}
        for k, name in enumerate(self._names):
            _count(numbers, name, around[:, k])
        _count(numbers, TOTAL, around[:, :-1].sum(axis=1))
        if not math.isnan(self._cutoffs[-1]):
            _count(numbers, "like", around[:, -1])
            self._count_clustering(numbers, int(around[:, -1].sum()) / 2, abs(float(np.linalg.det(frame.box))))
        if roles is not None:
            self._count_roles(numbers, b[b < first_centre], roles)
        if self._elements is not None:
            numbers.update(_voronoi(frame, self._centres, *self._elements))
        return numbers

    def _count_clustering(self, numbers: dict[Key, float], pairs: float, volume: float) -> None:
        n, r = len(self._centres), float(self._cutoffs[-1])
        possible = n * (n - 1) / 2 * 4 / 3 * math.pi / volume
        if possible > 0:
            numbers["clustering",] = pairs / (possible * r**3)
            if self._core < r:
                numbers["clustering_outside_core",] = pairs / (possible * (r**3 - self._core**3))

    def _count_roles(self, numbers: dict[Key, float], neighbours: Integers, roles: Integers) -> None:
        found = np.bincount(self._kinds[neighbours] * len(ROLES) + roles[neighbours], minlength=len(self._names) * 3)
        for k, name in enumerate(self._names):
            for r, role in enumerate(ROLES):
                numbers["role", name, role] = float(found[3 * k + r]) / len(self._centres)


class GraphShellReader:
    """Numbers of one frame with the roles of its anions."""

    def __init__(self, shells: ShellReader, n_anions: int) -> None:
        self._shells, self._n_anions = shells, n_anions

    def __call__(self, graph: BondGraph) -> dict[Key, float]:
        """Numbers of the graph's frame."""
        roles = np.minimum(np.bincount(graph.anion, minlength=self._n_anions), len(ROLES) - 1)
        return self._shells(graph.frame, roles)


def _count(numbers: dict[Key, float], name: str, around: Integers) -> None:
    numbers["mean", name] = float(around.mean())
    for k, count in enumerate(np.bincount(around).tolist()):
        numbers["count", name, k] = count / len(around)


def _voronoi(frame: Frame, centres: Integers, elements: tuple[str, ...], types: Integers) -> dict[Key, float]:
    import freud

    box = freud.box.Box.from_matrix(frame.box.T)
    cells = freud.locality.Voronoi().compute((box, box.wrap(frame.positions)))
    volumes = np.asarray(cells.volumes)[centres]
    numbers: dict[Key, float] = {
        ("voronoi", "volume"): float(volumes.mean()),
        ("voronoi", "spread"): float(volumes.std()),
    }
    owner = np.asarray(cells.nlist.query_point_indices).astype(np.int64)
    other = np.asarray(cells.nlist.point_indices).astype(np.int64)
    area = np.asarray(cells.nlist.weights, dtype=np.float64)
    surface = np.bincount(owner, area, minlength=len(types))
    kept = np.isin(owner, centres)
    owner, other, share = owner[kept], other[kept], (area / surface[owner])[kept]
    faces = np.bincount(types[other][share >= _SMALLEST_FACE], minlength=len(elements)) / len(centres)
    shares = np.bincount(types[other], share, minlength=len(elements)) / len(centres)
    for k, element in enumerate(elements):
        numbers["faces", element] = float(faces[k])
        numbers["surface", element] = float(shares[k])
    return numbers
