"""The CPU bridge against MACE's own calculator, ASE's Lennard-Jones and LAMMPS's own bookkeeping."""

import copy
import pickle
import re
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.io import read
from tiny_mace import ELEMENTS, save_tiny_mace, tiny_mace

from napos_lmp.backends.pairs import PairFinder
from napos_lmp.backends.unified import UnifiedData, UnifiedEvaluator
from napos_lmp.engine import check_deck, probes, read_run_record, run_deck
from napos_lmp.engine.bridge import read_commands, split_arguments
from napos_lmp.errors import PotentialError, PreflightError
from napos_lmp.manifest import read_manifest
from napos_lmp.potential import add_model_file
from napos_lmp.trajectory import DeckTrajectory

FRAMES = Path(__file__).parent / "data/starter_subset.extxyz.gz"
RUN = "import sys; from napos_lmp.engine import run_deck; run_deck(sys.argv[1], progress=False)"


@pytest.fixture(scope="module", autouse=True)
def folders(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAPOS_LMP_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("NAPOS_LMP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def exported(model):
    """The object that MACE exports for LAMMPS, as loaded from its file."""
    from mace.calculators.lammps_mliap_mace import LAMMPS_MLIAP_MACE

    return copy.deepcopy(LAMMPS_MLIAP_MACE(model))


@pytest.fixture(scope="module")
def model():
    return tiny_mace()


@pytest.fixture(scope="module")
def calculator(model):
    from mace.calculators import MACECalculator

    return MACECalculator(models=[model], device="cpu", default_dtype="float64")


def configurations() -> dict[str, Atoms]:
    """Twenty cells: melts, glasses, crystals, sheared cells, 1 to 4 elements, cells smaller than the cutoff of 4 A."""
    frames = read(FRAMES, ":")
    chosen = [frames[int(place)] for place in np.linspace(0, len(frames) - 1, 6)]
    found = {f"frame {number}": atoms for number, atoms in enumerate(chosen)}
    for number, atoms in enumerate(chosen[:4]):
        shear = np.array([[1.0, 0.0, 0.0], [0.3 + 0.1 * number, 1.05, 0.0], [-0.45, 0.25, 0.9]])
        sheared = atoms.copy()
        sheared.set_cell(atoms.cell.array @ shear, scale_atoms=True)
        found[f"sheared {number}"] = sheared
    crystals = {
        "Na": bulk("Na", "bcc", 4.2, cubic=True),
        "Na primitive": bulk("Na", "bcc", 4.2),
        "NaO": bulk("NaO", "rocksalt", 4.6),
        "NaS": bulk("NaS", "zincblende", 5.6, cubic=True),
        "P": bulk("P", "sc", 2.4),
        "S thin": Atoms("S", cell=[2.1, 6.0, 9.0], pbc=True),
        "PS": Atoms("PS", positions=[[0, 0, 0], [1.1, 1.8, 1.7]], cell=[[3, 0, 0], [1.4, 3, 0], [-1, 1, 3]], pbc=True),
        "NaPO": Atoms("NaPO", positions=[[0, 0, 0], [1.5, 0.2, 0.1], [0.3, 1.6, 1.4]], cell=[3.3, 3.1, 2.9], pbc=True),
    }
    for name, atoms in crystals.items():
        atoms.rattle(0.03, seed=len(name))
        found[name] = atoms
    turned = chosen[1].copy()
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    far = chosen[2].copy()
    far.positions += np.random.default_rng(1).integers(-3, 4, (len(far), 3)) @ far.cell.array
    return {**found, "turned": turned, "outside the cell": far}


def evaluate(unified, atoms: Atoms, elements=ELEMENTS):
    types = np.array([elements.index(symbol) for symbol in atoms.symbols])
    return UnifiedEvaluator(unified, elements).evaluate(atoms.positions, atoms.cell.array, types)


def test_twenty_configurations_agree_with_the_model_s_own_calculator(model, calculator):
    unified, cells = exported(model), configurations()
    assert len(cells) == 20
    assert {len(set(atoms.symbols)) for atoms in cells.values()} == {1, 2, 3, 4}
    for name, atoms in cells.items():
        found = evaluate(unified, atoms)
        atoms.calc = calculator
        assert found.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-8 * len(atoms)), name
        np.testing.assert_allclose(found.forces, atoms.get_forces(), rtol=0, atol=1e-9, err_msg=name)
        stress = -found.virial / atoms.get_volume()
        np.testing.assert_allclose(stress, atoms.get_stress(voigt=False), rtol=0, atol=1e-8, err_msg=name)
        np.testing.assert_allclose(found.energies, atoms.get_potential_energies(), rtol=0, atol=1e-9, err_msg=name)
        total = found.virial[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
        np.testing.assert_allclose(found.virials.sum(0), total, rtol=0, atol=1e-9, err_msg=name)
    assert parts(unified) == ["FusedConvolution", "FoldedNetwork"] * 2 + ["FusedContraction"] * 3


def parts(unified) -> list[str]:
    """Kinds of the parts of a model that are replaced by faster ones."""
    mace = unified.model.model
    found = [part for block in mace.interactions for part in (block.conv_tp, block.conv_tp_weights)]
    found += [part for block in mace.products for part in block.symmetric_contractions.contractions]
    return [type(part).__name__ for part in found]


def test_single_precision_agrees_to_round_off(model):
    atoms = configurations()["frame 1"]
    single, double = evaluate(exported(copy.deepcopy(model).float()), atoms), evaluate(exported(model), atoms)
    scale = np.abs(double.forces).max()
    assert np.abs(single.forces - double.forces).max() < 2e-5 * scale
    assert np.abs(single.virial - double.virial).max() < 2e-5 * np.abs(double.virial).max()


def test_order_of_the_elements_does_not_matter(model):
    atoms = configurations()["frame 2"]
    unified = exported(model)
    ours, theirs = evaluate(unified, atoms), evaluate(unified, atoms, ("S", "P", "O", "Na"))
    assert theirs.energy == ours.energy
    np.testing.assert_array_equal(theirs.forces, ours.forces)


def test_unknown_element_is_named(model):
    with pytest.raises(PotentialError, match="the model does not know Ge; it knows O Na P S"):
        UnifiedEvaluator(exported(model), ("Na", "Ge"))


def test_parts_of_another_kind_are_left_alone(model):
    """A product that is not channel by channel, and an activation without the constant that e3nn gives it."""
    import torch

    atoms = configurations()["frame 3"]
    changed = exported(model)
    first, second = changed.model.model.interactions
    first.conv_tp.instructions[0] = first.conv_tp.instructions[0]._replace(connection_mode="uvv")
    second.conv_tp_weights.layer0.act = torch.nn.SiLU()
    types = np.array([ELEMENTS.index(symbol) for symbol in atoms.symbols], dtype=np.int32)
    as_exported = UnifiedData(PairFinder(4.0).find(atoms.positions, atoms.cell.array), types, 4)
    changed.compute_forces(as_exported)
    found = evaluate(changed, atoms)
    assert parts(changed)[:4] == ["TensorProduct", "FoldedNetwork", "FusedConvolution", "FullyConnectedNet"]
    assert found.energy == pytest.approx(as_exported.energy, abs=1e-10)
    np.testing.assert_allclose(found.pair_forces, as_exported.pair_forces, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("channels", "degree", "largest_l"), [(4, 1, 1), (4, 3, 2), (3, 3, 3)])
def test_contractions_of_each_degree_agree_in_value_and_gradient(channels, degree, largest_l):
    import torch
    from e3nn import o3
    from mace.modules.symmetric_contraction import SymmetricContraction

    from napos_lmp.backends.mace_contraction import FusedContraction

    torch.manual_seed(degree)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        irreps = o3.Irreps([(channels, (degree_l, (-1) ** degree_l)) for degree_l in range(largest_l + 1)])
        whole = SymmetricContraction(irreps, f"{channels}x0e+{channels}x1o", degree, num_elements=3)
    finally:
        torch.set_default_dtype(before)
    elements = torch.nn.functional.one_hot(torch.tensor([2, 0, 2, 1, 0, 0]), 3).double()
    for contraction in whole.contractions:
        results = []
        for operation in (contraction, FusedContraction(contraction)):
            features = torch.linspace(-1, 1, 6 * channels * (largest_l + 1) ** 2, dtype=torch.float64).sin()
            features = features.view(6, channels, -1).requires_grad_(True)
            value = operation(features, elements)
            (gradient,) = torch.autograd.grad((value * value.detach().cos()).sum(), features)
            results.append((value.detach(), gradient))
        for one, two in zip(*results, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["python", "tensor"])
def test_foreign_object_agrees_with_lennard_jones_of_ase(kind):
    """LAMMPS's own example of a unified object, which gives pair energies and numpy arrays."""
    from lammps.mliap.mliap_unified_lj import MLIAPUnifiedLJ

    from napos_lmp.backends.unified_calculator import UnifiedCalculator

    class Tensors(MLIAPUnifiedLJ):
        def compute_forces(self, data):
            import torch

            energies, forces = self.compute_pair_ef(data)
            data.update_pair_energy_gpu(torch.as_tensor(energies))
            data.update_pair_forces_gpu(torch.as_tensor(forces))

    epsilon, sigma, cutoff = 0.01, 1.0, 2.5  # the example's forces hold for sigma = 1 alone
    maker = {"python": MLIAPUnifiedLJ, "tensor": Tensors}[kind]
    atoms = bulk("Ar", "fcc", 1.6, cubic=True)
    atoms.set_cell(atoms.cell.array @ [[1, 0, 0], [0.2, 1, 0], [0.1, -0.3, 1]], scale_atoms=True)
    atoms.rattle(0.03, seed=1)
    atoms.calc = LennardJones(epsilon=epsilon, sigma=sigma, rc=cutoff)
    forces, stress, energies = atoms.get_forces(), atoms.get_stress(), atoms.get_potential_energies()
    atoms.calc = UnifiedCalculator(maker(["Kr", "Ar"], epsilon, sigma, cutoff / 2))
    np.testing.assert_allclose(atoms.get_forces(), forces, rtol=0, atol=1e-12)
    np.testing.assert_allclose(atoms.get_stress(), stress, rtol=0, atol=1e-12)
    neighbours = np.bincount(PairFinder(cutoff).find(atoms.positions, atoms.cell.array).first)
    shift = 4 * epsilon * ((sigma / cutoff) ** 12 - (sigma / cutoff) ** 6)
    np.testing.assert_allclose(atoms.get_potential_energies(), energies + neighbours * shift / 2, rtol=0, atol=1e-12)
    assert atoms.get_potential_energy() == pytest.approx(atoms.get_potential_energies().sum(), abs=1e-12)
    atoms.pbc = (True, True, False)
    with pytest.raises(PotentialError, match=r"pbc is \[True, True, False\]; .* is evaluated in periodic cells only"):
        atoms.get_forces()


def test_energy_is_conserved_across_new_lists_of_pairs(model):
    """A short form of scripts/checks/nve_drift.py, hot so that the list is made anew several times."""
    from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
    from ase.md.verlet import VelocityVerlet

    from napos_lmp.backends.unified_calculator import UnifiedCalculator

    atoms = configurations()["frame 0"]
    atoms.calc = UnifiedCalculator(exported(model))
    MaxwellBoltzmannDistribution(atoms, temperature_K=3000, rng=np.random.default_rng(4))
    energies = [atoms.get_total_energy()]
    dynamics = VelocityVerlet(atoms, 1.0 * units.fs)
    dynamics.attach(lambda: energies.append(atoms.get_total_energy()))
    dynamics.run(150)
    assert atoms.calc._evaluator.pairs.builds > 5
    assert np.abs(np.diff(energies)).max() / len(atoms) < 2e-6
    assert abs(energies[-1] - energies[0]) / len(atoms) < 5e-6


def test_pairs_are_complete_while_atoms_move_wrap_and_the_cell_changes():
    """Against a fresh list by ASE at every step; wrapping moves atoms by lattice vectors as LAMMPS does."""
    from ase.neighborlist import primitive_neighbor_list

    random, cutoff = np.random.default_rng(2), 3.0
    cell = np.array([[5.0, 0.0, 0.0], [1.5, 4.5, 0.0], [-1.0, 0.8, 2.6]])
    positions, velocities = random.random((12, 3)) @ cell, 0.04 * random.normal(size=(12, 3))
    finder = PairFinder(cutoff, skin=0.5)
    for step in range(120):
        positions, cell = positions + velocities, cell @ (np.eye(3) + 0.004 * random.normal(size=(3, 3)))
        if step == 60:
            cell[1] -= cell[0]  # a flip of the box: another cell of the same lattice
        given = positions @ np.linalg.inv(cell)
        given = (given - np.floor(given)) @ cell if step % 10 == 0 else positions
        positions = given
        pairs = finder.find(given, cell)
        i, j, vectors = primitive_neighbor_list("ijD", (True,) * 3, cell, given, cutoff)
        assert (np.diff(pairs.first) >= 0).all()
        found = np.column_stack([pairs.first, pairs.second, np.round(pairs.vectors, 6)])
        expected = np.column_stack([i, j, np.round(vectors, 6)])
        np.testing.assert_array_equal(np.unique(found, axis=0) + 0.0, np.unique(expected, axis=0) + 0.0)
        assert len(found) == len(expected)
    assert 2 <= finder.builds <= 80


def test_missing_matscipy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matscipy.neighbours", None)
    with pytest.raises(PotentialError, match=r"needs the package matscipy.*napos-lmp\[mace\]"):
        PairFinder(3.0).find(np.zeros((1, 3)), 5 * np.eye(3))


def test_candidates_serve_until_an_atom_has_moved_half_the_skin():
    finder, cell = PairFinder(3.0, skin=0.5), np.diag([6.0, 6.0, 6.0])
    positions = np.random.default_rng(3).random((8, 3)) @ cell
    finder.find(positions, cell)
    for image in range(5):
        moved = positions + [[0.049 * image, 0, 0]] * 8 + np.eye(8, 3) * 6.0 * image
        finder.find(moved, cell)
    assert finder.builds == 1
    finder.find(positions + [[0.26, 0, 0]] * 8, cell)
    assert finder.builds == 2


def test_commands_are_joined_and_switches_taken_apart():
    text = ['if "1" then &', '  "print a" &', '  "print b"', 'print """', "two lines", '"""', "run 0"]
    assert list(read_commands(text)) == [
        'if "1" then   "print a"   "print b"',
        'print """\ntwo lines\n"""',
        "run 0",
    ]
    assert split_arguments(["-log", "none", "-in", "in.lammps", "-var", "i", "1"]) == (
        "in.lammps",
        ["-log", "none", "-var", "i", "1"],
    )
    assert split_arguments(["-log", "none"]) == (None, ["-log", "none"])


@pytest.fixture(scope="module")
def potential(folders, tmp_path_factory):
    return add_model_file(save_tiny_mace(tmp_path_factory.mktemp("model") / "tiny.model"), "tiny", trust=True)


@pytest.fixture(scope="module")
def make_deck(potential):
    """A deck of 26 atoms with the tiny model: 0.11 ps of melt at constant volume, 0.05 ps of quench at 1 bar."""
    from napos_lmp.composition import Composition
    from napos_lmp.deck import present_elements, render_deck
    from napos_lmp.protocol import Melt, Protocol, Quench
    from napos_lmp.structure import pack

    composition = Composition.parse("Na4P2S5O2")
    counts = composition.cell(26).counts
    structure = pack(counts, 1.8, 3, present_elements(potential, counts))

    def make(folder: Path, *, melt_ps: float = 0.11, quench_ps: float = 0.05) -> Path:
        stages = (
            Melt(temperature_K=600, duration_ps=melt_ps, dump_steps=10),
            Quench(ensemble="npt", end_temperature_K=500, rate_K_per_ps=100 / quench_ps, dump_steps=10),
        )
        protocol = Protocol(name="test", stages=stages, timestep_fs=1.0, thermo_ps=0.01, restart_ps=0.02)
        render_deck(
            folder, composition=composition, potential=potential, protocol=protocol, seed=3, structure=structure
        )
        return folder

    return make


def bridges(deck: Path) -> list[int]:
    """Processes of the bridge that work in the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            working = (process / "cwd").resolve() == deck.resolve()
            if working and b"napos_lmp.engine.bridge" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def wait_for_step(deck: Path, step: int, engine: subprocess.Popen) -> None:
    deadline, log = time.monotonic() + 300, deck / "log/thermo.000.log"
    while not log.is_file() or max(map(int, re.findall(r"^ +(\d+) +0\.", log.read_text(), re.M)), default=-1) < step:
        assert engine.poll() is None, engine.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def potential_energies(deck: Path, segment: int) -> dict[int, float]:
    """Potential energy by step in the log of one segment."""
    rows = [line.split() for line in (deck / f"log/thermo.{segment:03d}.log").read_text().splitlines()]
    return {int(row[0]): float(row[3]) for row in rows if len(row) == 15 and row[0].isdigit()}


def test_deck_is_killed_resumed_stopped_and_finished_like_any_other(make_deck, calculator, tmp_path):
    """Steps that were run twice have equal energies; ASE gives energy and pressure of the last step of an NPT run."""
    deck = make_deck(tmp_path / "deck", melt_ps=0.61)
    engine = subprocess.Popen([sys.executable, "-c", RUN, str(deck)], stderr=subprocess.PIPE, text=True)
    wait_for_step(deck, 50, engine)
    assert len(bridges(deck)) == 1
    engine.send_signal(signal.SIGKILL)
    engine.wait()
    engine.stderr.close()
    deadline = time.monotonic() + 5
    while bridges(deck) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not bridges(deck)

    def stop_soon(state):
        if state.step >= 80:
            (deck / "STOP").touch()

    stopped = run_deck(deck, progress=stop_soon)
    assert (stopped.outcome, stopped.segment) == ("stopped", 1)
    assert 0 < stopped.first_step < stopped.last_step < 660
    finished = run_deck(deck, progress=False)
    assert (finished.outcome, finished.first_step, finished.last_step) == ("complete", stopped.last_step, 660)
    record = read_run_record(deck)
    assert [segment.outcome for segment in record.segments] == ["killed", "stopped", "complete"]
    assert record.segments[2].command[1:4] == ("-P", "-m", "napos_lmp.engine.bridge")
    steps = DeckTrajectory(deck).universe("02-quench").trajectory.steps
    np.testing.assert_array_equal(steps, np.arange(610, 661, 10))

    energies = [potential_energies(deck, segment) for segment in range(3)]
    for before, after in pairwise(energies):
        shared = set(before) & set(after)
        assert shared
        assert max(abs(before[step] - after[step]) for step in shared) < 26 * 1e-9
    assert_last_step_is_that_of_ase(deck, calculator)


def assert_last_step_is_that_of_ase(deck: Path, calculator) -> None:
    """Energy, and pressure as kinetic part minus stress, on the coordinates that LAMMPS wrote with 16 digits."""
    from napos_lmp.structure import read_data

    structure = read_data(deck / "final.data", read_manifest(deck).elements)
    atoms = Atoms(structure.symbols, positions=structure.positions, cell=structure.cell, pbc=True)
    atoms.calc = calculator
    thermo = DeckTrajectory(deck).thermo("02-quench")
    assert thermo["Step"][-1] == read_manifest(deck).last_step
    assert thermo["PotEng"][-1] == pytest.approx(atoms.get_potential_energy(), abs=26e-8)
    assert thermo["Volume"][-1] == pytest.approx(atoms.get_volume(), rel=1e-9)
    kinetic = 2 * thermo["KinEng"][-1] / (3 * atoms.get_volume())
    pressure = (kinetic - np.trace(atoms.get_stress(voigt=False)) / 3) / (1e5 * units.Pascal)
    assert thermo["Press"][-1] == pytest.approx(pressure, abs=0.05)


def fake_lammps(folder: Path, version: str, packages: str) -> Path:
    """A program that answers `-h` as a LAMMPS of that version and with those packages does."""
    program = folder / "lmp"
    program.write_text(
        "#!/bin/sh\ncat <<'END'\n"
        f"\nLarge-scale Atomic/Molecular Massively Parallel Simulator - {version}\n\n"
        f"Installed packages:\n\n{packages}\n\nList of individual style options included\nEND\n"
    )
    program.chmod(0o755)
    return program


TRICLINIC = """
units metal
atom_style atomic
boundary p p p
atom_modify map yes sort 3 2.0
newton on
read_data structure.data
change_box all triclinic
change_box all xy final 2.5 xz final -1.5 yz final 1.0 remap
include potential.lammps
velocity all create 900 7
fix 1 all npt temp 900 900 0.05 tri 1.0 1.0 0.2
compute each all stress/atom NULL virial
compute sum all reduce sum c_each[*]
compute energy all pe/atom
compute energies all reduce sum c_energy
compute p all pressure NULL virial
thermo_style custom step pe vol xy c_energies c_p[*] c_sum[*]
thermo_modify format float %.16g
thermo 60
neigh_modify every 1 delay 0 check no
dump atoms all custom 60 atoms.dump id x y z c_energy
dump_modify atoms sort id format float %.16g
run 60
write_data final.data nocoeff
"""


def test_triclinic_cell_under_a_barostat_with_atoms_sorted_anew(make_deck, calculator, tmp_path):
    """All six components of the virial, and energies and virials of atoms, as LAMMPS sums them up."""
    from napos_lmp.engine.command import find_lammps
    from napos_lmp.engine.launch import plan_deck_launch
    from napos_lmp.structure import read_data

    deck = make_deck(tmp_path / "deck")
    manifest = read_manifest(deck)
    launch = plan_deck_launch(find_lammps(), manifest, ranks=1, threads=1)
    output = launch.lammps.probe([], deck, TRICLINIC).stdout
    (row,) = (line.split() for line in output.splitlines() if line.split()[:1] == ["60"])
    energy, volume, tilt, sum_of_energies, *rest = map(float, row[1:])
    pressure, sum_of_virials = np.array(rest[:6]), np.array(rest[6:])

    structure = read_data(deck / "final.data", manifest.elements)
    atoms = Atoms(structure.symbols, positions=structure.positions, cell=structure.cell, pbc=True)
    atoms.calc = calculator
    assert tilt != 2.5
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=26e-8)
    assert sum_of_energies == pytest.approx(energy, abs=1e-9)
    assert volume == pytest.approx(atoms.get_volume(), rel=1e-9)
    bar = 1 / 1.6021765e6  # in eV/A^3, as LAMMPS has it in metal units
    stress = atoms.get_stress(voigt=False)[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
    np.testing.assert_allclose(-pressure * bar, stress, rtol=0, atol=1e-8)
    np.testing.assert_allclose(-sum_of_virials, pressure * volume, rtol=1e-9)
    last = (deck / "atoms.dump").read_text().split("ITEM: ATOMS")[-1].splitlines()[1:]
    energies = np.array([float(line.split()[4]) for line in last])
    np.testing.assert_allclose(energies, atoms.get_potential_energies(), rtol=0, atol=1e-8)


class Planted:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    ("version", "packages", "sentence"),
    [
        (
            "22 Jul 2025",
            "MANYBODY ML-IAP PYTHON",
            r"was built without KOKKOS, which pair_style mliap needs: ask for a ",
        ),
        ("22 Jul 2025", "MANYBODY", r"was built without KOKKOS, ML-IAP, PYTHON, .* -D MLIAP_ENABLE_PYTHON=on"),
        ("29 Aug 2024 - Update 1", "KOKKOS ML-IAP\nPYTHON", r"before 2 Apr 2025 pair_style mliap had no exchange"),
        ("10 Dec 2025", "KOKKOS ML-IAP PYTHON", r"10 Dec 2025, whose pair_style mliap gives wrong forces"),
    ],
)
def test_another_lammps_needs_the_packages(make_deck, tmp_path, version, packages, sentence):
    deck = make_deck(tmp_path / "deck")
    program = fake_lammps(tmp_path, version, packages)
    with pytest.raises(PreflightError, match=sentence) as caught:
        run_deck(deck, lammps=program, progress=False)
    assert "\n" not in str(caught.value)


def test_lammps_with_the_packages_is_started_with_kokkos(make_deck, tmp_path):
    from napos_lmp.engine.command import deck_command, find_lammps
    from napos_lmp.engine.launch import plan_deck_launch

    deck = make_deck(tmp_path / "deck")
    lammps = find_lammps(fake_lammps(tmp_path, "10 Sep 2025 - Development", "KOKKOS ML-IAP PYTHON"))
    launch = plan_deck_launch(lammps, read_manifest(deck), ranks=1, threads=3)
    assert "those of October to December 2025 give wrong forces" in launch.warnings[0]
    assert deck_command(launch.lammps, "in.lammps", 1, {"segment": "0"}, launch.switches) == [
        *(str(tmp_path / "lmp"), "-k", "on", "t", "3", "-sf", "kk", "-pk", "kokkos", "newton", "on", "neigh", "half"),
        *("-in", "in.lammps", "-log", "none", "-nonbuf", "-var", "segment", "0"),
    ]
    for_gpus = read_manifest(deck).model_copy(update={"gpus": 4})
    assert plan_deck_launch(lammps, for_gpus, ranks=4, threads=1).switches[:4] == ("-k", "on", "g", "4")


def test_bridge_refuses_ranks(make_deck, tmp_path):
    deck = make_deck(tmp_path / "deck")
    with pytest.raises(PreflightError, match=r"through the CPU bridge, on one rank and not on 2: use --threads in the"):
        run_deck(deck, ranks=2, progress=False)


def test_what_is_wrong_with_the_model_is_said_before_the_first_step(make_deck, tmp_path):
    deck = make_deck(tmp_path / "deck")
    include = deck / "potential.lammps"
    include.write_text(re.sub(r"\* \* .*", "* * O Na P Se", include.read_text()))
    checks = {check.name: check for check in check_deck(deck, force=True)}
    assert checks["packages"].sentence == "without KOKKOS, ML-IAP, PYTHON: through the CPU bridge"
    assert checks["potential in LAMMPS"].sentence == "the model does not know Se; it knows O Na P S"

    planted = tmp_path / "planted"
    (deck / "potential/model.pt").unlink()
    (deck / "potential/model.pt").write_bytes(pickle.dumps(Planted(planted)))
    probes._load_potential.cache_clear()
    checks = {check.name: check for check in check_deck(deck, force=True)}
    assert checks["potential"].status == checks["potential in LAMMPS"].status == "fail"
    assert "has not been accepted here and is not opened" in checks["potential in LAMMPS"].sentence
    assert not planted.exists()
