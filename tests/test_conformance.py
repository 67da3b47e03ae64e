"""The public conformance suite: shipped potentials pass it, and planted faults are caught."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import pytest
from typer.testing import CliRunner

from napos_lmp.cli.app import app
from napos_lmp.errors import EngineError, PotentialError
from napos_lmp.potential import load_potential
from napos_lmp.structure import Structure
from napos_lmp.templates import Templates
from napos_lmp.testing import (
    CHECKS,
    PHYSICS,
    TOLERANCES,
    CalculatorEvaluator,
    Conformance,
    Evaluation,
    Evaluator,
    LammpsEvaluator,
    Samples,
    check_physics,
    check_potential,
    make_samples,
    restart_continuity,
)

LJ_CUTOFF = 6.0


@pytest.fixture(scope="module", params=["napos-deepmd", "napos-mace"])
def conformance(request: pytest.FixtureRequest) -> Conformance:
    return check_potential(request.param)


@pytest.mark.parametrize("check", CHECKS)
def test_shipped_potential(conformance: Conformance, check: str):
    results = conformance.of(check)
    assert results
    assert all(result.passed for result in results), conformance.table()


def test_results_are_a_table_and_a_record(conformance: Conformance):
    conformance.require()
    lines = conformance.table().splitlines()
    assert len(lines) == 1 + len(conformance.results)
    assert all(line.endswith("passed") for line in lines[1:])
    record = json.loads(json.dumps(conformance.as_dict()))
    assert record["passed"] is True
    assert [result["check"] for result in record["results"]] == [result.check for result in conformance.results]


@pytest.fixture(scope="module")
def samples() -> Samples:
    return make_samples(("O", "Na", "P", "S"), lambda structure: structure)


def lennard_jones() -> Evaluator:
    """A potential that was not written here and that keeps all the rules; it does not tell elements apart."""
    from ase.calculators.lj import LennardJones

    return CalculatorEvaluator(LennardJones(sigma=1.8, epsilon=0.2, ro=4.5, rc=LJ_CUTOFF, smooth=True))


Fault = Callable[[Structure, Evaluation], Evaluation]


class Broken:
    """Lennard-Jones with a fault; what it is without the fault is kept for the next."""

    known: ClassVar[dict[tuple[bytes, ...], Evaluation]] = {}

    def __init__(self, fault: Fault) -> None:
        self.fault = fault

    def evaluate(self, structures: Sequence[Structure]) -> list[Evaluation]:
        keys = [(s.cell.tobytes(), s.positions.tobytes(), s.types.tobytes()) for s in structures]
        new = {key: s for key, s in zip(keys, structures, strict=True) if key not in self.known}
        self.known.update(zip(new, lennard_jones().evaluate(list(new.values())), strict=True))
        return [self.fault(s, self.known[key]) for s, key in zip(structures, keys, strict=True)]


def physics(evaluator: Evaluator, samples: Samples) -> Conformance:
    results = check_physics(evaluator, samples, LJ_CUTOFF, TOLERANCES["float64"])
    return Conformance("made-up", "none", "float64", tuple(results))


def test_lennard_jones_passes(samples: Samples):
    found = physics(Broken(lambda _, one: one), samples)
    assert found.passed, found.table()
    assert {result.check for result in found.results} == set(PHYSICS)


def energy_plus(extra: Callable[[Structure], float]) -> Fault:
    """An energy term that forces and virial know nothing of, shared out evenly."""

    def fault(structure: Structure, one: Evaluation) -> Evaluation:
        assert one.atomic_energies is not None
        more = extra(structure)
        shares = one.atomic_energies + more / len(structure)
        return dataclasses.replace(one, energy=one.energy + more, atomic_energies=shares)

    return fault


def forces_times(factors: Callable[[Structure], np.ndarray]) -> Fault:
    return lambda structure, one: dataclasses.replace(one, forces=one.forces * factors(structure)[:, None])


def pairs_within_cutoff(structure: Structure) -> float:
    from ase.neighborlist import primitive_neighbor_list

    return len(primitive_neighbor_list("d", (True, True, True), structure.cell, structure.positions, LJ_CUTOFF, None))


FAULTS: dict[str, tuple[Fault, set[str]]] = {
    "energy that is not the sum over atoms": (
        lambda _, one: dataclasses.replace(one, energy=one.energy * (1 + 1e-6)),
        {"atomic energies"},
    ),
    "virial of the wrong sign": (lambda _, one: dataclasses.replace(one, virial=-one.virial), {"virial"}),
    "virial without its shear": (
        lambda _, one: dataclasses.replace(one, virial=np.diag(np.diag(one.virial))),
        {"virial", "rotation"},
    ),
    "forces of one element 0.1 % too large": (
        forces_times(lambda s: np.where(np.array(s.symbols) == "S", 1.001, 1.0)),
        {"forces"},
    ),
    "one atom treated unlike the others": (
        forces_times(lambda s: np.where(np.arange(len(s)) == 0, 1.001, 1.0)),
        {"permutation"},
    ),
    "energy that knows a direction": (energy_plus(lambda s: 1e-3 * s.cell[0, 0]), {"rotation"}),
    "energy that knows a place": (energy_plus(lambda s: 1e-3 * float(np.cos(s.positions[0, 0]))), {"translation"}),
    "energy that does not grow with the cell": (energy_plus(lambda s: 1e-3), {"replication"}),
    "energy that jumps at the cutoff": (energy_plus(lambda s: 1e-4 * pairs_within_cutoff(s)), {"cutoff"}),
    "elements numbered wrongly": (
        energy_plus(lambda s: 1e-3 * float(np.bincount(s.types)[0])),
        {"element order"},
    ),
    "not a number": (lambda _, one: dataclasses.replace(one, forces=one.forces * np.nan), {"forces", "rotation"}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_caught(samples: Samples, fault: str):
    broken, expected = FAULTS[fault]
    found = physics(Broken(broken), samples)
    assert expected <= {result.check for result in found.failed}, found.table()
    with pytest.raises(PotentialError, match=f"'made-up' fails {len(found.failed)} of its checks"):
        found.require()


def test_sharp_cutoff_is_caught(samples: Samples):
    from ase.calculators.lj import LennardJones

    sharp = CalculatorEvaluator(LennardJones(sigma=3.0, epsilon=0.2, rc=LJ_CUTOFF))
    assert {"cutoff"} <= {result.check for result in physics(sharp, samples).failed}


@pytest.fixture
def own_templates(tmp_path) -> Callable[[str, str, str], Templates]:
    """Templates of which one has a piece of its text replaced."""

    def make(name: str, old: str, new: str) -> Templates:
        path = Templates().copy(name, tmp_path / "templates")
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        return Templates(tmp_path / "templates")

    return make


def test_deck_that_names_elements_in_the_wrong_order_is_caught(own_templates):
    templates = own_templates("potentials/deepmd.lmp.j2", 'elements | join(" ")', 'elements | reverse | join(" ")')
    found = check_potential("napos-deepmd", ("element order", "calculator"), templates=templates)
    assert {result.check for result in found.failed} == {"element order", "calculator"}, found.table()


def test_deck_that_draws_velocities_anew_at_a_restart_is_caught(own_templates, samples: Samples):
    templates = own_templates("stages/dynamics.lmp.j2", '"$(step) == 0"', '"$(step) >= 0"')
    potential = load_potential("napos-deepmd")
    own = make_samples(potential.elements, lambda structure: structure)
    results = restart_continuity(potential, own, TOLERANCES["float32"], templates=templates)
    assert not any(result.passed for result in results)


def test_lammps_that_stops_says_why(own_templates, samples: Samples):
    templates = own_templates("potentials/deepmd.lmp.j2", 'elements | join(" ")', '"Na P S Xx"')
    evaluator = LammpsEvaluator(load_potential("napos-deepmd"), templates=templates)
    with pytest.raises(EngineError, match=r"did not evaluate potential 'napos-deepmd': .*element Xx"):
        evaluator.evaluate([samples.melt])


def test_potential_of_other_elements_cannot_be_checked():
    with pytest.raises(PotentialError, match="a potential of Na, P cannot be checked: it covers none of Na4P2S5O2"):
        make_samples(("Na", "P"), lambda structure: structure)


def test_unknown_check():
    with pytest.raises(PotentialError, match="check 'charm' is not known; there are atomic energies, forces"):
        check_potential("napos-deepmd", ("charm",))


def test_command():
    done = CliRunner().invoke(app, ["potentials", "check", "napos-deepmd", "--only", "atomic energies", "--json"])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert record["passed"]
    assert [result["check"] for result in record["results"]] == ["atomic energies"]
