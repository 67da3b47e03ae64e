import math

import numpy as np
import pytest
from universes import universe_of

from napos_lmp.analysis.mechanism.jump_environment import JumpEnvironment
from napos_lmp.analysis.mechanism.jumps import Jumps
from napos_lmp.analysis.network.network import Network
from napos_lmp.analysis.quantities.jumps import measure_mechanism
from napos_lmp.analysis.transport.msd import MeanSquareDisplacement
from napos_lmp.errors import AnalysisError

SPACING, SIDE = 5.0, 4
DIAGONAL = np.ones(3) / math.sqrt(3)
CUTOFFS = {"Na-O": 3.0, "Na-S": 3.0, "P-O": 1.9, "P-S": 1.9, "P-P": 1.0, "O-O": 1.0, "S-S": 1.0, "O-S": 1.0}
RATES = {"O": 0.012, "S": 0.006}
STEPS = np.concatenate([np.eye(3, dtype=int), -np.eye(3, dtype=int)])


def hoppers_among_anions(seed, ions=60, frames=1500):
    """Ions on a cubic lattice, each site with an O or S 2 A away, that leave sites at O twice as often as those at S.

    Every second anion, along x, is bonded to two P instead of one.
    """
    rng = np.random.default_rng(seed)
    corners = np.array([(x, y, z) for x in range(SIDE) for y in range(SIDE) for z in range(SIDE)])
    kinds = rng.permutation(["O", "S"] * (len(corners) // 2))
    sites = SPACING * corners
    anions = sites + 2.0 * DIAGONAL
    bridging = corners[:, 0] % 2 == 0
    formers = np.concatenate([sites + 3.6 * DIAGONAL, anions[bridging] + np.array([0, 0, 1.6])])
    leaving = -np.expm1(-np.array([RATES[kind] for kind in kinds])).reshape(SIDE, SIDE, SIDE)
    place = corners[rng.integers(len(corners), size=ions)]
    path = np.empty((frames, ions, 3))
    for k in range(frames):
        path[k] = place
        jumping = rng.random(ions) < leaving[tuple(place.T % SIDE)]
        place = np.where(jumping[:, None], place + STEPS[rng.integers(6, size=ions)], place)
    path = SPACING * path + rng.normal(scale=0.15, size=path.shape)
    still = np.broadcast_to(np.concatenate([anions, formers]), (frames, len(anions) + len(formers), 3))
    symbols = ["Na"] * ions + list(kinds) + ["P"] * len(formers)
    box = [SPACING * SIDE] * 3 + [90] * 3
    return universe_of(symbols, np.concatenate([path, still], axis=1), box)


@pytest.fixture(scope="module")
def results():
    found = []
    for seed in range(4):
        universe = hoppers_among_anions(seed)
        jumps = Jumps(MeanSquareDisplacement(universe, reference="none").run(), settling_time=4.0).run()
        found.append(JumpEnvironment(universe, jumps, cutoffs=CUTOFFS).run(workers=1))
    return found


def test_ions_leave_sites_at_oxygen_twice_as_fast(results):
    ratios = [result.rate_ratios["O"] for result in results]
    assert sum(ratio.low <= 2 <= ratio.high for ratio in ratios) >= 3
    assert np.mean([ratio.value for ratio in ratios]) == pytest.approx(2, rel=0.15)
    assert np.mean([ratio.high - ratio.low for ratio in ratios]) < 1.2
    for k, exact in enumerate((12.0, 6.0)):
        rates = [result.rates["O"][k] for result in results]
        assert np.mean([rate.value for rate in rates]) == pytest.approx(exact, rel=0.08)


def test_bridging_anions_make_no_difference(results):
    ratios = [result.rate_ratios["bridging"] for result in results]
    assert sum(ratio.low <= 1 <= ratio.high for ratio in ratios) >= 3
    assert set(results[0].rates) == {"O", "bridging"}


def test_there_is_more_oxygen_before_a_jump_than_at_rest(results):
    """A third of the time is spent at O, half of the jumps leave from there, and half of them lead there."""

    def mean(part, element):
        each = [sum(v.value for kind, v in getattr(r, part).items() if kind[0] == element) for r in results]
        return np.mean(each)

    for part, oxygen in (("rest", 1 / 3), ("before", 1 / 2), ("after", 1 / 2), ("change_before", 1 / 6)):
        assert mean(part, "O") == pytest.approx(oxygen, abs=0.03)
    assert mean("rest", "S") == pytest.approx(2 / 3, abs=0.03)
    assert results[0].kinds == (("O", "terminal"), ("O", "bridging"), ("S", "terminal"), ("S", "bridging"))


def test_only_one_frame_in_each_settling_time_is_read(results):
    assert results[0].n_frames == 375


def test_the_table_has_a_row_for_each_estimate(results, tmp_path):
    results[0].to_csv(tmp_path / "around.csv")
    rows = (tmp_path / "around.csv").read_text().splitlines()
    assert rows[0] == "quantity,anion,role,value,low,high,unit,note"
    assert len(rows) == 1 + 5 * 4 + 2 * 3
    assert len(results[0].plot().patches) == 12


def test_a_stage_has_the_surroundings_among_its_quantities():
    universe = hoppers_among_anions(1)
    found = measure_mechanism(universe, MeanSquareDisplacement(universe, reference="none").run(), workers=1)
    quantities = {quantity.key: quantity for quantity in found.quantities}
    assert not found.refusals
    assert quantities["exit.rate_ratio.Na.O"].low < 2 < quantities["exit.rate_ratio.Na.O"].high
    assert quantities["exit.before.Na.O.terminal"].value == pytest.approx(1 / 12, abs=0.05)
    assert set(found.tables) == {"van_hove", "jumps", "jump_lengths", "residence", "jump_environment"}
    assert quantities["van_hove.refilled.Na"].value > 0


def test_a_network_brings_its_own_bonds():
    universe = hoppers_among_anions(0, ions=20, frames=400)
    jumps = Jumps(MeanSquareDisplacement(universe, reference="none").run()).run()
    ends = {name: value for name, value in CUTOFFS.items() if name.startswith("Na-")}
    bonds = {name: value for name, value in CUTOFFS.items() if name not in ends}
    given = JumpEnvironment(Network(universe, cutoffs=bonds), jumps, cutoffs=ends).run(workers=1)
    named = JumpEnvironment(universe, jumps, cutoffs=CUTOFFS).run(workers=1)
    assert {key: str(value) for key, value in given.columns().items()} == {
        key: str(value) for key, value in named.columns().items()
    }
    with pytest.raises(AnalysisError, match=f"cutoff {next(iter(bonds))} belongs to the Network that was given"):
        JumpEnvironment(Network(universe, cutoffs=bonds), jumps, cutoffs=CUTOFFS)


def test_few_jumps_and_bad_cutoffs_are_refused():
    universe = hoppers_among_anions(0, ions=4, frames=200)
    jumps = Jumps(MeanSquareDisplacement(universe, reference="none").run()).run()
    with pytest.raises(AnalysisError, match="jumps are too few to look at their surroundings; 20 are needed"):
        JumpEnvironment(universe, jumps)
    universe = hoppers_among_anions(0, ions=20, frames=400)
    jumps = Jumps(MeanSquareDisplacement(universe, reference="none").run()).run()
    with pytest.raises(AnalysisError, match="cutoff Na-P is 3 A; it must be positive and of Na-O or Na-S"):
        JumpEnvironment(universe, jumps, cutoffs={"Na-P": 3})
    with pytest.raises(
        AnalysisError, match=r"cutoff of 11 A is longer than half the smallest height of the box, 10\.00 A"
    ):
        JumpEnvironment(universe, jumps, cutoffs={**CUTOFFS, "Na-O": 11}).run(workers=1)
