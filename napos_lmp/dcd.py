"""The DCD files that LAMMPS writes, one segment each: what is whole in them and how to read any frame.

A DCD file holds a header with the first step and the stride, then one block per frame: the cell as
``A, cos(gamma), B, cos(beta), cos(alpha), C`` in float64, and x, y and z of all atoms in float32, each between two
equal byte counts. How many frames a file holds follows from its size, not from the count in its header, which a
killed run leaves behind wrong.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from napos_lmp.errors import TrajectoryError

_CONTROL_BYTES = 84
_CELL_BYTES = 48


@dataclass(frozen=True)
class DcdSegment:
    """One DCD file as it lies on the disk.

    Attributes
    ----------
    path
        The file.
    n_atoms
        Atoms in each frame.
    first_step, stride
        LAMMPS step of the first frame, and steps between frames.
    n_frames
        Whole frames in the file.
    dropped_bytes
        Bytes after the last whole frame: a frame that was being written when the run ended.
    header_bytes
        Where the first frame begins.
    """

    path: Path
    n_atoms: int
    first_step: int
    stride: int
    n_frames: int
    dropped_bytes: int
    header_bytes: int

    @property
    def frame_bytes(self) -> int:
        """Size of one frame."""
        return _frame_layout(self.n_atoms).itemsize

    @property
    def last_step(self) -> int:
        """Step of the last whole frame; below `first_step` when there is none."""
        return self.first_step + (self.n_frames - 1) * self.stride


def scan_dcd(path: Path) -> DcdSegment | None:
    """Find out what is whole in a DCD file; None when not even its header is.

    Raises
    ------
    TrajectoryError
        If the file is no DCD file as LAMMPS writes it on a little-endian machine.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(8 + _CONTROL_BYTES)
        if len(head) >= 8 and (head[:4] != struct.pack("<i", _CONTROL_BYTES) or head[4:8] != b"CORD"):
            raise TrajectoryError(f"{path} is no DCD file: it does not begin with 84 'CORD'")
        if len(head) < 8 + _CONTROL_BYTES:
            return None
        control = struct.unpack("<20i", head[8:88])
        if control[10] != 1:
            raise TrajectoryError(f"{path} has no unit cell in its frames; LAMMPS always writes one")
        titles = _record(stream)
        atoms = _record(stream) if titles is not None else None
        if atoms is None:
            return None
        header_bytes = stream.tell()
        n_atoms = int(struct.unpack("<i", atoms)[0])
        layout = _frame_layout(n_atoms)
        n_frames = (size - header_bytes) // layout.itemsize
        while n_frames and not _is_whole(_frame(stream, header_bytes, layout, n_frames - 1), n_atoms):
            n_frames -= 1
    return DcdSegment(
        path=path,
        n_atoms=n_atoms,
        first_step=control[1],
        stride=control[2],
        n_frames=n_frames,
        dropped_bytes=size - header_bytes - n_frames * layout.itemsize,
        header_bytes=header_bytes,
    )


class DcdStream:
    """Random access to the frames of one segment; keeps the file open until :meth:`close`."""

    def __init__(self, segment: DcdSegment) -> None:
        self.segment = segment
        self._layout = _frame_layout(segment.n_atoms)
        self._stream = segment.path.open("rb")

    def read(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Positions, shape (N, 3) in A, and cell ``(a, b, c, alpha, beta, gamma)`` in A and degrees of one frame.

        Raises
        ------
        TrajectoryError
            If the frame is damaged.
        """
        frame = _frame(self._stream, self.segment.header_bytes, self._layout, index)
        if not _is_whole(frame, self.segment.n_atoms):
            raise TrajectoryError(f"{self.segment.path} is damaged in frame {index} (counted from 0); remove the file")
        a, cos_gamma, b, cos_beta, cos_alpha, c = frame["cell"]
        angles = np.degrees(np.arccos([cos_alpha, cos_beta, cos_gamma]))
        return frame["xyz"]["values"].T, np.array([a, b, c, *angles])

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def _record(stream: BinaryIO) -> bytes | None:
    """One record between two equal byte counts; None when it is cut."""
    mark = stream.read(4)
    if len(mark) < 4:
        return None
    length = struct.unpack("<i", mark)[0]
    if not 0 <= length < 1_000_000:
        raise TrajectoryError(f"{stream.name} is no DCD file: a header record claims {length} bytes")
    body = stream.read(length + 4)
    return body[:length] if len(body) == length + 4 else None


def _frame_layout(n_atoms: int) -> np.dtype[np.void]:
    axis = np.dtype([("before", "<i4"), ("values", "<f4", (n_atoms,)), ("after", "<i4")])
    return np.dtype([("before", "<i4"), ("cell", "<f8", (6,)), ("after", "<i4"), ("xyz", axis, (3,))])


def _frame(stream: BinaryIO, header_bytes: int, layout: np.dtype[np.void], index: int) -> np.void:
    stream.seek(header_bytes + index * layout.itemsize)
    data = stream.read(layout.itemsize)
    frame: np.void = np.frombuffer(data.ljust(layout.itemsize, b"\0"), dtype=layout)[0]
    return frame


def _is_whole(frame: np.void, n_atoms: int) -> bool:
    marks = [frame["before"], frame["after"]]
    axes = [*frame["xyz"]["before"], *frame["xyz"]["after"]]
    return all(mark == _CELL_BYTES for mark in marks) and all(mark == 4 * n_atoms for mark in axes)
