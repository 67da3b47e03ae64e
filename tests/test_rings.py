import time

import networkx as nx
import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list
from matscipy.ffi import distances_on_graph, find_sp_rings
from matscipy.neighbours import neighbour_list
from universes import (
    TETRAHEDRON,
    cage,
    chain,
    cristobalite,
    edge_sharing,
    hypodiphosphate,
    pyro,
    quartz,
    tricluster,
    universe_of,
    universe_of_atoms,
)

from napos_lmp.analysis.network.network import Network, measure_together
from napos_lmp.analysis.network.ring_search import primitive_rings
from napos_lmp.analysis.network.rings import RingStatistics
from napos_lmp.analysis.network.speciation import NetworkSpeciation
from napos_lmp.analysis.quantities.medium import ring_quantities
from napos_lmp.errors import AnalysisError

CUBE = [30.0, 30.0, 30.0, 90.0, 90.0, 90.0]
LEANING = [31.0, 30.0, 33.0, 72.0, 81.0, 67.0]


def found(estimates):
    return {key: estimate.value for key, estimate in estimates.items() if estimate.value}


def rings_of(molecule, box=CUBE, **options):
    symbols, positions = molecule
    return RingStatistics(universe_of(symbols, positions + 11.0, box), **options).run()


def metaphosphate(n):
    """A ring of n PS4 tetrahedra that share corners, P_n S_3n."""
    radius = 1.55 / np.sin(np.pi / n)
    angles = 2 * np.pi * np.arange(n) / n
    formers = radius * np.column_stack([np.cos(angles), np.sin(angles), np.zeros(n)])
    middles = (formers + np.roll(formers, -1, axis=0)) / 2
    bridges = middles * (1 + 1.3 / np.linalg.norm(middles, axis=1, keepdims=True))
    outward = 0.3 * formers / np.linalg.norm(formers, axis=1, keepdims=True)
    terminal = [formers - outward + [0, 0, height] for height in (2.0, -2.0)]
    return ["P"] * n + ["S"] * 3 * n, np.vstack([formers, bridges, *terminal])


def counted(atoms, cutoff, max_size):
    """Number of primitive rings of each size among points linked within a cutoff."""
    first, second, images = neighbor_list("ijS", atoms, cutoff)
    leading = [next((x for x in image if x), 0) for image in images.tolist()]
    once = (first < second) | ((first == second) & (np.array(leading) > 0))
    links = np.column_stack([first, second])[once].astype(np.int64)
    counts = np.zeros(max_size + 1)
    for block in primitive_rings(len(atoms), links, images[once].astype(np.int64), max_size):
        counts[block.vertices.shape[1]] += np.sum(1 / block.repeats)
    return np.rint(counts).astype(int)


def by_matscipy(atoms, cutoff, max_size):
    first, second, vectors = neighbour_list("ijD", atoms, cutoff)
    counts = np.zeros(max_size + 1, dtype=int)
    rings = find_sp_rings(first, second, vectors, distances_on_graph(first, second), max_size)[: max_size + 1]
    counts[: len(rings)] = rings
    return counts


@pytest.mark.parametrize(("crystal", "sizes"), [(cristobalite, {6: 2.0}), (quartz, {6: 1.0, 8: 5.0})])
def test_silica_crystals_have_known_rings_and_those_of_matscipy(crystal, sizes):
    atoms = crystal((4, 4, 4))
    result = RingStatistics(universe_of_atoms(atoms)).run()
    silicon = atoms[[atom.symbol == "Si" for atom in atoms]]
    reference = by_matscipy(silicon, 3.5, 12) / len(silicon)
    assert {n: value / 100 for n, value in found(result.rings).items()} == pytest.approx(sizes)
    assert {n: value for n, value in enumerate(reference) if value} == pytest.approx(sizes)
    assert found(result.per_former["Si"]) == pytest.approx({n: n * count for n, count in sizes.items()})
    assert found(result.in_ring["Si"]) == dict.fromkeys(sizes, 1.0)
    assert result.in_none["Si"].value == 0


@pytest.mark.parametrize("crystal", [cristobalite, quartz])
def test_one_cell_has_the_rings_of_many(crystal):
    one = RingStatistics(universe_of_atoms(crystal((1, 1, 1))), cutoffs={"Si-O": 1.9, "Si-Si": 1.9, "O-O": 1.5}).run()
    many = RingStatistics(universe_of_atoms(crystal((3, 3, 3)))).run()
    assert found(one.rings) == pytest.approx(found(many.rings))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("box", [[30, 30, 30, 90, 90, 90], [34, 30, 33, 72, 81, 67]], ids=["cube", "leaning"])
def test_random_networks_have_the_rings_of_matscipy(seed, box):
    rng = np.random.default_rng(seed)
    atoms = Atoms("H600", cell=box, pbc=True, scaled_positions=rng.uniform(0, 1, (600, 3)))
    cutoff = 3.3 if seed % 2 else 2.9
    assert counted(atoms, cutoff, 9).tolist() == by_matscipy(atoms, cutoff, 9).tolist()


@pytest.mark.parametrize("seed", range(8))
def test_rings_are_the_cycles_without_a_shortcut(seed):
    """All simple cycles by networkx, kept where no two vertices are nearer through the graph than along the cycle."""
    rng = np.random.default_rng(seed)
    graph = nx.gnm_random_graph(16, 16 + 2 * seed, seed=seed)
    distances = dict(nx.all_pairs_shortest_path_length(graph))
    expected = set()
    for cycle in nx.simple_cycles(graph, length_bound=9):
        n = len(cycle)
        pairs = [(i, j) for i in range(n) for j in range(i)]
        if all(distances[cycle[i]][cycle[j]] == min(i - j, n - i + j) for i, j in pairs):
            expected.add(frozenset(cycle))
    links = np.sort(np.array(graph.edges), axis=1)
    offsets = rng.integers(-1, 2, (16, 3))
    images = offsets[links[:, 1]] - offsets[links[:, 0]]
    rings = [row for block in primitive_rings(16, links, images, 9) for row in block.vertices.tolist()]
    assert len(rings) == len(expected)
    assert {frozenset(ring) for ring in rings} == expected


# molecule, rings by size for each molecule
MOLECULES = {
    "P2S7": (pyro(), {}),
    "P2S6 edge": (edge_sharing(), {2: 1}),
    "P2S6 P-P": (hypodiphosphate(), {}),
    "P4S10": (cage(), {3: 4}),
    "tricluster": (tricluster(), {}),
    **{f"P{n}S{3 * n} ring": (metaphosphate(n), {n: 1}) for n in (3, 4, 5, 7, 8)},
}


@pytest.mark.parametrize("box", [CUBE, LEANING], ids=["cube", "leaning"])
@pytest.mark.parametrize("name", MOLECULES)
def test_molecules_with_known_rings(name, box):
    molecule, expected = MOLECULES[name]
    result = rings_of(molecule, box, cutoffs={"P-S": 2.5, "P-P": 2.4} if "ring" in name else None)
    formers = sum(symbol == "P" for symbol in molecule[0])
    assert found(result.rings) == pytest.approx({n: 100 * count / formers for n, count in expected.items()})
    assert result.in_none["P"].value == (0 if expected else 1)


def test_a_triangle_needs_three_anions():
    """Three formers around one anion are no ring; with two more anions between them they are one."""
    symbols, positions = ["S", "P", "P", "P"], np.vstack([np.zeros(3), 1.9 * TETRAHEDRON[:3]])
    middles = [0.8 * (positions[i] + positions[j]) for i, j in ((1, 2), (2, 3))]
    cutoffs = {"P-S": 2.1, "P-P": 2.0, "S-S": 1.5}
    alone = rings_of((symbols, positions), cutoffs=cutoffs)
    two_more = rings_of(([*symbols, "S", "S"], np.vstack([positions, middles])), cutoffs=cutoffs)
    assert found(alone.rings) == {}
    assert found(two_more.rings) == pytest.approx({2: 200 / 3, 3: 100 / 3})


def test_a_periodic_chain_is_no_ring():
    symbols, positions, box = chain()
    assert found(RingStatistics(universe_of(symbols, positions, box)).run().rings) == {}


def test_wrapping_changes_nothing():
    atoms = quartz((3, 3, 3))
    rng = np.random.default_rng(2)
    moved = atoms.get_scaled_positions() + rng.integers(-3, 4, (len(atoms), 3))
    cell = atoms.cell.cellpar()
    scattered = universe_of(atoms.get_chemical_symbols(), moved @ Atoms(cell=cell).cell.array, cell)
    assert found(RingStatistics(scattered).run().rings) == pytest.approx({6: 100, 8: 500})


def test_large_rings_only_up_to_the_size_that_was_asked_for():
    molecule, cutoffs = metaphosphate(8), {"P-S": 2.5, "P-P": 2.4}
    assert found(rings_of(molecule, cutoffs=cutoffs, max_size=7).rings) == {}
    assert found(rings_of(molecule, cutoffs=cutoffs, max_size=8).rings) == pytest.approx({8: 12.5})
    with pytest.raises(AnalysisError, match="max_size is 1 formers; it must be 2 to 40"):
        rings_of(molecule, max_size=1)


def test_elements_are_told_apart():
    symbols, positions = metaphosphate(4)
    symbols[0] = "Si"
    lone = (["P", "S"], np.array([[18.0, 0, 0], [18.0, 2.0, 0]]))
    result = rings_of(
        (symbols + lone[0], np.vstack([positions, lone[1]])),
        box=[60, 60, 60, 90, 90, 90],
        cutoffs={"P-S": 2.5, "Si-S": 2.5, "P-P": 2.4, "P-Si": 2.4},
    )
    assert found(result.per_former["Si"]) == {4: 1}
    assert found(result.per_former["P"]) == {4: 0.75}
    assert result.in_none["P"].value == 0.25


def moving(frames):
    atoms = cristobalite((3, 3, 2))
    rng = np.random.default_rng(0)
    shakes = [0.05 + 0.3 * (k % 3 == 0) for k in range(frames)]
    return universe_of_atoms(atoms, [atoms.positions + rng.normal(0, s / 3, atoms.positions.shape) for s in shakes])


def test_means_over_frames_have_intervals_and_one_pass_serves_all():
    universe = moving(24)
    network = Network(universe, cutoffs={"Si-O": 1.75, "Si-Si": 2.4, "O-O": 1.5})
    alone = RingStatistics(network).run()
    together = measure_together([NetworkSpeciation(network), RingStatistics(network)])[1]
    assert together.rings == alone.rings
    number = alone.rings[6]
    assert number.low < number.value < number.high
    singles = [RingStatistics(network).run(k, k + 1).rings[6].value for k in range(24)]
    assert number.value == pytest.approx(np.mean(singles))


def test_table_plot_and_quantities(tmp_path):
    result = RingStatistics(universe_of_atoms(quartz((3, 3, 3)))).run()
    result.to_csv(tmp_path / "rings.csv")
    lines = (tmp_path / "rings.csv").read_text().splitlines()
    assert len(lines) == 1 + 11 * 3 + 1
    assert result.plot().get_xlabel() == "formers in the ring"
    quantities = {quantity.key: quantity.value for quantity in ring_quantities(result)}
    assert quantities == pytest.approx(
        {"rings.Si.none": 0, "rings.size6": 100, "rings.size8": 500, "rings.Si.size6": 6, "rings.Si.size8": 40}
    )


def test_a_thousand_formers_take_less_than_a_third_of_a_second():
    atoms = cristobalite((6, 6, 7))
    rng = np.random.default_rng(1)
    atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
    measurement = RingStatistics(universe_of_atoms(atoms), cutoffs={"Si-O": 2.0, "Si-Si": 2.4, "O-O": 1.5})
    measurement.run()
    began = time.perf_counter()
    result = measurement.run()
    assert time.perf_counter() - began < 0.6
    assert found(result.rings) == pytest.approx({6: 200})
