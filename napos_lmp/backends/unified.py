"""Energies, forces and virials from a "unified" ML-IAP object without LAMMPS's ML-IAP coupling, on a CPU.

`pair_style mliap unified` hands the object a list of pairs and takes pair forces back. :class:`UnifiedData` plays
LAMMPS's part of that exchange for a periodic cell. Pairs point from atom to atom, not to ghosts, so what LAMMPS would
exchange with neighbouring processors is copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napos_lmp.backends.pairs import SKIN_A, Floats, PairFinder, Pairs
from napos_lmp.errors import PotentialError


@dataclass(frozen=True)
class Evaluation:
    """What a model says of a configuration of n atoms.

    Attributes
    ----------
    energy : float
        In eV.
    energies : array, shape (n,)
        Energy of each atom in eV; they add up to `energy`.
    forces : array, shape (n, 3)
        In eV/A.
    virial : array, shape (3, 3)
        Sum of r F over atoms and their images in eV, which is -stress x volume.
    pair_forces : array, shape (n_pairs, 3)
        Force on the first atom of each of `pairs`, and minus the force on the second, in eV/A.
    pairs : Pairs
        The pairs that the model was given.
    """

    energy: float
    energies: Floats
    forces: Floats
    virial: Floats
    pair_forces: Floats
    pairs: Pairs

    @property
    def virials(self) -> Floats:
        """Virial of each atom (xx yy zz xy xz yz) in eV: half of each of its pairs', as LAMMPS shares them out."""
        left, right = np.array([0, 1, 2, 0, 0, 1]), np.array([0, 1, 2, 1, 2, 2])
        parts = -0.5 * self.pairs.vectors[:, left] * self.pair_forces[:, right]
        n_atoms = len(self.energies)
        return np.stack(
            [
                np.bincount(self.pairs.first, part, n_atoms) + np.bincount(self.pairs.second, part, n_atoms)
                for part in parts.T
            ],
            axis=1,
        )


class UnifiedData:
    """Stand-in for the object through which LAMMPS and a unified model exchange data (`MLIAPDataPy`).

    It holds the attributes and methods of LAMMPS's own that the force calculation uses, with the same meaning, types
    and signs; `rij` points from `pair_i` to `pair_j`, a pair force acts on +i and -j.
    """

    def __init__(self, pairs: Pairs, elements: NDArray[np.int32], n_elements: int) -> None:
        n_atoms, n_pairs = len(elements), len(pairs.first)
        self.nlocal = self.ntotal = self.nlistatoms = self.natomneigh = n_atoms
        self.npairs = self.nneigh_max = n_pairs
        self.nelements = n_elements
        self.elems = self.ielems = elements
        self.iatoms = np.arange(n_atoms, dtype=np.int32)
        self.pair_i, self.pair_j, self.rij = pairs.first, pairs.second, pairs.vectors
        self.eflag = self.vflag = 1
        self.energy = 0.0
        self.eatoms = np.zeros(n_atoms)
        self.pair_forces = np.zeros((n_pairs, 3))

    @property
    def jatoms(self) -> NDArray[np.int32]:
        """Second atom of each pair."""
        return self.pair_j

    @property
    def jelems(self) -> NDArray[np.int32]:
        """Element of the second atom of each pair."""
        return self.elems[self.pair_j]

    @property
    def numneighs(self) -> NDArray[np.int32]:
        """Number of pairs of each atom."""
        return np.bincount(self.pair_i, minlength=self.nlocal).astype(np.int32)

    def update_pair_energy(self, energies: Any) -> None:
        """Take energies of pairs, each counted both ways round."""
        self.eatoms[:] = 0.5 * np.bincount(self.pair_i, _array(energies).reshape(-1), self.nlocal)
        self.energy = float(self.eatoms.sum())

    def update_pair_forces(self, forces: Any) -> None:
        """Take pair forces; a second call replaces what the first gave."""
        self.pair_forces = _array(forces).reshape(self.npairs, 3)

    update_pair_energy_cpu = update_pair_energy_gpu = update_pair_energy
    update_pair_forces_cpu = update_pair_forces_gpu = update_pair_forces

    def forward_exchange(self, source: Any, target: Any, length: int) -> None:
        """Features of atoms to their images; there are none but the atoms themselves."""
        target[...] = source

    def reverse_exchange(self, source: Any, target: Any, length: int) -> None:
        """Gradients of images back to their atoms."""
        target[...] = source


class UnifiedEvaluator:
    """Evaluates a unified object on periodic configurations of the same atoms, step by step.

    Parameters
    ----------
    unified
        The object as :func:`napos_lmp.backends.mliap.load_unified` gives it; a MACE model in it is made faster in
        place (see :mod:`napos_lmp.backends.mace_fast`).
    elements : sequence of str
        Element of each type of the configurations, as on `pair_coeff * *`; in any order.
    skin : float
        Skin of the list of pairs in A.

    Attributes
    ----------
    cutoff : float
        In A.
    pairs : PairFinder
        The list of pairs.

    Raises
    ------
    PotentialError
        If the model does not know an element.
    """

    def __init__(self, unified: Any, elements: Sequence[str], *, skin: float = SKIN_A) -> None:
        known = [str(element) for element in unified.element_types]
        if unknown := [element for element in elements if element not in known]:
            raise PotentialError(f"the model does not know {', '.join(unknown)}; it knows {' '.join(known)}")
        self.unified = unified
        self.cutoff = 2.0 * float(unified.rcutfac)
        self.pairs = PairFinder(self.cutoff, skin)
        self._n_elements = len(known)
        self._element_of_type = np.array([known.index(element) for element in elements], dtype=np.int32)
        if hasattr(unified, "model"):
            from napos_lmp.backends.mace_fast import hasten

            hasten(unified)

    def evaluate(self, positions: Floats, cell: Floats, types: NDArray[np.integer[Any]]) -> Evaluation:
        """Energy, forces and virial.

        Parameters
        ----------
        positions : array, shape (n, 3)
            In A, any image of each atom; the same atom at the same place from call to call.
        cell : array, shape (3, 3)
            Edges of the cell as rows, in A.
        types : array of int, shape (n,)
            Index of each atom's element in `elements`, from 0.
        """
        pairs = self.pairs.find(positions, cell)
        data = UnifiedData(pairs, self._element_of_type[types], self._n_elements)
        self.unified.compute_forces(data)
        pair_forces = data.pair_forces
        return Evaluation(
            energy=float(data.energy),
            energies=data.eatoms,
            forces=_sum_at(pairs.first, pair_forces, len(types)) - _sum_at(pairs.second, pair_forces, len(types)),
            virial=-(pairs.vectors.T @ pair_forces),
            pair_forces=pair_forces,
            pairs=pairs,
        )


def _sum_at(atoms: NDArray[np.int32], vectors: Floats, n_atoms: int) -> Floats:
    return np.stack([np.bincount(atoms, column, n_atoms) for column in vectors.T], axis=1)


def _array(values: Any) -> Floats:
    """Numbers of a torch tensor or an array, in double precision."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=float)
