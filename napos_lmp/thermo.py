"""The thermodynamic output in LAMMPS log files, of which the last line may be cut."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ThermoBlock:
    """The table that one `run` or `minimize` printed.

    Attributes
    ----------
    columns
        Names as LAMMPS prints them; the first is ``Step``.
    rows
        Shape (rows, columns).
    minimisation
        Whether a `minimize` printed it.
    """

    columns: tuple[str, ...]
    rows: NDArray[np.float64]
    minimisation: bool

    @property
    def first_step(self) -> int:
        """Step of the first row."""
        return int(self.rows[0, 0])


def read_thermo(path: Path) -> list[ThermoBlock]:
    """All tables of a log file that have at least one whole row; an unfinished last line is left out."""
    text = path.read_text(encoding="utf-8", errors="replace")
    blocks: list[ThermoBlock] = []
    columns: tuple[str, ...] = ()
    rows: list[list[float]] = []
    minimising = False

    def close() -> None:
        if rows:
            blocks.append(ThermoBlock(columns, np.array(rows), minimising))
            rows.clear()

    for line in text.split("\n")[:-1]:
        words = line.split()
        if not words:
            continue
        if words[0] in ("run", "minimize"):
            close()
            minimising, columns = words[0] == "minimize", ()
        elif words[0] == "Step":
            close()
            columns = tuple(words)
        elif line.startswith("Loop time of"):
            close()
            columns = ()
        elif columns and len(words) == len(columns) and (row := _numbers(words)) is not None:
            rows.append(row)
    close()
    return blocks


def _numbers(words: list[str]) -> list[float] | None:
    try:
        return [float(word) for word in words]
    except ValueError:
        return None
