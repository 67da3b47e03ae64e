"""Speciation of a glass network: P^n units through S and O, anion roles, shells, homopolar bonds and shared anions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.averages import mean_estimate
from napos_lmp.analysis.base import AtomSet, Estimate, Integers, Result, checked_atoms, checked_box, checked_frames
from napos_lmp.analysis.bonds import BondFinder, BondGraph
from napos_lmp.analysis.cutoffs import TABLE, Cutoff, table_cutoff
from napos_lmp.analysis.neighbours import box_heights
from napos_lmp.analysis.rdf import PartialRDF, PartialRDFResult
from napos_lmp.errors import AnalysisError

FORMERS = {"P": 4, "Si": 4, "Ge": 4, "B": 3}
"""Network formers and the number of anions around each that the expected mean n counts with."""
ANIONS = ("O", "S")
ROLES = ("isolated", "terminal", "bridging", "tricluster")
SHARING = ("corner", "edge", "face")
_LONGEST_SHELL = 5.0
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
        for former, numbers in self.coordination.items():
            yield from (("coordination", former, f"{c} anions", number) for c, number in numbers.items())
        yield from (("mean_coordination", former, "", number) for former, number in self.mean_coordination.items())
        for former, shells in self.shells.items():
            yield from (("shell", former, label, number) for label, number in shells.items())
        for former, split in self.shells_by_unit.items():
            for label, numbers in split.items():
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


class NetworkSpeciation:
    """P^n units, anion roles and bookkeeping from one bond graph a frame.

    Two atoms are bonded when they are no farther apart than the cutoff of their elements. n of a former is the number
    of its anions that are bonded to at least two formers (van Wazer's and NMR's definition, with S and O alike).

    Parameters
    ----------
    source
        MDAnalysis Universe or AtomGroup with elements.
    formers, anions
        Elements to take as such; by default those of P, Si, Ge, B and of O, S that are there.
    cutoffs
        Longest bonds in A by pair, such as ``{"P-S": 2.6}``, for any pair of formers and anions. The others are the
        first minimum of g(r) on the same frames where g(r) peaks within the tabulated bond length, else from the table.
    rdf
        g(r) of the same frames, if measured already; else it is measured.

    Raises
    ------
    AnalysisError
        If elements or the box are missing, there is no former or no anion, or a cutoff is out of range.
    """

    def __init__(
        self,
        source: Any,
        *,
        formers: Sequence[str] | None = None,
        anions: Sequence[str] | None = None,
        cutoffs: Mapping[str, float] | None = None,
        rdf: PartialRDFResult | None = None,
    ) -> None:
        self._atoms = checked_atoms(source)
        self._formers = _chosen(self._atoms, "network former", formers, tuple(FORMERS))
        self._anions = _chosen(self._atoms, "anion", anions, ANIONS)
        both = set(self._formers) & set(self._anions)
        if both:
            raise AnalysisError(f"element {both.pop()!r} is named as former and as anion; it can only be one of them")
        self._given = _checked_cutoffs(cutoffs or {}, self._formers + self._anions)
        self._rdf = rdf

    def run(self, start: int | None = None, stop: int | None = None, step: int | None = None) -> NetworkResult:
        """Count the frames `start:stop:step`.

        Raises
        ------
        AnalysisError
            If there are no such frames, a frame has no box, or a cutoff is longer than half the box.
        """
        trajectory = self._atoms.atoms.universe.trajectory
        frames = checked_frames(trajectory, start, stop, step)
        cutoffs = self._cutoffs(start, stop, step)
        lengths = {frozenset(name.split("-")): c.value for name, c in cutoffs.items() if not math.isnan(c.value)}
        finder = BondFinder(self._atoms, self._formers, self._anions, lengths)
        census = _Census(finder, self._formers, self._anions)
        for frame in frames:
            box = checked_box(trajectory[frame])
            half = float(box_heights(box).min()) / 2
            if finder.longest > half:
                raise AnalysisError(
                    f"cutoff of {finder.longest:g} A is longer than half the smallest height of the box, {half:.2f} A"
                )
            census.add(finder.find(self._atoms.atoms.positions.astype(np.float64), box))
        counts = {element: self._atoms.counts[element] for element in self._formers + self._anions}
        return census.result(counts, cutoffs)

    def _cutoffs(self, start: int | None, stop: int | None, step: int | None) -> dict[str, Cutoff]:
        pairs = [(f, x) for f in self._formers for x in self._anions]
        pairs += [(f, g) for k, f in enumerate(self._formers) for g in self._formers[k:]]
        pairs += [(x, y) for k, x in enumerate(self._anions) for y in self._anions[k:]]
        cutoffs = {}
        for first, second in pairs:
            given = self._given.get(frozenset((first, second)))
            if given is not None:
                cutoffs[f"{first}-{second}"] = Cutoff(given, "given")
                continue
            if self._rdf is None:
                self._rdf = self._measured_rdf(start, stop, step)
            cutoffs[f"{first}-{second}"] = _bond_length(first, second, self._rdf)
        for former, anion in pairs[: len(self._formers) * len(self._anions)]:
            cutoff = cutoffs[f"{former}-{anion}"]
            if cutoff.source == "none":
                raise AnalysisError(f"no cutoff for {former}-{anion} bonds is known ({cutoff.note}); give it in A")
        return cutoffs

    def _measured_rdf(self, start: int | None, stop: int | None, step: int | None) -> PartialRDFResult:
        trajectory = self._atoms.atoms.universe.trajectory
        frames = checked_frames(trajectory, start, stop, step)
        half = min(float(box_heights(checked_box(trajectory[frame])).min()) for frame in frames) / 2
        return PartialRDF(self._atoms.atoms, r_max=min(_LONGEST_SHELL, 0.999 * half)).run(start, stop, step)


class _Census:
    """Numbers of each frame, and their means."""

    def __init__(self, finder: BondFinder, formers: tuple[str, ...], anions: tuple[str, ...]) -> None:
        self._former_types, self._anion_types = finder.former_types, finder.anion_types
        self._formers, self._anions = formers, anions
        self._frames: list[Numbers] = []
        self._bookkeeping = 0
        targets = np.array([FORMERS.get(former, 4) for former in formers])[self._former_types]
        self._targets = targets
        self._expected = 2 * float(targets.mean()) - 2 * len(self._anion_types) / len(targets)

    def add(self, graph: BondGraph) -> None:
        """Count one frame."""
        n_formers, n_anions = len(self._former_types), len(self._anion_types)
        around_former = np.bincount(graph.former, minlength=n_formers)
        around_anion = np.bincount(graph.anion, minlength=n_anions)
        bridges = np.bincount(graph.former[around_anion[graph.anion] >= 2], minlength=n_formers)
        numbers: Numbers = {}
        self._count_formers(numbers, graph, around_former, bridges)
        self._count_anions(numbers, around_anion)
        self._count_pairs(numbers, graph)
        self._count_deviations(numbers, graph, around_former, around_anion, bridges)
        self._frames.append(numbers)
        bonds = abs(int(around_former.sum()) - int(around_anion.sum()))
        ends = abs(int(bridges.sum()) - int(around_anion[around_anion >= 2].sum()))
        self._bookkeeping = max(self._bookkeeping, bonds, ends)

    def _count_formers(self, numbers: Numbers, graph: BondGraph, around: Integers, bridges: Integers) -> None:
        kinds = len(self._anions)
        shell = np.bincount(
            graph.former * kinds + self._anion_types[graph.anion], minlength=len(around) * kinds
        ).reshape(-1, kinds)
        for k, former in enumerate(self._formers):
            chosen = self._former_types == k
            share = 1 / int(chosen.sum())
            numbers["mean_coordination", former] = float(around[chosen].mean())
            for c, count in enumerate(np.bincount(around[chosen]).tolist()):
                numbers["coordination", former, c] = count * share
            for n, count in enumerate(np.bincount(bridges[chosen]).tolist()):
                numbers["unit", former, n] = count * share
            rows, counts = np.unique(np.column_stack([shell, bridges])[chosen], axis=0, return_counts=True)
            for row, count in zip(rows.tolist(), counts.tolist(), strict=True):
                label = _shell_label(former, dict(zip(self._anions, row, strict=False)))
                numbers["shell_by_unit", former, label, row[-1]] = count * share
                numbers["shell", former, label] = numbers.get(("shell", former, label), 0.0) + count * share

    def _count_anions(self, numbers: Numbers, around: Integers) -> None:
        roles = np.minimum(around, len(ROLES) - 1)
        n_bridging = int(np.sum(around >= 2))
        for k, anion in enumerate(self._anions):
            chosen = self._anion_types == k
            found = np.bincount(roles[chosen], minlength=len(ROLES))
            for role, count in zip(ROLES, found.tolist(), strict=True):
                numbers["anion", anion, role] = count / int(chosen.sum())
            numbers["bridge_share", anion] = float(found[2:].sum()) / n_bridging if n_bridging else math.nan

    def _count_pairs(self, numbers: Numbers, graph: BondGraph) -> None:
        each = 100 / len(self._former_types)
        for pairs, types, names in (
            (graph.former_pairs, self._former_types, self._formers),
            (graph.anion_pairs, self._anion_types, self._anions),
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

    def result(self, counts: dict[str, int], cutoffs: dict[str, Cutoff]) -> NetworkResult:
        """Means over the frames added."""
        found = sorted({key for frame in self._frames for key in frame}, key=str)
        series = {key: np.array([frame.get(key, 0.0) for frame in self._frames]) for key in found}

        def mean(*key: str | int, unit: str = _FRACTION, lowest: float = 0.0) -> Estimate:
            values = series.get(key, np.zeros(len(self._frames)))
            known = values[~np.isnan(values)]
            if len(known) == 0:
                return Estimate(math.nan, math.nan, math.nan, unit, note="no anion bridges in any frame")
            return mean_estimate(known, unit, limits=(lowest, 1.0 if unit == _FRACTION else math.inf))

        def labels(*start: str | int) -> list[str | int]:
            ends = dict.fromkeys(key[len(start)] for key in found if key[: len(start)] == start)
            return sorted(ends, key=lambda end: (isinstance(end, str), end))

        def numbered(*start: str | int, most: int) -> dict[int, Estimate]:
            last = max([most, *(int(n) for n in labels(*start))])
            return {n: mean(*start, n) for n in range(last + 1)}

        deviations = ("homopolar", "coordination", "isolated", "tricluster")
        explained = self._expected + sum(series["deviation", name] for name in deviations)
        per_100 = "per 100 formers"
        return NetworkResult(
            n_frames=len(self._frames),
            counts=counts,
            cutoffs=cutoffs,
            coordination={f: numbered("coordination", f, most=FORMERS.get(f, 4)) for f in self._formers},
            mean_coordination={f: mean("mean_coordination", f, unit="anions") for f in self._formers},
            four_coordinate={f: mean("coordination", f, 4) for f in self._formers},
            units={f: numbered("unit", f, most=FORMERS.get(f, 4)) for f in self._formers},
            shells={f: {str(s): mean("shell", f, s) for s in labels("shell", f)} for f in self._formers},
            shells_by_unit={
                f: {
                    str(s): {int(n): mean("shell_by_unit", f, s, n) for n in labels("shell_by_unit", f, s)}
                    for s in labels("shell_by_unit", f)
                }
                for f in self._formers
            },
            anions={x: {role: mean("anion", x, role) for role in ROLES} for x in self._anions},
            bridge_shares={x: mean("bridge_share", x) for x in self._anions},
            homopolar={str(p): mean("homopolar", p, unit=per_100) for p in labels("homopolar")},
            sharing={kind: mean("sharing", kind, unit=per_100) for kind in SHARING},
            mean_bridging=mean("mean_bridging", unit="anions"),
            expected_mean_bridging=self._expected,
            deviations={name: mean("deviation", name, unit="anions", lowest=-math.inf) for name in deviations},
            bookkeeping_residual=self._bookkeeping,
            stoichiometry_residual=float(np.abs(series["mean_bridging",] - explained).max()),
        )


def _chosen(atoms: AtomSet, what: str, named: Sequence[str] | None, known: tuple[str, ...]) -> tuple[str, ...]:
    chosen = tuple(element for element in known if element in atoms.elements) if named is None else tuple(named)
    if not chosen:
        there = ", ".join(atoms.elements)
        raise AnalysisError(
            f"no {what} is in the system ({there}); one of {', '.join(known)} is needed, or name others"
        )
    for element in chosen:
        atoms.where(element)
    return tuple(dict.fromkeys(chosen))


def _checked_cutoffs(given: Mapping[str, float], elements: tuple[str, ...]) -> dict[frozenset[str], float]:
    checked = {}
    for name, value in given.items():
        pair = name.split("-")
        if len(pair) != 2 or not set(pair) <= set(elements):
            raise AnalysisError(
                f"cutoff {name!r} is no pair of the formers and anions {', '.join(elements)}, as in 'P-S'"
            )
        if not (math.isfinite(value) and value > 0):
            raise AnalysisError(f"cutoff {name} is {value} A; it must be positive")
        checked[frozenset(pair)] = float(value)
    return checked


def _bond_length(first: str, second: str, rdf: PartialRDFResult) -> Cutoff:
    """First minimum behind a peak at bond length; behind a later peak (P-S-P, say) it would be no bond."""
    measured = rdf.pair(first, second)
    longest = TABLE.get(frozenset((first, second)), math.inf)
    if measured.cutoff.source == "data" and measured.peak < longest:
        return measured.cutoff
    note = measured.cutoff.note or f"g(r) has no peak of {first}-{second} bonds"
    return table_cutoff(first, second, note) if measured.cutoff.source == "data" else measured.cutoff


def _shell_label(former: str, shell: dict[str, int]) -> str:
    """Such as PO2S2, anions in alphabetical order."""
    named = ((anion, shell[anion]) for anion in sorted(shell) if shell[anion])
    return former + "".join(f"{anion}{count if count > 1 else ''}" for anion, count in named)
