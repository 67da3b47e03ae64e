"""The one description of atoms in a periodic cell that the rest of the package passes on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from napos_lmp.errors import StructureError
from napos_lmp.formula import ELEMENT_SYMBOLS

AMU_PER_A3_IN_G_CM3 = 1.66053906660
"""One atomic mass unit per cubic angstrom, in g/cm3 (CODATA 2018)."""


@dataclass(frozen=True, eq=False)
class Structure:
    """Atoms in a fully periodic cell.

    Parameters
    ----------
    cell
        Cell vectors as rows, shape (3, 3), A; a right-handed set.
    positions
        Cartesian positions, shape (N, 3), A; they may lie outside the cell.
    types
        Index of each atom's element in `elements`, shape (N,).
    elements
        Ordered elements, the order that LAMMPS types follow; some may have no atoms.

    Raises
    ------
    StructureError
        If shapes do not fit, a number is not finite, the cell is flat or left-handed, or a type or element is
        unknown.
    """

    cell: NDArray[np.float64]
    positions: NDArray[np.float64]
    types: NDArray[np.int64]
    elements: tuple[str, ...]

    def __post_init__(self) -> None:
        cell = np.array(self.cell, dtype=np.float64)
        positions = np.array(self.positions, dtype=np.float64)
        types = np.array(self.types, dtype=np.int64)
        check_elements(self.elements)
        if cell.shape != (3, 3) or positions.ndim != 2 or positions.shape[1] != 3 or types.shape != (len(positions),):
            raise StructureError(
                f"cell {cell.shape}, positions {positions.shape} and types {types.shape} do not fit; "
                "they must be (3, 3), (N, 3) and (N,)"
            )
        if not len(positions):
            raise StructureError("structure has no atoms; at least one is needed")
        if not np.isfinite(cell).all() or not np.isfinite(positions).all():
            raise StructureError("cell or positions hold a number that is not finite")
        if np.linalg.det(cell) <= 0:
            raise StructureError(
                f"cell has volume {np.linalg.det(cell):.6g} A3; its three rows must be a right-handed set"
            )
        if types.min() < 0 or types.max() >= len(self.elements):
            raise StructureError(
                f"types run from {types.min()} to {types.max()}; allowed are 0 to {len(self.elements) - 1}"
            )
        for name, array in (("cell", cell), ("positions", positions), ("types", types)):
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        object.__setattr__(self, "elements", tuple(self.elements))

    def __len__(self) -> int:
        return len(self.types)

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.types)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Element of each atom."""
        return tuple(self.elements[t] for t in self.types)

    @property
    def counts(self) -> dict[str, int]:
        """Atoms of each element that is present, in the order of `elements`."""
        numbers = np.bincount(self.types, minlength=len(self.elements))
        return {element: int(n) for element, n in zip(self.elements, numbers, strict=True) if n}

    @property
    def volume(self) -> float:
        """Volume of the cell, A3."""
        return float(np.linalg.det(self.cell))

    @property
    def density(self) -> float:
        """Mass density, g/cm3."""
        mass = sum(atomic_mass(element) * n for element, n in self.counts.items())
        return mass / self.volume * AMU_PER_A3_IN_G_CM3

    @property
    def heights(self) -> NDArray[np.float64]:
        """Distance between opposite faces of the cell along each vector, shape (3,), A."""
        areas = np.linalg.norm(np.cross(self.cell[[1, 2, 0]], self.cell[[2, 0, 1]]), axis=1)
        return np.asarray(self.volume / areas)


@cache
def atomic_mass(element: str) -> float:
    """Standard atomic mass in atomic mass units (IUPAC, as ASE tabulates it).

    Raises
    ------
    StructureError
        If `element` is no chemical element.
    """
    from ase.data import atomic_masses, atomic_numbers

    if element not in ELEMENT_SYMBOLS:
        raise StructureError(f"{element!r} is not a chemical element")
    return float(atomic_masses[atomic_numbers[element]])


def check_elements(elements: tuple[str, ...]) -> None:
    """Raise StructureError unless `elements` is a sequence of different chemical elements."""
    if isinstance(elements, str) or not elements:
        raise StructureError(f"elements is {elements!r}; it must be a tuple of symbols such as ('Na', 'P', 'S')")
    for element in elements:
        if element not in ELEMENT_SYMBOLS:
            raise StructureError(f"elements holds {element!r}, which is not a chemical element")
    if len(set(elements)) != len(elements):
        raise StructureError(f"elements is {elements!r}; no element may stand there twice")


def minimum_distances(structure: Structure, cutoff: float = 3.0) -> dict[tuple[str, str], float]:
    """Shortest distance of every pair of elements, all periodic images included.

    Parameters
    ----------
    structure
        Atoms in any periodic cell, also one that is smaller than `cutoff`.
    cutoff
        Pairs further apart than this are not listed, A.

    Returns
    -------
    dict
        Distance in A by pair of elements, each pair in the order of `structure.elements`.
    """
    from ase.neighborlist import primitive_neighbor_list

    first, second, distances = primitive_neighbor_list(
        "ijd", (True, True, True), structure.cell, structure.positions, float(cutoff)
    )
    low = np.minimum(structure.types[first], structure.types[second])
    high = np.maximum(structure.types[first], structure.types[second])
    shortest: dict[tuple[str, str], float] = {}
    for i, element in enumerate(structure.elements):
        for j in range(i, len(structure.elements)):
            pair = distances[(low == i) & (high == j)]
            if len(pair):
                shortest[element, structure.elements[j]] = float(pair.min())
    return shortest
