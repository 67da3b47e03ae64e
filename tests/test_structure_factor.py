import json

import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from universes import sodium_thiophosphate, universe_of, universe_of_atoms

from napos_lmp.analysis.pairs.lorch import check_structure_factor
from napos_lmp.analysis.pairs.rdf import PartialRDF
from napos_lmp.analysis.pairs.reciprocal import VectorSample, complete_up_to
from napos_lmp.analysis.pairs.scattering import charge_weights, faber_ziman_weights, neutron_lengths, xray_form_factors
from napos_lmp.analysis.pairs.structure_factor import StructureFactor
from napos_lmp.analysis.quantities.pairs import structure_factor_check_quantities, structure_factor_quantities
from napos_lmp.errors import AnalysisError

CUBE = [18.0, 18.0, 18.0, 90.0, 90.0, 90.0]
LEANING = [17.0, 15.0, 19.0, 75.0, 82.0, 68.0]
GLASS = {"Na": 40, "P": 20, "S": 70}


def vectors(box):
    from MDAnalysis.lib.mdamath import triclinic_vectors

    return triclinic_vectors(np.array(box, dtype=np.float32)).astype(float)


def any_box(seed, size=8.0):
    rng = np.random.default_rng(seed)
    box = np.diag(rng.uniform(0.6, 1.4, 3)) * size
    if seed % 2:
        box += np.tril(rng.uniform(-0.5, 0.5, (3, 3)), -1) * np.diag(box)
    if seed % 3 == 2:
        box = box @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return box


def all_vectors(box, q_max):
    """Indices and lengths of every reciprocal vector but 0, by brute force."""
    most = int(np.ceil(q_max * np.linalg.norm(box, axis=1).max() / (2 * np.pi)))
    grid = np.stack(np.meshgrid(*[np.arange(-most, most + 1)] * 3), axis=-1).reshape(-1, 3)
    lengths = np.linalg.norm(grid @ (2 * np.pi * np.linalg.inv(box).T), axis=1)
    kept = (lengths > 0) & (lengths <= q_max)
    return grid[kept], lengths[kept]


def gas(n_frames, counts, box, seed):
    symbols = np.repeat(list(counts), list(counts.values()))
    frames = np.random.default_rng(seed).random((n_frames, len(symbols), 3)) @ vectors(box)
    return universe_of(symbols, frames, box)


def spaced(n_frames, counts, length, apart, seed):
    """Random points that keep a distance: short-ranged order like that of a liquid."""
    from scipy.spatial import cKDTree

    rng = np.random.default_rng(seed)
    symbols = np.repeat(list(counts), list(counts.values()))
    frames = rng.random((n_frames, len(symbols), 3)) * length
    for frame in frames:
        while len(close := cKDTree(frame, boxsize=length).query_pairs(apart, output_type="ndarray")):
            moved = np.unique(close[:, 0])
            frame[moved] = rng.random((len(moved), 3)) * length
    return universe_of(symbols, frames, [length] * 3 + [90] * 3)


# Vectors and densities


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_one_of_each_pair_of_vectors_is_taken(seed):
    box = any_box(seed)
    sample = VectorSample.of_box(box, 3.5)
    expected, _ = all_vectors(box, 3.5)
    found = sample.indices()
    assert {tuple(v) for v in np.vstack([found, -found])} == {tuple(v) for v in expected}
    assert 2 * len(found) == len(expected)
    np.testing.assert_allclose(sample.lengths(), np.linalg.norm(sample.vectors(), axis=1), atol=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_densities_are_the_direct_sums(seed):
    box = any_box(seed)
    rng = np.random.default_rng(seed)
    positions, types = rng.normal(size=(200, 3)) * 20, rng.integers(0, 3, 200)
    sample = VectorSample.of_box(box, 6.0, 3.0)
    waves = np.exp(1j * positions @ sample.vectors().T)
    expected = [waves[types == kind].sum(axis=0) for kind in range(3)]
    np.testing.assert_allclose(sample.densities(positions, types, 3), expected, atol=1e-9)


def test_an_element_without_atoms_has_no_density():
    sample = VectorSample.of_box(np.eye(3) * 6, 2.0)
    assert not sample.densities(np.ones((2, 3)), np.zeros(2, dtype=np.int64), 2)[1].any()


@pytest.mark.parametrize("seed", range(4))
def test_a_sample_is_complete_below_and_even_beyond(seed):
    box = any_box(seed, size=24.0)
    complete = complete_up_to(np.linalg.det(box), 0.1, 300)
    sample = VectorSample.of_box(box, 10.0, complete)
    found = {tuple(v) for v in sample.indices()}
    expected, lengths = all_vectors(box, 10.0)
    for low in expected[lengths <= complete]:
        assert tuple(low) in found or tuple(-low) in found
    counts = np.histogram(sample.lengths(), np.arange(np.ceil(complete), 10.1, 0.5))[0] / 5
    np.testing.assert_allclose(counts, 300, rtol=0.12)
    assert complete < 4


def test_a_sample_prefers_no_direction():
    """Second moments of the directions of a shell; the same number of independent directions scatters by 0.007."""
    box = any_box(1, size=30.0)
    sample = VectorSample.of_box(box, 12.0, complete_up_to(np.linalg.det(box), 0.1, 400))
    q = sample.vectors()[sample.lengths() > 6.0]
    unit = q / np.linalg.norm(q, axis=1)[:, None]
    np.testing.assert_allclose(unit.T @ unit / len(q), np.eye(3) / 3, atol=0.02)


# Ideal gas and crystals


def test_ideal_gas():
    """S = 1 within errors; intervals that are as wide as the scatter around 1."""
    result = StructureFactor(gas(60, GLASS, LEANING, seed=1), q_max=8.0).run()
    for name, values in result.partial.items():
        deviation = (values - 1) / (result.partial_error[name] / 1.96)
        assert abs(np.nanmean(deviation)) < 0.35
        assert 0.8 < np.nanstd(deviation) < 1.25
    for radiation in ("neutron", "xray"):
        assert np.mean(result.total[radiation]) == pytest.approx(1, abs=0.02)
        assert "no peak below 2.5" in result.sharp_peak[radiation].refused


def test_bragg_peaks_of_rock_salt():
    """N - 1 where all indices of the cell are even or odd, -1 elsewhere; Na-Cl with the sign of h + k + l."""
    cell, repeat = 5.64, 3
    salt = bulk("NaCl", "rocksalt", a=cell, cubic=True).repeat(repeat)
    result = StructureFactor(universe_of_atoms(salt), q_max=6.03, bin_width=0.0603, vectors_per_bin=10**6).run()
    assert result.q_complete == result.q_max
    length, n = cell * repeat, len(salt)
    most = int(6.03 * length / (2 * np.pi))
    hkl = np.stack(np.meshgrid(*[np.arange(-most, most + 1)] * 3), axis=-1).reshape(-1, 3)
    q = 2 * np.pi / length * np.linalg.norm(hkl, axis=1)
    hkl, q = hkl[(q > 0) & (q <= 6.03)], q[(q > 0) & (q <= 6.03)]
    parity = (hkl // repeat) % 2
    bragg = np.all(hkl % repeat == 0, axis=1) & (parity.min(axis=1) == parity.max(axis=1))
    sign = np.where(parity[:, 0] == 0, 1, -1)
    place = (q / 6.03 * 100).astype(int)
    held = np.bincount(place, minlength=100)
    full = held > 0
    b_na, b_cl = 3.63, 9.577  # fm, Sears
    mean = (b_na + b_cl) / 2
    expected = {
        "Na-Na": np.where(bragg, n - 1, -1),
        "Cl-Cl": np.where(bragg, n - 1, -1),
        "Na-Cl": np.where(bragg, 1 + sign * n, 1),
        "neutron": 1 + (np.where(bragg, n / 4 * (b_na + sign * b_cl) ** 2, 0) - (b_na**2 + b_cl**2) / 2) / mean**2,
    }
    np.testing.assert_array_equal(result.vectors, held[full] / 2)
    np.testing.assert_allclose(result.q, np.bincount(place, q, 100)[full] / held[full], rtol=1e-6)
    for name, values in expected.items():
        curve = result.partial.get(name, result.total.get(name))
        binned = np.bincount(place, values, 100)[full] / held[full]
        np.testing.assert_allclose(curve, binned, rtol=1e-3, atol=1e-3)


def test_the_cell_that_describes_a_crystal_does_not_matter():
    """Bragg peaks of fcc from a cubic cell and from a primitive one of other shape."""
    cubic, primitive = (bulk("Cu", "fcc", a=3.6, cubic=c).repeat(n) for c, n in ((True, 3), (False, 4)))
    first, second = (
        StructureFactor(universe_of_atoms(atoms), q_max=6.0, bin_width=0.03, vectors_per_bin=10**6).run()
        for atoms in (cubic, primitive)
    )
    for peak in (np.sqrt(3), 2.0, np.sqrt(8)):
        sums = []
        for result, n in ((first, len(cubic)), (second, len(primitive))):
            near = np.abs(result.q - 2 * np.pi / 3.6 * peak) < 0.02
            sums.append(float(np.sum((result.partial["Cu-Cu"] * result.vectors)[near])) / n)
        assert round(sums[0]) == round(sums[1]) == {3: 4, 4: 3, 8: 6}[round(peak**2)]


# Other programs


@pytest.mark.parametrize("box", [CUBE, LEANING], ids=["cube", "leaning"])
def test_same_numbers_as_dynasor_on_the_same_vectors(box, tmp_path):
    import MDAnalysis
    from dynasor import Trajectory, compute_static_structure_factors
    from dynasor.post_processing import NeutronScatteringLengths, XRayFormFactors, get_weighted_sample

    universe = spaced(3, GLASS, 18.0, 1.5, seed=2) if box is CUBE else gas(3, GLASS, box, seed=2)
    with MDAnalysis.Writer(str(tmp_path / "frames.dcd"), universe.atoms.n_atoms) as writer:
        for _ in universe.trajectory:
            writer.write(universe.atoms)
    symbols = universe.atoms.elements
    written = MDAnalysis.Universe.empty(len(symbols), trajectory=True)
    written.add_TopologyAttr("elements", symbols)
    written.load_new(str(tmp_path / "frames.dcd"))
    ours = StructureFactor(written, q_max=8.0, vectors_per_bin=100).run()

    written.trajectory[0]
    cell = vectors(box)
    sample = VectorSample.of_box(cell, 8.0, complete_up_to(np.linalg.det(cell), 0.05, 100))
    indices = {e: np.flatnonzero(symbols == e).tolist() for e in GLASS}
    (tmp_path / "frames.xyz").write_text(
        "".join(
            f'{len(symbols)}\nLattice="{" ".join(map(str, cell.ravel()))}" Properties=species:S:1:pos:R:3 pbc="T T T"\n'
            + "".join(
                f"{s} {x:.9f} {y:.9f} {z:.9f}\n" for s, (x, y, z) in zip(symbols, written.atoms.positions, strict=True)
            )
            for _ in written.trajectory
        )
    )
    trajectory = Trajectory(str(tmp_path / "frames.xyz"), trajectory_format="extxyz", atomic_indices=indices)
    theirs = compute_static_structure_factors(trajectory, sample.vectors())
    place = np.minimum((sample.lengths() / 8.0 * 160).astype(int), 159)
    held = np.bincount(place, minlength=160)
    n = len(symbols)

    def binned(values):
        return (np.bincount(place, np.ravel(values), 160) / np.maximum(held, 1))[held > 0]

    for name, values in ours.partial.items():
        a, b = name.split("-")
        key = f"Sq_{a}_{b}" if f"Sq_{a}_{b}" in theirs.available_correlation_functions else f"Sq_{b}_{a}"
        products = binned(theirs[key]) * n / (1 if a == b else 2)
        expected = 1 + n / (GLASS[a] * GLASS[b]) * products - (n / GLASS[a] if a == b else 0)
        np.testing.assert_allclose(values, expected, atol=2e-4)
    shares = np.array(list(GLASS.values())) / n
    for radiation, weights, tolerance in (
        ("neutron", NeutronScatteringLengths(list(GLASS)), 0.01),
        ("xray", XRayFormFactors(list(GLASS)), 0.01),
    ):
        total = binned(get_weighted_sample(theirs, weights).Sq)
        factors = np.array([[weights.get_weight_coh(e, q) for q in ours.q] for e in GLASS])
        expected = 1 + (total - shares @ np.abs(factors) ** 2) / np.abs(shares @ factors) ** 2
        np.testing.assert_allclose(ours.total[radiation], expected.real, atol=tolerance * 3)


def test_agrees_with_freud():
    """Partial S(q); freud leaves vectors out even when asked for all, but for those in the bin of the shortest."""
    import freud

    universe = spaced(40, {"Na": 50, "S": 70}, 13.0, 1.9, seed=3)
    ours = StructureFactor(universe, q_max=6.0, bin_width=0.25, vectors_per_bin=10**6).run()
    box = freud.box.Box.cube(13.0)
    for a, b in (("Na", "Na"), ("Na", "S"), ("S", "S")):
        theirs = freud.diffraction.StaticStructureFactorDirect(bins=24, k_max=6.0, num_sampled_k_points=0)
        for _ in universe.trajectory:
            first, second = (box.wrap(universe.atoms.positions[universe.atoms.elements == e]) for e in (a, b))
            theirs.compute((box, first), query_points=second, N_total=120, reset=False)
        shares = len(first) / 120, len(second) / 120
        # as freud's documentation converts its norm; its first bin holds k = 0 only
        expected = theirs.S_k[1:] / np.prod(shares) + 1 - (1 / shares[0] if a == b else 0)
        assert ours.partial[f"{a}-{b}"][0] == pytest.approx(expected[0], abs=1e-3)
        np.testing.assert_allclose(ours.partial[f"{a}-{b}"], expected, atol=0.2)
        assert np.mean(ours.partial[f"{a}-{b}"] - expected) == pytest.approx(0, abs=0.02)


def test_frames_with_boxes_of_their_own_are_summed_directly():
    """Changing triclinic boxes: a plain sum over the vectors of each frame, bin by bin."""
    rng = np.random.default_rng(5)
    boxes = np.array(LEANING) + np.column_stack([rng.normal(size=(4, 3)), rng.normal(size=(4, 3)) * 3])
    symbols = np.repeat(["P", "O"], [25, 35])
    frames = [rng.random((60, 3)) @ vectors(box) for box in boxes]
    result = StructureFactor(universe_of(symbols, frames, boxes), q_max=3.0, bin_width=0.15).run()
    sums, held = np.zeros(20), np.zeros(20)
    for frame, box in zip(frames, boxes, strict=True):
        indices, lengths = all_vectors(vectors(box), 3.0)
        waves = np.exp(1j * frame @ (indices @ (2 * np.pi * np.linalg.inv(vectors(box)).T)).T)
        product = (waves[:25].sum(axis=0) * waves[25:].sum(axis=0).conj()).real
        place = (lengths / 0.15).astype(int)
        sums += np.bincount(place, product, 20)
        held += np.bincount(place, minlength=20)
    expected = 1 + 60 / (25 * 35) * (sums / np.maximum(held, 1))[held > 0]
    np.testing.assert_allclose(result.partial["P-O"], expected, atol=1e-3)
    assert result.density == pytest.approx(60 / np.mean([np.linalg.det(vectors(box)) for box in boxes]), rel=1e-6)
    shortest = min(all_vectors(vectors(box), 3.0)[1].min() for box in boxes)
    assert result.q_smallest == pytest.approx(shortest, rel=1e-6)


def test_the_number_of_workers_does_not_matter(monkeypatch):
    monkeypatch.setattr("napos_lmp.analysis.frames._WORTH_WORKERS_S", 0.0)
    universe = gas(5, GLASS, CUBE, seed=8)
    alone, together = (StructureFactor(universe, q_max=5.0).run(workers=n) for n in (1, 2))
    np.testing.assert_allclose(alone.partial["P-S"], together.partial["P-S"], atol=1e-9)


# From g(r)


def test_the_same_from_pairs_with_a_lorch_window():
    counts = {"Na": 300, "S": 500}
    universe = spaced(12, counts, 27.0, 2.1, seed=4)
    direct = StructureFactor(universe, q_max=16.0).run()
    check = check_structure_factor(direct, PartialRDF(universe, r_max=13.0).run())
    assert np.ptp(check.direct["neutron"]) > 0.3
    for name, deviation in check.deviation.items():
        assert deviation < 0.02, name
        assert np.corrcoef(check.direct[name], check.from_pairs[name])[0, 1] > 0.9
    assert {q.key for q in structure_factor_check_quantities(check)} == {
        "structure_factor_check.neutron",
        "structure_factor_check.xray",
    }


def test_a_wrong_density_shows_in_the_check():
    import dataclasses

    universe = spaced(6, {"S": 500}, 23.0, 2.2, seed=4)
    direct, pairs = StructureFactor(universe, q_max=16.0).run(), PartialRDF(universe, r_max=11.0).run()
    right = check_structure_factor(direct, pairs).deviation["S-S"]
    wrong = check_structure_factor(direct, dataclasses.replace(pairs, density=pairs.density * 1.3)).deviation["S-S"]
    assert wrong > 2 * right


def test_the_check_needs_room():
    universe = gas(2, GLASS, CUBE, seed=1)
    direct = StructureFactor(universe, q_max=2.0).run()
    with pytest.raises(AnalysisError, match=r"q_max is 2 1/A; to check S\(q\) with g\(r\) up to 9 A it must exceed"):
        check_structure_factor(direct, PartialRDF(universe, r_max=9.0).run())


# Scattering factors


def test_scattering_lengths_and_form_factors_against_dynasor():
    from dynasor.post_processing import NeutronScatteringLengths, XRayFormFactors

    elements = ["Na", "P", "S", "O", "Si", "B", "Ge"]
    theirs = NeutronScatteringLengths(elements)
    np.testing.assert_allclose(
        neutron_lengths(elements), [np.real(theirs.get_weight_coh(e)) for e in elements], rtol=2e-3
    )
    q = np.linspace(0, 20, 41)
    form = XRayFormFactors(elements)
    expected = [[form.get_weight_coh(e, value) for value in q] for e in elements]
    # dynasor's Na and B lack 0.08 electrons at q = 0
    np.testing.assert_allclose(xray_form_factors(elements, q), expected, atol=0.09)
    np.testing.assert_allclose(xray_form_factors(elements, np.zeros(1))[:, 0], [11, 15, 16, 8, 14, 5, 32], atol=0.02)


def test_weights_sum_to_one():
    q = np.linspace(0, 25, 6)
    for radiation in ("neutron", "xray"):
        np.testing.assert_allclose(sum(faber_ziman_weights(radiation, GLASS, q).values()), 1, rtol=1e-12)
    assert sum(charge_weights(GLASS).values()) == pytest.approx(1)
    near_zero = faber_ziman_weights("xray", GLASS, np.zeros(1))
    for name, weight in charge_weights(GLASS).items():
        assert near_zero[name][0] == pytest.approx(weight, rel=3e-3)


def test_mixtures_that_scatter_nothing_are_refused():
    with pytest.raises(AnalysisError, match="Ti, Zr for neutrons cancel in the mean"):
        faber_ziman_weights("neutron", {"Ti": 676, "Zr": 324}, np.zeros(1))
    result = StructureFactor(gas(1, {"Po": 5, "S": 20}, CUBE, seed=0), q_max=3.0).run()
    assert "Po has no tabulated neutron scattering length" in result.refusals["neutron"]
    assert set(result.total) == {"xray"}
    refused = {q.key: q.refused for q in structure_factor_quantities(result)}
    assert "Po has no tabulated" in refused["fsdp.neutron.position"]


# First sharp diffraction peak


def layered(n_frames, seed, spacing=5.2, length=26.0):
    """Points whose density waves along x, y and z with a period: one broad peak at 2 pi / spacing."""
    rng = np.random.default_rng(seed)
    base = np.stack(np.meshgrid(*[np.arange(0, length, spacing)] * 3), axis=-1).reshape(-1, 3)
    frames = base + rng.normal(size=(n_frames, len(base), 3)) * 0.7
    return universe_of(["S"] * len(base), frames, [length] * 3 + [90] * 3)


def test_first_sharp_peak_of_a_simple_lattice():
    result = StructureFactor(layered(40, 1), q_max=5.0, bin_width=0.05).run()
    peak = result.sharp_peak["neutron"]
    assert not peak.refused
    assert peak.position.value == pytest.approx(2 * np.pi / 5.2, abs=0.02)
    # Debye-Waller factor; 3 of the vectors in the bin are Bragg peaks of the 125 sites
    near = np.argmin(np.abs(result.q - 2 * np.pi / 5.2))
    factor = np.exp(-((2 * np.pi / 5.2) ** 2) * 0.49)
    expected = 1 - factor + 125 * factor * 3 / result.vectors[near]
    assert result.total["neutron"][near] == pytest.approx(expected, rel=0.1)
    assert peak.height.low < peak.height.value < peak.height.high


def test_a_box_too_small_for_the_peak_is_told():
    cell = bulk("Cu", "fcc", a=5.2, cubic=True)
    frames = cell.get_positions() + 0.3 * np.random.default_rng(1).normal(size=(10, 4, 3))
    result = StructureFactor(universe_of_atoms(cell, frames), q_max=6.0).run()
    assert "the smallest wave number of the box is 1.21 1/Å" in result.sharp_peak["neutron"].refused


# Output and bad input


def test_result_is_saved_and_drawn(tmp_path):
    from matplotlib.figure import Figure

    atoms = sodium_thiophosphate((2, 2, 2))
    frames = atoms.get_positions() + 0.1 * np.random.default_rng(0).normal(size=(10, len(atoms), 3))
    result = StructureFactor(universe_of_atoms(atoms, frames), q_max=12.0).run()
    result.to_csv(tmp_path / "sq.csv")
    header, first, *_ = (tmp_path / "sq.csv").read_text().splitlines()
    assert header.startswith("q_1/A,vectors,S_neutron,S_neutron_error,S_xray,S_xray_error,S_Na-Na,S_Na-Na_error,")
    assert float(first.split(",")[0]) == pytest.approx(result.q_smallest)
    saved = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert saved["n_frames"] == 10
    assert len(result.plot(Figure().subplots()).lines) == 3
    np.testing.assert_array_equal(
        result.plot(Figure().subplots(), curves=["P-S"]).lines[0].get_ydata(), result.partial["P-S"]
    )
    keys = [q.key for q in structure_factor_quantities(result)]
    assert {"fsdp.neutron.position", "fsdp.xray.width", "q_smallest", "q_complete"} <= set(keys)
    check = check_structure_factor(result, PartialRDF(universe_of_atoms(atoms, frames)).run())
    check.to_csv(tmp_path / "check.csv")
    assert "S_neutron_from_pairs" in (tmp_path / "check.csv").read_text().splitlines()[0]
    assert len(check.plot(Figure().subplots()).lines) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"q_max": -1.0}, "q_max is -1.0 1/A; it must be positive and at most 75"),
        ({"q_max": 2.0, "bin_width": 1.5}, "bin_width is 1.5 1/A"),
        ({"vectors_per_bin": 0}, "vectors_per_bin is 0; it must be at least 1"),
    ],
)
def test_bad_parameters(options, message):
    with pytest.raises(AnalysisError, match=message):
        StructureFactor(gas(1, GLASS, CUBE, seed=0), **options)


def test_systems_that_cannot_be_measured():
    with pytest.raises(AnalysisError, match="the box of frame 0 has no reciprocal vector that short"):
        StructureFactor(gas(1, GLASS, CUBE, seed=0), q_max=0.2, bin_width=0.05).run()
    with pytest.raises(AnalysisError, match="no periodic box"):
        StructureFactor(universe_of(["S"] * 3, np.eye(3), None))
    with pytest.raises(AnalysisError, match="select none of the trajectory's 1 frames"):
        StructureFactor(gas(1, GLASS, CUBE, seed=0)).run(start=3)
    with pytest.raises(AnalysisError, match="all 3 frames are identical"):
        StructureFactor(universe_of(["S"] * 3, np.stack([np.eye(3)] * 3), CUBE), q_max=3.0).run()
