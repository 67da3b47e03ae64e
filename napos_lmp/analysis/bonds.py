"""The bond graph of a network glass in one frame: formers, anions, and who is bonded to whom through which image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napos_lmp.analysis.base import AtomSet, Floats, Integers
from napos_lmp.analysis.frames import Frame
from napos_lmp.analysis.neighbours import pairs_within


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
    vectors
        Shape (E, 3): from the former to the anion's image that it is bonded to, A.
    former_pairs, anion_pairs
        Shape (H, 2): bonds between two formers and between two anions.
    former_pair_vectors, anion_pair_vectors
        Shape (H, 3): from the first to the second of each pair, A.
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
    former_pairs: Integers
    former_pair_vectors: Floats
    anion_pairs: Integers
    anion_pair_vectors: Floats
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

    def bonds(self, frame: Frame) -> BondGraph:
        """The bond graph of one frame."""
        here = frame.positions[np.concatenate([self.former_atoms, self.anion_atoms])]
        n_formers = self.n_formers
        types = np.concatenate([self.former_types, self.anion_types + len(self.formers)])
        first, second, vectors = pairs_within(here, frame.box, self.longest)
        squared = np.einsum("ij,ij->i", vectors, vectors)
        bonded = squared <= self._squared_cutoffs()[types[first], types[second]]
        first, second, vectors = first[bonded], second[bonded], vectors[bonded]
        former_first, former_second = first < n_formers, second < n_formers
        mixed = former_first != former_second
        flipped = former_second[mixed]
        former = np.where(flipped, second[mixed], first[mixed])
        anion = np.where(flipped, first[mixed], second[mixed]) - n_formers
        outward = np.where(flipped[:, None], -vectors[mixed], vectors[mixed])
        both = former_first & former_second
        neither = ~former_first & ~former_second
        links, images, shared, bridges, bridge_links = _links(former, anion, outward, here, frame.box)
        return BondGraph(
            frame=frame,
            former=former,
            anion=anion,
            vectors=outward,
            former_pairs=np.column_stack([first[both], second[both]]),
            former_pair_vectors=vectors[both],
            anion_pairs=np.column_stack([first[neither], second[neither]]) - n_formers,
            anion_pair_vectors=vectors[neither],
            links=links,
            link_images=images,
            shared=shared,
            bridges=bridges,
            bridge_links=bridge_links,
        )

    def _squared_cutoffs(self) -> Floats:
        elements = self.formers + self.anions
        squared: Floats = (
            np.array([[self.cutoffs.get(frozenset((a, b)), 0.0) for b in elements] for a in elements]) ** 2
        )
        return squared


def pairs_at_same(centre: Integers) -> tuple[Integers, Integers]:
    """All pairs of bonds with the same atom at one end, shape (M,) each; `centre` (E,) is that end of each bond."""
    order = np.argsort(centre, kind="stable").astype(np.int64)
    ordered = centre[order]
    firsts, seconds = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for step in range(1, int(np.bincount(centre).max(initial=0))):
        found = np.flatnonzero(ordered[step:] == ordered[:-step])
        firsts.append(found)
        seconds.append(found + step)
    return order[np.concatenate(firsts)], order[np.concatenate(seconds)]


def _of_elements(atoms: AtomSet, elements: tuple[str, ...]) -> tuple[Integers, Integers]:
    where = [atoms.where(element) for element in elements]
    types = np.repeat(np.arange(len(elements), dtype=np.int64), [len(indices) for indices in where])
    return np.concatenate(where), types


def _links(
    former: Integers, anion: Integers, outward: Floats, positions: Floats, box: Floats
) -> tuple[Integers, Integers, Integers, Integers, Integers]:
    a, b = pairs_at_same(anion)
    apart = outward[a] - outward[b]
    images = np.rint((apart - positions[former[b]] + positions[former[a]]) @ np.linalg.inv(box)).astype(np.int64)
    links = np.column_stack([former[a], former[b], images])
    links = one_way(links)
    unique, which, counts = np.unique(links, axis=0, return_inverse=True, return_counts=True)
    bridges = np.column_stack([links[:, 0], anion[a], links[:, 1]])
    return unique[:, :2], unique[:, 2:], counts.astype(np.int64), bridges, which.reshape(-1).astype(np.int64)


def one_way(links: Integers) -> Integers:
    """Links (first, second, image), shape (L, 5), each turned into the one of its two directions that is the norm."""
    first, second, image = links[:, 0], links[:, 1], links[:, 2:]
    leading = np.where(image[:, 0] != 0, image[:, 0], np.where(image[:, 1] != 0, image[:, 1], image[:, 2]))
    backwards = (first > second) | ((first == second) & (leading < 0))
    turned = np.column_stack([second, first, -image])
    norm: Integers = np.where(backwards[:, None], turned, links)
    return norm
