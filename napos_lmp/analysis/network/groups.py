"""The anion groups of a glass: PS4, P2S7, P2S6, P3S10, rings and chains, each with formula, charge and linkage."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.averages import FrameAverages
from napos_lmp.analysis.base import Estimate, Integers, Result
from napos_lmp.analysis.network.bonds import BondGraph, NetworkAtoms, pieces, unique_rows
from napos_lmp.analysis.network.network import NetworkMeasurement
from napos_lmp.analysis.pairs.cutoffs import Cutoff
from napos_lmp.composition import FORMAL_CHARGES

MOST_FORMERS = 4
"""Finite groups with more formers are counted together, by the way they are linked."""

LARGER = f"more than {MOST_FORMERS} formers"
INFINITE = "infinite"

Key = tuple[str, ...]
Numbers = dict[Key, float]


@dataclass(frozen=True)
class AnionGroup:
    """One kind of group.

    Attributes
    ----------
    formula
        Such as "P2S7"; "more than 4 formers"; "infinite" for one that closes on itself through the box.
    charge
        From the formal charges, less 2 for each bond between two formers and plus 2 for each between two anions; None
        where groups of many formulas are counted together.
    linkage
        "" for a group with one former or none and for two formers that share a corner, else "edge", "face", "chain",
        "ring", "branched" or "cage"; and bonds between two formers or two anions, such as "P-P" or "S-S".
    per_100_formers
        Number of such groups for each 100 formers.
    share_of_formers
        Share of all formers that sit in such groups.
    """

    formula: str
    charge: int | None
    linkage: str
    per_100_formers: Estimate
    share_of_formers: Estimate

    @property
    def name(self) -> str:
        """Such as "P2S7 4-" or "P2S6 2- (edge)"."""
        charged = "" if self.charge is None else f" {abs(self.charge)}{'+' if self.charge > 0 else '-'}"
        charged = " 0" if self.charge == 0 else charged
        return self.formula + charged + (f" ({self.linkage})" if self.linkage else "")


@dataclass(frozen=True)
class AnionGroupsResult(Result):
    """Groups in the order of the share of formers that they hold; `n_frames` frames averaged over."""

    groups: tuple[AnionGroup, ...]
    n_frames: int

    def get(self, name: str) -> AnionGroup | None:
        """The group of a name such as "P2S7 4-", if there is any."""
        return next((group for group in self.groups if group.name == name), None)

    def columns(self) -> Mapping[str, ArrayLike]:
        """One row a kind of group."""
        share = [group.share_of_formers for group in self.groups]
        number = [group.per_100_formers for group in self.groups]
        return {
            "formula": [group.formula for group in self.groups],
            "charge": ["" if group.charge is None else group.charge for group in self.groups],
            "linkage": [group.linkage for group in self.groups],
            "share_of_formers": [estimate.value for estimate in share],
            "share_low": [estimate.low for estimate in share],
            "share_high": [estimate.high for estimate in share],
            "per_100_formers": [estimate.value for estimate in number],
            "per_100_low": [estimate.low for estimate in number],
            "per_100_high": [estimate.high for estimate in number],
            "note": [estimate.note for estimate in number],
        }

    def plot(self, ax: Any, most: int = 12) -> Any:
        """Draw the shares of the `most` frequent groups as bars on a matplotlib axis; returns the axis."""
        shown = [group for group in self.groups if group.share_of_formers.value > 0][:most]
        values = [100 * group.share_of_formers.value for group in shown]
        ax.barh([group.name for group in shown][::-1], values[::-1])
        ax.set(xlabel="formers (%)", xlim=(0, None))
        return ax


class AnionGroups(NetworkMeasurement[Numbers, AnionGroupsResult]):
    """Census of the groups into which bonds join formers and anions.

    Two atoms are in one group when a path of bonds joins them, bonds between two formers or two anions included. A
    group is infinite when such a path leads from an atom to its own periodic image.

    Parameters
    ----------
    source
        A :class:`~napos_lmp.analysis.network.network.Network`, or a Universe or AtomGroup with its options.
    """

    def reader(self, atoms: NetworkAtoms) -> _Reader:
        """Numbers of the groups of one frame."""
        return _Reader(atoms)

    def collector(self, atoms: NetworkAtoms, cutoffs: Mapping[str, Cutoff]) -> _Collector:
        """Means of the numbers."""
        return _Collector()


_LINKAGES = ("", "chain", "branched", "ring", "cage", "edge", "face")


class _Reader:
    """Numbers of the groups of one frame."""

    def __init__(self, atoms: NetworkAtoms) -> None:
        self._atoms = atoms
        self._elements = (*sorted(atoms.formers), *sorted(atoms.anions))
        self._kinds = np.concatenate(
            [
                _kinds(self._elements, atoms.formers, atoms.former_types),
                _kinds(self._elements, atoms.anions, atoms.anion_types),
            ]
        )
        self._charges = np.array([FORMAL_CHARGES.get(element, 0) for element in self._elements])
        n = len(self._elements)
        self._homopolar = [(a, b) for a in range(n) for b in range(a, n)]

    def __call__(self, graph: BondGraph) -> Numbers:
        joined = pieces(graph, self._atoms)
        group, n_groups, width = joined.of_atom, joined.n_pieces, len(self._elements)
        infinite = np.zeros(n_groups, dtype=np.int64)
        infinite[joined.endless] = 1
        counts = np.bincount(group * width + self._kinds, minlength=n_groups * width).reshape(n_groups, width)
        bonds = self._homopolar_bonds(graph, group, n_groups)
        between_formers = [k for k, (a, b) in enumerate(self._homopolar) if b < len(self._atoms.formers)]
        between_anions = [k for k, (a, b) in enumerate(self._homopolar) if a >= len(self._atoms.formers)]
        charge = counts @ self._charges - 2 * bonds[:, between_formers].sum(axis=1)
        charge = charge + 2 * bonds[:, between_anions].sum(axis=1)
        linkage = self._linkage(graph, group, n_groups)
        rows = np.column_stack([counts, charge, infinite, linkage, bonds > 0])
        found, _, numbers = unique_rows(rows)
        sample: Numbers = {}
        for row, number in zip(found.tolist(), numbers.tolist(), strict=True):
            key, formers = self._named(row)
            sample["number", *key] = sample.get(("number", *key), 0.0) + 100 * number / self._atoms.n_formers
            sample["share", *key] = sample.get(("share", *key), 0.0) + number * formers / self._atoms.n_formers
        return sample

    def _homopolar_bonds(self, graph: BondGraph, group: Integers, n_groups: int) -> Integers:
        """Bonds between two formers or two anions in each group, shape (groups, pairs of elements)."""
        pairs = np.concatenate([graph.former_pairs, graph.anion_pairs + self._atoms.n_formers])
        kinds = np.sort(self._kinds[pairs], axis=1)
        bonds = np.zeros((n_groups, len(self._homopolar)), dtype=np.int64)
        for k, (a, b) in enumerate(self._homopolar):
            own = pairs[(kinds[:, 0] == a) & (kinds[:, 1] == b), 0]
            bonds[:, k] = np.bincount(group[own], minlength=n_groups)
        return bonds

    def _linkage(self, graph: BondGraph, group: Integers, n_groups: int) -> Integers:
        """Code of the linkage of each group: index in `_LINKAGES`."""
        n_formers = self._atoms.n_formers
        formers = np.bincount(group[:n_formers], minlength=n_groups)
        pairs = graph.links
        if len(graph.former_pairs):
            bonded = np.column_stack([graph.former_pairs, graph.former_pair_images])
            shared_too = np.column_stack([graph.links, graph.link_images])
            pairs = unique_rows(np.concatenate([shared_too, bonded]))[0][:, :2]
        links = np.bincount(group[pairs[:, 0]], minlength=n_groups)
        degree = np.bincount(pairs.ravel(), minlength=n_formers)
        most = np.zeros(n_groups, dtype=np.int64)
        np.maximum.at(most, group[:n_formers], degree)
        shared = np.zeros(n_groups, dtype=np.int64)
        np.maximum.at(shared, group[graph.links[:, 0]], graph.shared)
        loops = links - formers + 1
        tree = np.where(most > 2, _LINKAGES.index("branched"), _LINKAGES.index("chain"))
        closed = np.where((loops == 1) & (most == 2), _LINKAGES.index("ring"), _LINKAGES.index("cage"))
        code = np.where(formers < 3, 0, np.where(loops > 0, closed, tree))
        code = np.where((formers == 2) & (shared == 2), _LINKAGES.index("edge"), code)
        linkage: Integers = np.where((formers == 2) & (shared > 2), _LINKAGES.index("face"), code)
        return linkage

    def _named(self, row: list[int]) -> tuple[Key, int]:
        """Formula, charge and linkage of a row of counts, and its number of formers."""
        width = len(self._elements)
        counts, (charge, infinite, linkage), bonds = row[:width], row[width : width + 3], row[width + 3 :]
        formers = sum(counts[: len(self._atoms.formers)])
        if infinite:
            return (INFINITE, "", ""), formers
        if formers > MOST_FORMERS:
            return (LARGER, "", _LINKAGES[linkage]), formers
        listed = ((e, n) for e, n in zip(self._elements, counts, strict=True) if n)
        formula = "".join(f"{element}{n if n > 1 else ''}" for element, n in listed)
        bonded = [
            f"{self._elements[a]}-{self._elements[b]}"
            for (a, b), present in zip(self._homopolar, bonds, strict=True)
            if present
        ]
        return (formula, str(charge), ", ".join(filter(None, (_LINKAGES[linkage], *bonded)))), formers


def _kinds(elements: tuple[str, ...], own: tuple[str, ...], types: Integers) -> Integers:
    kinds: Integers = np.array([elements.index(element) for element in own], dtype=np.int64)[types]
    return kinds


class _Collector:
    """Means over frames."""

    def __init__(self) -> None:
        self._averages: FrameAverages[Key] = FrameAverages()

    def add(self, sample: Numbers) -> None:
        """Take one frame."""
        self._averages.add(sample)

    def result(self) -> AnionGroupsResult:
        """Means over the frames added."""
        averages = self._averages
        groups = [self._group(key[1:]) for key in averages.keys if key[0] == "number"]
        groups.sort(key=lambda group: (-group.share_of_formers.value, -group.per_100_formers.value, group.name))
        return AnionGroupsResult(tuple(groups), averages.frames)

    def _group(self, key: Key) -> AnionGroup:
        formula, charge, linkage = key
        return AnionGroup(
            formula=formula,
            charge=int(charge) if charge else None,
            linkage=linkage,
            per_100_formers=self._averages.mean(("number", *key), "per 100 formers", (0.0, math.inf)),
            share_of_formers=self._averages.mean(("share", *key), "fraction", (0.0, 1.0)),
        )
