import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar
from universes import sodium_thiophosphate, universe_of, universe_of_atoms

from napos_lmp.analysis.pairs.peaks import PairCurve, find_peaks, jackknife, pair_peaks
from napos_lmp.analysis.pairs.rdf import PartialRDF
from napos_lmp.analysis.pairs.total_rdf import TotalRDF, total_rdf
from napos_lmp.analysis.quantities.pairs import pair_structure_quantities, total_rdf_quantities
from napos_lmp.errors import AnalysisError


def curve_of(g, edges, ideal, n_blocks, seed):
    """Poisson counts of a g(r) in blocks; `ideal` is the pairs of an ideal gas in each bin and block."""
    counts = np.random.default_rng(seed).poisson(g * ideal, size=(n_blocks, len(g)))
    variance = np.maximum(counts.sum(axis=0), 0.2) / (ideal * n_blocks) ** 2
    return PairCurve(edges, counts.mean(axis=0) / ideal, variance, counts / ideal, 1)


def shells(r):
    """Two shells of different width on a rising background."""
    g = 18 * np.exp(-((r - 2.053) ** 2) / 2 / 0.07**2) + 2.5 * np.exp(-((r - 3.411) ** 2) / 2 / 0.25**2)
    return g + 1 / (1 + np.exp(-(r - 3.8) / 0.2))


EDGES = np.linspace(0, 8, 401)
R = (EDGES[1:] + EDGES[:-1]) / 2
IDEAL = 30 * R**2 * 0.02


def true_peak(guess, around):
    top = minimize_scalar(
        lambda x: -shells(x), bounds=(guess - 0.3, guess + 0.3), method="bounded", options={"xatol": 1e-9}
    )
    half = shells(top.x) / 2
    sides = [brentq(lambda x: shells(x) - half, *pair) for pair in ((top.x - around, top.x), (top.x, top.x + around))]
    return top.x, -top.fun, sides[1] - sides[0]


@pytest.mark.parametrize("bin_width", [0.01, 0.02, 0.05])
def test_peaks_of_a_known_curve(bin_width):
    """Without noise: positions to a tenth of a bin, heights and widths to some percent, in any bins."""
    edges = np.arange(0, 8 + bin_width / 2, bin_width)
    fine = np.linspace(edges[:-1], edges[1:], 21, axis=1)
    g = shells(fine).mean(axis=1)
    curve = PairCurve(edges, g, np.full(len(g), 1e-8), np.tile(g, (8, 1)), 1)
    found = [peak for _, peak in pair_peaks(curve)]
    assert len(found) == 2
    for peak, guess, around in zip(found, (2.05, 3.4), (0.3, 0.8), strict=True):
        position, height, width = true_peak(guess, around)
        assert peak.position.value == pytest.approx(position, abs=0.008 if guess > 3 else bin_width / 10)
        assert peak.height.value == pytest.approx(height, rel=0.04)
        if guess < 3:
            assert peak.width.value == pytest.approx(width, rel=0.07 if bin_width > 0.03 else 0.03)
            assert ("narrower bins" in peak.width.note) == (bin_width > 0.03)


@pytest.mark.parametrize("bin_width", [0.02, 0.05])
def test_isolated_molecules_have_the_bond_that_was_put_in(bin_width):
    """P-S pairs 2.05 +- 0.07 A apart: g ~ exp(-(r - 2.05)^2 / 2 0.07^2) / r^2, one neighbour each."""
    rng = np.random.default_rng(0)
    centres = np.stack(np.meshgrid(*[np.arange(0, 42, 7.0)] * 3), axis=-1).reshape(-1, 3)
    frames = []
    for _ in range(40):
        way = rng.normal(size=centres.shape)
        way *= (2.05 + 0.07 * rng.normal(size=(len(centres), 1))) / np.linalg.norm(way, axis=1, keepdims=True)
        frames.append(np.vstack([centres, centres + way]))
    universe = universe_of(["P"] * len(centres) + ["S"] * len(centres), frames, [42, 42, 42, 90, 90, 90])
    pair = PartialRDF(universe, r_max=6.0, bin_width=bin_width).run().pair("P", "S")
    peak = pair.first_shell
    top = (2.05 + np.sqrt(2.05**2 - 8 * 0.07**2)) / 2
    assert peak.position.low < top < peak.position.high
    assert peak.position.value == pytest.approx(top, abs=0.004)
    assert pair.peak == peak.position.value
    assert peak.width.value == pytest.approx(0.07 * 2.3548, rel=0.07 if bin_width > 0.03 else 0.03)
    assert {label: area.value for label, area in peak.area.items()} == {"S around P": 1.0, "P around S": 1.0}
    assert peak.minimum.note == "in an empty gap behind the peak"
    assert 2.3 < peak.minimum.value < 2.8


def test_a_peak_narrower_than_the_bins_is_told():
    atoms = sodium_thiophosphate((2, 2, 2))
    peak = PartialRDF(universe_of_atoms(atoms), r_max=6.0, bin_width=0.05).run().pair("P", "S").first_shell
    assert "take narrower bins" in peak.width.note
    assert peak.area["S around P"].value == pytest.approx(4)


def test_peaks_that_overlap_have_no_width():
    r_edges = np.linspace(0, 8, 401)
    r = (r_edges[1:] + r_edges[:-1]) / 2
    g = np.exp(-((r - 3) ** 2) / 2 / 0.2**2) * 3 + np.exp(-((r - 3.6) ** 2) / 2 / 0.2**2) * 3 + (r > 2.9)
    curve = PairCurve(r_edges, g, np.full(400, 1e-6), np.tile(g, (8, 1)), 1)
    peaks = [peak for _, peak in pair_peaks(curve)]
    assert len(peaks) == 2
    assert np.isnan(peaks[0].width.value)
    assert "does not fall to half" in peaks[0].width.note


def test_areas_of_all_peaks_tile_the_running_coordination():
    atoms = sodium_thiophosphate((3, 3, 3))
    frames = atoms.get_positions() + 0.1 * np.random.default_rng(1).normal(size=(12, len(atoms), 3))
    result = PartialRDF(universe_of_atoms(atoms, frames)).run()
    for pair in result.pairs.values():
        for label, running in pair.running.items():
            total = sum(peak.area[label].value for peak in pair.peaks)
            assert np.min(np.abs(running - total)) < 1e-9 * max(1.0, total)


def test_intervals_of_peaks_cover_the_truth():
    """95 % intervals of 60 runs for position, height and minimum; 3 sigma of a binomial at 0.9 is 47."""
    hits = np.zeros(2)
    position, height, _ = true_peak(2.05, 0.3)
    for seed in range(60):
        peak = pair_peaks(curve_of(shells(R), EDGES, IDEAL, 24, seed))[0][1]
        hits += [peak.position.low < position < peak.position.high, peak.height.low < height < peak.height.high]
    assert hits.min() >= 47


def test_noise_has_no_peaks():
    for seed in range(10):
        assert pair_peaks(curve_of(np.ones(400), EDGES, IDEAL, 10, seed)) == []


def test_jackknife_of_a_mean_is_the_interval_of_the_mean():
    from napos_lmp.analysis.averages import mean_estimate

    values = np.random.default_rng(0).normal(size=30)
    (ours,) = jackknife(values[:, None], values.mean(keepdims=True), 1, lambda means: means[:, :1], ["A"])
    expected = mean_estimate(values, "A")
    np.testing.assert_allclose([ours.value, ours.low, ours.high], [expected.value, expected.low, expected.high])


def test_jackknife_without_enough_frames():
    (one,) = jackknife(np.ones((1, 2)), np.ones(2), 1, lambda means: means[:, :1], ["A"])
    assert np.isnan(one.low)
    assert one.note
    blocks = np.eye(10)
    (gone,) = jackknife(blocks, blocks.mean(axis=0), 1, lambda m: np.where(m[:, 3:4] > 0, 1.0, np.nan), ["A"])
    assert gone.note == "not there in every block of frames"


def test_a_peak_needs_both_sides():
    falling = np.linspace(3, 0, 50)
    assert find_peaks(falling, np.full(50, 0.1)) == []
    assert find_peaks(falling[::-1], np.full(50, 0.1)) == []
    bump = np.concatenate([falling[::-1], falling])
    (place,) = find_peaks(bump, np.full(100, 0.1))
    assert place.left < place.top < place.right == 99


# Finite size


def test_pairs_within_and_beyond_make_up_all():
    universe = universe_of(["S"] * 80, np.random.default_rng(2).random((12, 80, 3)) * 14, [14, 14, 14, 90, 90, 90])
    result = PartialRDF(universe, r_max=5.0).run()
    shells = 4 / 3 * np.pi * np.diff(result.edges**3)
    pair = result.pair("S", "S")
    whole = (pair.g * shells).sum() + pair.beyond * (14.0**3 - shells.sum())
    assert whole == pytest.approx(14.0**3, rel=1e-6)
    assert pair.beyond == pytest.approx(1, abs=0.05)
    assert pair.tail.low < 1 < pair.tail.high
    assert result.r_limit == pytest.approx(7, rel=1e-6)


def test_excluded_volume_raises_the_tail_of_a_small_system():
    """Points on a lattice of fixed distances leave a hole around each atom that the rest of the box makes up for."""
    rng = np.random.default_rng(3)
    frames = np.stack(
        [rng.permutation(np.stack(np.meshgrid(*[np.arange(4)] * 3), -1).reshape(-1, 3))[:32] for _ in range(200)]
    )
    frames = frames * 3.0 + rng.normal(size=frames.shape) * 0.4
    pair = PartialRDF(universe_of(["S"] * 32, frames, [12, 12, 12, 90, 90, 90]), r_max=2.0).run().pair("S", "S")
    volume, sphere = 12.0**3, 4 / 3 * np.pi * 2.0**3
    found = pair.running["S around S"][-1]
    assert pair.beyond == pytest.approx((31 - found) / 31 * volume / (volume - sphere), rel=1e-6)
    assert pair.beyond > 1.01


# Totals


def test_total_of_rock_salt_gives_its_coordination_back():
    """int r T(r) dr over the first peak is the weighted sum of neighbours: 2 c b_Na b_Cl 6 / <b>^2."""
    from ase.build import bulk

    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat(3)
    frames = atoms.get_positions() + 0.08 * np.random.default_rng(0).normal(size=(12, len(atoms), 3))
    totals = TotalRDF(universe_of_atoms(atoms, frames), r_max=8.0).run()
    near = totals.r < 3.4
    for radiation, (sodium, chlorine) in {"neutron": (3.63, 9.577), "xray": (11, 17)}.items():
        area = float(np.sum((totals.r * totals.total[radiation])[near]) * (totals.r[1] - totals.r[0]))
        expected = 2 * 0.5 * sodium * chlorine * 6 / ((sodium + chlorine) / 2) ** 2
        assert area == pytest.approx(expected, rel=2e-3)
        assert totals.peaks[radiation][0].position.value == pytest.approx(2.82, abs=0.02)
        assert sum(totals.weights[radiation].values()) == pytest.approx(1)


def test_total_of_alike_atoms_is_that_of_mdanalysis():
    """Na and a second element that scatters alike cannot be told apart: InterRDF over all atoms."""
    from MDAnalysis.analysis.rdf import InterRDF

    frames = np.random.default_rng(1).random((4, 160, 3)) * 16
    universe = universe_of(["Na"] * 90 + ["S"] * 70, frames, [16, 16, 16, 90, 90, 90])
    pairs = PartialRDF(universe, r_max=7.5, bin_width=0.25).run()
    shares = {"Na-Na": 90 * 89, "Na-S": 2 * 90 * 70, "S-S": 70 * 69}
    mixed = pairs.mixed({name: share / (160 * 159) for name, share in shares.items()})
    reference = InterRDF(universe.atoms, universe.atoms, nbins=30, range=(0, 7.5), exclusion_block=(1, 1)).run().results
    np.testing.assert_allclose(mixed.g, reference.rdf, rtol=2e-3)
    np.testing.assert_allclose(mixed.blocks.mean(axis=0), mixed.g, rtol=1e-9)


def test_totals_from_pairs_or_from_a_trajectory():
    frames = np.random.default_rng(1).random((4, 40, 3)) * 16
    universe = universe_of(["Na"] * 25 + ["S"] * 15, frames, [16, 16, 16, 90, 90, 90])
    pairs = PartialRDF(universe).run(stop=2)
    for totals in (TotalRDF(pairs).run(), total_rdf(pairs), TotalRDF(universe).run(stop=2)):
        np.testing.assert_array_equal(totals.g["xray"], pairs.mixed(totals.weights["xray"]).g)
        assert totals.density == pytest.approx(40 / 16**3, rel=1e-6)


def test_totals_that_cannot_be_made_are_refused():
    frames = np.random.default_rng(1).random((2, 40, 3)) * 16
    totals = TotalRDF(universe_of(["Po"] * 25 + ["S"] * 15, frames, [16, 16, 16, 90, 90, 90])).run()
    assert set(totals.g) == {"xray"}
    assert "Po has no tabulated neutron scattering length" in totals.refusals["neutron"]
    assert "Po has no" in {q.key: q.refused for q in total_rdf_quantities(totals)}["total_peak.neutron"]
    with pytest.raises(AnalysisError, match="r_max is 9"):
        TotalRDF(universe_of(["S"] * 40, frames, [16, 16, 16, 90, 90, 90]), r_max=9.0).run()


def test_tables_quantities_and_plots(tmp_path):
    from matplotlib.figure import Figure

    atoms = sodium_thiophosphate((3, 3, 3))
    frames = atoms.get_positions() + 0.1 * np.random.default_rng(1).normal(size=(12, len(atoms), 3))
    pairs = PartialRDF(universe_of_atoms(atoms, frames)).run()
    pairs.peak_table().to_csv(tmp_path / "peaks.csv")
    rows = (tmp_path / "peaks.csv").read_text().splitlines()
    assert rows[0].startswith("neighbours,peak,position_A,position_low_A,position_high_A,position_note,height,")
    assert sum(row.startswith("S around P,1,2.0") for row in rows) == 1
    totals = total_rdf(pairs)
    totals.to_csv(tmp_path / "total.csv")
    assert (tmp_path / "total.csv").read_text().startswith("r_A,g_neutron,T_neutron_1/A2,g_xray,T_xray_1/A2")
    assert len(totals.plot(Figure().subplots()).lines) == 3
    quantities = [*pair_structure_quantities(pairs), *total_rdf_quantities(totals)]
    keys = {quantity.key: quantity for quantity in quantities}
    assert len(keys) == len(quantities) <= 40
    assert keys["total_peak.neutron.1"].value == pytest.approx(2.05, abs=0.03)
    assert keys["peak_width.P-S"].value == pytest.approx(2.3548 * 0.1 * np.sqrt(2), rel=0.06)
    assert keys["r_limit"].value > keys["r_max"].value
