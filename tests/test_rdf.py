import json
from itertools import combinations_with_replacement, product

import numpy as np
import pytest
from ase.build import bulk
from MDAnalysis.analysis.rdf import InterRDF
from universes import sodium_thiophosphate, universe_of, universe_of_atoms

from napos_lmp.analysis.averages import BlockedSums, mean_estimate, statistical_inefficiency
from napos_lmp.analysis.neighbours import box_heights, pairs_within
from napos_lmp.analysis.pairs.cutoffs import first_shell
from napos_lmp.analysis.pairs.rdf import PartialRDF
from napos_lmp.errors import AnalysisError

ELEMENTS = ("Na", "P", "S", "O")
CUBE = [20.0, 20.0, 20.0, 90.0, 90.0, 90.0]
LEANING = [22.0, 20.0, 21.0, 75.0, 82.0, 68.0]


def vectors(box):
    from MDAnalysis.lib.mdamath import triclinic_vectors

    return triclinic_vectors(np.array(box, dtype=np.float32)).astype(float)


def random_frames(n_frames, n_atoms, box, seed):
    """Uniformly random positions."""
    return np.random.default_rng(seed).random((n_frames, n_atoms, 3)) @ vectors(box)


def every_distance(positions, box, r_max):
    """Distances of all pairs of atoms and images, by brute force."""
    distances = []
    for image in product(range(-2, 3), repeat=3):
        apart = np.linalg.norm(positions[None] + np.array(image) @ box - positions[:, None], axis=-1)
        if image == (0, 0, 0):
            distances.append(apart[np.triu_indices(len(positions), 1)])
        elif image > (0, 0, 0):
            distances.append(apart.ravel())
    distances = np.concatenate(distances)
    return np.sort(distances[distances <= r_max])


@pytest.mark.parametrize("seed", range(12))
def test_every_pair_is_found_once_in_any_box(seed):
    rng = np.random.default_rng(seed)
    box = np.diag(rng.uniform(6, 14, 3))
    if seed % 2:
        box += np.tril(rng.uniform(-0.5, 0.5, (3, 3)), -1) * np.diag(box)
    if seed % 3 == 2:
        box = box @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    positions = rng.random((int(rng.integers(1, 60)), 3)) @ box
    r_max = float(rng.uniform(1, box_heights(box).min()))
    images = rng.integers(-2, 3, size=positions.shape) @ box
    found = np.linalg.norm(pairs_within(positions + images, box, r_max)[2], axis=1)
    np.testing.assert_allclose(np.sort(found), every_distance(positions, box, r_max), rtol=1e-9)


def test_pair_vectors_lead_from_the_first_atom_to_an_image_of_the_second():
    box = vectors(LEANING)
    positions = np.random.default_rng(0).random((40, 3)) @ box
    first, second, apart = pairs_within(positions, box, 6.0)
    images = (positions[first] + apart - positions[second]) @ np.linalg.inv(box)
    np.testing.assert_allclose(images, np.round(images), atol=1e-9)
    assert np.abs(images).max() > 0.5


@pytest.mark.parametrize("box", [CUBE, LEANING], ids=["cube", "leaning"])
def test_same_numbers_as_mdanalysis_pair_by_pair(box):
    """In all bins with no distance so near to an edge that InterRDF's single precision could move it across."""
    symbols = np.repeat(ELEMENTS, [62, 31, 77, 30])
    frames = random_frames(3, len(symbols), box, seed=3).astype(np.float32)
    universe = universe_of(symbols, frames, box)
    result = PartialRDF(universe, r_max=8.0, bin_width=0.1).run()
    distances = np.concatenate([every_distance(frame.astype(float), vectors(box), 8.1) for frame in frames])
    clear = np.array([np.abs(distances - edge).min() > 1e-5 for edge in result.edges])
    bins = clear[1:] & clear[:-1]
    assert bins.sum() > 60
    for a, b in combinations_with_replacement(ELEMENTS, 2):
        groups = [universe.select_atoms(f"element {e}") for e in (a, b)]
        block = (1, 1) if a == b else None
        reference = InterRDF(*groups, nbins=80, range=(0, 8.0), exclusion_block=block).run().results
        np.testing.assert_allclose(result.edges, reference.edges, rtol=1e-12)
        np.testing.assert_allclose(result.pair(a, b).g[bins], reference.rdf[bins], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("box", [CUBE, LEANING])
def test_total_agrees_with_freud(box):
    """One element, so that the partial g(r) is the total one; freud counts in single precision."""
    import freud

    frames = random_frames(3, 300, box, seed=4)
    ours = PartialRDF(universe_of(["Na"] * 300, frames, box), r_max=8.0, bin_width=0.1).run()
    theirs = freud.density.RDF(bins=80, r_max=8.0)
    cell = freud.box.Box.from_matrix(vectors(box).T)
    for frame in frames:
        theirs.compute((cell, cell.wrap(frame)), reset=False)
    # freud counts N partners of an atom, not N - 1
    np.testing.assert_allclose(ours.pair("Na", "Na").g * 299 / 300, theirs.rdf, atol=0.02)


def test_counts_of_continuous_positions_are_exact():
    box = vectors(LEANING)
    frame = random_frames(1, 150, LEANING, seed=5)[0].astype(np.float32)
    result = PartialRDF(universe_of(["S"] * 150, frame, LEANING), r_max=8.0, bin_width=0.02).run()
    counts = np.histogram(every_distance(frame.astype(float), box, 8.0), bins=result.edges)[0]
    np.testing.assert_allclose(result.pair("S", "S").running["S around S"], 2 * np.cumsum(counts) / 150, rtol=1e-12)


def test_ideal_gas_gives_one_even_when_the_volume_changes():
    rng = np.random.default_rng(7)
    symbols = np.repeat(["Na", "S"], [300, 200])
    boxes = np.array([[length, length, length, 90, 90, 90] for length in rng.uniform(16, 24, 60)])
    frames = rng.random((60, 500, 3)) * boxes[:, None, :3]
    result = PartialRDF(universe_of(symbols, frames, boxes), r_max=7.5, bin_width=0.25).run()
    shells = 4 / 3 * np.pi * np.diff(result.edges**3)
    per_volume = float(np.sum(1 / boxes[:, 0] ** 3))
    for name, pairs in (("Na-Na", 300 * 299 / 2), ("Na-S", 300 * 200), ("S-S", 200 * 199 / 2)):
        deviation = (result.pairs[name].g - 1) * np.sqrt(pairs * shells * per_volume)
        assert abs(np.mean(deviation[4:])) < 1.0
        assert np.std(deviation[4:]) < 1.6
    assert result.volume == pytest.approx(np.mean(boxes[:, 0] ** 3), rel=1e-6)


SHELLS = {  # rock salt: counts up to between the shells, in units of the cell
    ("Na-Cl", "Cl around Na"): {0.60: 6, 0.95: 6 + 8},
    ("Na-Na", "Na around Na"): {0.80: 12, 1.05: 12 + 6},
    ("Cl-Cl", "Cl around Cl"): {0.80: 12, 1.05: 12 + 6},
}


@pytest.mark.parametrize("cell", ["cubic", "primitive"])
def test_shells_of_rock_salt(cell):
    salt = bulk("NaCl", "rocksalt", a=5.65, cubic=cell == "cubic")
    result = PartialRDF(universe_of_atoms(salt.repeat(3 if cell == "cubic" else 5)), r_max=6.0).run()
    for (name, direction), counts in SHELLS.items():
        running = result.pairs[name].running[direction]
        for place, expected in counts.items():
            assert running[np.searchsorted(result.edges, place * 5.65)] == pytest.approx(expected)
    assert result.pairs["Na-Cl"].peak == pytest.approx(5.65 / 2, abs=0.02)


def test_the_cell_that_describes_a_crystal_does_not_matter():
    salt = [bulk("NaCl", "rocksalt", a=5.65, cubic=cubic).repeat(n) for cubic, n in ((True, 3), (False, 5))]
    first, second = (PartialRDF(universe_of_atoms(s), r_max=6.0, bin_width=0.03).run() for s in salt)
    np.testing.assert_allclose(
        first.pairs["Na-Cl"].running["Cl around Na"], second.pairs["Na-Cl"].running["Cl around Na"]
    )
    np.testing.assert_allclose(first.pairs["Na-Cl"].g, second.pairs["Na-Cl"].g, rtol=1e-5)


@pytest.fixture(scope="module")
def warm_crystal():
    """Na3PS4 with every atom displaced at random in each of 60 frames."""
    atoms = sodium_thiophosphate()
    rng = np.random.default_rng(11)
    width = np.where(np.array(atoms.get_chemical_symbols()) == "Na", 0.25, 0.08)[None, :, None]
    frames = atoms.get_positions() + width * rng.normal(size=(60, len(atoms), 3))
    return PartialRDF(universe_of_atoms(atoms, frames)).run()


def test_first_shells_of_sodium_thiophosphate(warm_crystal):
    pair = warm_crystal.pair("S", "P")
    assert pair.peak == pytest.approx(2.05, abs=0.06)
    assert pair.cutoff.source == "data"
    assert 2.4 < pair.cutoff.value < 3.3
    assert pair.coordination["S around P"].value == pytest.approx(4, abs=1e-9)
    assert pair.coordination["P around S"].value == pytest.approx(1, abs=1e-9)
    assert "the same in all 60 frames" in pair.coordination["S around P"].note
    assert warm_crystal.pair("Na", "S").peak == pytest.approx(2.85, abs=0.15)


def test_coordination_has_an_interval(warm_crystal):
    number = warm_crystal.pair("Na", "S").coordination["S around Na"]
    assert number.low < number.value < number.high
    assert number.high - number.low < 0.2
    ratio = warm_crystal.pair("Na", "S").coordination["Na around S"].value / number.value
    assert ratio == pytest.approx(3 / 4)


def test_default_distance_is_half_the_smallest_box(warm_crystal):
    assert warm_crystal.edges[-1] == pytest.approx(10.0)
    small = PartialRDF(universe_of_atoms(sodium_thiophosphate((2, 2, 2)))).run()
    assert 6.92 <= small.edges[-1] < 6.956


def test_wrapped_and_unwrapped_positions_give_the_same():
    frames = random_frames(2, 100, LEANING, seed=2)
    images = np.random.default_rng(3).integers(-3, 4, size=frames.shape) @ vectors(LEANING)
    symbols = ["Na", "S"] * 50
    wrapped = PartialRDF(universe_of(symbols, frames, LEANING), bin_width=0.5).run()
    unwrapped = PartialRDF(universe_of(symbols, frames + images, LEANING), bin_width=0.5).run()
    counts = [run.pairs["Na-S"].running["S around Na"] * 50 for run in (wrapped, unwrapped)]
    assert np.abs(counts[0] - counts[1]).max() <= 0.5  # float32 input: one pair in one of two frames at a bin's edge


def test_part_of_the_frames_and_of_the_atoms():
    frames = random_frames(6, 50, CUBE, seed=9)
    universe = universe_of(["Na", "S"] * 25, frames, CUBE)
    part = PartialRDF(universe.select_atoms("element S"), r_max=9.0).run(start=1, stop=6, step=2)
    alone = PartialRDF(universe_of(["S"] * 25, frames[1:6:2, 1::2], CUBE), r_max=9.0).run()
    assert part.n_frames == 3
    assert list(part.pairs) == ["S-S"]
    np.testing.assert_array_equal(part.pairs["S-S"].g, alone.pairs["S-S"].g)


def test_a_single_atom_has_no_pairs_of_its_own():
    frames = random_frames(3, 40, CUBE, seed=9)
    result = PartialRDF(universe_of(["O"] + ["S"] * 39, frames, CUBE)).run()
    assert np.all(np.isnan(result.pair("O", "O").g))
    assert result.pair("O", "O").coordination["O around O"].note
    assert np.isfinite(result.pair("O", "S").g).all()


# First shells of made-up g(r)


def made_up(peaks, floor, density, seed, r_max=6.0):
    """Edges, counts and ideal counts of a liquid-like g(r): Gaussian peaks (place, width, height) on 1 - gap."""
    edges = np.linspace(0, r_max, 301)
    r = (edges[1:] + edges[:-1]) / 2
    g = sum(height * np.exp(-((r - place) ** 2) / 2 / width**2) for place, width, height in peaks)
    g += floor / (1 + np.exp(-(r - peaks[-1][0] + 2 * peaks[-1][1]) / 0.1))
    ideal = density * 4 * np.pi * r**2 * np.diff(edges)
    return edges, np.random.default_rng(seed).poisson(g * ideal), ideal


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("density", [1000.0, 30.0], ids=["long run", "short run"])
def test_first_minimum_of_a_bond_peak(seed, density):
    peaks = [(2.05, 0.08, 20), (3.6, 0.3, 1.0)]
    shell = first_shell(*made_up(peaks, 0.9, density, seed), fewer=100)
    assert shell.peak == pytest.approx(2.05, abs=0.03)
    assert 2.3 < shell.minimum < 3.1


@pytest.mark.parametrize("seed", range(10))
def test_first_minimum_of_a_broad_peak(seed):
    edges, counts, ideal = made_up([(2.9, 0.3, 2.5), (5.0, 0.5, 0.6)], 0.8, 1000.0, seed)
    shell = first_shell(edges, counts, ideal, fewer=100)
    assert shell.peak == pytest.approx(2.9, abs=0.08)
    assert shell.minimum == pytest.approx(3.75, abs=0.25)


@pytest.mark.parametrize("seed", range(10))
def test_noise_has_no_shell(seed):
    edges = np.linspace(0, 6, 301)
    ideal = 5.0 * np.diff(edges**3)
    counts = np.random.default_rng(seed).poisson(ideal)
    shell = first_shell(edges, counts, ideal, fewer=100)
    assert np.isnan(shell.minimum)
    assert shell.note


def test_split_peak_is_one_shell():
    """P-O in a phosphate: 1.48 and 1.59 A."""
    edges, counts, ideal = made_up([(1.48, 0.03, 60), (1.59, 0.03, 60), (3.2, 0.3, 1)], 0.9, 1000.0, 1)
    assert 1.75 < first_shell(edges, counts, ideal, fewer=100).minimum < 2.8


def test_a_few_homopolar_bonds_are_no_first_shell():
    edges, counts, ideal = made_up([(2.2, 0.06, 0.0), (3.4, 0.2, 2), (5.4, 0.3, 0.6)], 0.7, 100.0, 2)
    counts[108:112] += 3
    assert first_shell(edges, counts, ideal, fewer=1000).peak == pytest.approx(3.4, abs=0.1)


def test_without_a_minimum_the_table_is_used_and_named():
    universe = universe_of(["P", "S"], [[1, 1, 1], [3, 1, 1]], CUBE)
    cutoff = PartialRDF(universe).run().pair("P", "S").cutoff
    assert (cutoff.value, cutoff.source) == (2.6, "table")
    assert cutoff.note
    near = PartialRDF(universe, r_max=2.4).run().pair("P", "S")
    assert near.cutoff.source == "none"
    assert "beyond r_max" in near.coordination["S around P"].note
    assert PartialRDF(universe_of(["P", "Na"], np.eye(2, 3), CUBE)).run().pair("P", "Na").cutoff.source == "none"


# Means over frames


def correlated(memory, n, seed):
    """First-order autoregressive series of mean 0 and variance 1."""
    rng = np.random.default_rng(seed)
    values = np.empty(n)
    values[0] = rng.normal()
    for t, kick in enumerate(np.sqrt(1 - memory**2) * rng.normal(size=n - 1)):
        values[t + 1] = memory * values[t] + kick
    return values


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
def test_intervals_cover_the_truth(memory):
    """95 % intervals of 200 series; the count of hits is binomial, 3 sigma of 0.93 is 176."""
    estimates = [mean_estimate(correlated(memory, 1000, seed), "") for seed in range(200)]
    assert sum(e.low < 0 < e.high for e in estimates) >= 176


@pytest.mark.parametrize("memory", [0.0, 0.6, 0.9])
def test_statistical_inefficiency_of_a_known_process(memory):
    found = np.mean([statistical_inefficiency(correlated(memory, 4000, seed)) for seed in range(20)])
    assert found == pytest.approx((1 + memory) / (1 - memory), rel=0.15)


def test_too_few_or_too_alike_frames_have_no_interval():
    assert "7 frames" in mean_estimate(np.arange(7.0), "A").note
    assert "change too slowly: 1 of the 4 independent blocks" in mean_estimate(np.linspace(0, 1, 30), "A").note
    constant = mean_estimate(np.ones(50), "A")
    assert np.isnan(constant.low)
    assert "the same in all 50 frames" in constant.note


def test_blocked_sums_forget_nothing_and_stay_small():
    sums = BlockedSums((2,))
    for frame in range(1001):
        sums.add(np.array([1, frame]))
    assert sums.frames == 1001
    assert sums.total.tolist() == [1001, 500500]
    assert len(sums.block_means) < 128
    np.testing.assert_allclose(sums.block_means[:, 0], 1)
    assert sums.block_means[0, 1] == pytest.approx((sums.length - 1) / 2)


# Output and bad input


def test_result_is_saved(tmp_path, warm_crystal):
    warm_crystal.to_csv(tmp_path / "rdf.csv")
    warm_crystal.shells().to_csv(tmp_path / "shells.csv")
    header, first, *_ = (tmp_path / "rdf.csv").read_text().splitlines()
    assert header.startswith("r_A,g_Na-Na,g_Na-P,")
    assert "n_S_around_P" in header
    assert float(first.split(",")[0]) == pytest.approx(0.01)
    rows = (tmp_path / "shells.csv").read_text().splitlines()
    assert rows[0].startswith("neighbours,first_peak_A,")
    assert any(row.startswith("S around P,") and ",data,4," in row for row in rows)
    saved = json.loads(json.dumps(warm_crystal.as_dict(), allow_nan=False))
    assert saved["pairs"]["P-S"]["cutoff"]["source"] == "data"


def test_plot_draws_the_pairs_asked_for(warm_crystal):
    from matplotlib.figure import Figure

    ax = warm_crystal.plot(Figure().subplots(), pairs=["P-S"])
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), warm_crystal.pair("P", "S").g)
    assert len(warm_crystal.plot(Figure().subplots()).lines) == len(warm_crystal.pairs) + 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"r_max": 10.5}, "r_max is 10.5 A; it must be at most half the smallest height of the box, 10.00 A"),
        ({"r_max": -1.0}, "r_max is -1.0 A; it must be positive"),
        ({"r_max": 1.0, "bin_width": 0.7}, "bin_width is 0.7 A"),
        ({"bin_width": 0.0}, "bin_width is 0.0 A"),
    ],
)
def test_bad_parameters(options, message):
    with pytest.raises(AnalysisError, match=message):
        PartialRDF(universe_of(["S"] * 5, random_frames(1, 5, CUBE, 0), CUBE), **options).run()


def test_a_box_that_shrinks_below_twice_r_max_is_refused():
    boxes = [CUBE, [18.0, 20, 20, 90, 90, 90]]
    with pytest.raises(AnalysisError, match=r"9\.00 A"):
        PartialRDF(universe_of(["S"] * 5, random_frames(2, 5, CUBE, 0), boxes), r_max=9.5).run()


def test_systems_that_cannot_be_measured():
    frames = random_frames(2, 4, CUBE, 0)
    with pytest.raises(AnalysisError, match="no periodic box"):
        PartialRDF(universe_of(["S"] * 4, frames, None))
    with pytest.raises(AnalysisError, match="select none of the trajectory's 2 frames"):
        PartialRDF(universe_of(["S"] * 4, frames, CUBE)).run(start=2)
    with pytest.raises(AnalysisError, match="holds no atom"):
        PartialRDF(universe_of(["S"] * 4, frames, CUBE).select_atoms("element P"))
    with pytest.raises(AnalysisError, match="pair P-S is not in the system; it has S-S"):
        PartialRDF(universe_of(["S"] * 4, frames, CUBE)).run().pair("P", "S")
    bare = universe_of(["S"] * 4, frames, CUBE)
    bare.del_TopologyAttr("elements")
    with pytest.raises(AnalysisError, match="has no elements"):
        PartialRDF(bare)
