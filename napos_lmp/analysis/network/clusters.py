"""Clusters of a glass network: how many formers hang together, and whether they reach through the whole glass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.averages import FrameAverages
from napos_lmp.analysis.base import Estimate, Integers, Result, plot_axes
from napos_lmp.analysis.network.bonds import BondGraph, NetworkAtoms, Pieces, pieces, unique_rows
from napos_lmp.analysis.network.network import NetworkMeasurement
from napos_lmp.analysis.pairs.cutoffs import Cutoff

_SINGLE = (
    *("per_100_formers", "number_average", "weight_average", "anions_weight_average"),
    *("largest", "largest_anions", "isolated_anions", "percolating"),
)

Key = tuple[str | int, ...]


@dataclass(frozen=True)
class ClusterResult(Result):
    """Means over frames, each with the interval within the run.

    Attributes
    ----------
    n_frames
        Frames averaged over.
    cutoffs
        Longest bond of each pair of elements and where it is from.
    n_formers
        Formers in the box; no cluster can be counted as larger.
    sizes
        Fraction of all formers that are in clusters of each number of formers that occurs.
    per_100_formers
        Clusters for each 100 formers.
    number_average, weight_average
        Formers of the mean cluster, sum n_s s / sum n_s, and of the cluster that the mean former is in,
        sum n_s s^2 / sum n_s s; n_s clusters have s formers.
    anions_weight_average
        Anions in the cluster of the mean former.
    largest
        Fraction of all formers in the largest cluster.
    largest_anions
        Fraction of all anions in it.
    isolated_anions
        Fraction of all anions that are bonded to no cluster.
    percolation
        Fraction of frames by the number of directions, 0 to 3, in which the cluster that reaches through most of them
        is endless.
    percolating
        Fraction of frames with an endless cluster.
    formers_by_dimension
        Fraction of all formers that are in clusters endless in 0 to 3 directions.
    """

    n_frames: int
    cutoffs: dict[str, Cutoff]
    n_formers: int
    sizes: dict[int, Estimate]
    per_100_formers: Estimate
    number_average: Estimate
    weight_average: Estimate
    anions_weight_average: Estimate
    largest: Estimate
    largest_anions: Estimate
    isolated_anions: Estimate
    percolation: dict[int, Estimate]
    percolating: Estimate
    formers_by_dimension: dict[int, Estimate]

    def columns(self) -> Mapping[str, ArrayLike]:
        """One row an estimate."""
        rows = [("formers_in_clusters_of_size", size, number) for size, number in self.sizes.items()]
        rows += [("frames_percolating_in_dimensions", d, number) for d, number in self.percolation.items()]
        rows += [("formers_in_clusters_of_dimension", d, number) for d, number in self.formers_by_dimension.items()]
        table = [(name, str(label), number) for name, label, number in rows]
        table += [(name, "", getattr(self, name)) for name in _SINGLE]
        return {
            "quantity": [row[0] for row in table],
            "label": [row[1] for row in table],
            "value": [row[2].value for row in table],
            "low": [row[2].low for row in table],
            "high": [row[2].high for row in table],
            "unit": [row[2].unit for row in table],
            "note": [row[2].note for row in table],
        }

    def plot(self, ax: Any = None) -> Any:
        """Draw the share of formers in clusters of each size on a matplotlib axis; returns the axis."""
        ax = plot_axes(ax)
        shares = [100 * number.value for number in self.sizes.values()]
        ax.vlines(list(self.sizes), 0, shares, linewidth=3)
        ax.set(xlabel="formers in the cluster", ylabel="formers (%)", ylim=(0, None), xscale="log")
        return ax


class NetworkClusters(NetworkMeasurement[dict[Key, float], ClusterResult]):
    """Clusters of formers and anions that hang together by bonds, homopolar ones among them.

    A cluster holds one former at least. It is endless in as many directions as there are linearly independent sums of
    images around its closed paths: a ring has none, a chain through the periodic boundary one, a framework three.

    Parameters
    ----------
    source
        A :class:`~napos_lmp.analysis.network.network.Network`, or a Universe or AtomGroup with its options.
    """

    def reader(self, atoms: NetworkAtoms) -> _Reader:
        """Clusters of one frame."""
        return _Reader(atoms)

    def collector(self, atoms: NetworkAtoms, cutoffs: Mapping[str, Cutoff]) -> _Collector:
        """Means of the clusters."""
        return _Collector(atoms, dict(cutoffs))


@dataclass(frozen=True)
class Clusters:
    """Clusters of one frame.

    Attributes
    ----------
    formers, anions
        Shape (C,): numbers of formers (at least one) and anions in each.
    dimensions
        Shape (C,): directions in which each is endless, 0 to 3.
    of_former
        Shape (F,): the cluster that each former is in.
    """

    formers: Integers
    anions: Integers
    dimensions: Integers
    of_former: Integers


def clusters_of(graph: BondGraph, atoms: NetworkAtoms) -> Clusters:
    """The clusters of one frame."""
    joined = pieces(graph, atoms)
    n_formers, labels = atoms.n_formers, joined.of_atom
    with_formers, of_former = np.unique(labels[:n_formers], return_inverse=True)
    anions = np.bincount(labels[n_formers:], minlength=joined.n_pieces)[with_formers]
    dimensions = _endless_directions(joined)[with_formers]
    return Clusters(np.bincount(of_former.reshape(-1)), anions, dimensions, of_former.reshape(-1).astype(np.int64))


def _endless_directions(joined: Pieces) -> Integers:
    """Rank of the images around the closed paths of each piece, shape (pieces,)."""
    dimensions = np.zeros(joined.n_pieces, dtype=np.int64)
    rows = unique_rows(np.column_stack([joined.endless, joined.images]))[0]
    for piece in np.unique(rows[:, 0]):
        dimensions[piece] = np.linalg.matrix_rank(rows[rows[:, 0] == piece, 1:])
    return dimensions


class _Reader:
    """Numbers of one frame."""

    def __init__(self, atoms: NetworkAtoms) -> None:
        self._atoms = atoms

    def __call__(self, graph: BondGraph) -> dict[Key, float]:
        found = clusters_of(graph, self._atoms)
        n_formers, n_anions = self._atoms.n_formers, self._atoms.n_anions
        largest = int(np.lexsort((found.anions, found.formers))[-1])
        numbers: dict[Key, float] = {
            ("per_100_formers",): 100 * len(found.formers) / n_formers,
            ("clusters",): float(len(found.formers)),
            ("formers",): float(n_formers),
            ("weight_average",): float(np.sum(found.formers**2)) / n_formers,
            ("anions_weight_average",): float(np.sum(found.formers * found.anions)) / n_formers,
            ("largest",): float(found.formers[largest]) / n_formers,
            ("largest_anions",): float(found.anions[largest]) / n_anions,
            ("isolated_anions",): 1 - float(found.anions.sum()) / n_anions,
            ("percolation", int(found.dimensions.max())): 1.0,
            ("percolating",): float(found.dimensions.max() > 0),
        }
        for size, count in zip(*(part.tolist() for part in np.unique(found.formers, return_counts=True)), strict=True):
            numbers["size", size] = size * count / n_formers
        by_dimension = np.bincount(found.dimensions, found.formers, minlength=4) / n_formers
        numbers.update({("dimension", d): share for d, share in enumerate(by_dimension.tolist())})
        return numbers


class _Collector:
    """Means over frames."""

    def __init__(self, atoms: NetworkAtoms, cutoffs: dict[str, Cutoff]) -> None:
        self._n_formers, self._cutoffs = atoms.n_formers, cutoffs
        self._averages: FrameAverages[Key] = FrameAverages()

    def add(self, sample: dict[Key, float]) -> None:
        """Take the clusters of one frame."""
        self._averages.add(sample)

    def result(self) -> ClusterResult:
        """Means over the frames added."""
        averages = self._averages

        def share(*key: str | int) -> Estimate:
            return averages.mean(key, "fraction", (0.0, 1.0))

        def number(name: str, unit: str) -> Estimate:
            return averages.mean((name,), unit, (0.0, math.inf))

        sizes = sorted(int(key[1]) for key in averages.keys if key[0] == "size")
        return ClusterResult(
            n_frames=averages.frames,
            cutoffs=self._cutoffs,
            n_formers=self._n_formers,
            sizes={size: share("size", size) for size in sizes},
            per_100_formers=number("per_100_formers", "per 100 formers"),
            number_average=averages.ratio(("formers",), ("clusters",), "formers", limits=(1.0, math.inf), none=""),
            weight_average=number("weight_average", "formers"),
            anions_weight_average=number("anions_weight_average", "anions"),
            largest=share("largest"),
            largest_anions=share("largest_anions"),
            isolated_anions=share("isolated_anions"),
            percolation={dimension: share("percolation", dimension) for dimension in range(4)},
            percolating=share("percolating"),
            formers_by_dimension={dimension: share("dimension", dimension) for dimension in range(4)},
        )
