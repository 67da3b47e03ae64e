"""The network of a glass in a trajectory: what bonds to what, and one pass over the frames for all of it.

The bonds of a frame are found once; every measurement of the network reads the same graph. Each measurement can run
alone, or several in one pass with :func:`measure_together`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from napos_lmp.analysis.base import checked_atoms, checked_box, checked_frames
from napos_lmp.analysis.frames import Frame, measure_frames
from napos_lmp.analysis.neighbours import box_heights
from napos_lmp.analysis.network.bonds import BondGraph, NetworkAtoms
from napos_lmp.analysis.pairs.cutoffs import TABLE, Cutoff, table_cutoff
from napos_lmp.analysis.pairs.rdf import PartialRDF, PartialRDFResult
from napos_lmp.errors import AnalysisError

FORMERS = {"P": 4, "Si": 4, "Ge": 4, "B": 3}
"""Network formers and the number of anions around each that the expected mean n counts with."""
ANIONS = ("O", "S")
_LONGEST_SHELL = 5.0

S = TypeVar("S")
R = TypeVar("R")
_In = TypeVar("_In", contravariant=True)
_Out = TypeVar("_Out", covariant=True)


class Network:
    """Which atoms of a trajectory make its network, and when two of them are bonded.

    Two atoms are bonded when they are no farther apart than the cutoff of their elements.

    Parameters
    ----------
    source
        MDAnalysis Universe or AtomGroup with elements.
    formers, anions
        Elements to take as such; by default those of P, Si, Ge, B and of O, S that are there.
    cutoffs
        Longest bonds in A by pair, such as ``{"P-S": 2.6}``, for any pair of formers and anions. The others are the
        first minimum of g(r) on the same frames where g(r) peaks within the tabulated bond length, else from the table.
    rdf
        g(r) of the same frames, if measured already; else it is measured.

    Attributes
    ----------
    atoms
        The atoms.
    formers, anions
        Elements of the network.

    Raises
    ------
    AnalysisError
        If elements or the box are missing, there is no former or no anion, or a cutoff is out of range.
    """

    def __init__(
        self,
        source: Any,
        *,
        formers: Sequence[str] | None = None,
        anions: Sequence[str] | None = None,
        cutoffs: Mapping[str, float] | None = None,
        rdf: PartialRDFResult | None = None,
    ) -> None:
        self.atoms = checked_atoms(source)
        self.formers = _chosen(self.atoms.elements, "network former", formers, tuple(FORMERS))
        self.anions = _chosen(self.atoms.elements, "anion", anions, ANIONS)
        both = set(self.formers) & set(self.anions)
        if both:
            raise AnalysisError(f"element {both.pop()!r} is named as former and as anion; it can only be one of them")
        self._given = _checked_cutoffs(cutoffs or {}, self.formers + self.anions)
        self._rdf = rdf

    def cutoffs(self, frames: range, workers: int | None = None) -> dict[str, Cutoff]:
        """Longest bond of each pair of elements of the network, by name such as "P-S".

        Raises
        ------
        AnalysisError
            If none is known for a former and an anion.
        """
        bonds = [(f, x) for f in self.formers for x in self.anions]
        pairs = bonds + [(f, g) for k, f in enumerate(self.formers) for g in self.formers[k:]]
        pairs += [(x, y) for k, x in enumerate(self.anions) for y in self.anions[k:]]
        cutoffs = {f"{first}-{second}": self._cutoff(first, second, frames, workers) for first, second in pairs}
        for former, anion in bonds:
            cutoff = cutoffs[f"{former}-{anion}"]
            if cutoff.source == "none":
                raise AnalysisError(f"no cutoff for {former}-{anion} bonds is known ({cutoff.note}); give it in A")
        return cutoffs

    def _cutoff(self, first: str, second: str, frames: range, workers: int | None) -> Cutoff:
        given = self._given.get(frozenset((first, second)))
        if given is not None:
            return Cutoff(given, "given")
        if self._rdf is None:
            trajectory = self.atoms.atoms.universe.trajectory
            half = min(float(box_heights(checked_box(trajectory[frame])).min()) for frame in frames) / 2
            rdf = PartialRDF(self.atoms.atoms, r_max=min(_LONGEST_SHELL, 0.999 * half))
            self._rdf = rdf.run(frames.start, frames.stop, frames.step, workers)
        return _bond_length(first, second, self._rdf)

    def bonded(self, cutoffs: Mapping[str, Cutoff]) -> NetworkAtoms:
        """The atoms with these cutoffs."""
        lengths = {frozenset(name.split("-")): c.value for name, c in cutoffs.items() if not math.isnan(c.value)}
        return NetworkAtoms.of(self.atoms, self.formers, self.anions, lengths)


class Collector(Protocol[_In, _Out]):
    """Gathers what was read from each frame, in their order."""

    def add(self, sample: _In) -> None:
        """Take one frame."""
        ...

    def result(self) -> _Out:
        """What all frames tell together."""
        ...


class NetworkMeasurement(ABC, Generic[S, R]):
    """A quantity that is read from the bond graphs of frames.

    Parameters
    ----------
    source
        A :class:`Network`, or a Universe or AtomGroup to make one of, with `options` as there.

    Raises
    ------
    AnalysisError
        As :class:`Network`.
    """

    def __init__(self, source: Any, **options: Any) -> None:
        if isinstance(source, Network):
            if options:
                raise AnalysisError(f"{next(iter(options))} belongs to the Network that was given; set it there")
            self.network = source
        else:
            self.network = Network(source, **options)

    def run(
        self, start: int | None = None, stop: int | None = None, step: int | None = None, workers: int | None = None
    ) -> R:
        """Measure the frames `start:stop:step` with at most `workers` processes (all cores by default).

        Raises
        ------
        AnalysisError
            If there are no such frames, a frame has no box, all of several frames are identical, no anion is bonded
            to any former, or a cutoff is longer than half the box.
        """
        result: R = measure_together([self], start, stop, step, workers)[0]
        return result

    @abstractmethod
    def reader(self, atoms: NetworkAtoms) -> Callable[[BondGraph], S]:
        """What to read from one frame's graph; runs in other processes, so it holds arrays only."""

    @abstractmethod
    def collector(self, atoms: NetworkAtoms, cutoffs: Mapping[str, Cutoff]) -> Collector[S, R]:
        """A fresh collector of what the reader returns."""


def measure_together(
    measurements: Sequence[NetworkMeasurement[Any, Any]],
    start: int | None = None,
    stop: int | None = None,
    step: int | None = None,
    workers: int | None = None,
) -> list[Any]:
    """Results of several measurements of one :class:`Network`, from one pass over the frames `start:stop:step`.

    Raises
    ------
    AnalysisError
        As :meth:`NetworkMeasurement.run`, or if the measurements are of different networks.
    """
    network = measurements[0].network
    if any(measurement.network is not network for measurement in measurements):
        raise AnalysisError("the measurements are of different networks; make them all of one Network")
    frames = checked_frames(network.atoms.atoms.universe.trajectory, start, stop, step)
    cutoffs = network.cutoffs(frames, workers)
    atoms = network.bonded(cutoffs)
    read = _GraphReader(atoms, [measurement.reader(atoms) for measurement in measurements])
    collectors = [measurement.collector(atoms, cutoffs) for measurement in measurements]
    n_bonds = 0
    for bonds, samples in measure_frames(network.atoms, frames, read, workers):
        n_bonds += bonds
        for collector, sample in zip(collectors, samples, strict=True):
            collector.add(sample)
    if n_bonds == 0:
        listed = ", ".join(f"{name} {c.value:g}" for name, c in cutoffs.items() if set(name.split("-")) & {*FORMERS})
        raise AnalysisError(
            f"no anion ({', '.join(network.anions)}) is bonded to any former in any frame with cutoffs in A of "
            f"{listed}; check the elements, or give cutoffs"
        )
    return [collector.result() for collector in collectors]


class _GraphReader:
    """Number of bonds of a frame, and what each reader finds in its graph."""

    def __init__(self, atoms: NetworkAtoms, readers: list[Callable[[BondGraph], Any]]) -> None:
        self._atoms = atoms
        self._readers = readers

    def __call__(self, frame: Frame) -> tuple[int, list[Any]]:
        half = float(box_heights(frame.box).min()) / 2
        if self._atoms.longest > half:
            raise AnalysisError(
                f"cutoff of {self._atoms.longest:g} A is longer than half the smallest height of the box, {half:.2f} A"
            )
        graph = self._atoms.bonds(frame)
        return len(graph.former), [reader(graph) for reader in self._readers]


def _chosen(there: tuple[str, ...], what: str, named: Sequence[str] | None, known: tuple[str, ...]) -> tuple[str, ...]:
    chosen = tuple(element for element in known if element in there) if named is None else tuple(named)
    if not chosen:
        raise AnalysisError(
            f"no {what} is in the system ({', '.join(there)}); one of {', '.join(known)} is needed, or name others"
        )
    for element in chosen:
        if element not in there:
            raise AnalysisError(f"{what} {element!r} is not in the system; it has {', '.join(there)}")
    return tuple(dict.fromkeys(chosen))


def _checked_cutoffs(given: Mapping[str, float], elements: tuple[str, ...]) -> dict[frozenset[str], float]:
    checked = {}
    for name, value in given.items():
        pair = name.split("-")
        if len(pair) != 2 or not set(pair) <= set(elements):
            raise AnalysisError(
                f"cutoff {name!r} is no pair of the formers and anions {', '.join(elements)}, as in 'P-S'"
            )
        if not (math.isfinite(value) and value > 0):
            raise AnalysisError(f"cutoff {name} is {value} A; it must be positive")
        checked[frozenset(pair)] = float(value)
    return checked


def _bond_length(first: str, second: str, rdf: PartialRDFResult) -> Cutoff:
    """First minimum behind a peak at bond length; behind a later peak (P-S-P, say) it would be no bond."""
    measured = rdf.pair(first, second)
    longest = TABLE.get(frozenset((first, second)), math.inf)
    if measured.cutoff.source == "data" and measured.peak < longest:
        return measured.cutoff
    note = measured.cutoff.note or f"g(r) has no peak of {first}-{second} bonds"
    return table_cutoff(first, second, note) if measured.cutoff.source == "data" else measured.cutoff
