import numpy as np
import pytest
from ase import Atoms
from MDAnalysis.analysis.lineardensity import LinearDensity
from universes import sodium_thiophosphate, universe_of, universe_of_atoms

from napos_lmp.analysis.quantities.medium import density_profile_quantities
from napos_lmp.analysis.space.density_profile import DensityProfile
from napos_lmp.errors import AnalysisError

LEANING = [17.0, 16.0, 18.0, 72.0, 81.0, 67.0]


def planes(heights, box, per_plane=4):
    """Na and S in planes across c at given fractions of it."""
    rng = np.random.default_rng(0)
    scaled = np.array([[*rng.uniform(0, 1, 2), z] for z in heights for _ in range(per_plane)])
    symbols = ["Na" if k % 2 else "S" for k in range(len(heights)) for _ in range(per_plane)]
    return symbols, scaled, Atoms(cell=box).cell.array


@pytest.mark.parametrize("box", [[10, 11, 12, 90, 90, 90], LEANING], ids=["cube", "leaning"])
def test_planes_of_a_lattice_are_where_they_are(box):
    symbols, scaled, cell = planes([0.05, 0.25, 0.45, 0.65, 0.85], box)
    volume = abs(np.linalg.det(cell))
    height = volume / np.linalg.norm(np.cross(cell[0], cell[1]))
    result = DensityProfile(universe_of(symbols, np.add(scaled, [3, -2, 1]) @ cell, box), bin_width=height / 10).run()
    assert result.height == pytest.approx(height, rel=1e-5)
    layer = 4 / (volume / 10) * 1000
    assert result.number["S"].value == pytest.approx(layer * np.array([1, 0, 0, 0, 1, 0, 0, 0, 1, 0]), rel=1e-5)
    assert result.number["Na"].value == pytest.approx(layer * np.array([0, 0, 1, 0, 0, 0, 1, 0, 0, 0]), rel=1e-5)


def test_layers_of_the_other_box_vectors():
    box = LEANING
    cell = Atoms(cell=box).cell.array
    scaled = np.array([[0.15, 0.55, 0.95], [0.15, 0.75, 0.35]])
    universe = universe_of(["Na", "Na"], scaled @ cell, box)
    for axis, expected in (("a", [1]), ("b", [5, 7]), ("c", [3, 9])):
        k = "abc".index(axis)
        height = 1 / np.linalg.norm(np.linalg.inv(cell)[:, k])
        profile = DensityProfile(universe, axis=axis, bin_width=height / 10).run().number["Na"].value
        assert np.flatnonzero(profile).tolist() == expected


def moving(frames=24):
    atoms = sodium_thiophosphate((2, 2, 3))
    rng = np.random.default_rng(1)
    return universe_of_atoms(atoms, atoms.positions + rng.normal(0, 0.2, (frames, len(atoms), 3)))


@pytest.mark.parametrize(("axis", "name"), [("a", "x"), ("b", "y"), ("c", "z")])
def test_mass_and_charge_are_those_of_mdanalysis(axis, name):
    rng = np.random.default_rng(7)
    symbols = ["Na"] * 60 + ["S"] * 40
    universe = universe_of(symbols, rng.uniform(-10, 30, (12, 100, 3)), [20, 20, 20, 90, 90, 90])
    charges = {"Na": 1.0, "S": -1.5}
    universe.add_TopologyAttr("masses", [{"Na": 22.98976928, "S": 32.06}[symbol] for symbol in symbols])
    universe.add_TopologyAttr("charges", [charges[symbol] for symbol in symbols])
    result = DensityProfile(universe, axis=axis, bin_width=20 / 30, charges=charges).run()
    universe.trajectory.add_transformations(wrap_all)
    reference = getattr(LinearDensity(universe.atoms, binsize=20 / 30 - 1e-6).run().results, name)
    assert len(result.mass.value) == len(reference.mass_density) == 30
    assert result.mass.value == pytest.approx(reference.mass_density, rel=1e-5)
    moles_in_nm3 = 602.214
    assert result.charge.value == pytest.approx(np.array(reference.charge_density) * moles_in_nm3, rel=1e-4, abs=1e-3)


def wrap_all(timestep):
    timestep.positions = timestep.positions % timestep.dimensions[:3]
    return timestep


def test_intervals_hold_the_density_of_a_gas():
    rng = np.random.default_rng(2)
    box = [20, 20, 20, 90, 90, 90]
    universe = universe_of(["Na"] * 300, rng.uniform(0, 20, (200, 300, 3)), box)
    profile = DensityProfile(universe, bin_width=0.5).run().number["Na"]
    inside = (profile.low < 37.5) & (profile.high > 37.5)
    assert len(inside) == 40
    assert inside.sum() >= 34


def test_a_slab_that_drifts_across_the_boundary_stays_in_the_middle():
    rng = np.random.default_rng(3)
    box = [15, 15, 60, 90, 90, 90]
    slab = rng.uniform([0, 0, 0], [15, 15, 20], (400, 3))
    frames = np.array([np.add(slab, [0, 0, 5.0 * k]) for k in range(10)])
    universe = universe_of(["Na"] * 400, frames, box)
    centred = DensityProfile(universe, bin_width=1.0, centred=True).run()
    middle = slice(22, 38)
    assert centred.number["Na"].value[middle].min() > 0.5 * 400 / 4.5
    assert centred.number["Na"].value[:19].max() == centred.number["Na"].value[41:].max() == 0
    assert DensityProfile(universe, bin_width=1.0).run().number["Na"].value.min() > 0


def test_bad_input_is_named():
    universe = moving(1)
    for options, message in (
        ({"axis": "z"}, "axis is 'z'; it must be one of the box vectors a, b, c"),
        ({"bin_width": 0.0}, "bin_width is 0.0 A; it must be positive"),
        ({"charges": {"Na": 1.0}}, "charge of P is missing"),
        ({"charges": {"K": 1.0}}, "charge of 'K' is given, but the system has"),
        ({"charges": {"Na": np.nan, "P": 5, "S": -2}}, "charge of Na is nan e"),
    ):
        with pytest.raises(AnalysisError, match=message):
            DensityProfile(universe, **options)
    with pytest.raises(AnalysisError, match="bin_width is 50 A, which makes 0 layers"):
        DensityProfile(universe, bin_width=50.0).run()


def test_table_plot_and_quantities(tmp_path):
    result = DensityProfile(moving(), bin_width=1.0).run()
    result.to_csv(tmp_path / "profile.csv")
    lines = (tmp_path / "profile.csv").read_text().splitlines()
    assert lines[0].startswith("z_A,Na_per_nm3,Na_per_nm3_low,Na_per_nm3_high,P_per_nm3")
    assert len(lines) == len(result.z) + 1
    assert "density" in result.plot().get_ylabel()
    quantities = {quantity.key: quantity.value for quantity in density_profile_quantities(result)}
    spread = 100 * result.mass.value.std() / result.mass.value.mean()
    assert quantities["density_profile.c.mass"] == pytest.approx(spread)
