"""What a calculation gives, and what every engine that makes labels must offer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napos_lmp.errors import LabelError
from napos_lmp.files import write_text


@dataclass(frozen=True, eq=False)
class Label:
    """Labels of one frame from one converged calculation.

    `energy` eV, extrapolated to zero smearing; `free_energy` eV, whose derivative the forces are; `forces` (N, 3) eV/A;
    `stress` (3, 3) eV/A^3 in ASE's sign, or None where the engine gives none; `iterations` that the self-consistency
    took; `code` with its version.
    """

    energy: float
    free_energy: float
    forces: NDArray[np.float64]
    stress: NDArray[np.float64] | None
    iterations: int
    code: str


class NotConvergedError(LabelError):
    """A calculation ended without converging; sturdier settings may help, and if not the frame is rejected."""


class Engine(Protocol):
    """A program that labels frames, one calculation in one folder at a time."""

    @property
    def attempts(self) -> int:
        """How many settings of the self-consistency there are, from the fastest to the sturdiest, at one level."""

    @property
    def level(self) -> dict[str, Any]:
        """All that decides the numbers: method, basis, k-points, smearing, tolerances; labels of one set share it."""

    @property
    def level_of_theory(self) -> str:
        """The level in words, for people."""

    def find(self) -> str:
        """The engine and its version.

        Raises
        ------
        LabelError
            If it is not installed; the message says how to get it.
        """

    def prepare(self, frame: Any, folder: Path, attempt: int) -> list[str]:
        """Write the inputs of one calculation into `folder` and give the command to run there."""

    def read(self, frame: Any, folder: Path) -> Label:
        """Read the outputs.

        Raises
        ------
        NotConvergedError
            If the calculation says that it did not converge.
        LabelError
            If there is no whole output.
        """


def write_frame_json(frame: Any, folder: Path) -> None:
    """Write symbols, positions, cell and periodicity of a frame to `frame.json`, to the last bit."""
    content = {
        "symbols": frame.get_chemical_symbols(),
        "positions": frame.positions.tolist(),
        "cell": frame.cell.array.tolist(),
        "pbc": [bool(periodic) for periodic in frame.pbc],
    }
    write_text(folder / "frame.json", json.dumps(content))


def read_label_json(folder: Path) -> Label:
    """Read `label.json` as the scripts among the templates write it; see `Engine.read` for errors."""
    path = folder / "label.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise LabelError(f"{path} is missing or cut") from None
    if not content["converged"]:
        raise NotConvergedError(content["reason"])
    stress = content["stress"]
    return Label(
        energy=float(content["energy"]),
        free_energy=float(content["free_energy"]),
        forces=np.array(content["forces"], dtype=np.float64),
        stress=None if stress is None else np.array(stress, dtype=np.float64),
        iterations=int(content["iterations"]),
        code=str(content["code"]),
    )


def check_label(label: Label, atoms: int, force_cap: float) -> str | None:
    """Why a label must not be stored, or None: numbers that are not finite, of a wrong shape or absurd."""
    if label.forces.shape != (atoms, 3):
        return f"{len(label.forces)} forces for {atoms} atoms"
    parts: Sequence[Any] = (
        label.energy,
        label.free_energy,
        label.forces,
        0.0 if label.stress is None else label.stress,
    )
    if not all(np.isfinite(part).all() for part in parts):
        return "a label is not a finite number"
    if (largest := float(np.linalg.norm(label.forces, axis=1).max())) > force_cap:
        return f"a force of {largest:.1f} eV/A is above the cap of {force_cap:g} eV/A"
    return None
