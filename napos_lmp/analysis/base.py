"""What every measurement shares: checked atoms and boxes, numbers with intervals, and results that can be saved."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napos_lmp.errors import AnalysisError
from napos_lmp.files import whole_file

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class AtomSet:
    """Atoms whose elements are known.

    Attributes
    ----------
    atoms
        The MDAnalysis AtomGroup.
    elements
        The elements that occur, in the order of their first atom.
    types
        Shape (N,): index of each atom's element in `elements`.
    masses
        Shape (N,): atomic masses in u, from the Universe where it has them, else the standard ones.
    """

    atoms: Any
    elements: tuple[str, ...]
    types: Integers
    masses: Floats

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.types)

    @property
    def counts(self) -> dict[str, int]:
        """Number of atoms of each element."""
        return {element: int(np.sum(self.types == i)) for i, element in enumerate(self.elements)}

    def where(self, element: str) -> Integers:
        """Positions in the group, shape (n,), of the atoms of one element.

        Raises
        ------
        AnalysisError
            If no atom is of this element; the message lists those that are there.
        """
        if element not in self.elements:
            raise AnalysisError(f"species {element!r} is not in the system; it has {', '.join(self.elements)}")
        return np.flatnonzero(self.types == self.elements.index(element)).astype(np.int64)


def checked_atoms(source: Any, *, needs_box: bool = True) -> AtomSet:
    """Atoms, elements and masses of an MDAnalysis Universe or AtomGroup.

    Parameters
    ----------
    source
        A Universe, or an AtomGroup to look at a part of one.
    needs_box
        Whether a periodic box is required in the current frame.

    Raises
    ------
    AnalysisError
        If there are no atoms, no elements, an element that does not exist, or no box although one is needed.
    """
    atoms = source.atoms
    if len(atoms) == 0:
        raise AnalysisError("the selection holds no atom; at least one is needed")
    symbols = _symbols(atoms)
    elements = tuple(dict.fromkeys(symbols))
    index = {element: i for i, element in enumerate(elements)}
    if needs_box:
        checked_box(atoms.universe.trajectory.ts)
    return AtomSet(
        atoms=atoms,
        elements=elements,
        types=np.array([index[symbol] for symbol in symbols], dtype=np.int64),
        masses=_masses(atoms, symbols),
    )


def checked_box(timestep: Any) -> Floats:
    """Box of one frame as three row vectors, shape (3, 3), in A.

    Raises
    ------
    AnalysisError
        If the frame has no box or one without volume.
    """
    from MDAnalysis.lib.mdamath import triclinic_vectors

    dimensions = timestep.dimensions
    if dimensions is None or not np.all(np.isfinite(dimensions)) or np.any(np.asarray(dimensions[:3]) <= 0):
        raise AnalysisError(f"frame {timestep.frame} has no periodic box; every frame needs one with positive lengths")
    vectors = np.asarray(triclinic_vectors(dimensions, dtype=np.float64))
    if np.linalg.det(vectors) <= 0:
        raise AnalysisError(f"frame {timestep.frame} has box angles {dimensions[3:]} that enclose no volume")
    return vectors


def checked_frames(trajectory: Any, start: int | None, stop: int | None, step: int | None) -> range:
    """Frame numbers of a slice of a trajectory.

    Raises
    ------
    AnalysisError
        If the slice is empty.
    """
    if step is not None and step < 1:
        raise AnalysisError(f"step is {step}; it must be at least 1")
    frames = range(*slice(start, stop, step).indices(len(trajectory)))
    if not frames:
        raise AnalysisError(f"frames {start}:{stop}:{step} select none of the trajectory's {len(trajectory)} frames")
    return frames


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Attributes
    ----------
    value
        Best estimate.
    low, high
        Ends of the interval at confidence `level`; NaN when the data give no interval.
    unit
        Unit of all three.
    level
        Confidence level, 0.95 unless said otherwise.
    note
        Why there is no interval, or what it leaves out; empty when nothing needs saying.
    """

    value: float
    low: float
    high: float
    unit: str
    level: float = 0.95
    note: str = ""

    @property
    def relative_error(self) -> float:
        """Half the interval's width over the value."""
        return (self.high - self.low) / 2 / abs(self.value)

    def scaled(self, factor: float, unit: str) -> Estimate:
        """The same estimate times an exactly known positive factor, in another unit."""
        return dataclasses.replace(
            self, value=self.value * factor, low=self.low * factor, high=self.high * factor, unit=unit
        )

    def __str__(self) -> str:
        if not math.isfinite(self.low) or not math.isfinite(self.high):
            return f"{self.value:.3g} {self.unit} (no interval{': ' + self.note if self.note else ''})"
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}] {self.unit}"


class Result:
    """Base of the frozen dataclasses that measurements return."""

    def columns(self) -> Mapping[str, ArrayLike]:
        """The table that :meth:`to_csv` writes: equally long columns, units in their names."""
        raise NotImplementedError

    def to_csv(self, path: str | Path) -> None:
        """Write the result's table as CSV; names of columns carry the units."""
        write_table(Path(path), self.columns())

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON-ready values; NaN and infinity become None."""
        return {field.name: jsonable(getattr(self, field.name)) for field in _public_fields(self)}


def plot_axes(ax: Any) -> Any:
    """The axes given, or those of a new figure when `ax` is None."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(layout="constrained")[1]


def write_table(path: Path, columns: Mapping[str, ArrayLike]) -> None:
    """Write equally long columns as a CSV file with one header line, whole or not at all."""
    rows = zip(*(np.asarray(column).tolist() for column in columns.values()), strict=True)
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_cell(value) for value in row] for row in rows)


def jsonable(value: Any) -> Any:
    """Turn arrays, dataclasses, tuples and non-finite numbers into what JSON can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: jsonable(getattr(value, field.name)) for field in _public_fields(value)}
    if isinstance(value, np.ndarray | np.generic):
        return jsonable(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | range):
        return [jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _public_fields(value: Any) -> Iterator[dataclasses.Field[Any]]:
    return (field for field in dataclasses.fields(value) if not field.name.startswith("_"))


def _cell(value: Any) -> Any:
    return f"{value:.10g}" if isinstance(value, float) else value


def _symbols(atoms: Any) -> list[str]:
    from ase.data import atomic_numbers

    if not hasattr(atoms, "elements"):
        raise AnalysisError(
            "the Universe has no elements; add them with universe.add_TopologyAttr('elements', [...]), one per atom"
        )
    symbols = [str(element) for element in atoms.elements]
    unknown = sorted({symbol for symbol in symbols if symbol == "X" or symbol not in atomic_numbers})
    if unknown:
        raise AnalysisError(f"element {unknown[0]!r} is none; the attribute 'elements' must hold symbols such as 'Na'")
    return symbols


def _masses(atoms: Any, symbols: list[str]) -> Floats:
    from ase.data import atomic_masses, atomic_numbers

    masses = np.asarray(getattr(atoms, "masses", np.zeros(len(symbols))), dtype=np.float64)
    standard = np.array([atomic_masses[atomic_numbers[symbol]] for symbol in symbols], dtype=np.float64)
    return np.where(masses > 0, masses, standard)
