"""Thermal expansion and glass transition: synthetic curves whose break is known, and the log of a deck."""

from pathlib import Path

import numpy as np
import pytest
from scipy.signal import lfilter
from synthetic_decks import STRIDE, TIMESTEP_FS, stage, write_deck

from napos_lmp.analysis.base import Floats
from napos_lmp.analysis.quantities.response import thermal_quantities
from napos_lmp.analysis.response.broken_line import Curve, curve_of, fit_broken_line
from napos_lmp.analysis.response.thermal import CoolingCurve, GlassTransition, ThermalExpansion, read_cooling_curve
from napos_lmp.errors import AnalysisError

TG = 520.0


def correlated(seed: int, n: int, correlation: float = 0.9) -> Floats:
    """Noise of unit variance, each value correlated with the one before."""
    noise = np.random.default_rng(seed).normal(size=n) * np.sqrt(1 - correlation**2)
    noise[0] /= np.sqrt(1 - correlation**2)
    return lfilter([1.0], [1.0, -correlation], noise)


def cooling(volumes: Floats, temperatures: Floats, enthalpies: Floats | None = None) -> CoolingCurve:
    enthalpies = volumes if enthalpies is None else enthalpies
    return CoolingCurve(temperatures, volumes, enthalpies, 40 / volumes, 1.0, ("02-quench",))


def broken(seed: int, noise: float = 0.02, n: int = 1500, correlation: float = 0.9) -> CoolingCurve:
    """Expansion of 4e-5 / K below TG and 1.4e-4 / K above, relative to 20 A^3."""
    temperatures = np.linspace(900, 200, n)
    slope = np.where(temperatures < TG, 8e-4, 2.8e-3)
    values = 20 + slope * (temperatures - TG) + noise * correlated(seed, n, correlation)
    return cooling(values, temperatures)


def straight(seed: int, n: int = 1500) -> CoolingCurve:
    temperatures = np.linspace(900, 200, n)
    return cooling(20 + 1e-3 * temperatures + 0.02 * correlated(seed, n), temperatures)


def test_the_interval_of_tg_covers_it_in_nine_of_ten_noisy_runs():
    found = [GlassTransition(broken(seed, noise=0.04)).run().transition for seed in range(200)]
    covered = np.mean([tg.low <= TG <= tg.high for tg in found])
    assert covered >= 0.90
    assert np.median([tg.high - tg.low for tg in found]) < 60
    assert np.mean([tg.value for tg in found]) == pytest.approx(TG, abs=3)


def test_straight_lines_have_no_glass_transition():
    refusals = []
    for seed in range(60):
        try:
            GlassTransition(straight(seed)).run()
        except AnalysisError as error:
            refusals.append(str(error))
    assert len(refusals) >= 58
    assert "one straight line describes the volume as well as two" in refusals[0]
    assert "\n" not in "".join(refusals)


def test_an_even_bend_is_no_break():
    temperatures = np.linspace(900, 200, 1000)
    values = 20 + 1e-3 * temperatures + 1e-6 * temperatures**2 + 0.005 * correlated(1, 1000)
    with pytest.raises(AnalysisError, match="a parabola describes the volume as well"):
        GlassTransition(cooling(values, temperatures)).run()


def test_a_break_at_the_edge_or_of_the_wrong_sign_is_refused():
    temperatures = np.linspace(900, 200, 1500)
    edge = 20 + np.where(temperatures < 850, 1e-3, 6e-3) * (temperatures - 850) + 0.01 * correlated(2, 1500)
    with pytest.raises(AnalysisError, match="an end of the range"):
        GlassTransition(cooling(edge, temperatures)).run()
    with pytest.raises(AnalysisError, match="less steeply above"):
        GlassTransition(cooling(40 - broken(3).volumes, temperatures)).run()


def test_slopes_on_both_sides_are_expansion_and_heat_capacity():
    curve = broken(4, noise=0.005)
    volume = GlassTransition(curve).run()
    assert volume.glass.low < 4e-5 < volume.glass.high
    assert volume.liquid.low < 1.4e-4 < volume.liquid.high
    temperatures = curve.temperatures
    enthalpy = np.where(temperatures < TG, 2.6e-4, 3.6e-4) * (temperatures - TG) + 1e-4 * correlated(5, 1500)
    result = GlassTransition(cooling(curve.volumes, temperatures, enthalpy), "enthalpy").run()
    assert result.glass.value == pytest.approx(2.6e-4 * 96485.33, rel=0.01)  # about 3 R, 24.9 J/(mol K)
    assert result.liquid.unit == "J/(mol K)"
    keys = [quantity.key for quantity in thermal_quantities(cooling(curve.volumes, temperatures, enthalpy))]
    assert keys == [
        "cooling.rate",
        *(f"{key}" for key in ("glass_transition", "expansion.glass", "expansion.liquid")),
        *(f"{key}" for key in ("glass_transition.enthalpy", "heat_capacity.glass", "heat_capacity.liquid")),
    ]


def test_expansion_covers_the_slope_and_says_when_the_curve_bends():
    covered = 0
    for seed in range(100):
        result = ThermalExpansion(straight(seed)).run()
        covered += result.volumetric.low <= 1e-3 / (20 + 0.55) <= result.volumetric.high
    assert covered >= 90
    assert result.linear.value == pytest.approx(result.volumetric.value / 3)
    assert "bends" in ThermalExpansion(broken(1, noise=0.005)).run().volumetric.note
    below = ThermalExpansion(broken(1, noise=0.005), window=(200, 500)).run()
    assert below.volumetric.note == ""
    assert below.volumetric.value == pytest.approx(4e-5, rel=0.1)


def test_the_break_is_the_least_of_all_sums_of_squares():
    """Against scipy's general least squares with a free break."""
    from scipy.optimize import least_squares

    curve = broken(7, correlation=0.0, n=200)
    points = curve_of(curve.temperatures, curve.volumes)
    x, y = points.x, points.y

    def residuals(p):
        return p[0] + p[1] * (x - p[3]) + p[2] * np.maximum(x - p[3], 0) - y

    free = least_squares(residuals, [20, 1e-3, 1e-3, 500], x_scale=[1, 1e-3, 1e-3, 100], xtol=1e-12)
    found = fit_broken_line(Curve(x, y))
    assert found.x == pytest.approx(free.x[3], abs=6)
    assert np.sum((found.at(x) - y) ** 2) == pytest.approx(2 * free.cost, rel=0.01)


@pytest.mark.parametrize(
    ("temperatures", "values", "parts"),
    [
        (np.arange(5.0), np.arange(5.0), ["5 temperatures", "12"]),
        (np.full(30, 300.0), np.arange(30.0), ["1 temperatures", "12"]),
        (np.arange(20.0), np.arange(19.0), ["equally long"]),
        (np.arange(20.0), np.full(20, np.nan), ["finite"]),
        (np.arange(60.0), correlated(0, 60), ["cool more slowly"]),
    ],
)
def test_curves_that_say_too_little(temperatures, values, parts):
    with pytest.raises(AnalysisError) as caught:
        curve_of(temperatures, values)
    assert "\n" not in str(caught.value)
    assert all(part in str(caught.value) for part in parts), caught.value


# --- the log of a deck -----------------------------------------------------------------------------------------------


def cooling_deck(folder: Path, steps: int = 0) -> Path:
    """A liquid held at 900 K and cooled to 200 K, in a ramp or in steps, with a log that has a break at TG."""
    lines = 100 * STRIDE
    stages = [stage("01-equilibrate", "equilibrate", "npt", 0, lines, 900, 900)]
    targets = [900 - 700 * i / steps for i in range(1, steps + 1)]
    legs = [(t, t, lines) for t in targets] or [(900.0, 200.0, 40 * lines)]
    for start, stop, length in legs:
        name, first = f"{len(stages) + 1:02d}-quench", stages[-1].last_step
        stages.append(stage(name, "quench", "npt", first, first + length, start, stop))
    write_deck(folder, tuple(stages))
    generator = np.random.default_rng(3)
    text = []
    for record in stages:
        text.append(f"run {record.last_step} upto start {record.first_step} stop {record.last_step}")
        text.append("Step Time Temp TotEng Volume Density")
        for step in range(record.first_step, record.last_step + 1, 10):
            share = (step - record.first_step) / (record.last_step - record.first_step)
            t = record.temperature_start_K + share * (record.temperature_stop_K - record.temperature_start_K)
            volume = 216 * (20 + (8e-4 if t < TG else 2.8e-3) * (t - TG) + 0.01 * generator.normal())
            energy = 216 * (-4 + (2.6e-4 if t < TG else 3.6e-4) * (t - TG) + 1e-4 * generator.normal())
            text.append(f"{step} {step * TIMESTEP_FS / 1000} {t} {energy:.8f} {volume:.8f} {40 / volume:.8f}")
        text.append("Loop time of 1 on 1 procs")
    (folder / "log/thermo.000.log").write_text("\n".join(text) + "\n")
    return folder


@pytest.mark.parametrize("steps", [0, 35])
def test_tg_of_a_deck_that_cools_in_a_ramp_or_in_steps(tmp_path, steps):
    deck = cooling_deck(tmp_path / "deck", steps)
    curve = read_cooling_curve(deck)
    assert len(curve.temperatures) == (steps or 8001)
    leg_ps = 100 * STRIDE * TIMESTEP_FS / 1000
    assert curve.rate == pytest.approx(20 / leg_ps if steps else 700 / (40 * leg_ps))
    for quantity in ("volume", "enthalpy"):
        result = GlassTransition(curve, quantity).run()
        assert result.transition.low < TG < result.transition.high
        assert result.transition.high - result.transition.low < 20
    result.to_csv(tmp_path / "tg.csv")
    assert (tmp_path / "tg.csv").read_text().startswith("temperature_K,enthalpy_eV_per_atom,line_eV_per_atom\n")
    assert result.plot().get_xlabel() == "temperature (K)"
    assert curve.plot().get_ylabel() == "density (g/cm³)"
    with pytest.raises(AnalysisError, match="temperatures are too few"):
        ThermalExpansion(deck, window=(300, 305 if steps else 300.1))


def test_decks_that_do_not_cool_are_refused(tmp_path):
    write_deck(tmp_path / "deck", (stage("01-melt", "melt", "nvt", 0, 1000, 900, 900),))
    with pytest.raises(AnalysisError, match="no stage that cools at constant pressure"):
        read_cooling_curve(tmp_path / "deck")
    with pytest.raises(AnalysisError, match="01-melt has the ensemble nvt"):
        read_cooling_curve(tmp_path / "deck", ("01-melt",))
