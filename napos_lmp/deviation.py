"""Deviation of a committee while a deck runs: how often it is asked, and the files of the answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napos_lmp.errors import TrajectoryError
from napos_lmp.manifest import Deviation, Manifest, StageRecord
from napos_lmp.segment_rows import whole_rows

if TYPE_CHECKING:
    from napos_lmp.protocol import ScheduledStage

Floats = NDArray[np.float64]

LEAST_INTERVAL_PS = 0.5
"""Least time between two looks at the committee in ps; see `docs/extrapolation.md` for what they cost."""


@dataclass(frozen=True)
class DeviationRows:
    """Deviation of the forces of a committee against time; all arrays have shape (rows,).

    Attributes
    ----------
    steps
        LAMMPS steps.
    times
        In ps since step 0.
    largest, mean
        Largest and mean deviation over the atoms, eV/A; not finite where the simulation had blown up.
    """

    steps: NDArray[np.int64]
    times: Floats
    largest: Floats
    mean: Floats


def planned_deviation(schedule: Sequence[ScheduledStage], timestep_ps: float) -> Deviation | None:
    """How often a deck asks its committee: whenever the production, else the last stage with frames, stores a frame.

    Where frames lie closer than `LEAST_INTERVAL_PS`, at every second, third ... of them. None for a deck that relaxes
    or strains: its steps are no time.
    """
    dynamics = [stage for stage in schedule if stage.ensemble is not None]
    if not dynamics or any(stage.ensemble is None and stage.kind != "minimise" for stage in schedule):
        return None
    stored = [stage for stage in dynamics if stage.dump_stride]
    produced = [stage for stage in stored if stage.kind == "produce"]
    stride = next((stage.dump_stride for stage in reversed(produced or stored) if stage.dump_stride), 1)
    return Deviation(stride=stride * max(1, math.ceil(LEAST_INTERVAL_PS / (stride * timestep_ps) - 1e-9)))


def why_no_deviation(manifest: Manifest) -> str:
    """Why a deck asks no committee while it runs."""
    potential = manifest.potential
    if not potential.card.get("committee"):
        return f"its potential {potential.name!r} is one model, and a deviation takes a committee of at least two"
    if not all(stage.is_dynamics or stage.kind == "minimise" for stage in manifest.stages):
        return "it relaxes and strains, and its steps are no time"
    return f"its pair style runs the first model of {potential.name!r} alone, or the deck is older than that"


def read_segment(path: Path, manifest: Manifest, *, dynamics: bool) -> Floats:
    """Whole rows of one segment's file that belong to dynamics, shape (rows, columns), the step first.

    A cut last line is left out, and so is what a minimisation wrote: it counts its steps from 0, too, and comes first.
    DeePMD-kit writes no heading after a restart.

    Parameters
    ----------
    path
        The file.
    manifest
        Of its deck.
    dynamics
        Whether the segment came to any dynamics.

    Raises
    ------
    TrajectoryError
        If the file contradicts the manifest: other columns, another stride, steps outside the deck.
    """
    deviation = manifest.deviation
    assert deviation is not None
    rows = whole_rows(path, len(deviation.columns)) if dynamics else np.empty((0, len(deviation.columns)))
    if not len(rows):
        return rows
    if any(stage.kind == "minimise" for stage in manifest.stages):
        rows = rows[max(np.flatnonzero(rows[:, 0] == 0), default=0) :]
    steps = rows[:, 0]
    if np.any(steps % deviation.stride):
        raise TrajectoryError(f"{path} has rows off the grid of every {deviation.stride} steps that the deck says")
    if steps.max() > manifest.last_step:
        raise TrajectoryError(f"{path} goes to step {steps.max():.0f}; the deck ends at {manifest.last_step}")
    return rows


def rows_of_stage(parts: Sequence[tuple[Floats, float]], record: StageRecord, manifest: Manifest) -> DeviationRows:
    """Rows of one stage over all segments, in the order they were written, no step twice.

    Parameters
    ----------
    parts
        For each segment its rows, and the step after which no later segment continued it. Where segments overlap the
        later one counts.
    record, manifest
        The stage and its deck.
    """
    assert manifest.deviation is not None
    kept = [rows[rows[:, 0] <= limit] for rows, limit in parts]
    rows = np.concatenate([np.empty((0, len(manifest.deviation.columns))), *kept])[::-1]
    rows = rows[(rows[:, 0] >= record.first_step) & (rows[:, 0] <= record.last_step)]
    rows = rows[np.unique(rows[:, 0], return_index=True)[1]]
    place = manifest.deviation.columns.index
    return DeviationRows(
        steps=rows[:, 0].astype(np.int64),
        times=rows[:, 0] * manifest.timestep_ps,
        largest=rows[:, place("max_devi_f")],
        mean=rows[:, place("avg_devi_f")],
    )
