"""Conductivity from currents: processes of known spectrum, Einstein-Helfand on the same data, and the files."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.signal import lfilter
from synthetic_decks import stage, write_deck

from napos_lmp.analysis.transport.collective import EinsteinHelfandConductivity, mean_product
from napos_lmp.analysis.transport.conductivity import conductivity_factor, haven_ratio
from napos_lmp.analysis.transport.drift import SpeciesDisplacements
from napos_lmp.analysis.transport.green_kubo import GreenKuboConductivity
from napos_lmp.currents import VelocitySums, join_rows
from napos_lmp.errors import AnalysisError, ProtocolError, TrajectoryError
from napos_lmp.manifest import Currents
from napos_lmp.presets import Diffusion
from napos_lmp.trajectory import DeckTrajectory

T, VOLUME, DT = 800.0, 20.0**3, 0.1
FACTOR = conductivity_factor(T, VOLUME)


def memory(rng, rows, time):
    """Ornstein-Uhlenbeck process of unit variance that forgets in `time` rows, shape (rows, 3)."""
    decay = np.exp(-1 / time)
    warm = int(20 * time)
    noise = rng.normal(size=(rows + warm, 3)) * np.sqrt(1 - decay**2)
    return lfilter([1], [1, -decay], noise, axis=0)[warm:]


def diffusion_of_memory(time):
    """Half the sum over all lags of exp(-|k|/time), times the interval: sigma / FACTOR of such a current."""
    decay = np.exp(-1 / time)
    return (1 + decay) / (1 - decay) / 2 * DT


def with_cage(rng, rows, time, cage, width):
    """The same with the velocity of bound motion on top, which carries no direct current."""
    return memory(rng, rows, time) + np.diff(memory(rng, rows + 1, cage), axis=0) * width / DT


def currents(sums, anions=None, **changes):
    anions = np.zeros_like(sums) if anions is None else anions
    values = VelocitySums(
        times=DT * np.arange(len(sums)),
        sums={"Na": sums, "S": anions},
        n_atoms={"Na": 10, "S": 10},
        masses={"Na": 23.0, "S": 32.0},
        charges={"Na": 1.0, "S": -1.0},
        expected_rows=len(sums),
    )
    return dataclasses.replace(values, **changes)


def measured(values, settled_from=0.0, **options):
    return GreenKuboConductivity(values, T, VOLUME, settled_from=settled_from, **options).run()


CASES = {
    "short": (lambda rng: memory(rng, 2000, 10), 10, 2.0),
    "long": (lambda rng: memory(rng, 20000, 10), 10, 5.0),
    "light": (lambda rng: memory(rng, 600, 2), 2, 0.5),
    "cage that gives way slowly": (lambda rng: with_cage(rng, 20000, 3, 100, 0.5), 3, 30.0),
}


@pytest.mark.parametrize("name", CASES)
def test_interval_covers_the_truth(name):
    make, time, settled_from = CASES[name]
    truth = FACTOR * diffusion_of_memory(time)
    ratios, inside, widths = [], 0, []
    for seed in range(200):
        try:
            found = measured(currents(make(np.random.default_rng([seed, 1]))), settled_from).conductivity
        except AnalysisError:
            continue
        ratios.append(found.value / truth)
        widths.append((found.high - found.low) / 2 / truth)
        inside += found.low <= truth <= found.high
    assert len(ratios) >= 180
    assert inside >= 0.9 * len(ratios)
    assert np.mean(widths) < 4 * np.std(ratios)
    assert np.mean(ratios) == pytest.approx(1, abs=0.08)


def displaced(values: VelocitySums) -> SpeciesDisplacements:
    """Positions by the trapezoid rule."""
    moved = {
        name: np.concatenate([np.zeros((1, 3)), np.cumsum((v[1:] + v[:-1]) * DT / 2, axis=0)])
        for name, v in values.sums.items()
    }
    masses = {name: values.masses[name] * values.n_atoms[name] for name in values.sums}
    return SpeciesDisplacements(moved, DT, values.n_atoms, masses, VOLUME)


@pytest.mark.parametrize("seed", range(4))
def test_velocities_and_positions_agree(seed):
    """Green-Kubo and Einstein-Helfand on the same motion: both 99 % intervals hold the truth."""
    values = currents(with_cage(np.random.default_rng([seed, 2]), 30000, 5, 20, 0.1))
    truth = FACTOR * diffusion_of_memory(5)
    helfand = EinsteinHelfandConductivity(displaced(values), T, values.charges, settled_from=8.0, level=0.99)
    for found in (measured(values, 8.0, level=0.99).conductivity, helfand.run().conductivity):
        assert found.low < truth < found.high
        assert found.value == pytest.approx(truth, rel=0.35)


def test_running_integral_is_half_the_local_slope():
    """Exactly so for every lag: d/dt <|P|^2> / 2 is the integral of <J J>, with the same origins."""
    values = currents(memory(np.random.default_rng(3), 4000, 10))
    found = measured(values, 2.0)
    charge = displaced(values).relative_to("system")
    curve = mean_product(charge["Na"] - charge["S"], charge["Na"] - charge["S"])
    slope = np.gradient(curve, DT)[: len(found.times)] / 6 * FACTOR
    np.testing.assert_allclose(found.integral[1:60], slope[1:60], rtol=0.05)


def test_drift_does_not_count_and_heavy_anions_do():
    rng = np.random.default_rng(4)
    cations, anions = memory(rng, 5000, 5), 0.3 * memory(rng, 5000, 5)
    wind = memory(rng, 5000, 50)
    still = measured(currents(cations, anions), 1.0)
    blown = measured(currents(cations + 10 * wind, anions + 10 * wind), 1.0)
    assert blown.conductivity.value == pytest.approx(still.conductivity.value, rel=1e-9)
    assert still.conductivity.value == pytest.approx(FACTOR * diffusion_of_memory(5) * 1.09, rel=0.3)


@pytest.mark.parametrize("seed", range(3))
def test_bound_and_ballistic_charge_is_refused(seed):
    rng = np.random.default_rng([seed, 5])
    bound = np.diff(memory(rng, 5001, 30), axis=0)
    flight = np.ones((5000, 3)) * rng.normal(size=3)
    for sums in (bound, flight):
        with pytest.raises(
            AnalysisError, match=r"no conductivity by Green-Kubo: (the|behind .* ps the) running integral"
        ):
            measured(currents(sums))


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"charges": {"Na": 1.0, "S": -2.0}}, {}, "sum to -10; they must sum to zero"),
        ({}, {"charges": {"Na": 1.0}}, "species 'S' has no charge"),
        ({"times": DT * np.arange(500) ** 1.1}, {}, "not uniform in time"),
        ({}, {"settled_from": -1}, "settled_from is -1 ps"),
        ({}, {"settled_from": 20}, r"no plateau of positive value behind 20 ps"),
        ({}, {"level": 0}, "level is 0"),
    ],
)
def test_impossible_requests(change, options, message):
    values = currents(memory(np.random.default_rng(6), 500, 3), **change)
    with pytest.raises(AnalysisError, match=message):
        measured(values, **options)


def test_what_is_not_enough():
    values = currents(memory(np.random.default_rng(7), 199, 3))
    with pytest.raises(AnalysisError, match="no conductivity by Green-Kubo: 199 rows of currents are too few"):
        measured(values)
    with pytest.raises(AnalysisError, match=r"volume is -1\.0 A"):
        GreenKuboConductivity(values, T, -1.0, settled_from=0)


def test_saved_results_and_plot(tmp_path):
    import matplotlib

    matplotlib.use("agg")
    found = measured(currents(memory(np.random.default_rng(8), 20000, 3)), 1.0)
    found.to_csv(tmp_path / "green_kubo.csv")
    table = np.genfromtxt(tmp_path / "green_kubo.csv", delimiter=",", names=True)
    assert table.dtype.names == ("time_ps", "correlation", "integral_S_per_cm", "error_S_per_cm")
    assert table["correlation"][0] == 1
    assert np.all(np.diff(table["time_ps"]) > 0)
    assert len(table) < 2600
    assert json.loads(json.dumps(found.as_dict()))["conductivity"]["unit"] == "S/cm"
    assert found.plot().get_ylabel() == "running integral (S/cm)"


def test_haven_ratio_takes_either_method():
    found = measured(currents(memory(np.random.default_rng(9), 20000, 3)), 1.0)
    ratio = haven_ratio(found, found)
    assert ratio.value == 1
    assert ratio.low < 1 < ratio.high


# --- the files -------------------------------------------------------------------------------------------------------

STRIDE = 5
COLUMNS = ("step", *(f"v{axis}_{name}" for name in ("Na", "P", "S") for axis in "xyz"))


@pytest.fixture
def deck(tmp_path):
    """A deck whose production prints currents every 5 steps from step 100 to 400."""
    currents = Currents(
        pattern="trajectory/02-produce.currents.*.txt", stride=STRIDE, species=("Na", "P", "S"), columns=COLUMNS
    )
    produce = stage("02-produce", "produce", "nvt", 100, 400, 900, 900).model_copy(update={"currents": currents})
    stages = (stage("01-equilibrate", "equilibrate", "npt", 0, 100, 900, 900), produce)
    write_deck(tmp_path / "deck", stages)
    (tmp_path / "deck/trajectory").mkdir(exist_ok=True)
    (tmp_path / "deck/log").mkdir(exist_ok=True)
    return tmp_path / "deck"


def rows_of(first, last, stride=STRIDE, mark=0.0):
    return [
        f"{step} " + " ".join(f"{step + 0.1 * i + mark:.10g}" for i in range(9))
        for step in range(first, last + 1, stride)
    ]


def write_segment(deck, segment, rows, end="\n"):
    head = "# Time-averaged data for fix currents\n# step and so on\n"
    path = deck / f"trajectory/02-produce.currents.{segment:03d}.txt"
    path.write_text(head + "\n".join(rows) + end)


def test_segments_join_on_the_step_grid(deck):
    """The second start repeats steps 250 to 280 of the first, whose last line is cut."""
    write_segment(deck, 0, [*rows_of(100, 280), "285 0.1 0."], end="")
    write_segment(deck, 1, rows_of(250, 400, mark=0.5))
    found = DeckTrajectory(deck).currents("02-produce")
    steps = np.arange(100, 401, STRIDE)
    np.testing.assert_allclose(found.times, steps * 0.002)
    np.testing.assert_allclose(found.sums["Na"][:, 0], steps + 0.5 * (steps >= 250))
    np.testing.assert_allclose(found.sums["S"][:, 2], steps + 0.8 + 0.5 * (steps >= 250))
    assert found.species == ("Na", "P", "S")
    assert found.expected_rows == len(steps)
    assert found.charges["Na"] == 1
    assert found.masses["P"] == pytest.approx(30.974, abs=1e-3)


def test_a_hole_is_not_bridged(deck):
    write_segment(deck, 0, rows_of(100, 200))
    write_segment(deck, 1, rows_of(220, 400))
    found = DeckTrajectory(deck).currents("02-produce")
    np.testing.assert_allclose(found.times[[0, -1]], [0.44, 0.8])
    assert len(found.times) < found.expected_rows


def test_no_rows_at_all():
    assert len(join_rows([(np.empty((0, 4)), np.inf)], 5)) == 0


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "has no whole row in trajectory/02-produce.currents"),
        (rows_of(100, 200, stride=10), "rows off the grid of every 5 steps"),
        (rows_of(95, 200), "covers steps 95 to 200; its stage has 100 to 400"),
        (["100 1 2 3", "105 1 2 3"], "has 4 columns; the deck says 10"),
        (["100 1 2 x"], "is damaged"),
    ],
)
def test_files_that_contradict_the_manifest(deck, rows, message):
    write_segment(deck, 0, rows)
    with pytest.raises(TrajectoryError, match=message):
        DeckTrajectory(deck).currents("02-produce")


def test_a_stage_without_currents(deck):
    with pytest.raises(
        TrajectoryError, match=r"'01-equilibrate' of .* writes no currents; currents_ps of produce does"
    ):
        DeckTrajectory(deck).currents("01-equilibrate")


def test_only_productions_of_the_diffusion_preset_write_them_by_themselves():
    schedule = Diffusion(temperatures_K=(700,)).protocols()[0].schedule()
    assert [stage.current_stride for stage in schedule] == [None, None, 10]
    without = Diffusion.model_validate({"produce": {"currents_ps": None}}).protocols()[0].schedule()
    assert without[-1].current_stride is None
    with pytest.raises(ProtocolError, match="less than its 2000 steps between rows of currents; shorten currents_ps"):
        Diffusion.model_validate({"produce": {"currents_ps": 2, "duration_ps": 1}}).protocols()
