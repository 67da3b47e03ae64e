"""What stands around an ion before and after it jumps, and how fast ions leave sites of different surroundings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napos_lmp.analysis.base import Estimate, Floats, Integers, Result, checked_box, plot_axes
from napos_lmp.analysis.jackknife import jackknife_estimate, ratio
from napos_lmp.analysis.mechanism.jumps import JumpResult
from napos_lmp.analysis.neighbours import box_heights, pairs_within
from napos_lmp.analysis.network.bonds import BondGraph, NetworkAtoms
from napos_lmp.analysis.network.environment_shells import ROLES
from napos_lmp.analysis.network.network import Network, NetworkMeasurement
from napos_lmp.analysis.pairs.cutoffs import Cutoff
from napos_lmp.analysis.pairs.rdf import PartialRDF, PartialRDFResult
from napos_lmp.errors import AnalysisError

_LONGEST_SHELL = 6.0
_RDF_FRAMES = 20
_FEWEST_JUMPS = 20
_LEAST_SHARE = 0.1
"""Share of the time that each of two kinds of sites has to hold for their rates to be compared."""

Kind = tuple[str, str]


@dataclass(frozen=True)
class JumpEnvironmentResult(Result):
    """Numbers of anions around an ion, by element and role; intervals are those of the ions.

    Attributes
    ----------
    species
        Element of the ion.
    cutoffs
        End of its first shell of each anion, and where it is from.
    kinds
        Element and role (isolated, terminal, bridging) of the anions that were found.
    rest
        Mean number of each kind around an ion, over all frames looked at.
    before, after
        The same in the last frame looked at before a jump, and in the first after one.
    change_before, change_after
        What both are more than at rest.
    rates
        Jumps of an ion in 1/ns from sites with more, and with no more, than the mean share of what is named: an element
        among the anions, or "bridging" ones.
    rate_ratios
        The first over the second.
    n_frames, n_jumps
        Frames looked at, and jumps.
    """

    species: str
    cutoffs: Mapping[str, Cutoff]
    kinds: tuple[Kind, ...]
    rest: Mapping[Kind, Estimate]
    before: Mapping[Kind, Estimate]
    after: Mapping[Kind, Estimate]
    change_before: Mapping[Kind, Estimate]
    change_after: Mapping[Kind, Estimate]
    rates: Mapping[str, tuple[Estimate, Estimate]]
    rate_ratios: Mapping[str, Estimate]
    n_frames: int
    n_jumps: int

    def columns(self) -> Mapping[str, ArrayLike]:
        """One row an estimate."""
        parts = ("rest", "before", "after", "change_before", "change_after")
        rows = [(part, *kind, getattr(self, part)[kind]) for part in parts for kind in self.kinds]
        for name, (rich, poor) in self.rates.items():
            rows += [("rate_rich", name, "", rich), ("rate_poor", name, "", poor)]
            rows.append(("rate_ratio", name, "", self.rate_ratios[name]))
        return {
            "quantity": [row[0] for row in rows],
            "anion": [row[1] for row in rows],
            "role": [row[2] for row in rows],
            **{name: [getattr(row[3], name) for row in rows] for name in ("value", "low", "high", "unit", "note")},
        }

    def plot(self, ax: Any = None) -> Any:
        """Draw the numbers at rest, before and after a jump as bars on a matplotlib axis; returns the axis."""
        ax = plot_axes(ax)
        for k, (label, numbers) in enumerate((("rest", self.rest), ("before", self.before), ("after", self.after))):
            values = [numbers[kind].value for kind in self.kinds]
            errors = np.array([[n.value - n.low, n.high - n.value] for n in (numbers[kind] for kind in self.kinds)])
            ax.bar(np.arange(len(values)) + 0.27 * (k - 1), values, 0.25, yerr=np.nan_to_num(errors).T, label=label)
        ax.set_xticks(range(len(self.kinds)), [f"{role} {anion}" for anion, role in self.kinds])
        ax.set(ylabel=f"anions around {self.species}", ylim=(0, None))
        ax.legend(frameon=False)
        return ax


class JumpEnvironment:
    """Anions around ions at rest, before and after jumps, and the rate of jumps by what stands around.

    One frame in each settling time is read, so that every rest holds at least one; the surroundings of a rest are the
    mean over those that it holds. Sites are rich in an element (or in bridging anions) where its share among the anions
    around is above the mean over all frames and ions. Rates are corrected for short rests as those of all jumps are.

    Parameters
    ----------
    source
        The Universe that the jumps are of, or a :class:`~napos_lmp.analysis.network.network.Network` of it.
    jumps
        Its jumps.
    cutoffs
        Ends of first shells and longest bonds in A, such as ``{"Na-S": 4.0, "P-S": 2.6}``; the others are first minima
        of g(r) in up to 20 of the frames, else from the table. A Network has its own bonds.

    Raises
    ------
    AnalysisError
        As :class:`~napos_lmp.analysis.network.network.Network`, or if there are fewer than 20 jumps.
    """

    def __init__(self, source: Any, jumps: JumpResult, *, cutoffs: Mapping[str, float] | None = None) -> None:
        if len(jumps.ion) < _FEWEST_JUMPS:
            raise AnalysisError(
                f"{len(jumps.ion)} jumps are too few to look at their surroundings; {_FEWEST_JUMPS} are needed"
            )
        ends = {name: value for name, value in (cutoffs or {}).items() if jumps.species in name.split("-")}
        self._bonds = {name: value for name, value in (cutoffs or {}).items() if name not in ends}
        self._given = source if isinstance(source, Network) else None
        if self._given is not None and self._bonds:
            raise AnalysisError(f"cutoff {next(iter(self._bonds))} belongs to the Network that was given; set it there")
        self._network = self._given or Network(source, cutoffs=self._bonds)
        allowed = [f"{jumps.species}-{anion}" for anion in self._network.anions]
        for name, value in ends.items():
            if name not in allowed or not (math.isfinite(value) and value > 0):
                raise AnalysisError(f"cutoff {name} is {value} A; it must be positive and of {' or '.join(allowed)}")
        self._source, self._jumps, self._ends = self._network.atoms.atoms, jumps, ends

    def run(self, workers: int | None = None) -> JumpEnvironmentResult:
        """Look at the frames with at most `workers` processes (all cores by default).

        Raises
        ------
        AnalysisError
            If a cutoff is not known, or longer than half the box.
        """
        frames = self._jumps.frames[:: self._jumps.cages.fewest]
        some = frames[:: max(1, len(frames) // _RDF_FRAMES)]
        trajectory = self._network.atoms.atoms.universe.trajectory
        half = min(float(box_heights(checked_box(trajectory[k])).min()) for k in some) / 2
        rdf = PartialRDF(self._source, r_max=min(_LONGEST_SHELL, 0.999 * half))
        pairs = rdf.run(some.start, some.stop, some.step, workers)
        network = self._given or Network(self._source, cutoffs=self._bonds, rdf=pairs)
        ends = self._first_shells(pairs)
        around = _Surroundings(network, self._jumps.species, ends)
        counts: Integers = around.run(frames.start, frames.stop, frames.step, workers)
        return _Evaluation(self._jumps, self._network.anions, counts).result(ends)

    def _first_shells(self, pairs: PartialRDFResult) -> dict[str, Cutoff]:
        found = {}
        for anion in self._network.anions:
            name = f"{self._jumps.species}-{anion}"
            known = pairs.pair(self._jumps.species, anion).cutoff
            found[name] = Cutoff(self._ends[name], "given") if name in self._ends else known
            if found[name].source == "none":
                raise AnalysisError(f"no cutoff for {name} is known ({known.note}); give it in A")
        return found


class _Surroundings(NetworkMeasurement[Integers, Integers]):
    """Number of each kind of anion around each ion, shape (frames, ions, kinds)."""

    def __init__(self, network: Network, species: str, ends: Mapping[str, Cutoff]) -> None:
        super().__init__(network)
        self._species, self._ends = species, ends

    def reader(self, atoms: NetworkAtoms) -> Callable[[BondGraph], Integers]:
        lengths = np.array([self._ends[f"{self._species}-{anion}"].value for anion in atoms.anions])
        return _Reader(self.network.atoms.where(self._species), atoms.anion_atoms, atoms.anion_types, lengths)

    def collector(self, atoms: NetworkAtoms, cutoffs: Mapping[str, Cutoff]) -> _Stack:
        return _Stack()


class _Reader:
    """Counts of one frame, shape (ions, kinds); kinds are numbered by the element and then the role of the anion."""

    def __init__(self, ions: Integers, anions: Integers, types: Integers, lengths: Floats) -> None:
        self._ions, self._anions, self._types, self._lengths = ions, anions, types, lengths

    def __call__(self, graph: BondGraph) -> Integers:
        frame, n_ions, n_roles = graph.frame, len(self._ions), len(ROLES)
        half = float(box_heights(frame.box).min()) / 2
        longest = float(self._lengths.max())
        if longest > half:
            raise AnalysisError(
                f"cutoff of {longest:g} A is longer than half the smallest height of the box, {half:.2f} A"
            )
        atoms = np.concatenate([self._ions, self._anions])
        first, second, vectors = pairs_within(frame.positions[atoms], frame.box, longest)
        swap = first > second
        first, second = np.where(swap, second, first), np.where(swap, first, second) - n_ions
        mixed = (first < n_ions) & (second >= 0)
        first, second, vectors = first[mixed], second[mixed], vectors[mixed]
        near = np.einsum("ij,ij->i", vectors, vectors) <= self._lengths[self._types[second]] ** 2
        roles = np.minimum(np.bincount(graph.anion, minlength=len(self._anions)), n_roles - 1)
        n_kinds = len(self._lengths) * n_roles
        kind = self._types * n_roles + roles
        place = first[near] * n_kinds + kind[second[near]]
        return np.bincount(place, minlength=n_ions * n_kinds).reshape(n_ions, n_kinds).astype(np.int64)


class _Stack:
    def __init__(self) -> None:
        self._samples: list[NDArray[np.int16]] = []

    def add(self, sample: Integers) -> None:
        self._samples.append(sample.astype(np.int16))

    def result(self) -> Integers:
        return np.array(self._samples, dtype=np.int64)


class _Evaluation:
    """What the surroundings, shape (frames, ions, kinds), say of the jumps."""

    def __init__(self, jumps: JumpResult, anions: tuple[str, ...], counts: Integers) -> None:
        self._jumps, self._anions = jumps, anions
        kinds = [(anion, role) for anion in anions for role in ROLES]
        there = np.flatnonzero(counts.any(axis=(0, 1)))
        self._kinds = [kinds[k] for k in there]
        self._counts = counts[:, :, there].astype(np.float64)
        cages = jumps.cages
        self._first, self._end = -(-cages.start // cages.fewest), -(-cages.stop // cages.fewest)

    def result(self, cutoffs: Mapping[str, Cutoff]) -> JumpEnvironmentResult:
        cages, counts = self._jumps.cages, self._counts
        left = cages.left
        ion = cages.ion[left]
        rest = counts.sum(axis=0)
        before, after = np.zeros_like(rest), np.zeros_like(rest)
        np.add.at(before, ion, counts[self._end[left] - 1, ion])
        np.add.at(after, ion, counts[self._first[left + 1], ion])
        jumps = np.bincount(ion, minlength=cages.n_ions).astype(np.float64)
        frames = np.full(cages.n_ions, float(len(counts)))

        def mean(sums: Floats, number: Floats) -> dict[Kind, Estimate]:
            return {
                kind: jackknife_estimate(np.column_stack([sums[:, k], number]), ratio, "", limits=(0, math.inf))
                for k, kind in enumerate(self._kinds)
            }

        def change(sums: Floats) -> dict[Kind, Estimate]:
            return {
                kind: jackknife_estimate(np.column_stack([sums[:, k], jumps, rest[:, k], frames]), _difference, "")
                for k, kind in enumerate(self._kinds)
            }

        rates = self._rates()
        return JumpEnvironmentResult(
            species=self._jumps.species,
            cutoffs=cutoffs,
            kinds=tuple(self._kinds),
            rest=mean(rest, frames),
            before=mean(before, jumps),
            after=mean(after, jumps),
            change_before=change(before),
            change_after=change(after),
            rates={name: (rich, poor) for name, (rich, poor, _) in rates.items()},
            rate_ratios={name: both for name, (_, _, both) in rates.items()},
            n_frames=len(counts),
            n_jumps=len(left),
        )

    def _rates(self) -> dict[str, tuple[Estimate, Estimate, Estimate]]:
        """Rates from rich and poor sites, and their ratio, of all that sites can be told apart by."""
        elements = [anion for anion, _ in self._kinds]
        usual = max(self._anions, key=lambda anion: self._counts[..., np.array(elements) == anion].sum())
        chosen = {anion: np.array(elements) == anion for anion in self._anions if anion != usual}
        chosen["bridging"] = np.array([role == "bridging" for _, role in self._kinds])
        split = {name: self._exposure(which) for name, which in chosen.items()}
        interval = self._jumps.frame_interval

        def rate(sums: Floats) -> Floats:
            return np.asarray(1000 / interval * sums[0] / sums[1])

        def both(sums: Floats) -> Floats:
            return np.asarray(sums[0] / sums[1] / (sums[2] / sums[3]))

        found = {}
        for name, sums in split.items():
            rich, poor = sums[:, 1].sum(), sums[:, 3].sum()
            if min(rich, poor) >= _LEAST_SHARE * (rich + poor):
                limits = (0.0, math.inf)
                found[name] = (
                    jackknife_estimate(sums[:, :2], rate, "1/ns", limits=limits),
                    jackknife_estimate(sums[:, 2:], rate, "1/ns", limits=limits),
                    jackknife_estimate(sums, both, "", limits=limits),
                )
        return found

    def _exposure(self, which: NDArray[np.bool_]) -> Floats:
        """Jumps of each ion from rich sites, frames in which it could have made one, and the same of poor sites."""
        cages = self._jumps.cages
        parts = np.stack([self._counts[..., which].sum(axis=2), self._counts.sum(axis=2)])
        summed = np.concatenate([np.zeros((2, 1, cages.n_ions)), np.cumsum(parts, axis=1)], axis=1)
        own, everything = summed[:, self._end, cages.ion] - summed[:, self._first, cages.ion]
        mean = parts[0].sum() / parts[1].sum()
        poor = (own <= mean * everything).astype(np.int64)
        jumped = np.zeros(len(cages.ion))
        jumped[cages.left] = 1
        sums = np.zeros((cages.n_ions, 4))
        np.add.at(sums, (cages.ion, 2 * poor), jumped)
        np.add.at(sums, (cages.ion, 2 * poor + 1), cages.stop - cages.start - cages.fewest + jumped)
        return sums


def _difference(sums: Floats) -> Floats:
    return np.asarray(sums[0] / sums[1] - sums[2] / sums[3])
