"""Nernst-Einstein conductivity against numbers worked out by hand."""

import dataclasses
import json

import numpy as np
import pytest
from ase import units
from MDAnalysis.coordinates.memory import MemoryReader
from walkers import brownian, diffusion_of, unbounded_universe

from napos_lmp.analysis.base import Estimate
from napos_lmp.analysis.transport.conductivity import NernstEinsteinConductivity
from napos_lmp.analysis.transport.diffusion import DiffusionCoefficient, DiffusionResult
from napos_lmp.analysis.transport.msd import MeanSquareDisplacement
from napos_lmp.errors import AnalysisError


@pytest.fixture(scope="module")
def template() -> DiffusionResult:
    return diffusion_of(brownian(np.random.default_rng(0), 100, 30))


def diffusion(template, species="Na", value=1e-5, low=0.8e-5, high=1.3e-5, n_atoms=100, volume=1e4):
    estimate = Estimate(value, low, high, "cm^2/s")
    return dataclasses.replace(template, species=species, diffusion=estimate, n_atoms=n_atoms, volume=volume)


def test_by_hand(template):
    """1e22 ions per cm^3 with D = 1e-5 cm^2/s at 500 K: e^2 n D / (k T) = 0.37184 S/cm."""
    result = NernstEinsteinConductivity(diffusion(template), 500, {"Na": 1}).run()
    assert result.conductivity.value == pytest.approx(0.37184, rel=1e-4)
    assert result.conductivity.low == pytest.approx(0.8 * 0.37184, rel=1e-4)
    assert result.conductivity.high == pytest.approx(1.3 * 0.37184, rel=1e-4)
    assert result.conductivity.unit == "S/cm"


def test_charge_counts_squared(template):
    single = NernstEinsteinConductivity(diffusion(template), 500, {"Na": 1}).run()
    double = NernstEinsteinConductivity(diffusion(template), 500, {"Na": -2}).run()
    assert double.conductivity.value == pytest.approx(4 * single.conductivity.value)


def test_several_species_add_up(template):
    parts = [diffusion(template), diffusion(template, "S", 1e-6, 0.5e-6, 2e-6, n_atoms=50)]
    result = NernstEinsteinConductivity(parts, 500, {"Na": 1, "S": -2}, all_species=("Na", "P", "S")).run()
    assert result.carriers == ("Na", "S")
    assert result.left_out == ("P",)
    assert result.conductivity.value == pytest.approx(0.37184 * (1 + 4 * 0.5 * 0.1), rel=1e-4)
    spread = result.conductivity.high - result.conductivity.value
    assert spread == pytest.approx(0.37184 * np.hypot(0.3, 0.2), rel=1e-4)


def test_from_walkers_in_a_box():
    """The whole way from positions, with ASE's constants: D = 0.5 A^2/ps."""
    path = brownian(np.random.default_rng(1), 2000, 40)
    universe = unbounded_universe(path)
    box = np.array([20, 22, 24, 90, 80, 70], dtype=np.float32)
    universe.trajectory = MemoryReader(path.astype(np.float32), order="fac", dt=1.0, dimensions=box)
    msd = MeanSquareDisplacement(universe, reference="none").run()
    result = NernstEinsteinConductivity(DiffusionCoefficient(msd).run(), 800, {"Na": 1}).run()
    volume = universe.trajectory.ts.volume * 1e-30
    truth = 40 * units._e**2 * 0.5e-8 / (volume * units._k * 800) / 100
    assert result.conductivity.value == pytest.approx(truth, rel=0.02)


@pytest.mark.parametrize(
    ("change", "temperature", "charges", "message"),
    [
        ({}, 0, {"Na": 1}, "temperature is 0 K"),
        ({}, float("nan"), {"Na": 1}, "temperature is nan K"),
        ({}, 300, {"Li": 1}, "species 'Na' has no charge; charges are given for Li"),
        ({"volume": float("nan")}, 300, {"Na": 1}, "no periodic box"),
    ],
)
def test_impossible_requests(template, change, temperature, charges, message):
    with pytest.raises(AnalysisError, match=message):
        NernstEinsteinConductivity(diffusion(template, **change), temperature, charges)


def test_results_that_do_not_belong_together(template):
    with pytest.raises(AnalysisError, match="at least one"):
        NernstEinsteinConductivity([], 300, {"Na": 1})
    with pytest.raises(AnalysisError, match="each may occur once only"):
        NernstEinsteinConductivity([diffusion(template)] * 2, 300, {"Na": 1})
    with pytest.raises(AnalysisError, match="one trajectory"):
        NernstEinsteinConductivity([diffusion(template), diffusion(template, "S", volume=2e4)], 300, {"Na": 1, "S": -2})


def test_saved_results(template, tmp_path):
    result = NernstEinsteinConductivity(diffusion(template), 500, {"Na": 1}).run()
    result.to_csv(tmp_path / "conductivity.csv")
    lines = (tmp_path / "conductivity.csv").read_text().splitlines()
    assert lines[0] == "species,charge,temperature_K,conductivity_S_per_cm,low_S_per_cm,high_S_per_cm"
    assert [line.split(",")[0] for line in lines[1:]] == ["Na", "total"]
    assert "Haven ratio" in json.loads(json.dumps(result.as_dict()))["conductivity"]["note"]
