"""Mean-square displacements against closed forms, direct sums, tidynamics and MDAnalysis."""

import json
import warnings

import MDAnalysis
import MDAnalysis.transformations
import numpy as np
import pytest
import tidynamics
from ase.data import atomic_masses, atomic_numbers
from MDAnalysis.analysis.msd import EinsteinMSD
from MDAnalysis.coordinates.memory import MemoryReader

from napos_lmp.analysis.transport.msd import MeanSquareDisplacement
from napos_lmp.errors import AnalysisError

CUBE = np.array([12.0, 12.0, 12.0, 90.0, 90.0, 90.0])
TILTED = np.array([12.0, 13.0, 14.0, 75.0, 100.0, 80.0])


def make_universe(positions, symbols, box=CUBE, dt=0.5, masses=None):
    universe = MDAnalysis.Universe.empty(len(symbols), trajectory=False)
    universe.add_TopologyAttr("elements", list(symbols))
    if masses is not None:
        universe.add_TopologyAttr("masses", masses)
    frames = np.asarray(positions, dtype=np.float32)
    universe.trajectory = MemoryReader(frames, order="fac", dt=dt, dimensions=np.asarray(box, dtype=np.float32))
    return universe


def walk(frames, atoms, seed=0, step=0.3, spread=10.0):
    rng = np.random.default_rng(seed)
    steps = rng.normal(scale=step, size=(frames, atoms, 3))
    steps[0] = rng.uniform(0, spread, size=(atoms, 3))
    return np.cumsum(steps, axis=0)


def direct(positions):
    """Mean over atoms and origins, straight from the definition."""
    count = len(positions)
    return np.array([np.mean(np.sum((positions[m:] - positions[: count - m]) ** 2, axis=2)) for m in range(count)])


def test_equals_the_definition():
    positions = walk(60, 7)
    result = MeanSquareDisplacement(make_universe(positions, ["Na"] * 7), reference="none").run()
    np.testing.assert_allclose(result.msd["Na"], direct(positions), rtol=2e-5)
    assert result.times.tolist() == pytest.approx(np.arange(60) * 0.5)
    assert result.n_atoms == {"Na": 7}


def test_equals_tidynamics_and_mdanalysis():
    positions = walk(200, 5, seed=1).astype(np.float32)
    universe = make_universe(positions, ["Na"] * 5)
    ours = MeanSquareDisplacement(universe, reference="none").run().msd["Na"]
    theirs = np.mean([tidynamics.msd(positions[:, i].astype(float)) for i in range(5)], axis=0)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        einstein = EinsteinMSD(universe, select="all", fft=False).run()
    np.testing.assert_allclose(ours, einstein.results.timeseries, rtol=1e-5, atol=1e-5)


def test_atoms_one_by_one_in_chunks(monkeypatch):
    positions = walk(80, 40, seed=2)
    universe = make_universe(positions, ["Na"] * 40)
    whole = MeanSquareDisplacement(universe, reference="none").run()
    monkeypatch.setattr("napos_lmp.analysis.transport.msd._CHUNK_BYTES", 20_000)
    chunked = MeanSquareDisplacement(universe, reference="none").run()
    np.testing.assert_allclose(chunked.msd["Na"], whole.msd["Na"], rtol=1e-12)
    for i in (0, 17, 39):
        expected = direct(positions[:, i : i + 1])[whole.grid]
        np.testing.assert_allclose(chunked.per_atom("Na")[i], expected, rtol=1e-4)


def test_ballistic_flight_is_exact():
    velocities = np.random.default_rng(4).normal(size=(6, 3))
    positions = np.arange(50)[:, None, None] * 0.1 * velocities
    result = MeanSquareDisplacement(make_universe(positions, ["S"] * 6), reference="none").run()
    expected = np.mean(np.sum(velocities**2, axis=1)) * (0.1 * np.arange(50)) ** 2
    np.testing.assert_allclose(result.msd["S"], expected, rtol=1e-5)
    np.testing.assert_allclose(result.slopes("S"), 2, atol=1e-3)


def test_drift_of_the_whole_system_by_mass():
    positions = walk(40, 6, seed=5)
    symbols, masses = ["Na", "Na", "S", "S", "S", "P"], np.array([23.0, 23.0, 32.0, 32.0, 32.0, 31.0])
    shift = np.cumsum(np.random.default_rng(6).normal(size=(40, 1, 3)), axis=0)
    still = positions - np.average(positions, axis=1, weights=masses)[:, None]
    result = MeanSquareDisplacement(make_universe(positions + shift, symbols, masses=masses)).run()
    np.testing.assert_allclose(result.msd["S"], direct(still[:, 2:5]), rtol=1e-4, atol=1e-5)


def test_drift_of_the_framework():
    positions = walk(40, 5, seed=7)
    symbols, masses = ["Na", "Na", "S", "S", "P"], np.array([23.0, 23.0, 32.0, 32.0, 31.0])
    frame = np.average(positions[:, 2:], axis=1, weights=masses[2:])[:, None]
    result = MeanSquareDisplacement(make_universe(positions, symbols), ["Na"], reference="framework").run()
    np.testing.assert_allclose(result.msd["Na"], direct((positions - frame)[:, :2]), rtol=1e-3, atol=1e-5)
    assert result.species == ("Na",)


def test_selection_keeps_the_drift_of_the_universe():
    positions = walk(30, 6, seed=8)
    universe = make_universe(positions, ["Na", "S", "Na", "S", "Na", "P"])
    part = MeanSquareDisplacement(universe.select_atoms("element Na")).run()
    whole = MeanSquareDisplacement(universe).run()
    assert part.species == ("Na",)
    np.testing.assert_array_equal(part.msd["Na"], whole.msd["Na"])


def test_sums_of_all_species_from_the_same_read():
    """Whatever is selected, and in a box that breathes."""
    positions = walk(60, 6, seed=18)
    symbols = ["Na", "S", "Na", "S", "Na", "P"]
    moving, boxes = npt(positions, TILTED, 1 + 0.003 * np.random.default_rng(19).normal(size=60))
    universe = make_universe(moving, symbols, box=boxes)
    result = MeanSquareDisplacement(universe.select_atoms("element Na"), ["Na"], reference="none", stop=1 << 30)
    with pytest.raises(AnalysisError, match="in a box that varies"):
        result.run()
    collective = MeanSquareDisplacement(universe, ["Na"], reference="framework").run().collective
    held = np.array([symbol != "Na" for symbol in symbols])
    masses = np.array([atomic_masses[atomic_numbers[symbol]] for symbol in symbols])[held]
    still = positions - np.average(positions[:, held], axis=1, weights=masses)[:, None]
    assert collective.species == ("Na", "S", "P")
    for name in collective.species:
        expected = (still - still[0])[:, [symbol == name for symbol in symbols]].sum(axis=1)
        np.testing.assert_allclose(collective.sums[name], expected, atol=0.02)


def test_frames_of_reference_of_the_sums():
    """Held fixed afterwards, each reference gives what it gives when it is read."""
    universe = make_universe(walk(40, 6, seed=20), ["Na", "S", "Na", "S", "Na", "P"])
    results = {name: MeanSquareDisplacement(universe, reference=name).run() for name in ("none", "system", "framework")}
    for reference, result in results.items():
        for other in results.values():
            moved = other.collective.relative_to(reference)
            for species, expected in result.collective.sums.items():
                if reference != "none" or other is result:
                    np.testing.assert_allclose(moved[species], expected, atol=1e-5)
    with pytest.raises(AnalysisError, match="no framework is left when mobile is Na, S, P"):
        results["none"].collective.relative_to("framework", ("Na", "S", "P"))


def test_non_gaussian_parameter():
    """0 for Gaussian steps; for rare jumps of fixed length 3 / (5 mean number of jumps) of that."""
    rng = np.random.default_rng(21)
    gaussian = np.cumsum(rng.normal(size=(2000, 100, 3)), axis=0)
    directions = rng.normal(size=gaussian.shape)
    directions *= 3.0 / np.linalg.norm(directions, axis=2, keepdims=True)
    hops = np.cumsum((rng.random((2000, 100, 1)) < 0.02) * directions, axis=0)
    for positions, expected in ((gaussian, lambda lag: 0 * lag), (hops, lambda lag: 0.6 / (0.02 * lag) - 0.6 / lag)):
        universe = make_universe(positions, ["Na"] * 100)
        universe.trajectory = MemoryReader(positions.astype(np.float32), order="fac", dt=0.5)
        result = MeanSquareDisplacement(universe, reference="none").run()
        early = result.grid <= 20
        found = result.non_gaussian("Na")[early]
        np.testing.assert_allclose(found, expected(result.grid[early]), atol=0.03, rtol=0.05)


def test_slice_of_frames():
    positions = walk(90, 4, seed=9)
    universe = make_universe(positions, ["Na"] * 4)
    result = MeanSquareDisplacement(universe, reference="none", start=10, stop=80, step=3).run()
    np.testing.assert_allclose(result.msd["Na"], direct(positions[10:80:3]), rtol=1e-4)
    assert result.frame_interval == pytest.approx(1.5)


def test_triclinic_box_changes_nothing():
    positions = walk(50, 4, seed=10)
    result = MeanSquareDisplacement(make_universe(positions, ["Na"] * 4, box=TILTED), reference="none").run()
    np.testing.assert_allclose(result.msd["Na"], direct(positions), rtol=1e-4)
    box = make_universe(positions, ["Na"] * 4, box=TILTED)
    assert result.volume == pytest.approx(box.trajectory.ts.volume, rel=1e-5)


def npt(positions, box, scale):
    """Positions and boxes of a run whose box breathes by `scale` (frames,) about its centre."""
    boxes = np.tile(box, (len(scale), 1))
    boxes[:, :3] *= scale[:, None]
    origin = -3.0 * (scale - 1)
    return positions * scale[:, None, None] + origin[:, None, None], boxes


@pytest.mark.parametrize("box", [CUBE, TILTED], ids=["cube", "tilted"])
def test_breathing_box_is_no_diffusion(box):
    """Atoms far from the origin, as after many images, fixed in a box that fluctuates by 1 %."""
    rng = np.random.default_rng(11)
    scale = 1 + 0.01 * rng.normal(size=100)
    fixed = np.tile(rng.uniform(0, 120, size=(9, 3)), (100, 1, 1))
    moving, boxes = npt(fixed, box, scale)
    assert direct(moving)[1] > 0.5
    result = MeanSquareDisplacement(make_universe(moving, ["Na"] * 4 + ["S"] * 5, box=boxes)).run()
    assert result.msd["Na"].max() < 1e-6


def test_walk_in_a_breathing_box():
    positions = walk(400, 60, seed=12)
    scale = 1 + 0.005 * np.random.default_rng(13).normal(size=400)
    moving, boxes = npt(positions, CUBE, scale)
    symbols = ["Na"] * 30 + ["S"] * 30
    constant = MeanSquareDisplacement(make_universe(positions, symbols)).run()
    varying = MeanSquareDisplacement(make_universe(moving, symbols, box=boxes)).run()
    np.testing.assert_allclose(varying.msd["Na"][1:], constant.msd["Na"][1:], rtol=2e-3)
    assert 0 < varying.volume_drift < 0.05


def test_volume_drift_is_refused():
    moving, boxes = npt(walk(100, 4), CUBE, np.linspace(1, 1.03, 100))
    with pytest.raises(AnalysisError, match=r"volume changes by 8\.\d % over the frames used; at most 5 %"):
        MeanSquareDisplacement(make_universe(moving, ["Na", "Na", "S", "S"], box=boxes)).run()


def test_varying_box_needs_a_reference():
    moving, boxes = npt(walk(100, 4), CUBE, 1 + 0.01 * np.sin(np.arange(100.0)))
    with pytest.raises(AnalysisError, match="reference is 'none' in a box that varies"):
        MeanSquareDisplacement(make_universe(moving, ["Na", "Na", "S", "S"], box=boxes), reference="none").run()


@pytest.mark.parametrize("box", [CUBE, TILTED], ids=["cube", "tilted"])
@pytest.mark.parametrize("step", [0.05, 0.5, 3.0])
def test_wrapped_positions_are_refused(box, step):
    positions = walk(200, 20, seed=14, step=step, spread=12)
    universe = make_universe(positions, ["Na"] * 20, box=box)
    MeanSquareDisplacement(universe).run()
    universe.trajectory.add_transformations(MDAnalysis.transformations.wrap(universe.atoms))
    with pytest.raises(AnalysisError, match=r"positions are wrapped.*dump_modify ID unwrap yes"):
        MeanSquareDisplacement(universe).run()


def test_one_crossing_is_enough_to_refuse():
    positions = np.tile(np.random.default_rng(1).uniform(0, 12, (30, 3)), (50, 1, 1))
    positions[20:, 7, 1] -= 12.0
    with pytest.raises(AnalysisError, match="positions are wrapped: 1 moves"):
        MeanSquareDisplacement(make_universe(positions, ["Na"] * 30)).run()


def test_nojump_cures_wrapped_positions():
    positions = walk(200, 20, seed=15, step=0.4)
    universe = make_universe(positions, ["Na"] * 20)
    expected = MeanSquareDisplacement(universe).run().msd["Na"]
    wrapped = make_universe(positions % 12.0, ["Na"] * 20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped.trajectory.add_transformations(MDAnalysis.transformations.NoJump())
        ours = MeanSquareDisplacement(wrapped).run().msd["Na"]
    np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-4)


def test_no_box_is_fine():
    positions = walk(50, 4, seed=16)
    universe = make_universe(positions, ["Na"] * 4)
    universe.trajectory = MemoryReader(positions.astype(np.float32), order="fac", dt=0.5)
    result = MeanSquareDisplacement(universe, reference="none").run()
    np.testing.assert_allclose(result.msd["Na"], direct(positions), rtol=1e-4)
    assert np.isnan(result.volume)


class Uneven(MemoryReader):
    """Every tenth frame comes late."""

    def _read_next_timestep(self, ts=None):
        ts = super()._read_next_timestep(ts)
        ts.data["time"] = (ts.frame + (ts.frame >= 10)) * 0.5
        return ts


def test_uneven_frames_are_refused():
    universe = make_universe(walk(30, 4), ["Na"] * 4)
    universe.trajectory = Uneven(walk(30, 4).astype(np.float32), order="fac", dimensions=CUBE.astype(np.float32))
    with pytest.raises(AnalysisError, match=r"0\.5 ps apart, but 1 ps between frames 9 and 10"):
        MeanSquareDisplacement(universe).run()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"species": ["Cl"]}, "species 'Cl' is not in the system; it has Na, S"),
        ({"reference": "moon"}, "reference is 'moon'"),
        ({"reference": "framework", "mobile": ["Na", "S"]}, "no framework is left"),
        ({"reference": "framework", "mobile": ["Li"]}, "species 'Li' is not in the system"),
        ({"start": 90}, "frames 90:None:None select none"),
        ({"step": 0}, "step is 0"),
        ({"stop": 2}, "2 frames are too few"),
    ],
)
def test_impossible_requests(arguments, message):
    with pytest.raises(AnalysisError, match=message):
        MeanSquareDisplacement(make_universe(walk(50, 4), ["Na", "Na", "S", "S"]), **arguments).run()


def test_independent_atoms():
    rng = np.random.default_rng(17)
    alone = np.cumsum(rng.normal(size=(3000, 24, 3)), axis=0)
    pairs = np.concatenate([alone[:, :12], alone[:, :12] + 1.0], axis=1)
    for positions, expected in ((alone, 24), (pairs, 12)):
        universe = make_universe(positions, ["Na"] * 24)
        universe.trajectory = MemoryReader(positions.astype(np.float32), order="fac", dt=0.5)
        result = MeanSquareDisplacement(universe, reference="none").run()
        assert result.independent_atoms("Na", 1) == pytest.approx(expected, rel=0.12)


def test_saved_results(tmp_path):
    result = MeanSquareDisplacement(make_universe(walk(20, 4), ["Na", "Na", "S", "S"])).run()
    result.to_csv(tmp_path / "msd.csv")
    table = np.genfromtxt(tmp_path / "msd.csv", delimiter=",", names=True)
    assert table.dtype.names == ("time_ps", "msd_Na_A2", "msd_S_A2")
    np.testing.assert_allclose(table["msd_S_A2"], result.msd["S"], rtol=1e-9)
    stored = json.loads(json.dumps(result.as_dict()))
    assert stored["n_atoms"] == {"Na": 2, "S": 2}
    assert not any(name.startswith("_") for name in stored)


def test_plot():
    import matplotlib

    matplotlib.use("agg")
    axes = MeanSquareDisplacement(make_universe(walk(20, 4), ["Na", "Na", "S", "S"])).run().plot()
    assert [line.get_label() for line in axes.lines] == ["Na", "S", "slope 1"]
    assert axes.get_xlabel() == "lag time (ps)"
