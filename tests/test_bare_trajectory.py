"""Trajectories without a deck: real LAMMPS output in many formats, against MDAnalysis and ASE, and what is refused."""

import gzip
import json
import re
import subprocess
import sys
import warnings

import ase.io
import MDAnalysis
import numpy as np
import pytest
from ase.geometry import cell_to_cellpar
from universes import quartz, sodium_thiophosphate

from napos_lmp.analysis.pairs.rdf import PartialRDF
from napos_lmp.analysis.structure import StructureOptions
from napos_lmp.analysis.trajectory import analyse_trajectories, analyse_trajectory
from napos_lmp.bare_trajectory import open_trajectory
from napos_lmp.engine.command import find_lammps
from napos_lmp.errors import AnalysisError, TrajectoryError
from napos_lmp.lammps_dump import LammpsDump

SCRIPT = """
units metal
region box prism -3 21 1 23 0 20 5 -4 3
create_box 3 box
create_atoms 1 random 80 11 box
create_atoms 2 random 30 12 box
create_atoms 3 random 90 13 box
mass 1 22.98976928  # Na
mass 2 30.973762
mass 3 32.06
pair_style lj/cut 8
pair_coeff * * 0.01 2.5
pair_coeff 2 3 0.05 1.9
minimize 1e-4 1e-4 100 100
reset_timestep 0
velocity all create 900 1
fix 1 all nve
dump a all custom 20 wrapped.dump id type x y z
dump b all custom 20 scaled.dump xs ys zs type id
dump c all custom 20 unwrapped.dump.gz id element xu yu zu vx type
dump_modify c element Na P S
dump_modify a sort off
dump d all custom 20 scaled-unwrapped.lammpstrj type id xsu ysu zsu
dump e all dcd 20 glass.dcd
dump_modify e unwrap yes
dump f all custom 20 unnamed.dump id element x y z type
dump g all xtc 20 glass.xtc
dump h all xyz 20 plain.xyz
dump_modify h element Na P S
run 200
write_data structure.data nocoeff
"""
FRAMES = 11
COUNTS = {"Na": 80, "P": 30, "S": 90}
ELEMENTS = ["Na", "P", "S"]
DUMPS = ("wrapped.dump", "scaled.dump", "unwrapped.dump.gz", "scaled-unwrapped.lammpstrj")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bare")
    (folder / "in.lammps").write_text(SCRIPT)
    find_lammps().probe(["-in", "in.lammps"], folder)
    return folder


def positions_of(universe):
    return [
        (ts.positions.astype(float).copy(), ts.triclinic_dimensions.astype(float).copy()) for ts in universe.trajectory
    ]


def assert_same_up_to_images(ours, theirs, tolerance):
    assert len(ours) == len(theirs)
    for (here, box), (there, other) in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(box, other, atol=1e-4)
        apart = (here - there) @ np.linalg.inv(box)
        apart -= apart[0]
        np.testing.assert_allclose((apart - np.rint(apart)) @ box, 0, atol=tolerance)


def write_dump(path, frames, box="0 10\n0 10\n0 10", bounds="pp pp pp", columns="id type x y z"):
    """Frames as lists of lines of atoms."""
    text = ""
    for step, lines in enumerate(frames):
        header = f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{len(lines)}\nITEM: BOX BOUNDS {bounds}\n{box}\n"
        text += header + f"ITEM: ATOMS {columns}\n" + "".join(f"{line}\n" for line in lines)
    path.write_text(text)
    return path


def crystal_lines(atoms, shake=0.02, frames=4, seed=0):
    """Lines `id type x y z` of a shaken crystal, types by first occurrence of the elements."""
    random = np.random.default_rng(seed)
    kinds = list(dict.fromkeys(atoms.get_chemical_symbols()))
    types = [kinds.index(symbol) + 1 for symbol in atoms.get_chemical_symbols()]
    for _ in range(frames):
        moved = atoms.positions + random.normal(0, shake, atoms.positions.shape)
        yield [f"{k} {t} {x:.6f} {y:.6f} {z:.6f}" for k, (t, (x, y, z)) in enumerate(zip(types, moved, strict=True), 1)]


@pytest.fixture
def crystal_dump(tmp_path):
    atoms = sodium_thiophosphate((2, 2, 2))
    box = "\n".join(f"0 {length}" for length in atoms.cell.lengths())
    return write_dump(tmp_path / "crystal.dump", crystal_lines(atoms), box)


class TestDumps:
    @pytest.mark.parametrize("name", DUMPS)
    def test_frames_are_those_of_mdanalysis(self, folder, name):
        ours = open_trajectory(folder / name, elements=ELEMENTS).universe
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = MDAnalysis.Universe(str(folder / name), format="LAMMPSDUMP", topology_format="LAMMPSDUMP")
        assert [ts.data["step"] for ts in ours.trajectory] == list(range(0, 201, 20))
        assert_same_up_to_images(positions_of(ours), positions_of(theirs), 2e-4)

    @pytest.mark.parametrize("name", DUMPS[1:])
    def test_all_conventions_are_the_same_atoms(self, folder, name):
        first = open_trajectory(folder / DUMPS[0], elements=ELEMENTS).universe
        other = open_trajectory(folder / name, elements=ELEMENTS).universe
        assert list(other.atoms.elements) == list(first.atoms.elements)
        assert_same_up_to_images(positions_of(first), positions_of(other), 5e-4)

    def test_elements_are_read_from_the_dump(self, folder):
        opened = open_trajectory(folder / "unwrapped.dump.gz")
        assert "unwrapped.dump.gz names them" in opened.elements_from
        assert {e: list(opened.universe.atoms.elements).count(e) for e in ELEMENTS} == COUNTS

    def test_general_triclinic_box_is_turned(self, tmp_path):
        atoms = quartz((3, 3, 3))
        atoms.rotate(37, (1, 2, 3), rotate_cell=True)
        assert np.abs(np.triu(atoms.cell.array, 1)).max() > 1
        box = "\n".join(
            " ".join(map(str, (*vector, shift))) for vector, shift in zip(atoms.cell, (1, -2, 3), strict=True)
        )
        atoms.positions += (1, -2, 3)
        path = write_dump(tmp_path / "general.dump", crystal_lines(atoms, 0, 1), box, "abc origin pp pp pp")
        universe = open_trajectory(path, elements=["Si", "O"]).universe
        np.testing.assert_allclose(universe.dimensions, cell_to_cellpar(atoms.cell.array), rtol=1e-5)
        pair = PartialRDF(universe, r_max=2.0).run().pair("Si", "O")
        assert pair.running["O around Si"][-1] == 4
        assert pair.peak == pytest.approx(1.61, abs=0.03)

    def test_atoms_without_ids_keep_their_order(self, tmp_path):
        lines = [["1 1 1 1", "2 4 4 4"], ["1 1 1 2", "2 4 4 5"]]
        universe = open_trajectory(
            write_dump(tmp_path / "a.dump", lines, columns="type x y z"), elements=["P", "S"]
        ).universe
        assert universe.trajectory[1].positions.tolist() == [[1, 1, 2], [4, 4, 5]]

    def test_atoms_without_ids_that_change_places_are_refused(self, tmp_path):
        path = write_dump(tmp_path / "a.dump", [["1 1 1 1", "2 4 4 4"], ["2 4 4 5", "1 1 1 2"]], columns="type x y z")
        with pytest.raises(TrajectoryError, match="other types than the first; dump a column id"):
            open_trajectory(path, elements=["P", "S"]).universe.trajectory[1]

    def test_atoms_that_swap_types_are_refused(self, tmp_path):
        path = write_dump(tmp_path / "a.dump", [["1 1 1 1 1", "2 2 4 4 4"], ["1 2 1 1 1", "2 1 4 4 4"]])
        with pytest.raises(TrajectoryError, match=r"frame 1 \(step 1\) .* other types than the first"):
            open_trajectory(path, elements=["P", "S"]).universe.trajectory[1]

    def test_type_labels_are_elements(self, tmp_path):
        path = write_dump(tmp_path / "a.dump", [["1 P 1 1 1", "2 S 4 4 4"]], columns="id typelabel x y z")
        assert list(open_trajectory(path).universe.atoms.elements) == ["P", "S"]

    @pytest.mark.parametrize("cut", [3, 500, 4000])
    def test_cut_last_frame_is_left_out_with_a_message(self, folder, tmp_path, cut):
        path = tmp_path / "cut.dump"
        path.write_bytes((folder / "wrapped.dump").read_bytes()[:-cut])
        opened = open_trajectory(path, elements=ELEMENTS)
        assert len(opened.universe.trajectory) == FRAMES - 1
        assert opened.messages == ("frame 10 (step 200) is cut short and was left out",)

    def test_cut_packed_file_is_read_as_far_as_it_goes(self, folder, tmp_path):
        path = tmp_path / "cut.dump.gz"
        path.write_bytes((folder / "unwrapped.dump.gz").read_bytes()[:-3000])
        opened = open_trajectory(path)
        assert 0 < len(opened.universe.trajectory) < FRAMES
        assert "cut short" in opened.messages[0]

    def test_times_and_units_between_frames(self, tmp_path):
        path = write_dump(tmp_path / "a.dump", [["1 1 1 1 1"], ["1 1 2 2 2"]])
        path.write_text(
            "ITEM: UNITS\nmetal\n" + path.read_text().replace("ITEM: TIMESTEP", "ITEM: TIME\n0.5\nITEM: TIMESTEP")
        )
        assert len(open_trajectory(path, elements=["Na"]).universe.trajectory) == 2
        path.write_text(path.read_text().replace("metal", "lj"))
        with pytest.raises(TrajectoryError, match="units lj"):
            open_trajectory(path, elements=["Na"])


class TestOtherFormats:
    @pytest.mark.parametrize("name", ["glass.dcd", "glass.xtc"])
    def test_with_a_data_file_as_topology(self, folder, name):
        opened = open_trajectory(folder / name, topology=folder / "structure.data")
        dump = open_trajectory(folder / "wrapped.dump", elements=ELEMENTS)
        assert list(opened.universe.atoms.elements) == list(dump.universe.atoms.elements)
        assert_same_up_to_images(positions_of(opened.universe), positions_of(dump.universe), 0.03)

    def test_topology_with_charges_needs_elements(self, folder, tmp_path):
        text = (folder / "structure.data").read_text().replace("Atoms # atomic", "Atoms # charge")
        atoms = re.search(r"Atoms # charge\n\n(.*?)\n\n", text, re.DOTALL)
        lines = [" ".join([*line.split()[:2], "0.5", *line.split()[2:]]) for line in atoms[1].splitlines()]
        path = tmp_path / "charged.data"
        path.write_text(text.replace(atoms[1], "\n".join(lines)))
        with pytest.raises(TrajectoryError, match=r"names no elements; give one for each type.*1 \(80 atoms\), 2 \(30"):
            open_trajectory(folder / "glass.dcd", topology=path)
        opened = open_trajectory(folder / "glass.dcd", topology=path, elements=ELEMENTS)
        reference = open_trajectory(folder / "wrapped.dump", elements=ELEMENTS)
        assert list(opened.universe.atoms.elements) == list(reference.universe.atoms.elements)

    @pytest.mark.parametrize("suffix", [".extxyz", ".xyz", ".xyz.gz"])
    def test_extended_xyz_is_what_ase_wrote(self, tmp_path, suffix):
        atoms = quartz((2, 2, 2))
        atoms.rotate(20, (1, 1, 0), rotate_cell=True)
        frames = [atoms.copy() for _ in range(3)]
        for k, frame in enumerate(frames):
            frame.rattle(0.05, seed=k)
            frame.arrays["forces"] = np.ones_like(frame.positions)
        ase.io.write(tmp_path / f"a{suffix}", frames, format="extxyz")
        universe = open_trajectory(tmp_path / f"a{suffix}").universe
        assert list(universe.atoms.elements) == atoms.get_chemical_symbols()
        for ts, frame in zip(universe.trajectory, frames, strict=True):
            np.testing.assert_allclose(ts.dimensions, cell_to_cellpar(frame.cell.array), rtol=1e-5)
            scaled = ts.positions @ np.linalg.inv(ts.triclinic_dimensions)
            np.testing.assert_allclose(scaled, frame.get_scaled_positions(wrap=False), atol=1e-5)

    def test_cut_xyz(self, tmp_path):
        ase.io.write(tmp_path / "a.xyz", [quartz((1, 1, 1))] * 3, format="extxyz")
        text = (tmp_path / "a.xyz").read_text()
        (tmp_path / "a.xyz").write_text(text[:-200])
        opened = open_trajectory(tmp_path / "a.xyz")
        assert len(opened.universe.trajectory) == 2
        assert "frame 2 is cut short" in opened.messages[0]

    def test_any_other_file_of_mdanalysis(self, tmp_path, crystal_dump):
        universe = open_trajectory(crystal_dump, elements=ELEMENTS).universe
        universe.add_TopologyAttr("names", list(universe.atoms.elements))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            universe.atoms.write(str(tmp_path / "crystal.pdb"), frames="all")
        opened = open_trajectory(tmp_path / "crystal.pdb")
        assert list(opened.universe.atoms.elements) == list(universe.atoms.elements)
        assert len(opened.universe.trajectory) == 4


class TestAnalysis:
    def test_crystal_is_all_isolated_tetrahedra(self, crystal_dump):
        result = analyse_trajectory(crystal_dump, elements=ELEMENTS)
        assert result.formula == "Na3PS4"
        assert result.counts == {"Na": 48, "P": 16, "S": 64}
        assert result.get("unit.P.n0").value == 100
        assert result.get("shell.P.PS4").value == 100
        assert result.get("peak.P-S").value == pytest.approx(2.05, abs=0.05)
        assert result.get("density").value == pytest.approx(2.2, abs=0.02)
        assert result.result.n_frames == result.result.used_frames == 4
        assert "--frame-ps" in result.result.refusals["transport"]
        folder = crystal_dump.with_name("crystal-analysis")
        assert json.loads((folder / "analysis.json").read_text()) == result.model_dump(mode="json")
        assert {*result.result.files.values(), "analysis.json"} == {path.name for path in folder.iterdir()}

    def test_second_call_reads_until_settings_or_file_change(self, crystal_dump):
        first = analyse_trajectory(crystal_dump, elements=ELEMENTS)
        path = crystal_dump.with_name("crystal-analysis") / "analysis.json"
        before = path.stat().st_mtime_ns
        assert analyse_trajectory(crystal_dump, elements=ELEMENTS, options=StructureOptions(workers=1)) == first
        assert path.stat().st_mtime_ns == before
        assert (
            analyse_trajectory(crystal_dump, elements=ELEMENTS, options=StructureOptions(stop=2)).result.used_frames
            == 2
        )
        crystal_dump.write_text(crystal_dump.read_text())
        assert analyse_trajectory(crystal_dump, elements=ELEMENTS).inputs != first.inputs

    def test_folder_with_something_else_is_not_overwritten(self, crystal_dump, tmp_path):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "thesis.tex").write_text("x")
        with pytest.raises(AnalysisError, match="not overwritten"):
            analyse_trajectory(crystal_dump, elements=ELEMENTS, out=tmp_path / "mine")

    def test_two_trajectories_need_two_folders(self, crystal_dump, tmp_path):
        other = crystal_dump.with_suffix(".lammpstrj")
        other.write_bytes(crystal_dump.read_bytes())
        with pytest.raises(AnalysisError, match="one by one"):
            analyse_trajectories([crystal_dump, other], elements=ELEMENTS)

    def test_results_do_not_depend_on_the_format(self, folder, tmp_path):
        found = [
            analyse_trajectory(folder / name, elements=ELEMENTS, out=tmp_path / name, options=StructureOptions(step=2))
            for name in DUMPS
        ]
        keys = [q.key for q in found[0].result.quantities if q.key.startswith(("unit.", "shell.", "anion."))]
        assert keys
        for other in found[1:]:
            for key in keys:
                assert other.get(key).value == pytest.approx(found[0].get(key).value, abs=0.7)

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            (StructureOptions(cutoffs={"P-S": 9.0}), r"cutoff P-S of 9 A is longer than half .* 6\.96 A"),
            (StructureOptions(cutoffs={"P-Cl": 2.0}), "'P-Cl' is no pair of the formers and anions P, S"),
            (StructureOptions(cutoffs={"P-S": -1.0}), "must be positive"),
            (StructureOptions(formers=["Si"]), "'Si' is not in the system; it has Na, P, S"),
            (StructureOptions(anions=["O"]), "'O' is not in the system"),
            (StructureOptions(start=9), "select none of the trajectory's 4 frames"),
            (StructureOptions(step=0), "step is 0"),
            (StructureOptions(workers=0), "workers is 0"),
        ],
    )
    def test_impossible_options(self, crystal_dump, options, sentence):
        with pytest.raises(AnalysisError, match=sentence):
            analyse_trajectory(crystal_dump, elements=ELEMENTS, options=options)
        assert not crystal_dump.with_name("crystal-analysis").exists()

    def test_identical_frames(self, tmp_path):
        (lines,) = crystal_lines(sodium_thiophosphate((2, 2, 2)), frames=1)
        path = write_dump(tmp_path / "still.dump", [lines] * 3, "0 13.912\n0 13.912\n0 14.176")
        with pytest.raises(AnalysisError, match="all 3 frames are identical"):
            analyse_trajectory(path, elements=ELEMENTS)

    def test_no_anion_bonds(self, crystal_dump):
        result = analyse_trajectory(crystal_dump, elements=ELEMENTS, options=StructureOptions(cutoffs={"P-S": 0.5}))
        assert "no anion (S) is bonded" in result.result.refusals["network"]
        assert "rdf" in result.result.files


class TestElements:
    @pytest.mark.parametrize(
        ("given", "sentence"),
        [
            (None, r"names no elements; give one for each type, in this order \(--elements\): 1 \(48 atoms\), 2 \(16"),
            (["Na", "P"], r"names 2 \(Na, P\) but crystal\.dump has 3 types: 1 \(48 atoms\)"),
            (["Na", "P", "S", "O"], r"names 4 \(Na, P, S, O\) but crystal\.dump has 3 types"),
            (["Na", "P", "Sx"], "'Sx' is no element"),
        ],
    )
    def test_missing_and_wrong(self, crystal_dump, given, sentence):
        with pytest.raises(TrajectoryError, match=sentence):
            open_trajectory(crystal_dump, elements=given)

    def test_types_without_atoms_count(self, tmp_path):
        path = write_dump(tmp_path / "a.dump", [["1 1 1 1 1", "2 4 4 4 4"]])
        with pytest.raises(TrajectoryError, match=r"3 \(no atoms\), 4 \(1 atom\)"):
            open_trajectory(path, elements=["Na", "O"])
        universe = open_trajectory(path, elements=["Na", "P", "S", "O"]).universe
        assert list(universe.atoms.elements) == ["Na", "O"]

    def test_names_that_lammps_made_up(self, folder):
        with pytest.raises(TrajectoryError, match="calls all types C"):
            open_trajectory(folder / "unnamed.dump")

    def test_given_elements_win_over_names(self, folder):
        assert set(open_trajectory(folder / "unnamed.dump", elements=ELEMENTS).universe.atoms.elements) == {*ELEMENTS}

    def test_names_that_are_no_elements(self, tmp_path):
        path = write_dump(tmp_path / "a.dump", [["1 Qq 1 1 1"]], columns="id element x y z")
        with pytest.raises(TrajectoryError, match="'Qq', which is no element"):
            open_trajectory(path)

    def test_neither_types_nor_names(self, folder):
        with pytest.raises(TrajectoryError, match="no types either, so give a topology"):
            open_trajectory(folder / "glass.dcd")
        with pytest.raises(TrajectoryError, match="no types that elements could be given to"):
            open_trajectory(folder / "glass.dcd", elements=ELEMENTS)


class TestBadFiles:
    @pytest.mark.parametrize("name", ["wrapped.dump", "glass.dcd", "plain.xyz"])
    def test_topology_of_another_size(self, folder, tmp_path, name):
        ase.io.write(tmp_path / "other.xyz", quartz((1, 1, 1)), format="extxyz")
        with pytest.raises(TrajectoryError, match=r"has 200 atoms, the topology other\.xyz 9"):
            open_trajectory(folder / name, topology=tmp_path / "other.xyz")

    def test_frame_without_a_box(self, folder, tmp_path):
        with pytest.raises(AnalysisError, match=r"plain\.xyz: frame 0 has no periodic box"):
            analyse_trajectory(folder / "plain.xyz", out=tmp_path / "out")
        path = tmp_path / "a.dump"
        path.write_text((folder / "wrapped.dump").read_text().replace("ITEM: BOX BOUNDS", "ITEM: BOX"))
        with pytest.raises(TrajectoryError, match=r"frame 0 \(step 0\) of a\.dump has no periodic box"):
            open_trajectory(path, elements=ELEMENTS)

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"bounds": "pp pp ff"}, r"not periodic along z \(ff\)"),
            ({"box": "0 10\n0 10\n0 0"}, "without volume"),
            ({"box": "0 10\n0 ten\n0 10"}, "damaged box"),
            ({"columns": "id type mass vx vy"}, "has no positions"),
        ],
    )
    def test_headers(self, tmp_path, changes, sentence):
        path = write_dump(tmp_path / "a.dump", [["1 1 1 1 1"]], **changes)
        with pytest.raises(TrajectoryError, match=sentence):
            open_trajectory(path, elements=["Na"])

    @pytest.mark.parametrize(
        ("second", "sentence"),
        [
            (["1 1 1 1 1"], "has 1 atoms, the first 2"),
            (["1 1 1 1 1", "3 1 2 2 2"], "other ids than the first"),
            (["1 1 1 1 1", "2 1 2 x 2"], r"frame 1 \(step 1\) of a\.dump is damaged"),
            (["1 1 1 1 1", "2 1 2"], r"frame 1 \(step 1\) of a\.dump is damaged"),
            (["1 1 1 1 1", "2 1 2 nan 2"], "no finite numbers"),
        ],
    )
    def test_later_frames(self, tmp_path, second, sentence):
        path = write_dump(tmp_path / "a.dump", [["1 1 1 1 1", "2 1 3 3 3"], second])
        with pytest.raises(TrajectoryError, match=sentence):
            analyse_trajectory(path, elements=["S"])
        assert not tmp_path.joinpath("a-analysis").exists()

    @pytest.mark.parametrize(
        ("name", "content", "sentence"),
        [
            ("a.dump", b"", "is empty"),
            ("a.dump", b"ITEM: TIMESTEP\n0\nITEM: NUMB", "holds no whole frame"),
            ("a.xyz", b"hello\nworld\n", "holds no whole frame"),
            ("a.dump.gz", gzip.compress(b"ITEM: TIMESTEP\n0\n") + b"x" * 50, "cannot be read"),
            ("a.xtc", b"no trajectory at all", "cannot be read by MDAnalysis"),
            ("a.foo", b"no trajectory at all", "cannot be read by MDAnalysis"),
        ],
    )
    def test_files_that_are_none(self, tmp_path, name, content, sentence):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(TrajectoryError, match=sentence):
            open_trajectory(tmp_path / name)

    def test_missing_files(self, folder, tmp_path):
        with pytest.raises(TrajectoryError, match="is no file"):
            open_trajectory(tmp_path / "none.dump")
        with pytest.raises(TrajectoryError, match=r"topology .* is no file"):
            open_trajectory(folder / "glass.dcd", topology=tmp_path / "none.data")

    def test_two_atoms_with_one_id(self, tmp_path):
        path = write_dump(tmp_path / "a.dump", [["1 1 1 1 1", "1 1 3 3 3"]])
        with pytest.raises(TrajectoryError, match="two atoms with the same id"):
            LammpsDump(path)


def command(*arguments):
    run = [sys.executable, "-c", "from napos_lmp.cli import main; main()", "analyse", *map(str, arguments)]
    return subprocess.run(run, capture_output=True, text=True, check=False)


class TestCommand:
    def test_elements_with_spaces_or_commas(self, crystal_dump, tmp_path):
        done = command(
            crystal_dump, "--elements", "Na", "P", "S", "--cutoff", "P-S=2.6", "--workers", "1", "--stop", "3"
        )
        assert done.returncode == 0, done.stderr
        path = crystal_dump.with_name("crystal-analysis") / "analysis.json"
        assert done.stdout.split() == [str(path)]
        assert "transport: not measured" in done.stderr
        content = json.loads(path.read_text())
        assert content["settings"] == {"elements": ELEMENTS, "stop": 3, "cutoffs": {"P-S": 2.6}}
        done = command(crystal_dump, "--elements", "Na,P,S", "--out", tmp_path / "here", "--json")
        assert json.loads(done.stdout)[0]["formula"] == "Na3PS4"
        assert (tmp_path / "here" / "rdf.csv").is_file()

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (("{dump}",), "names no elements"),
            (("{dump}", "--elements", "Na,P,S", "--cutoff", "P-S"), "must read like P-S=2.6"),
            (("{dump}", "--elements", "Na,P,S", "--cutoff", "P-S=9"), "longer than half"),
            (("{folder}/nothing.dump",), "neither a deck nor a study"),
        ],
    )
    def test_mistakes_are_one_sentence(self, crystal_dump, arguments, sentence):
        done = command(*(a.format(dump=crystal_dump, folder=crystal_dump.parent) for a in arguments))
        assert done.returncode == 2
        assert sentence in done.stderr
        assert done.stderr.startswith("error: ")
        assert len(done.stderr.strip().splitlines()) == 1

    def test_options_of_trajectories_are_refused_for_decks(self, tmp_path):
        from synthetic_decks import melt_quench_stages, write_deck

        write_deck(tmp_path / "deck", melt_quench_stages())
        done = command(tmp_path / "deck", "--elements", "Na,P,S")
        assert done.returncode == 2
        assert "--elements is for files of trajectories" in done.stderr
