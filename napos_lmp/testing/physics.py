"""What holds for every potential: derivatives, symmetries, extensivity and smoothness.

Each check is a generator: it yields the structures it needs, is sent their evaluations, and returns its results. So all
checks share one run of LAMMPS for each set of atoms.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from napos_lmp.structure import Structure
from napos_lmp.testing.evaluate import Evaluation, Evaluator
from napos_lmp.testing.results import CheckResult, Deviations
from napos_lmp.testing.samples import Samples, deformed, doubled, moved, renumbered, reordered, turned

Floats = NDArray[np.float64]
Plan = Generator[Sequence[Structure], Sequence[Evaluation], list[CheckResult]]

# Central differences of sixth order: f'(0) = sum of weight k * (f(k h) - f(-k h)) / h.
_WEIGHTS = {1: 3 / 4, 2: -3 / 20, 3: 1 / 60}
_DISPLACEMENT = 0.005
_STRAIN = 0.002
_DIRECTIONS = 2
_CROSSING = 0.002
_SEED = 11


@dataclass(frozen=True)
class Tolerances:
    """Largest deviations allowed, by the arithmetic of the model.

    Attributes
    ----------
    energy, force, virial
        Between two ways to evaluate the same thing: eV/atom, eV/A and eV/atom.
    slope, strain
        Between a derivative and its finite differences: eV/A and eV/atom.
    jump, kink
        Of energy and forces at the cutoff: eV and eV/A.
    position
        Between two runs of the same dynamics, A.
    """

    energy: float
    force: float
    virial: float
    slope: float
    strain: float
    jump: float
    kink: float
    position: float


TOLERANCES = {
    "float64": Tolerances(1e-9, 1e-8, 1e-8, 1e-5, 1e-5, 1e-6, 1e-4, 1e-8),
    "float32": Tolerances(2e-6, 1e-4, 2e-5, 1e-3, 1e-3, 1e-4, 1e-3, 1e-5),
}


def atomic_energies(samples: Samples, cutoff: float, allowed: Tolerances) -> Plan:
    """The energy of a cell is the sum of the energies of its atoms."""
    found = yield list(samples.structures.values())
    energy = Deviations("atomic energies", "energy", "eV/atom", allowed.energy)
    for name, one in zip(samples.structures, found, strict=True):
        if one.atomic_energies is not None:
            energy.add(name, (one.atomic_energies.sum() - one.energy) / len(one.forces))
    return energy.results()


def forces(samples: Samples, cutoff: float, allowed: Tolerances) -> Plan:
    """Forces are minus the derivative of the energy, along random directions in which every atom moves."""
    generator = np.random.default_rng(_SEED)
    wanted, directions = [], []
    for structure in samples.structures.values():
        directions.append(generator.normal(size=(_DIRECTIONS, len(structure), 3)))
        wanted.append(structure)
        for direction in directions[-1]:
            wanted += [moved(structure, k * _DISPLACEMENT * direction) for k in _stencil()]
    found = iter((yield wanted))
    slope = Deviations("forces", "forces", "eV/A", allowed.slope)
    for name, along in zip(samples.structures, directions, strict=True):
        exact = next(found).forces
        for direction in along:
            numerical = -_derivative([next(found).energy for _ in _stencil()], _DISPLACEMENT)
            size = np.linalg.norm(direction)
            slope.add(name, (numerical - (exact * direction).sum()) / size)
    return slope.results()


def virial(samples: Samples, cutoff: float, allowed: Tolerances) -> Plan:
    """The virial is minus the derivative of the energy by strain, in all six components."""
    strains = [(0, 0), (1, 1), (2, 2), (1, 0), (2, 0), (2, 1)]
    chosen = {name: samples.structures[name] for name in ("triclinic", "crystal") if name in samples.structures}
    wanted = []
    for structure in chosen.values():
        wanted.append(structure)
        for place in strains:
            wanted += [deformed(structure, _strained(place, k * _STRAIN)) for k in _stencil()]
    found = iter((yield wanted))
    strain = Deviations("virial", "virial", "eV/atom", allowed.strain)
    for name, structure in chosen.items():
        exact = next(found).virial
        for place in strains:
            numerical = -_derivative([next(found).energy for _ in _stencil()], _STRAIN)
            strain.add(name, (numerical - exact[place]) / len(structure))
    return strain.results()


def rotation(samples: Samples, cutoff: float, allowed: Tolerances) -> Plan:
    """Turning a cell turns forces and virial with it."""
    pairs = {name: turned(structure) for name, structure in samples.structures.items()}
    found = yield [*samples.structures.values(), *(structure for structure, _ in pairs.values())]
    compare = _Comparison("rotation", allowed)
    for (name, (_, rotated)), one, two in zip(pairs.items(), found, found[len(pairs) :], strict=False):
        compare.add(name, two, one.energy, one.forces @ rotated, rotated.T @ one.virial @ rotated)
    return compare.results()


def translation(samples: Samples, cutoff: float, allowed: Tolerances) -> Plan:
    """Shifting all atoms, some of them across the cell's faces, changes nothing."""
    shift = np.array([3.1, -7.7, 12.9])
    found = yield [*samples.structures.values(), *(moved(s, shift) for s in samples.structures.values())]
    compare = _Comparison("translation", allowed)
    for name, one, two in zip(samples.structures, found, found[len(samples.structures) :], strict=False):
        compare.add(name, two, one.energy, one.forces, one.virial)
    return compare.results()


def permutation(samples: Samples, cutoff: float, allowed: Tolerances) -> Plan:
    """Atoms of one element in another order have the same forces, each its own."""
    generator = np.random.default_rng(_SEED)
    orders = {}
    for name, structure in samples.disordered.items():
        order = np.arange(len(structure))
        for kind in np.unique(structure.types):
            same = np.flatnonzero(structure.types == kind)
            order[same] = generator.permutation(same)
        orders[name] = order
    found = yield [
        *samples.disordered.values(),
        *(reordered(structure, orders[name]) for name, structure in samples.disordered.items()),
    ]
    compare = _Comparison("permutation", allowed)
    for (name, order), one, two in zip(orders.items(), found, found[len(orders) :], strict=False):
        compare.add(name, two, one.energy, one.forces[order], one.virial)
    return compare.results()


def element_order(samples: Samples, cutoff: float, allowed: Tolerances) -> Plan:
    """Types numbered in another order than the model's, and atoms in another order, give the same numbers."""
    order = np.random.default_rng(_SEED).permutation(len(samples.melt))
    elements = samples.melt.elements[1:] + samples.melt.elements[:1]
    others = [renumbered(reordered(structure, order), elements) for structure in samples.disordered.values()]
    found = yield [*samples.disordered.values(), *others]
    compare = _Comparison("element order", allowed)
    for name, one, two in zip(samples.disordered, found, found[len(others) :], strict=False):
        compare.add(name, two, one.energy, one.forces[order], one.virial)
    return compare.results()


def replication(samples: Samples, cutoff: float, allowed: Tolerances) -> Plan:
    """Two cells side by side have twice the energy and virial, and in each of them the same forces."""
    found = yield [*samples.disordered.values(), *(doubled(s) for s in samples.disordered.values())]
    compare = _Comparison("replication", allowed)
    for name, one, two in zip(samples.disordered, found, found[len(samples.disordered) :], strict=False):
        compare.add(name, two, 2 * one.energy, np.concatenate([one.forces, one.forces]), 2 * one.virial)
    return compare.results()


def cutoff_smoothness(samples: Samples, cutoff: float, allowed: Tolerances) -> Plan:
    """A neighbour that crosses the cutoff changes energy and forces without a jump, for each pair of elements."""
    steps = (-3, -1, 1, 3)
    crossings = _crossings(samples.melt, cutoff)
    found = iter(
        (
            yield [
                moved(samples.melt, shift + k * _CROSSING * along) for shift, along in crossings.values() for k in steps
            ]
        )
    )
    jump = Deviations("cutoff", "energy", "eV", allowed.jump)
    kink = Deviations("cutoff", "forces", "eV/A", allowed.kink)
    for pair, (_, along) in crossings.items():
        outer, inner, beyond, far = (next(found) for _ in steps)
        work = _CROSSING * ((inner.forces + beyond.forces) * along).sum()
        jump.add(f"melt, {pair}", beyond.energy - inner.energy + work)
        left, right = (3 * inner.forces - outer.forces) / 2, (3 * beyond.forces - far.forces) / 2
        kink.add(f"melt, {pair}", right - left)
    return [*jump.results(), *kink.results()]


PHYSICS: Mapping[str, Callable[[Samples, float, Tolerances], Plan]] = {
    "atomic energies": atomic_energies,
    "forces": forces,
    "virial": virial,
    "rotation": rotation,
    "translation": translation,
    "permutation": permutation,
    "replication": replication,
    "cutoff": cutoff_smoothness,
    "element order": element_order,
}
"""Checks by name; each takes the samples, the potential's cutoff in A and the tolerances."""


def check_physics(
    evaluator: Evaluator, samples: Samples, cutoff: float, allowed: Tolerances, checks: Sequence[str] = tuple(PHYSICS)
) -> list[CheckResult]:
    """Run checks of :data:`PHYSICS`, which evaluate all they need at once.

    Parameters
    ----------
    evaluator
        Gives energies, forces and virials.
    samples
        Configurations, see :func:`napos_lmp.testing.make_samples`.
    cutoff
        Distance in A at which neighbours are forgotten.
    allowed
        Tolerances, such as those in :data:`TOLERANCES`.
    checks
        Names of the checks.
    """
    return carry_out([PHYSICS[name](samples, cutoff, allowed) for name in checks], evaluator)


def carry_out(plans: Sequence[Plan], evaluator: Evaluator) -> list[CheckResult]:
    """Evaluate all that checks ask for at once, each structure once, and return their results."""
    wanted = [list(next(plan)) for plan in plans]
    once = {id(structure): structure for structures in wanted for structure in structures}
    found = dict(zip(once, evaluator.evaluate(list(once.values())), strict=True))
    results: list[CheckResult] = []
    for plan, structures in zip(plans, wanted, strict=True):
        results += _finish(plan, [found[id(structure)] for structure in structures])
    return results


class _Comparison:
    """Energy, forces and virial of two evaluations of the same thing."""

    def __init__(self, check: str, allowed: Tolerances) -> None:
        self._energy = Deviations(check, "energy", "eV/atom", allowed.energy)
        self._forces = Deviations(check, "forces", "eV/A", allowed.force)
        self._virial = Deviations(check, "virial", "eV/atom", allowed.virial)

    def add(self, where: str, found: Evaluation, energy: float, forces: Floats, virial: Floats) -> None:
        """Compare an evaluation with what it should be."""
        n_atoms = len(found.forces)
        self._energy.add(where, (found.energy - energy) / n_atoms)
        self._forces.add(where, found.forces - forces)
        self._virial.add(where, (found.virial - virial) / n_atoms)

    def results(self) -> list[CheckResult]:
        """The largest deviations."""
        return [*self._energy.results(), *self._forces.results(), *self._virial.results()]


def agreement(check: str, samples: Samples, expected: Evaluator, allowed: Tolerances) -> Plan:
    """Two evaluators say the same of every sample."""
    structures = list(samples.structures.values())
    found = yield structures
    compare = _Comparison(check, allowed)
    for name, one, two in zip(samples.structures, found, expected.evaluate(structures), strict=True):
        compare.add(name, one, two.energy, two.forces, two.virial)
    return compare.results()


def _finish(plan: Plan, found: Sequence[Evaluation]) -> list[CheckResult]:
    try:
        plan.send(found)
    except StopIteration as end:
        return list(end.value)
    raise AssertionError("a check asks for evaluations once")


def _stencil() -> list[int]:
    return [sign * k for k in _WEIGHTS for sign in (1, -1)]


def _derivative(values: Sequence[float], step: float) -> float:
    """Derivative at zero from values at the places of `_stencil`, in units of `step`."""
    pairs = zip(values[::2], values[1::2], _WEIGHTS.values(), strict=True)
    return sum(weight * (above - below) for above, below, weight in pairs) / step


def _strained(place: tuple[int, int], size: float) -> Floats:
    matrix = np.eye(3)
    matrix[place] += size
    return matrix


def _crossings(structure: Structure, cutoff: float) -> dict[str, tuple[Floats, Floats]]:
    """For each pair of elements, displacements that put two atoms at the cutoff, and the unit move of one away."""
    from ase.neighborlist import primitive_neighbor_list

    first, second, distances, vectors = primitive_neighbor_list(
        "ijdD", (True, True, True), structure.cell, structure.positions, cutoff + 1.5
    )
    found: dict[str, tuple[Floats, Floats]] = {}
    for a, b in combinations_with_replacement(range(len(structure.elements)), 2):
        pairs = np.flatnonzero((structure.types[first] == a) & (structure.types[second] == b) & (first != second))
        if not len(pairs):
            continue
        nearest = pairs[np.argmin(np.abs(distances[pairs] - cutoff))]
        along = np.zeros_like(structure.positions)
        along[second[nearest]] = vectors[nearest] / distances[nearest]
        found[f"{structure.elements[a]}-{structure.elements[b]}"] = ((cutoff - distances[nearest]) * along, along)
    return found
