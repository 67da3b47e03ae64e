"""The few small configurations on which potentials are checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napos_lmp.composition import Composition
from napos_lmp.errors import PotentialError
from napos_lmp.structure import CRYSTALS, Structure, crystal, estimate_density, lammps_frame, pack

Relax = Callable[[Structure], Structure]

COMPOSITIONS = ("Na4P2S5O2", "Na4P2S7", "Na4P2O7", "Na2Si2O5", "Na2SiS3", "SiO2", "SiS2", "GeO2", "B2O3")
"""Glasses from which the first one that a potential covers is taken."""

_ATOMS = 26
_SEED = 7
_MELT_DENSITY = 0.9
_RATTLE = 0.08
_TILTS = ((1.0, 0.0, 0.0), (0.21, 1.0, 0.0), (-0.17, 0.12, 1.0))


@dataclass(frozen=True)
class Samples:
    """Configurations by name, all in LAMMPS's orientation of the cell; `composition` is that of all but the crystal."""

    composition: Composition
    structures: Mapping[str, Structure]

    @property
    def melt(self) -> Structure:
        """Atoms packed at random, far from equilibrium."""
        return self.structures["melt"]

    @property
    def disordered(self) -> dict[str, Structure]:
        """The configurations that hold the same atoms in the same order: melt, glass and triclinic glass."""
        return {name: self.structures[name] for name in ("melt", "glass", "triclinic")}


def make_samples(elements: tuple[str, ...], relax: Relax) -> Samples:
    """Melt, glass, triclinic glass and, where a known crystal is covered, that crystal, its atoms off their sites.

    Parameters
    ----------
    elements
        Elements of the potential, in its order.
    relax
        Brings a packed structure near to a minimum of the energy, which makes a glass of it.

    Raises
    ------
    PotentialError
        If the potential covers none of the compositions in :data:`COMPOSITIONS`.
    """
    known = (Composition.parse(formula) for formula in COMPOSITIONS)
    composition = next((c for c in known if set(c.elements) <= set(elements)), None)
    if composition is None:
        raise PotentialError(
            f"a potential of {', '.join(elements)} cannot be checked: it covers none of {', '.join(COMPOSITIONS)}"
        )
    counts, density = composition.cell(_ATOMS).counts, estimate_density(composition).value
    present = tuple(element for element in elements if element in counts)
    glass = relax(pack(counts, density, _SEED, present))
    structures = {
        "melt": pack(counts, _MELT_DENSITY * density, _SEED + 1, present),
        "glass": glass,
        "triclinic": deformed(glass, np.array(_TILTS)),
    }
    for name in CRYSTALS:
        own = crystal(name)
        if set(own.elements) <= set(elements):
            ordered = tuple(element for element in elements if element in own.elements)
            structures["crystal"] = _rattled(crystal(name, 1, ordered))
            break
    return Samples(composition, structures)


def deformed(structure: Structure, matrix: NDArray[np.float64]) -> Structure:
    """Cell and positions, as rows, times a lower triangular matrix of shape (3, 3): the cell stays LAMMPS's."""
    return Structure(structure.cell @ matrix, structure.positions @ matrix, structure.types, structure.elements)


def moved(structure: Structure, displacements: NDArray[np.float64]) -> Structure:
    """The same cell with every atom moved, `displacements` of shape (N, 3) or (3,) in A."""
    return Structure(structure.cell, structure.positions + displacements, structure.types, structure.elements)


def turned(structure: Structure) -> tuple[Structure, NDArray[np.float64]]:
    """The same crystal with its cell vectors in another order, as LAMMPS orients it, and the rotation of the rows."""
    cycled = structure.cell[[1, 2, 0]]
    framed = lammps_frame(Structure(cycled, structure.positions, structure.types, structure.elements))
    return framed, np.asarray(np.linalg.solve(cycled, framed.cell), dtype=np.float64)


def doubled(structure: Structure) -> Structure:
    """Two cells side by side along the first vector; the second copy's atoms follow those of the first."""
    return Structure(
        structure.cell * np.array([[2.0], [1.0], [1.0]]),
        np.concatenate([structure.positions, structure.positions + structure.cell[0]]),
        np.concatenate([structure.types, structure.types]),
        structure.elements,
    )


def reordered(structure: Structure, atoms: NDArray[np.int64]) -> Structure:
    """The same atoms in another order."""
    return Structure(structure.cell, structure.positions[atoms], structure.types[atoms], structure.elements)


def renumbered(structure: Structure, elements: tuple[str, ...]) -> Structure:
    """The same atoms with types that follow another order of elements."""
    numbers = np.array([elements.index(element) for element in structure.elements])
    return Structure(structure.cell, structure.positions, numbers[structure.types], elements)


def _rattled(structure: Structure) -> Structure:
    generator = np.random.default_rng(_SEED)
    return moved(structure, generator.normal(0.0, _RATTLE, structure.positions.shape))
