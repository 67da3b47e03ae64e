"""LAMMPS text dumps of any custom format, read frame by frame with atoms in the order of their ids.

Understood are wrapped, unwrapped and scaled coordinates, orthogonal, triclinic and general triclinic boxes, atoms in
any order and any other columns. Wrapped coordinates with image flags beside them are unwrapped. A frame that is cut
short, as by a killed run, is left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napos_lmp.errors import TrajectoryError
from napos_lmp.text_frames import Floats, TextFrame, Words, mapped, numbers_of, upright, words_of

Integers = NDArray[np.int64]

_START = b"ITEM: TIMESTEP"
_ATOMS = b"ITEM: ATOMS"
_ANGSTROM_UNITS = ("metal", "real")
_UNWRAPPED = (("xu", "yu", "zu"), ("xsu", "ysu", "zsu"))
_WRAPPED = (("x", "y", "z"), ("xs", "ys", "zs"))
_CONVENTIONS = (*_UNWRAPPED, *_WRAPPED)
_IMAGES = ("ix", "iy", "iz")
_NAMES = ("element", "typelabel")
_UNITS = re.compile(rb"ITEM: UNITS\s+(\S+)")


@dataclass(frozen=True)
class _Header:
    """What stands before the atoms of a frame; `where` names the frame in messages."""

    where: str
    step: int
    n_atoms: int
    box: Floats
    origin: Floats
    general: bool
    columns: tuple[str, ...]
    body: int


class LammpsDump:
    """A LAMMPS text dump.

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
    types
        Shape (N,): LAMMPS type of each atom in the first frame, as text; None without that column.
    names
        Shape (N,): what the column `element` or `typelabel` says there; None without such a column.
    messages
        What was left out, one sentence each.

    Raises
    ------
    TrajectoryError
        If there is no whole frame, the first has no box that is periodic in all directions, no positions, or other
        units than metal or real.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._data = mapped(path)
        self.messages: list[str] = []
        self._starts = self._index()
        if not self._starts:
            cut = self.messages[0] if self.messages else "it has no ITEM: TIMESTEP"
            raise TrajectoryError(f"{path} holds no whole frame ({cut}); at least one is needed")
        units = _UNITS.match(self._data[:64])
        if units and units[1].decode() not in _ANGSTROM_UNITS:
            raise TrajectoryError(f"{path} is in units {units[1].decode()}; lengths must be in A (metal or real)")
        header = self._header(0)
        self.n_atoms = header.n_atoms
        self._ids: Integers | None = None
        self.types: Words | None = None
        self.names: Words | None = None
        self._number_types: Integers | None = None
        self._read_labels(header)

    @property
    def n_frames(self) -> int:
        """Number of whole frames."""
        return len(self._starts)

    def read(self, frame: int) -> TextFrame:
        """Read one frame.

        Raises
        ------
        TrajectoryError
            If it is damaged, has other atoms or types than the first, or no periodic box.
        """
        header = self._header(frame)
        if header.n_atoms != self.n_atoms:
            raise TrajectoryError(
                f"{header.where} has {header.n_atoms} atoms, the first {self.n_atoms}; their number must not change"
            )
        lines = self._lines(header)
        kinds: list[str] = [name for name in ("id", "type") if name in header.columns]
        if self._number_types is None and "type" in kinds:
            kinds.remove("type")
        place = next((names for names in _CONVENTIONS if set(names) <= set(header.columns)), None)
        if place is None:
            raise TrajectoryError(
                f"{header.where} has no positions: none of {', '.join(' '.join(names) for names in _CONVENTIONS)} "
                f"is among its columns {' '.join(header.columns)}"
            )
        images = _IMAGES if place in _WRAPPED and set(_IMAGES) <= set(header.columns) else ()
        table = numbers_of(lines, [header.columns.index(name) for name in (*kinds, *place, *images)], header.where)
        columns: dict[str, Integers] = {name: table[:, k].astype(np.int64) for k, name in enumerate(kinds)}
        order = self._checked_order(header, columns, lines)
        table = table[:, len(kinds) :] if order is None else table[order, len(kinds) :]
        box = upright(header.box) if header.general else header.box
        positions = _placed(table[:, :3], place, header)
        return TextFrame(header.step, positions + table[:, 3:] @ box if images else positions, box)

    def _index(self) -> list[int]:
        """Where each whole frame begins."""
        data, starts, whole = self._data, [], []
        at = data.find(_START)
        while at >= 0:
            starts.append(at)
            at = data.find(_START, at + len(_START))
        for number, (start, stop) in enumerate(zip(starts, [*starts[1:], len(data)], strict=True)):
            atoms = data.find(_ATOMS, start, stop)
            body = data.find(b"\n", atoms, stop) + 1 if atoms >= 0 else 0
            announced = re.search(rb"ITEM: NUMBER OF ATOMS\s+(\d+)\s", data[start : start + 400])
            if body == 0 or announced is None or data[body:stop].count(b"\n") < int(announced[1]):
                step = re.match(rb"ITEM: TIMESTEP\s+(\d+)\s", data[start : min(start + 60, stop)])
                named = f" (step {step[1].decode()})" if step else ""
                self.messages.append(f"frame {number}{named} is cut short and was left out")
            else:
                whole.append(start)
        return whole

    def _header(self, frame: int) -> _Header:
        start = self._starts[frame]
        head = self._data.find(_ATOMS, start)
        body = self._data.find(b"\n", head) + 1
        lines = self._data[start:body].decode("utf-8", "replace").splitlines()
        where = f"frame {frame} of {self.path.name}"
        try:
            step = int(lines[1])
            where = f"frame {frame} (step {step}) of {self.path.name}"
            n_atoms = int(lines[lines.index("ITEM: NUMBER OF ATOMS") + 1])
        except (ValueError, IndexError):
            raise TrajectoryError(f"{where} has a damaged header") from None
        if n_atoms == 0:
            raise TrajectoryError(f"{where} has no atoms; at least one is needed")
        bounds = next((k for k, line in enumerate(lines) if line.startswith("ITEM: BOX BOUNDS")), None)
        if bounds is None:
            raise TrajectoryError(f"{where} has no periodic box: its header has no ITEM: BOX BOUNDS")
        box, origin, general = _box(lines[bounds].split()[3:], lines[bounds + 1 : bounds + 4], where)
        return _Header(where, step, n_atoms, box, origin, general, tuple(lines[-1].split()[2:]), body)

    def _lines(self, header: _Header) -> list[str]:
        """The lines of the atoms; up to the next frame there may be more, such as ITEM: TIME."""
        stop = self._data.find(_START, header.body)
        body = self._data[header.body : stop if stop >= 0 else len(self._data)]
        return body.decode("utf-8", "replace").split("\n", header.n_atoms)[: header.n_atoms]

    def _read_labels(self, header: _Header) -> None:
        lines = self._lines(header)
        if "id" in header.columns:
            ids = numbers_of(lines, [header.columns.index("id")], header.where)[:, 0].astype(np.int64)
            order = np.argsort(ids, kind="stable")
            self._ids = ids[order]
            if len(np.unique(ids)) != len(ids):
                raise TrajectoryError(f"{header.where} has two atoms with the same id")
        else:
            order = np.arange(header.n_atoms)
        if "type" in header.columns:
            self.types = words_of(lines, header.columns.index("type"), header.where)[order]
            if all(kind.isdigit() for kind in np.unique(self.types)):
                self._number_types = self.types.astype(np.int64)
        for column in _NAMES:
            if column in header.columns and self.names is None:
                self.names = words_of(lines, header.columns.index(column), header.where)[order]

    def _checked_order(
        self, header: _Header, columns: dict[str, Integers], lines: Sequence[str]
    ) -> NDArray[np.intp] | None:
        """Order of the atoms by id, after a look whether they are those of the first frame."""
        order = None
        if self._ids is not None:
            if "id" not in columns:
                raise TrajectoryError(f"{header.where} has no column id, unlike the first")
            order = np.argsort(columns["id"], kind="stable")
            if not np.array_equal(columns["id"][order], self._ids):
                raise TrajectoryError(
                    f"{header.where} has atoms with other ids than the first; they must stay the same"
                )
        here: NDArray[Any] | None = None
        first: NDArray[Any] | None = None
        if self._number_types is not None:
            here, first = columns.get("type"), self._number_types
        elif self._ids is None and self.names is not None:
            column = next((name for name in _NAMES if name in header.columns), None)
            here = words_of(lines, header.columns.index(column), header.where) if column else None
            first = self.names
        if first is not None and (here is None or not np.array_equal(here if order is None else here[order], first)):
            raise TrajectoryError(
                f"{header.where} has atoms of other types than the first"
                + ("" if self._ids is not None else "; dump a column id, so that atoms can be told apart")
            )
        return order


def _box(flags: list[str], lines: list[str], where: str) -> tuple[Floats, Floats, bool]:
    """Box vectors as rows, lower corner, and whether the vectors stand in any direction (general triclinic)."""
    try:
        rows = np.array([[float(word) for word in line.split()] for line in lines])
    except ValueError:
        raise TrajectoryError(f"{where} has a damaged box") from None
    boundaries = [flag for flag in flags if len(flag) == 2 and set(flag) <= set("pfsm")]
    for axis, flag in zip("xyz", boundaries, strict=False):
        if flag != "pp":
            raise TrajectoryError(f"{where} has a box that is not periodic along {axis} ({flag}); it must be along all")
    general = flags[:2] == ["abc", "origin"]
    if rows.shape != (3, 4 if general else 3 if "xy" in flags else 2) or not np.isfinite(rows).all():
        raise TrajectoryError(f"{where} has a damaged box")
    if general:
        box, origin = rows[:, :3], rows[:, 3]
    else:
        xy, xz, yz = rows[:, 2] if rows.shape[1] == 3 else np.zeros(3)
        low = rows[:, 0] - [min(0.0, xy, xz, xy + xz), min(0.0, yz), 0.0]
        high = rows[:, 1] - [max(0.0, xy, xz, xy + xz), max(0.0, yz), 0.0]
        box, origin = np.diag(high - low), low
        box[1, 0], box[2, 0], box[2, 1] = xy, xz, yz
    if np.linalg.det(box) <= 0:
        raise TrajectoryError(f"{where} has a box without volume")
    return box, origin, general


def _placed(table: Floats, convention: tuple[str, str, str], header: _Header) -> Floats:
    """Positions in A from the lower corner of the box."""
    if not np.isfinite(table).all():
        raise TrajectoryError(f"{header.where} has positions that are no finite numbers")
    if convention[0] in ("xs", "xsu"):
        return table @ (upright(header.box) if header.general else header.box)
    positions: Floats = table - header.origin
    return positions @ np.linalg.inv(header.box) @ upright(header.box) if header.general else positions
