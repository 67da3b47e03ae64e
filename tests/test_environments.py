import math

import freud
import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list
from scipy.spatial import ConvexHull, Voronoi
from universes import chain, sodium_thiophosphate, universe_of, universe_of_atoms

from napos_lmp.analysis.network.environments import TOTAL, Environments
from napos_lmp.analysis.network.network import Network, measure_together
from napos_lmp.analysis.network.speciation import NetworkSpeciation
from napos_lmp.analysis.pairs.rdf import PartialRDF
from napos_lmp.analysis.quantities.medium import environment_quantities
from napos_lmp.errors import AnalysisError

LEANING = [21.0, 20.0, 23.0, 72.0, 81.0, 67.0]


def found(estimates):
    return {key: estimate.value for key, estimate in estimates.items() if estimate.value}


def scattered(counts, box, frames=1, seed=0):
    """Ideal gas of the elements in `counts`."""
    rng = np.random.default_rng(seed)
    symbols = [symbol for symbol, count in counts.items() for _ in range(count)]
    cell = Atoms(cell=box).cell.array
    return universe_of(symbols, rng.uniform(-1, 2, (frames, len(symbols), 3)) @ cell, box)


def test_crystal_has_the_neighbours_that_ase_counts():
    atoms = sodium_thiophosphate((3, 3, 3))
    cutoffs = {"Na-S": 3.5, "Na-Na": 3.7}
    result = Environments(universe_of_atoms(atoms), cutoffs=cutoffs).run()
    symbols = np.array(atoms.get_chemical_symbols())
    sodium = np.flatnonzero(symbols == "Na")
    for pair, numbers in (("S", result.distribution["S"]), ("Na", result.like_distribution)):
        first = neighbor_list("i", atoms, {("Na", pair): cutoffs[f"Na-{pair}"]})
        around = np.bincount(first[symbols[first] == "Na"], minlength=len(atoms))[sodium]
        shares = np.bincount(around) / len(sodium)
        assert found(numbers) == pytest.approx({k: share for k, share in enumerate(shares) if share})
    assert result.by_role == {}
    assert result.n_centres == 162


@pytest.mark.parametrize("seed", range(3))
def test_a_leaning_box_has_the_neighbours_that_freud_counts(seed):
    universe = scattered({"Na": 150, "S": 120, "O": 80, "P": 20}, LEANING, seed=seed)
    result = Environments(universe, cutoffs={"Na-S": 4.1, "Na-O": 3.3, "Na-Na": 4.6}).run()
    cell = Atoms(cell=LEANING).cell.array
    box = freud.box.Box.from_matrix(cell.T)
    points = box.wrap(universe.atoms.positions)
    symbols = universe.atoms.elements
    for element, cutoff in (("S", 4.1), ("O", 3.3), ("Na", 4.6)):
        query = freud.AABBQuery(box, points[symbols == element])
        pairs = query.query(points[symbols == "Na"], {"r_max": cutoff, "exclude_ii": element == "Na"}).toNeighborList()
        mean = result.like if element == "Na" else result.coordination[element]
        assert mean.value * 150 == pytest.approx(len(pairs))
    total = result.coordination["S"].value + result.coordination["O"].value
    assert result.coordination[TOTAL].value == pytest.approx(total)
    mean = sum(k * share for k, share in found(result.distribution[TOTAL]).items())
    assert mean == pytest.approx(total)


def test_points_at_random_are_not_clustered():
    universe = scattered({"Na": 200, "S": 5}, LEANING, frames=200)
    result = Environments(universe, cutoffs={"Na-S": 4.0, "Na-Na": 4.5}).run()
    assert result.clustering.low < 1 < result.clustering.high
    assert result.clustering.value == pytest.approx(1, abs=0.01)
    assert math.isnan(result.clustering_outside_core.value)
    assert "no g(r)" in result.clustering_outside_core.note


def test_pairs_of_ions_are_clustered_as_g_of_r_says():
    """Dumbbells 3.5 A long: one partner each within 4 A, on top of those at random."""
    rng = np.random.default_rng(4)
    length, n = 30.0, 100
    centres = rng.uniform(0, length, (200, n, 3))
    arms = rng.normal(size=(200, n, 3))
    arms *= 3.5 / np.linalg.norm(arms, axis=2, keepdims=True)
    frames = np.concatenate([centres, centres + arms, np.zeros((200, 1, 3))], axis=1)
    universe = universe_of(["Na"] * (2 * n) + ["S"], frames, [length] * 3 + [90] * 3)
    result = Environments(universe, cutoffs={"Na-S": 4.0, "Na-Na": 4.0}).run()
    around = 4 / 3 * math.pi * 4.0**3 / length**3 * (2 * n - 1)
    assert result.clustering.value == pytest.approx((1 + around * (2 * n - 2) / (2 * n - 1)) / around, rel=0.02)
    rdf = PartialRDF(universe).run()
    with_core = Environments(universe, cutoffs={"Na-S": 4.0, "Na-Na": 4.0}, rdf=rdf).run()
    ratio = 4.0**3 / (4.0**3 - with_core.core**3)
    assert with_core.clustering_outside_core.value == pytest.approx(with_core.clustering.value * ratio)


def chain_with_sodium():
    """Na beside a bridging S, and Na beside two terminal ones of the same P."""
    symbols, positions, box = chain()
    bridge, ends = positions[1], positions[[2, 3]]
    sodium = [np.add(bridge, [0, 2.8, 0]), np.add(ends.mean(axis=0), [0, -2.2, 0])]
    return universe_of([*symbols, "Na", "Na", "S"], np.vstack([positions, sodium, sodium[1] - [0, 2.5, 0]]), box)


def test_neighbours_by_their_role_in_the_network():
    network = Network(chain_with_sodium(), cutoffs={"P-S": 2.4, "P-P": 2.4, "S-S": 2.2})
    cutoffs = {"Na-S": 3.0, "Na-Na": 3.0}
    measurements = [NetworkSpeciation(network), Environments(network, cutoffs=cutoffs)]
    result = measure_together(measurements)[1]
    assert found(result.by_role["S"]) == {"bridging": 0.5, "terminal": 1.0, "isolated": 0.5}
    assert result.coordination["S"].value == 2
    assert result.bridging_share["S"].value == 0.25
    assert found(result.distribution["S"]) == {1: 0.5, 3: 0.5}
    assert Environments(network, cutoffs=cutoffs).run().by_role == result.by_role


def test_cutoffs_are_from_the_data_where_there_is_a_shell():
    atoms = sodium_thiophosphate((3, 3, 3))
    rng = np.random.default_rng(3)
    frames = atoms.positions + rng.normal(0, 0.12, (8, len(atoms), 3))
    result = Environments(Network(universe_of_atoms(atoms, frames))).run()
    assert result.cutoffs["Na-S"].source == result.cutoffs["Na-Na"].source == "data"
    assert 3.0 < result.core < result.cutoffs["Na-Na"].value
    assert result.by_role["S"]["terminal"].value == result.coordination["S"].value
    assert result.clustering.low < result.clustering.value < result.clustering.high


def test_voronoi_cells_of_a_leaning_box_are_those_of_scipy():
    """Cells by qhull among 5 x 5 x 5 images, in a box that leans."""
    box = [10.0, 11.0, 12.0, 72.0, 81.0, 67.0]
    universe = scattered({"Na": 20, "S": 30, "P": 10}, box, seed=5)
    result = Environments(universe, cutoffs={"Na-S": 4.0, "Na-Na": 4.0}, voronoi=True).run()
    cell = Atoms(cell=box).cell.array
    positions = np.linalg.solve(cell.T, universe.atoms.positions.T).T % 1 @ cell
    shifts = np.array([[i, j, k] for i in range(-2, 3) for j in range(-2, 3) for k in range(-2, 3)]) @ cell
    diagram = Voronoi((positions[None] + shifts[:, None]).reshape(-1, 3))
    home = 62 * len(positions)
    volumes, areas = [], dict.fromkeys(("Na", "S", "P"), 0.0)
    for atom in range(20):
        volumes.append(ConvexHull(diagram.vertices[diagram.regions[diagram.point_region[home + atom]]]).volume)
        faces = {"Na": 0.0, "S": 0.0, "P": 0.0}
        for (a, b), corners in zip(diagram.ridge_points, diagram.ridge_vertices, strict=True):
            if home + atom in (a, b):
                other = (b if a == home + atom else a) % len(positions)
                faces[universe.atoms.elements[other]] += polygon_area(diagram.vertices[corners])
        for element, area in faces.items():
            areas[element] += area / sum(faces.values()) / 20
    assert result.voronoi.volume.value == pytest.approx(np.mean(volumes), rel=1e-4)
    assert result.voronoi.spread.value == pytest.approx(np.std(volumes), rel=1e-4)
    assert found(result.voronoi.surface) == pytest.approx(areas, rel=1e-3)
    assert sum(found(result.voronoi.faces).values()) > 8


def polygon_area(corners):
    spokes = corners[1:] - corners[0]
    return np.linalg.norm(np.cross(spokes[:-1], spokes[1:]).sum(axis=0)) / 2


def test_one_ion_has_no_others_around():
    universe = scattered({"Na": 1, "S": 40}, LEANING)
    result = Environments(universe, cutoffs={"Na-S": 4.0}).run()
    assert math.isnan(result.clustering.value)
    assert "one only" in result.clustering.note


def test_bad_input_is_named():
    universe = scattered({"Na": 10, "S": 10}, LEANING)
    for options, message in (
        ({"centre": "Li"}, "species 'Li' is not in the system; it has Na, S"),
        ({"centre": "S"}, "centre 'S' is one of the anions"),
        ({"anions": ["Se"]}, "species 'Se' is not in the system"),
        ({"cutoffs": {"P-S": 2.0}}, "cutoff 'P-S' is none of the pairs Na-S, Na-Na"),
        ({"cutoffs": {"Na-S": -1.0}}, "cutoff Na-S is -1.0 A; it must be positive"),
    ):
        with pytest.raises(AnalysisError, match=message):
            Environments(universe, **options)
    with pytest.raises(AnalysisError, match="longer than half the smallest height"):
        Environments(universe, cutoffs={"Na-S": 4.0, "Na-Na": 19.0}).run()
    with pytest.raises(AnalysisError, match="no anion"):
        Environments(scattered({"Na": 10}, LEANING))
    network = Network(chain_with_sodium(), cutoffs={"P-S": 2.4, "P-P": 2.4, "S-S": 2.2})
    with pytest.raises(AnalysisError, match="belongs to the Network"):
        Environments(network, anions=["S"])


def test_table_plot_and_quantities(tmp_path):
    universe = scattered({"Na": 30, "S": 30, "O": 10}, LEANING)
    result = Environments(universe, cutoffs={"Na-S": 4.0, "Na-O": 3.0, "Na-Na": 4.0}, voronoi=True).run()
    result.to_csv(tmp_path / "environments.csv")
    header = (tmp_path / "environments.csv").read_text().splitlines()[0]
    assert header == "quantity,centre,neighbour,label,value,low,high,unit,note"
    assert result.plot().get_xlabel() == "anions around Na"
    quantities = {quantity.key: quantity for quantity in environment_quantities(result)}
    assert quantities["environment.Na.coordination.S"].value == result.coordination["S"].value
    assert quantities["environment.Na.clustering"].unit == "times random"
    assert len(quantities) <= 40
