import numpy as np
import pytest
from scipy.stats.contingency import odds_ratio as scipy_odds_ratio
from universes import (
    chain,
    cristobalite,
    disulfide,
    edge_sharing,
    hypodiphosphate,
    pyro,
    quartz,
    tetrahedron,
    tricluster,
    universe_of,
    universe_of_atoms,
)

from napos_lmp.analysis.network.linkages import Linkages, odds_ratio

CUBE = [40.0, 40.0, 40.0, 90.0, 90.0, 90.0]
SODALITE = {"Si-O": 2.0, "P-O": 2.0, "Si-Si": 2.2, "P-P": 2.2, "P-Si": 2.2, "O-O": 1.7}


def link(molecule, **options):
    symbols, positions = molecule
    return Linkages(universe_of(symbols, positions + 15.0, CUBE), **options).run()


def values(estimates):
    return {key: estimate.value for key, estimate in estimates.items()}


def test_bridges_of_molecules():
    assert values(link(pyro()).shares) == {"P-S-P": 1}
    assert link(pyro()).bridges_per_former.value == 0.5
    assert link(edge_sharing()).bridges_per_former.value == 1
    assert link(tetrahedron()).shares == {}
    assert link(tricluster()).bridges_per_former.value == 1, "an anion with three formers makes three bridges"
    symbols, positions, box = chain()
    assert Linkages(universe_of(symbols, positions, box)).run().bridges_per_former.value == 1


def test_homopolar_chains():
    assert values(link(hypodiphosphate()).chains["P"]) == {2: 50}
    assert values(link(disulfide()).chains["S"]) == {2: 50}
    symbols, positions = tetrahedron()
    tail = [positions[1] * (1 + 1.0 * k) for k in (1, 2, 3)]
    result = link((symbols + ["S"] * 3, np.vstack([positions, tail])))
    assert values(result.chains["S"]) == {4: 100}
    assert "P" not in result.chains


def test_a_random_mixture_of_formers_on_a_crystal_mixes_at_random_and_an_ordered_one_does_not():
    atoms = cristobalite((8, 8, 6))
    silicon = np.flatnonzero(atoms.symbols == "Si")
    rng = np.random.default_rng(3)
    atoms.symbols[rng.choice(silicon, len(silicon) // 4, replace=False)] = "P"
    result = Linkages(universe_of_atoms(atoms), cutoffs=SODALITE).run()
    assert values(result.shares) == pytest.approx({"P-O-P": 1 / 16, "P-O-Si": 6 / 16, "Si-O-Si": 9 / 16}, abs=0.02)
    assert result.random_shares == pytest.approx({"P-O-P": 1 / 16, "P-O-Si": 6 / 16, "Si-O-Si": 9 / 16}, abs=1e-9)
    assert result.mixing["P-O-Si"].value == pytest.approx(1, abs=0.06)

    halves = cristobalite((4, 4, 6))
    upper = (halves.symbols == "Si") & (halves.positions[:, 2] > halves.cell[2, 2] / 2)
    halves.symbols[upper] = "P"
    assert Linkages(universe_of_atoms(halves), cutoffs=SODALITE).run().mixing["P-O-Si"].value < 0.3


def test_bridging_sites_shared_at_random_have_an_odds_ratio_of_one_within_its_interval():
    rng = np.random.default_rng(11)
    inside, estimates = 0, []
    for _ in range(60):
        atoms = quartz((4, 4, 3))
        del atoms[np.sort(np.flatnonzero(atoms.symbols == "Si")[:40])]
        oxygen = np.flatnonzero(atoms.symbols == "O")
        atoms.symbols[rng.choice(oxygen, len(oxygen) // 3, replace=False)] = "S"
        universe = universe_of_atoms(atoms)
        cutoffs = {"Si-O": 2.0, "Si-S": 2.0, "Si-Si": 2.2, "O-O": 1.7, "S-S": 1.7, "O-S": 1.7}
        (found,) = Linkages(universe, cutoffs=cutoffs).run().preference.values()
        estimates.append(np.log(found.value))
        inside += found.low <= 1 <= found.high
    assert inside >= 53, "95 % of intervals hold the truth"
    assert abs(np.mean(estimates)) < 3 * np.std(estimates) / np.sqrt(60)


@pytest.mark.parametrize("table", [(12, 30, 5, 60), (3, 9, 40, 41), (100, 7, 8, 200)])
def test_odds_ratio_and_interval_are_scipys(table):
    ours = odds_ratio(*table)
    theirs = scipy_odds_ratio(np.reshape(table, (2, 2)), kind="sample")
    interval = theirs.confidence_interval(0.95)
    assert ours.value == pytest.approx(theirs.statistic)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high))


def test_odds_ratio_of_nearly_empty_tables():
    assert odds_ratio(0, 10, 5, 5).note.startswith("one half added")
    assert odds_ratio(0, 10, 5, 5).value == pytest.approx(0.5 / 10.5)
    assert np.isnan(odds_ratio(0, 0, 5, 5).value)
    assert "do not occur" in odds_ratio(0, 5, 0, 5).note


def test_result_is_saved_and_drawn(tmp_path):
    from matplotlib.figure import Figure

    result = link(pyro())
    result.to_csv(tmp_path / "linkages.csv")
    header, *rows = (tmp_path / "linkages.csv").read_text().splitlines()
    assert header == "quantity,kind,value,low,high,unit,note"
    assert any(row.startswith("share of bridges,P-S-P,1,") for row in rows)
    assert result.plot(Figure().subplots()).patches[0].get_height() == 100
