import math

import numpy as np
import pytest
from ase import Atoms
from hoppers import displacements_of, lattice_hoppers
from scipy.stats import chi2
from universes import universe_of
from walkers import brownian, caged, fractional, unbounded_universe

from napos_lmp.analysis.jackknife import jackknife_estimate, ratio, share_estimate
from napos_lmp.analysis.mechanism.jump_distributions import jump_lengths, residence
from napos_lmp.analysis.mechanism.jumps import Jumps
from napos_lmp.analysis.quantities.jumps import measure_mechanism
from napos_lmp.analysis.transport.diffusion import A2_PER_PS_IN_CM2_PER_S, DiffusionCoefficient
from napos_lmp.analysis.transport.msd import MeanSquareDisplacement
from napos_lmp.errors import AnalysisError


def jumps_of(positions, dt=0.1, **options):
    return Jumps(displacements_of(positions, dt), **options).run()


def test_the_jumps_of_a_known_path_are_found_to_the_frame():
    rng = np.random.default_rng(0)
    path = np.zeros((200, 3, 3))
    path[80:, 0] += [3.0, 0, 0]
    path[120:, 0] += [0, 2.5, 0]
    path[150:, 2] += [0, 0, 4.0]
    path[60:63, 1] += [3.0, 0, 0]  # back within the settling time
    result = jumps_of(path + rng.normal(scale=0.2, size=path.shape))
    assert result.ion.tolist() == result.atom.tolist() == [0, 0, 2]
    assert result.frame.tolist() == [80, 120, 150]
    assert result.lengths == pytest.approx([3.0, 2.5, 4.0], abs=0.15)
    assert result.destinations - result.origins == pytest.approx(
        np.array([[3.0, 0, 0], [0, 2.5, 0], [0, 0, 4.0]]), abs=0.15
    )
    assert result.origins[1] == pytest.approx(result.destinations[0])
    assert result.moving.value == result.displaced.value == pytest.approx(2 / 3)
    assert result.settling_time == pytest.approx(1.0)


def test_the_rate_lies_in_its_interval():
    rng = np.random.default_rng(1)
    for rate, frames, atoms in ((0.002, 600, 40), (0.01, 400, 30)):
        found = [jumps_of(lattice_hoppers(rng, frames, atoms, rate)) for _ in range(40)]
        exact = 1000 * rate / 0.1
        assert sum(r.rate.low <= exact <= r.rate.high for r in found) >= 36
        assert np.mean([r.rate.value for r in found]) == pytest.approx(exact, rel=0.05)
        times = [r.residence_time for r in found]
        assert sum(t.low <= 1000 / exact <= t.high for t in times) >= 36
        assert np.mean([r.mean_length.value for r in found]) == pytest.approx(3.5, abs=0.15)
        assert np.mean([r.vibration.value for r in found]) == pytest.approx(0.35, abs=0.02)


def test_few_jumps_have_the_interval_of_a_count():
    path = np.zeros((100, 20, 3))
    path[50:, 4] += [3.5, 0, 0]
    result = jumps_of(path + np.random.default_rng(0).normal(scale=0.2, size=path.shape))
    exposed = (20 * (100 - 10) - 10 + 1) * 0.1
    assert result.rate.value == pytest.approx(1000 / exposed, rel=1e-3)
    assert result.rate.low == pytest.approx(0.0253 * 1000 / exposed, rel=1e-2)
    assert result.rate.high == pytest.approx(5.572 * 1000 / exposed, rel=1e-3)
    assert "few jumps" in result.rate.note
    assert result.exponent.note == "1 jumps are too few; 20 are needed"
    assert result.diffusion.note == "0 jumps after another of the same ion are too few; 20 are needed"


def test_a_harmonic_crystal_has_no_jumps():
    result = jumps_of(caged(np.random.default_rng(2), 600, 50, 3, 0.4))
    assert len(result.ion) == 0
    assert result.rate.value == result.rate.low == 0
    assert result.rate.high == pytest.approx(1000 * 3.689 / (50 * 590 * 0.1), rel=1e-3)
    assert math.isnan(result.residence_time.value)
    assert result.residence_time.note == "no ion jumped; it exceeds 800 ps"
    assert result.moving.value == 0
    assert result.moving.high == pytest.approx(1 - 0.025 ** (1 / 50))
    assert math.isnan(result.diffusion.value)
    assert np.isnan(jump_lengths(result).density).all()
    assert residence(result).remaining.tolist() == [1.0]


@pytest.mark.parametrize("step", [0.1, 0.2, 0.3])
def test_free_walkers_are_refused(step):
    for seed in range(4):
        with pytest.raises(AnalysisError, match=r"Na moves continuously.*to the power -[12]\.\d, which is 0 for jumps"):
            jumps_of(brownian(np.random.default_rng(seed), 800, 20, step=step))


def test_other_motion_without_cages_is_refused():
    rng = np.random.default_rng(3)
    with pytest.raises(AnalysisError, match="moves continuously"):
        jumps_of(brownian(rng, 800, 30, step=0.1, cage=0.3))
    with pytest.raises(AnalysisError, match="moves continuously"):
        jumps_of(fractional(rng, 1000, 30, 0.6, step=0.3))
    with pytest.raises(AnalysisError, match=r"40 ps with \d+ jumps are too short to tell jumps of Na"):
        jumps_of(brownian(rng, 400, 10, step=0.03))
    with pytest.raises(AnalysisError, match=r"stays in a cage for 1\.\d* ps only; 2 times the settling time of 1 ps"):
        jumps_of(lattice_hoppers(rng, 2000, 30, 0.08, vibration=0.1))


@pytest.mark.parametrize("back", [1 / 6, 0.5])
def test_jumps_that_lead_back_slow_the_diffusion_as_theory_says(back):
    """A walk that reverses with probability b and else takes one of 5 other ways: c = -b + (1 - b) / 5."""
    rate, length = 0.004, 3.5
    found = [jumps_of(lattice_hoppers(np.random.default_rng(seed), 3000, 40, rate, back=back)) for seed in range(5)]
    cosine = -back + (1 - back) / 5
    factor = (1 + cosine) / (1 - cosine)
    exact = rate / 0.1 * length**2 / 6 * factor * A2_PER_PS_IN_CM2_PER_S
    assert np.mean([r.correlation.value for r in found]) == pytest.approx(factor, rel=0.08)
    assert np.mean([r.returns.value for r in found]) == pytest.approx(back, abs=0.03)
    assert np.mean([r.diffusion.value for r in found]) == pytest.approx(exact, rel=0.08)
    assert sum(r.diffusion.low <= exact <= r.diffusion.high for r in found) >= 4


def test_the_diffusion_that_follows_is_that_of_the_displacements():
    displacements = displacements_of(lattice_hoppers(np.random.default_rng(0), 4000, 60, 0.006))
    own = DiffusionCoefficient(displacements, "Na").run().diffusion
    jumping = Jumps(displacements).run().diffusion
    assert max(own.low, jumping.low) < min(own.high, jumping.high)
    assert jumping.value == pytest.approx(own.value, rel=0.2)


def test_distributions_of_lengths_and_rests():
    result = jumps_of(lattice_hoppers(np.random.default_rng(5), 3000, 40, 0.004, vibration=0.25))
    lengths = jump_lengths(result)
    assert lengths.density.sum() * 0.25 == pytest.approx(1)
    near = np.abs(lengths.length - 3.5) < 0.4
    assert lengths.density[near].sum() * 0.25 > 0.85
    assert np.isfinite(lengths.error).all()
    rests = residence(result)
    assert rests.time[0] == result.settling_time
    half = np.searchsorted(-rests.remaining, -0.5)
    assert rests.time[half] - 1.0 == pytest.approx(math.log(2) * 25, rel=0.15)
    assert np.abs(rests.remaining - rests.exponential)[: len(rests.time) // 2].max() < 0.08


def test_the_frame_is_that_of_the_trajectory(tmp_path):
    path = np.zeros((300, 2, 3))
    path[200:, 1] += [3.0, 0, 0]
    path += np.random.default_rng(0).normal(scale=0.1, size=path.shape)
    universe = unbounded_universe(path, 0.05, ["P", "Na"])
    result = Jumps(MeanSquareDisplacement(universe, reference="none", start=50, step=2).run()).run()
    assert (result.ion.tolist(), result.atom.tolist(), result.frame.tolist()) == ([0], [1], [200])
    result.to_csv(tmp_path / "jumps.csv")
    head, row = (tmp_path / "jumps.csv").read_text().splitlines()
    assert head == "ion,atom,frame,time_ps,length_A,from_x_A,from_y_A,from_z_A,to_x_A,to_y_A,to_z_A"
    assert row.startswith("0,1,200,7.5,")


@pytest.mark.parametrize(
    ("frames", "options", "words"),
    [
        (200, {"threshold": 0.0}, "threshold is 0.0 A; it must be positive"),
        (200, {"settling_time": math.nan}, "settling_time is nan ps; it must be positive"),
        (200, {"species": "K"}, "species 'K' has no mean-square displacement here"),
        (39, {}, "39 frames, 0.1 ps apart, are too few to see jumps with a settling time of 1 ps; 40 are the least"),
    ],
)
def test_bad_input_is_refused(frames, options, words):
    with pytest.raises(AnalysisError, match=words):
        jumps_of(caged(np.random.default_rng(0), frames, 5, 3, 0.3), **options)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    from scipy.stats import binomtest, t

    values = np.random.default_rng(0).normal(5, 1, 40)
    found = jackknife_estimate(np.column_stack([values, np.ones(40)]), ratio, "A")
    exact = t.interval(0.95, 39, values.mean(), values.std(ddof=1) / math.sqrt(40))
    assert (found.low, found.high) == pytest.approx(exact)
    assert jackknife_estimate([[1.0, 0.0]] * 9, ratio, "A", none="nothing").note == "nothing"
    for k in (0, 3, 20):
        theirs = binomtest(k, 20).proportion_ci(method="exact")
        assert (share_estimate(k, 20).low, share_estimate(k, 20).high) == pytest.approx((theirs.low, theirs.high))


def test_a_stage_gives_quantities_and_tables():
    universe = unbounded_universe(lattice_hoppers(np.random.default_rng(0), 1000, 40, 0.004), 0.1)
    found = measure_mechanism(universe, MeanSquareDisplacement(universe, reference="none").run())
    quantities = {quantity.key: quantity for quantity in found.quantities}
    assert set(found.tables) == {"van_hove", "jumps", "jump_lengths", "residence"}
    assert quantities["jump.rate.Na"].low < 40 < quantities["jump.rate.Na"].high
    assert quantities["exit.time.Na"].low < 25 < quantities["exit.time.Na"].high
    assert quantities["jump.moving.Na"].unit == "%"
    assert quantities["exit.exponent.Na"].value == pytest.approx(0, abs=0.2)
    assert "van_hove.refilled.Na" not in quantities
    assert set(found.refusals) == {"jump_environment"}


def test_a_melt_has_exit_times_and_a_reason_for_no_jumps():
    """The mean time in which a free walker leaves a sphere of radius a from its centre is a^2 / 6D."""
    universe = unbounded_universe(brownian(np.random.default_rng(0), 4000, 30, step=0.1), 0.1)
    found = measure_mechanism(universe, MeanSquareDisplacement(universe, reference="none").run())
    assert "moves continuously" in found.refusals["jumps"]
    quantities = {quantity.key: quantity for quantity in found.quantities}
    assert quantities["jump.rate.Na"].refused == quantities["jump.length.Na"].refused == found.refusals["jumps"]
    assert "jump.moving.Na" not in quantities
    assert quantities["exit.exponent.Na"].low < 2 < quantities["exit.exponent.Na"].high
    exact = 0.1**2 / 2 / 0.1 * A2_PER_PS_IN_CM2_PER_S
    assert quantities["exit.diffusion.Na"].low < exact < quantities["exit.diffusion.Na"].high
    free = 1.75**2 / (3 * 0.1**2) * 0.1
    assert free < quantities["exit.time.Na"].value < 4 * free
    assert quantities["van_hove.moved.Na"].note == "after 80 ps"
    variance = 800 * 0.1**2
    exact = 100 * chi2.sf(9 / variance, 3)
    assert quantities["van_hove.moved.Na"].low < exact < quantities["van_hove.moved.Na"].high
    with pytest.raises(AnalysisError, match="stays in a cage for"):
        Jumps(displacements_of(brownian(np.random.default_rng(0), 400, 20, step=0.6))).run(in_cages=False)


def test_jumps_in_a_leaning_box_that_breathes_have_the_length_in_the_mean_cell():
    rng = np.random.default_rng(0)
    box = Atoms(cell=[21.0, 20.0, 23.0, 72.0, 81.0, 67.0]).cell
    path = rng.uniform(size=(60, 3)) @ box.array + rng.normal(scale=0.15, size=(300, 60, 3))
    path[150:, 3] += 3 * box.array[2] / 23.0
    swell = 1 + 0.02 * np.sin(np.arange(300))
    boxes = [[*(factor * box.lengths()), *box.angles()] for factor in swell]
    universe = universe_of(["Na"] * 20 + ["P"] * 40, swell[:, None, None] * path, boxes)
    result = Jumps(universe).run()
    assert (result.ion.tolist(), result.frame.tolist()) == ([3], [150])
    drift = 3 * 22.99 / (20 * 22.99 + 40 * 30.974)
    assert result.lengths == pytest.approx([3 - drift], abs=0.05)
    assert (result.destinations - result.origins)[0] / result.lengths[0] == pytest.approx(box.array[2] / 23, abs=0.03)
