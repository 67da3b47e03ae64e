"""An MDAnalysis reader over the joined segments of one stage. Importing this module imports MDAnalysis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from MDAnalysis.coordinates.base import ReaderBase
from numpy.typing import NDArray

from napos_lmp.dcd import DcdSegment, DcdStream


class SegmentReader(ReaderBase):  # type: ignore[misc]
    """Frames of several DCD files in the order of their steps, one in memory at a time.

    Parameters
    ----------
    segments
        The files.
    file_index, frame_index, steps
        Shape (frames,) each: in which file a frame lies, where in it, and its LAMMPS step.
    stride
        Steps between frames; `dt` is this times `timestep`.
    timestep
        Duration of one step in ps. `ts.time` is the step times this; `ts.data["step"]` the step itself.
    """

    units = {"time": "ps", "length": "Angstrom"}  # noqa: RUF012 - MDAnalysis's own convention

    def __init__(
        self,
        segments: Sequence[DcdSegment],
        file_index: NDArray[np.int64],
        frame_index: NDArray[np.int64],
        steps: NDArray[np.int64],
        stride: int,
        timestep: float,
    ) -> None:
        super().__init__(str(segments[int(file_index[0])].path))
        self._segments = segments
        self._file_index, self._frame_index, self._steps = file_index, frame_index, steps
        self._timestep = timestep
        self._stream: DcdStream | None = None
        self.n_atoms = segments[0].n_atoms
        self.ts = self._Timestep(self.n_atoms, dt=stride * timestep, **self._ts_kwargs)
        self._read_frame(0)

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self._steps)

    @property
    def steps(self) -> NDArray[np.int64]:
        """LAMMPS step of every frame, shape (frames,)."""
        return self._steps.copy()

    def close(self) -> None:
        """Close the file that is open."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _reopen(self) -> None:
        self.close()
        self.ts.frame = -1

    def _read_frame(self, frame: int) -> Any:
        segment = self._segments[int(self._file_index[frame])]
        if self._stream is None or self._stream.segment is not segment:
            self.close()
            self._stream = DcdStream(segment)
        positions, dimensions = self._stream.read(int(self._frame_index[frame]))
        step = int(self._steps[frame])
        self.ts.frame = frame
        self.ts.positions = positions
        self.ts.dimensions = dimensions
        self.ts.time = step * self._timestep
        self.ts.data["step"] = step
        return self.ts

    def _read_next_timestep(self, ts: Any = None) -> Any:
        frame = self.ts.frame + 1
        if frame >= self.n_frames:
            raise OSError("no frame after the last")
        return self._read_frame(frame)
