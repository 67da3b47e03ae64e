import math

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from scipy.spatial import cKDTree
from universes import sodium_thiophosphate, universe_of, universe_of_atoms

from napos_lmp.analysis.quantities.medium import cavity_quantities
from napos_lmp.analysis.space.cavities import Cavities
from napos_lmp.analysis.space.cavity_grid import SphereGrid, sampling_error
from napos_lmp.errors import AnalysisError

LEANING = [17.0, 16.0, 18.0, 72.0, 81.0, 67.0]
SPHERES = {"sc": 1, "bcc": 2, "fcc": 4}


def lattice(name, a=6.0):
    return universe_of_atoms(bulk("Ar", name, a=a, cubic=True))


@pytest.mark.parametrize("name", SPHERES)
@pytest.mark.parametrize("radius", [1.4, 2.0])
def test_separate_spheres_on_a_lattice_leave_the_volume_that_is_known(name, radius):
    result = Cavities(lattice(name), radii={"Ar": radius}, probe_radius=0, spacing=0.13).run()
    exact = 1 - SPHERES[name] * 4 / 3 * math.pi * radius**3 / 6.0**3
    assert result.free.value == pytest.approx(exact, abs=0.001)
    assert result.accessible.value == result.free.value


def test_overlapping_spheres_leave_the_volume_that_is_known():
    """Simple cubic spheres wider than half the cell: each overlaps six others in two caps that make a lens."""
    a, r = 6.0, 3.4
    cap = math.pi * (r - a / 2) ** 2 * (3 * r - (r - a / 2)) / 3
    exact = 1 - (4 / 3 * math.pi * r**3 - 6 * cap) / a**3
    result = Cavities(lattice("sc"), radii={"Ar": r}, probe_radius=0, spacing=0.1).run()
    assert result.free.value == pytest.approx(exact, abs=0.001)


def test_the_largest_sphere_sits_in_the_hole_of_the_lattice():
    """Octahedral hole of fcc: half the cell's edge from six atoms; body centre of sc: half the diagonal from eight."""
    fcc = Cavities(lattice("fcc"), radii={"Ar": 1.8}, probe_radius=0.9, spacing=0.1).run()
    sc = Cavities(lattice("sc"), radii={"Ar": 1.5}, probe_radius=0.5, spacing=0.1).run()
    assert fcc.largest_radius.value == pytest.approx(3.0 - 1.8, abs=0.09)
    assert sc.largest_radius.value == pytest.approx(3 * math.sqrt(3) - 1.5, abs=0.09)
    assert fcc.cavities.value == pytest.approx(4 / 0.216)
    assert sc.cavities.value == pytest.approx(1 / 0.216)
    assert fcc.largest_share.value == pytest.approx(1 / 4, abs=0.01)
    assert float(fcc.size_shares.sum()) == pytest.approx(1)


def test_tetrahedral_holes_count_for_a_smaller_probe():
    """fcc holes: 4 octahedral and 8 tetrahedral a cell, cut off from each other where the window is too narrow."""
    result = Cavities(lattice("fcc"), radii={"Ar": 2.0}, probe_radius=0.5, spacing=0.055).run()
    assert 6 * math.sqrt(2) / 2 / math.sqrt(3) - 2.0 < 0.5 - 0.055 * math.sqrt(3) / 2
    assert result.cavities.value == pytest.approx(12 / 0.216)


@pytest.mark.parametrize("box", [[12, 12, 12, 90, 90, 90], LEANING], ids=["cube", "leaning"])
def test_a_probe_can_cover_all_that_one_sphere_leaves(box):
    universe = universe_of(["Ar"], [[3.0, 20.0, -7.0]], box)
    volume = abs(np.linalg.det(Atoms(cell=box).cell.array))
    result = Cavities(universe, radii={"Ar": 3.0}, probe_radius=1.0, spacing=0.25).run()
    assert result.free.value == pytest.approx(1 - 36 * math.pi / volume, abs=0.001)
    assert result.occupiable.value == pytest.approx(result.free.value, abs=0.002)
    assert result.accessible.value == pytest.approx(1 - 4 / 3 * math.pi * 64 / volume, abs=0.001)
    assert result.cavities.value == pytest.approx(1000 / volume)
    assert result.largest_volume.value == pytest.approx(result.occupiable.value * volume)


def random_spheres(seed, box=LEANING, n=110):
    rng = np.random.default_rng(seed)
    cell = Atoms(cell=box).cell.array
    symbols = ["Na"] * (n // 2) + ["S"] * (n - n // 2)
    return universe_of(symbols, rng.uniform(-1, 2, (n, 3)) @ cell, box), cell


def throw(universe, cell, radii, n_points, seed):
    """Fraction of random points outside of all spheres, by a tree over 27 images."""
    rng = np.random.default_rng(seed)
    shifts = np.array([[i, j, k] for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)]) @ cell
    wrapped = universe.atoms.positions @ np.linalg.inv(cell) % 1 @ cell
    points = rng.uniform(0, 1, (n_points, 3)) @ cell
    outside = np.ones(n_points, dtype=bool)
    for element, radius in radii.items():
        images = wrapped[universe.atoms.elements == element][None] + shifts[:, None]
        outside &= cKDTree(images.reshape(-1, 3)).query(points)[0] > radius
    return outside.mean()


@pytest.mark.parametrize("seed", range(3))
def test_a_leaning_box_of_random_spheres_agrees_with_monte_carlo(seed):
    universe, cell = random_spheres(seed)
    result = Cavities(universe, radii={"Na": 1.3, "S": 1.9}, probe_radius=0.8, spacing=0.2).run()
    free = throw(universe, cell, {"Na": 1.3, "S": 1.9}, 300_000, seed)
    accessible = throw(universe, cell, {"Na": 2.1, "S": 2.7}, 300_000, seed)
    assert result.free.value == pytest.approx(free, abs=4 * math.sqrt(0.25 / 300_000))
    assert result.accessible.value == pytest.approx(accessible, abs=4 * math.sqrt(accessible / 300_000))
    assert result.accessible.value < result.occupiable.value < result.free.value


def test_what_a_probe_can_cover_agrees_with_probes_thrown_at_random():
    """Probes that fit, found by chance, cover less than all can; grown by 8 %, which bridges their gaps, more."""
    universe, _ = random_spheres(5, [12, 12, 12, 90, 90, 90], 40)
    radii = {"Na": 1.3, "S": 1.9}
    rng = np.random.default_rng(8)
    probes, points = rng.uniform(0, 12, (1_000_000, 3)), rng.uniform(0, 12, (20_000, 3))
    for element, radius in radii.items():
        atoms = cKDTree(universe.atoms.positions[universe.atoms.elements == element] % 12, boxsize=12)
        probes = probes[atoms.query(probes)[0] >= radius + 1.0]
    distance = cKDTree(probes, boxsize=12).query(points)[0]
    result = Cavities(universe, radii=radii, probe_radius=1.0, spacing=0.25).run()
    noise = 3 * math.sqrt(0.25 / 20_000)
    assert (distance <= 1.0).mean() - noise < result.occupiable.value < (distance <= 1.08).mean() + noise
    assert (distance <= 1.08).mean() - (distance <= 1.0).mean() < 0.06


def test_the_error_of_the_grid_is_what_it_says():
    """The grid's fraction against a four times finer one, in many random sets of spheres: as wide as its error."""
    rng = np.random.default_rng(11)
    ratios = []
    for _ in range(40):
        positions, radii = rng.uniform(0, 12, (30, 3)), rng.choice([1.2, 1.9], 30)
        coarse = ~SphereGrid(12 * np.eye(3), np.array([20, 20, 20])).covered(positions, radii)
        fine = ~SphereGrid(12 * np.eye(3), np.array([80, 80, 80])).covered(positions, radii)
        ratios.append((coarse.mean() - fine.mean()) / sampling_error(coarse))
    assert 0.5 < np.sqrt(np.mean(np.square(ratios))) < 2
    assert abs(np.mean(ratios)) < 0.6


def test_a_cavity_that_crosses_the_boundary_is_one():
    """The atom in the middle, then at the corner: the same cavity, cut by the boundary or not."""
    sizes = []
    for place in (0.0, 6.0):
        universe = universe_of(["Ar", "Ar"], [[place] * 3, [place + 0.1] * 3], [12, 12, 12, 90, 90, 90])
        sizes.append(Cavities(universe, radii={"Ar": 5.8}, probe_radius=0.2).run())
    assert sizes[0].cavities.value == sizes[1].cavities.value == pytest.approx(1 / 1.728)
    assert sizes[0].largest_volume.value == pytest.approx(sizes[1].largest_volume.value, rel=0.03)


def test_dense_packing_leaves_no_cavity():
    result = Cavities(lattice("fcc", a=4.0), radii={"Ar": 1.9}, probe_radius=0.6).run()
    assert result.cavities.value == result.occupiable.value == result.largest_volume.value == 0
    assert math.isnan(result.largest_radius.value)
    assert "no probe of 0.6 Å fits" in result.largest_radius.note


def test_radii_of_elements():
    universe = universe_of_atoms(sodium_thiophosphate((1, 1, 1)))
    ionic = Cavities(universe, radii={"S": 1.7}).run()
    assert ionic.radii == {"Na": 1.02, "P": 0.17, "S": 1.7}
    assert ionic.radii_source == {"Na": "ionic", "P": "ionic", "S": "given"}
    assert Cavities(universe, radii="van der Waals").run().radii == {"Na": 2.27, "P": 1.8, "S": 1.8}


def test_means_over_frames_have_intervals():
    atoms = sodium_thiophosphate((2, 2, 2))
    rng = np.random.default_rng(0)
    universe = universe_of_atoms(atoms, atoms.positions + rng.normal(0, 0.15, (12, len(atoms), 3)))
    result = Cavities(universe, probe_radius=0.5, spacing=0.5).run()
    assert result.free.low < result.free.value < result.free.high
    assert result.n_frames == 12
    two = Cavities(universe, probe_radius=0.5, spacing=0.5).run(workers=2)
    assert two.as_dict() == result.as_dict()


def test_bad_input_is_named():
    universe = lattice("sc")
    for options, message in (
        ({"probe_radius": -1.0}, "probe_radius is -1.0 A; it must be 0 to 20"),
        ({"spacing": 0.0}, "spacing is 0.0 A; it must be 0.01 to 5"),
        ({"radii": "covalent"}, "radii is 'covalent'; it must be 'ionic'"),
        ({}, "no ionic radius of Ar is known; give it in A"),
        ({"radii": {"Kr": 1.0}}, "radius of 'Kr' is given, but the system has Ar"),
        ({"radii": {"Ar": math.nan}}, "radius of Ar is nan A; it must be 0 to 10"),
    ):
        with pytest.raises(AnalysisError, match=message):
            Cavities(universe, **options)
    with pytest.raises(AnalysisError, match=r"spacing is 4 A, which gives a grid of 2 x 2 x 2 points"):
        Cavities(universe, radii={"Ar": 1.0}, spacing=4.0).run()


def test_table_plot_and_quantities(tmp_path):
    result = Cavities(lattice("fcc"), radii={"Ar": 1.5}, probe_radius=0.8).run()
    result.to_csv(tmp_path / "cavities.csv")
    assert len((tmp_path / "cavities.csv").read_text().splitlines()) == len(result.size_shares) + 1
    assert result.plot().get_xscale() == "log"
    quantities = {quantity.key: quantity for quantity in cavity_quantities(result)}
    assert quantities["cavity.fraction"].value == pytest.approx(100 * result.occupiable.value)
    assert quantities["cavity.largest_radius"].unit == "Å"
