"""Joined trajectories against text dumps that the same LAMMPS runs wrote beside the DCD files."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napos_lmp.errors import DeckError, TrajectoryError
from napos_lmp.manifest import (
    Dump,
    Manifest,
    PotentialRecord,
    Restart,
    StageRecord,
    StructureRecord,
    write_manifest,
)
from napos_lmp.trajectory import DeckTrajectory

STRIDE, THERMO, TIMESTEP_FS = 20, 10, 2.0
ELEMENTS = ("Na", "S")
MELT_END, PRODUCE_END = 400, 800

INPUT = """
units metal
atom_style atomic
atom_modify map yes
variable resume index none
variable segment index 000
variable until index 800
if "${segment} == 0" then "read_data structure.data" else "read_restart ${resume}"
log log/thermo.${segment}.log
pair_style lj/cut 7
pair_coeff * * 0.01 3.4
pair_coeff 1 2 0.012 3.3
timestep 0.002
thermo 10
thermo_style custom step temp press vol
restart 50 restart/a.restart restart/b.restart
if "${segment} == 0" then &
  "velocity all create 900 11" "thermo_style custom step temp pe" "minimize 0 1e-3 30 300" "reset_timestep 0" &
  "thermo_style custom step temp press vol" else "velocity all create 700 5"
variable melt_until equal "ternary(v_until < 400, v_until, 400)"
if "$(step) < 400" then &
  "fix 1 all npt temp 900 900 0.1 tri 0 0 0.5" &
  "dump 1 all dcd 20 trajectory/01-melt.${segment}.dcd" "dump_modify 1 unwrap yes" &
  "dump t1 all custom 20 text/01-melt.${segment}.txt id type xu yu zu" "dump_modify t1 sort id format float %.9g" &
  "run ${melt_until} upto" "unfix 1" "undump 1" "undump t1"
if "$(step) >= ${until}" then "quit 0"
fix 2 all nvt temp 900 900 0.1
dump 2 all dcd 20 trajectory/02-produce.${segment}.dcd
dump_modify 2 unwrap yes
dump t2 all custom 20 text/02-produce.${segment}.txt id type xu yu zu
dump_modify t2 sort id format float %.9g
run ${until} upto
"""


def lammps(folder: Path, *arguments: str) -> None:
    lmp = Path(sys.executable).parent / "lmp"
    command = [lmp, "-in", "in.lammps", "-screen", "none", *arguments]
    subprocess.run(command, cwd=folder, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def data_file(triclinic: bool) -> str:
    """An fcc crystal of 108 atoms, every third one S, ids in shuffled order."""
    a, n = 5.4, 3
    basis = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    shifts = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    fractional = (shifts + basis).reshape(-1, 3) / n
    xy, xz, yz = (2.0, -1.0, 1.5) if triclinic else (0.0, 0.0, 0.0)
    cell = np.array([[n * a, 0, 0], [xy, n * a, 0], [xz, yz, n * a]])
    positions = fractional @ cell
    order = np.random.default_rng(3).permutation(len(positions))
    lines = [f"{i + 1} {2 if i % 3 == 0 else 1} {x:.8f} {y:.8f} {z:.8f}" for i, (x, y, z) in enumerate(positions)]
    head = ["LAMMPS data", "", f"{len(positions)} atoms", "2 atom types", ""]
    head += [f"0 {n * a} {axis}lo {axis}hi" for axis in "xyz"]
    head += [f"{xy} {xz} {yz} xy xz yz"] if triclinic else []
    head += ["", "Masses", "", "1 22.98976928 # Na", "2 32.06 # S", "", "Atoms # atomic", ""]
    return "\n".join([*head, *(lines[i] for i in order)]) + "\n"


def stage(name: str, kind: str, first: int, last: int) -> StageRecord:
    dump = None if kind == "minimise" else Dump(pattern=f"trajectory/{name}.*.dcd", stride=STRIDE)
    return StageRecord(
        name=name,
        kind=kind,
        ensemble=None if kind == "minimise" else "nvt",
        first_step=first,
        last_step=last,
        temperature_start_K=900,
        temperature_stop_K=900,
        pressure_bar=None,
        dump=dump,
    )


def manifest() -> Manifest:
    return Manifest(
        program_version="0",
        label="test",
        formula="Na2S",
        seed=1,
        timestep_fs=TIMESTEP_FS,
        elements=ELEMENTS,
        structure=StructureRecord(
            file="structure.data",
            source_deck=None,
            source_file=None,
            n_atoms=108,
            counts={"Na": 72, "S": 36},
            composition_error=0,
            density_g_cm3=2,
            charges={"Na": 1.0, "S": -2.0},
        ),
        potential=PotentialRecord(
            name="lj", backend="none", file="none", sha256="0", elements=ELEMENTS, cutoff_A=7, card={}
        ),
        stages=(
            stage("00-minimise", "minimise", 0, 0),
            stage("01-melt", "melt", 0, MELT_END),
            stage("02-produce", "produce", MELT_END, PRODUCE_END),
        ),
        restart=Restart(stride=50),
        thermo_stride=THERMO,
        lammps_styles=(),
        protocol={},
        templates={},
        files={},
    )


def make_deck(folder: Path, triclinic: bool) -> Path:
    for name in ("trajectory", "text", "log", "restart"):
        (folder / name).mkdir(parents=True)
    text = INPUT if triclinic else INPUT.replace("npt temp 900 900 0.1 tri 0 0 0.5", "npt temp 900 900 0.1 iso 0 0 0.5")
    (folder / "in.lammps").write_text(text)
    (folder / "structure.data").write_text(data_file(triclinic))
    write_manifest(folder, manifest())
    return folder


@pytest.fixture(scope="module", params=[False, True], ids=["orthogonal", "triclinic"])
def finished(request, tmp_path_factory) -> Path:
    """A deck run to step 330, resumed from its restart at 300 with new velocities, and finished."""
    folder = make_deck(tmp_path_factory.mktemp("decks") / "deck", request.param)
    lammps(folder, "-var", "until", "330")
    newest = max(folder.glob("restart/?.restart"), key=lambda path: path.stat().st_mtime_ns)
    lammps(folder, "-var", "resume", str(newest), "-var", "segment", "001")
    return folder


@pytest.fixture
def deck(finished, tmp_path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(finished, tmp_path / "deck")
    return tmp_path / "deck"


def text_frames(folder: Path, name: str) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Step -> (cell rows, positions relative to the box origin) from a LAMMPS text dump."""
    lines = (folder / "text" / name).read_text().split("\n")
    frames = {}
    for start in (i for i, line in enumerate(lines) if line == "ITEM: TIMESTEP"):
        count = int(lines[start + 3])
        box = np.array([[float(word) for word in line.split()] for line in lines[start + 5 : start + 8]])
        xy, xz, yz = box[:, 2] if box.shape[1] == 3 else (0.0, 0.0, 0.0)
        low = box[:, 0] - [min(0, xy, xz, xy + xz), min(0, yz), 0]
        high = box[:, 1] - [max(0, xy, xz, xy + xz), max(0, yz), 0]
        lengths = high - low
        cell = np.array([[lengths[0], 0, 0], [xy, lengths[1], 0], [xz, yz, lengths[2]]])
        rows = np.array([line.split() for line in lines[start + 9 : start + 9 + count]], dtype=float)
        assert np.array_equal(rows[:, 0], np.arange(1, count + 1))
        frames[int(lines[start + 1])] = (cell, rows[:, 2:])
    return frames


def joined_text(folder: Path, stage_name: str) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """The frames of both segments, the later one winning."""
    frames = {}
    for path in sorted((folder / "text").glob(f"{stage_name}.*.txt")):
        frames.update(text_frames(folder, path.name))
    return dict(sorted(frames.items()))


def positions(universe) -> np.ndarray:
    return np.array([ts.positions.copy() for ts in universe.trajectory])


@pytest.mark.parametrize("stage_name", ["01-melt", "02-produce"])
def test_every_frame_equals_the_text_dump(finished, stage_name):
    expected = joined_text(finished, stage_name)
    universe = DeckTrajectory(finished).universe(stage_name)
    assert universe.trajectory.n_frames == len(expected) == 21
    for ts, (step, (cell, rows)) in zip(universe.trajectory, expected.items(), strict=True):
        assert ts.data["step"] == step
        assert ts.time == pytest.approx(step * TIMESTEP_FS / 1000, rel=1e-12)
        np.testing.assert_allclose(ts.positions, rows, atol=2e-5)
        np.testing.assert_allclose(ts.triclinic_dimensions, cell, atol=2e-5)


def test_unwrapped_positions_leave_the_box(finished):
    universe = DeckTrajectory(finished).universe("02-produce")
    assert np.ptp(positions(universe), axis=(0, 1)).max() > universe.dimensions[:3].max() + 2


def test_universe_says_what_analysis_needs(finished):
    universe = DeckTrajectory(finished).universe("02-produce")
    assert universe.trajectory.dt == pytest.approx(STRIDE * TIMESTEP_FS / 1000, rel=1e-12)
    assert universe.trajectory.totaltime == pytest.approx(20 * STRIDE * TIMESTEP_FS / 1000)
    expected = ["S" if i % 3 == 0 else "Na" for i in range(108)]
    assert universe.atoms.elements.tolist() == universe.atoms.names.tolist() == expected
    assert universe.select_atoms("element S").charges.tolist() == [-2.0] * 36
    assert universe.select_atoms("element Na").masses == pytest.approx([22.98976928] * 72)


def test_random_access_and_slices(finished):
    universe = DeckTrajectory(finished).universe("01-melt")
    every = positions(universe)
    steps = [ts.data["step"] for ts in universe.trajectory[2::7]]
    assert steps == [40, 180, 320]
    for frame in (20, 0, 16, 15, -1):
        universe.trajectory[frame]
        assert np.array_equal(universe.atoms.positions, every[frame])
    assert [ts.frame for ts in universe.trajectory[::-5]] == [20, 15, 10, 5, 0]
    with pytest.raises(IndexError):
        universe.trajectory[21]


def test_report_of_a_resumed_stage(finished):
    trajectory = DeckTrajectory(finished)
    assert trajectory.stages == ("01-melt", "02-produce")
    report = trajectory.report["01-melt"]
    assert [(s.frames, s.used_frames) for s in report.segments] == [(17, 15), (6, 6)]
    assert report.complete
    assert report.holes == ()
    assert report.messages == []


def test_later_segment_wins(finished):
    old = text_frames(finished, "01-melt.000.txt")
    new = text_frames(finished, "01-melt.001.txt")
    assert np.abs(old[320][1] - new[320][1]).max() > 0.01
    universe = DeckTrajectory(finished).universe("01-melt")
    np.testing.assert_allclose(universe.trajectory[16].positions, new[320][1], atol=2e-5)


def test_frames_after_the_restart_step_are_abandoned(deck):
    """The resumed run went back to step 300 and ended before it wrote a frame: 320 belongs to no continued run."""
    (deck / "trajectory/01-melt.001.dcd").write_bytes(b"")
    (deck / "trajectory/02-produce.001.dcd").unlink()
    report = DeckTrajectory(deck).report
    assert report["01-melt"].last_step == 300
    assert "trajectory/01-melt.001.dcd holds no whole frame and was left out" in report["01-melt"].messages
    assert report["02-produce"].n_frames == 0


@pytest.mark.parametrize("seed", range(8))
def test_file_cut_at_any_byte_loses_only_the_cut_frame(deck, seed):
    path = deck / "trajectory/02-produce.001.dcd"
    whole = path.read_bytes()
    expected = positions(DeckTrajectory(deck).universe("02-produce"))
    size = int(np.random.default_rng(seed).integers(300, len(whole)))
    path.write_bytes(whole[:size])
    trajectory = DeckTrajectory(deck)
    frame_bytes = 56 + 3 * (4 * 108 + 8)
    header_bytes = len(whole) - 21 * frame_bytes
    frames, rest = divmod(size - header_bytes, frame_bytes)
    report = trajectory.report["02-produce"]
    assert (report.n_frames, report.segments[0].dropped_bytes) == (frames, rest)
    assert f"stage 02-produce has {frames} of 21 frames" in report.messages
    if frames:
        assert np.array_equal(positions(trajectory.universe("02-produce")), expected[:frames])


def test_zeroed_end_is_dropped(deck):
    path = deck / "trajectory/02-produce.001.dcd"
    whole = path.read_bytes()
    path.write_bytes(whole[:-2000] + bytes(2000))
    assert DeckTrajectory(deck).report["02-produce"].n_frames == 19


@pytest.mark.parametrize("size", [0, 5, 60, 150, 276])
def test_file_without_a_frame(deck, size):
    path = deck / "trajectory/02-produce.001.dcd"
    path.write_bytes(path.read_bytes()[:size])
    trajectory = DeckTrajectory(deck)
    assert trajectory.report["02-produce"].n_frames == 0
    with pytest.raises(TrajectoryError, match="no whole frame in trajectory/02-produce"):
        trajectory.universe("02-produce")


def test_missing_file(deck):
    (deck / "trajectory/02-produce.001.dcd").unlink()
    with pytest.raises(TrajectoryError, match="run the deck, or resume it"):
        DeckTrajectory(deck).universe("02-produce")


def test_hole_is_reported_and_not_bridged(deck):
    path = deck / "trajectory/01-melt.000.dcd"
    path.write_bytes(path.read_bytes()[: -7 * (56 + 3 * 440)])
    trajectory = DeckTrajectory(deck)
    report = trajectory.report["01-melt"]
    assert [(h.after_step, h.before_step, h.missing_frames) for h in report.holes] == [(180, 300, 5)]
    assert report.longest_run == (0, 10)
    assert any("hole of 5 frames between steps 180 and 300" in message for message in report.messages)
    steps = [ts.data["step"] for ts in trajectory.universe("01-melt").trajectory]
    assert steps == list(range(0, 181, 20))
    across = trajectory.universe("01-melt", across_holes=True)
    assert [ts.data["step"] for ts in across.trajectory] == [*range(0, 181, 20), *range(300, 401, 20)]
    assert across.trajectory[10].time == pytest.approx(0.6)


def test_damage_inside_a_file_is_no_silent_data(deck):
    path = deck / "trajectory/02-produce.001.dcd"
    content = bytearray(path.read_bytes())
    content[-5 * 1376 : -5 * 1376 + 100] = bytes(100)
    path.write_bytes(content)
    universe = DeckTrajectory(deck).universe("02-produce")
    with pytest.raises(TrajectoryError, match="damaged in frame 16"):
        positions(universe)


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (16, 7, "a frame every 7 steps; the deck says 20"),
        (12, 411, "starts at step 411, no multiple of 20"),
        (12, 2000, "covers steps 2000 to 2400"),
        (0, 85, "is no DCD file"),
        (268, 107, "has 107 atoms; the deck has 108"),
    ],
)
def test_file_that_contradicts_the_manifest(deck, offset, value, message):
    path = deck / "trajectory/02-produce.001.dcd"
    content = bytearray(path.read_bytes())
    content[offset : offset + 4] = value.to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(TrajectoryError, match=message):
        DeckTrajectory(deck)


def test_structure_that_contradicts_the_manifest(deck):
    text = (deck / "structure.data").read_text()
    (deck / "structure.data").write_text(text.replace("\n1 2 ", "\n1 1 "))
    with pytest.raises(TrajectoryError, match="the manifest says"):
        DeckTrajectory(deck).universe("02-produce")
    (deck / "structure.data").unlink()
    with pytest.raises(TrajectoryError, match="is missing"):
        DeckTrajectory(deck).universe("02-produce")


def test_wrong_names(deck, tmp_path):
    with pytest.raises(DeckError, match="is no deck"):
        DeckTrajectory(tmp_path / "nothing")
    with pytest.raises(DeckError, match="stage 'boil' is not in this deck"):
        DeckTrajectory(deck).universe("boil")
    with pytest.raises(TrajectoryError, match="these do: 01-melt, 02-produce"):
        DeckTrajectory(deck).universe("00-minimise")


def log_rows(path: Path) -> dict[int, list[float]]:
    """Rows of the molecular-dynamics tables of a log, by their step."""
    rows, inside = {}, False
    for line in path.read_text().split("\n"):
        if line.split()[:4] == ["Step", "Temp", "Press", "Volume"]:
            inside = True
        elif line.startswith("Loop time"):
            inside = False
        elif inside:
            rows[int(line.split()[0])] = [float(word) for word in line.split()]
    return rows


def test_thermo_joins_the_logs(finished):
    expected = log_rows(finished / "log/thermo.000.log") | log_rows(finished / "log/thermo.001.log")
    thermo = DeckTrajectory(finished).thermo("01-melt")
    assert list(thermo) == ["Step", "Temp", "Press", "Volume", "time_ps"]
    assert thermo["Step"].tolist() == list(range(0, 401, 10))
    for i, step in enumerate(thermo["Step"]):
        assert [thermo[name][i] for name in ("Step", "Temp", "Press", "Volume")] == expected[int(step)]
    assert thermo["time_ps"] == pytest.approx(thermo["Step"] * 0.002)


def test_thermo_of_a_minimisation_stands_apart(finished):
    thermo = DeckTrajectory(finished).thermo("00-minimise")
    assert list(thermo) == ["Step", "Temp", "PotEng", "time_ps"]
    assert thermo["PotEng"][-1] <= thermo["PotEng"][0]


@pytest.mark.parametrize("cut", [3, 9, 20, 47])
def test_thermo_with_a_cut_last_line(deck, cut):
    path = deck / "log/thermo.001.log"
    text = path.read_text()
    last = text.index("\n", text.index("\n       790 ") + 1)
    path.write_text(text[: last - cut])
    thermo = DeckTrajectory(deck).thermo("02-produce")
    assert thermo["Step"].tolist() == list(range(400, 781, 10))


def test_thermo_without_a_log(deck):
    shutil.rmtree(deck / "log")
    with pytest.raises(TrajectoryError, match="no row in log/thermo"):
        DeckTrajectory(deck).thermo("02-produce")
