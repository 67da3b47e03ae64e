"""VTF fits and the choice of a law: exact curves, scipy, repeated noise, glasses that share errors, and refusals."""

import numpy as np
import pytest
from scipy.optimize import curve_fit

from napos_lmp.analysis.base import Estimate
from napos_lmp.analysis.transport.arrhenius import Arrhenius
from napos_lmp.analysis.transport.vogel import TemperatureLaw, VogelTammannFulcher
from napos_lmp.errors import AnalysisError

KB = 8.617333262e-5
WIDE = np.array([600.0, 650, 700, 800, 900, 1000, 1200])


def logarithm(temperature, t0=0.0, strength=0.45, prefactor=2.0e4):
    return np.log(prefactor / temperature) - strength / (KB * (temperature - t0))


def estimate(log, error=0.05):
    spread = np.exp(1.959964 * error)
    return Estimate(float(np.exp(log)), float(np.exp(log)) / spread, float(np.exp(log)) * spread, "S/cm")


def noisy(rng, temperatures, error, t0=0.0, glass=0.0, strength=0.45):
    noise = rng.normal(scale=error, size=len(temperatures)) if error else np.zeros(len(temperatures))
    return [
        estimate(logarithm(t, t0, strength) + e + glass, error or 0.05)
        for t, e in zip(temperatures, noise, strict=True)
    ]


def test_vogel_equals_scipy():
    rng = np.random.default_rng(4)
    values = noisy(rng, WIDE, 0.02, t0=350, strength=0.1)
    found = VogelTammannFulcher(WIDE.tolist(), values).run()
    logs = np.log([value.value for value in values]) + np.log(WIDE)
    best, covariance = curve_fit(
        lambda t, a, b, t0: a - b / (KB * (t - t0)), WIDE, logs, p0=[9, 0.2, 300], sigma=0.02 * np.ones(7),
        absolute_sigma=True,
    )  # fmt: skip
    assert found.vogel_temperature.value == pytest.approx(best[2], abs=3)
    assert found.strength.value == pytest.approx(best[1], rel=0.03)
    half = 1.96 * covariance[2, 2] ** 0.5
    assert found.vogel_temperature.high - found.vogel_temperature.low == pytest.approx(2 * half, rel=0.3)
    assert found.at(800.0) == pytest.approx(np.exp(logarithm(800.0, 350, 0.1)), rel=0.05)


def test_intervals_cover_the_truth():
    rng = np.random.default_rng(5)
    inside = []
    for _ in range(40):
        found = VogelTammannFulcher(
            WIDE.tolist(), noisy(rng, WIDE, 0.03, 250, strength=0.2), prediction_temperature=500
        )
        result = found.run()
        truth = np.exp(logarithm(500.0, 250, 0.2) + rng.normal(scale=0.03))
        t0 = result.vogel_temperature
        inside.append((t0.low <= 250 <= t0.high, result.prediction.low <= truth <= result.prediction.high))
    assert np.mean(inside, axis=0)[0] >= 0.88
    assert np.mean(inside, axis=0)[1] >= 0.9


def test_strong_curvature_is_vtf():
    result = TemperatureLaw(WIDE.tolist(), noisy(np.random.default_rng(1), WIDE, 0.02, 250, strength=0.2)).run()
    assert result.law == "VTF"
    assert result.prediction.low < np.exp(logarithm(300.0, 250, 0.2)) < result.prediction.high
    assert result.vogel.columns()["temperature_K"][0] == 600


def test_a_straight_line_that_can_be_told_is_arrhenius():
    temperatures = [310.0, 350, 400, 500, 700, 1000]
    result = TemperatureLaw(temperatures, noisy(np.random.default_rng(2), temperatures, 0.02)).run()
    assert result.law == "Arrhenius"
    assert "both predict the same" in result.reason
    assert result.prediction.value == result.arrhenius.prediction.value
    assert result.prediction.low < result.arrhenius.prediction.low
    assert result.prediction.low < np.exp(logarithm(300.0)) < result.prediction.high


def test_points_that_cannot_tell_give_no_prediction():
    temperatures = [800.0, 900, 1000, 1100]
    result = TemperatureLaw(temperatures, noisy(np.random.default_rng(3), temperatures, 0.1)).run()
    assert result.law is None
    assert np.isnan(result.prediction.value)
    assert "cannot tell Arrhenius from VTF: any T0 from 0 to" in result.prediction.note
    assert result.as_dict()["prediction"]["value"] is None


def test_three_temperatures_cannot_tell():
    temperatures = [800.0, 900, 1000]
    result = TemperatureLaw(temperatures, noisy(np.random.default_rng(3), temperatures, 0.1)).run()
    assert result.law is None
    assert result.reason.endswith("a VTF fit needs values at four temperatures or more; given: 800 K, 900 K, 1000 K")
    assert result.arrhenius.activation_energy.value == pytest.approx(0.45, rel=0.3)


def test_one_temperature():
    with pytest.raises(AnalysisError, match="an Arrhenius fit needs values at two temperatures or more; given: 800 K"):
        TemperatureLaw([800.0], [estimate(-3.0)])


def test_four_values_without_intervals():
    nan = float("nan")
    values = [Estimate(v, nan, nan, "S/cm") for v in (1e-3, 3e-3, 8e-3, 2e-2)]
    with pytest.raises(AnalysisError, match="needs five of them"):
        VogelTammannFulcher([600, 700, 800, 900], values)


@pytest.mark.parametrize(
    ("transition", "said"),
    [(750, "lies inside the range of 600 to 1200 K"), (460, "all values are of the melt"), (200, None), (None, None)],
)
def test_glass_transition_is_warned_of(transition, said):
    values = noisy(np.random.default_rng(1), WIDE, 0.0)
    warnings = TemperatureLaw(WIDE.tolist(), values, glass_transition=transition).run().warnings
    assert len(warnings) == (said is not None)
    assert said is None or said in warnings[0]


def shared(rng, n_glasses, spread, error=0.1):
    """Values of several glasses over the same temperatures, each glass with a factor of its own."""
    temperatures = [600.0, 700, 800, 900, 1000]
    values, glasses = [], []
    for glass in range(n_glasses):
        values += noisy(rng, temperatures, error, glass=rng.normal(scale=spread))
        glasses += [f"seed-{glass}"] * len(temperatures)
    return temperatures * n_glasses, values, glasses


@pytest.mark.parametrize("spread", [0.0, 0.4])
def test_glasses_that_differ_are_in_the_interval(spread):
    rng = np.random.default_rng(6)
    inside = []
    for _ in range(120):
        temperatures, values, glasses = shared(rng, 3, spread)
        fit = Arrhenius(temperatures, values, glasses=glasses).run()
        new = np.exp(logarithm(300.0) + rng.normal(scale=spread) + rng.normal(scale=0.1))
        pairs = [(fit.activation_energy, 0.45), (fit.prefactor, 2e4), (fit.prediction, new)]
        inside.append([estimate.low <= truth <= estimate.high for estimate, truth in pairs])
    assert np.all(np.mean(inside, axis=0) >= 0.89)


def test_glass_spread_is_found_and_told():
    temperatures, values, glasses = shared(np.random.default_rng(7), 8, 0.4)
    with_glasses = Arrhenius(temperatures, values, glasses=glasses).run()
    assert with_glasses.glass_spread == pytest.approx(0.4, rel=0.5)
    assert "how 8 glasses differ" in with_glasses.interval_from
    alone = Arrhenius(temperatures, values).run()
    assert alone.interval_from.startswith("the scatter about the line, ")
    assert with_glasses.activation_energy.relative_error < 0.5 * alone.activation_energy.relative_error


def test_mixed_model_equals_textbook_formula_for_equal_glasses():
    """Balanced data: the slope's error is that of the pooled regression within glasses (Searle, Linear Models)."""
    temperatures, values, glasses = shared(np.random.default_rng(8), 5, 1.0, 0.1)
    fit = Arrhenius(temperatures, values, glasses=glasses).run()
    x = 1 / (KB * np.array(temperatures))
    expected = 1.959964 * 0.1 / np.sqrt(np.sum((x - x.mean()) ** 2))
    half = (fit.activation_energy.high - fit.activation_energy.low) / 2
    assert half == pytest.approx(expected, rel=0.02)
