"""The bond graph of a network glass in one frame: formers, anions, and who is bonded to whom through which image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from napos_lmp.analysis.base import AtomSet, Floats, Integers
from napos_lmp.analysis.compiled import bonds_at, bridges_of, compiled, find_bonds, joined_groups
from napos_lmp.analysis.frames import Frame
from napos_lmp.analysis.neighbours import box_heights

_ROOM = 4


@dataclass(frozen=True)
class BondGraph:
    """Bonds of one frame; formers and anions are numbered each from 0, in the order of :class:`NetworkAtoms`.

    An image is three integers: the box vectors between the cell in which the second atom's position (as the frame gives
    it) lies and the copy of that atom that is meant, seen from the first atom where the frame gives it.

    Attributes
    ----------
    frame
        The frame: all positions, also of atoms that are not of the network, and the box.
    former, anion
        Shape (E,): the two ends of each bond between a former and an anion.
    vectors, images
        Shape (E, 3): from the former to the anion's image that it is bonded to, A, and that image.
    former_pairs, anion_pairs
        Shape (H, 2): bonds between two formers and between two anions.
    former_pair_images, anion_pair_images
        Shape (H, 3): image of the second of each pair.
    links
        Shape (L, 2): pairs of formers that share anions, the smaller number first. Two periodic images of a former are
        two partners, so that a pair may stand here twice and a former may be linked to itself.
    link_images
        Shape (L, 3): image of the second former of each link.
    shared
        Shape (L,): number of anions that a link shares: 1 for corners, 2 for edges, 3 for faces.
    bridges
        Shape (M, 3): first former, anion, second former of each link's each anion.
    bridge_links
        Shape (M,): the link that each bridge belongs to.
    """

    frame: Frame
    former: Integers
    anion: Integers
    vectors: Floats
    images: Integers
    former_pairs: Integers
    former_pair_images: Integers
    anion_pairs: Integers
    anion_pair_images: Integers
    links: Integers
    link_images: Integers
    shared: Integers
    bridges: Integers
    bridge_links: Integers


@dataclass(frozen=True)
class NetworkAtoms:
    """Which atoms are formers and anions, and how long their bonds may be.

    Attributes
    ----------
    formers, anions
        Their elements.
    former_atoms, anion_atoms
        Shape (F,) and (A,): the atom of the frame behind each former and anion.
    former_types, anion_types
        Element of each former (index in `formers`), shape (F,), and of each anion, shape (A,).
    cutoffs
        Longest bond in A by the set of its two elements; pairs that are not named do not bond.
    elements, types
        All elements of the system, and the element of each of its atoms, shape (N,).
    """

    formers: tuple[str, ...]
    anions: tuple[str, ...]
    former_atoms: Integers
    anion_atoms: Integers
    former_types: Integers
    anion_types: Integers
    cutoffs: dict[frozenset[str], float]
    elements: tuple[str, ...]
    types: Integers

    @classmethod
    def of(
        cls, atoms: AtomSet, formers: tuple[str, ...], anions: tuple[str, ...], cutoffs: dict[frozenset[str], float]
    ) -> NetworkAtoms:
        """Choose the formers and anions among `atoms`."""
        former_atoms, former_types = _of_elements(atoms, formers)
        anion_atoms, anion_types = _of_elements(atoms, anions)
        return cls(
            formers, anions, former_atoms, anion_atoms, former_types, anion_types, cutoffs, atoms.elements, atoms.types
        )

    @property
    def n_formers(self) -> int:
        """Number of formers."""
        return len(self.former_types)

    @property
    def n_anions(self) -> int:
        """Number of anions."""
        return len(self.anion_types)

    @property
    def longest(self) -> float:
        """The longest cutoff, A."""
        return max(self.cutoffs.values())

    @cached_property
    def _squared_cutoffs(self) -> Floats:
        elements = self.formers + self.anions
        longest = np.array([[self.cutoffs.get(frozenset((a, b)), -1.0) for b in elements] for a in elements])
        return np.where(longest > 0, longest**2, -1.0)

    @cached_property
    def _all_types(self) -> Integers:
        return np.concatenate([self.former_types, self.anion_types + len(self.formers)])

    @cached_property
    def _all_atoms(self) -> Integers:
        return np.concatenate([self.former_atoms, self.anion_atoms])

    def bonds(self, frame: Frame) -> BondGraph:
        """The bond graph of one frame; no cutoff may be longer than half the smallest height of the box."""
        n_formers = self.n_formers
        fractional = frame.positions[self._all_atoms] @ np.linalg.inv(frame.box)
        cells = np.floor(box_heights(frame.box) / self.longest).astype(np.int64)
        cells[cells < 3] = 1
        system = fractional, np.ascontiguousarray(frame.box), self._all_types, self._squared_cutoffs, cells
        room = _ROOM * len(fractional)
        found, first, second, images, vectors = compiled(find_bonds)(*system, room)
        if found > room:
            _, first, second, images, vectors = compiled(find_bonds)(*system, found)
        # formers come first, and the first atom of a bond is the one that comes first
        to_anion, from_anion = second >= n_formers, first >= n_formers
        mixed, between_formers = to_anion & ~from_anion, ~to_anion
        former, anion, mixed_images = first[mixed], second[mixed] - n_formers, images[mixed]
        start, order = compiled(bonds_at)(anion, self.n_anions)
        bridges, bridge_anions = compiled(bridges_of)(former, mixed_images, start, order)
        links, which, shared = unique_rows(bridges)
        return BondGraph(
            frame=frame,
            former=former,
            anion=anion,
            vectors=vectors[mixed],
            images=mixed_images,
            former_pairs=np.column_stack([first[between_formers], second[between_formers]]),
            former_pair_images=images[between_formers],
            anion_pairs=np.column_stack([first[from_anion], second[from_anion]]) - n_formers,
            anion_pair_images=images[from_anion],
            links=links[:, :2],
            link_images=links[:, 2:],
            shared=shared,
            bridges=np.column_stack([bridges[:, 0], bridge_anions, bridges[:, 1]]),
            bridge_links=which,
        )


@dataclass(frozen=True)
class Pieces:
    """What bonds of any kind join, formers numbered before anions.

    Attributes
    ----------
    of_atom
        Shape (F + A,): number of the piece of each former and anion.
    n_pieces
        Their number.
    endless, images
        Shape (K,) and (K, 3): pieces with a closed path of bonds that leads to another periodic image, and that image;
        a piece may stand here several times.
    """

    of_atom: Integers
    n_pieces: int
    endless: Integers
    images: Integers


def pieces(graph: BondGraph, atoms: NetworkAtoms) -> Pieces:
    """The pieces of one frame's network."""
    n_formers = atoms.n_formers
    first = np.concatenate([graph.former, graph.former_pairs[:, 0], graph.anion_pairs[:, 0] + n_formers])
    second = np.concatenate([graph.anion + n_formers, graph.former_pairs[:, 1], graph.anion_pairs[:, 1] + n_formers])
    images = np.concatenate([graph.images, graph.former_pair_images, graph.anion_pair_images])
    of_atom, offset = compiled(joined_groups)(first, second, images, n_formers + atoms.n_anions)
    around = offset[first] + images - offset[second]
    through = np.any(around != 0, axis=1)
    return Pieces(of_atom, int(of_atom.max()) + 1, of_atom[first[through]], around[through])


def _of_elements(atoms: AtomSet, elements: tuple[str, ...]) -> tuple[Integers, Integers]:
    where = [atoms.where(element) for element in elements]
    types = np.repeat(np.arange(len(elements), dtype=np.int64), [len(indices) for indices in where])
    return np.concatenate(where), types


def unique_rows(rows: Integers) -> tuple[Integers, Integers, Integers]:
    """Different rows of a table in rising order, for each row its place among them, and how often each occurs."""
    if len(rows) == 0:
        return rows, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    lowest = rows.min(axis=0)
    spans = (rows.max(axis=0) - lowest + 1).tolist()
    if math.prod(spans) >= 2**62:
        found, which, counts = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
        return found, which.reshape(-1).astype(np.int64), counts.astype(np.int64)
    strides = np.array([math.prod(spans[k + 1 :]) for k in range(len(spans))], dtype=np.int64)
    keys = (rows - lowest) @ strides
    _, where, which, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    return rows[where], which.astype(np.int64), counts.astype(np.int64)
