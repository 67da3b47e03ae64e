"""`analysis.json`: what was measured on a deck, from which data, and what was refused.

The file lies in the folder `analysis` of the deck beside one CSV for each curve. It names every input with its size
and time of change, so that a later look can tell whether it is up to date.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from numpy.typing import ArrayLike
from pydantic import Field

from napos_lmp.analysis.base import Estimate, Result, write_table
from napos_lmp.errors import AnalysisError
from napos_lmp.records import Record, read_record

ANALYSIS_FOLDER = "analysis"
RESULT_NAME = "analysis.json"
ANALYSIS_VERSION = 7
"""Raised whenever the analysis measures more or otherwise, so that older results are measured again."""

Tables = dict[str, Mapping[str, ArrayLike] | Result]
"""CSV files to write: by name, columns or a result that knows its own."""


class Quantity(Record):
    """One measured number.

    `key` is made of the quantity and what it is of, such as ``density``, ``fraction.P.n1``, ``diffusion.Na``. `value`
    is None where it was refused, and `refused` says why. `low` and `high` are the ends of the interval within this run
    at confidence `level`, None where there is none, and `note` says why.
    """

    key: str
    label: str
    unit: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    note: str = ""
    refused: str = ""

    @classmethod
    def of_estimate(cls, key: str, label: str, estimate: Estimate) -> Quantity:
        """A quantity from what a measurement returned; NaN becomes None."""
        value = _finite(estimate.value)
        return cls(
            key=key,
            label=label,
            unit=estimate.unit,
            value=value,
            low=_finite(estimate.low),
            high=_finite(estimate.high),
            level=estimate.level,
            note=estimate.note if value is not None else "",
            refused="" if value is not None else estimate.note or "the data hold no such event",
        )


class Window(Record):
    """Lag times in ps between which a diffusion coefficient was fitted to the MSD of a species."""

    species: str
    start_ps: float
    stop_ps: float
    intercept_A2: float
    slope_A2_ps: float


class ExtrapolationRecord(Record):
    """How far the models of a committee were from one another in a stage, against what is usual.

    `source` is "run" where LAMMPS asked them on the way, "frames" where stored frames were given to them. `share` of
    the `looks` is beyond the limits, up to `share_by_chance` would be at home. None where the card gives no limits; the
    largest deviation also where the simulation blew up.
    """

    source: Literal["run", "frames"]
    looks: int
    share: float | None
    share_by_chance: float | None
    largest_eV_A: float | None
    largest_at_ps: float
    usual_largest_eV_A: float | None
    usual_mean_eV_A: float | None
    extrapolating: bool | None
    verdict: str


class StageResult(Record):
    """What was measured on the frames and the log of one stage.

    `files` holds the curves: the name of the measurement and a CSV file beside ``analysis.json``. `refusals` are whole
    measurements that could not be made. `messages` say what was dropped from the trajectory. `extrapolation` is
    there for decks with a committee.
    """

    stage: str
    kind: str
    temperature_K: float | None
    measured_temperature_K: float | None = None
    segments: tuple[str, ...] = ()
    n_frames: int = 0
    expected_frames: int = 0
    used_frames: int = 0
    quantities: tuple[Quantity, ...] = ()
    windows: tuple[Window, ...] = ()
    files: dict[str, str] = Field(default_factory=dict)
    refusals: dict[str, str] = Field(default_factory=dict)
    messages: tuple[str, ...] = ()
    extrapolation: ExtrapolationRecord | None = None

    def get(self, key: str) -> Quantity | None:
        """The quantity with a key, if it was looked at."""
        return next((quantity for quantity in self.quantities if quantity.key == key), None)


class InputFile(Record):
    """A file that was read: size in bytes and time of change in ns since 1970."""

    size: int
    changed_ns: int


class DeckResult(Record):
    """All that was measured on one deck.

    `analysis_version` is the ANALYSIS_VERSION that measured it, 1 where it is not said. `manifest_sha256` is of
    ``deck.json``. `charges` are those of the conductivity, by element. `last_step` is the newest step in the logs and
    trajectories, None for a deck that has not been started. `thermo` is the CSV of the thermodynamic output of all
    stages, None where there is none.
    """

    schema_version: Literal[1] = 1
    program_version: str
    analysis_version: int = 1
    label: str
    formula: str
    seed: int
    manifest_sha256: str
    inputs: dict[str, InputFile]
    charges: dict[str, float] = Field(default_factory=dict)
    last_step: int | None
    complete: bool
    thermo: str | None = None
    stages: tuple[StageResult, ...] = ()
    refusals: dict[str, str] = Field(default_factory=dict)

    @property
    def extrapolations(self) -> list[str]:
        """Stage and verdict of the stages in which the potential extrapolates, or of which nobody can say."""
        found = [(stage.stage, stage.extrapolation) for stage in self.stages if stage.extrapolation]
        return [f"{stage}: {record.verdict}" for stage, record in found if record.extrapolating is not False]

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON-ready values."""
        return self.model_dump(mode="json")

    def get(self, key: str, kinds: tuple[str, ...] = ()) -> Quantity | None:
        """The quantity with a key from the last stage that has it; `kinds` restricts the stages by their kind."""
        for stage in reversed(self.stages):
            if kinds and stage.kind not in kinds:
                continue
            if (found := stage.get(key)) is not None:
                return found
        return None


def read_deck_result(deck: Path) -> DeckResult | None:
    """Read ``analysis/analysis.json`` of a deck; None where it was not analysed.

    Raises
    ------
    AnalysisError
        If the file is damaged or of another version.
    """
    path = deck / ANALYSIS_FOLDER / RESULT_NAME
    if not path.is_file():
        return None
    return read_record(path, DeckResult, AnalysisError, cure="; analyse the deck again with force")


def write_result(target: Path, result: Record, tables: Tables) -> None:
    """Put a new folder with ``analysis.json`` and its tables in the place of an older one, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        new = work / "new"
        new.mkdir()
        for name, table in tables.items():
            if isinstance(table, Result):
                table.to_csv(new / name)
            else:
                write_table(new / name, table)
        content = json.dumps(result.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False)
        (new / RESULT_NAME).write_text(content + "\n", encoding="utf-8")
        if target.exists():
            target.replace(work / "old")
        new.replace(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
