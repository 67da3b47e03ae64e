"""Diffusion coefficients and their intervals on walkers whose truth is known."""

import json

import numpy as np
import pytest
from walkers import brownian, caged, diffusion_of, fractional, hopping, locked_pairs, unbounded_universe

from napos_lmp.analysis.transport.diffusion import DiffusionCoefficient
from napos_lmp.analysis.transport.msd import MeanSquareDisplacement
from napos_lmp.analysis.transport.random_walk import fit_line, walk_covariance
from napos_lmp.errors import AnalysisError


def test_covariance_of_a_random_walk_by_sampling():
    """20,000 walkers, each with its own mean-square displacement curve."""
    rng = np.random.default_rng(0)
    frames, step, cage = 40, 0.5**0.5, 0.2**0.5
    lags = np.array([1, 2, 5, 13, 30])
    curves = []
    for _ in range(10):
        path = brownian(rng, frames, 2000, step, cage)
        curves.append([np.sum((path[lag:] - path[:-lag]) ** 2, axis=2).mean(axis=0) for lag in lags])
    curves = np.concatenate(curves, axis=1)
    expected = walk_covariance(lags, frames, slope=3 * step**2, intercept=6 * cage**2)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_allclose(np.cov(curves) / scale, expected / scale, atol=0.04)
    np.testing.assert_allclose(curves.mean(axis=1), 3 * step**2 * lags + 6 * cage**2, rtol=0.01)


def test_covariance_of_one_step_is_elementary():
    """T - 1 independent steps: variance of their mean square is 6 v^2 / (T - 1)."""
    assert walk_covariance(np.array([1]), 101, slope=3.0, intercept=0.0) == pytest.approx(6 / 100)


def test_generalised_least_squares_is_unbiased_and_knows_its_error():
    rng = np.random.default_rng(1)
    lags = np.array([2, 3, 5, 8, 13, 21])
    slopes, errors = [], []
    for _ in range(400):
        path = brownian(rng, 60, 10)
        curve = np.array([np.sum((path[lag:] - path[:-lag]) ** 2, axis=2).mean() for lag in lags])
        fit = fit_line(lags, curve, 60, 10)
        slopes.append(fit.slope)
        errors.append(fit.slope_error)
    assert np.mean(slopes) == pytest.approx(3, abs=3 * np.std(slopes) / 20)
    assert np.mean(errors) == pytest.approx(np.std(slopes), rel=0.15)


CASES = {
    "short": (lambda rng: brownian(rng, 60, 8), 0.5),
    "medium": (lambda rng: brownian(rng, 200, 40), 0.5),
    "long": (lambda rng: brownian(rng, 600, 15), 0.5),
    "one long walk": (lambda rng: brownian(rng, 2000, 1), 0.5),
    "cage": (lambda rng: brownian(rng, 250, 40, 0.3, 0.7), 0.045),
    "hops": (lambda rng: hopping(rng, 300, 20), 0.075),
    "hops at different rates": (lambda rng: hopping(rng, 250, 30, spread=0.7), 0.075),
    "locked pairs": (lambda rng: locked_pairs(rng, 300, 30), 0.5),
    "cage that gives way slowly": (lambda rng: brownian(rng, 1500, 20, 0.3) + caged(rng, 1500, 20, 8, 0.8), 0.045),
}


@pytest.mark.parametrize("name", CASES)
def test_interval_covers_the_truth(name):
    """At least 90 of 100 repeats, few refused, and no interval so wide that it says nothing."""
    make, truth = CASES[name]
    values, inside, widths = [], 0, []
    for seed in range(100):
        try:
            estimate = diffusion_of(make(np.random.default_rng([seed, 2]))).diffusion
        except AnalysisError:
            continue
        assert estimate.unit == "cm^2/s"
        values.append(estimate.value * 1e4)
        widths.append((estimate.high - estimate.low) / 2 * 1e4)
        inside += estimate.low <= truth * 1e-4 <= estimate.high
    assert len(values) >= 90
    assert inside >= 0.9 * len(values)
    assert np.mean(values) == pytest.approx(truth, rel=0.03)
    assert np.mean(widths) < 4 * np.std(values)


def test_level_widens_the_interval():
    path = brownian(np.random.default_rng(3), 200, 20)
    narrow, wide = (diffusion_of(path, level=level).diffusion for level in (0.68, 0.95))
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(1.96, rel=0.05)


def test_units_follow_the_frame_interval():
    path = brownian(np.random.default_rng(4), 300, 60)
    result = diffusion_of(path, dt=0.25)
    assert result.diffusion.value == pytest.approx(0.5e-4 / 0.25, rel=0.1)
    assert result.window_stop == pytest.approx(149 * 0.25, rel=0.05)


def test_locked_pairs_count_once():
    pairs = diffusion_of(locked_pairs(np.random.default_rng(5), 1000, 40))
    assert pairs.n_atoms == 40
    assert pairs.independent_atoms == pytest.approx(20, rel=0.15)


def test_cage_is_left_out():
    result = diffusion_of(brownian(np.random.default_rng(6), 800, 100, 0.3, 0.7))
    assert result.intercept == pytest.approx(6 * 0.49, rel=0.05)
    assert result.diffusion.value * 1e4 == pytest.approx(0.045, rel=0.05)
    assert result.slope < 0.9 < result.exponent


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda rng: caged(rng, 400, 50, 10, 3.0), "log-log slope"),
        (lambda rng: caged(rng, 400, 50, 80, 5.0), "no straight line|log-log slope"),
        (lambda rng: np.arange(200)[:, None, None] * 0.1 * rng.normal(size=(1, 50, 3)), "log-log slope 2.0"),
        (lambda rng: fractional(rng, 500, 50, 0.7), "log-log slope|no straight line"),
        (lambda rng: fractional(rng, 500, 50, 1.3), "log-log slope|no straight line"),
    ],
    ids=["caged", "slowly caged", "ballistic", "subdiffusive", "superdiffusive"],
)
def test_what_is_not_diffusive_is_refused(make, reason, seed):
    with pytest.raises(AnalysisError, match=f"no diffusion coefficient of Na: no diffusive window: .*({reason})"):
        diffusion_of(make(np.random.default_rng([seed, 7])))


def test_displacement_below_a_jump_is_refused():
    path = brownian(np.random.default_rng(8), 300, 50, step=0.05)
    with pytest.raises(AnalysisError, match=r"root-mean-square displacement is 1\.\d\d A after 1\d\d ps; .* 3 A"):
        diffusion_of(path)
    assert diffusion_of(path, jump_length=0.5).diffusion.value > 0


def test_few_displacements_are_refused():
    path = brownian(np.random.default_rng(9), 3000, 1, step=0.13)
    with pytest.raises(AnalysisError, match=r"1\d\.\d independent displacements of 3 A; 20 are the least"):
        diffusion_of(path)


@pytest.mark.parametrize(
    ("frames", "atoms", "message"),
    [(19, 50, "19 frames are too few; 20 are the least"), (25, 1, "too few to know the mean-square displacement")],
)
def test_little_data_is_refused(frames, atoms, message):
    with pytest.raises(AnalysisError, match=message):
        diffusion_of(brownian(np.random.default_rng(10), frames, atoms))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"species": "Li"}, "species 'Li' has no mean-square displacement; Na have"),
        ({"jump_length": 0}, "jump_length is 0 A"),
        ({"level": 95}, "level is 95"),
    ],
)
def test_impossible_requests(options, message):
    universe = unbounded_universe(brownian(np.random.default_rng(11), 50, 5))
    msd = MeanSquareDisplacement(universe, reference="none").run()
    with pytest.raises(AnalysisError, match=message):
        DiffusionCoefficient(msd, **options)


def test_saved_results(tmp_path):
    result = diffusion_of(brownian(np.random.default_rng(12), 100, 30))
    result.to_csv(tmp_path / "diffusion.csv")
    table = np.genfromtxt(tmp_path / "diffusion.csv", delimiter=",", names=True)
    assert table.dtype.names == ("time_ps", "msd_A2", "line_A2", "in_window")
    inside = table["time_ps"][table["in_window"] == 1]
    assert (inside[0], inside[-1]) == (result.window_start, result.window_stop)
    stored = json.loads(json.dumps(result.as_dict()))
    assert stored["diffusion"]["unit"] == "cm^2/s"
    assert stored["volume"] is None


def test_plot():
    import matplotlib

    matplotlib.use("agg")
    axes = diffusion_of(brownian(np.random.default_rng(13), 100, 30)).plot()
    assert axes.get_ylabel() == "mean-square displacement (Å²)"
    assert len(axes.lines) == 2


def test_values_and_errors_of_kinisi():
    """McCluskey's Bayesian regression on the same walkers, fitted from the same lag (extra `kinisi`)."""
    pytest.importorskip("kinisi")
    import scipp
    from kinisi.analyze import DiffusionAnalyzer
    from MDAnalysis.coordinates.memory import MemoryReader

    path = brownian(np.random.default_rng(14), 200, 40) + 500
    universe = unbounded_universe(path)
    for attribute in ("names", "types"):
        universe.add_TopologyAttr(attribute, ["Na"] * 40)
    box = np.array([1000, 1000, 1000, 90, 90, 90], dtype=np.float32)
    universe.trajectory = MemoryReader(path.astype(np.float32), order="fac", dt=1.0, dimensions=box)
    unit = scipp.Unit("ps")
    step = {"time_step": 1.0 * unit, "step_skip": 1 * scipp.Unit("dimensionless"), "progress": False}
    theirs = DiffusionAnalyzer.from_universe(universe, specie="Na", **step)
    ours = diffusion_of(path)
    theirs.diffusion(ours.window_start * unit, progress=False)
    samples = scipp.to_unit(theirs.D, "cm^2/s").values
    error = ours.diffusion.value * ours.relative_variance**0.5
    assert ours.diffusion.value == pytest.approx(samples.mean(), abs=error)
    assert error == pytest.approx(samples.std(), rel=0.5)
