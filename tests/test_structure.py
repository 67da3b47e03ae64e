"""Structures, packing, the density model and crystals."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list

from napos_lmp.composition import FORMAL_CHARGES, Composition
from napos_lmp.errors import StructureError
from napos_lmp.structure import (
    CRYSTALS,
    Structure,
    atomic_mass,
    contact_distance,
    crystal,
    density,
    estimate_density,
    fitted_glasses,
    minimum_distances,
    molar_volumes,
    pack,
)

ELEMENTS = ("Na", "P", "S", "O")
COUNTS = {"Na": 40, "P": 20, "S": 50, "O": 20}


def as_ase(structure: Structure) -> Atoms:
    return Atoms(structure.symbols, positions=structure.positions, cell=structure.cell, pbc=True)


@pytest.fixture(scope="module")
def packed() -> Structure:
    return pack(COUNTS, 2.1, 7, ELEMENTS)


def test_structure_reports_counts_volume_and_density():
    structure = Structure(np.diag([2.0, 3.0, 4.0]), [[0, 0, 0], [1, 1, 1]], [0, 2], ELEMENTS)
    assert structure.symbols == ("Na", "S")
    assert structure.counts == {"Na": 1, "S": 1}
    assert structure.volume == pytest.approx(24)
    assert structure.density == pytest.approx((22.98976928 + 32.06) / 6.02214076e23 / 24e-24)
    assert structure.heights == pytest.approx([2, 3, 4])
    assert atomic_mass("O") == pytest.approx(15.999, abs=1e-3)


def test_structure_arrays_cannot_be_changed_behind_its_back():
    positions = np.zeros((1, 3))
    structure = Structure(np.eye(3), positions, [0], ("Na",))
    positions[0] = 9
    assert not structure.positions.any()
    with pytest.raises(ValueError, match="read-only"):
        structure.positions[0] = 1


@pytest.mark.parametrize(
    ("cell", "positions", "types", "elements", "message"),
    [
        (np.eye(2), np.zeros((1, 3)), [0], ("Na",), "do not fit"),
        (np.eye(3), np.zeros((1, 3)), [0, 0], ("Na",), "do not fit"),
        (np.eye(3), np.zeros((0, 3)), [], ("Na",), "no atoms"),
        (np.eye(3), np.full((1, 3), np.nan), [0], ("Na",), "not finite"),
        (np.zeros((3, 3)), np.zeros((1, 3)), [0], ("Na",), "right-handed"),
        (np.eye(3)[[1, 0, 2]], np.zeros((1, 3)), [0], ("Na",), "right-handed"),
        (np.eye(3), np.zeros((1, 3)), [1], ("Na",), "allowed are 0 to 0"),
        (np.eye(3), np.zeros((1, 3)), [0], ("Xx",), "not a chemical element"),
        (np.eye(3), np.zeros((1, 3)), [0], ("Na", "Na"), "twice"),
        (np.eye(3), np.zeros((1, 3)), [0], "Na", "must be a tuple"),
        (np.eye(3), np.zeros((1, 3)), [0], (), "must be a tuple"),
    ],
)
def test_impossible_structures_are_refused(cell, positions, types, elements, message):
    with pytest.raises(StructureError, match=message):
        Structure(cell, positions, types, elements)


def test_minimum_distances_agree_with_all_distances(packed):
    distances = as_ase(packed).get_all_distances(mic=True)
    np.fill_diagonal(distances, np.inf)
    shortest = minimum_distances(packed, 4.0)
    for (first, second), found in shortest.items():
        a, b = ELEMENTS.index(first), ELEMENTS.index(second)
        assert found == pytest.approx(distances[np.ix_(packed.types == a, packed.types == b)].min(), abs=1e-9)
    assert len(shortest) == 10


def test_minimum_distances_see_an_atom_s_own_images():
    lone = Structure(np.diag([2.0, 5.0, 5.0]), [[0.3, 0, 0]], [0], ("Na",))
    assert minimum_distances(lone) == {("Na", "Na"): pytest.approx(2.0)}


def test_packing_gives_the_counts_and_the_density(packed):
    assert packed.counts == COUNTS
    assert packed.elements == ELEMENTS
    assert packed.density == pytest.approx(2.1, rel=1e-12)
    assert packed.cell == pytest.approx(np.eye(3) * packed.volume ** (1 / 3))
    assert packed.positions.min() >= 0
    assert packed.positions.max() < packed.cell[0, 0]


def test_packing_keeps_every_pair_apart_through_the_faces(packed):
    distances = as_ase(packed).get_all_distances(mic=True)
    np.fill_diagonal(distances, np.inf)
    kept = np.array([[contact_distance(a, b) for b in packed.symbols] for a in packed.symbols])
    assert (distances >= kept - 0.02).all()
    assert contact_distance("Na", "S") == pytest.approx(2.5)


def test_packing_repeats_by_seed_and_differs_between_seeds(packed):
    again, other = pack(COUNTS, 2.1, 7, ELEMENTS), pack(COUNTS, 2.1, 8, ELEMENTS)
    assert np.array_equal(again.positions, packed.positions)
    assert not np.allclose(other.positions, packed.positions)
    assert pack({"Na": 5}, 0.9, 2**40, ("Na",)).n_atoms == 5


def test_packed_atoms_spread_evenly_over_the_cell(packed):
    octants = (packed.positions // (packed.cell[0, 0] / 2)).astype(int) @ [1, 2, 4]
    numbers = np.bincount(octants, minlength=8)
    assert numbers.min() > 0.5 * packed.n_atoms / 8


def test_dense_glasses_pack_with_shorter_contacts():
    dense = pack({"Na": 20, "P": 20, "O": 60}, 4.5, 1, ELEMENTS)
    assert dense.density == pytest.approx(4.5)
    shortest = minimum_distances(dense)
    assert all(d >= 0.86 * contact_distance(*pair) - 0.02 for pair, d in shortest.items())
    assert min(d / contact_distance(*pair) for pair, d in shortest.items()) < 1


def test_impossible_densities_are_refused_before_packmol_runs(monkeypatch):
    monkeypatch.setattr("packmol.cli.get_binary_path", lambda: pytest.fail("packmol was asked"))
    with pytest.raises(
        StructureError, match=r"density 20 g/cm3 is impossible to pack .* at most (\S+) g/cm3"
    ) as caught:
        pack(COUNTS, 20, 1, ELEMENTS)
    limit = float(str(caught.value).split("at most ")[1].split()[0])
    radii = [contact_distance(e, e) / 2 * 0.86 for e, n in COUNTS.items() for _ in range(n)]
    mass = sum(atomic_mass(e) * n for e, n in COUNTS.items())
    filled = sum(4 / 3 * math.pi * r**3 for r in radii) / (mass / 0.602214076 / limit)
    assert filled == pytest.approx(0.60, rel=5e-3)


@pytest.mark.parametrize(
    ("counts", "rho", "seed", "elements", "message"),
    [
        ({}, 2.0, 1, ELEMENTS, "no atoms"),
        ({"Na": 0}, 2.0, 1, ELEMENTS, "no atoms"),
        ({"Na": -1}, 2.0, 1, ELEMENTS, "count of Na is -1"),
        ({"Na": 1.5}, 2.0, 1, ELEMENTS, "count of Na is 1.5"),
        ({"Si": 1}, 2.0, 1, ELEMENTS, "'Si', which is not among the elements Na, P, S, O"),
        ({"Na": 1}, 0.0, 1, ELEMENTS, "density is 0.0"),
        ({"Na": 1}, -2.0, 1, ELEMENTS, "density is -2.0"),
        ({"Na": 1}, float("nan"), 1, ELEMENTS, "density is nan"),
        ({"Na": 1}, 2.0, -1, ELEMENTS, "seed is -1"),
        ({"Na": 1}, 2.0, 1.5, ELEMENTS, "seed is 1.5"),
    ],
)
def test_bad_packing_requests_name_the_argument(counts, rho, seed, elements, message):
    with pytest.raises(StructureError, match=message):
        pack(counts, rho, seed, elements)


def fake_packmol(tmp_path, script: str):
    program = tmp_path / "packmol"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return lambda: program


def test_a_packmol_that_fails_or_overlaps_atoms_is_not_believed(tmp_path, monkeypatch):
    for script in ("exit 173", "printf '2\\n\\nNa 0 0 0\\nNa 0.5 0 0\\n' > packed.xyz", "echo 1 > packed.xyz"):
        monkeypatch.setattr("packmol.cli.get_binary_path", fake_packmol(tmp_path, script))
        with pytest.raises(StructureError, match="packmol found no arrangement of Na2 at density 1 g/cm3"):
            pack({"Na": 2}, 1.0, 1, ("Na",))


def test_a_packmol_that_hangs_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("packmol.cli.get_binary_path", fake_packmol(tmp_path, "exec sleep 60"))
    monkeypatch.setattr("napos_lmp.structure.packing._SECONDS_BASE", 0.1)
    with pytest.raises(StructureError, match="found no arrangement"):
        pack({"Na": 2}, 1.0, 1, ("Na",))


def test_a_missing_packmol_is_named(monkeypatch):
    def missing():
        raise FileNotFoundError

    monkeypatch.setattr("packmol.cli.get_binary_path", missing)
    with pytest.raises(StructureError, match="packmol program is missing"):
        pack({"Na": 2}, 1.0, 1, ("Na",))


def test_fitted_densities_stay_near_the_measured_ones():
    glasses = fitted_glasses()
    errors = np.array([g.fitted / g.measured - 1 for g in glasses])
    assert len(glasses) == 26
    assert np.sqrt(np.mean(errors**2)) < 0.02
    assert np.abs(errors).max() < 0.06
    assert density.leave_one_out_error() < 0.04
    assert all(volume > 0 for term, volume in molar_volumes().items() if term != ("BP", "O"))


def test_left_out_densities_are_those_of_a_fit_without_the_glass(tmp_path, monkeypatch):
    glasses = fitted_glasses()
    with density.GLASS_DENSITIES.open() as stream:
        table = list(csv.DictReader(stream))
    try:
        for row in (0, 1, 13, 18):
            shorter = tmp_path / "shorter.csv"
            with shorter.open("w", newline="") as stream:
                writer = csv.DictWriter(stream, table[0].keys())
                writer.writeheader()
                writer.writerows(table[:row] + table[row + 1 :])
            monkeypatch.setattr(density, "GLASS_DENSITIES", shorter)
            density._model.cache_clear()
            assert estimate_density(glasses[row].composition).value == pytest.approx(glasses[row].left_out, rel=1e-9)
    finally:
        density._model.cache_clear()
    alone = [g.composition.formula for g in glasses if g.left_out is None]
    assert alone == ["SiO2", "Na2Si2O5", "GeO2"]


@pytest.mark.parametrize(("text", "textbook"), [("B2O3", 1.82), ("P2O5", 2.37), ("Na2SiO3", 2.56), ("GeS2", 2.73)])
def test_glasses_outside_the_table_agree_within_the_stated_uncertainty(text, textbook):
    estimate = estimate_density(Composition.parse(text))
    assert abs(estimate.value - textbook) < 2 * estimate.uncertainty
    assert estimate.uncertainty < 0.15 * estimate.value


def test_the_volume_of_an_oxysulfide_lies_between_sulfide_and_oxide():
    def volume(text: str) -> float:
        composition = Composition.parse(text)
        mass = sum(atomic_mass(e) * float(n) for e, n in composition.amounts.items())
        return mass / estimate_density(composition).value

    sulfide, oxide = volume("Na4P2S7"), volume("Na4P2O7")
    assert oxide < sulfide
    assert volume("Na4P2S5O2") == pytest.approx(sulfide + 2 / 7 * (oxide - sulfide), rel=1e-12)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("Na4P2S7", "within the tabulated compositions"),
        ("Na4P2S5O2", "no oxysulfide is tabulated"),
        ("SiS2", "no tabulated glass holds Si-S"),
        ("Na4P2O7", "extrapolated"),
    ],
)
def test_estimates_say_what_they_rest_on(text, note):
    estimate = estimate_density(Composition.parse(text))
    assert note in estimate.note
    safe = estimate_density(Composition.parse("Na4P2S7"))
    assert estimate.uncertainty / estimate.value >= safe.uncertainty / safe.value


@pytest.mark.parametrize(
    ("composition", "message"),
    [
        (Composition.parse("K2S", {"K": 1}), "no glass with K is tabulated; give the density"),
        (Composition.parse("NaCl", {"Cl": -1}), "no glass with Cl is tabulated"),
        (Composition({"Na": 1, "S": 1}, FORMAL_CHARGES), "not neutral"),
    ],
)
def test_densities_without_any_data_are_refused(composition, message):
    with pytest.raises(StructureError, match=message):
        estimate_density(composition)


def neighbours(structure: Structure, first: str, second: str, cutoff: float) -> tuple[set[int], np.ndarray]:
    """Coordination numbers of `first` by `second`, and the sorted distances, from ASE's neighbour list."""
    i, distances = neighbor_list("id", as_ase(structure), {(first, second): cutoff})
    symbols = np.array(structure.symbols)
    of_first = symbols[i] == first
    return set(np.bincount(i[of_first], minlength=len(symbols))[symbols == first].tolist()), np.sort(distances)


@pytest.mark.parametrize(
    ("name", "atoms", "rho", "pair", "cutoff", "coordination", "distance"),
    [
        ("Na3PS4", 16, 2.21, ("P", "S"), 2.6, 4, 2.054),
        ("SiO2-quartz", 9, 2.649, ("Si", "O"), 2.0, 4, 1.609),
        ("SiO2-cristobalite", 24, 2.174, ("Si", "O"), 2.0, 4, 7.16 * math.sqrt(3) / 8),
        ("SiS2", 12, 2.05, ("Si", "S"), 2.5, 4, 2.133),
    ],
)
def test_crystals_have_their_density_and_bonds(name, atoms, rho, pair, cutoff, coordination, distance):
    structure = crystal(name)
    assert structure.n_atoms == atoms
    assert structure.density == pytest.approx(rho, abs=0.006)
    numbers, distances = neighbours(structure, *pair, cutoff)
    assert numbers == {coordination}
    assert distances == pytest.approx(distance, abs=0.008)
    assert CRYSTALS[name].source


def test_sodium_in_the_thiophosphate_sits_among_sulfur():
    supercell = crystal("Na3PS4", 2)
    assert minimum_distances(supercell, 3.0)["Na", "S"] == pytest.approx(2.802, abs=0.005)
    assert neighbours(supercell, "S", "P", 2.6)[0] == {1}


def test_silicon_disulfide_shares_edges_and_silica_shares_corners():
    for name, anion, cutoff, shared in (("SiS2", "S", 2.5, 2), ("SiO2-quartz", "O", 2.0, 1)):
        structure = crystal(name, 3)
        i, j = neighbor_list("ij", as_ase(structure), {("Si", anion): cutoff})
        bonds = np.zeros((len(structure), len(structure)), dtype=int)
        bonds[i, j] = 1
        silicon = np.array(structure.symbols) == "Si"
        common = (bonds @ bonds)[np.ix_(silicon, silicon)]
        np.fill_diagonal(common, 0)
        assert set(np.unique(common)) == {0, shared}


def test_supercells_repeat_the_crystal():
    one, many = crystal("SiO2-quartz"), crystal("SiO2-quartz", (2, 3, 1), ("Na", "O", "Si"))
    assert many.n_atoms == 6 * one.n_atoms
    assert many.volume == pytest.approx(6 * one.volume)
    assert many.elements == ("Na", "O", "Si")
    assert many.counts == {"O": 36, "Si": 18}
    assert minimum_distances(many) == pytest.approx({("O", "O"): 2.611, ("O", "Si"): 1.604}, abs=1e-3)
    fractional = many.positions @ np.linalg.inv(many.cell)
    assert fractional.min() > -1e-9
    assert fractional.max() < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("NaCl", 1), "crystal 'NaCl' is not known; there are Na3PS4"),
        (("Na3PS4", 0), "repeat is 0"),
        (("Na3PS4", (1, 2)), "repeat is"),
        (("Na3PS4", 1, ("Na", "P", "O")), "holds S, which is not among the elements Na, P, O"),
    ],
)
def test_bad_crystal_requests_name_the_argument(arguments, message):
    with pytest.raises(StructureError, match=message):
        crystal(*arguments)
