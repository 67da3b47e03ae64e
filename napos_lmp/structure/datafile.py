"""LAMMPS data files of atom style `atomic`, orthogonal and triclinic."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napos_lmp.errors import StructureError
from napos_lmp.files import write_text
from napos_lmp.formula import ELEMENT_SYMBOLS
from napos_lmp.structure.atoms import Structure, atomic_mass, check_elements

_MASS_TOLERANCE = 0.05
_NAMED_MASS_TOLERANCE = 1.0
_FLAT = 1e-13
_BOX = re.compile(r"^(\S+)\s+(\S+)\s+([xyz])lo\s+\3hi$")
_ATOM_COLUMNS = (5, 8)


def lammps_frame(structure: Structure) -> Structure:
    """The same structure, turned so that LAMMPS takes its cell: a along x, b in the xy plane, c upwards.

    A structure that stands so already is returned as it is, bit for bit.
    """
    cell = structure.cell
    if not np.triu(cell, 1).any() and (np.diag(cell) > 0).all():
        return structure
    turned, upper = np.linalg.qr(cell.T)
    signs = np.sign(np.diag(upper))
    restricted = upper.T * signs
    restricted[np.abs(restricted) < _FLAT * np.abs(cell).max()] = 0.0
    rotation = turned * signs
    return Structure(np.tril(restricted), structure.positions @ rotation, structure.types, structure.elements)


def write_data(path: Path, structure: Structure) -> None:
    """Write a LAMMPS data file that `read_data` and LAMMPS read back to the last bit.

    The structure is written as `lammps_frame` turns it, with the cell's corner at the origin. Types follow
    `structure.elements`, each with its mass and its name as a comment, also those without atoms. Positions are
    written as they are and without image flags.
    """
    framed = lammps_frame(structure)
    cell = framed.cell
    lines = ["LAMMPS data file, units metal, atom_style atomic", ""]
    lines += [f"{framed.n_atoms} atoms", f"{len(framed.elements)} atom types", ""]
    lines += [f"0.0 {_exact(cell[i, i])} {axis}lo {axis}hi" for i, axis in enumerate("xyz")]
    tilts = (cell[1, 0], cell[2, 0], cell[2, 1])
    if any(tilts):
        lines.append(" ".join(_exact(tilt) for tilt in tilts) + " xy xz yz")
    lines += ["", "Masses", ""]
    lines += [f"{i} {_exact(atomic_mass(element))} # {element}" for i, element in enumerate(framed.elements, 1)]
    lines += ["", "Atoms # atomic", ""]
    rows = zip((framed.types + 1).tolist(), framed.positions.tolist(), strict=True)
    lines += [f"{i} {kind} {x!r} {y!r} {z!r}" for i, (kind, (x, y, z)) in enumerate(rows, 1)]
    write_text(path, "\n".join(lines) + "\n")


def read_data(path: Path, elements: tuple[str, ...] | None = None) -> Structure:
    """Read a LAMMPS data file of atom style `atomic`.

    Files written here and by LAMMPS's own `write_data ... nocoeff` are understood. Atoms are put in the order of
    their ids. Positions are those in the file, as LAMMPS wraps them into the cell; image flags and velocities are
    not read. The cell's lower corner becomes the origin.

    Parameters
    ----------
    path
        The file.
    elements
        Ordered elements of the result; without it the file's own order of types.

    Raises
    ------
    StructureError
        If the file is missing, cut short or of another kind, or an element cannot be told or is not in `elements`.
    """
    if elements is not None:
        check_elements(elements)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text file"
        raise StructureError(f"data file {path} cannot be read: {reason}") from None
    try:
        return _structure(_split(text), elements)
    except StructureError as error:
        raise StructureError(f"data file {path}: {error}") from None


@dataclass
class _Sections:
    header: list[str]
    comments: dict[str, str] = field(default_factory=dict)
    lines: dict[str, list[str]] = field(default_factory=dict)


def _split(text: str) -> _Sections:
    """Header lines and sections; a section begins with a line that starts with a letter."""
    parts = _Sections([])
    current = parts.header
    for raw in text.splitlines()[1:]:
        line, _, comment = (piece.strip() for piece in raw.partition("#"))
        if not line:
            continue
        if line[0].isalpha():
            current = parts.lines.setdefault(line, [])
            parts.comments[line] = comment
        else:
            current.append(f"{line} # {comment}" if comment else line)
    return parts


def _structure(parts: _Sections, elements: tuple[str, ...] | None) -> Structure:
    n_atoms = _header_number(parts.header, "atoms")
    n_types = _header_number(parts.header, "atom types")
    origin, cell = _box(parts.header)
    style = parts.comments.get("Atoms", "").split()[:1]
    if style and style != ["atomic"]:
        raise StructureError(f"atom style is {style[0]}; only atomic is read")
    rows = [line.partition("#")[0].split() for line in parts.lines.get("Atoms", [])]
    if len(rows) != n_atoms:
        raise StructureError(f"{len(rows)} atoms are listed but {n_atoms} announced; the file may be cut short")
    if any(len(row) not in _ATOM_COLUMNS for row in rows):
        raise StructureError("an atom line has not the 5 columns id type x y z (and 3 image flags)")
    try:
        ids = np.array([int(row[0]) for row in rows])
        kinds = np.array([int(row[1]) for row in rows])
        positions = np.array([[float(value) for value in row[2:5]] for row in rows])
    except ValueError as error:
        raise StructureError(f"an atom line holds no number where one belongs ({error})") from None
    order = np.argsort(ids)
    if len(np.unique(ids)) != n_atoms:
        raise StructureError("two atoms have the same id")
    if kinds.min() < 1 or kinds.max() > n_types:
        raise StructureError(f"atom types run from {kinds.min()} to {kinds.max()} but {n_types} are announced")
    named = _elements_of_types(parts, n_types, elements)
    wanted = tuple(named.values()) if elements is None else tuple(elements)
    for kind in np.unique(kinds):
        if named[int(kind)] not in wanted:
            raise StructureError(f"atoms of {named[int(kind)]} are not among the elements {', '.join(wanted)}")
    types = np.array([wanted.index(named[int(kind)]) for kind in kinds])
    if origin.any():
        positions = positions - origin
    return Structure(cell, positions[order], types[order], wanted)


def _header_number(header: list[str], name: str) -> int:
    for line in header:
        first, _, rest = line.partition("#")[0].strip().partition(" ")
        if rest.strip() == name:
            if not first.isdigit() or int(first) < 1:
                raise StructureError(f"number of {name} is {first!r}; it must be a whole number from 1")
            return int(first)
    raise StructureError(f"the header has no line '... {name}'; it is no LAMMPS data file or cut short")


def _box(header: list[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower corner and cell from the box lines."""
    origin, cell, seen = np.zeros(3), np.zeros((3, 3)), set()
    for line in (entry.partition("#")[0].strip() for entry in header):
        words = line.split()
        try:
            if match := _BOX.match(line):
                axis = "xyz".index(match[3])
                low, high = float(match[1]), float(match[2])
                origin[axis], cell[axis, axis] = low, high - low
                seen.add(axis)
            elif words[3:] == ["xy", "xz", "yz"]:
                cell[1, 0], cell[2, 0], cell[2, 1] = (float(word) for word in words[:3])
            elif words[3:] and words[3] in ("avec", "bvec", "cvec"):
                raise StructureError("general triclinic boxes (avec, bvec, cvec) are not read; write without them")
        except ValueError as error:
            if isinstance(error, StructureError):
                raise
            raise StructureError(f"box line {line!r} holds no number where one belongs") from None
    if len(seen) != 3:
        raise StructureError("the header has not all of xlo xhi, ylo yhi and zlo zhi; the file may be cut short")
    return origin, cell


def _elements_of_types(parts: _Sections, n_types: int, elements: tuple[str, ...] | None) -> dict[int, str]:
    """Element of each type: by its label, else by the comment beside its mass, else by the mass."""
    named: dict[int, str] = {}
    candidates = tuple(sorted(ELEMENT_SYMBOLS)) if elements is None else elements
    for section in ("Masses", "Atom Type Labels"):
        for line in parts.lines.get(section, []):
            words = line.partition("#")[0].split()
            comment = line.partition("#")[2].split()
            if len(words) != 2 or not words[0].isdigit():
                raise StructureError(f"line {line!r} in {section} is not understood")
            kind = int(words[0])
            if section == "Atom Type Labels":
                if words[1] in ELEMENT_SYMBOLS:
                    named[kind] = words[1]
            else:
                named[kind] = _element_of_mass(kind, words[1], comment[0] if comment else "", candidates)
    if missing := [kind for kind in range(1, n_types + 1) if kind not in named]:
        raise StructureError(f"type {missing[0]} has no mass; every type must be listed under Masses")
    chosen = {kind: named[kind] for kind in range(1, n_types + 1)}
    if len(set(chosen.values())) != n_types:
        raise StructureError(f"two types are the same element ({', '.join(chosen.values())})")
    return chosen


def _element_of_mass(kind: int, text: str, name: str, candidates: tuple[str, ...]) -> str:
    try:
        mass = float(text)
    except ValueError:
        raise StructureError(f"mass of type {kind} is {text!r}; it must be a number") from None
    if name in ELEMENT_SYMBOLS:
        if abs(atomic_mass(name) - mass) > _NAMED_MASS_TOLERANCE:
            raise StructureError(f"type {kind} is called {name} but has mass {mass:g}")
        return name
    nearest = min(candidates, key=lambda element: abs(atomic_mass(element) - mass))
    if abs(atomic_mass(nearest) - mass) > _MASS_TOLERANCE:
        raise StructureError(f"type {kind} has mass {mass:g}, which is none of {', '.join(candidates)}")
    return nearest


def _exact(value: float) -> str:
    return repr(float(value))
