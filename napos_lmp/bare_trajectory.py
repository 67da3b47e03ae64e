"""The door for trajectories that no deck of ours wrote: LAMMPS dumps, XYZ files and all that MDAnalysis reads.

Such a file has no manifest, so what it does not say must be given: the element of each type is never guessed. LAMMPS
text dumps and XYZ files are read here, faster than by MDAnalysis and with their boxes; all others by MDAnalysis.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napos_lmp.errors import StructureError, TrajectoryError
from napos_lmp.extended_xyz import ExtendedXyz
from napos_lmp.formula import ELEMENT_SYMBOLS
from napos_lmp.lammps_dump import LammpsDump
from napos_lmp.text_frames import Words, beginning, unpacked_suffix

_ATOM_STYLES = {
    "atomic": "id type x y z",
    "charge": "id type charge x y z",
    "molecular": "id resid type x y z",
    "full": "id resid type charge x y z",
}
_XYZ = (".xyz", ".extxyz")
_MOST_LISTED = 12
_TRUE_TIMES = ("XTC", "TRR")
_SAME_INTERVAL = 1e-3


@dataclass(frozen=True)
class BareTrajectory:
    """A trajectory without a manifest.

    Attributes
    ----------
    path
        The file.
    universe
        Streaming MDAnalysis Universe with elements.
    elements_from
        Where the elements are from, in a few words.
    messages
        What was left out of the file, one sentence each.
    """

    path: Path
    universe: Any
    elements_from: str
    messages: tuple[str, ...]


@dataclass(frozen=True)
class _Labels:
    """What a file calls its atoms: their types, and words that may be the symbols of their elements."""

    source: str
    n_atoms: int
    types: Words | None = None
    names: Words | None = None


def open_trajectory(
    path: str | Path,
    *,
    elements: Sequence[str] | None = None,
    topology: str | Path | None = None,
    frame_ps: float | None = None,
) -> BareTrajectory:
    """Open a trajectory of any kind.

    Parameters
    ----------
    path
        LAMMPS text dump or (extended) XYZ file, also packed by gzip, bzip2 or xz, or any file that MDAnalysis reads.
    elements
        Element of each type: of LAMMPS types 1, 2, ... in order, of other types in the order in which they first
        occur. Without it, elements are those that the file or the topology names.
    topology
        File with the types or elements of the same atoms in the order of their ids: a LAMMPS data file, or any that
        MDAnalysis reads.
    frame_ps
        Time between frames in ps. Most files do not know theirs, so without it the times of the frames mean nothing.

    Raises
    ------
    TrajectoryError
        If a file cannot be read or holds no frame, the two are of different sizes, the elements are not known,
        `elements` has an unknown symbol or not one for each type, or `frame_ps` is not positive or contradicts the
        steps or times of the file.
    """
    path = Path(path)
    if frame_ps is not None and not 0 < frame_ps < math.inf:
        raise TrajectoryError(f"frame_ps is {frame_ps:g}; the time between frames in ps must be positive")
    if not path.is_file():
        raise TrajectoryError(f"{path} is no file; give a trajectory, a deck or a study")
    if path.stat().st_size == 0:
        raise TrajectoryError(f"{path} is empty; a trajectory of at least one frame is needed")
    over = None if topology is None else _topology(Path(topology))
    if beginning(path, 5) == b"ITEM:":
        dump = LammpsDump(path)
        own = _Labels(path.name, dump.n_atoms, dump.types, dump.names)
        return _from_text(dump, own, over, elements, frame_ps)
    if unpacked_suffix(path) in _XYZ:
        frames = ExtendedXyz(path)
        own = _Labels(path.name, frames.n_atoms, frames.names, frames.names)
        return _from_text(frames, own, over, elements, frame_ps)
    return _from_mdanalysis(path, over, elements, frame_ps)


def _from_text(
    frames: LammpsDump | ExtendedXyz,
    own: _Labels,
    over: _Labels | None,
    given: Sequence[str] | None,
    frame_ps: float | None,
) -> BareTrajectory:
    import MDAnalysis

    from napos_lmp.text_reader import TextReader

    if over is not None and over.n_atoms != own.n_atoms:
        raise TrajectoryError(f"{frames.path} has {own.n_atoms} atoms, the topology {over.source} {over.n_atoms}")
    symbols, source = _elements(over or own, given)
    universe = MDAnalysis.Universe.empty(len(symbols), trajectory=False)
    universe.add_TopologyAttr("elements", symbols)
    universe.trajectory = TextReader(frames, frame_ps)
    return BareTrajectory(frames.path, universe, source, tuple(frames.messages))


def _from_mdanalysis(
    path: Path, over: _Labels | None, given: Sequence[str] | None, frame_ps: float | None
) -> BareTrajectory:
    universe = _universe(path)
    own = _labels_of(universe, path.name)
    if over is not None and over.n_atoms != own.n_atoms:
        raise TrajectoryError(f"{path} has {own.n_atoms} atoms, the topology {over.source} {over.n_atoms}")
    if not hasattr(universe, "trajectory") or len(universe.trajectory) == 0:
        raise TrajectoryError(f"{path} holds no frame; at least one is needed")
    if frame_ps is not None and not _knows_times(universe.trajectory, path, frame_ps):
        universe = _universe(path, dt=frame_ps)
    symbols, source = _elements(over or own, given)
    if hasattr(universe.atoms, "elements"):
        universe.atoms.elements = symbols
    else:
        universe.add_TopologyAttr("elements", symbols)
    return BareTrajectory(path, universe, source, ())


def _knows_times(trajectory: Any, path: Path, frame_ps: float) -> bool:
    """Whether the file holds true times, as LAMMPS's DCD does not; refused where they contradict `frame_ps`."""
    if len(trajectory) < 2 or trajectory.format not in _TRUE_TIMES:
        return False
    first, second = (float(trajectory[k].time) for k in (0, 1))
    trajectory[0]
    if abs(second - first - frame_ps) > _SAME_INTERVAL * frame_ps:
        raise TrajectoryError(f"frame_ps is {frame_ps:g}; {path} says that its frames are {second - first:g} ps apart")
    return True


def _universe(path: Path, **options: Any) -> Any:
    """What MDAnalysis makes of one file; whatever its many readers raise becomes one sentence."""
    import MDAnalysis

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return MDAnalysis.Universe(str(path), to_guess=(), **options)
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise TrajectoryError(f"{path} cannot be read by MDAnalysis: {reason}") from None


def _topology(path: Path) -> _Labels:
    if not path.is_file():
        raise TrajectoryError(f"topology {path} is no file")
    head = beginning(path, 4000).decode("utf-8", "replace")
    if re.search(r"^\s*\d+\s+atoms\b", head, re.MULTILINE) and re.search(r"\batom types\b", head):
        return _data_file(path)
    return _labels_of(_universe(path), path.name)


def _data_file(path: Path) -> _Labels:
    """Types of the atoms of a LAMMPS data file, and their elements where its masses or labels tell them."""
    from napos_lmp.structure import read_data

    try:
        structure = read_data(path)
        symbols = np.array(structure.symbols)
        return _Labels(path.name, len(symbols), (structure.types + 1).astype(str), symbols)
    except StructureError as error:
        reason = str(error)
    style = re.search(r"^Atoms\s*#\s*(\S+)", path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    if style is None or style[1] not in _ATOM_STYLES:
        raise TrajectoryError(
            f"topology {reason}; the line that begins its atoms must also name the style, as in 'Atoms # charge' "
            f"(known: {', '.join(_ATOM_STYLES)})"
        )
    universe = _universe(path, topology_format="DATA", format="DATA", atom_style=_ATOM_STYLES[style[1]])
    return _labels_of(universe, path.name)


def _labels_of(universe: Any, source: str) -> _Labels:
    atoms = universe.atoms
    types = getattr(atoms, "types", getattr(atoms, "names", None))
    names = getattr(atoms, "elements", None)
    if names is not None and not all(names):
        names = None
    return _Labels(
        source,
        len(atoms),
        None if types is None else np.array(types, dtype=np.str_),
        None if names is None else np.array(names, dtype=np.str_),
    )


def _elements(labels: _Labels, given: Sequence[str] | None) -> tuple[list[str], str]:
    """Element of each atom, and in words where it is from."""
    if given is not None:
        return _given_elements(labels, given), "as given, by type"
    if labels.names is None:
        raise TrajectoryError(f"{labels.source} names no elements; {_request(labels)}")
    unknown = [name for name in dict.fromkeys(labels.names.tolist()) if name not in ELEMENT_SYMBOLS]
    if unknown:
        raise TrajectoryError(f"{labels.source} names {unknown[0]!r}, which is no element; {_request(labels)}")
    if _looks_unset(labels):
        raise TrajectoryError(
            f"{labels.source} calls all types C, as LAMMPS does unless dump_modify names elements; {_request(labels)}"
        )
    return labels.names.tolist(), f"as {labels.source} names them"


def _looks_unset(labels: _Labels) -> bool:
    assert labels.names is not None
    return labels.types is not None and set(labels.names) == {"C"} and len(set(labels.types)) > 1


def _given_elements(labels: _Labels, given: Sequence[str]) -> list[str]:
    for symbol in given:
        if symbol not in ELEMENT_SYMBOLS:
            raise TrajectoryError(f"elements: {symbol!r} is no element; symbols such as Na are needed")
    if labels.types is None:
        raise TrajectoryError(
            f"{labels.source} has no types that elements could be given to; "
            "give a topology with the types or elements of its atoms (--topology)"
        )
    kinds = _kinds(labels.types)
    if len(given) != len(kinds):
        raise TrajectoryError(
            f"elements names {len(given)} ({', '.join(given)}) but {labels.source} has {len(kinds)} types: "
            f"{_listed(kinds)}; give one for each, in this order"
        )
    element = dict(zip(kinds, given, strict=True))
    return [element[kind] for kind in labels.types.tolist()]


def _kinds(types: Words) -> dict[str, int]:
    """Each type and the number of its atoms; LAMMPS types from 1 to the highest, others as they first occur."""
    words, first, counts = np.unique(types, return_index=True, return_counts=True)
    if all(word.isdigit() and int(word) > 0 for word in words) and int(max(map(int, words))) <= 1000:
        known = {int(word): int(count) for word, count in zip(words, counts, strict=True)}
        return {str(kind): known.get(kind, 0) for kind in range(1, max(known) + 1)}
    return {str(words[k]): int(counts[k]) for k in np.argsort(first)}


def _request(labels: _Labels) -> str:
    if labels.types is None:
        return "it has no types either, so give a topology with the types or elements of its atoms (--topology)"
    return f"give one for each type, in this order (--elements): {_listed(_kinds(labels.types))}"


def _listed(kinds: dict[str, int]) -> str:
    named = [f"{kind} ({count or 'no'} atom{'' if count == 1 else 's'})" for kind, count in kinds.items()]
    more = f" and {len(named) - _MOST_LISTED} more" if len(named) > _MOST_LISTED else ""
    return ", ".join(named[:_MOST_LISTED]) + more
