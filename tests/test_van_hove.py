import math

import numpy as np
import pytest
from ase import Atoms
from MDAnalysis.analysis.rdf import InterRDF
from universes import universe_of
from walkers import brownian, caged, hopping, unbounded_universe

from napos_lmp.analysis.mechanism.van_hove import VanHove
from napos_lmp.analysis.transport.msd import MeanSquareDisplacement
from napos_lmp.errors import AnalysisError

LEANING = [21.0, 20.0, 23.0, 72.0, 81.0, 67.0]


def free(positions, lags=None, dt=1.0):
    """Of walkers whose drift is part of their motion."""
    return VanHove(MeanSquareDisplacement(unbounded_universe(positions, dt), reference="none").run(), "Na", lags).run()


def test_free_walkers_spread_as_a_gaussian():
    """4 pi r^2 G_s of Brownian motion with D = 1/2 A^2 a frame is Maxwell's distribution of variance 2 D t."""
    result = free(brownian(np.random.default_rng(1), 600, 200), [1.0, 4.0, 20.0])
    for i, time in enumerate((1.0, 4.0, 20.0)):
        exact = np.sqrt(2 / math.pi) * result.r**2 / time**1.5 * np.exp(-(result.r**2) / (2 * time))
        known = exact > 0.02 * exact.max()
        deviation = (result.self_density[i] - exact)[known] / result.self_error[i][known]
        assert np.mean(np.abs(deviation) < 1) > 0.85
        assert result.msd[i] == pytest.approx(3 * time, rel=0.05)
        assert result.gaussian(i) == pytest.approx(exact, abs=0.03 * exact.max())
    assert np.abs(result.non_gaussian).max() < 0.03
    assert np.isnan(result.distinct).all()
    assert "no box" in result.refilled[0].note


def test_the_self_part_integrates_to_one():
    result = free(hopping(np.random.default_rng(0), 300, 40), dt=0.05)
    assert result.self_density.sum(axis=1) * result.bin_width == pytest.approx(np.ones(4), abs=1e-12)
    assert result.times == pytest.approx([0.05, 0.2, 0.75, 3.0], rel=0.03)


@pytest.mark.parametrize("box", [[20.0, 22.0, 24.0, 90.0, 90.0, 90.0], LEANING])
def test_the_distinct_part_begins_as_the_g_of_r_of_mdanalysis(box):
    rng = np.random.default_rng(3)
    cell = Atoms(cell=box).cell.array
    places = rng.uniform(size=(60, 3)) @ cell
    frames = places + np.cumsum(rng.normal(scale=0.3, size=(30, 60, 3)), axis=0)
    universe = universe_of(["Na"] * 60, frames, box)
    result = VanHove(universe, lags=[0.0]).run()
    reach = 0.1 * np.isfinite(result.distinct[0]).sum()
    sodium = universe.select_atoms("element Na")
    theirs = InterRDF(sodium, sodium, nbins=round(reach / 0.1), range=(0, reach), exclusion_block=(1, 1)).run()
    assert result.distinct[0][: len(theirs.results.rdf)] == pytest.approx(theirs.results.rdf, abs=0.02)
    assert np.allclose(result.self_density[0][0], 1 / result.bin_width)


def test_the_distinct_part_of_strangers_is_one():
    rng = np.random.default_rng(4)
    box = [18.0, 18.0, 18.0, 90.0, 90.0, 90.0]
    frames = rng.uniform(0, 18, (80, 3)) + np.cumsum(rng.normal(scale=0.4, size=(200, 80, 3)), axis=0)
    result = VanHove(universe_of(["Na"] * 80, frames, box), lags=[5.0]).run()
    known = np.isfinite(result.distinct[0]) & (result.r > 2)
    assert np.mean(result.distinct[0][known]) == pytest.approx(1, abs=0.02)
    assert result.refilled[0].low < 1 < result.refilled[0].high


def test_a_column_of_ions_that_moves_one_place_refills_the_places():
    """Sites 3 A apart on a line across the box: all ions move on at once, and the neighbour takes the place."""
    sites = np.array([[3.0 * k, 6.0, 6.0] for k in range(4)])
    steps = np.repeat(np.arange(20), 10)[:, None, None] * np.array([3.0, 0, 0])
    universe = universe_of(["Na"] * 4, sites + steps, [12.0, 12.0, 12.0, 90, 90, 90])
    result = VanHove(MeanSquareDisplacement(universe, reference="none").run(), lags=[10.0]).run()
    assert result.msd[0] == pytest.approx(9, rel=1e-4)
    density = 3 / 12**3
    assert result.refilled[0].value == pytest.approx(1 / (density * 4 / 3 * math.pi), rel=0.01)


def test_hoppers_on_a_lattice_peak_at_the_distance_of_its_sites():
    rng = np.random.default_rng(5)
    directions = np.concatenate([np.eye(3), -np.eye(3)]) * 3.2
    jumps = (rng.random((800, 60, 1)) < 0.01) * directions[rng.integers(6, size=(800, 60))]
    result = free(np.cumsum(jumps, axis=0) + caged(rng, 800, 60, 2, 0.2), [30.0])
    curve = result.self_density[0]
    second = (result.r > 2) & (result.r < 4)
    assert result.r[second][np.argmax(curve[second])] == pytest.approx(3.2, abs=0.2)
    assert curve[second].max() > 5 * curve[np.abs(result.r - 1.9) < 0.2].max()
    assert result.non_gaussian[0] > 1


def test_a_box_that_breathes_is_no_motion():
    rng = np.random.default_rng(6)
    places = rng.uniform(size=(50, 3))
    lengths = 15 + 0.3 * np.sin(np.arange(100))
    frames = np.array([places * length for length in lengths])
    boxes = np.array([[length] * 3 + [90] * 3 for length in lengths])
    universe = universe_of(["Na"] * 50, frames, boxes)
    result = VanHove(universe, lags=[2.0]).run()
    assert result.self_density[0][0] == pytest.approx(10)


@pytest.mark.parametrize(
    ("lags", "words"),
    [
        ([500.0], "lag of 500 ps is not from 0 to the run's length, 99 ps"),
        ([-1.0], "lag of -1 ps"),
        ([], "lags is empty"),
    ],
)
def test_bad_lags_are_refused(lags, words):
    with pytest.raises(AnalysisError, match=words):
        free(brownian(np.random.default_rng(0), 100, 3), lags)


def test_long_lags_have_no_error_band():
    result = free(brownian(np.random.default_rng(0), 100, 3), [2.0, 50.0])
    assert result.blocks.tolist() == [20, 0]
    assert np.isfinite(result.self_error[0]).all()
    assert np.isnan(result.self_error[1]).all()


def test_the_table_and_the_drawing_hold_both_parts(tmp_path):
    result = free(brownian(np.random.default_rng(0), 100, 3), [1.0, 2.0])
    result.to_csv(tmp_path / "van_hove.csv")
    head = (tmp_path / "van_hove.csv").read_text().splitlines()[0]
    assert head.startswith("r_A,self_1ps_1/A,self_error_1ps_1/A,distinct_1ps,distinct_error_1ps,self_2ps_1/A")
    assert len(result.plot().lines) == 2
    assert "G$_d$" in result.plot(part="distinct").get_ylabel()
