"""Collective conductivity, Haven ratio and Onsager coefficients of walkers whose truth is known."""

import dataclasses
import json

import numpy as np
import pytest
from walkers import brownian, caged, hopping, locked_pairs, unbounded_universe

from napos_lmp.analysis.quantities.transport import measure_transport
from napos_lmp.analysis.transport.collective import EinsteinHelfandConductivity, mean_product
from napos_lmp.analysis.transport.conductivity import NernstEinsteinConductivity, conductivity_factor, haven_ratio
from napos_lmp.analysis.transport.diffusion import DiffusionCoefficient
from napos_lmp.analysis.transport.drift import SpeciesDisplacements
from napos_lmp.analysis.transport.msd import MeanSquareDisplacement
from napos_lmp.currents import VelocitySums
from napos_lmp.errors import AnalysisError

T, VOLUME = 800.0, 20.0**3
CHARGES = {"Na": 1.0, "S": -1.0}
FACTOR = conductivity_factor(T, VOLUME)
D = 0.5


def displacements(**paths) -> SpeciesDisplacements:
    """Sums over walkers of each species, in a box of 20 A; masses of 1 u."""
    return SpeciesDisplacements(
        sums={name: path.sum(axis=1) - path[0].sum(axis=0) for name, path in paths.items()},
        frame_interval=1.0,
        n_atoms={name: path.shape[1] for name, path in paths.items()},
        masses={name: float(path.shape[1]) for name, path in paths.items()},
        volume=VOLUME,
    )


def background(path):
    """Walkers in a framework of as many counter-charges that stands still."""
    return displacements(Na=path, S=np.zeros_like(path))


def measured(sums, settled_from=0.0, charges=CHARGES, **options):
    return EinsteinHelfandConductivity(sums, T, charges, settled_from=settled_from, **options).run()


def slow_cage(rng, frames, atoms):
    return brownian(rng, frames, atoms, 0.3) + caged(rng, frames, atoms, 10, 0.5)


CASES = {
    "short": (lambda rng: brownian(rng, 150, 20), 0.5, 0),
    "light": (lambda rng: brownian(rng, 500, 2), 0.5, 5),
    "long": (lambda rng: brownian(rng, 2500, 5), 0.5, 0),
    "cage": (lambda rng: brownian(rng, 1500, 5, 0.3, 0.5), 0.045, 0),
    "cage that gives way slowly": (lambda rng: slow_cage(rng, 2000, 4), 0.045, 40),
    "hops": (lambda rng: hopping(rng, 1000, 6), 0.075, 0),
}


@pytest.mark.parametrize("name", CASES)
def test_interval_covers_the_truth(name):
    """At least 90 % of 200 repeats, and no interval so wide that it says nothing."""
    make, diffusion, settled_from = CASES[name]
    ratios, inside, widths = [], 0, []
    for seed in range(200):
        path = make(np.random.default_rng([seed, 1]))
        truth = FACTOR * path.shape[1] * diffusion
        try:
            found = measured(background(path), settled_from).conductivity
        except AnalysisError:
            continue
        ratios.append(found.value / truth)
        widths.append((found.high - found.low) / 2 / truth)
        inside += found.low <= truth <= found.high
    assert len(ratios) >= 120
    assert inside >= 0.9 * len(ratios)
    assert np.mean(widths) < 4 * np.std(ratios)
    assert np.mean(ratios) == pytest.approx(1, abs=0.12)


def test_one_walker_cannot_show_that_it_has_left_its_cage():
    """Why `settled_from` is asked for: from the first lag on, its cage passes for slow diffusion."""
    outside = 0
    for seed in range(20):
        path = slow_cage(np.random.default_rng([seed, 2]), 2000, 4)
        with pytest.raises(AnalysisError, match="no diffusive window"):
            measured(background(path), settled_from=600)
        found = measured(background(path), settled_from=0).conductivity if seed < 5 else None
        outside += found is not None and not found.low <= FACTOR * 4 * 0.045 <= found.high
    assert outside >= 1


def moving(kind, seed=1, frames=2500, atoms=24):
    """Cations whose motion is locked in a known way, and the Haven ratio that follows."""
    rng = np.random.default_rng([seed, 3])
    if kind == "independent":
        return brownian(rng, frames, atoms), 1.0
    if kind == "pairs":
        return locked_pairs(rng, frames, atoms), 0.5
    if kind == "triples":
        return np.tile(brownian(rng, frames, atoms // 3), (1, 3, 1)), 1 / 3
    if kind == "half locked":
        shared = np.tile(brownian(rng, frames, atoms // 2, 0.5**0.5), (1, 2, 1))
        return shared + brownian(rng, frames, atoms, 0.5**0.5), 1 / 1.5
    opposed = np.tile(brownian(rng, frames, atoms // 2, 0.5**0.5), (1, 2, 1))
    opposed[:, atoms // 2 :] *= -1
    return opposed + brownian(rng, frames, atoms, 0.5**0.5), 2.0


def walkers_in_a_box(path):
    """Walkers and as many anions that stand still, in a box of 20 A."""
    atoms = path.shape[1]
    universe = unbounded_universe(
        np.concatenate([path, np.zeros_like(path)], axis=1), symbols=["Na"] * atoms + ["S"] * atoms
    )
    universe.trajectory.dimensions_array = np.tile([20, 20, 20, 90, 90, 90], (len(path), 1)).astype(np.float32)
    return universe


@pytest.mark.parametrize("kind", ["independent", "pairs", "triples", "half locked", "opposed"])
def test_haven_ratio_from_one_read_of_a_trajectory(kind):
    """sigma_NE / sigma_collective: 1, 1/2, 1/3; with correlation c between two partners 1 / (1 + c)."""
    path, expected = moving(kind)
    atoms = path.shape[1]
    msd = MeanSquareDisplacement(walkers_in_a_box(path), reference="framework").run()
    sodium = DiffusionCoefficient(msd).run()
    single = NernstEinsteinConductivity(sodium, T, {"Na": 1}).run()
    collective = EinsteinHelfandConductivity(msd.collective, T, CHARGES, settled_from=sodium.window_start).run()
    ratio = haven_ratio(single, collective)
    assert ratio.low < expected < ratio.high
    assert ratio.value == pytest.approx(expected, rel=0.12)
    assert ratio.high / ratio.low < 1.4
    assert single.conductivity.value == pytest.approx(FACTOR * atoms * D, rel=0.06)


def test_interval_of_the_haven_ratio_covers():
    found = []
    for seed in range(100):
        path, expected = moving("pairs", seed, 500, 24)
        msd = MeanSquareDisplacement(unbounded_universe(path), reference="none").run()
        diffusion = dataclasses.replace(DiffusionCoefficient(msd).run(), volume=VOLUME)
        single = NernstEinsteinConductivity(diffusion, T, {"Na": 1}).run()
        try:
            ratio = haven_ratio(single, measured(background(path), diffusion.window_start))
        except AnalysisError:
            continue
        found.append(ratio.low <= expected <= ratio.high)
    assert len(found) >= 80
    assert np.mean(found) >= 0.9


def test_opposite_charges_that_move_together_conduct_nothing():
    path = brownian(np.random.default_rng(4), 400, 10)
    with pytest.raises(AnalysisError, match="no collective conductivity: the charge does not move"):
        measured(displacements(Na=path, S=path))
    rattling = path + np.random.default_rng(5).normal(scale=0.2, size=path.shape)
    with pytest.raises(AnalysisError, match=r"no collective conductivity: (no diffusive window|its standard error)"):
        measured(displacements(Na=path, S=rattling))


@pytest.mark.parametrize("seed", range(3))
def test_ballistic_and_caged_charge_is_refused(seed):
    rng = np.random.default_rng([seed, 6])
    flight = np.arange(500)[:, None, None] * 0.1 * rng.normal(size=(1, 10, 3))
    for path in (flight, caged(rng, 1000, 10, 30, 1.0)):
        with pytest.raises(
            AnalysisError, match=r"no collective conductivity: (no diffusive window|its standard error)"
        ):
            measured(background(path))


def test_drift_and_frame_do_not_change_the_conductivity_of_a_neutral_system():
    rng = np.random.default_rng(7)
    cations, anions = brownian(rng, 1500, 20), brownian(rng, 1500, 20, 0.5)
    wind = np.cumsum(rng.normal(size=(1500, 1, 3)), axis=0)
    still = measured(displacements(Na=cations, S=anions), reference="none")
    for reference in ("none", "system", "framework"):
        blown = measured(displacements(Na=cations + wind, S=anions + wind), reference=reference)
        assert blown.conductivity.value == pytest.approx(still.conductivity.value, rel=1e-6)
    assert still.conductivity.value == pytest.approx(FACTOR * 20 * (0.5 + 0.125), rel=0.15)


def test_onsager_coefficients_of_independent_species():
    """In the resting frame L_ab is diagonal: N D / (V k T); the parts sum to the conductivity in every frame."""
    rng = np.random.default_rng(8)
    sums = displacements(Na=brownian(rng, 4000, 20), P=brownian(rng, 4000, 5, 0.5), S=brownian(rng, 4000, 20, 0.5))
    charges = {"Na": 1, "P": 2, "S": -1.5}
    found = measured(sums, charges=charges, reference="none", level=0.999)
    ideal = {"Na": 20 * 0.5, "P": 5 * 0.125, "S": 20 * 0.125}
    for (a, b), coefficient in found.onsager.items():
        expected = ideal[a] * 1e22 / (VOLUME * 1.380649e-23 * T) if a == b else 0.0
        assert coefficient.low < expected < coefficient.high
        assert found.onsager[b, a] == coefficient
    for reference in ("none", "system", "framework"):
        found = measured(sums, charges=charges, reference=reference)
        assert sum(part.value for part in found.partial.values()) == pytest.approx(found.conductivity.value)
        assert sum(share.value for share in found.transference.values()) == pytest.approx(1)
    shares = measured(sums, charges=charges, reference="none", level=0.999).transference
    total = sum(charges[name] ** 2 * ideal[name] for name in ideal)
    for name, share in shares.items():
        assert share.low < charges[name] ** 2 * ideal[name] / total < share.high


def test_interval_of_a_transference_number_covers():
    found = []
    for seed in range(100):
        rng = np.random.default_rng([seed, 9])
        sums = displacements(Na=brownian(rng, 300, 10), S=brownian(rng, 300, 10, 0.5))
        try:
            share = measured(sums, reference="none").transference["Na"]
        except AnalysisError:
            continue
        found.append(share.low <= 0.8 <= share.high)
    assert len(found) >= 90
    assert np.mean(found) >= 0.9


def test_against_the_framework_all_charge_is_carried_by_the_cations():
    rng = np.random.default_rng(10)
    anions = np.tile(brownian(rng, 1000, 1), (1, 10, 1))
    found = measured(displacements(Na=brownian(rng, 1000, 10), S=anions))
    assert found.transference["Na"].value == pytest.approx(1)
    assert found.transference["S"].value == pytest.approx(0, abs=1e-9)


def test_mean_product_is_the_definition():
    rng = np.random.default_rng(11)
    a, b = rng.normal(size=(2, 30, 3)).cumsum(axis=1)
    expected = [0.0] + [np.mean(np.sum((a[m:] - a[:-m]) * (b[m:] - b[:-m]), axis=1)) for m in range(1, 30)]
    np.testing.assert_allclose(mean_product(a, b), expected, atol=1e-10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"charges": {"Na": 1, "S": -2}}, r"20 Na of \+1, 20 S of -2 sum to -20; they must sum to zero"),
        ({"charges": {"Na": 0, "S": 0}}, "not all be zero"),
        ({"charges": {"Na": 1}}, "species 'S' has no charge; charges are given for Na"),
        ({"settled_from": -1}, "settled_from is -1 ps"),
        ({"level": 95}, "level is 95"),
        ({"reference": "moon"}, "reference is 'moon'"),
    ],
)
def test_impossible_requests(options, message):
    with pytest.raises(AnalysisError, match=message):
        measured(background(brownian(np.random.default_rng(12), 300, 20)), **options)


def test_what_is_not_enough():
    path = brownian(np.random.default_rng(13), 300, 20)
    sums = background(path)
    with pytest.raises(AnalysisError, match="no collective conductivity: 99 frames are too few; 100 are the least"):
        measured(background(path[:99]))
    with pytest.raises(AnalysisError, match=r"single ions diffuse from 40 ps on, .* up to \d+ ps only"):
        measured(sums, settled_from=40)
    with pytest.raises(AnalysisError, match="no periodic box"):
        measured(dataclasses.replace(sums, volume=float("nan")))
    with pytest.raises(AnalysisError, match="temperature is 0 K"):
        EinsteinHelfandConductivity(sums, 0, CHARGES, settled_from=0)


def test_saved_results_and_plot(tmp_path):
    import matplotlib

    matplotlib.use("agg")
    found = measured(background(brownian(np.random.default_rng(14), 300, 20)))
    found.to_csv(tmp_path / "charge.csv")
    table = np.genfromtxt(tmp_path / "charge.csv", delimiter=",", names=True)
    assert table.dtype.names == ("time_ps", "msd_e2A2", "line_e2A2", "in_window")
    stored = json.loads(json.dumps(found.as_dict()))
    assert set(stored["onsager"]) == {"Na-Na", "Na-S", "S-Na", "S-S"}
    assert found.plot().get_ylabel() == "mean-square charge displacement (e² Å²)"


def test_quantities_of_a_stage():
    """All ways side by side; the current is that of the walkers' own steps."""
    path = brownian(np.random.default_rng(15), 2000, 20)
    displacement = MeanSquareDisplacement(walkers_in_a_box(path), reference="framework").run()
    steps = np.diff(path.sum(axis=1), axis=0)
    currents = VelocitySums(
        times=np.arange(len(steps), dtype=np.float64),
        sums={"Na": steps, "S": np.zeros_like(steps)},
        n_atoms={"Na": 20, "S": 20},
        masses={"Na": 22.99, "S": 32.06},
        charges=CHARGES,
        expected_rows=len(steps),
    )
    found = measure_transport(displacement, T, CHARGES, currents=currents)
    quantities = {quantity.key: quantity for quantity in found.quantities}
    truth = FACTOR * 20 * D
    for key in ("conductivity.collective", "conductivity.green_kubo"):
        assert quantities[key].low < truth < quantities[key].high
    for key in ("haven_ratio", "haven_ratio.green_kubo"):
        assert quantities[key].low < 1 < quantities[key].high
    assert quantities["transference.Na"].value == pytest.approx(1)
    assert set(found.tables) == {"msd", "charge_displacement", "green_kubo"}
    assert [window.species for window in found.windows] == ["Na"]
    assert quantities["diffusion.S"].refused


def test_all_conductivities_are_refused_with_self_diffusion():
    path = caged(np.random.default_rng(16), 500, 20, 10, 0.5)
    found = measure_transport(MeanSquareDisplacement(walkers_in_a_box(path)).run(), T, CHARGES)
    quantities = {quantity.key: quantity for quantity in found.quantities}
    for key in ("conductivity", "conductivity.collective", "haven_ratio"):
        assert "no diffusion coefficient of Na" in quantities[key].refused
    assert found.windows == []
