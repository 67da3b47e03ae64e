"""How units are linked: bridges against random mixing, preference for bridging sites, homopolar chains."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.averages import FrameAverages
from napos_lmp.analysis.base import Estimate, Integers, Result
from napos_lmp.analysis.network.bonds import BondGraph, NetworkAtoms
from napos_lmp.analysis.network.network import NetworkMeasurement
from napos_lmp.analysis.pairs.cutoffs import Cutoff

Key = tuple[str | int, ...]
Numbers = dict[Key, float]

_Z95 = 1.959963984540054
_PER_100 = "per 100 formers"


@dataclass(frozen=True)
class LinkagesResult(Result):
    """Means over frames.

    Attributes
    ----------
    shares
        Share of all bridges by their anion and ends, such as "P-S-P" or "P-O-Si". An anion with three formers makes
        three bridges.
    random_shares
        What random mixing gives: the ends of all bridges, and their anions, drawn independently.
    mixing
        Found over random for each kind: 1 where formers and anions mix at random.
    bridges_per_former
        Number of bridges for each former.
    preference
        Odds ratio for bridging against terminal sites for each pair of anions, such as "O over S":
        (O bridging / O terminal) / (S bridging / S terminal); 1 where sites are shared at random. Its interval is that
        of the number of sites in one frame (Woolf's, of the logarithm), as frames of a glass repeat the same sites.
    chains
        Homopolar chains of each element by their number of atoms, for each 100 formers: "S" 2 is a disulfide, "S" 3 a
        trisulfide, "P" 2 a P-P pair.
    n_frames
        Frames averaged over.
    """

    shares: dict[str, Estimate]
    random_shares: dict[str, float]
    mixing: dict[str, Estimate]
    bridges_per_former: Estimate
    preference: dict[str, Estimate]
    chains: dict[str, dict[int, Estimate]]
    n_frames: int

    def columns(self) -> Mapping[str, ArrayLike]:
        """One row a number."""
        rows = [("share of bridges", kind, number) for kind, number in self.shares.items()]
        rows += [
            ("share at random", kind, Estimate(value, math.nan, math.nan, "fraction"))
            for kind, value in self.random_shares.items()
        ]
        rows += [("found over random", kind, number) for kind, number in self.mixing.items()]
        rows += [("odds ratio of bridging", pair, number) for pair, number in self.preference.items()]
        rows += [
            ("homopolar chain", f"{element}{length}", number)
            for element, numbers in self.chains.items()
            for length, number in numbers.items()
        ]
        rows.append(("bridges per former", "", self.bridges_per_former))
        return {
            "quantity": [quantity for quantity, _, _ in rows],
            "kind": [kind for _, kind, _ in rows],
            "value": [number.value for _, _, number in rows],
            "low": [number.low for _, _, number in rows],
            "high": [number.high for _, _, number in rows],
            "unit": [number.unit for _, _, number in rows],
            "note": [number.note for _, _, number in rows],
        }

    def plot(self, ax: Any) -> Any:
        """Draw the shares of the bridges as bars, random mixing as ticks, on a matplotlib axis; returns the axis."""
        names = list(self.shares)
        found = np.array([[e.value, e.value - e.low, e.high - e.value] for e in self.shares.values()]).reshape(-1, 3)
        ax.bar(names, 100 * found[:, 0], 0.7, yerr=np.nan_to_num(100 * found[:, 1:].T), capsize=3, label="found")
        ax.plot(names, [100 * self.random_shares[name] for name in names], "_k", markersize=18, label="random mixing")
        ax.set(ylabel="bridges (%)", ylim=(0, None))
        ax.legend(frameon=False)
        return ax


class Linkages(NetworkMeasurement[Numbers, LinkagesResult]):
    """Bridges by anion and ends, their mixing, the preference of anions for them, and homopolar chains.

    Random mixing: of all bridge ends a share f_A sits on formers A, and of all bridges a share s_X holds the anion X;
    then a share s_X f_A f_B (2 - delta_AB) of the bridges is A-X-B.

    Parameters
    ----------
    source
        A :class:`~napos_lmp.analysis.network.network.Network`, or a Universe or AtomGroup with its options.
    """

    def reader(self, atoms: NetworkAtoms) -> _Reader:
        """Counts of one frame."""
        return _Reader(atoms)

    def collector(self, atoms: NetworkAtoms, cutoffs: Mapping[str, Cutoff]) -> _Collector:
        """Means of the counts."""
        return _Collector(atoms)


class _Reader:
    """Counts of one frame."""

    def __init__(self, atoms: NetworkAtoms) -> None:
        self._atoms = atoms
        self._former_pairs = list(combinations_with_replacement(range(len(atoms.formers)), 2))

    def __call__(self, graph: BondGraph) -> Numbers:
        numbers: Numbers = {}
        self._count_bridges(numbers, graph)
        roles = np.bincount(graph.anion, minlength=self._atoms.n_anions)
        for k, anion in enumerate(self._atoms.anions):
            around = roles[self._atoms.anion_types == k]
            numbers["bridging", anion] = int(np.sum(around >= 2))
            numbers["terminal", anion] = int(np.sum(around == 1))
        for pairs, types, names in (
            (graph.former_pairs, self._atoms.former_types, self._atoms.formers),
            (graph.anion_pairs, self._atoms.anion_types, self._atoms.anions),
        ):
            for k, element in enumerate(names):
                for length, count in _chains(pairs, types == k):
                    numbers["chain", element, length] = count * 100 / self._atoms.n_formers
        return numbers

    def _count_bridges(self, numbers: Numbers, graph: BondGraph) -> None:
        """Bridges by kind, and the number that random mixing of this frame's ends and anions would give."""
        atoms = self._atoms
        total = len(graph.bridges)
        numbers["bridges",] = total
        if total == 0:
            return
        ends = np.sort(atoms.former_types[graph.bridges[:, [0, 2]]], axis=1)
        anion = atoms.anion_types[graph.bridges[:, 1]]
        on_former = np.bincount(ends.ravel(), minlength=len(atoms.formers)) / (2 * total)
        on_anion = np.bincount(anion, minlength=len(atoms.anions)) / total
        for x, name in enumerate(atoms.anions):
            for a, b in self._former_pairs:
                kind = f"{atoms.formers[a]}-{name}-{atoms.formers[b]}"
                numbers["bridge", kind] = int(np.sum((anion == x) & (ends[:, 0] == a) & (ends[:, 1] == b)))
                numbers["random", kind] = total * on_anion[x] * on_former[a] * on_former[b] * (1 if a == b else 2)


def _chains(pairs: Integers, chosen: Any) -> list[tuple[int, int]]:
    """(atoms in a chain, number of such chains) among bonds of which both atoms are chosen."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    own = pairs[chosen[pairs].all(axis=1)]
    if len(own) == 0:
        return []
    members, numbered = np.unique(own, return_inverse=True)
    ends = numbered.reshape(-1, 2)
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(members), len(members)))
    sizes = np.bincount(connected_components(graph, directed=False)[1])
    lengths, counts = np.unique(sizes, return_counts=True)
    return list(zip(lengths.tolist(), counts.tolist(), strict=True))


class _Collector:
    """Means over frames."""

    def __init__(self, atoms: NetworkAtoms) -> None:
        self._atoms = atoms
        self._averages: FrameAverages[Key] = FrameAverages()

    def add(self, sample: Numbers) -> None:
        """Take one frame."""
        self._averages.add(sample)

    def result(self) -> LinkagesResult:
        """Means over the frames added."""
        averages, atoms = self._averages, self._atoms
        kinds = [str(key[1]) for key in averages.keys if key[0] == "random" and averages.total(key) > 0]
        total = averages.total(("bridges",))
        none = "no bridge in any frame"
        return LinkagesResult(
            shares={
                kind: averages.ratio(("bridge", kind), ("bridges",), "fraction", limits=(0.0, 1.0), none=none)
                for kind in kinds
            },
            random_shares={kind: averages.total(("random", kind)) / total for kind in kinds},
            mixing={
                kind: averages.ratio(("bridge", kind), ("random", kind), "", limits=(0.0, math.inf), none=none)
                for kind in kinds
            },
            bridges_per_former=averages.mean(("bridges",), "bridges").scaled(1 / atoms.n_formers, "bridges"),
            preference={
                f"{first} over {second}": self._odds_ratio(first, second)
                for k, first in enumerate(atoms.anions)
                for second in atoms.anions[k + 1 :]
            },
            chains=self._chains(),
            n_frames=averages.frames,
        )

    def _odds_ratio(self, first: str, second: str) -> Estimate:
        numbers = [
            self._averages.total((role, anion)) / self._averages.frames
            for anion in (first, second)
            for role in ("bridging", "terminal")
        ]
        return odds_ratio(*numbers)

    def _chains(self) -> dict[str, dict[int, Estimate]]:
        found: dict[str, dict[int, Estimate]] = {}
        for key in sorted(key for key in self._averages.keys if key[0] == "chain"):
            number = self._averages.mean(key, _PER_100, (0.0, math.inf))
            found.setdefault(str(key[1]), {})[int(key[2])] = number
        return found


def odds_ratio(a: float, b: float, c: float, d: float) -> Estimate:
    """Odds ratio (a/b)/(c/d) of a two-by-two table of counts with Woolf's 95 % interval.

    exp(ln OR +- 1.96 sqrt(1/a + 1/b + 1/c + 1/d)) (Woolf, Ann. Hum. Genet. 19, 251 (1955)). Where a count is below one
    half, one half is added to all four (Haldane, Ann. Hum. Genet. 20, 309 (1956)), and the note says so.
    """
    if min(a + b, c + d, a + c, b + d) == 0:
        note = "one of the anions, or bridging or terminal sites, do not occur"
        return Estimate(math.nan, math.nan, math.nan, "", note=note)
    note = ""
    if min(a, b, c, d) < 0.5:
        a, b, c, d = (count + 0.5 for count in (a, b, c, d))
        note = "one half added to each count, as one is nearly zero"
    log = math.log(a) - math.log(b) - math.log(c) + math.log(d)
    half = _Z95 * math.sqrt(1 / a + 1 / b + 1 / c + 1 / d)
    return Estimate(math.exp(log), math.exp(log - half), math.exp(log + half), "", note=note)
