"""Real runs: complete, resumed, stopped, locked, damaged, blown up."""

import math
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from napos_lmp.engine import find_lammps, read_run_record, request_stop, run_deck
from napos_lmp.engine.restart import choose_restart, protect_restart
from napos_lmp.errors import DeckBusyError, DeckError, EngineError, PreflightError
from napos_lmp.files import sha256_of
from napos_lmp.manifest import read_manifest
from napos_lmp.trajectory import DeckTrajectory

LMP = Path(sys.executable).with_name("lmp")
RUN = "import sys; from napos_lmp.engine import run_deck; run_deck(sys.argv[1], ranks=int(sys.argv[2]), progress=False)"


@pytest.fixture(scope="module")
def start_engine():
    """Start the engine in a process of its own; none outlives the tests."""
    started = []

    def start(deck: Path, ranks: int = 1) -> subprocess.Popen:
        command = [sys.executable, "-c", RUN, str(deck), str(ranks)]
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for engine in started:
        engine.kill()
        engine.wait()
        engine.stderr.close()


def last_logged_step(deck: Path, segment: int = 0) -> int:
    log = deck / f"log/thermo.{segment:03d}.log"
    steps = re.findall(r"^ +(\d+) +[\d.]+ +\S+ +-", log.read_text(), re.MULTILINE) if log.is_file() else []
    return int(steps[-1]) if steps else -1


def wait_for_step(deck: Path, step: int, engine: subprocess.Popen, segment: int = 0) -> None:
    deadline = time.monotonic() + 120
    while last_logged_step(deck, segment) < step:
        assert engine.poll() is None, engine.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def lammps_processes(deck: Path) -> list[int]:
    """Processes called lmp that work in the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve() == deck.resolve() and (process / "comm").read_text().strip() == "lmp":
                found.append(int(process.name))
        except OSError:
            continue
    return found


def assert_grid_is_complete(deck: Path) -> None:
    trajectory = DeckTrajectory(deck)
    for stage in trajectory.manifest.stages:
        if stage.dump:
            steps = trajectory.universe(stage.name).trajectory.steps
            expected = np.arange(stage.first_step, stage.last_step + 1, stage.dump.stride)
            np.testing.assert_array_equal(steps, expected)


def test_run_to_the_end_and_once_more(make_small_deck, tmp_path):
    deck = make_small_deck(tmp_path / "deck", melt_ps=0.08, quench_ps=0.04)
    states = []
    result = run_deck(deck, progress=states.append)
    assert (result.outcome, result.segment, result.first_step, result.last_step) == ("complete", 0, 0, 120)
    assert_grid_is_complete(deck)
    assert states[0].stage == "01-minimise"
    assert (states[-1].step, states[-1].last_step, states[-1].stage) == (120, 120, "03-quench")
    thermo = DeckTrajectory(deck).thermo("03-quench")
    assert states[-1].temperature == pytest.approx(thermo["Temp"][-1])
    assert states[-1].energy == pytest.approx(thermo["PotEng"][-1])

    (segment,) = read_run_record(deck).segments
    assert (segment.outcome, segment.exit_status, segment.restart, segment.start_step) == ("complete", 0, None, 0)
    assert segment.lammps_version.startswith("22 Jul 2025")
    assert 0 < segment.wall_seconds == pytest.approx(result.wall_seconds, abs=0.01)

    again = run_deck(deck, progress=False)
    assert (again.outcome, again.segment, again.last_step) == ("complete", None, 120)
    assert len(read_run_record(deck).segments) == 1


def test_interrupt_stops_cleanly_and_resumes(make_small_deck, start_engine, tmp_path):
    deck = make_small_deck(tmp_path / "deck", melt_ps=0.8)
    engine = start_engine(deck)
    wait_for_step(deck, 30, engine)
    with pytest.raises(DeckBusyError, match=f"is being run by process {engine.pid} on "):
        run_deck(deck, progress=False)
    engine.send_signal(signal.SIGINT)
    assert engine.wait(60) == 0, engine.stderr.read()
    assert not lammps_processes(deck)
    assert not (deck / "STOP").exists()
    (segment,) = read_run_record(deck).segments
    assert segment.outcome == "stopped"
    assert 30 <= segment.last_step < 800

    result = run_deck(deck, progress=False)
    assert (result.outcome, result.segment, result.first_step) == ("complete", 1, segment.last_step)
    assert read_run_record(deck).segments[1].restart == "restart/stop.restart"
    assert_grid_is_complete(deck)


def test_second_interrupt_ends_at_once(make_small_deck, start_engine, tmp_path):
    deck = make_small_deck(tmp_path / "deck", melt_ps=50)
    engine = start_engine(deck, ranks=2)
    wait_for_step(deck, 20, engine)
    for _ in range(2):
        engine.send_signal(signal.SIGTERM)
        time.sleep(0.15)
    assert engine.wait(60) == 0, engine.stderr.read()
    assert not lammps_processes(deck)
    assert read_run_record(deck).segments[0].outcome == "stopped"


@pytest.mark.parametrize("ranks", [1, 2])
def test_killed_engine_leaves_no_lammps(make_small_deck, start_engine, tmp_path, ranks):
    deck = make_small_deck(tmp_path / "deck", melt_ps=50, minimise=False)
    engine = start_engine(deck, ranks)
    wait_for_step(deck, 10, engine)
    assert len(lammps_processes(deck)) == ranks
    engine.kill()
    engine.wait()
    deadline = time.monotonic() + 3
    while lammps_processes(deck) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not lammps_processes(deck)
    assert read_run_record(deck).segments[0].outcome == "running"


def test_stop_request_from_another_process(make_small_deck, start_engine, tmp_path):
    deck = make_small_deck(tmp_path / "deck", melt_ps=50, minimise=False)
    with pytest.raises(DeckError, match="is not running"):
        request_stop(deck)
    engine = start_engine(deck)
    wait_for_step(deck, 10, engine)
    request_stop(deck)
    assert engine.wait(60) == 0
    assert read_run_record(deck).segments[0].outcome == "stopped"


@pytest.fixture(scope="module")
def cut_short(make_small_deck, start_engine, tmp_path_factory) -> Path:
    """A deck that was killed after both restart files were written."""
    deck = make_small_deck(tmp_path_factory.mktemp("cut") / "deck", melt_ps=0.2, minimise=False)
    engine = start_engine(deck)
    wait_for_step(deck, 70, engine)
    engine.kill()
    engine.wait()
    time.sleep(0.3)
    return deck


def newest_restarts(deck: Path) -> list[Path]:
    return sorted((deck / "restart").iterdir(), key=lambda path: path.stat().st_mtime_ns, reverse=True)


@pytest.mark.parametrize("keep", [0.0, 0.2, 0.999])
def test_a_restart_cut_short_is_found_out(cut_short, tmp_path, keep):
    deck = shutil.copytree(cut_short, tmp_path / "deck")
    newest, older = newest_restarts(deck)
    newest.write_bytes(newest.read_bytes()[: int(keep * newest.stat().st_size)])
    choice = choose_restart(deck, read_manifest(deck), find_lammps())
    assert choice.file == f"restart/{older.name}"
    assert choice.step in (40, 60, 80, 100)
    assert [text.split(" cannot be used: ")[0] for text in choice.rejected] == [f"restart/{newest.name}"]


def test_the_only_good_restart_is_overwritten_last(cut_short, tmp_path):
    """LAMMPS writes a.restart first, so the one in use must be b.restart."""
    deck = shutil.copytree(cut_short, tmp_path / "deck")
    manifest, lammps = read_manifest(deck), find_lammps()
    (deck / "restart/b.restart").write_bytes(b"")
    choice = choose_restart(deck, manifest, lammps)
    assert choice.file == "restart/a.restart"
    protected = protect_restart(deck, manifest, choice)
    assert protected.file == "restart/b.restart"
    assert choose_restart(deck, manifest, lammps).step == choice.step
    assert not (deck / "restart/a.restart").exists()


def test_restart_of_a_blown_up_run_is_refused(cut_short, tmp_path):
    """LAMMPS goes on, and writes restart files, when velocities have ceased to be numbers.

    It puts coordinates that are no numbers at the edge of the cell without a word, so the velocities tell.
    """
    deck = shutil.copytree(cut_short, tmp_path / "deck")
    newest, older = newest_restarts(deck)
    lammps = find_lammps()
    script = f'read_restart restart/{newest.name}\nprint "VALUE $(vx[1]:%.17g)"\n'
    value = float(re.search(r"^VALUE (\S+)", lammps.probe([], deck, script).stdout, re.MULTILINE)[1])
    content = newest.read_bytes()
    assert content.count(struct.pack("<d", value)) == 1
    newest.write_bytes(content.replace(struct.pack("<d", value), struct.pack("<d", math.nan)))
    choice = choose_restart(deck, read_manifest(deck), lammps)
    assert choice.file == f"restart/{older.name}"
    assert "it was written after the simulation blew up" in choice.rejected[0]


def test_damaged_restart_is_reported_and_the_run_goes_on(cut_short, tmp_path):
    deck = shutil.copytree(cut_short, tmp_path / "deck")
    newest, _ = newest_restarts(deck)
    newest.write_bytes(newest.read_bytes()[:1000])
    result = run_deck(deck, progress=False)
    assert result.outcome == "complete"
    assert [text.split(" cannot")[0] for text in result.warnings if "be used" in text] == [f"restart/{newest.name}"]
    record = read_run_record(deck)
    assert record.segments[0].outcome == "killed"
    assert record.segments[1].start_step == result.first_step > 0
    assert_grid_is_complete(deck)


def test_without_a_usable_restart_the_deck_starts_afresh(cut_short, tmp_path):
    deck = shutil.copytree(cut_short, tmp_path / "deck")
    for path in newest_restarts(deck):
        path.write_bytes(path.read_bytes()[:200])
    result = run_deck(deck, progress=False)
    assert (result.outcome, result.segment, result.first_step) == ("complete", 1, 0)
    assert any("starting afresh" in text for text in result.warnings)
    assert (deck / "trajectory/01-melt.000.dcd").exists()
    assert_grid_is_complete(deck)


def test_copied_deck_runs_with_plain_mpirun(make_small_deck, tmp_path):
    deck = make_small_deck(tmp_path / "deck", melt_ps=0.02, minimise=False)
    copy = shutil.copytree(deck, tmp_path / "elsewhere" / "copy")
    command = [LMP.with_name("mpirun"), "-np", "2", LMP, "-in", "in.lammps"]
    subprocess.run(command, cwd=copy, check=True, stdout=subprocess.DEVNULL, timeout=120)
    result = run_deck(deck, ranks=2, progress=False)
    assert read_run_record(deck).segments[0].command[1:3] == ("-np", "2")
    by_engine, by_hand = (DeckTrajectory(folder).thermo("01-melt")["PotEng"][0] for folder in (deck, copy))
    assert by_engine == pytest.approx(by_hand, abs=1e-8)
    assert result.outcome == "complete"
    assert read_run_record(copy) is None
    assert_grid_is_complete(copy)

    late = run_deck(copy, progress=False)
    assert (late.outcome, late.segment) == ("complete", None)


def test_changed_deck_needs_force(make_small_deck, tmp_path):
    deck = make_small_deck(tmp_path / "deck", melt_ps=0.02, minimise=False)
    with (deck / "in.lammps").open("a") as stream:
        stream.write("# a remark\n")
    with pytest.raises(
        PreflightError, match=r"changed since the deck was made: in\.lammps; --force runs it all the same"
    ):
        run_deck(deck, progress=False)
    assert not (deck / "run.json").exists()
    result = run_deck(deck, force=True, progress=False)
    assert result.outcome == "complete"
    assert any("changed since the deck was made: in.lammps" in text for text in result.warnings)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("change_box all boundary f f f\nvelocity all set 900 0 0", r"atoms were lost \(\d+ of 26 are left\)"),
        ("set atom 1*2 x 1.0 y 1.0 z 1.0", r"blew up: the thermodynamic output is no longer finite"),
        ("pair_style lj/cutt 3.0", r"no pair style lj/cutt"),
        ("read_data nowhere.data", r"nowhere\.data"),
        ("no_such_command", r"Unknown command: no_such_command"),
    ],
)
def test_lammps_error_becomes_one_sentence(make_small_deck, tmp_path, line, sentence):
    deck = make_small_deck(tmp_path / "deck", melt_ps=0.5, minimise=False)
    stage = deck / "stages/01-melt.lammps"
    stage.write_text(re.sub(r"^run ", f"{line}\nrun ", stage.read_text(), flags=re.MULTILINE))
    with pytest.raises(EngineError, match=sentence) as error:
        run_deck(deck, force=True, progress=False)
    assert "\n" not in str(error.value)
    assert str(deck / "log/screen.000.txt") in str(error.value)
    segment = read_run_record(deck).segments[0]
    assert segment.outcome == "failed"
    assert segment.message in str(error.value)


FULL_DISK = """
import pathlib, shutil, sys
from napos_lmp.engine import run_deck
from napos_lmp.errors import EngineError
place = pathlib.Path(sys.argv[1])
deck = shutil.copytree(sys.argv[2], place / "deck")
measure = shutil.disk_usage
shutil.disk_usage = lambda path: measure(path)._replace(free=10**12)  # or the preflight would refuse
filler = place / "filler"
filler.write_bytes(bytes(measure(place).free - 45_000))
try:
    run_deck(deck, progress=False)
except EngineError as error:
    print(error)
filler.unlink()
result = run_deck(deck, progress=False)
from napos_lmp.trajectory import DeckTrajectory
print(result.outcome, result.first_step, len(DeckTrajectory(deck).universe("01-melt").trajectory))
"""


def test_full_disk_is_explained_and_costs_nothing(make_small_deck, tmp_path):
    """On a real disk of 60 MB, mounted in a name space of its own, which some systems allow only to root."""
    deck = make_small_deck(tmp_path / "deck", melt_ps=0.6, minimise=False)
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f'mount -t tmpfs -o size=60m tmpfs {disk} && exec "$@"'
    own_mounts = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
    if shutil.which("unshare") is None or subprocess.run([*own_mounts, "true"], check=False).returncode:
        pytest.skip("this system lets nobody mount a small disk")
    command = [*own_mounts, sys.executable, "-c", FULL_DISK, str(disk), str(deck)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    explained, resumed = run.stdout.splitlines()
    assert "the disk is full; make room and run the deck again" in explained
    outcome, first_step, n_frames = resumed.split()
    assert (outcome, n_frames) == ("complete", "61")
    assert int(first_step) >= 20


def test_run_outside_the_main_thread(make_small_deck, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    deck = make_small_deck(tmp_path / "deck", melt_ps=0.02, minimise=False)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(run_deck, deck, progress=False).result().outcome == "complete"


def test_damaged_record_names_the_field(make_small_deck, tmp_path):
    deck = make_small_deck(tmp_path / "deck", melt_ps=0.02, minimise=False)
    (deck / "run.json").write_text('{"segments": [{"number": "two"}]}')
    with pytest.raises(DeckError, match=r"run\.json: segments\.0\.number"):
        run_deck(deck, progress=False)
    assert not (deck / "log/screen.000.txt").exists()


def test_early_end_without_a_word_is_no_success(make_small_deck, tmp_path):
    deck = make_small_deck(tmp_path / "deck", melt_ps=0.02, minimise=False)
    (deck / "in.lammps").write_text("quit 0\n")
    with pytest.raises(EngineError, match="LAMMPS ended before the last step and says nothing of an error"):
        run_deck(deck, force=True, progress=False)
    assert read_run_record(deck).segments[0].outcome == "failed"


def test_deck_that_cannot_be_written_to(make_small_deck, tmp_path):
    deck = make_small_deck(tmp_path / "deck", melt_ps=0.02, minimise=False)
    (deck / "log").rmdir() if (deck / "log").is_dir() else None
    (deck / "log").write_text("in the way")
    with pytest.raises(EngineError, match=r"cannot be written to: File exists \(.*log\)"):
        run_deck(deck, progress=False)
    (deck / "run.lock").unlink()
    (deck / "run.lock").mkdir()
    with pytest.raises(DeckError, match=r"run\.lock cannot be written: Is a directory"):
        run_deck(deck, progress=False)


def test_moved_deck_keeps_the_structure_it_has(make_small_deck, tmp_path):
    first = make_small_deck(tmp_path / "first", melt_ps=0.02, minimise=False)
    second = make_small_deck(tmp_path / "second", melt_ps=0.02, minimise=False, source_deck=first)
    shutil.copy(first / "structure.data", second / "structure.data")
    shutil.rmtree(first)
    assert run_deck(second, progress=False).outcome == "complete"
    assert read_run_record(second).source.sha256 == sha256_of(second / "structure.data")
