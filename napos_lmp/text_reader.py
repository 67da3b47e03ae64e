"""An MDAnalysis reader over the frames of a text file. Importing this module imports MDAnalysis."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from MDAnalysis.coordinates.base import ReaderBase
from MDAnalysis.lib.mdamath import triclinic_box

from napos_lmp.text_frames import TextFrame


class TextFrames(Protocol):
    """A text file whose frames can be read in any order."""

    path: Path
    n_atoms: int

    @property
    def n_frames(self) -> int:
        """Number of whole frames."""
        ...

    def read(self, frame: int) -> TextFrame:
        """Read one frame."""
        ...


class TextReader(ReaderBase):  # type: ignore[misc]
    """Frames of a text file, one in memory at a time; ``ts.data["step"]`` is the step that the file names.

    Parameters
    ----------
    frames
        The file.
    frame_ps
        Time between the first two frames in ps; that of all frames follows from their steps. 1 where it is not known.
    """

    units = {"time": "ps", "length": "Angstrom"}  # noqa: RUF012 - MDAnalysis's own convention

    def __init__(self, frames: TextFrames, frame_ps: float | None = None) -> None:
        super().__init__(str(frames.path), dt=1.0 if frame_ps is None else frame_ps)
        self._frames = frames
        self._first, self._stride = _strides(frames)
        self.n_atoms = frames.n_atoms
        self.ts = self._Timestep(self.n_atoms, **self._ts_kwargs)
        self._read_frame(0)

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self._frames.n_frames

    def _reopen(self) -> None:
        self.ts.frame = -1

    def _read_frame(self, frame: int) -> Any:
        found = self._frames.read(frame)
        self.ts.frame = frame
        self.ts.positions = found.positions
        self.ts.dimensions = None if found.box is None else triclinic_box(*found.box)
        self.ts.data["step"] = found.step
        self.ts.data["time"] = self.ts.dt * (found.step - self._first) / self._stride
        return self.ts

    def _read_next_timestep(self, ts: Any = None) -> Any:
        frame = self.ts.frame + 1
        if frame >= self.n_frames:
            raise OSError("no frame after the last")
        return self._read_frame(frame)


def _strides(frames: TextFrames) -> tuple[int, int]:
    """Step of the first frame, and steps from there to the second; 1 where that is none."""
    first = frames.read(0).step
    second = frames.read(1).step if frames.n_frames > 1 else first
    return first, second - first or 1
