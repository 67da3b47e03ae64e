"""XYZ files with any number of frames; a frame has a box where its comment has one as extended XYZ writes it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from napos_lmp.errors import TrajectoryError
from napos_lmp.text_frames import Floats, TextFrame, Words, mapped, numbers_of, upright, words_of

_COUNT = re.compile(rb"(?:^|\n)[ \t]*(\d+)[ \t]*\r?\n")


class ExtendedXyz:
    """An XYZ file, plain or extended (``Lattice="..." Properties=species:S:1:pos:R:3...``).

    Parameters
    ----------
    path
        The file.

    Attributes
    ----------
    path
        The file.
    n_atoms
        Atoms in each frame.
    names
        Shape (N,): what stands for the species of each atom in the first frame.
    messages
        What was left out, one sentence each.

    Raises
    ------
    TrajectoryError
        If there is no whole frame, or the first is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._data = mapped(path)
        self.messages: list[str] = []
        self._frames = self._index()
        if not self._frames:
            cut = self.messages[0] if self.messages else "it does not begin with a number of atoms"
            raise TrajectoryError(f"{path} holds no whole frame ({cut}); at least one is needed")
        self.n_atoms = self._frames[0][1]
        self.names: Words = self._parsed(0)[0]

    @property
    def n_frames(self) -> int:
        """Number of whole frames."""
        return len(self._frames)

    def read(self, frame: int) -> TextFrame:
        """Read one frame.

        Raises
        ------
        TrajectoryError
            If it is damaged or has other atoms than the first.
        """
        where, n_atoms = self._where(frame), self._frames[frame][1]
        if n_atoms != self.n_atoms:
            raise TrajectoryError(
                f"{where} has {n_atoms} atoms, the first {self.n_atoms}; their number must not change"
            )
        names, positions, box = self._parsed(frame)
        if not np.array_equal(names, self.names):
            raise TrajectoryError(
                f"{where} has other species than the first, or in another order; they must stay the same"
            )
        if box is not None:
            positions = positions @ np.linalg.inv(box) @ upright(box)
        return TextFrame(frame, positions, None if box is None else upright(box))

    def _where(self, frame: int) -> str:
        return f"frame {frame} of {self.path.name}"

    def _index(self) -> list[tuple[int, int]]:
        """Where the comment of each whole frame begins, and its number of atoms."""
        data = self._data
        found: list[tuple[int, int]] = []
        match = _COUNT.match(data)
        while match is not None:
            n_atoms, comment = int(match[1]), match.end()
            body = data.find(b"\n", comment) + 1
            following = _COUNT.search(data, body - 1) if body else None
            stop = following.start() if following else len(data)
            rows = data[body:stop].rstrip().count(b"\n") + 1 if body and body < stop else 0
            if rows < n_atoms or n_atoms == 0:
                self.messages.append(f"frame {len(found) + len(self.messages)} is cut short and was left out")
            else:
                found.append((comment, n_atoms))
            match = following
        return found

    def _parsed(self, frame: int) -> tuple[Words, Floats, Floats | None]:
        """Species, positions as they stand, and box vectors as rows."""
        start, n_atoms = self._frames[frame]
        where = self._where(frame)
        body = self._data.find(b"\n", start) + 1
        stop = self._frames[frame + 1][0] if frame + 1 < len(self._frames) else len(self._data)
        lines = self._data[body:stop].decode("utf-8", "replace").split("\n", n_atoms)[:n_atoms]
        box, species, place = _comment(self._data[start:body].decode("utf-8", "replace").strip(), where)
        positions = numbers_of(lines, [place, place + 1, place + 2], where)
        if not np.isfinite(positions).all():
            raise TrajectoryError(f"{where} has positions that are no finite numbers")
        return words_of(lines, species, where), positions, box


def _comment(text: str, where: str) -> tuple[Floats | None, int, int]:
    """Box vectors as rows, and the columns of the species and of x, from the comment of a frame."""
    from ase.io.extxyz import key_val_str_to_dict

    if "=" not in text:
        return None, 0, 1
    try:
        content = key_val_str_to_dict(text)
        lattice = content.get("Lattice")
        box = None if lattice is None else np.array(lattice, dtype=np.float64).T
        species, place = _columns(str(content.get("Properties", "species:S:1:pos:R:3")))
    except (ValueError, TypeError, KeyError, IndexError):
        raise TrajectoryError(f"{where} has a comment that is no extended XYZ: {text[:60]!r}") from None
    if box is not None and (box.shape != (3, 3) or not np.isfinite(box).all() or np.linalg.det(box) == 0):
        raise TrajectoryError(f"{where} has a Lattice that is no box")
    if box is not None and not np.all(content.get("pbc", True)):
        raise TrajectoryError(f"{where} has a box that is not periodic along all axes")
    return box, species, place


def _columns(properties: str) -> tuple[int, int]:
    """Columns of the species and of x, from ``name:kind:width`` one after the other."""
    words = properties.split(":")
    at, places = 0, {}
    for name, width in zip(words[::3], words[2::3], strict=True):
        places[name] = at
        at += int(width)
    return places["species"], places["pos"]
