"""The stage `vibrate` in real runs: frames a few steps apart, goes on after a kill without a seam."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import MDAnalysis
import numpy as np
import pytest
from MDAnalysis.coordinates.memory import MemoryReader

from napos_lmp.analysis.mechanism.velocity_correlation import VelocityAutocorrelation
from napos_lmp.analysis.mechanism.vibrations import VibrationalSpectrum
from napos_lmp.analysis.quantities.vibrations import measure_vibrations
from napos_lmp.composition import Composition
from napos_lmp.deck import present_elements, render_deck
from napos_lmp.engine import read_run_record, run_deck
from napos_lmp.errors import DeckError
from napos_lmp.extend import extend_deck
from napos_lmp.manifest import read_manifest
from napos_lmp.potential import load_potential
from napos_lmp.presets import MeltQuench
from napos_lmp.structure import estimate_density, pack
from napos_lmp.templates import Templates
from napos_lmp.trajectory import DeckTrajectory

RUN = "import sys; from napos_lmp.engine import run_deck; run_deck(sys.argv[1], progress=False)"
STAGE = "04-vibrate"
PRESET = {
    "thermo_ps": 0.01,
    "restart_ps": 0.1,
    "minimise": {"max_iterations": 100},
    "melt": {"temperature_K": 900, "duration_ps": 0.05, "dump_ps": None},
    "quench": {"end_temperature_K": 600, "rate_K_per_ps": 6000, "dump_ps": None},
    "equilibrate": None,
    "produce": None,
}


@pytest.fixture(scope="module")
def killed_and_resumed(tmp_path_factory) -> Path:
    """A deck killed in its last stage and run to the end; besides the frames it dumps LAMMPS's velocities as text."""
    folder = tmp_path_factory.mktemp("vibrate")
    own = Templates().copy("stages/vibrate.lmp.j2", folder / "own")
    own.write_text(
        own.read_text()
        + "{% block measure %}dump v all custom 4 velocities.${segment3}.txt id vx vy vz\n"
        + 'dump_modify v sort id format line "%d %.12g %.12g %.12g" flush yes\n{% endblock %}\n'
        + "{% block measured %}undump v\n{% endblock %}\n"
    )
    composition, potential = Composition.parse("Na4P2S5O2"), load_potential("napos-deepmd")
    counts = composition.cell(26).counts
    structure = pack(counts, 0.9 * estimate_density(composition).value, 3, present_elements(potential, counts))
    (protocol,) = MeltQuench.model_validate({**PRESET, "vibrate": {"duration_ps": 0.8}}).protocols()
    render_deck(
        folder / "deck",
        composition=composition,
        potential=potential,
        protocol=protocol,
        seed=3,
        structure=structure,
        templates=Templates(folder / "own"),
    )
    deck = folder / "deck"
    engine = subprocess.Popen([sys.executable, "-c", RUN, str(deck)], start_new_session=True)
    dumped = deck / "velocities.000.txt"
    try:
        deadline = time.monotonic() + 400
        while not dumped.is_file() or dumped.read_text().count("TIMESTEP") < 40:
            assert engine.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.killpg(engine.pid, signal.SIGKILL)
        engine.wait()
    assert run_deck(deck, progress=False).outcome == "complete"
    return deck


def velocities_of_lammps(deck: Path) -> dict[int, np.ndarray]:
    """Velocities by step as the run had them, in A/ps; steps that were run twice from the later segment."""
    found = {}
    for path in sorted(deck.glob("velocities.*.txt")):
        for block in path.read_text().split("ITEM: TIMESTEP\n")[1:]:
            head, _, rows = block.partition("ITEM: ATOMS id vx vy vz\n")
            values = np.array(rows.split(), dtype=float)
            if len(values) == 26 * 4:
                found[int(head.split()[0])] = values.reshape(26, 4)[:, 1:]
    return found


def test_goes_on_after_a_kill_without_a_seam(killed_and_resumed):
    segments = read_run_record(killed_and_resumed).segments
    assert len(segments) == 2
    assert segments[1].start_step >= 100
    trajectory = DeckTrajectory(killed_and_resumed)
    assert trajectory.report[STAGE].complete
    assert not trajectory.report[STAGE].holes
    frames = trajectory.universe(STAGE).trajectory
    np.testing.assert_array_equal(frames.steps, np.arange(100, 901, 4))
    positions = np.array([frame.positions.copy() for frame in frames], dtype=float)
    velocities = velocities_of_lammps(killed_and_resumed)
    expected = np.array([velocities[step] for step in frames.steps])
    weights = np.array([1 / 280, -4 / 105, 1 / 5, -4 / 5, 0, 4 / 5, -1 / 5, 4 / 105, -1 / 280])
    by_difference = sum(w * positions[i : len(positions) - 8 + i] for i, w in enumerate(weights)) / 0.004
    deviation = by_difference - expected[4:-4]
    assert deviation.std() < 0.002 * expected.std()
    assert np.abs(deviation).max() < 0.03 * expected.std()


def test_spectrum_from_positions_is_that_of_lammps_velocities(killed_and_resumed):
    """Positions in float32 as a deck writes them hold the velocities: the same spectrum, the same autocorrelation."""
    source = DeckTrajectory(killed_and_resumed).universe(STAGE)
    velocities = velocities_of_lammps(killed_and_resumed)
    frames = source.trajectory
    written = MDAnalysis.Merge(source.atoms)
    # the times in whose middle the differences stand, but for half an interval
    inner = slice(3, len(frames) - 4)
    written.load_new(
        np.array([frame.positions.copy() for frame in frames[inner]]),
        format=MemoryReader,
        order="fac",
        dt=0.004,
        velocities=np.array([velocities[step] for step in frames.steps[inner]], dtype=np.float32),
        dimensions=frames[0].dimensions,
    )
    ours, theirs = (VibrationalSpectrum(u, resolution=4.5).run() for u in (source, written))
    assert (ours.origin, theirs.origin) == ("positions", "velocities")
    assert np.abs(ours.total - theirs.total).max() < 0.05 * theirs.total.max()
    assert ours.temperature == pytest.approx(theirs.temperature, rel=0.02)
    thermo = DeckTrajectory(killed_and_resumed).thermo(STAGE)
    assert theirs.temperature == pytest.approx(thermo["Temp"].mean(), rel=0.1)
    ours, theirs = (VelocityAutocorrelation(u, longest=0.3).run() for u in (source, written))
    for element, values in theirs.correlation.items():
        assert np.abs(ours.correlation[element] - values).max() < 0.06


def test_measured_as_a_stage(killed_and_resumed):
    found = measure_vibrations(DeckTrajectory(killed_and_resumed).universe(STAGE))
    assert "needs 5.76 ps" in found.refusals["vibrations"]
    assert set(found.tables) == {"vacf"}
    assert [q.key for q in found.quantities] == ["vibrations.diffusion.Na", "vibrations.diffusion_msd.Na"]


def test_keeps_its_energy(killed_and_resumed):
    thermo = DeckTrajectory(killed_and_resumed).thermo(STAGE)
    total, kinetic = thermo["TotEng"], thermo["KinEng"]
    assert np.ptp(total) < 0.05 * np.std(kinetic)


def test_is_refused_by_extend(killed_and_resumed):
    assert read_manifest(killed_and_resumed).stages[-1].kind == "vibrate"
    with pytest.raises(DeckError, match="ends with stage 04-vibrate; only a last stage of kind produce"):
        extend_deck(killed_and_resumed, 100)
