"""`run.json`: what the engine did with a deck, one entry a segment.

The trajectory reader joins segments by it: segment k counts from its `start_step` up to the `start_step` of the next
segment, whose frames win where both have one. A deck that was run by plain `mpirun lmp` has no `run.json`; the reader
then takes the start steps from the DCD headers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from napos_lmp.errors import DeckError
from napos_lmp.manifest import Manifest, segment_file
from napos_lmp.records import Record, read_record, write_record

RECORD_NAME = "run.json"

Outcome = Literal["running", "complete", "stopped", "failed", "killed"]


class SegmentRecord(Record):
    """One start of LAMMPS on a deck.

    `start_step` is the step of the restart file read (`restart`, None for a start from the data file, at step 0).
    `command` runs in the deck's folder. `exit_status` is LAMMPS's or the launcher's, negative for a signal.
    `last_step` is the last one in the log. `outcome`: "complete" reached the end of the deck, "stopped" ended on
    request with a restart file, "failed" ended by an error (then `message` says which), "killed" ended with no word,
    "running" has not ended or the engine was killed with it. Times are UTC in ISO 8601.
    """

    number: int
    start_step: int
    restart: str | None
    command: tuple[str, ...]
    ranks: int
    threads: int
    lammps_version: str
    host: str
    started: str
    ended: str | None = None
    exit_status: int | None = None
    last_step: int | None = None
    wall_seconds: float | None = None
    outcome: Outcome = "running"
    message: str | None = None


class SourceRecord(Record):
    """The structure copied in from another deck: where from, and its SHA-256."""

    deck: str
    file: str
    sha256: str


class RunRecord(Record):
    """All segments of a deck, in the order they were started; their numbers rise and are never used twice."""

    schema_version: Literal[1] = 1
    source: SourceRecord | None = None
    segments: tuple[SegmentRecord, ...] = ()

    def with_segment(self, segment: SegmentRecord) -> RunRecord:
        """The same record with `segment` added, or in the place of the one with its number."""
        others = tuple(known for known in self.segments if known.number != segment.number)
        return self.model_copy(update={"segments": tuple(sorted((*others, segment), key=lambda one: one.number))})


def read_run_record(deck: Path) -> RunRecord | None:
    """Read `run.json` of a deck; None where the deck was never run by the engine.

    Raises
    ------
    DeckError
        If the file is damaged.
    """
    path = deck / RECORD_NAME
    if not path.is_file():
        return None
    return read_record(path, RunRecord, DeckError)


def write_run_record(deck: Path, record: RunRecord) -> None:
    """Write `run.json` of a deck, whole."""
    write_record(deck / RECORD_NAME, record)


def next_segment(deck: Path, manifest: Manifest, record: RunRecord) -> int:
    """A segment number that no earlier run of the deck has used, with the engine or without."""
    outputs = [output for stage in manifest.stages for output in (stage.dump, stage.currents) if output]
    patterns = [manifest.thermo_pattern, *(output.pattern for output in outputs)]
    if manifest.deviation:
        patterns.append(manifest.deviation.pattern)
    used = {segment.number for segment in record.segments}
    for pattern in patterns:
        before, after = Path(pattern).name.split("*")
        for path in deck.glob(pattern):
            digits = path.name[len(before) : len(path.name) - len(after)]
            if digits.isdigit():
                used.add(int(digits))
    return max(used, default=-1) + 1


def screen_file(deck: Path, segment: int) -> Path:
    """Where all that LAMMPS prints in a segment is kept, errors included."""
    return deck / segment_file("log/screen.*.txt", segment)
