"""Planned run lengths and D against run length, on random walkers of known D."""

import numpy as np
import pytest
from walkers import brownian, caged, diffusion_of, unbounded_universe

from napos_lmp.analysis.base import Estimate
from napos_lmp.analysis.transport.msd import MeanSquareDisplacement
from napos_lmp.analysis.transport.run_length import RunLengthConvergence, plan_run_length
from napos_lmp.errors import AnalysisError


def displacements_of(positions):
    return MeanSquareDisplacement(unbounded_universe(positions), reference="none").run()


def test_plan_of_a_short_run_holds_for_the_long_one():
    """Walkers of 300 frames plan for half their error: runs of the planned length have it."""
    rng = np.random.default_rng(1)
    short = [diffusion_of(brownian(rng, 301, 10)) for _ in range(6)]
    plans = [plan_run_length(each.diffusion, 300.0, 0.5 * each.relative_variance**0.5) for each in short]
    needed = float(np.mean([plan.needed for plan in plans]))
    assert needed == pytest.approx(1200, rel=0.1)
    long = [diffusion_of(brownian(rng, 1201, 10)).relative_variance ** 0.5 for _ in range(6)]
    assert np.mean(long) == pytest.approx(np.mean([plan.target for plan in plans]), rel=0.3)


def test_plan_in_words():
    estimate = Estimate(1e-6, 0.8e-6, 1.25e-6, "cm^2/s")
    plan = plan_run_length(estimate, 500.0, 0.05)
    error = np.log(1.25 / 0.8) / 2 / 1.959964
    assert plan.needed == pytest.approx(500 * (error / 0.05) ** 2, rel=1e-6)
    assert plan.sentence == "needs about 2.6 ns for a relative error of 5 % (it is 11 % after 0.5 ns)"
    assert plan_run_length(estimate, 500.0, 0.2).sentence == "has a relative error of 11 % after 0.5 ns, below 20 %"


@pytest.mark.parametrize(
    ("estimate", "length", "target", "message"),
    [
        (Estimate(1.0, 0.9, 1.1, "cm^2/s"), 10.0, 5.0, "target is 5; a relative error lies between 0 and 1"),
        (Estimate(1.0, 0.9, 1.1, "cm^2/s"), 0.0, 0.1, "length is 0 ps"),
        (Estimate(1.0, float("nan"), float("nan"), "cm^2/s"), 10.0, 0.1, "has no interval above 0"),
    ],
)
def test_impossible_plans(estimate, length, target, message):
    with pytest.raises(AnalysisError, match=message):
        plan_run_length(estimate, length, target)


def test_longer_parts_know_more():
    displacements = displacements_of(brownian(np.random.default_rng(2), 1601, 20))
    result = RunLengthConvergence(displacements).run()
    assert result.lengths.tolist() == [199, 399, 799, 1600]
    widths = np.array([each.relative_error for each in result.diffusion])
    assert np.all(np.diff(widths) < 0)
    assert widths[0] / widths[-1] == pytest.approx(8**0.5, rel=0.4)
    assert result.diffusion[-1].low < 0.5e-4 < result.diffusion[-1].high
    assert next(iter(result.columns())) == "length_ps"


def test_beginning_is_the_run_that_ended_there():
    path = brownian(np.random.default_rng(5), 400, 6)
    part, short = displacements_of(path).beginning(150), displacements_of(path[:150])
    np.testing.assert_allclose(part.msd["Na"], short.msd["Na"], rtol=1e-12)
    np.testing.assert_array_equal(part.per_atom("Na"), short.per_atom("Na"))
    np.testing.assert_array_equal(part.collective.sums["Na"], short.collective.sums["Na"])
    assert (part.n_frames, part.times[-1]) == (150, 149)
    with pytest.raises(AnalysisError, match="n_frames is 401; it must be from 3 to 400"):
        displacements_of(path).beginning(401)


def test_parts_that_give_nothing_say_why():
    displacements = displacements_of(brownian(np.random.default_rng(3), 60, 20, step=2.0))
    result = RunLengthConvergence(displacements, parts=(0.2, 1.0)).run()
    assert np.isnan(result.diffusion[0].value)
    assert "frames are too few" in next(iter(result.refusals.values()))
    still = displacements_of(caged(np.random.default_rng(4), 200, 10, 5.0, 0.3))
    with pytest.raises(AnalysisError, match="no part of the run gives a diffusion coefficient"):
        RunLengthConvergence(still).run()


def test_parts_must_rise():
    with pytest.raises(AnalysisError, match="must rise"):
        RunLengthConvergence(displacements_of(np.zeros((3, 1, 3))), parts=(1.0, 0.5))
