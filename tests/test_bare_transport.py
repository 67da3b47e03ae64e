"""Transport on trajectories without a deck: real LAMMPS output in all its conventions, and walkers of known D."""

import sys

import numpy as np
import pytest

from napos_lmp.analysis.structure import StructureOptions
from napos_lmp.analysis.trajectory import analyse_trajectory
from napos_lmp.analysis.transport.msd import MeanSquareDisplacement
from napos_lmp.bare_trajectory import open_trajectory
from napos_lmp.cli import main
from napos_lmp.engine.command import find_lammps
from napos_lmp.errors import AnalysisError, TrajectoryError

SCRIPT = """
units metal
region box prism -3 9 1 12 0 11 2 -1 1
create_box 2 box
create_atoms 1 random 40 11 box
create_atoms 2 random 10 12 box
mass 1 22.98976928
mass 2 32.06
pair_style lj/cut 5
pair_coeff * * 0.001 2.5
minimize 1e-4 1e-4 100 100
reset_timestep 0
velocity all create 2000 1
fix 1 all nve
fix 2 all deform 1 x wiggle 0.4 0.7 remap x
dump a all custom 50 images.dump id type x y z ix iy iz
dump b all custom 50 scaled.dump id type xs ys zs ix iy iz
dump c all custom 50 unwrapped.dump id type xu yu zu
dump d all custom 50 wrapped.dump id type x y z
dump e all dcd 50 glass.dcd
dump_modify e unwrap yes
dump f all xtc 50 glass.xtc
run 3000
write_data structure.data nocoeff
"""
ELEMENTS = ["Na", "S"]
NEUTRAL = {"Na": 1, "S": -4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A dense hot gas in a small box whose edge swings, so that atoms cross its faces often."""
    folder = tmp_path_factory.mktemp("gas")
    (folder / "in.lammps").write_text(SCRIPT)
    find_lammps().probe(["-in", "in.lammps"], folder)
    return folder


def displacements(path, **options):
    return MeanSquareDisplacement(open_trajectory(path, frame_ps=0.05, **options).universe, stop=30).run()


@pytest.mark.parametrize("name", ["images.dump", "scaled.dump", "glass.dcd"])
def test_every_unwrapped_convention_gives_the_same_displacements(folder, name):
    """LAMMPS writes xu, and x or xs with image flags, of the same steps; MDAnalysis reads the DCD."""
    expected = displacements(folder / "unwrapped.dump", elements=ELEMENTS)
    options = {"topology": folder / "structure.data"} if name.endswith("dcd") else {}
    found = displacements(folder / name, elements=ELEMENTS, **options)
    assert [expected.times[1], found.times[1]] == pytest.approx([0.05, 0.05])
    for species in ELEMENTS:
        assert expected.msd[species][-1] > 10
        np.testing.assert_allclose(found.msd[species], expected.msd[species], rtol=2e-3, atol=1e-3)


def test_wrapped_positions_are_refused(folder, tmp_path):
    result = analyse_trajectory(
        folder / "wrapped.dump", elements=ELEMENTS, frame_ps=0.05, temperature=2000, charges=NEUTRAL, out=tmp_path / "a"
    )
    assert result.result.refusals["transport"].startswith("positions are wrapped: ")
    assert result.get("diffusion.Na") is None
    assert "rdf" in result.result.files


def test_times_of_the_file_must_agree(folder):
    """XTC files hold the times of their frames; LAMMPS writes them in ps: step times 1 fs."""
    opened = open_trajectory(folder / "glass.xtc", elements=ELEMENTS, topology=folder / "structure.data", frame_ps=0.05)
    assert opened.universe.trajectory[3].time == pytest.approx(0.15)
    with pytest.raises(
        TrajectoryError, match=r"frame_ps is 0\.1; .*glass\.xtc says that its frames are 0\.05 ps apart"
    ):
        open_trajectory(folder / "glass.xtc", elements=ELEMENTS, topology=folder / "structure.data", frame_ps=0.1)


@pytest.fixture
def walkers(tmp_path):
    """40 ions that walk 0.15 A^2/ps among a framework that shakes, as a dump with image flags."""
    rng = np.random.default_rng(7)
    n_frames, edge = 300, 16.0
    start = rng.uniform(0, edge, size=(60, 3))
    path = np.repeat(start[None], n_frames, axis=0)
    path[:, :40] += np.cumsum(rng.normal(scale=np.sqrt(2 * 0.15 * 0.1), size=(n_frames, 40, 3)), axis=0)
    path[:, 40:] += rng.normal(scale=0.05, size=(n_frames, 20, 3))
    images = np.floor(path / edge).astype(int)
    lines = []
    for frame in range(n_frames):
        lines.append(f"ITEM: TIMESTEP\n{1000 + 50 * frame}\nITEM: NUMBER OF ATOMS\n60")
        lines.append("ITEM: BOX BOUNDS pp pp pp\n" + f"0 {edge}\n" * 3 + "ITEM: ATOMS id type x y z ix iy iz")
        place = path[frame] - edge * images[frame]
        for k in range(60):
            x, y, z = place[k]
            i, j, m = images[frame, k]
            lines.append(f"{k + 1} {1 if k < 40 else 2} {x:.5f} {y:.5f} {z:.5f} {i} {j} {m}")
    file = tmp_path / "walkers.dump"
    file.write_text("\n".join(lines) + "\n")
    return file


ASKED = {"elements": ELEMENTS, "frame_ps": 0.1, "temperature": 700.0}


def test_walkers_have_their_conductivity(walkers):
    """D = 1.5e-5 cm^2/s, less the ions' part of the centre of mass that is held still; sigma by Nernst-Einstein."""
    share = 40 * 22.98976928 / (40 * 22.98976928 + 20 * 32.06)
    own = 1.5e-5 * (1 - (2 * share - share**2) / 40)
    result = analyse_trajectory(walkers, **ASKED)
    diffusion, conductivity = result.get("diffusion.Na"), result.get("conductivity")
    assert diffusion.low < own < diffusion.high
    expected = 40 * 1.602176634e-19**2 * own * 1e-4 / (4.096e-27 * 1.380649e-23 * 700) / 100
    assert conductivity.low < expected < conductivity.high
    assert result.get("haven_ratio").low < 1 < result.get("haven_ratio").high
    assert result.get("diffusion.S").refused
    assert {"msd", "charge_displacement", "run_length"} <= set(result.result.files)
    assert result.result.temperature_K == 700


def test_charges_of_the_user(walkers):
    formal = analyse_trajectory(walkers, **ASKED)
    scaled = analyse_trajectory(walkers, **ASKED, charges={"Na": 0.8, "S": -1.6})
    assert scaled.get("conductivity").value == pytest.approx(0.64 * formal.get("conductivity").value)
    with pytest.raises(AnalysisError, match=r"40 Na of \+1, 20 S of -1 sum to \+20; they must sum to zero"):
        analyse_trajectory(walkers, **ASKED, charges={"Na": 1, "S": -1})
    with pytest.raises(AnalysisError, match="species 'S' has no charge"):
        analyse_trajectory(walkers, **ASKED, charges={"Na": 1})


def test_options_of_the_network_hold_for_the_motion_too(walkers):
    """S walks with nothing here, but a bond may be declared: groups are then followed by it, and only then."""
    options = StructureOptions(formers=["Na"], anions=["S"], cutoffs={"Na-S": 2.5})
    without, declared = (analyse_trajectory(walkers, **ASKED, options=each) for each in (None, options))
    assert "former" in without.result.refusals["rotation"]
    assert "former" not in declared.result.refusals.get("rotation", "")


def test_a_hole_in_the_frames(walkers):
    frames = walkers.read_text().split("ITEM: TIMESTEP")
    del frames[150]
    walkers.write_text("ITEM: TIMESTEP".join(frames))
    result = analyse_trajectory(walkers, **ASKED)
    assert "frames are not uniform in time: 0.1 ps apart, but 0.2 ps" in result.result.refusals["transport"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--temperature", "700"], "frame_ps is missing"),
        (["--frame-ps", "0.1"], "temperature is missing"),
        (["--charges", "Na=1,S=-2"], "frame_ps is missing"),
        (["--frame-ps", "0", "--temperature", "700"], "frame_ps is 0; the time between frames in ps must be positive"),
        (["--frame-ps", "0.1", "--temperature", "-3"], "temperature is -3 K; it must be positive"),
        (["--charges", "Na:1"], "charge is 'Na:1'; it must read like Na=1,P=5,S=-2"),
        (["--charges", ""], "charge is ''; it must read like"),
    ],
)
def test_bad_options_are_one_sentence(walkers, options, sentence, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["napos-lmp", "analyse", str(walkers), "--elements", "Na,S", *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert not walkers.with_name("walkers-analysis").exists()
