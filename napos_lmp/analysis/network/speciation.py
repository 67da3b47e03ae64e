"""Speciation of a glass network: P^n units through S and O, anion roles, shells, homopolar bonds and shared anions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.averages import FrameAverages
from napos_lmp.analysis.base import Estimate, Integers, Result
from napos_lmp.analysis.network.bonds import BondGraph, NetworkAtoms, unique_rows
from napos_lmp.analysis.network.network import FORMERS, NetworkMeasurement
from napos_lmp.analysis.pairs.cutoffs import Cutoff

ROLES = ("isolated", "terminal", "bridging", "tricluster")
SHARING = ("corner", "edge", "face")
DEVIATIONS = ("homopolar", "coordination", "isolated", "tricluster")
_FRACTION = "fraction"

Key = tuple[str | int, ...]
Numbers = dict[Key, float]


@dataclass(frozen=True)
class NetworkResult(Result):
    """Means over frames, each with the interval within the run.

    Attributes
    ----------
    n_frames
        Frames averaged over.
    counts
        Atoms of each former and anion.
    cutoffs
        Longest bond of each pair of elements and where it is from.
    coordination
        Fraction of each former with 0, 1, 2, ... anions.
    mean_coordination
        Mean number of anions around each former.
    four_coordinate
        Fraction of each former with exactly four anions.
    units
        Fraction of each former with n bridging anions: P^n, or Q^n for the others.
    units_by_anion
        The same by the elements of the bridges: fraction of each former with so many of each ("O", "OS", "S2"; "none").
    shells
        Fraction of each former by anions in its shell ("PO2S2"; all n together).
    shells_by_unit
        The same, split by n.
    anions
        Fraction of each anion that is isolated (0 formers), terminal (1), bridging (2) or tricluster (3 or more).
    bridge_shares
        Fraction of all bridging and tricluster anions that each element holds.
    homopolar
        Bonds between two formers or two anions, such as "P-P" and "S-S", for each 100 formers.
    sharing
        Pairs of formers that share one anion (corner), two (edge), three or more (face), for each 100 formers.
    mean_bridging
        Mean n over all formers.
    expected_mean_bridging
        What composition alone gives: 2 (target coordination) - 2 (anions / formers), with four anions around P, Si and
        Ge and three around B, each anion bonded to one or two formers, no homopolar bonds. For neutral P glasses it
        is 3 - R. Below 0 there are more anions than the formers can hold.
    deviations
        What leads from the expected to the found mean n, an exact sum: `homopolar` (bonds between formers in place of
        anions), `coordination` (other shells larger or smaller than the target), `isolated` and `tricluster` anions.
    bookkeeping_residual
        Largest difference in any frame between the bonds counted from the formers' side and from the anions', and
        between the sums of bridges from both sides; 0 unless the program is wrong.
    stoichiometry_residual
        Largest difference in any frame between mean n and the expected value plus all deviations; 0 to rounding.
    """

    n_frames: int
    counts: dict[str, int]
    cutoffs: dict[str, Cutoff]
    coordination: dict[str, dict[int, Estimate]]
    mean_coordination: dict[str, Estimate]
    four_coordinate: dict[str, Estimate]
    units: dict[str, dict[int, Estimate]]
    units_by_anion: dict[str, dict[str, Estimate]]
    shells: dict[str, dict[str, Estimate]]
    shells_by_unit: dict[str, dict[str, dict[int, Estimate]]]
    anions: dict[str, dict[str, Estimate]]
    bridge_shares: dict[str, Estimate]
    homopolar: dict[str, Estimate]
    sharing: dict[str, Estimate]
    mean_bridging: Estimate
    expected_mean_bridging: float
    deviations: dict[str, Estimate]
    bookkeeping_residual: int
    stoichiometry_residual: float

    def estimates(self) -> Iterator[tuple[str, str, str, Estimate]]:
        """Every estimate as (quantity, element or pair, label, estimate)."""
        for former, numbers in self.units.items():
            yield from (("unit", former, f"n={n}", number) for n, number in numbers.items())
        for former, split in self.units_by_anion.items():
            yield from (("unit_by_anion", former, label, number) for label, number in split.items())
        for former, numbers in self.coordination.items():
            yield from (("coordination", former, f"{c} anions", number) for c, number in numbers.items())
        yield from (("mean_coordination", former, "", number) for former, number in self.mean_coordination.items())
        for former, shells in self.shells.items():
            yield from (("shell", former, label, number) for label, number in shells.items())
        for former, by_unit in self.shells_by_unit.items():
            for label, numbers in by_unit.items():
                yield from (("shell_by_unit", former, f"{label} n={n}", number) for n, number in numbers.items())
        for anion, roles in self.anions.items():
            yield from (("anion", anion, role, number) for role, number in roles.items())
        yield from (("bridge_share", anion, "", number) for anion, number in self.bridge_shares.items())
        yield from (("homopolar", pair, "", number) for pair, number in self.homopolar.items())
        yield from (("sharing", "", kind, number) for kind, number in self.sharing.items())
        yield "mean_bridging", "", "", self.mean_bridging
        yield from (("deviation", "", name, number) for name, number in self.deviations.items())

    def columns(self) -> Mapping[str, ArrayLike]:
        """One row an estimate."""
        rows = list(self.estimates())
        return {
            "quantity": [row[0] for row in rows],
            "species": [row[1] for row in rows],
            "label": [row[2] for row in rows],
            "value": [row[3].value for row in rows],
            "low": [row[3].low for row in rows],
            "high": [row[3].high for row in rows],
            "unit": [row[3].unit for row in rows],
            "note": [row[3].note for row in rows],
        }

    def plot(self, ax: Any) -> Any:
        """Draw the P^n (Q^n) distribution of each former as bars on a matplotlib axis; returns the axis."""
        width = 0.8 / len(self.units)
        for k, (former, numbers) in enumerate(self.units.items()):
            values = np.array([number.value for number in numbers.values()]) * 100
            errors = [[number.value - number.low, number.high - number.value] for number in numbers.values()]
            places = np.array(list(numbers)) + (k - (len(self.units) - 1) / 2) * width
            ax.bar(places, values, width, yerr=np.nan_to_num(np.array(errors).T) * 100, capsize=3, label=former)
        ax.set(xlabel="bridging anions n", ylabel="formers (%)", ylim=(0, None))
        ax.set_xticks(sorted({n for numbers in self.units.values() for n in numbers}))
        ax.legend(frameon=False)
        return ax


class NetworkSpeciation(NetworkMeasurement[Numbers, NetworkResult]):
    """P^n units, anion roles and bookkeeping.

    n of a former is the number of its anions that are bonded to at least two formers (van Wazer's and NMR's definition,
    with S and O alike).

    Parameters
    ----------
    source
        A :class:`~napos_lmp.analysis.network.network.Network`, or a Universe or AtomGroup with its options.
    """

    def reader(self, atoms: NetworkAtoms) -> _Reader:
        """Counts of one frame."""
        return _Reader(atoms)

    def collector(self, atoms: NetworkAtoms, cutoffs: Mapping[str, Cutoff]) -> _Census:
        """Means of the counts."""
        counts = {element: self.network.atoms.counts[element] for element in atoms.formers + atoms.anions}
        return _Census(atoms, dict(cutoffs), counts)


class _Reader:
    """Counts of one frame."""

    def __init__(self, atoms: NetworkAtoms) -> None:
        self._atoms = atoms
        self._targets = np.array([FORMERS.get(former, 4) for former in atoms.formers])[atoms.former_types]

    def __call__(self, graph: BondGraph) -> Numbers:
        around_former = np.bincount(graph.former, minlength=self._atoms.n_formers)
        around_anion = np.bincount(graph.anion, minlength=self._atoms.n_anions)
        bridging = around_anion[graph.anion] >= 2
        bridges = np.bincount(graph.former[bridging], minlength=self._atoms.n_formers)
        numbers: Numbers = {}
        self._count_formers(numbers, graph, around_former, bridges)
        self._count_bridges(numbers, self._by_anion(graph, bridging))
        self._count_anions(numbers, around_anion)
        self._count_pairs(numbers, graph)
        self._count_deviations(numbers, graph, around_former, around_anion, bridges)
        bonds = abs(int(around_former.sum()) - int(around_anion.sum()))
        ends = abs(int(bridges.sum()) - int(around_anion[around_anion >= 2].sum()))
        numbers["bookkeeping",] = max(bonds, ends)
        return numbers

    def _count_formers(self, numbers: Numbers, graph: BondGraph, around: Integers, bridges: Integers) -> None:
        shell = self._by_anion(graph, slice(None))
        for k, former in enumerate(self._atoms.formers):
            chosen = self._atoms.former_types == k
            share = 1 / int(chosen.sum())
            numbers["mean_coordination", former] = float(around[chosen].mean())
            for c, count in enumerate(np.bincount(around[chosen]).tolist()):
                numbers["coordination", former, c] = count * share
            for n, count in enumerate(np.bincount(bridges[chosen]).tolist()):
                numbers["unit", former, n] = count * share
            rows, _, counts = unique_rows(np.column_stack([shell, bridges])[chosen])
            for row, count in zip(rows.tolist(), counts.tolist(), strict=True):
                label = _shell_label(former, dict(zip(self._atoms.anions, row, strict=False)))
                numbers["shell_by_unit", former, label, row[-1]] = count * share
                numbers["shell", former, label] = numbers.get(("shell", former, label), 0.0) + count * share

    def _by_anion(self, graph: BondGraph, chosen: Any) -> Integers:
        """Chosen bonds of each former by the element of the anion, shape (formers, anions)."""
        kinds = len(self._atoms.anions)
        place = graph.former[chosen] * kinds + self._atoms.anion_types[graph.anion[chosen]]
        counts: Integers = np.bincount(place, minlength=self._atoms.n_formers * kinds).reshape(-1, kinds)
        return counts

    def _count_bridges(self, numbers: Numbers, bridges: Integers) -> None:
        for k, former in enumerate(self._atoms.formers):
            own = bridges[self._atoms.former_types == k]
            rows, _, counts = unique_rows(own)
            for row, count in zip(rows.tolist(), counts.tolist(), strict=True):
                label = _shell_label("", dict(zip(self._atoms.anions, row, strict=True))) or "none"
                numbers["unit_by_anion", former, label] = count / len(own)

    def _count_anions(self, numbers: Numbers, around: Integers) -> None:
        roles = np.minimum(around, len(ROLES) - 1)
        numbers["bridging",] = int(np.sum(around >= 2))
        for k, anion in enumerate(self._atoms.anions):
            chosen = self._atoms.anion_types == k
            found = np.bincount(roles[chosen], minlength=len(ROLES))
            for role, count in zip(ROLES, found.tolist(), strict=True):
                numbers["anion", anion, role] = count / int(chosen.sum())
            numbers["bridging", anion] = float(found[2:].sum())

    def _count_pairs(self, numbers: Numbers, graph: BondGraph) -> None:
        each = 100 / self._atoms.n_formers
        for pairs, types, names in (
            (graph.former_pairs, self._atoms.former_types, self._atoms.formers),
            (graph.anion_pairs, self._atoms.anion_types, self._atoms.anions),
        ):
            kinds = np.sort(types[pairs], axis=1)
            for a in range(len(names)):
                for b in range(a, len(names)):
                    found = int(np.sum((kinds[:, 0] == a) & (kinds[:, 1] == b)))
                    numbers["homopolar", f"{names[a]}-{names[b]}"] = found * each
        shared = np.bincount(np.minimum(graph.shared, 3), minlength=4)[1:]
        for kind, count in zip(SHARING, shared.tolist(), strict=True):
            numbers["sharing", kind] = count * each

    def _count_deviations(
        self, numbers: Numbers, graph: BondGraph, around_former: Integers, around_anion: Integers, bridges: Integers
    ) -> None:
        each = 1 / len(around_former)
        homopolar = np.bincount(graph.former_pairs.ravel(), minlength=len(around_former))
        numbers["mean_bridging",] = float(bridges.mean())
        numbers["deviation", "homopolar"] = -2 * each * int(homopolar.sum())
        numbers["deviation", "coordination"] = 2 * each * int((around_former + homopolar - self._targets).sum())
        numbers["deviation", "isolated"] = 2 * each * int(np.sum(around_anion == 0))
        numbers["deviation", "tricluster"] = -each * int(np.maximum(around_anion - 2, 0).sum())
        found = sum(numbers["deviation", name] for name in DEVIATIONS)
        numbers["unexplained",] = abs(numbers["mean_bridging",] - expected_mean_bridging(self._atoms) - found)


class _Census:
    """Means over frames."""

    def __init__(self, atoms: NetworkAtoms, cutoffs: dict[str, Cutoff], counts: dict[str, int]) -> None:
        self._atoms, self._cutoffs, self._counts = atoms, cutoffs, counts
        self._averages: FrameAverages[Key] = FrameAverages()
        self._bookkeeping = 0
        self._unexplained = 0.0

    def add(self, sample: Numbers) -> None:
        """Take the counts of one frame."""
        self._averages.add(sample)
        self._bookkeeping = max(self._bookkeeping, int(sample["bookkeeping",]))
        self._unexplained = max(self._unexplained, sample["unexplained",])

    def result(self) -> NetworkResult:
        """Means over the frames added."""
        found = self._averages.keys

        def mean(*key: str | int, unit: str = _FRACTION, lowest: float = 0.0) -> Estimate:
            return self._averages.mean(key, unit, (lowest, 1.0 if unit == _FRACTION else math.inf))

        def labels(*start: str | int) -> list[str | int]:
            ends = dict.fromkeys(key[len(start)] for key in found if key[: len(start)] == start)
            return sorted(ends, key=lambda end: (isinstance(end, str), end))

        def numbered(*start: str | int, most: int) -> dict[int, Estimate]:
            last = max([most, *(int(n) for n in labels(*start))])
            return {n: mean(*start, n) for n in range(last + 1)}

        def named(*start: str) -> dict[str, Estimate]:
            return {str(label): mean(*start, label) for label in labels(*start)}

        formers, anions = self._atoms.formers, self._atoms.anions
        per_100 = "per 100 formers"
        return NetworkResult(
            n_frames=self._averages.frames,
            counts=self._counts,
            cutoffs=self._cutoffs,
            coordination={f: numbered("coordination", f, most=FORMERS.get(f, 4)) for f in formers},
            mean_coordination={f: mean("mean_coordination", f, unit="anions") for f in formers},
            four_coordinate={f: mean("coordination", f, 4) for f in formers},
            units={f: numbered("unit", f, most=FORMERS.get(f, 4)) for f in formers},
            units_by_anion={
                f: {str(s): mean("unit_by_anion", f, s) for s in labels("unit_by_anion", f)} for f in formers
            },
            shells={f: named("shell", f) for f in formers},
            shells_by_unit={
                f: {
                    str(s): {int(n): mean("shell_by_unit", f, s, n) for n in labels("shell_by_unit", f, s)}
                    for s in labels("shell_by_unit", f)
                }
                for f in formers
            },
            anions={x: {role: mean("anion", x, role) for role in ROLES} for x in anions},
            bridge_shares={x: self._bridge_share(x) for x in anions},
            homopolar={str(p): mean("homopolar", p, unit=per_100) for p in labels("homopolar")},
            sharing={kind: mean("sharing", kind, unit=per_100) for kind in SHARING},
            mean_bridging=mean("mean_bridging", unit="anions"),
            expected_mean_bridging=expected_mean_bridging(self._atoms),
            deviations={name: mean("deviation", name, unit="anions", lowest=-math.inf) for name in DEVIATIONS},
            bookkeeping_residual=self._bookkeeping,
            stoichiometry_residual=self._unexplained,
        )

    def _bridge_share(self, anion: str) -> Estimate:
        none = "no anion bridges in any frame"
        return self._averages.ratio(("bridging", anion), ("bridging",), _FRACTION, limits=(0.0, 1.0), none=none)


def expected_mean_bridging(atoms: NetworkAtoms) -> float:
    """Mean n that composition alone gives, as explained at :class:`NetworkResult`."""
    targets = np.array([FORMERS.get(former, 4) for former in atoms.formers])[atoms.former_types]
    return 2 * float(targets.mean()) - 2 * atoms.n_anions / atoms.n_formers


def _shell_label(former: str, shell: dict[str, int]) -> str:
    """Such as PO2S2, anions in alphabetical order."""
    named = ((anion, shell[anion]) for anion in sorted(shell) if shell[anion])
    return former + "".join(f"{anion}{count if count > 1 else ''}" for anion, count in named)
