"""A melt-quench that is killed without warning ten times ends as one that never was."""

import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from napos_lmp.engine import read_run_record, run_deck
from napos_lmp.manifest import Manifest, read_manifest, segment_file
from napos_lmp.thermo import read_thermo
from napos_lmp.trajectory import DeckTrajectory

N_KILLS = 10
RUN = "import sys; from napos_lmp.engine import run_deck; run_deck(sys.argv[1], progress=False)"


def reached(deck: Path) -> tuple[int, int]:
    """Number of segments with a log, and the last step in the newest of them."""
    logs = sorted((deck / "log").glob("thermo.*.log"))
    steps = re.findall(r"^ +(\d+) +[\d.]+ +\S+ +-", logs[-1].read_text(), re.MULTILINE) if logs else []
    return len(logs), int(steps[-1]) if steps else 0


def kill_once(deck: Path, step: int, chance: random.Random) -> None:
    """Start the engine, wait for a step (0: for any moment of its start), and kill it a little later."""
    segments, _ = reached(deck)
    engine = subprocess.Popen([sys.executable, "-c", RUN, str(deck)], stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while step and not (reached(deck)[0] > segments and reached(deck)[1] >= step):
            assert engine.poll() is None, engine.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.05 if step else 2.0))
        engine.send_signal(signal.SIGKILL)
        assert engine.wait() == -signal.SIGKILL
    finally:
        engine.kill()
        engine.stderr.close()


def energies(deck: Path, manifest: Manifest, segment: int) -> dict[int, float]:
    """Conserved part of the energy, in eV, at each step in one segment's log."""
    path = deck / segment_file(manifest.thermo_pattern, segment)
    found = {}
    for block in read_thermo(path) if path.is_file() else []:
        if not block.minimisation:
            columns = [block.columns.index(name) for name in ("Step", "TotEng")]
            found.update({int(step): energy for step, energy in block.rows[:, columns] if int(step) not in found})
    return found


@pytest.mark.slow
def test_ten_kills_over_a_melt_quench(make_small_deck, tmp_path):
    chance = random.Random(20261)
    deck = make_small_deck(tmp_path / "deck", n_atoms=26, melt_ps=0.2, quench_ps=0.15)
    manifest = read_manifest(deck)
    moments = sorted([0, 0, *chance.sample(range(10, manifest.last_step - 20), N_KILLS - 2)])
    for step in moments:
        kill_once(deck, step, chance)
    result = run_deck(deck, progress=False)
    assert result.outcome == "complete"
    assert read_run_record(deck).segments[-1].outcome == "complete"

    trajectory = DeckTrajectory(deck)
    for stage in manifest.stages:
        if stage.dump is None:
            continue
        universe = trajectory.universe(stage.name)
        grid = np.arange(stage.first_step, stage.last_step + 1, stage.dump.stride)
        np.testing.assert_array_equal(universe.trajectory.steps, grid)
        np.testing.assert_allclose([ts.time for ts in universe.trajectory], grid * manifest.timestep_ps, atol=1e-9)
        assert not trajectory.report[stage.name].holes
        np.testing.assert_array_equal(trajectory.thermo(stage.name)["Step"], grid)

    crossings = 0
    segments = read_run_record(deck).segments
    for segment in segments:
        if segment.restart is None:
            continue
        before = [energies(deck, manifest, earlier.number) for earlier in segments if earlier.number < segment.number]
        after = energies(deck, manifest, segment.number).get(segment.start_step)
        seen = [steps[segment.start_step] for steps in before if segment.start_step in steps]
        if after is not None and seen:
            crossings += 1
            assert after == pytest.approx(seen[-1], abs=1e-6 * manifest.structure.n_atoms)
    assert crossings >= N_KILLS // 2
    assert len(segments) >= N_KILLS - 1
