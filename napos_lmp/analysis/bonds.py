"""The bond graph of a network glass in one frame: formers, anions, and who is bonded to whom through which image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napos_lmp.analysis.base import AtomSet, Floats, Integers
from napos_lmp.analysis.neighbours import pairs_within


@dataclass(frozen=True)
class BondGraph:
    """Bonds of one frame; formers and anions are numbered each from 0, in the order of :class:`BondFinder`.

    Attributes
    ----------
    former, anion
        Shape (E,): the two ends of each bond between a former and an anion.
    vectors
        Shape (E, 3): from the former to the anion's image that it is bonded to, A.
    former_pairs, anion_pairs
        Shape (H, 2): bonds between two formers and between two anions.
    shared
        Number of anions shared by each pair of formers that share any, shape (L,): 1 for corners, 2 for edges, 3 for
        faces. Two periodic images of a former are two partners.
    """

    former: Integers
    anion: Integers
    vectors: Floats
    former_pairs: Integers
    anion_pairs: Integers
    shared: Integers


class BondFinder:
    """Finds the bond graph of frames.

    Parameters
    ----------
    atoms
        The system.
    formers, anions
        Their elements.
    cutoffs
        Longest bond in A by the set of its two elements; pairs that are not named do not bond.

    Attributes
    ----------
    former_types, anion_types
        Element of each former (index in `formers`), shape (F,), and of each anion, shape (A,).
    longest
        The longest cutoff, A.
    """

    def __init__(
        self, atoms: AtomSet, formers: tuple[str, ...], anions: tuple[str, ...], cutoffs: dict[frozenset[str], float]
    ) -> None:
        elements = formers + anions
        where = [atoms.where(element) for element in elements]
        self._atoms: Integers = np.concatenate(where)
        self._types = np.repeat(np.arange(len(elements)), [len(indices) for indices in where])
        self._n_formers = int(np.sum(self._types < len(formers)))
        self.former_types: Integers = self._types[: self._n_formers]
        self.anion_types: Integers = self._types[self._n_formers :] - len(formers)
        self._squared = np.array([[cutoffs.get(frozenset((a, b)), 0.0) for b in elements] for a in elements]) ** 2
        self.longest = max(cutoffs.values())

    def find(self, positions: Floats, box: Floats) -> BondGraph:
        """Bonds among the atoms at `positions` (N, 3) in a periodic box (3, 3), A."""
        here = positions[self._atoms]
        first, second, vectors = pairs_within(here, box, self.longest)
        squared = np.einsum("ij,ij->i", vectors, vectors)
        bonded = squared <= self._squared[self._types[first], self._types[second]]
        first, second, vectors = first[bonded], second[bonded], vectors[bonded]
        former_first, former_second = first < self._n_formers, second < self._n_formers
        mixed = former_first != former_second
        flipped = former_second[mixed]
        former = np.where(flipped, second[mixed], first[mixed])
        anion = np.where(flipped, first[mixed], second[mixed])
        outward = np.where(flipped[:, None], -vectors[mixed], vectors[mixed])
        both = former_first & former_second
        neither = ~former_first & ~former_second
        return BondGraph(
            former=former,
            anion=anion - self._n_formers,
            vectors=outward,
            former_pairs=np.column_stack([first[both], second[both]]),
            anion_pairs=np.column_stack([first[neither], second[neither]]) - self._n_formers,
            shared=_shared_anions(former, anion, outward, here, box),
        )


def _shared_anions(former: Integers, anion: Integers, outward: Floats, positions: Floats, box: Floats) -> Integers:
    order = np.argsort(anion, kind="stable")
    former, anion, outward = former[order], anion[order], outward[order]
    firsts, seconds = [], []
    for step in range(1, int(np.bincount(anion).max(initial=0))):
        found = np.flatnonzero(anion[step:] == anion[:-step])
        firsts.append(found)
        seconds.append(found + step)
    if not firsts:
        return np.zeros(0, dtype=np.int64)
    a, b = np.concatenate(firsts), np.concatenate(seconds)
    apart = outward[a] - outward[b]
    images = np.rint((apart - positions[former[b]] + positions[former[a]]) @ np.linalg.inv(box)).astype(np.int64)
    links = np.column_stack([former[a], former[b], images])
    backwards = _is_backwards(links)
    links[backwards] = np.column_stack([former[b], former[a], -images])[backwards]
    counts: Integers = np.unique(links, axis=0, return_counts=True)[1].astype(np.int64)
    return counts


def _is_backwards(links: Integers) -> NDArray[np.bool_]:
    """Which links (first, second, image) stand in the other of their two possible directions."""
    first, second, image = links[:, 0], links[:, 1], links[:, 2:]
    leading = np.where(image[:, 0] != 0, image[:, 0], np.where(image[:, 1] != 0, image[:, 1], image[:, 2]))
    backwards: NDArray[np.bool_] = (first > second) | ((first == second) & (leading < 0))
    return backwards
