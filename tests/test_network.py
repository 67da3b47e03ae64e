import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read
from ase.neighborlist import neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from universes import (
    cage,
    chain,
    cristobalite,
    disulfide,
    edge_sharing,
    hypodiphosphate,
    pyro,
    quartz,
    sodium_thiophosphate,
    tetrahedron,
    tricluster,
    universe_of,
    universe_of_atoms,
)

from napos_lmp.analysis.network.groups import AnionGroups
from napos_lmp.analysis.network.network import Network, measure_together
from napos_lmp.analysis.network.speciation import NetworkSpeciation
from napos_lmp.errors import AnalysisError

CUBE = [30.0, 30.0, 30.0, 90.0, 90.0, 90.0]
LEANING = [31.0, 30.0, 33.0, 72.0, 81.0, 67.0]


def speciate(molecule, box=CUBE, **options):
    symbols, positions = molecule
    return NetworkSpeciation(universe_of(symbols, positions + 11.0, box), **options).run()


def values(estimates):
    """Non-zero values by key."""
    return {key: estimate.value for key, estimate in estimates.items() if estimate.value}


def balanced(result):
    assert result.bookkeeping_residual == 0
    assert result.stoichiometry_residual < 1e-9


# name: molecule, P^n, roles of S, homopolar bonds, sharing (all per 100 formers), mean n expected from composition
MOLECULES = {
    "PS4": (tetrahedron(), {0: 1}, {"terminal": 1}, {}, {}, 0),
    "P2S7": (pyro(), {1: 1}, {"terminal": 6 / 7, "bridging": 1 / 7}, {}, {"corner": 50}, 1),
    "P2S6 edge": (edge_sharing(), {2: 1}, {"terminal": 4 / 6, "bridging": 2 / 6}, {}, {"edge": 50}, 2),
    "P2S6 P-P": (hypodiphosphate(), {0: 1}, {"terminal": 1}, {"P-P": 50}, {}, 2),
    "P4S10": (cage(), {3: 1}, {"terminal": 0.4, "bridging": 0.6}, {}, {"corner": 150}, 3),
    "S-S": (disulfide(), {0: 1}, {"terminal": 1}, {"S-S": 50}, {}, 0),
}


@pytest.mark.parametrize("name", MOLECULES)
def test_molecules_with_known_units(name):
    molecule, units, roles, homopolar, sharing, expected = MOLECULES[name]
    result = speciate(molecule)
    assert values(result.units["P"]) == pytest.approx(units)
    assert values(result.anions["S"]) == pytest.approx(roles)
    assert values(result.homopolar) == pytest.approx(homopolar)
    assert values(result.sharing) == pytest.approx(sharing)
    assert result.expected_mean_bridging == pytest.approx(expected)
    balanced(result)


def test_a_periodic_chain_is_p2_and_shares_corners_only():
    symbols, positions, box = chain()
    result = NetworkSpeciation(universe_of(symbols, positions, box)).run()
    assert values(result.units["P"]) == {2: 1}
    assert values(result.shells["P"]) == {"PS4": 1}
    assert values(result.sharing) == pytest.approx({"corner": 100})
    assert result.mean_bridging.value == result.expected_mean_bridging == 2
    balanced(result)


def test_mixed_shell_is_named_by_its_anions():
    result = speciate(tetrahedron(("O", "S", "O", "S")))
    assert values(result.shells["P"]) == {"PO2S2": 1}
    assert values(result.shells_by_unit["P"]["PO2S2"]) == {0: 1}
    assert result.four_coordinate["P"].value == 1


def test_isolated_anion_and_its_deviation():
    symbols, positions = tetrahedron()
    result = speciate(([*symbols, "S"], np.vstack([positions, [9, 0, 0]])))
    assert values(result.anions["S"]) == pytest.approx({"isolated": 0.2, "terminal": 0.8})
    assert result.expected_mean_bridging == -2
    assert values(result.deviations) == {"isolated": 2}
    balanced(result)


def test_tricluster_oxygen():
    result = speciate(tricluster())
    assert values(result.anions["O"]) == pytest.approx({"terminal": 0.9, "tricluster": 0.1})
    assert values(result.units["P"]) == {1: 1}
    assert values(result.sharing) == pytest.approx({"corner": 100})
    assert values(result.bridge_shares) == {"O": 1}
    assert values(result.deviations) == pytest.approx({"tricluster": -1 / 3})
    balanced(result)


def test_homopolar_bonds_explain_the_missing_bridges():
    result = speciate(hypodiphosphate())
    assert result.mean_bridging.value == 0
    assert values(result.deviations) == {"homopolar": -2}


def test_bridging_oxygen_in_a_sulfide_unit():
    symbols, positions = pyro()
    symbols[1] = "O"
    result = speciate((symbols, positions), cutoffs={"P-O": 2.2})
    assert result.bridge_shares["O"].value == 1
    assert result.bridge_shares["S"].value == 0
    assert result.cutoffs["P-O"].source == "given"
    assert values(result.shells_by_unit["P"]["POS3"]) == {1: 1}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("box", [CUBE, LEANING], ids=["cube", "leaning"])
def test_rotation_wrapping_and_box_shape_change_nothing(seed, box):
    rng = np.random.default_rng(seed)
    symbols, positions = cage()
    moved = Rotation.random(rng=rng).apply(positions) + rng.uniform(-60, 60, 3)
    cell = Atoms(cell=box, pbc=True).cell
    wrapped = moved + rng.integers(-2, 3, size=moved.shape) @ cell.array
    result = NetworkSpeciation(universe_of(symbols, wrapped, box)).run()
    assert values(result.units["P"]) == {3: 1}
    assert values(result.sharing) == pytest.approx({"corner": 150})


def test_sodium_thiophosphate_is_all_p0():
    result = NetworkSpeciation(universe_of_atoms(sodium_thiophosphate())).run()
    assert values(result.units["P"]) == {0: 1}
    assert values(result.shells["P"]) == {"PS4": 1}
    assert result.cutoffs["P-S"].source == "data"
    assert result.expected_mean_bridging == 0
    balanced(result)


@pytest.mark.parametrize("silica", [cristobalite(), quartz()], ids=["cristobalite", "quartz"])
def test_silica_is_all_q4(silica):
    result = NetworkSpeciation(universe_of_atoms(silica)).run()
    assert values(result.units["Si"]) == {4: 1}
    assert values(result.anions["O"]) == {"bridging": 1}
    assert values(result.sharing) == pytest.approx({"corner": 200})
    assert result.expected_mean_bridging == 4
    balanced(result)


def naive_census(atoms, cutoffs):
    """n of each P, formers around each anion, and shared anions, by loops over ASE's neighbour list."""
    first, second, shifts = neighbor_list("ijS", atoms, cutoffs)
    symbols = atoms.get_chemical_symbols()
    anions = {i: [] for i, s in enumerate(symbols) if s != "P"}
    for i, j, shift in zip(first, second, shifts, strict=True):
        if symbols[i] == "P" and symbols[j] != "P":
            anions[j].append((i, tuple(-shift)))
    n = dict.fromkeys((i for i, s in enumerate(symbols) if s == "P"), 0)
    for formers in anions.values():
        for former, _ in formers:
            n[former] += len(formers) > 1
    shared = {}
    for formers in anions.values():
        for (a, image_a), (b, image_b) in combinations(formers, 2):
            step = tuple(np.subtract(image_b, image_a).tolist())
            link = min((a, b, step), (b, a, tuple(-s for s in step)))
            shared[link] = shared.get(link, 0) + 1
    return n, [len(formers) for formers in anions.values()], list(shared.values())


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), n_formers=st.integers(1, 12), n_anions=st.integers(1, 30), leaning=st.booleans())
def test_random_configurations_balance_and_agree_with_loops(seed, n_formers, n_anions, leaning):
    rng = np.random.default_rng(seed)
    box = [7.0, 7.5, 8.0, *((75.0, 80.0, 70.0) if leaning else (90.0, 90.0, 90.0))]
    symbols = ["P"] * n_formers + list(rng.choice(["S", "O"], n_anions))
    positions = rng.uniform(-10, 10, size=(len(symbols), 3)).astype(np.float32)
    positions[-1] = positions[0] + np.float32([1.5, 0, 0])
    present = [x for x in ("O", "S") if x in symbols]
    cutoffs = {"P-S": 2.6, "P-O": 1.9}
    cutoffs = {pair: r for pair, r in cutoffs.items() if pair[-1] in present}
    result = NetworkSpeciation(universe_of(symbols, positions, box), cutoffs=cutoffs).run()
    balanced(result)
    assert sum(e.value for e in result.units["P"].values()) == pytest.approx(1)
    assert sum(e.value for e in result.shells["P"].values()) == pytest.approx(1)

    atoms = Atoms(symbols, positions, cell=box, pbc=True)
    n, around, shared = naive_census(atoms, {tuple(pair.split("-")): r for pair, r in cutoffs.items()})
    assert result.mean_bridging.value == pytest.approx(np.mean(list(n.values())))
    assert values(result.units["P"]) == pytest.approx({k: list(n.values()).count(k) / n_formers for k in n.values()})
    bridging = sum(result.anions[x]["bridging"].value * result.counts[x] for x in present)
    assert bridging == pytest.approx(sum(k == 2 for k in around))
    assert result.sharing["corner"].value == pytest.approx(100 * sum(k == 1 for k in shared) / n_formers)
    assert result.sharing["edge"].value == pytest.approx(100 * sum(k == 2 for k in shared) / n_formers)


def test_means_over_frames_have_intervals_or_say_why_not():
    rng = np.random.default_rng(4)
    symbols, whole = pyro()
    broken = whole + np.where(np.arange(len(whole))[:, None] >= 5, [6.0, 0, 0], 0)
    frames = [whole if rng.random() < 0.7 else broken for _ in range(400)]
    result = NetworkSpeciation(universe_of(symbols, frames, CUBE), cutoffs={"P-S": 2.6}).run()
    bridged = np.mean([frame is whole for frame in frames])
    estimate = result.units["P"][1]
    assert estimate.value == pytest.approx(bridged)
    binomial = 1.96 * np.sqrt(bridged * (1 - bridged) / 400)
    assert (estimate.high - estimate.low) / 2 == pytest.approx(binomial, rel=0.3)
    assert "same in all 400 frames" in result.homopolar["P-P"].note
    few = NetworkSpeciation(universe_of(symbols, frames[:3], CUBE), cutoffs={"P-S": 2.6}).run()
    assert np.isnan(few.mean_bridging.low)
    assert few.mean_bridging.note


def test_table_is_used_and_named_where_the_data_are_too_few():
    cutoff = speciate(tetrahedron()).cutoffs["P-S"]
    assert (cutoff.value, cutoff.source) == (2.6, "table")
    assert cutoff.note


def test_a_later_peak_is_no_bond():
    """S around each other at 3.3 A, as in PS4, are not bonded."""
    result = NetworkSpeciation(universe_of_atoms(sodium_thiophosphate())).run()
    assert result.cutoffs["S-S"].source == "table"
    assert result.homopolar["S-S"].value == 0


def test_measured_pair_functions_are_used_again():
    from napos_lmp.analysis.pairs.rdf import PartialRDF

    universe = universe_of_atoms(sodium_thiophosphate())
    rdf = PartialRDF(universe).run()
    assert NetworkSpeciation(universe, rdf=rdf).run().cutoffs["P-S"] == rdf.pair("P", "S").cutoff


def test_part_of_the_frames_and_of_the_atoms():
    symbols, positions = pyro()
    universe = universe_of(symbols, [positions + 0.1 * k for k in range(5)], CUBE)
    assert NetworkSpeciation(universe).run(start=1, step=2).n_frames == 2
    first = NetworkSpeciation(universe.atoms[:5]).run()
    assert values(first.units["P"]) == {0: 1}


def test_result_is_saved(tmp_path):
    result = speciate(pyro())
    result.to_csv(tmp_path / "network.csv")
    header, *rows = (tmp_path / "network.csv").read_text().splitlines()
    assert header == "quantity,species,label,value,low,high,unit,note"
    assert any(row.startswith("unit,P,n=1,1,") for row in rows)
    saved = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert saved["units"]["P"]["1"]["value"] == 1


def test_plot_shows_every_unit():
    from matplotlib.figure import Figure

    ax = speciate(cage()).plot(Figure().subplots())
    heights = [bar.get_height() for bar in ax.patches]
    assert heights == pytest.approx([0, 0, 0, 100, 0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formers": ["Si"]}, "network former 'Si' is not in the system"),
        ({"anions": ["O"]}, "anion 'O' is not in the system"),
        ({"formers": []}, "no network former"),
        ({"formers": ["P", "S"]}, "named as former and as anion"),
        ({"cutoffs": {"P-Na": 3.0}}, "no pair of the formers and anions"),
        ({"cutoffs": {"P-S": -1.0}}, "must be positive"),
        ({"cutoffs": {"P-S": 16.0}}, "longer than half the smallest height of the box, 15.00 A"),
    ],
)
def test_bad_parameters(options, message):
    with pytest.raises(AnalysisError, match=message):
        speciate(tetrahedron(), **options)


def test_systems_that_cannot_be_measured():
    symbols, positions = tetrahedron()
    with pytest.raises(AnalysisError, match="no periodic box"):
        NetworkSpeciation(universe_of(symbols, positions, None))
    with pytest.raises(AnalysisError, match="no network former is in the system"):
        NetworkSpeciation(universe_of(["Na", "S"], np.zeros((2, 3)), CUBE))
    with pytest.raises(AnalysisError, match="no anion is in the system"):
        NetworkSpeciation(universe_of(["Na", "P"], np.zeros((2, 3)), CUBE))
    with pytest.raises(AnalysisError, match="select none"):
        NetworkSpeciation(universe_of(symbols, positions, CUBE)).run(start=5)
    with pytest.raises(AnalysisError, match="no cutoff for P-Cl bonds is known"):
        NetworkSpeciation(universe_of(["P", "Cl"], np.eye(2, 3), CUBE), anions=["Cl"]).run()
    bare = universe_of(symbols, positions, CUBE)
    bare.del_TopologyAttr("elements")
    with pytest.raises(AnalysisError, match="has no elements"):
        NetworkSpeciation(bare)


def test_sodium_trimetaphosphate_is_all_q2_in_rings_of_three():
    atoms = read(Path(__file__).parents[1] / "potentials/data/dft/crystals/Na3P3O9.cif").repeat((2, 1, 1))
    network = Network(universe_of_atoms(atoms))
    result, groups = measure_together([NetworkSpeciation(network), AnionGroups(network)])
    assert values(result.units["P"]) == {2: 1}
    assert values(result.units_by_anion["P"]) == {"O2": 1}
    assert values(result.anions["O"]) == pytest.approx({"bridging": 1 / 3, "terminal": 2 / 3})
    assert [group.name for group in groups.groups] == ["P3O9 3- (ring)"]
    balanced(result)


def test_bridges_are_told_apart_by_their_element():
    symbols, positions = pyro()
    first, second = symbols.copy(), symbols.copy()
    first[1], second[2] = "O", "O"
    far = np.vstack([positions, positions + 12])
    result = NetworkSpeciation(universe_of(first + second, far, CUBE), cutoffs={"P-S": 2.6, "P-O": 2.2}).run()
    assert values(result.units["P"]) == {1: 1}
    assert values(result.units_by_anion["P"]) == {"O": 0.5, "S": 0.5}
