"""Arrhenius fits against exact lines, scipy and repeated noise."""

import json

import numpy as np
import pytest
from scipy.optimize import curve_fit

from napos_lmp.analysis.base import Estimate
from napos_lmp.analysis.transport.arrhenius import Arrhenius
from napos_lmp.errors import AnalysisError

KB = 8.617333262e-5
ENERGY, PREFACTOR = 0.45, 2.0e4
NAN = float("nan")


def conductivity(temperature, factor=1.0, error=0.1):
    value = PREFACTOR * np.exp(-ENERGY / (KB * temperature)) / temperature * factor
    spread = np.exp(1.959964 * error)
    return Estimate(value, value / spread if error else NAN, value * spread if error else NAN, "S/cm")


def noisy(rng, temperatures, error, claimed):
    return [conductivity(temperature, np.exp(rng.normal(scale=error)), claimed) for temperature in temperatures]


def test_exact_line_is_found():
    temperatures = [900, 600, 750, 1050]
    result = Arrhenius(temperatures, [conductivity(temperature) for temperature in temperatures]).run()
    assert result.activation_energy.value == pytest.approx(ENERGY, rel=1e-9)
    assert result.prefactor.value == pytest.approx(PREFACTOR, rel=1e-9)
    assert result.prediction.value == pytest.approx(conductivity(300).value, rel=1e-9)
    assert result.temperatures.tolist() == [600, 750, 900, 1050]
    assert result.at(700) == pytest.approx(conductivity(700).value)
    assert result.interval_from == "the errors of the values alone"


def test_diffusion_has_no_factor_of_temperature():
    temperatures = [600, 800, 1000]
    values = [1e-3 * np.exp(-0.3 / (KB * temperature)) for temperature in temperatures]
    estimates = [Estimate(value, 0.9 * value, value / 0.9, "cm^2/s") for value in values]
    result = Arrhenius(temperatures, estimates, "diffusion").run()
    assert result.activation_energy.value == pytest.approx(0.3, rel=1e-9)
    assert result.prefactor.value == pytest.approx(1e-3, rel=1e-9)
    assert (result.prefactor.unit, result.prediction.unit) == ("cm^2/s", "cm^2/s")


def test_weights_and_errors_equal_scipy():
    rng = np.random.default_rng(1)
    temperatures = np.array([600.0, 700, 850, 1000, 1200])
    errors = np.array([0.3, 0.2, 0.1, 0.05, 0.05])
    values = [
        conductivity(temperature, np.exp(error * rng.normal()), error)
        for temperature, error in zip(temperatures, errors, strict=True)
    ]
    result = Arrhenius(temperatures, values).run()
    logs = np.log([value.value * temperature for value, temperature in zip(values, temperatures, strict=True)])
    best, covariance = curve_fit(
        lambda x, a, b: a - b * x, 1 / (KB * temperatures), logs, p0=[9, 0.5], sigma=errors, absolute_sigma=True
    )
    assert result.activation_energy.value == pytest.approx(best[1], rel=1e-5)
    half = (result.activation_energy.high - result.activation_energy.low) / 2
    assert half == pytest.approx(1.959964 * np.sqrt(covariance[1, 1]), rel=1e-4)
    assert result.prefactor.value == pytest.approx(np.exp(best[0]), rel=1e-4)


@pytest.mark.parametrize(
    ("temperatures", "error", "claimed"),
    [
        ([600, 700, 800, 900, 1000], 0.1, 0.1),
        ([600, 800, 1000], 0.1, 0.1),
        ([700, 1000], 0.1, 0.1),
        ([600, 700, 800, 900, 1000], 0.1, 0.0),
        ([600, 650, 700, 750, 800, 850, 900, 950], 0.5, 0.1),
    ],
    ids=["five", "three", "two", "no errors", "errors far too small"],
)
def test_intervals_cover_the_truth(temperatures, error, claimed):
    rng = np.random.default_rng(2)
    results = [Arrhenius(temperatures, noisy(rng, temperatures, error, claimed)).run() for _ in range(300)]
    energies = [result.activation_energy for result in results]
    inside = np.mean([energy.low <= ENERGY <= energy.high for energy in energies])
    assert 0.92 <= inside <= 0.99
    new = [conductivity(300, np.exp(rng.normal(scale=error)), 0.1).value for _ in results]
    predicted = [
        result.prediction.low <= value <= result.prediction.high for result, value in zip(results, new, strict=True)
    ]
    assert 0.92 <= np.mean(predicted) <= 0.995


def test_two_temperatures_say_what_they_rest_on():
    result = Arrhenius([700, 900], [conductivity(700), conductivity(900)]).run()
    assert "two temperatures cannot show whether the law holds" in result.interval_from
    assert np.isnan(result.reduced_chi_square)
    spread = 1.959964 * np.hypot(0.1, 0.1) / (1 / (KB * 700) - 1 / (KB * 900))
    assert result.activation_energy.high - ENERGY == pytest.approx(spread, rel=1e-5)


def test_two_temperatures_without_errors_have_no_interval():
    result = Arrhenius([700, 900], [conductivity(700, error=0), conductivity(900, error=0)]).run()
    assert result.activation_energy.value == pytest.approx(ENERGY)
    assert np.isnan([result.activation_energy.low, result.prediction.high]).all()
    assert "no interval" in str(result.activation_energy)
    assert result.as_dict()["activation_energy"]["low"] is None


def test_scatter_beyond_the_errors_widens_the_interval():
    temperatures = [600, 700, 800, 900, 1000]
    factors = [1, 1.5, 0.7, 1.4, 1]
    values = [conductivity(t, f, 0.02) for t, f in zip(temperatures, factors, strict=True)]
    result = Arrhenius(temperatures, values).run()
    assert result.reduced_chi_square > 100
    assert "times what the errors of the values explain" in result.interval_from
    assert result.activation_energy.relative_error > 0.3


def test_extrapolation_is_flagged_and_wider():
    temperatures = [600, 800, 1000]
    values = [conductivity(temperature) for temperature in temperatures]
    far = Arrhenius(temperatures, values).run()
    near = Arrhenius(temperatures, values, prediction_temperature=700).run()
    assert far.extrapolated
    assert far.prediction.note == "extrapolated from 600-1000 K to 300 K"
    assert not near.extrapolated
    assert near.prediction.note == ""
    assert far.prediction.relative_error > 2 * near.prediction.relative_error


@pytest.mark.parametrize(
    ("temperatures", "values", "message"),
    [
        ([700], [conductivity(700)], "an Arrhenius fit needs values at two temperatures or more; given: 700 K"),
        ([700, 700], [conductivity(700)] * 2, "two temperatures or more; given: 700 K"),
        ([700, 800], [conductivity(700)], "2 temperatures and 1 values"),
        ([700, -8], [conductivity(700)] * 2, "all must be positive"),
        ([700, 800], [conductivity(700), Estimate(1e-3, -1e-4, 2e-3, "S/cm")], "has no logarithm"),
        ([700, 800], [conductivity(700), Estimate(1e-3, 1e-4, 2e-3, "cm^2/s")], "its unit must be S/cm"),
        (
            [700, 800],
            [conductivity(700), conductivity(800, error=0)],
            "some values have an interval and some have none",
        ),
    ],
)
def test_impossible_requests(temperatures, values, message):
    with pytest.raises(AnalysisError, match=message):
        Arrhenius(temperatures, values)


def test_unknown_quantity():
    with pytest.raises(AnalysisError, match="quantity is 'viscosity'"):
        Arrhenius([700, 800], [conductivity(700), conductivity(800)], "viscosity")


def test_saved_results_and_plot(tmp_path):
    import matplotlib

    matplotlib.use("agg")
    result = Arrhenius([600, 800, 1000], [conductivity(temperature) for temperature in (600, 800, 1000)]).run()
    result.to_csv(tmp_path / "arrhenius.csv")
    table = np.genfromtxt(tmp_path / "arrhenius.csv", delimiter=",", names=True)
    assert table.dtype.names[0] == "temperature_K"
    np.testing.assert_allclose(table["conductivity_S_per_cm"], table["line_S_per_cm"], rtol=1e-6)
    assert json.loads(json.dumps(result.as_dict()))["extrapolated"] is True
    axes = result.plot()
    assert axes.get_yscale() == "log"
    assert "extrapolated to 300 K" in axes.get_legend_handles_labels()[1]
