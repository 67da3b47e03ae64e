"""The queue of frames that wait for labels: a folder that a person can look into.

    queue.yaml        what is labelled, at which level, where the results go
    pool.extxyz.gz    the frames, each with an id, in the order in which they are labelled
    rejected.json     frames that no settings would converge, with the reason (written by `collect`)

and in the working folder that `queue.yaml` names, one file for each frame:

    results/<id>.json     a label          calculations/<id>/   inputs and outputs of the one under way
    rejected/<id>.json    a rejection      locks/<id>           held while someone works on the frame

Several processes, on several machines with one file system, may work on one queue.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from napos_lmp.errors import LabelError
from napos_lmp.files import sha256_of
from napos_lmp.job import Word
from napos_lmp.records import Record, read_record, write_record
from napos_lmp.reference.card import DataCard, Rejected, describe, dispersion_note, write_data_card
from napos_lmp.reference.dispersion import add_dispersion
from napos_lmp.reference.engines import EngineSettings, make_engine
from napos_lmp.reference.frames import ids_of, labelled, read_frames, write_frames
from napos_lmp.reference.labels import Engine, Label
from napos_lmp.yamlfile import read_yaml_model

WALL_TIME = r"^(?:\d{1,2}-)?\d{1,3}:[0-5]\d:[0-5]\d$"
QUEUE_FILE = "queue.yaml"
REJECTED_FILE = "rejected.json"
_ENERGY = (
    "energy: extrapolated to zero smearing (ASE's potential energy); free_energy: with the electrons' entropy, whose "
    "derivatives the forces and the stress are"
)


class ArrayJob(BaseModel):
    """What a Slurm array asks for: up to `tasks` tasks of `workers` calculations each."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tasks: int = Field(default=20, ge=1, le=10_000)
    workers: int = Field(default=8, ge=1, le=1024)
    time: str = Field(default="24:00:00", pattern=WALL_TIME)
    partition: Word | None = None
    account: Word | None = None
    memory: Annotated[str, Field(pattern=r"^\d+[KMGT]?$")] | None = None
    modules: tuple[Word, ...] = ()


class QueueSettings(BaseModel):
    """What `queue.yaml` says; paths are relative to it.

    `pool` holds the frames, `collected` is the data set that `collect` writes, `work` the working folder. A calculation
    may use `threads` threads. `name`, `description` and `licence` go onto the data set's card. Labels with a force
    above `force_cap_eV_A` are rejected. `dispersion` names the functional whose D3(BJ) terms `collect` stores apart.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    description: str = ""
    licence: str = "unknown"
    pool: Path = Path("pool.extxyz.gz")
    collected: Path = Path("labels.extxyz.gz")
    work: Path = Path("work")
    engine: EngineSettings
    dispersion: str | None = None
    threads: int = Field(default=1, ge=1, le=1024)
    force_cap_eV_A: float = Field(default=50.0, gt=0)
    slurm: ArrayJob = ArrayJob()


class LabelRecord(Record):
    """One label as it lies in the working folder; units as in :class:`napos_lmp.reference.labels.Label`."""

    id: str
    level: str
    code: str
    energy_eV: float
    free_energy_eV: float
    forces_eV_A: tuple[tuple[float, float, float], ...]
    stress_eV_A3: tuple[tuple[float, float, float], ...] | None
    iterations: int
    attempt: int
    seconds: float
    host: str
    ended: str


class Rejection(Record):
    """One frame that got no label, and why."""

    id: str
    level: str
    reason: str
    attempts: int
    seconds: float
    ended: str


class Rejections(Record):
    """All rejections of a queue."""

    rejected: tuple[Rejection, ...] = ()


@dataclass(frozen=True)
class QueueState:
    """How far a queue is, in frames; `seconds` of each label in the working folder."""

    frames: int
    collected: int
    labelled: int
    rejected: int
    seconds: tuple[float, ...]

    @property
    def done(self) -> int:
        """Frames that need no more work."""
        return self.collected + self.labelled + self.rejected

    @property
    def waiting(self) -> int:
        """Frames without a label or a rejection."""
        return self.frames - self.done


class Queue:
    """A queue folder, opened.

    Raises
    ------
    LabelError
        If `queue.yaml` is wrong, or the working folder holds labels of another level.
    ReferenceDataError
        If the pool cannot be read or a frame has no id of its own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        if not (folder / QUEUE_FILE).is_file():
            raise LabelError(f"{folder} is no queue: it has no {QUEUE_FILE}")
        settings = read_yaml_model(folder / QUEUE_FILE, QueueSettings, LabelError)
        paths = {name: self.folder / getattr(settings, name) for name in ("pool", "collected", "work")}
        self.settings = settings.model_copy(update=paths)
        self.engine: Engine = make_engine(settings.engine)
        self.level = fingerprint(self.engine.level)
        pool = read_frames(self.settings.pool)
        self.frames: dict[str, Any] = dict(zip(ids_of(pool, self.settings.pool), pool, strict=True))

    @cached_property
    def collected(self) -> frozenset[str]:
        """Ids of the frames that the data set holds already."""
        path = self.settings.collected
        return frozenset(ids_of(read_frames(path), path)) if path.is_file() else frozenset()

    @cached_property
    def rejected_before(self) -> tuple[Rejection, ...]:
        """Rejections that `collect` has kept."""
        path = self.folder / REJECTED_FILE
        kept = read_record(path, Rejections, LabelError).rejected if path.is_file() else ()
        return tuple(rejection for rejection in kept if rejection.level == self.level)

    def is_done(self, name: str) -> bool:
        """Whether a frame has a label or a rejection."""
        return (
            name in self.collected
            or any(rejection.id == name for rejection in self.rejected_before)
            or self._file("results", name).is_file()
            or self._file("rejected", name).is_file()
        )

    def waiting(self) -> list[str]:
        """Ids without label or rejection, in the order of the pool."""
        return [name for name in self.frames if not self.is_done(name)]

    def state(self) -> QueueState:
        """How far the queue is."""
        collected = self.collected & self.frames.keys()
        labels = [label for label in self.labels() if label.id not in collected]
        rejected = {rejection.id for rejection in self.rejections()} & self.frames.keys()
        seconds = tuple(label.seconds for label in labels)
        return QueueState(len(self.frames), len(collected), len(labels), len(rejected - collected), seconds)

    def labels(self) -> list[LabelRecord]:
        """All labels in the working folder, in the order of the pool.

        Raises
        ------
        LabelError
            If one is damaged or of another level.
        """
        records = [
            read_record(path, LabelRecord, LabelError, "; delete it, and the frame is labelled again")
            for name in self.frames
            if (path := self._file("results", name)).is_file()
        ]
        if other := next((record for record in records if record.level != self.level), None):
            raise LabelError(
                f"{self._file('results', other.id)} was made at another level of theory than {QUEUE_FILE} says; "
                "give a changed queue a new folder `work` and a new `collected`"
            )
        return records

    def rejections(self) -> list[Rejection]:
        """All rejections, kept before or in the working folder."""
        found = {rejection.id: rejection for rejection in self.rejected_before}
        for path in sorted((self.settings.work / "rejected").glob("*.json")):
            rejection = read_record(path, Rejection, LabelError, "; delete it, and the frame is tried again")
            if rejection.level == self.level:
                found[rejection.id] = rejection
        return list(found.values())

    def calculation_folder(self, name: str) -> Path:
        """Folder of the calculation of one frame."""
        return self.settings.work / "calculations" / name

    def store(self, record: LabelRecord | Rejection) -> None:
        """Keep a label or a rejection."""
        kind = "results" if isinstance(record, LabelRecord) else "rejected"
        write_record(self._file(kind, record.id), record)

    @contextmanager
    def claim(self, name: str) -> Iterator[int | None]:
        """Hold a frame; yields the lock's descriptor, or None where another process holds it.

        The kernel lets go of the lock when every process that has the descriptor has ended.
        """
        path = self.settings.work / "locks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
            else:
                yield descriptor
        finally:
            os.close(descriptor)

    def collect(self) -> int:
        """Write all labelled frames into the data set behind those it holds, and its card; give the number of new ones.

        Rejections are kept beside `queue.yaml`. The working folder is left as it is.

        Raises
        ------
        LabelError
            If the data set on disk is of another level than this queue.
        """
        target = self.settings.collected
        before = read_frames(target) if target.is_file() else []
        held = set(ids_of(before, target)) if before else set()
        if other := next((frame for frame in before if frame.info.get("level") != self.level), None):
            raise LabelError(f"{target} holds {other.info['id']} of another level of theory than {QUEUE_FILE} says")
        records = [record for record in self.labels() if record.id not in held]
        frames = [*before, *(self._labelled(record) for record in records)]
        rejections = sorted(self.rejections(), key=lambda rejection: rejection.id)
        if rejections:
            write_record(self.folder / REJECTED_FILE, Rejections(rejected=tuple(rejections)))
        if records:
            if self.settings.dispersion:
                add_dispersion(frames, self.settings.dispersion)
            write_frames(target, frames)
            self._write_card(frames, rejections)
        self.__dict__.pop("collected", None)
        self.__dict__.pop("rejected_before", None)
        return len(records)

    def _write_card(self, frames: list[Any], rejections: list[Rejection]) -> None:
        target = self.settings.collected
        card = DataCard(
            name=self.settings.name or target.name.split(".")[0],
            description=self.settings.description,
            file=target.name,
            sha256=sha256_of(target),
            licence=self.settings.licence,
            level_of_theory=self.engine.level_of_theory,
            level=self.level,
            settings=self.engine.level,
            code=tuple(sorted({str(frame.info["code"]) for frame in frames})),
            energy=_ENERGY,
            dispersion=dispersion_note(self.settings.dispersion),
            rejected=tuple(Rejected(id=rejection.id, reason=rejection.reason) for rejection in rejections),
            **describe(frames),
        )
        write_data_card(target, card)

    def _labelled(self, record: LabelRecord) -> Any:
        stress = None if record.stress_eV_A3 is None else np.array(record.stress_eV_A3)
        frame = labelled(
            self.frames[record.id], record.energy_eV, np.array(record.forces_eV_A), stress,
            free_energy=record.free_energy_eV,
        )  # fmt: skip
        frame.info |= {"level": record.level, "code": record.code}
        return frame

    def _file(self, kind: str, name: str) -> Path:
        return self.settings.work / kind / f"{name}.json"


def record_of(name: str, level: str, label: Label, attempt: int, seconds: float, host: str, ended: str) -> LabelRecord:
    """The record of a label."""
    stress = None if label.stress is None else _rows(label.stress)
    return LabelRecord(
        id=name, level=level, code=label.code, energy_eV=label.energy, free_energy_eV=label.free_energy,
        forces_eV_A=_rows(label.forces), stress_eV_A3=stress, iterations=label.iterations, attempt=attempt,
        seconds=round(seconds, 1), host=host, ended=ended,
    )  # fmt: skip


def fingerprint(level: dict[str, Any]) -> str:
    """Twelve digits that stand for a level of theory."""
    return hashlib.sha256(json.dumps(level, sort_keys=True).encode()).hexdigest()[:12]


def _rows(values: Any) -> tuple[tuple[float, float, float], ...]:
    return tuple((float(row[0]), float(row[1]), float(row[2])) for row in values)
