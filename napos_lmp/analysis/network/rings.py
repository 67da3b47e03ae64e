"""Ring statistics of a glass network: primitive rings of formers that share anions, by size and element."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.averages import FrameAverages
from napos_lmp.analysis.base import Estimate, Integers, Result, plot_axes
from napos_lmp.analysis.network.bonds import BondGraph, NetworkAtoms
from napos_lmp.analysis.network.network import NetworkMeasurement
from napos_lmp.analysis.network.ring_search import primitive_rings
from napos_lmp.analysis.pairs.cutoffs import Cutoff
from napos_lmp.errors import AnalysisError

LARGEST_DEFAULT = 12
_LARGEST_ALLOWED = 40

Key = tuple[str | int, ...]


@dataclass(frozen=True)
class RingResult(Result):
    """Means over frames, each with the interval within the run.

    Attributes
    ----------
    n_frames
        Frames averaged over.
    max_size
        Formers of the largest rings that were looked for; larger ones are not in any number here.
    cutoffs
        Longest bond of each pair of elements and where it is from.
    rings
        Rings of each size for each 100 formers, each ring counted once.
    per_former
        Rings of each size that a former of an element is in, on average.
    in_ring
        Fraction of each element's formers that are in a ring of each size, or in several.
    in_none
        Fraction of each element's formers that are in no ring of up to `max_size`.
    """

    n_frames: int
    max_size: int
    cutoffs: dict[str, Cutoff]
    rings: dict[int, Estimate]
    per_former: dict[str, dict[int, Estimate]]
    in_ring: dict[str, dict[int, Estimate]]
    in_none: dict[str, Estimate]

    def columns(self) -> Mapping[str, ArrayLike]:
        """One row an estimate."""
        rows = [("rings", "", size, number) for size, number in self.rings.items()]
        for name, numbers in (("rings_per_former", self.per_former), ("formers_in_ring", self.in_ring)):
            rows += [
                (name, former, size, number) for former, by_size in numbers.items() for size, number in by_size.items()
            ]
        rows += [("formers_in_no_ring", former, self.max_size, number) for former, number in self.in_none.items()]
        return {
            "quantity": [row[0] for row in rows],
            "former": [row[1] for row in rows],
            "size_formers": [row[2] for row in rows],
            "value": [row[3].value for row in rows],
            "low": [row[3].low for row in rows],
            "high": [row[3].high for row in rows],
            "unit": [row[3].unit for row in rows],
            "note": [row[3].note for row in rows],
        }

    def plot(self, ax: Any = None) -> Any:
        """Draw the rings of each size a former of each element as bars on a matplotlib axis; returns the axis."""
        ax = plot_axes(ax)
        width = 0.8 / len(self.per_former)
        for k, (former, numbers) in enumerate(self.per_former.items()):
            places = np.array(list(numbers)) + (k - (len(self.per_former) - 1) / 2) * width
            errors = [[number.value - number.low, number.high - number.value] for number in numbers.values()]
            heights = [number.value for number in numbers.values()]
            ax.bar(places, heights, width, yerr=np.nan_to_num(np.array(errors).T), capsize=3, label=former)
        ax.set(xlabel="formers in the ring", ylabel="rings a former", ylim=(0, None), xticks=list(self.rings))
        ax.legend(frameon=False)
        return ax


class RingStatistics(NetworkMeasurement[dict[Key, float], RingResult]):
    """Primitive rings of the network, by number of formers.

    Two formers are linked when they share an anion; homopolar bonds are no links. A ring is primitive (a shortest-path
    ring) when no way through the network between two of its formers is shorter than the way along it (D. S. Franzblau,
    Phys. Rev. B 44, 4925 (1991)). Two formers that share k anions make k (k - 1) / 2 rings of two, and count as linked
    once in larger rings. Three formers around one anion make no ring of three unless three anions link them. A chain
    that closes through the periodic boundary is no ring.

    Parameters
    ----------
    source
        A :class:`~napos_lmp.analysis.network.network.Network`, or a Universe or AtomGroup with its options.
    max_size
        Formers of the largest rings to look for, 2 to 40.

    Raises
    ------
    AnalysisError
        As :class:`~napos_lmp.analysis.network.network.Network`, or if `max_size` is out of range.
    """

    def __init__(self, source: Any, *, max_size: int = LARGEST_DEFAULT, **options: Any) -> None:
        if not 2 <= max_size <= _LARGEST_ALLOWED:
            raise AnalysisError(f"max_size is {max_size} formers; it must be 2 to {_LARGEST_ALLOWED}")
        super().__init__(source, **options)
        self._max_size = max_size

    def reader(self, atoms: NetworkAtoms) -> _Reader:
        """Rings of one frame."""
        return _Reader(atoms, self._max_size)

    def collector(self, atoms: NetworkAtoms, cutoffs: Mapping[str, Cutoff]) -> _Collector:
        """Means of the rings."""
        return _Collector(atoms, dict(cutoffs), self._max_size)


def rings_through_formers(graph: BondGraph, atoms: NetworkAtoms, max_size: int) -> Integers:
    """Number of rings of each size through each former of one frame, shape (F, max_size + 1)."""
    through = np.zeros((atoms.n_formers, max_size + 1))
    images = _images_of_wrapped(graph, atoms)
    for found in primitive_rings(atoms.n_formers, graph.links, images, max_size):
        size = found.vertices.shape[1]
        vertices, repeats = found.vertices, found.repeats
        if size == 3:
            real = _by_three_anions(graph, vertices)
            vertices, repeats = vertices[real], repeats[real]
        weights = np.repeat(1 / repeats, size)
        through[:, size] += np.bincount(vertices.ravel(), weights, minlength=atoms.n_formers)
    pairs = graph.shared * (graph.shared - 1) / 2
    through[:, 2] = np.bincount(graph.links.ravel(), np.repeat(pairs, 2), minlength=atoms.n_formers)
    return np.rint(through).astype(np.int64)


def _images_of_wrapped(graph: BondGraph, atoms: NetworkAtoms) -> Integers:
    """Images of the links between formers moved into the box."""
    cells = np.floor(graph.frame.positions[atoms.former_atoms] @ np.linalg.inv(graph.frame.box)).astype(np.int64)
    images: Integers = graph.link_images + cells[graph.links[:, 1]] - cells[graph.links[:, 0]]
    return images


def _by_three_anions(graph: BondGraph, triangles: Integers) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which triangles can be walked over three different anions, so that they are more than one tricluster."""
    anions: dict[tuple[int, int], set[int]] = {}
    for first, anion, second in graph.bridges.tolist():
        anions.setdefault((min(first, second), max(first, second)), set()).add(anion)
    real = np.ones(len(triangles), dtype=np.bool_)
    for k, corners in enumerate(np.sort(triangles, axis=1).tolist()):
        a, b, c = (anions[corners[i], corners[j]] for i, j in ((0, 1), (0, 2), (1, 2)))
        real[k] = len(a | b | c) >= 3 and min(len(a | b), len(a | c), len(b | c)) >= 2
    return real


class _Reader:
    """Ring numbers of one frame."""

    def __init__(self, atoms: NetworkAtoms, max_size: int) -> None:
        self._atoms, self._max_size = atoms, max_size

    def __call__(self, graph: BondGraph) -> dict[Key, float]:
        through = rings_through_formers(graph, self._atoms, self._max_size)
        numbers: dict[Key, float] = {}
        for size in range(2, self._max_size + 1):
            numbers["rings", size] = 100 * float(through[:, size].sum()) / size / self._atoms.n_formers
        for k, former in enumerate(self._atoms.formers):
            chosen = through[self._atoms.former_types == k]
            numbers["in_none", former] = float(np.mean(~np.any(chosen, axis=1)))
            for size in range(2, self._max_size + 1):
                numbers["per_former", former, size] = float(chosen[:, size].mean())
                numbers["in_ring", former, size] = float(np.mean(chosen[:, size] > 0))
        return numbers


class _Collector:
    """Means over frames."""

    def __init__(self, atoms: NetworkAtoms, cutoffs: dict[str, Cutoff], max_size: int) -> None:
        self._formers, self._cutoffs, self._max_size = atoms.formers, cutoffs, max_size
        self._averages: FrameAverages[Key] = FrameAverages()

    def add(self, sample: dict[Key, float]) -> None:
        """Take the rings of one frame."""
        self._averages.add(sample)

    def result(self) -> RingResult:
        """Means over the frames added."""
        sizes = range(2, self._max_size + 1)

        def mean(*key: str | int, unit: str) -> Estimate:
            return self._averages.mean(key, unit, (0.0, 1.0 if unit == "fraction" else math.inf))

        return RingResult(
            n_frames=self._averages.frames,
            max_size=self._max_size,
            cutoffs=self._cutoffs,
            rings={size: mean("rings", size, unit="per 100 formers") for size in sizes},
            per_former={f: {s: mean("per_former", f, s, unit="rings") for s in sizes} for f in self._formers},
            in_ring={f: {s: mean("in_ring", f, s, unit="fraction") for s in sizes} for f in self._formers},
            in_none={f: mean("in_none", f, unit="fraction") for f in self._formers},
        )
