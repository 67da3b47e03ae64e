"""Sums of the velocities of each species, as LAMMPS prints them while it runs: what Green-Kubo needs of a long run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napos_lmp.errors import TrajectoryError
from napos_lmp.manifest import Manifest, StageRecord
from napos_lmp.segment_rows import whole_rows

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class VelocitySums:
    """Sums of velocities over the atoms of each species, evenly spaced in time.

    Attributes
    ----------
    times
        In ps since step 0, shape (rows,).
    sums
        For each species in A/ps, shape (rows, 3).
    n_atoms, masses, charges
        Number of atoms, atomic mass in u and charge number of each species.
    expected_rows
        Rows of the finished stage.
    """

    times: Floats
    sums: Mapping[str, Floats]
    n_atoms: Mapping[str, int]
    masses: Mapping[str, float]
    charges: Mapping[str, float]
    expected_rows: int

    @property
    def species(self) -> tuple[str, ...]:
        """The species, in the order of the file."""
        return tuple(self.sums)

    @classmethod
    def from_rows(cls, rows: Floats, record: StageRecord, manifest: Manifest) -> VelocitySums:
        """The rows of a deck's stage, with what its manifest says of the species."""
        from ase.data import atomic_masses, atomic_numbers

        currents = record.currents
        assert currents is not None
        place = {column: i for i, column in enumerate(currents.columns)}
        return cls(
            times=rows[:, place["step"]] * manifest.timestep_ps,
            sums={name: rows[:, [place[f"v{axis}_{name}"] for axis in "xyz"]] for name in currents.species},
            n_atoms={name: manifest.structure.counts[name] for name in currents.species},
            masses={name: float(atomic_masses[atomic_numbers[name]]) for name in currents.species},
            charges={name: manifest.structure.charges[name] for name in currents.species},
            expected_rows=record.last_step // currents.stride - (record.first_step - 1) // currents.stride,
        )


def read_rows(path: Path, record: StageRecord) -> Floats:
    """All whole rows of one segment's file, shape (rows, columns), the step first; a cut last line is left out.

    Raises
    ------
    TrajectoryError
        If the file contradicts the manifest: other columns, another stride, steps outside its stage.
    """
    currents = record.currents
    assert currents is not None
    rows = whole_rows(path, len(currents.columns))
    if not len(rows):
        return rows
    steps = rows[:, 0]
    if np.any(steps % currents.stride) or np.any(np.diff(steps) != currents.stride):
        raise TrajectoryError(f"{path} has rows off the grid of every {currents.stride} steps that the deck says")
    if steps[0] < record.first_step or steps[-1] > record.last_step:
        raise TrajectoryError(
            f"{path} covers steps {steps[0]:.0f} to {steps[-1]:.0f}; its stage has {record.first_step} to "
            f"{record.last_step}"
        )
    return rows


def join_rows(parts: Sequence[tuple[Floats, float]], stride: int) -> Floats:
    """Longest stretch without a hole of the rows of all segments, in the order they were written.

    Parameters
    ----------
    parts
        For each segment its rows, and the step after which no later segment continued it. Rows that a later segment
        repeats come from the later one.
    stride
        Steps between rows.
    """
    kept: list[Floats] = []
    before = np.inf
    for rows, limit in reversed(parts):
        if len(rows):
            steps = rows[:, 0]
            kept.append(rows[(steps < before) & (steps <= limit)])
            before = min(before, float(steps[0]))
    if not kept:
        return np.empty((0, 0))
    joined = np.concatenate(kept[::-1])
    stretches = np.split(joined, np.flatnonzero(np.diff(joined[:, 0]) != stride) + 1)
    return max(stretches, key=len)
