from itertools import product

import networkx as nx
import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st
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
    universe_of,
    universe_of_atoms,
)

from napos_lmp.analysis.frames import Frame
from napos_lmp.analysis.network.clusters import NetworkClusters, clusters_of
from napos_lmp.analysis.network.network import Network, measure_together
from napos_lmp.analysis.network.rings import RingStatistics
from napos_lmp.analysis.quantities.medium import cluster_quantities

CUBE = [40.0, 40.0, 40.0, 90.0, 90.0, 90.0]
LEANING = [41.0, 40.0, 43.0, 72.0, 81.0, 67.0]


def found(estimates):
    return {key: estimate.value for key, estimate in estimates.items() if estimate.value}


def clusters_in(molecules, box=CUBE, **options):
    """Molecules side by side along x, 9 A apart."""
    symbols = [symbol for molecule, _ in molecules for symbol in molecule]
    positions = np.vstack([np.add(points, [9 * k, 5, 5]) for k, (_, points) in enumerate(molecules)])
    return NetworkClusters(universe_of(symbols, positions, box), **options).run()


@pytest.mark.parametrize("box", [CUBE, LEANING], ids=["cube", "leaning"])
@pytest.mark.parametrize(
    ("molecule", "formers", "anions"),
    [
        (tetrahedron(), 1, 4),
        (pyro(), 2, 7),
        (edge_sharing(), 2, 6),
        (hypodiphosphate(), 2, 6),
        (disulfide(), 2, 8),
        (cage(), 4, 10),
    ],
    ids=["PS4", "P2S7", "P2S6 edge", "P2S6 P-P", "S-S", "P4S10"],
)
def test_a_molecule_is_one_cluster(molecule, formers, anions, box):
    result = clusters_in([molecule], box)
    assert found(result.sizes) == {formers: 1}
    assert result.weight_average.value == result.number_average.value == formers
    assert result.anions_weight_average.value == anions
    assert found(result.percolation) == {0: 1}
    assert result.percolating.value == 0


def test_averages_over_different_clusters():
    """PS4, PS4, P2S7 and P4S10: 8 formers in 4 clusters, 25 anions and a lone one."""
    lone = (["S"], np.zeros((1, 3)))
    result = clusters_in([tetrahedron(), tetrahedron(), pyro(), cage(), lone], [50, 40, 40, 90, 90, 90])
    assert found(result.sizes) == {1: 0.25, 2: 0.25, 4: 0.5}
    assert result.per_100_formers.value == 50
    assert result.number_average.value == 2
    assert result.weight_average.value == (1 + 1 + 4 + 16) / 8
    assert result.anions_weight_average.value == (4 + 4 + 2 * 7 + 4 * 10) / 8
    assert result.largest.value == 0.5
    assert result.largest_anions.value == pytest.approx(10 / 26)
    assert result.isolated_anions.value == pytest.approx(1 / 26)


def sheet():
    """PS2 as a square net in the plane, with two terminal S; one net a box."""
    symbols, points = [], []
    for i, j in product(range(2), repeat=2):
        x, y = 3.6 * i, 3.6 * j
        symbols += ["P", "S", "S", "S", "S"]
        points += [(x, y, 0), (x + 1.8, y, 0.5), (x, y + 1.8, 0.5), (x, y, 2.0), (x, y, -2.0)]
    return symbols, np.add(points, [0.3, 0.3, 8]), [7.2, 7.2, 20, 90, 90, 90]


def test_endless_in_one_two_and_three_directions():
    symbols, positions, box = chain()
    line = NetworkClusters(universe_of(symbols, positions, box)).run()
    symbols, positions, box = sheet()
    plane = NetworkClusters(universe_of(symbols, positions, box), cutoffs={"P-S": 2.1, "P-P": 2.4, "S-S": 1.5}).run()
    solid = NetworkClusters(universe_of_atoms(quartz((2, 2, 2)))).run()
    for dimension, result in enumerate((line, plane, solid), start=1):
        assert found(result.percolation) == {dimension: 1}
        assert found(result.formers_by_dimension) == {dimension: 1}
        assert result.percolating.value == result.largest.value == 1


def test_crystals():
    isolated = NetworkClusters(universe_of_atoms(sodium_thiophosphate((2, 2, 2)))).run()
    assert found(isolated.sizes) == {1: 1}
    assert isolated.anions_weight_average.value == 4
    framework = NetworkClusters(universe_of_atoms(cristobalite((2, 2, 2)))).run()
    assert found(framework.sizes) == {32: 1}
    assert framework.largest_anions.value == 1


def random_network(seed, n_formers, n_anions, length):
    rng = np.random.default_rng(seed)
    lean = np.array([[1, 0, 0], [0.25, 1, 0], [-0.2, 0.15, 1]]) * length
    scaled = rng.uniform(-1, 2, (n_formers + n_anions, 3))
    return ["P"] * n_formers + ["S"] * n_anions, scaled @ lean, lean


def clusters_of_points(symbols, positions, box):
    universe = universe_of(symbols, positions, Atoms(cell=box).cell.cellpar())
    network = Network(universe, cutoffs={"P-S": 3.0, "P-P": 2.0, "S-S": 2.0})
    atoms = network.bonded(network.cutoffs(range(1)))
    return clusters_of(atoms.bonds(Frame(0, positions, box)), atoms), atoms


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), length=st.sampled_from([8.0, 10.0, 12.0]))
def test_percolation_and_sizes_of_random_networks_follow_from_five_cells_each_way(seed, length):
    """A cluster endless in d directions is 5^(3 - d) clusters in 5 x 5 x 5 cells, found there by networkx."""
    symbols, positions, box = random_network(seed, 12, 14, length)
    clusters, _ = clusters_of_points(symbols, positions, box)
    shifts = np.array(list(product(range(5), repeat=3)))
    everything = (positions[None] + (shifts @ box)[:, None]).reshape(-1, 3)
    many, _ = atoms_bonds(np.tile(symbols, 125), everything, 5 * box)
    n = len(symbols)
    images = {}
    for component in nx.connected_components(many):
        formers = {vertex % n for vertex in component if symbols[vertex % n] == "P"}
        for former in formers:
            images.setdefault(former, []).append(sum(symbols[vertex % n] == "P" for vertex in component))
    for former in range(12):
        dimension = clusters.dimensions[clusters.of_former[former]]
        assert len(images[former]) == 5 ** (3 - dimension)
        assert set(images[former]) == {clusters.formers[clusters.of_former[former]] * 5**dimension}


def atoms_bonds(symbols, positions, box):
    """Graph of all bonds, from ASE's neighbour list."""
    from ase.neighborlist import neighbor_list

    atoms = Atoms(list(symbols), positions=positions, cell=box, pbc=True)
    first, second = neighbor_list("ij", atoms, {("P", "S"): 3.0, ("P", "P"): 2.0, ("S", "S"): 2.0})
    graph = nx.Graph()
    graph.add_nodes_from(range(len(atoms)))
    graph.add_edges_from(zip(first.tolist(), second.tolist(), strict=True))
    return graph, atoms


def test_share_of_percolating_frames_and_one_pass_with_others():
    symbols, positions, box = chain()
    frames = np.array([positions] * 20)
    broken = np.random.default_rng(0).permutation(20)[:10]
    frames[broken, 4:, 0] += 0.7
    network = Network(universe_of(symbols, frames, box), cutoffs={"P-S": 2.2, "P-P": 2.4, "S-S": 2.0})
    clusters, _ = measure_together([NetworkClusters(network), RingStatistics(network)])
    assert clusters.percolating.value == 0.5
    assert found(clusters.percolation) == {0: 0.5, 1: 0.5}
    assert clusters.percolating.low < 0.5 < clusters.percolating.high
    assert clusters.as_dict() == NetworkClusters(network).run().as_dict()


def test_table_plot_and_quantities(tmp_path):
    result = clusters_in([tetrahedron(), pyro()])
    result.to_csv(tmp_path / "clusters.csv")
    lines = (tmp_path / "clusters.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 + 4 + 4 + 8
    assert result.plot().get_xlabel() == "formers in the cluster"
    quantities = {quantity.key: quantity.value for quantity in cluster_quantities(result)}
    assert quantities["clusters.size1"] == pytest.approx(100 / 3)
    assert quantities["clusters.weight_average"] == pytest.approx(5 / 3)
    assert quantities["clusters.percolating"] == 0
