"""Pairs of atoms within a cutoff in a periodic cell, from a list that is made anew only when it may be incomplete."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napos_lmp.errors import PotentialError

Floats = NDArray[np.float64]
Integers = NDArray[np.int32]

SKIN_A = 0.6


@dataclass(frozen=True)
class Pairs:
    """Ordered pairs (each pair both ways round), sorted by the first atom.

    Attributes
    ----------
    first, second : arrays of int, shape (n_pairs,)
        Indices of the atoms; an atom pairs with its own images too.
    vectors : array, shape (n_pairs, 3)
        From the first atom to the image of the second, in A.
    """

    first: Integers
    second: Integers
    vectors: Floats


class PairFinder:
    """Finds all pairs closer than a cutoff, as many images as it reaches included.

    The list of candidates reaches a skin further than the cutoff. Atoms are followed through wrapping at the faces of
    the cell, by the nearest image in fractional coordinates, and the candidates serve for as long as no other pair can
    have come within the cutoff. With F the deformation of the cell since the list was made and d the largest way of an
    atom relative to the cell, a pair that was left out is no closer than s (cutoff + skin) - 2 d, s being the smallest
    singular value of F; a new list is made when that falls below the cutoff.

    Parameters
    ----------
    cutoff : float
        In A.
    skin : float
        In A.

    Attributes
    ----------
    builds : int
        Lists of candidates made so far.
    """

    def __init__(self, cutoff: float, skin: float = SKIN_A) -> None:
        self.cutoff, self.skin = cutoff, skin
        self.builds = 0
        self._first: Integers = np.empty(0, np.int32)
        self._second: Integers = np.empty(0, np.int32)
        self._images: Floats = np.empty((0, 3))
        self._image_of: NDArray[np.intp] = np.empty(0, np.intp)
        self._built_inverse: Floats = np.empty((3, 3))
        self._built_fractional: Floats = np.empty((0, 3))
        self._fractional: Floats = np.empty((0, 3))

    def find(self, positions: Floats, cell: Floats) -> Pairs:
        """The pairs of atoms at `positions` (n_atoms, 3) in the cell whose rows are its edges, both in A.

        Atoms keep their places in the array from call to call; each may be given as any of its images.
        """
        fractional = positions @ np.linalg.inv(cell)
        if not self._follow(fractional, cell):
            self._build(fractional, cell)
        followed = self._fractional @ cell
        vectors = followed[self._second]
        vectors -= followed[self._first]
        vectors += (self._images @ cell)[self._image_of]
        near = np.einsum("ij,ij->i", vectors, vectors) < self.cutoff**2
        return Pairs(self._first[near], self._second[near], vectors[near])

    def _follow(self, fractional: Floats, cell: Floats) -> bool:
        """Follow the atoms to their new places; False if the candidates no longer suffice."""
        if fractional.shape != self._fractional.shape:
            return False
        self._fractional = fractional - np.rint(fractional - self._fractional)
        way = (self._fractional - self._built_fractional) @ cell
        farthest = float(np.sqrt(np.einsum("ij,ij->i", way, way).max(initial=0.0)))
        narrowest = float(np.linalg.svd(self._built_inverse @ cell, compute_uv=False)[-1])
        return narrowest * (self.cutoff + self.skin) - 2 * farthest >= self.cutoff

    def _build(self, fractional: Floats, cell: Floats) -> None:
        try:
            from matscipy.neighbours import neighbour_list
        except ModuleNotFoundError:
            raise PotentialError(
                "the CPU bridge needs the package matscipy, which is not installed: `pip install 'napos-lmp[mace]'`"
            ) from None

        self.builds += 1
        self._fractional = fractional - np.floor(fractional)
        self._built_fractional, self._built_inverse = self._fractional, np.linalg.inv(cell).astype(np.float64)
        first, second, images = neighbour_list(
            "ijS",
            positions=self._fractional @ cell,
            cell=cell,
            pbc=np.ones(3, bool),
            cutoff=self.cutoff + self.skin,
        )
        order = np.argsort(first, kind="stable")
        self._first, self._second = first[order].astype(np.int32), second[order].astype(np.int32)
        distinct, image_of = np.unique(images[order], axis=0, return_inverse=True)
        self._images, self._image_of = distinct.reshape(-1, 3).astype(np.float64), image_of.reshape(-1)
