"""Bond angles of a glass network: inside the units, at the bridges, and how near the units are to tetrahedra."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.averages import BlockedSums, mean_estimate
from napos_lmp.analysis.base import Estimate, Floats, Integers, Result
from napos_lmp.analysis.compiled import angle_histogram, bonds_at, compiled
from napos_lmp.analysis.network.bonds import BondGraph, NetworkAtoms
from napos_lmp.analysis.network.network import NetworkMeasurement
from napos_lmp.analysis.pairs.cutoffs import Cutoff

BIN_DEGREES = 1.0
_BINS = 180
_ORDER_BINS = 200
_LOWEST_ORDER = -3.0
_TETRAHEDRAL = 4


@dataclass(frozen=True)
class AngleDistribution:
    """Angles of one kind.

    Attributes
    ----------
    density
        Shape (180,): probability for each degree, at the centres 0.5, 1.5, ...; integrates to 1. It holds the factor
        sin(angle) of the solid angle: divide by it to compare with a random direction.
    mean, width
        Mean and standard deviation of the angle, degrees.
    per_former
        Number of such angles for each former at the centre, or for each former of the network where an anion is.
    """

    density: Floats
    mean: Estimate
    width: Estimate
    per_former: float


@dataclass(frozen=True)
class BondAnglesResult(Result):
    """Angles by kind, such as "S-P-O" inside a unit and "P-S-P" at a bridge.

    Attributes
    ----------
    angle
        Shape (180,): centres of the bins, degrees.
    inside, bridges
        Distributions by kind: anion-former-anion, and former-anion-former.
    order
        Shape (200,): tetrahedral order parameter, centres of the bins from -3 to 1.
    order_density
        Distribution of the order parameter of each former element, shape (200,), over its atoms with four anions.
    mean_order
        Mean order parameter of each former element: 1 in an ideal tetrahedron, 0 where directions are random.
    n_frames
        Frames averaged over.
    """

    angle: Floats
    inside: dict[str, AngleDistribution]
    bridges: dict[str, AngleDistribution]
    order: Floats
    order_density: dict[str, Floats]
    mean_order: dict[str, Estimate]
    n_frames: int

    def columns(self) -> Mapping[str, ArrayLike]:
        """Angles in degrees and the density of each kind per degree."""
        kinds = self.inside | self.bridges
        return {"angle_deg": self.angle} | {f"p_{name}_per_deg": found.density for name, found in kinds.items()}

    def plot(self, ax: Any) -> Any:
        """Draw the distributions, those at bridges dashed, on a matplotlib axis; returns the axis."""
        for kinds, style in ((self.inside, "-"), (self.bridges, "--")):
            for name, found in kinds.items():
                ax.plot(self.angle, found.density, style, label=name, linewidth=1.2)
        ax.set(xlabel="angle (°)", ylabel="probability (1/°)", xlim=(40, 180), ylim=(0, None))
        ax.legend(frameon=False, ncols=2)
        return ax


Sums = dict[str, Floats]


class BondAngles(NetworkMeasurement[Sums, BondAnglesResult]):
    """Angles between the bonds of the network, and the tetrahedral order parameter.

    q = 1 - 3/8 sum_(j<k) (cos psi_jk + 1/3)^2 over the six pairs of the four bonds of a former (Errington and
    Debenedetti, Nature 409, 318 (2001), with the bonded anions in place of the four nearest neighbours).

    Parameters
    ----------
    source
        A :class:`~napos_lmp.analysis.network.network.Network`, or a Universe or AtomGroup with its options.
    """

    def reader(self, atoms: NetworkAtoms) -> _Reader:
        """Histograms of one frame."""
        return _Reader(atoms)

    def collector(self, atoms: NetworkAtoms, cutoffs: Mapping[str, Cutoff]) -> _Collector:
        """Sums of the histograms."""
        return _Collector(atoms)


def inside_kinds(atoms: NetworkAtoms) -> list[str]:
    """Names of the angles at formers, such as "S-P-O"."""
    pairs = [(a, b) for k, a in enumerate(atoms.anions) for b in atoms.anions[k:]]
    return [f"{a}-{former}-{b}" for former in atoms.formers for a, b in pairs]


def bridge_kinds(atoms: NetworkAtoms) -> list[str]:
    """Names of the angles at anions, such as "P-S-P"."""
    pairs = [(a, b) for k, a in enumerate(atoms.formers) for b in atoms.formers[k:]]
    return [f"{a}-{anion}-{b}" for anion in atoms.anions for a, b in pairs]


class _Reader:
    """Of each kind, the histogram, with the sums of angles and of their squares behind it; the same of the order."""

    def __init__(self, atoms: NetworkAtoms) -> None:
        self._atoms = atoms

    def __call__(self, graph: BondGraph) -> Sums:
        atoms = self._atoms
        anion_kind, former_kind = atoms.anion_types[graph.anion], atoms.former_types[graph.former]
        n_inside, n_bridges = len(inside_kinds(atoms)), len(bridge_kinds(atoms))
        at_former = compiled(bonds_at)(graph.former, atoms.n_formers)
        inside, deviation = compiled(angle_histogram)(
            graph.vectors, *at_former, atoms.former_types, anion_kind, len(atoms.anions), n_inside
        )
        bridges, _ = compiled(angle_histogram)(
            graph.vectors,
            *compiled(bonds_at)(graph.anion, atoms.n_anions),
            atoms.anion_types,
            former_kind,
            len(atoms.formers),
            n_bridges,
        )
        four = np.diff(at_former[0]) == _TETRAHEDRAL
        order = _order_histogram(atoms.former_types[four], 1 - 3 / 8 * deviation[four], len(atoms.formers))
        return {"inside": inside, "bridges": bridges, "order": order}


def _order_histogram(kind: Integers, order: Floats, n_kinds: int) -> Floats:
    place = ((order - _LOWEST_ORDER) / (1 - _LOWEST_ORDER) * _ORDER_BINS).astype(np.int64)
    place = np.clip(place, 0, _ORDER_BINS - 1)
    counts = np.bincount(kind * _ORDER_BINS + place, minlength=n_kinds * _ORDER_BINS).reshape(n_kinds, _ORDER_BINS)
    return np.column_stack([counts, np.bincount(kind, weights=order, minlength=n_kinds)])


class _Collector:
    """Sums over frames."""

    def __init__(self, atoms: NetworkAtoms) -> None:
        self._atoms = atoms
        shapes = {"inside": len(inside_kinds(atoms)), "bridges": len(bridge_kinds(atoms))}
        self._sums = {name: BlockedSums((rows, _BINS + 2), np.float64) for name, rows in shapes.items()}
        self._sums["order"] = BlockedSums((len(atoms.formers), _ORDER_BINS + 1), np.float64)

    def add(self, sample: Sums) -> None:
        """Take one frame."""
        for name, sums in self._sums.items():
            sums.add(sample[name])

    def result(self) -> BondAnglesResult:
        """Distributions over all frames."""
        atoms = self._atoms
        step = (1 - _LOWEST_ORDER) / _ORDER_BINS
        order = self._sums["order"]
        found = [(k, former) for k, former in enumerate(atoms.formers) if order.total[k, :-1].sum() > 0]
        numbers = np.bincount(atoms.former_types, minlength=len(atoms.formers))
        each = len(atoms.anions) * (len(atoms.anions) + 1) // 2
        per_inside = np.repeat(numbers, each)
        per_bridge = np.full(len(bridge_kinds(atoms)), atoms.n_formers)
        return BondAnglesResult(
            angle=(np.arange(_BINS, dtype=np.float64) + 0.5) * BIN_DEGREES,
            inside=dict(_distributions(inside_kinds(atoms), self._sums["inside"], per_inside)),
            bridges=dict(_distributions(bridge_kinds(atoms), self._sums["bridges"], per_bridge)),
            order=_LOWEST_ORDER + (np.arange(_ORDER_BINS, dtype=np.float64) + 0.5) * step,
            order_density={f: _shares(order.total[k, :-1]) / step for k, f in found},
            mean_order={f: _moment(order, k, _ORDER_BINS, "") for k, f in found},
            n_frames=order.frames,
        )


def _distributions(
    names: list[str], sums: BlockedSums, centres: Iterable[int]
) -> Iterator[tuple[str, AngleDistribution]]:
    """Of the kinds that occur."""
    total = sums.total
    for k, (name, centre) in enumerate(zip(names, centres, strict=True)):
        count = float(total[k, :_BINS].sum())
        if count == 0:
            continue
        yield (
            name,
            AngleDistribution(
                density=_shares(total[k, :_BINS]) / BIN_DEGREES,
                mean=_moment(sums, k, _BINS, "°"),
                width=_width(sums, k),
                per_former=count / sums.frames / int(centre),
            ),
        )


def _shares(counts: Floats) -> Floats:
    shares: Floats = counts / counts.sum()
    return shares


def _moment(sums: BlockedSums, row: int, bins: int, unit: str) -> Estimate:
    """Mean of the values counted in `bins`, whose sum stands behind them; the interval is from blocks with any."""
    total, blocks = sums.total[row], sums.block_means[:, row]
    counts = blocks[:, :bins].sum(axis=1)
    known = counts > 0
    value = float(total[bins] / total[:bins].sum())
    return mean_estimate(blocks[known, bins] / counts[known], unit, value=value, frames_each=sums.length)


def _width(sums: BlockedSums, row: int) -> Estimate:
    def deviation(entries: Floats) -> Floats:
        counts = entries[..., :_BINS].sum(axis=-1)
        first, second = entries[..., _BINS] / counts, entries[..., _BINS + 1] / counts
        spread: Floats = np.sqrt(np.maximum(second - first**2, 0))
        return spread

    blocks = sums.block_means[:, row]
    blocks = blocks[blocks[:, :_BINS].sum(axis=1) > 0]
    value = float(deviation(sums.total[row]))
    return mean_estimate(deviation(blocks), "°", value=value, frames_each=sums.length, limits=(0.0, math.inf))
