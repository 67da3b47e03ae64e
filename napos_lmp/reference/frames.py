"""Frames on disk: extended XYZ, plain or gzipped, with one periodic cell and its labels a frame.

In memory a frame is an :class:`ase.Atoms`. What is known of it stands in `info`: `id`, `composition`, `phase`,
`temperature_K`, `trajectory`, `group`, `sampled`. Its labels are in the results of its calculator: `energy` in eV,
`forces` (N, 3) in eV/A and, where there is one, `stress` in eV/A^3 with ASE's sign (tension is positive).
"""

from __future__ import annotations

import gzip
import hashlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napos_lmp.errors import ReferenceDataError
from napos_lmp.files import whole_file

FRAME_KEYS = ("id", "composition", "phase", "temperature_K", "trajectory", "group", "sampled")
"""What a frame may say of itself, in the order in which it is written."""


def read_frames(path: Path) -> list[Any]:
    """Frames of one file, as a list of `ase.Atoms`.

    Raises
    ------
    ReferenceDataError
        If the file cannot be read (the frame at which reading stopped is named), or holds no frame.
    """
    from ase.io.extxyz import XYZError, read_xyz

    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        lines = content.decode("utf-8").splitlines(keepends=True)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ReferenceDataError(f"{path} cannot be read: {reason}") from None
    frames: list[Any] = []
    at = 0
    while at < len(lines) and (lines[at].strip() or any(line.strip() for line in lines[at:])):
        try:
            end = at + int(lines[at]) + 2
            if end > len(lines):
                raise ValueError(f"it ends after {len(lines) - at} of {end - at} lines")
            frames.extend(read_xyz(io.StringIO("".join(lines[at:end])), slice(None)))
        except (ValueError, KeyError, IndexError, XYZError) as error:
            reason = str(error) or type(error).__name__
            raise ReferenceDataError(f"{path}, frame {len(frames)} (line {at + 1}): {reason}") from None
        at = end
    if not frames:
        raise ReferenceDataError(f"{path} holds no frame")
    return frames


def write_frames(path: Path, frames: Iterable[Any]) -> None:
    """Write frames whole or not at all; the same frames give the same bytes."""
    from ase.io.extxyz import write_xyz

    text = io.StringIO()
    write_xyz(text, [_in_order(frame) for frame in frames], write_results=True)
    content = text.getvalue().encode("utf-8")
    with whole_file(path) as temporary:
        temporary.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def labelled(
    frame: Any, energy: float, forces: NDArray[np.float64], stress: NDArray[np.float64] | None, **more: float
) -> Any:
    """A copy of a frame with labels.

    Parameters
    ----------
    frame
        The frame; its `info` is kept, its calculator is not.
    energy, forces, stress
        eV; eV/A, shape (N, 3); eV/A^3 in ASE's sign, shape (3, 3), or None.
    more
        Further results known to ASE, such as `free_energy` in eV.
    """
    from ase.calculators.singlepoint import SinglePointCalculator

    copy = frame.copy()
    results: dict[str, Any] = {"energy": energy, "forces": np.asarray(forces, dtype=np.float64), **more}
    if stress is not None:
        results["stress"] = _voigt(np.asarray(stress, dtype=np.float64))
    copy.calc = SinglePointCalculator(copy, **results)
    return copy


def frame_id(frame: Any, prefix: str) -> str:
    """A short name for a frame: `prefix` and eight digits that follow from its atoms and cell."""
    digest = hashlib.sha256(" ".join(frame.get_chemical_symbols()).encode())
    digest.update(np.ascontiguousarray(frame.cell.array, dtype=np.float64).tobytes())
    digest.update(np.ascontiguousarray(frame.positions, dtype=np.float64).tobytes())
    return f"{prefix}-{digest.hexdigest()[:8]}"


def ids_of(frames: Sequence[Any], path: Path) -> list[str]:
    """The ids of frames that were read from `path`.

    Raises
    ------
    ReferenceDataError
        If a frame has none, or two have the same; the frames are named.
    """
    found: dict[str, int] = {}
    for number, frame in enumerate(frames):
        name = frame.info.get("id")
        if not isinstance(name, str):
            raise ReferenceDataError(f"{path}, frame {number}: has no property 'id'; `napos-lmp sample` writes one")
        if name in found:
            raise ReferenceDataError(f"{path}: frames {found[name]} and {number} have the same id {name!r}")
        found[name] = number
    return list(found)


def _in_order(frame: Any) -> Any:
    copy = frame.copy()
    known = {key: frame.info[key] for key in FRAME_KEYS if key in frame.info}
    copy.info = {**known, **{key: value for key, value in frame.info.items() if key not in known}}
    copy.calc = frame.calc
    return copy


def _voigt(stress: NDArray[np.float64]) -> NDArray[np.float64]:
    if stress.shape == (6,):
        return stress
    symmetric = (stress + stress.T) / 2
    return symmetric[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
