"""Trajectories in text files: mapped, unpacked if need be, and what all their frames have in common."""

from __future__ import annotations

import bz2
import gzip
import lzma
import mmap
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from napos_lmp.errors import TrajectoryError

Floats = NDArray[np.float64]
Words = NDArray[np.str_]

_PACKED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


@dataclass(frozen=True)
class TextFrame:
    """One frame: positions, shape (N, 3), and box vectors as rows, both in A; `box` is None where there is none."""

    step: int
    positions: Floats
    box: Floats | None


def unpacked_suffix(path: Path) -> str:
    """Suffix of a file in small letters, that of a packed file without the packing: ".xyz" of ``a.xyz.gz``."""
    return Path(path.stem).suffix.lower() if path.suffix.lower() in _PACKED else path.suffix.lower()


def mapped(path: Path) -> mmap.mmap:
    """Map a file, unpacked if need be.

    Raises
    ------
    TrajectoryError
        If the file is missing, empty or damaged.
    """
    try:
        opener = _PACKED.get(path.suffix.lower())
        with tempfile.TemporaryFile() if opener else path.open("rb") as stream:
            if opener:
                with opener(path, "rb") as packed:
                    _unpack(packed, stream)
            return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, EOFError, lzma.LZMAError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TrajectoryError(f"{path} cannot be read: {reason}") from None
    except ValueError:
        raise TrajectoryError(f"{path} has nothing in it; a trajectory of at least one frame is needed") from None


def _unpack(packed: Any, stream: IO[bytes]) -> None:
    """Unpack as far as it goes: the end of a file that was being packed when the run was killed is lost."""
    try:
        while part := packed.read1(1 << 20):
            stream.write(part)
    except EOFError:
        if stream.tell() == 0:
            raise
    stream.flush()


def beginning(path: Path, length: int) -> bytes:
    """First bytes of a file, unpacked if need be; fewer where it is shorter, none where it cannot be read."""
    opener = _PACKED.get(path.suffix.lower(), open)
    try:
        with opener(path, "rb") as stream:
            content: bytes = stream.read(length)
            return content
    except (OSError, EOFError, lzma.LZMAError):
        return b""


def numbers_of(lines: Sequence[str], columns: list[int], where: str) -> Floats:
    """Columns of numbers from the lines of one frame, shape (lines, columns); `where` names the frame in errors."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return np.loadtxt(lines, usecols=columns, ndmin=2, comments=None, dtype=np.float64)
    except (ValueError, UserWarning) as error:
        raise TrajectoryError(f"{where} is damaged: {str(error).split(';')[0]}") from None


def words_of(lines: Sequence[str], column: int, where: str) -> Words:
    """One column of words from the lines of one frame, shape (lines,)."""
    try:
        return np.array([line.split(None, column + 1)[column] for line in lines])
    except IndexError:
        raise TrajectoryError(f"{where} is damaged: a line has fewer columns than its header") from None


def upright(box: Floats) -> Floats:
    """The same box turned, and mirrored if need be, as MDAnalysis and LAMMPS stand it: a along x, b in the xy plane."""
    upper = np.linalg.qr(box.T)[1]
    turned: Floats = (upper * np.sign(np.diag(upper))[:, None]).T
    return turned
