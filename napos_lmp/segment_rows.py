"""Tables of numbers that LAMMPS writes on the way, one text file for each segment."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napos_lmp.errors import TrajectoryError


def whole_rows(path: Path, width: int) -> NDArray[np.float64]:
    """All whole rows of a file, shape (rows, width); headings, empty lines and a cut last line are left out.

    Raises
    ------
    TrajectoryError
        If it holds something else than numbers, or rows of another width.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = [line for line in text[: text.rfind("\n") + 1].splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        return np.empty((0, width))
    try:
        rows = np.loadtxt(StringIO("\n".join(lines)), ndmin=2)
    except ValueError as error:
        raise TrajectoryError(f"{path} is damaged: {error}") from None
    if rows.shape[1] != width:
        raise TrajectoryError(f"{path} has {rows.shape[1]} columns; the deck says {width}")
    return np.asarray(rows, dtype=np.float64)
