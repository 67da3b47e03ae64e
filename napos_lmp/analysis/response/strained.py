"""Strains and stresses of the cells that an elastic deck has strained, read from its tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from napos_lmp.analysis.base import Floats
from napos_lmp.errors import AnalysisError
from napos_lmp.manifest import StageRecord, read_manifest

State = Literal["relaxed", "clamped"]
"""Whether the atoms were relaxed in the strained cell, or moved along with it."""

BAR_IN_GPA = 1e-4
_CELL = ("lx", "ly", "lz", "xy", "xz", "yz")
_PRESSURE = ("pxx", "pyy", "pzz", "pxy", "pxz", "pyz")


@dataclass(frozen=True)
class StrainedCells:
    """Cells of one structure with their strains and stresses.

    Attributes
    ----------
    strains
        Shape (n, 6): Hencky strains in Voigt's order xx, yy, zz, yz, xz, xy; shears are twice the tensor's.
    stresses
        Shape (n, 6): Cauchy stresses in GPa in the same order, positive under tension, in axes that turn with the cell.
    reference
        Shape (6,): stress of the cell without strain, GPa.
    largest_force
        Largest force that was left in a relaxed cell, eV/A; NaN where it is not known.
    force_tolerance
        What the relaxations were to reach, eV/A; NaN where it is not known.
    """

    strains: Floats
    stresses: Floats
    reference: Floats
    largest_force: float = float("nan")
    force_tolerance: float = float("nan")


def read_strained_cells(deck: str | Path, state: State = "relaxed") -> StrainedCells:
    """The strained cells of an elastic deck.

    Strain and rotation follow from the cells themselves: F = A A0^-1 = R U, strain ln U, stress R^T sigma R.

    Parameters
    ----------
    deck
        The deck's folder.
    state
        Whose stresses: of the relaxed atoms, or of those that moved along with the cell.

    Raises
    ------
    DeckError
        If the folder is no deck.
    AnalysisError
        If the deck strains nothing, or has not finished doing so.
    """
    folder = Path(deck)
    manifest = read_manifest(folder)
    strained = [stage for stage in manifest.stages if stage.kind == "strain"]
    if not strained:
        raise AnalysisError(f"deck {folder} strains no cell; make it with the preset elastic")
    left = [stage.name for stage in strained if not _path(folder, stage).is_file()]
    if left:
        raise AnalysisError(f"deck {folder} has {len(left)} of {len(strained)} strains left to do; run it to its end")
    (relaxation,) = (stage for stage in manifest.stages if stage.kind == "relax")
    reference = _read_table(_path(folder, relaxation), "reference")["reference"]
    tables = [_read_table(_path(folder, stage), "clamped", "relaxed") for stage in strained]
    first = _cell(reference)
    found = [_strain_and_stress(first, table[state]) for table in tables]
    (settings,) = (stage for stage in manifest.protocol["stages"] if stage["kind"] == "strain")
    return StrainedCells(
        strains=np.array([strain for strain, _ in found]),
        stresses=np.array([stress for _, stress in found]),
        reference=voigt(_stress(reference)),
        largest_force=max(reference["fmax"], *(table["relaxed"]["fmax"] for table in tables)),
        force_tolerance=float(settings["force_tolerance_eV_A"]),
    )


def voigt(tensor: Floats) -> Floats:
    """The six entries xx, yy, zz, yz, xz, xy of a symmetric tensor."""
    return np.array([tensor[0, 0], tensor[1, 1], tensor[2, 2], tensor[1, 2], tensor[0, 2], tensor[0, 1]])


def _path(folder: Path, stage: StageRecord) -> Path:
    return folder / (stage.table or stage.name)


def _read_table(path: Path, *states: str) -> dict[str, dict[str, float]]:
    """Rows of a table by their state; those named are there."""
    try:
        head, *lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        table = {words[0]: dict(zip(head[1:], map(float, words[1:]), strict=True)) for words in lines}
    except (OSError, ValueError, IndexError) as error:
        raise AnalysisError(f"{path} cannot be read as a table of cells and stresses: {error}") from None
    missing = [name for name in (*_CELL, *_PRESSURE, "fmax") if name not in head]
    missing += [state for state in states if state not in table]
    if missing:
        raise AnalysisError(f"{path} lacks {missing[0]}; run the deck again, from a copy without its log")
    return table


def _cell(row: dict[str, float]) -> Floats:
    """Cell vectors as columns, in A."""
    lx, ly, lz, xy, xz, yz = (row[name] for name in _CELL)
    return np.array([[lx, xy, xz], [0.0, ly, yz], [0.0, 0.0, lz]])


def _stress(row: dict[str, float]) -> Floats:
    """Cauchy stress in GPa; LAMMPS prints pressures in bar, of the opposite sign."""
    xx, yy, zz, xy, xz, yz = (-BAR_IN_GPA * row[name] for name in _PRESSURE)
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def _strain_and_stress(reference: Floats, row: dict[str, float]) -> tuple[Floats, Floats]:
    gradient = _cell(row) @ np.linalg.inv(reference)
    left, stretches, right = np.linalg.svd(gradient)
    rotation = left @ right
    strain = right.T @ np.diag(np.log(stretches)) @ right
    return voigt(strain) * [1, 1, 1, 2, 2, 2], voigt(rotation.T @ _stress(row) @ rotation)
