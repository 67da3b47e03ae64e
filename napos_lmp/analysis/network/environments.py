"""Surroundings of an ion such as Na: coordination by each anion and its role, Voronoi cells, and clustering of ions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.averages import FrameAverages
from napos_lmp.analysis.base import (
    AtomSet,
    Estimate,
    Integers,
    Result,
    checked_atoms,
    checked_box,
    checked_frames,
    plot_axes,
)
from napos_lmp.analysis.frames import measure_frames
from napos_lmp.analysis.neighbours import box_heights
from napos_lmp.analysis.network.bonds import NetworkAtoms
from napos_lmp.analysis.network.environment_shells import ROLES, TOTAL, GraphShellReader, Key, ShellReader
from napos_lmp.analysis.network.network import ANIONS, Network, NetworkMeasurement
from napos_lmp.analysis.pairs.cutoffs import Cutoff
from napos_lmp.analysis.pairs.rdf import PartialRDF, PartialRDFResult
from napos_lmp.errors import AnalysisError

_LONGEST_SHELL = 8.0
_TOUCHING = 0.01


@dataclass(frozen=True)
class VoronoiCells:
    """Voronoi cells of the centres, all atoms of the frame being sites.

    Attributes
    ----------
    volume
        Mean volume of a cell, A^3.
    spread
        Standard deviation of the volumes within a frame, A^3.
    faces
        Faces towards each element that are at least 1 % of their cell's surface, on average.
    surface
        Fraction of the cells' surface that faces each element.
    """

    volume: Estimate
    spread: Estimate
    faces: dict[str, Estimate]
    surface: dict[str, Estimate]


@dataclass(frozen=True)
class EnvironmentResult(Result):
    """Means over frames, each with the interval within the run.

    Attributes
    ----------
    centre
        Element in the middle.
    n_centres
        Its atoms.
    n_frames
        Frames averaged over.
    cutoffs
        End of the first shell of each pair and where it is from.
    coordination
        Mean number of each anion around a centre, and of all of them as "all anions".
    distribution
        Fraction of the centres with 0, 1, 2, ... of each anion, and of all of them, around.
    by_role
        Mean number of isolated, terminal and bridging anions (two formers or more) of each element around a centre;
        empty without a :class:`~napos_lmp.analysis.network.network.Network`.
    bridging_share
        Fraction of a centre's anions, by element, that are bridging; compare it with the share of bridging ones among
        all anions of the element. Empty without a Network.
    like
        Mean number of other centres around a centre.
    like_distribution
        Fraction of the centres with 0, 1, 2, ... other centres around.
    clustering
        Pairs of centres within the cutoff r over those of as many points placed at random in the box,
        N (N - 1) / 2 (4/3 pi r^3) / V.
    clustering_outside_core
        The same with (4/3 pi (r^3 - d^3)) / V where no two centres come nearer than `core` d: atoms have a size, and
        points have none.
    core
        Distance in A that 1 % of the pairs of centres within the cutoff stay below; NaN where no g(r) was given.
    voronoi
        Voronoi cells, if asked for.
    """

    centre: str
    n_centres: int
    n_frames: int
    cutoffs: dict[str, Cutoff]
    coordination: dict[str, Estimate]
    distribution: dict[str, dict[int, Estimate]]
    by_role: dict[str, dict[str, Estimate]]
    bridging_share: dict[str, Estimate]
    like: Estimate
    like_distribution: dict[int, Estimate]
    clustering: Estimate
    clustering_outside_core: Estimate
    core: float
    voronoi: VoronoiCells | None

    def estimates(self) -> Iterator[tuple[str, str, str, Estimate]]:
        """Every estimate as (quantity, neighbour, label, estimate)."""
        yield from (("coordination", anion, "", number) for anion, number in self.coordination.items())
        for anion, numbers in self.distribution.items():
            yield from (("distribution", anion, str(k), number) for k, number in numbers.items())
        for anion, roles in self.by_role.items():
            yield from (("coordination", anion, role, number) for role, number in roles.items())
        yield from (("bridging_share", anion, "", number) for anion, number in self.bridging_share.items())
        yield "coordination", self.centre, "", self.like
        yield from (("distribution", self.centre, str(k), number) for k, number in self.like_distribution.items())
        yield "clustering", self.centre, "", self.clustering
        yield "clustering_outside_core", self.centre, "", self.clustering_outside_core
        if self.voronoi is not None:
            yield "voronoi_volume", "", "", self.voronoi.volume
            yield "voronoi_volume_spread", "", "", self.voronoi.spread
            yield from (("voronoi_faces", element, "", number) for element, number in self.voronoi.faces.items())
            yield from (("voronoi_surface", element, "", number) for element, number in self.voronoi.surface.items())

    def columns(self) -> Mapping[str, ArrayLike]:
        """One row an estimate."""
        rows = list(self.estimates())
        return {
            "quantity": [row[0] for row in rows],
            "centre": [self.centre] * len(rows),
            "neighbour": [row[1] for row in rows],
            "label": [row[2] for row in rows],
            "value": [row[3].value for row in rows],
            "low": [row[3].low for row in rows],
            "high": [row[3].high for row in rows],
            "unit": [row[3].unit for row in rows],
            "note": [row[3].note for row in rows],
        }

    def plot(self, ax: Any = None) -> Any:
        """Draw the distributions of coordination numbers as bars on a matplotlib axis; returns the axis."""
        ax = plot_axes(ax)
        width = 0.8 / len(self.distribution)
        for k, (anion, numbers) in enumerate(self.distribution.items()):
            places = np.array(list(numbers)) + (k - (len(self.distribution) - 1) / 2) * width
            errors = [[number.value - number.low, number.high - number.value] for number in numbers.values()]
            heights = [100 * number.value for number in numbers.values()]
            ax.bar(places, heights, width, yerr=100 * np.nan_to_num(np.array(errors).T), capsize=2, label=anion)
        ax.set(xlabel=f"anions around {self.centre}", ylabel=f"{self.centre} (%)", ylim=(0, None))
        ax.legend(frameon=False)
        return ax


class Environments(NetworkMeasurement[dict[Key, float], EnvironmentResult]):
    """Coordination, roles of the neighbours and clustering of one element, Na unless said otherwise.

    Parameters
    ----------
    source
        A :class:`~napos_lmp.analysis.network.network.Network`, whose anions are then told apart by the formers they are
        bonded to, or a Universe or AtomGroup with elements.
    centre
        Element to look around.
    anions
        Elements to count around it, with a Universe; those of O and S that are there by default.
    cutoffs
        Ends of first shells in A, such as ``{"Na-S": 4.0, "Na-Na": 4.6}``. The others are first minima of g(r) on the
        same frames, else from the table.
    rdf
        g(r) of the same frames, if measured already; :meth:`run` measures it where it is needed.
    voronoi
        Whether to make the Voronoi cells, too; with freud (V. Ramasubramani et al., Comput. Phys. Commun. 254, 107275
        (2020)).

    Raises
    ------
    AnalysisError
        If elements or the box are missing, an element is not there, or a cutoff is out of range.
    """

    def __init__(
        self,
        source: Any,
        *,
        centre: str = "Na",
        anions: Sequence[str] | None = None,
        cutoffs: Mapping[str, float] | None = None,
        rdf: PartialRDFResult | None = None,
        voronoi: bool = False,
    ) -> None:
        if isinstance(source, Network):
            super().__init__(source)
            if anions is not None:
                raise AnalysisError("anions belongs to the Network that was given; set it there")
            self._atoms, self._anions = source.atoms, source.anions
        else:
            self._atoms = checked_atoms(source)
            self._anions = _chosen_anions(self._atoms, anions)
        if centre in self._anions:
            raise AnalysisError(f"centre {centre!r} is one of the anions to count around it; name another element")
        self._atoms.where(centre)
        self._centre, self._voronoi = centre, voronoi
        self._given_rdf = self._rdf = rdf
        self._given = _checked_cutoffs(cutoffs or {}, centre, self._anions)

    def run(
        self, start: int | None = None, stop: int | None = None, step: int | None = None, workers: int | None = None
    ) -> EnvironmentResult:
        """Measure the frames `start:stop:step` with at most `workers` processes (all cores by default).

        Raises
        ------
        AnalysisError
            If there are no such frames, a frame has no box, no cutoff is known, or one is longer than half the box.
        """
        trajectory = self._atoms.atoms.universe.trajectory
        frames = checked_frames(trajectory, start, stop, step)
        self._rdf = self._given_rdf
        if self._rdf is None and any(frozenset((self._centre, x)) not in self._given for x in self._neighbours):
            half = min(float(box_heights(checked_box(trajectory[frame])).min()) for frame in frames) / 2
            rdf = PartialRDF(self._atoms.atoms, r_max=min(_LONGEST_SHELL, 0.999 * half))
            self._rdf = rdf.run(start, stop, step, workers)
        if hasattr(self, "network"):
            return super().run(start, stop, step, workers)
        read = self._shells(tuple(self._atoms.where(anion) for anion in self._anions))
        collector = self._collector(with_roles=False)
        for sample in measure_frames(self._atoms, frames, read, workers):
            collector.add(sample)
        return collector.result()

    def reader(self, atoms: NetworkAtoms) -> GraphShellReader:
        """Shells of one frame, with the anions' roles."""
        anions = tuple(atoms.anion_atoms[atoms.anion_types == k] for k in range(len(atoms.anions)))
        return GraphShellReader(self._shells(anions), atoms.n_anions)

    def collector(self, atoms: NetworkAtoms, cutoffs: Mapping[str, Cutoff]) -> _Collector:
        """Means of the shells."""
        return self._collector(with_roles=True)

    @property
    def _neighbours(self) -> tuple[str, ...]:
        return (*self._anions, self._centre)

    def _cutoffs(self) -> dict[str, Cutoff]:
        found = {f"{self._centre}-{x}": self._cutoff(x) for x in self._neighbours}
        for anion in self._anions:
            cutoff = found[f"{self._centre}-{anion}"]
            if cutoff.source == "none":
                raise AnalysisError(f"no cutoff for {self._centre}-{anion} is known ({cutoff.note}); give it in A")
        return found

    def _cutoff(self, neighbour: str) -> Cutoff:
        given = self._given.get(frozenset((self._centre, neighbour)))
        if given is not None:
            return Cutoff(given, "given")
        if self._rdf is None:
            return Cutoff(math.nan, "none", "there is no g(r) of these frames")
        return self._rdf.pair(self._centre, neighbour).cutoff

    def _core(self, cutoff: Cutoff) -> float:
        """Distance that 1 % of the pairs of centres within the cutoff stay below."""
        if self._rdf is None or math.isnan(cutoff.value):
            return math.nan
        running = self._rdf.pair(self._centre, self._centre).running[f"{self._centre} around {self._centre}"]
        within = float(np.interp(cutoff.value, self._rdf.edges[1:], running))
        if within == 0:
            return math.nan
        return min(float(self._rdf.edges[1:][np.argmax(running >= _TOUCHING * within)]), cutoff.value)

    def _shells(self, anions: tuple[Integers, ...]) -> ShellReader:
        cutoffs = self._cutoffs()
        lengths = np.array([cutoffs[f"{self._centre}-{x}"].value for x in self._neighbours])
        core = self._core(cutoffs[f"{self._centre}-{self._centre}"])
        centres = self._atoms.where(self._centre)
        elements = (self._atoms.elements, self._atoms.types) if self._voronoi else None
        return ShellReader(self._anions, anions, centres, lengths, core, elements)

    def _collector(self, *, with_roles: bool) -> _Collector:
        cutoffs = self._cutoffs()
        elements = self._atoms.elements if self._voronoi else ()
        roles = self._anions if with_roles else ()
        core = self._core(cutoffs[f"{self._centre}-{self._centre}"])
        count = self._atoms.counts[self._centre]
        return _Collector(self._centre, count, self._anions, cutoffs, core, roles, elements)


class _Collector:
    """Means over frames."""

    def __init__(
        self,
        centre: str,
        n_centres: int,
        anions: tuple[str, ...],
        cutoffs: dict[str, Cutoff],
        core: float,
        with_roles: tuple[str, ...],
        voronoi: tuple[str, ...],
    ) -> None:
        self._centre, self._n_centres, self._anions, self._cutoffs, self._core = (
            centre,
            n_centres,
            anions,
            cutoffs,
            core,
        )
        self._with_roles, self._voronoi = with_roles, voronoi
        self._averages: FrameAverages[Key] = FrameAverages()

    def add(self, sample: dict[Key, float]) -> None:
        """Take the shells of one frame."""
        self._averages.add(sample)

    def result(self) -> EnvironmentResult:
        """Means over the frames added."""
        names = (*self._anions, TOTAL) if len(self._anions) > 1 else self._anions
        shell = self._cutoffs[f"{self._centre}-{self._centre}"]
        missing = "there is one only" if self._n_centres == 1 else f"no shell is known ({shell.note})"
        no_core = missing if math.isnan(shell.value) else "there is no g(r) to tell how near they come"
        return EnvironmentResult(
            centre=self._centre,
            n_centres=self._n_centres,
            n_frames=self._averages.frames,
            cutoffs=self._cutoffs,
            coordination={name: self._mean("mean", name, unit="atoms") for name in names},
            distribution={name: self._numbered(name) for name in names},
            by_role={x: {r: self._mean("role", x, r, unit="atoms") for r in ROLES} for x in self._with_roles},
            bridging_share={x: self._bridging(x) for x in self._with_roles},
            like=self._mean("mean", "like", unit="atoms", missing=missing),
            like_distribution=self._numbered("like"),
            clustering=self._mean("clustering", unit="times random", missing=missing),
            clustering_outside_core=self._mean("clustering_outside_core", unit="times random", missing=no_core),
            core=self._core,
            voronoi=self._cells() if self._voronoi else None,
        )

    def _mean(self, *key: str | int, unit: str, missing: str = "") -> Estimate:
        if missing and key not in self._averages.keys:
            return Estimate(math.nan, math.nan, math.nan, unit, note=missing)
        return self._averages.mean(key, unit, (0.0, 1.0 if unit == "fraction" else math.inf))

    def _numbered(self, name: str) -> dict[int, Estimate]:
        found = [int(key[2]) for key in self._averages.keys if key[:2] == ("count", name)]
        return {k: self._mean("count", name, k, unit="fraction") for k in range(max(found, default=-1) + 1)}

    def _bridging(self, anion: str) -> Estimate:
        none = f"no {anion} is in any shell"
        keys = ("role", anion, "bridging"), ("mean", anion)
        return self._averages.ratio(*keys, "fraction", limits=(0.0, 1.0), none=none)

    def _cells(self) -> VoronoiCells:
        return VoronoiCells(
            volume=self._mean("voronoi", "volume", unit="Å³"),
            spread=self._mean("voronoi", "spread", unit="Å³"),
            faces={element: self._mean("faces", element, unit="faces") for element in self._voronoi},
            surface={element: self._mean("surface", element, unit="fraction") for element in self._voronoi},
        )


def _chosen_anions(atoms: AtomSet, named: Sequence[str] | None) -> tuple[str, ...]:
    chosen = tuple(x for x in ANIONS if x in atoms.elements) if named is None else tuple(dict.fromkeys(named))
    if not chosen:
        raise AnalysisError(f"no anion (O, S) is in the system, which has {', '.join(atoms.elements)}; name others")
    for element in chosen:
        atoms.where(element)
    return chosen


def _checked_cutoffs(given: Mapping[str, float], centre: str, anions: tuple[str, ...]) -> dict[frozenset[str], float]:
    allowed = {frozenset((centre, x)) for x in (*anions, centre)}
    checked = {}
    for name, value in given.items():
        pair = frozenset(name.split("-"))
        if name.count("-") != 1 or pair not in allowed:
            listed = ", ".join(f"{centre}-{x}" for x in (*anions, centre))
            raise AnalysisError(f"cutoff {name!r} is none of the pairs {listed}")
        if not (math.isfinite(value) and value > 0):
            raise AnalysisError(f"cutoff {name} is {value} A; it must be positive")
        checked[pair] = float(value)
    return checked
