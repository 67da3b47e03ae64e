import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.transform import Rotation
from universes import (
    cage,
    chain,
    cristobalite,
    disulfide,
    edge_sharing,
    hypodiphosphate,
    pyro,
    sodium_thiophosphate,
    tetrahedron,
    universe_of,
    universe_of_atoms,
)

from napos_lmp.analysis.compiled import compiled, joined_groups
from napos_lmp.analysis.network.groups import AnionGroups
from napos_lmp.analysis.network.network import Network, measure_together
from napos_lmp.analysis.network.speciation import NetworkSpeciation
from napos_lmp.errors import AnalysisError

BOX = [60.0, 62.0, 64.0, 75.0, 82.0, 68.0]


def tripolymer():
    """P3S10(5-): three tetrahedra in a chain that share corners."""
    _, one = tetrahedron()
    second = 2 * one[1] - one[[0, 2, 3, 4]]
    third = 2 * second[1] - np.vstack([second[0], [one[1]], second[[2, 3]]])
    return ["P", "S", "S", "S", "S", "P", "S", "S", "S", "P", "S", "S", "S"], np.vstack([one, second, third])


def ring():
    """P3S9(3-): three P and three bridging S in turn on a hexagon, two terminal S on each P."""
    angles = np.radians(60 * np.arange(6))
    hexagon = 2.1 * np.column_stack([np.cos(angles), np.sin(angles), np.zeros(6)])
    symbols, positions = [], []
    for k, point in enumerate(hexagon):
        symbols.append("S" if k % 2 else "P")
        positions.append(point)
        if k % 2 == 0:
            out = point / 2.1
            symbols += ["S", "S"]
            positions += [point + 1.2 * out + [0, 0, 1.6], point + 1.2 * out - [0, 0, 1.6]]
    return symbols, np.array(positions)


# molecule, formula, charge, linkage; charges are those of the known ions
MOLECULES = {
    "PS4 3-": (tetrahedron(), "PS4", -3, ""),
    "PO2S2 3-": (tetrahedron(("S", "S", "O", "O")), "PO2S2", -3, ""),
    "P2S7 4-": (pyro(), "P2S7", -4, ""),
    "P2S6 2- (edge)": (edge_sharing(), "P2S6", -2, "edge"),
    "P2S6 4- (P-P)": (hypodiphosphate(), "P2S6", -4, "P-P"),
    "P2S8 4- (S-S)": (disulfide(), "P2S8", -4, "S-S"),
    "P3S10 5- (chain)": (tripolymer(), "P3S10", -5, "chain"),
    "P3S9 3- (ring)": (ring(), "P3S9", -3, "ring"),
    "P4S10 0 (cage)": (cage(), "P4S10", 0, "cage"),
}


@pytest.mark.parametrize("name", MOLECULES)
def test_molecules_have_their_name_and_charge(name):
    (symbols, positions), formula, charge, linkage = MOLECULES[name]
    for turn in Rotation.random(3, rng=5):
        result = AnionGroups(universe_of(symbols, turn.apply(positions) + 25, BOX)).run()
        (group,) = result.groups
        assert (group.name, group.formula, group.charge, group.linkage) == (name, formula, charge, linkage)
        assert group.share_of_formers.value == 1
        assert group.per_100_formers.value == pytest.approx(100 / symbols.count("P"))


def test_a_mixture_is_counted_group_by_group():
    symbols, positions = (
        ["Na", "S", "S", "S", "O"],
        [np.array([[0, 0, 0], [5, 5, 5], [20, 5, 5], [20, 5, 7.05], [5, 20, 5]])],
    )
    for k, molecule in enumerate((tetrahedron(), tetrahedron(), pyro(), edge_sharing())):
        symbols = symbols + molecule[0]
        positions.append(molecule[1] + [12.0 * k, 30, 30])
    result = AnionGroups(universe_of(symbols, np.vstack(positions), BOX)).run()
    assert {group.name: group.per_100_formers.value for group in result.groups} == pytest.approx(
        {"PS4 3-": 200 / 6, "P2S7 4-": 100 / 6, "P2S6 2- (edge)": 100 / 6}
        | {"S 2-": 100 / 6, "S2 2- (S-S)": 100 / 6, "O 2-": 100 / 6}
    )
    assert result.get("PS4 3-").share_of_formers.value == pytest.approx(2 / 6)
    assert [group.share_of_formers.value for group in result.groups][-1] == 0
    assert sum(group.share_of_formers.value for group in result.groups) == pytest.approx(1)


def test_crystals():
    (group,) = AnionGroups(universe_of_atoms(sodium_thiophosphate())).run().groups
    assert group.name == "PS4 3-"
    (group,) = AnionGroups(universe_of_atoms(cristobalite())).run().groups
    assert (group.formula, group.charge) == ("infinite", None)


@pytest.mark.parametrize("shift", [0, -40, 1000])
def test_a_chain_through_the_box_is_infinite_wherever_its_atoms_are_written(shift):
    symbols, positions, box = chain()
    positions = positions + np.where(np.arange(len(positions))[:, None] % 3 == 0, [6.4 * 7, 20.0 * 3, 0], 0) + shift
    (group,) = AnionGroups(universe_of(symbols, positions, box)).run().groups
    assert group.formula == "infinite"


def test_larger_groups_are_counted_together():
    symbols, positions, box = chain()
    beads = np.vstack([positions[:8] + np.array([6.4 * k, 0, 0]) for k in range(3)])
    result = AnionGroups(universe_of(symbols * 3, beads, [60.0, *box[1:]])).run()
    assert {group.name for group in result.groups} == {"more than 4 formers (chain)"}


def test_reads_the_same_graph_as_speciation_in_one_pass():
    network = Network(universe_of(*pyro(), [30, 30, 30, 90, 90, 90]), cutoffs={"P-S": 2.6})
    speciation, groups = measure_together([NetworkSpeciation(network), AnionGroups(network)])
    assert speciation.mean_bridging.value == 1
    assert groups.groups[0].name == "P2S7 4-"
    with pytest.raises(AnalysisError, match="different networks"):
        measure_together([NetworkSpeciation(network), AnionGroups(universe_of(*pyro(), BOX))])
    with pytest.raises(AnalysisError, match="cutoffs belongs to the Network that was given"):
        AnionGroups(network, cutoffs={"P-S": 2.6})


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 40), n_edges=st.integers(0, 60), endless=st.booleans())
def test_groups_are_scipys_components_and_infinite_only_when_a_path_leaves_the_cell(seed, n, n_edges, endless):
    rng = np.random.default_rng(seed)
    ends = rng.integers(0, n, size=(n_edges, 2))
    cell = rng.integers(-9, 9, size=(n, 3))
    images = cell[ends[:, 1]] - cell[ends[:, 0]]
    if endless and n_edges:
        ends, images = np.vstack([ends, ends[:1]]), np.vstack([images, images[:1] + np.array([0, 0, 1])])
    group, offset = compiled(joined_groups)(
        np.ascontiguousarray(ends[:, 0]), np.ascontiguousarray(ends[:, 1]), np.ascontiguousarray(images), n
    )
    around = offset[ends[:, 0]] + images - offset[ends[:, 1]]
    infinite = set(group[ends[np.any(around != 0, axis=1), 0]])
    expected = connected_components(coo_array((np.ones(len(ends)), ends.T), shape=(n, n)), directed=False)[1]
    assert len(set(zip(group, expected, strict=True))) == len(set(expected)) == len(set(group))
    assert infinite == ({group[ends[0, 0]]} if endless and n_edges else set())


def test_result_is_saved_and_drawn(tmp_path):
    from matplotlib.figure import Figure

    result = AnionGroups(universe_of(*pyro(), BOX)).run()
    result.to_csv(tmp_path / "groups.csv")
    header, row = (tmp_path / "groups.csv").read_text().splitlines()
    assert header.startswith("formula,charge,linkage,share_of_formers")
    assert row.startswith("P2S7,-4,,1,")
    axes = result.plot(Figure().subplots())
    assert [text.get_text() for text in axes.get_yticklabels()] == ["P2S7 4-"]


def test_no_anion_bonded_at_all_is_refused():
    apart = universe_of(["P", "S", "S"], [[0, 0, 0], [10, 10, 10], [20, 20, 20]], BOX)
    with pytest.raises(
        AnalysisError, match=r"no anion \(S\) is bonded to any former in any frame with cutoffs in A of P-S 2.6"
    ):
        AnionGroups(apart).run()
