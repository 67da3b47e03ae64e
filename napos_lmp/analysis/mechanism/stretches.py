"""Former-anion groups followed through a trajectory, each for as long as its bonds and its links stay the same."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napos_lmp.analysis.base import Floats, Integers, checked_frames
from napos_lmp.analysis.network.bonds import BondGraph, NetworkAtoms
from napos_lmp.analysis.network.network import NetworkMeasurement
from napos_lmp.analysis.pairs.cutoffs import Cutoff
from napos_lmp.analysis.transport.unwrapped import uniform_interval
from napos_lmp.errors import AnalysisError

Key = tuple[bytes, bytes]


@dataclass(frozen=True)
class Stretch:
    """One group while it stays the same: a former, its anions, and which of them bridge.

    Attributes
    ----------
    former
        Number of the former.
    kind
        Its element.
    shell
        Such as "PO2S2".
    anions, bridging
        Shape (k,): element of each anion, and whether it is bonded to two formers or more.
    places
        Shape (n,): frames, numbered among those used; some may be missing where a bond was open for a moment.
    vectors
        Shape (n, k, 3): from the former to each anion, A.
    """

    former: int
    kind: str
    shell: str
    anions: tuple[str, ...]
    bridging: NDArray[np.bool_]
    places: Integers
    vectors: NDArray[np.float32]

    @property
    def n_bridging(self) -> int:
        """Number of bridging anions."""
        return int(self.bridging.sum())


@dataclass(frozen=True)
class GroupHistory:
    """All groups of a trajectory.

    Attributes
    ----------
    stretches
        In the order of the formers and of time.
    centres
        Shape (frames, formers, 3): positions of the formers, A.
    boxes
        Shape (frames, 3, 3): box vectors as rows.
    frames
        Numbers of the frames in the trajectory.
    frame_interval
        Time between them, ps.
    """

    stretches: tuple[Stretch, ...]
    centres: NDArray[np.float32]
    boxes: Floats
    frames: range
    frame_interval: float

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.frames)


@dataclass(frozen=True)
class _Sample:
    """Groups of one frame: bonds sorted by former and anion, and where each former's begin."""

    anion: Integers
    bridging: NDArray[np.bool_]
    vectors: NDArray[np.float32]
    start: Integers
    centres: NDArray[np.float32]
    box: Floats


class GroupHistories(NetworkMeasurement[_Sample, GroupHistory]):
    """Follow the groups of a network.

    A group is a former with its anions. It ends where a bond of it breaks or forms, and where one of its anions becomes
    or ceases to be a bridge. A change that is undone within `patience` ps is none: those frames are left out.

    Parameters
    ----------
    source
        A :class:`~napos_lmp.analysis.network.network.Network`, or a Universe or AtomGroup with its options.
    patience
        Longest time in ps for which a bond may be open, or a foreign one closed, without an end of the group.
    """

    def __init__(self, source: object, *, patience: float = 0.3, **options: object) -> None:
        if not patience >= 0:
            raise AnalysisError(f"patience is {patience:g} ps; it must be 0 or more")
        super().__init__(source, **options)
        self.patience = patience
        self._interval = 1.0
        self._frames = range(0)

    def run(
        self, start: int | None = None, stop: int | None = None, step: int | None = None, workers: int | None = None
    ) -> GroupHistory:
        """Follow the groups through the frames `start:stop:step`, which must be uniform in time.

        Raises
        ------
        AnalysisError
            As :meth:`NetworkMeasurement.run`, or if there are fewer than 10 frames or they are not uniform in time.
        """
        trajectory = self.network.atoms.atoms.universe.trajectory
        self._frames = checked_frames(trajectory, start, stop, step)
        if len(self._frames) < 10:
            raise AnalysisError(f"{len(self._frames)} frames are too few to follow groups; 10 are the least")
        self._interval = uniform_interval(np.array([trajectory[frame].time for frame in self._frames]))
        return super().run(start, stop, step, workers)

    def reader(self, atoms: NetworkAtoms) -> _Reader:
        """Groups of one frame."""
        return _Reader(atoms)

    def collector(self, atoms: NetworkAtoms, cutoffs: Mapping[str, Cutoff]) -> _Collector:
        """Joins them."""
        return _Collector(atoms, self._frames, self._interval, self.patience)


class _Reader:
    def __init__(self, atoms: NetworkAtoms) -> None:
        self._atoms = atoms

    def __call__(self, graph: BondGraph) -> _Sample:
        order = np.lexsort((graph.anion, graph.former))
        anion = graph.anion[order]
        partners = np.bincount(graph.anion, minlength=self._atoms.n_anions)
        return _Sample(
            anion=anion,
            bridging=partners[anion] > 1,
            vectors=graph.vectors[order].astype(np.float32),
            start=np.searchsorted(graph.former[order], np.arange(self._atoms.n_formers + 1)).astype(np.int64),
            centres=graph.frame.positions[self._atoms.former_atoms].astype(np.float32),
            box=graph.frame.box,
        )


class _Open:
    """A group that goes on."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self.places: list[int] = []
        self.vectors: list[NDArray[np.float32]] = []


class _Collector:
    """Joins the groups of frames that come in order."""

    def __init__(self, atoms: NetworkAtoms, frames: range, interval: float, patience: float) -> None:
        self._atoms = atoms
        self._frames, self._interval = frames, interval
        self._patience = round(patience / interval)
        self._open: list[list[_Open]] = [[] for _ in range(atoms.n_formers)]
        self._done: list[list[_Open]] = [[] for _ in range(atoms.n_formers)]
        self._centres: list[NDArray[np.float32]] = []
        self._boxes: list[Floats] = []

    def add(self, sample: _Sample) -> None:
        """Take one frame."""
        now = len(self._centres)
        self._centres.append(sample.centres)
        self._boxes.append(sample.box)
        edges = sample.start.tolist()
        for former, (start, stop) in enumerate(itertools.pairwise(edges)):
            key = sample.anion[start:stop].tobytes(), sample.bridging[start:stop].tobytes()
            going = self._open[former]
            group = next((group for group in going if group.key == key), None)
            if group is None or now - group.places[-1] > self._patience + 1:
                group = _Open(key)
                going.append(group)
            group.places.append(now)
            group.vectors.append(sample.vectors[start:stop])
            if len(going) > 1:
                self._close(former, now)

    def result(self) -> GroupHistory:
        """The groups of all frames."""
        stretches = []
        for former in range(self._atoms.n_formers):
            ended = sorted(self._done[former] + self._open[former], key=lambda group: group.places[0])
            stretches += [self._stretch(former, group) for group in ended if len(group.places) > 1 and group.key[0]]
        return GroupHistory(
            tuple(stretches), np.array(self._centres), np.array(self._boxes), self._frames, self._interval
        )

    def _close(self, former: int, now: int) -> None:
        """Put away what was not seen for longer than the patience, and what only filled such a gap."""
        kept: list[_Open] = []
        for group in self._open[former]:
            (kept if now - group.places[-1] <= self._patience else self._done[former]).append(group)
        self._open[former] = kept

    def _stretch(self, former: int, group: _Open) -> Stretch:
        atoms = self._atoms
        numbers = np.frombuffer(group.key[0], dtype=np.int64)
        elements = tuple(atoms.anions[kind] for kind in atoms.anion_types[numbers].tolist())
        kind = atoms.formers[int(atoms.former_types[former])]
        counts = ((element, elements.count(element)) for element in sorted(set(elements)))
        return Stretch(
            former=former,
            kind=kind,
            shell=kind + "".join(f"{element}{count if count > 1 else ''}" for element, count in counts),
            anions=elements,
            bridging=np.frombuffer(group.key[1], dtype=np.bool_),
            places=np.array(group.places, dtype=np.int64),
            vectors=np.array(group.vectors),
        )
