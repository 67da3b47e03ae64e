"""The only door to what a deck wrote: frames and thermodynamic output, joined over interrupted runs.

Every (re)start of a deck writes a segment: its own DCD file per stage and its own log. A run that was killed leaves a
cut last frame and, after the restart file it resumes from, steps that the next segment repeats. Here the segments
become one trajectory on the step grid: what was cut is dropped, frames that a later segment repeats come from the
later one, and steps that no file holds are reported as a hole, never bridged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napos_lmp.currents import VelocitySums, join_rows, read_rows
from napos_lmp.dcd import DcdSegment, scan_dcd
from napos_lmp.deviation import DeviationRows, read_segment, rows_of_stage, why_no_deviation
from napos_lmp.errors import TrajectoryError
from napos_lmp.manifest import Dump, StageRecord, read_manifest
from napos_lmp.thermo import ThermoBlock, read_thermo

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Hole:
    """Frames that should be there and are in no file: all between two steps that are there."""

    after_step: int
    before_step: int
    missing_frames: int


@dataclass(frozen=True)
class SegmentReport:
    """What was used of one file.

    Attributes
    ----------
    file
        Name relative to the deck.
    segment
        Number of the (re)start that wrote it.
    frames
        Whole frames in the file.
    used_frames
        Frames of it in the joined trajectory; the others are repeated or abandoned by a later segment.
    dropped_bytes
        Size of the cut or damaged end.
    """

    file: str
    segment: int
    frames: int
    used_frames: int
    dropped_bytes: int


@dataclass(frozen=True)
class StageReport:
    """How complete the trajectory of one stage is.

    Attributes
    ----------
    stage
        Name of the stage.
    segments
        The files, in the order they were written.
    n_frames, expected_frames
        Frames there, and frames of a finished stage.
    first_step, last_step
        Steps of the first and last frame; None without any frame.
    holes
        Missing stretches between frames that are there.
    longest_run
        Frame numbers ``(start, stop)`` of the longest stretch without a hole.
    """

    stage: str
    segments: tuple[SegmentReport, ...]
    n_frames: int
    expected_frames: int
    first_step: int | None
    last_step: int | None
    holes: tuple[Hole, ...]
    longest_run: tuple[int, int]

    @property
    def complete(self) -> bool:
        """Whether every frame of the finished stage is there."""
        return self.n_frames == self.expected_frames

    @property
    def messages(self) -> list[str]:
        """What a reader of the results should know, one sentence each; empty for a clean, finished stage."""
        said = []
        for segment in self.segments:
            if segment.frames == 0:
                said.append(f"{segment.file} holds no whole frame and was left out")
            elif segment.dropped_bytes:
                said.append(f"{segment.file} ends in a cut or damaged frame: {segment.dropped_bytes} bytes dropped")
        said.extend(
            f"stage {self.stage} has a hole of {hole.missing_frames} frames between steps {hole.after_step} and "
            f"{hole.before_step}"
            for hole in self.holes
        )
        if self.holes:
            start, stop = self.longest_run
            said.append(f"stage {self.stage} is analysed in its longest stretch without a hole, {stop - start} frames")
        if not self.complete:
            said.append(f"stage {self.stage} has {self.n_frames} of {self.expected_frames} frames")
        return said


@dataclass(frozen=True)
class _Joined:
    """The frames of one stage on the step grid: for each, its file and its place there."""

    segments: tuple[DcdSegment, ...] = ()
    file_index: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    frame_index: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    steps: Integers = field(default_factory=lambda: np.empty(0, np.int64))


class DeckTrajectory:
    """Trajectory and thermodynamic output of a deck.

    Parameters
    ----------
    folder
        The deck: a folder with a ``deck.json``. The run may be unfinished or still going on.

    Raises
    ------
    DeckError
        If the folder is no deck.
    TrajectoryError
        If a file contradicts the manifest: another number of atoms, another stride, steps outside its stage.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        self._files = {
            stage.name: _segment_files(self.folder, stage.dump.pattern)
            for stage in self.manifest.stages
            if stage.dump is not None
        }
        self._logs = _segment_files(self.folder, self.manifest.thermo_pattern)
        self._scanned = {
            stage: {number: scan_dcd(path) for number, path in files.items()} for stage, files in self._files.items()
        }
        for stage, segments in self._scanned.items():
            for segment in segments.values():
                if segment is not None:
                    self._check(self.manifest.stage(stage), segment)
        self._joined = {stage: self._join(stage) for stage in self._files}

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages that write a trajectory, in the order they run."""
        return tuple(self._files)

    @cached_property
    def report(self) -> dict[str, StageReport]:
        """For each stage, the files used, what was dropped and the holes."""
        return {stage: self._stage_report(stage) for stage in self.stages}

    def universe(self, stage: str, *, across_holes: bool = False) -> Any:
        """Streaming MDAnalysis Universe of one stage, with unwrapped positions as LAMMPS wrote them.

        It has elements, names, types, masses and charges; ``ts.time`` is in ps since step 0 of the deck,
        ``ts.data["step"]`` the LAMMPS step, ``trajectory.dt`` the time between frames in ps. One frame is in memory
        at a time.

        Parameters
        ----------
        stage
            One of `stages`.
        across_holes
            Take all frames. The default takes the longest stretch without a hole, so that time correlations are right.

        Raises
        ------
        TrajectoryError
            If the stage writes no trajectory or has no whole frame, or the structure does not fit the manifest.
        """
        from napos_lmp.segment_reader import SegmentReader

        dump = self._dump(stage)
        joined = self._joined[stage]
        if len(joined.steps) == 0:
            raise TrajectoryError(
                f"stage {stage!r} of {self.folder} has no whole frame in {dump.pattern}; run the deck, or resume it"
            )
        taken = slice(None) if across_holes else slice(*self.report[stage].longest_run)
        universe = self._topology()
        universe.trajectory = SegmentReader(
            joined.segments,
            joined.file_index[taken],
            joined.frame_index[taken],
            joined.steps[taken],
            dump.stride,
            self.manifest.timestep_ps,
        )
        return universe

    def thermo(self, stage: str) -> dict[str, NDArray[np.float64]]:
        """Thermodynamic output of one stage, joined over the logs of all segments like the frames.

        Returns
        -------
        dict
            Columns as LAMMPS names them (``Step``, ``Temp``, ``Press`` ...; units `metal`: K, bar, eV, A) and
            ``time_ps``; one row per output step, none twice. Columns that only some segments have are left out.

        Raises
        ------
        TrajectoryError
            If no log holds a row of this stage.
        """
        record = self.manifest.stage(stage)
        parts: list[tuple[tuple[str, ...], NDArray[np.float64]]] = []
        for number in self._logs:
            limit = self._abandoned_after(number)
            for block in self._blocks[number]:
                if _prints_for(block, record):
                    steps = block.rows[:, 0]
                    parts.append((block.columns, block.rows[(steps <= limit) & self._on_grid(record, steps)]))
        if not any(len(rows) for _, rows in parts):
            raise TrajectoryError(
                f"stage {stage!r} of {self.folder} has no row in {self.manifest.thermo_pattern}; run the deck first"
            )
        columns = [name for name in parts[0][0] if all(name in names for names, _ in parts)]
        table = np.concatenate([rows[:, [names.index(name) for name in columns]] for names, rows in parts])[::-1]
        _, newest = np.unique(table[:, 0], return_index=True)
        table = table[newest]
        return {name: table[:, i] for i, name in enumerate(columns)} | {
            "time_ps": table[:, 0] * self.manifest.timestep_ps
        }

    def currents(self, stage: str) -> VelocitySums:
        """Sums of the velocities of each species, joined over all segments like the frames.

        Returns
        -------
        VelocitySums
            The longest stretch without a hole, so that time correlations are right.

        Raises
        ------
        TrajectoryError
            If the stage writes none or has no whole row yet, or a file contradicts the manifest.
        """
        record = self.manifest.stage(stage)
        if record.currents is None:
            raise TrajectoryError(f"stage {stage!r} of {self.folder} writes no currents; currents_ps of produce does")
        files = _segment_files(self.folder, record.currents.pattern)
        parts = [(read_rows(path, record), self._abandoned_after(number)) for number, path in files.items()]
        rows = join_rows(parts, record.currents.stride)
        if len(rows) == 0:
            raise TrajectoryError(f"stage {stage!r} of {self.folder} has no whole row in {record.currents.pattern} yet")
        return VelocitySums.from_rows(rows, record, self.manifest)

    def deviation(self, stage: str) -> DeviationRows:
        """Deviation of the committee while a stage ran, joined over all segments like the frames.

        Raises
        ------
        TrajectoryError
            If the deck does not ask a committee, the stage has no row yet, or a file contradicts the manifest.
        """
        record, deviation = self.manifest.stage(stage), self.manifest.deviation
        if deviation is None:
            raise TrajectoryError(f"{self.folder} asks no committee while it runs: {why_no_deviation(self.manifest)}")
        rows = rows_of_stage(self._deviation_parts, record, self.manifest)
        if not record.is_dynamics or len(rows.steps) == 0:
            raise TrajectoryError(f"stage {stage!r} of {self.folder} has no whole row in {deviation.pattern}")
        return rows

    @cached_property
    def _deviation_parts(self) -> list[tuple[NDArray[np.float64], float]]:
        assert self.manifest.deviation is not None
        files = _segment_files(self.folder, self.manifest.deviation.pattern)
        moved = {number for number, blocks in self._blocks.items() if any(not block.minimisation for block in blocks)}
        return [
            (read_segment(path, self.manifest, dynamics=number in moved), self._abandoned_after(number))
            for number, path in files.items()
        ]

    @cached_property
    def _blocks(self) -> dict[int, list[ThermoBlock]]:
        return {number: read_thermo(path) for number, path in self._logs.items()}

    @cached_property
    def _starts(self) -> dict[int, int]:
        """First step of each segment: from its log, else the first frame it wrote."""
        starts: dict[int, int] = {}
        for number in sorted({*self._logs, *(n for files in self._files.values() for n in files)}):
            seen = [block.first_step for block in self._blocks.get(number, []) if not block.minimisation][:1]
            for segments in self._scanned.values():
                segment = segments.get(number)
                if segment is not None and segment.n_frames:
                    seen.append(segment.first_step)
            if seen:
                starts[number] = min(seen)
        return starts

    def _abandoned_after(self, number: int) -> float:
        """Step after which the output of a segment was not continued by any later one."""
        return min((start for later, start in self._starts.items() if later > number), default=np.inf)

    def _on_grid(self, record: StageRecord, steps: NDArray[np.float64]) -> NDArray[np.bool_]:
        if record.kind == "minimise":
            return np.ones(len(steps), dtype=np.bool_)
        on_grid: NDArray[np.bool_] = steps % self.manifest.thermo_stride == 0
        ends: NDArray[np.bool_] = (steps == record.first_step) | (steps == record.last_step)
        return np.logical_or(on_grid, ends)

    def _dump(self, stage: str) -> Dump:
        dump = self.manifest.stage(stage).dump
        if dump is None:
            raise TrajectoryError(f"stage {stage!r} writes no trajectory; these do: {', '.join(self.stages) or 'none'}")
        return dump

    def _check(self, record: StageRecord, segment: DcdSegment) -> None:
        name = segment.path.relative_to(self.folder)
        dump = self._dump(record.name)
        expected = self.manifest.structure.n_atoms
        if segment.n_atoms != expected:
            raise TrajectoryError(f"{name} has {segment.n_atoms} atoms; the deck has {expected}")
        if segment.stride != dump.stride:
            raise TrajectoryError(f"{name} has a frame every {segment.stride} steps; the deck says {dump.stride}")
        if segment.first_step % dump.stride:
            raise TrajectoryError(f"{name} starts at step {segment.first_step}, no multiple of {dump.stride}")
        if segment.n_frames and not record.first_step <= segment.first_step <= segment.last_step <= record.last_step:
            raise TrajectoryError(
                f"{name} covers steps {segment.first_step} to {segment.last_step}; its stage has {record.first_step} "
                f"to {record.last_step}"
            )

    def _join(self, stage: str) -> _Joined:
        segments = {number: segment for number, segment in self._scanned[stage].items() if segment and segment.n_frames}
        if not segments:
            return _Joined()
        kept: list[tuple[int, Integers, Integers]] = []
        before = np.inf
        for place, (number, segment) in reversed(list(enumerate(segments.items()))):
            steps = segment.first_step + segment.stride * np.arange(segment.n_frames, dtype=np.int64)
            wanted = np.flatnonzero((steps < before) & (steps <= self._abandoned_after(number))).astype(np.int64)
            kept.append((place, wanted, steps[wanted]))
            before = min(before, segment.first_step)
        kept.reverse()
        return _Joined(
            segments=tuple(segments.values()),
            file_index=np.concatenate([np.full(len(frames), place, dtype=np.int64) for place, frames, _ in kept]),
            frame_index=np.concatenate([frames for _, frames, _ in kept]),
            steps=np.concatenate([steps for _, _, steps in kept]),
        )

    def _stage_report(self, stage: str) -> StageReport:
        joined, record, stride = self._joined[stage], self.manifest.stage(stage), self._dump(stage).stride
        used = {segment.path: int(np.sum(joined.file_index == place)) for place, segment in enumerate(joined.segments)}
        segments = []
        for number, path in self._files[stage].items():
            scanned = self._scanned[stage][number]
            whole, cut = (scanned.n_frames, scanned.dropped_bytes) if scanned else (0, path.stat().st_size)
            name = path.relative_to(self.folder).as_posix()
            segments.append(SegmentReport(name, number, whole, used.get(path, 0), cut))
        steps = joined.steps
        breaks = np.flatnonzero(np.diff(steps) > stride) + 1
        runs = list(zip([0, *breaks.tolist()], [*breaks.tolist(), len(steps)], strict=True))
        return StageReport(
            stage=stage,
            segments=tuple(segments),
            n_frames=len(steps),
            expected_frames=record.last_step // stride - (record.first_step - 1) // stride,
            first_step=int(steps[0]) if len(steps) else None,
            last_step=int(steps[-1]) if len(steps) else None,
            holes=tuple(
                Hole(int(steps[i - 1]), int(steps[i]), int(steps[i] - steps[i - 1]) // stride - 1) for i in breaks
            ),
            longest_run=max(runs, key=lambda run: run[1] - run[0]),
        )

    def _topology(self) -> Any:
        import MDAnalysis
        from ase.data import atomic_masses, atomic_numbers

        symbols = self._symbols()
        charges = self.manifest.structure.charges
        universe = MDAnalysis.Universe.empty(len(symbols), trajectory=False)
        universe.add_TopologyAttr("elements", symbols)
        universe.add_TopologyAttr("names", symbols)
        universe.add_TopologyAttr("types", symbols)
        universe.add_TopologyAttr("ids", np.arange(1, len(symbols) + 1))
        universe.add_TopologyAttr("masses", [atomic_masses[atomic_numbers[symbol]] for symbol in symbols])
        universe.add_TopologyAttr("charges", [charges[symbol] for symbol in symbols])
        return universe

    def _symbols(self) -> Sequence[str]:
        """Element of each atom in the order of their ids, which is the order in LAMMPS's DCD files."""
        from napos_lmp.structure import read_data

        record = self.manifest.structure
        path = self.folder / record.file
        if not path.is_file():
            raise TrajectoryError(f"{path} is missing; without it the elements of the trajectory are unknown")
        symbols = [str(symbol) for symbol in read_data(path, self.manifest.elements).symbols]
        counts = {element: symbols.count(element) for element in sorted(set(symbols))}
        expected = {element: count for element, count in sorted(record.counts.items()) if count}
        if counts != expected:
            raise TrajectoryError(f"{path} holds {counts}; the manifest says {expected}")
        return symbols


def _segment_files(folder: Path, pattern: str) -> dict[int, Path]:
    """Files of a pattern that holds one `*`, by segment number in rising order."""
    number = re.compile(re.escape(Path(pattern).name).replace(r"\*", r"(\d{3,})"))
    parent = (folder / pattern).parent
    found = ((number.fullmatch(path.name), path) for path in parent.glob("*"))
    return dict(sorted((int(match.group(1)), path) for match, path in found if match))


def _prints_for(block: ThermoBlock, record: StageRecord) -> bool:
    if block.minimisation or record.kind == "minimise":
        return block.minimisation and record.kind == "minimise"
    return record.first_step <= block.first_step < record.last_step
