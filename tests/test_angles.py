import numpy as np
import pytest
from MDAnalysis.lib.distances import calc_angles
from universes import (
    TETRAHEDRON,
    cristobalite,
    edge_sharing,
    pyro,
    quartz,
    sodium_thiophosphate,
    tetrahedron,
    universe_of,
    universe_of_atoms,
)

from napos_lmp.analysis.network.angles import BondAngles
from napos_lmp.analysis.network.network import Network

CUBE = [40.0, 40.0, 40.0, 90.0, 90.0, 90.0]
OXIDE = {"Si-O": 2.0, "Si-Si": 2.2, "O-O": 1.7}


def measure(molecule):
    symbols, positions = molecule
    return BondAngles(universe_of(symbols, positions + 15.0, CUBE)).run()


def test_an_ideal_tetrahedron():
    result = measure(tetrahedron())
    angle = result.inside["S-P-S"]
    assert angle.mean.value == pytest.approx(np.degrees(np.arccos(-1 / 3)), abs=1e-4)
    assert angle.width.value == pytest.approx(0, abs=0.01)
    assert angle.per_former == 6
    assert result.bridges == {}
    assert result.mean_order["P"].value == pytest.approx(1, abs=1e-6)
    assert np.argmax(angle.density) == 109
    assert angle.density.sum() == pytest.approx(1)


def test_kinds_are_told_apart():
    result = measure(tetrahedron(("O", "O", "S", "S")))
    assert {kind: found.per_former for kind, found in result.inside.items()} == {"O-P-O": 1, "O-P-S": 4, "S-P-S": 1}


def test_bridges_of_molecules():
    straight = measure(pyro()).bridges["P-S-P"]
    assert straight.mean.value == pytest.approx(180, abs=0.1)
    assert straight.per_former == 0.5
    edge = measure(edge_sharing()).bridges["P-S-P"]
    assert edge.mean.value == pytest.approx(2 * np.degrees(np.arctan(1.4 / 1.57)), abs=1e-3)
    assert edge.per_former == 1


def ase_angles(atoms, centre, end, cutoff):
    from ase.neighborlist import neighbor_list

    i, j, vectors = neighbor_list("ijD", atoms, cutoff)
    symbols = np.array(atoms.get_chemical_symbols())
    keep = (symbols[i] == centre) & (symbols[j] == end)
    i, vectors = i[keep], vectors[keep]
    found = []
    for atom in np.unique(i):
        own = vectors[i == atom]
        first, second = np.triu_indices(len(own), 1)
        found.append(np.degrees(calc_angles(own[first], np.zeros_like(own[first]), own[second])))
    return np.concatenate(found)


@pytest.mark.parametrize(
    ("atoms", "kinds"),
    [
        (sodium_thiophosphate(), {"S-P-S": ("P", "S", 2.5)}),
        (cristobalite(), {"O-Si-O": ("Si", "O", 2.0), "Si-O-Si": ("O", "Si", 2.0)}),
        (quartz(), {"O-Si-O": ("Si", "O", 2.0), "Si-O-Si": ("O", "Si", 2.0)}),
    ],
)
def test_crystals_agree_with_ase_and_mdanalysis(atoms, kinds):
    atoms.rattle(0.05, seed=2)
    result = BondAngles(universe_of_atoms(atoms), cutoffs=None if "P" in atoms.symbols else OXIDE).run()
    for kind, (centre, end, cutoff) in kinds.items():
        expected = ase_angles(atoms, centre, end, cutoff)
        found = (result.inside | result.bridges)[kind]
        assert found.mean.value == pytest.approx(expected.mean(), abs=1e-3)
        assert found.width.value == pytest.approx(expected.std(), abs=1e-3)
        assert found.density == pytest.approx(np.histogram(expected, 180, (0, 180), density=True)[0], abs=2e-3)


def test_quartz_has_its_bridge_angle():
    found = BondAngles(universe_of_atoms(quartz()), cutoffs=OXIDE).run().bridges["Si-O-Si"]
    assert found.mean.value == pytest.approx(143.7, abs=0.3), "Levien, Prewitt and Weidner, Am. Mineral. 65, 920 (1980)"


def test_order_of_random_directions_is_zero_on_average():
    rng = np.random.default_rng(1)
    symbols, positions = [], []
    for k in range(512):
        directions = rng.normal(size=(4, 3))
        corner = 10.0 * np.array(np.unravel_index(k, (8, 8, 8))) + 5
        symbols += ["P", "S", "S", "S", "S"]
        positions += [corner, *(corner + 2.0 * directions / np.linalg.norm(directions, axis=1)[:, None])]
    network = Network(universe_of(symbols, np.array(positions), [80, 80, 80, 90, 90, 90]), cutoffs={"S-S": 0.01})
    result = BondAngles(network).run()
    assert result.mean_order["P"].value == pytest.approx(0, abs=0.08)
    step = result.order[1] - result.order[0]
    assert (result.order_density["P"] * result.order).sum() * step == pytest.approx(
        result.mean_order["P"].value, abs=0.01
    )


def test_three_and_five_anions_have_no_order_parameter():
    symbols, positions = tetrahedron()
    assert measure((symbols[:-1], positions[:-1])).mean_order == {}


def test_means_have_intervals_over_frames(tmp_path):
    rng = np.random.default_rng(8)
    frames = []
    for _ in range(64):
        arms = 2.05 * TETRAHEDRON + rng.normal(0, 0.05, (4, 3))
        frames.append(np.vstack([[0, 0, 0], arms]) + 15)
    result = BondAngles(universe_of(["P", "S", "S", "S", "S"], frames, CUBE)).run()
    mean = result.inside["S-P-S"].mean
    assert mean.low < mean.value < mean.high
    assert result.inside["S-P-S"].width.low < result.inside["S-P-S"].width.value < result.inside["S-P-S"].width.high
    assert 0.9 < result.mean_order["P"].low < result.mean_order["P"].high < 1
    result.to_csv(tmp_path / "angles.csv")
    assert (tmp_path / "angles.csv").read_text().startswith("angle_deg,p_S-P-S_per_deg\n0.5,0\n")
