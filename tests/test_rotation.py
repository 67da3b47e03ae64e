"""Rotation of groups against rigid tetrahedra that diffuse in orientation, stand still, break, or turn at jumps."""

import MDAnalysis
import numpy as np
import pytest
from MDAnalysis.coordinates.memory import MemoryReader
from scipy.spatial.transform import Rotation

from napos_lmp.analysis.mechanism.rotation import GroupRotation, rotation_angles
from napos_lmp.analysis.mechanism.rotation_jumps import rotation_near_jumps
from napos_lmp.analysis.mechanism.stretches import GroupHistories
from napos_lmp.analysis.quantities.rotation import measure_rotation
from napos_lmp.errors import AnalysisError

CORNERS = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
SPACING = 8.0
CUTOFFS = {"P-S": 2.6}
INTERVAL = 0.1


def diffusing(n: int, frames: int, diffusion: float, seed: int = 1) -> np.ndarray:
    """Orientations (frames, n) of bodies that diffuse with D_r in 1/ps: small random rotations, one a frame."""
    rng = np.random.default_rng(seed)
    now = Rotation.random(n, random_state=seed)
    matrices = np.empty((frames, n, 3, 3))
    for k in range(frames):
        matrices[k] = now.as_matrix()
        now = Rotation.from_rotvec(rng.normal(0, np.sqrt(2 * diffusion * INTERVAL), (n, 3))) * now
    return matrices


def tetrahedra(matrices: np.ndarray, anions: str = "SSSS") -> MDAnalysis.Universe:
    """PS4 groups, or PO_xS_(4-x), on a grid far apart, turned by the matrices (frames, n, 3, 3)."""
    frames, n = matrices.shape[:2]
    side = int(np.ceil(n ** (1 / 3)))
    grid = SPACING * np.array(np.meshgrid(*[np.arange(side)] * 3)).reshape(3, -1).T[:n] + 2.0
    lengths = np.array([1.5 if anion == "O" else 2.05 for anion in anions])
    arms = np.einsum("fnab,kb->fnka", matrices, CORNERS * lengths[:, None])
    centres = np.broadcast_to(grid, (frames, n, 3))[:, :, None]
    positions = np.concatenate([centres, centres + arms], axis=2).reshape(frames, -1, 3)
    u = MDAnalysis.Universe.empty(5 * n, trajectory=True)
    u.add_TopologyAttr("elements", ["P", *anions] * n)
    u.load_new(
        positions.astype(np.float32),
        format=MemoryReader,
        order="fac",
        dt=INTERVAL,
        dimensions=[side * SPACING] * 3 + [90] * 3,
    )
    return u


@pytest.fixture(scope="module")
def rotor():
    """100 tetrahedra with D_r = 0.05 / ps for 60 ps."""
    return GroupRotation(tetrahedra(diffusing(100, 600, 0.05)), cutoffs=CUTOFFS).run()


def test_rotational_diffusion_gives_debyes_exponentials(rotor):
    groups = rotor.get("PS4")
    early = rotor.times < 15
    for rank, curve, errors in ((1, groups.first, groups.first_errors), (2, groups.second, groups.second_errors)):
        expected = np.exp(-rank * (rank + 1) * 0.05 * rotor.times)
        assert np.abs(curve - expected)[early].max() < 0.06
        assert np.mean((np.abs(curve - expected) <= 3 * errors + 1e-9)[early]) > 0.95
    assert groups.first[0] == pytest.approx(1)
    assert groups.second[0] == pytest.approx(1)
    for rank, time in ((1, groups.first_time), (2, groups.second_time)):
        expected = 1 / (rank * (rank + 1) * 0.05)
        assert time.low < expected < time.high
        assert time.value == pytest.approx(expected, rel=0.15)
    assert rotor.broken == 0
    assert set(rotor.kinds) == {"P", "P n0", "PS4", "P-S terminal"}
    np.testing.assert_allclose(rotor.get("P-S terminal").second, groups.second)


def test_fast_correlations_against_sums_over_all_pairs():
    matrices = diffusing(7, 40, 0.1)
    found = GroupRotation(tetrahedra(matrices), cutoffs=CUTOFFS).run()
    arms = np.einsum("fnab,kb->fnka", matrices, CORNERS)
    lags = np.round(found.times / INTERVAL).astype(int)
    for i, lag in enumerate(lags):
        cosines = np.sum(arms[: 40 - lag] * arms[lag:], axis=-1)
        assert found.get("P").first[i] == pytest.approx(cosines.mean(), abs=1e-5)
        assert found.get("P").second[i] == pytest.approx(np.mean(1.5 * cosines**2 - 0.5), abs=1e-5)
        relative = matrices[lag:] @ matrices[: 40 - lag].transpose(0, 1, 3, 2)
        angles = np.degrees(Rotation.from_matrix(relative.reshape(-1, 3, 3)).magnitude())
        assert found.get("P").angle[i] == pytest.approx(angles.mean(), abs=0.05)


def test_kabschs_angle_is_that_of_scipy_and_of_the_rotation():
    rng = np.random.default_rng(3)
    rotations = Rotation.random(200, random_state=4)
    vectors = rng.normal(size=(200, 4, 3))
    turned = np.einsum("nab,nkb->nka", rotations.as_matrix(), vectors)
    np.testing.assert_allclose(rotation_angles(vectors, turned), np.degrees(rotations.magnitude()), atol=1e-5)
    noisy = turned + rng.normal(0, 0.2, turned.shape)
    theirs = [Rotation.align_vectors(b, a)[0].magnitude() for a, b in zip(vectors, noisy, strict=True)]
    np.testing.assert_allclose(rotation_angles(vectors, noisy), np.degrees(theirs), atol=1e-5)
    # three anions in a plane, as BO3
    flat = vectors[:, :3] * [1, 1, 0]
    turned = np.einsum("nab,nkb->nka", rotations.as_matrix(), flat)
    np.testing.assert_allclose(rotation_angles(flat, turned), np.degrees(rotations.magnitude()), atol=1e-5)


def test_tetrahedra_that_stand_still_do_not_relax_and_say_so():
    rng = np.random.default_rng(0)
    matrices = Rotation.from_rotvec(rng.normal(0, 0.02, (200 * 27, 3))).as_matrix().reshape(200, 27, 3, 3)
    found = GroupRotation(tetrahedra(matrices), cutoffs=CUTOFFS).run().get("PS4")
    np.testing.assert_allclose(found.second, 1, atol=0.005)
    np.testing.assert_allclose(found.first, 1, atol=0.002)
    assert np.isnan(found.second_time.value)
    assert "not relaxed within the run: C2 is still 1.00 after 10 ps; the relaxation time is above 10 ps" in (
        found.second_time.note
    )


def test_kinds_of_bonds_and_shells():
    found = GroupRotation(tetrahedra(diffusing(27, 50, 0.05), "SSSO"), cutoffs=CUTOFFS).run()
    assert set(found.kinds) == {"P", "P n0", "POS3", "P-S terminal", "P-O terminal"}
    with pytest.raises(AnalysisError, match="no group or bond is of kind 'PS4'; there are P,"):
        found.get("PS4")


def test_a_group_whose_bond_breaks_is_dropped_and_a_moment_is_forgiven():
    u = tetrahedra(np.tile(np.eye(3), (100, 8, 1, 1)))
    positions = u.trajectory.timeseries(order="fac")
    rng = np.random.default_rng(0)
    positions += rng.normal(0, 0.01, positions.shape)
    positions[40:, 1] += 2.0 * CORNERS[0]  # the first group loses an anion for good
    positions[60:62, 6] += 2.0 * CORNERS[0]  # the second one for two frames
    u.load_new(positions, format=MemoryReader, order="fac", dt=INTERVAL, dimensions=u.trajectory.ts.dimensions)
    history = GroupHistories(u, cutoffs=CUTOFFS).run()
    by_former = {f: [s for s in history.stretches if s.former == f] for f in range(8)}
    assert [(s.shell, s.places[0], s.places[-1], len(s.places)) for s in by_former[0]] == [
        ("PS4", 0, 39, 40),
        ("PS3", 40, 99, 60),
    ]
    whole = next(s for s in by_former[1] if s.shell == "PS4")
    assert (whole.places[0], whole.places[-1], len(whole.places)) == (0, 99, 98)
    assert set(whole.places) == set(range(100)) - {60, 61}
    assert [len(by_former[f]) for f in range(2, 8)] == [1] * 6
    found = GroupRotation(history).run()
    assert found.broken == pytest.approx(1 / 8)
    pairs = found.get("PS4").pairs / 4
    np.testing.assert_array_equal(pairs[:2], [40 + 98 + 600, 39 + 96 + 594])
    assert np.nanmin(found.get("PS4").second) > 0.99
    strict = GroupHistories(u, cutoffs=CUTOFFS, patience=0).run()
    assert sum(s.former == 1 and s.shell == "PS4" for s in strict.stretches) == 2


def test_two_tetrahedra_that_share_a_corner_have_a_bridge():
    u = MDAnalysis.Universe.empty(9, trajectory=True)
    u.add_TopologyAttr("elements", list("PPSSSSSSS"))
    arms = 2.05 * CORNERS
    positions = [np.zeros(3), 2 * arms[0], *arms, *(2 * arms[0] - arms[1:])]
    rng = np.random.default_rng(0)
    frames = np.array(positions) + 10 + rng.normal(0, 0.01, (30, 9, 3))
    u.load_new(frames.astype(np.float32), format=MemoryReader, order="fac", dt=1.0, dimensions=[30] * 3 + [90] * 3)
    found = GroupRotation(u, cutoffs=CUTOFFS).run()
    assert set(found.kinds) == {"P", "P n1", "PS4", "P-S bridging", "P-S terminal"}
    assert found.get("P n1").n_groups == 2


@pytest.fixture(scope="module")
def coupled():
    """Groups that librate, and turn by 40 degrees whenever the ion beside them jumps; ions at four groups jump more."""
    rng = np.random.default_rng(8)
    n, frames = 64, 600
    jumps = [(g, int(f)) for g in range(0, n, 2) for f in rng.choice(np.arange(50, 550, 60), 3, replace=False)]
    turns = np.zeros((frames, n, 3))
    matrices = np.empty((frames, n, 3, 3))
    axes = rng.normal(size=(len(jumps), 3))
    axes /= np.linalg.norm(axes, axis=1)[:, None]
    now = Rotation.random(n, random_state=1)
    for (g, f), axis in zip(jumps, axes, strict=True):
        turns[f, g] = np.radians(40) * axis
    for k in range(frames):
        now = Rotation.from_rotvec(turns[k]) * now
        libration = Rotation.from_rotvec(rng.normal(0, 0.03, (n, 3)))
        matrices[k] = (libration * now).as_matrix()
    u = tetrahedra(matrices)
    centres = u.trajectory.timeseries(order="fac")[0, ::5].astype(float)
    ions = np.array([g for g, _ in jumps])
    where = centres[ions]
    when = np.array([f for _, f in jumps])
    half = np.array([2, 0, 0.5])
    return GroupHistories(u, cutoffs=CUTOFFS).run(), ions, when, where - half, where + half


def test_groups_that_turn_when_an_ion_jumps(coupled):
    history, ions, frames, origins, destinations = coupled
    found = rotation_near_jumps(history, ions, frames, origins, destinations, window=2.0)
    assert (found.n_jumps, found.n_pairs) == (96, 96)
    assert found.near.value == pytest.approx(40, abs=1)
    # two librations apart: each of 0.03 rad in three directions, so a chi distribution of 0.03 sqrt(2)
    libration = np.degrees(0.03 * np.sqrt(2) * np.sqrt(8 / np.pi))
    assert found.elsewhere.value == pytest.approx(libration, rel=0.03)
    assert found.ratio.value == pytest.approx(found.near.value / found.elsewhere.value, rel=1e-9)
    assert found.ratio.low > 8
    # a third of the times dealt anew are again those of a turn of the group: all fall on nine frames
    assert found.shuffled.high < 0.5 * found.ratio.low
    wrapped = rotation_near_jumps(history, ions, frames, origins - 32.0, destinations - 32.0, window=2.0)
    assert wrapped.ratio == found.ratio


def test_jumps_that_groups_do_not_know_of_give_one(coupled):
    history, ions, _, origins, destinations = coupled
    quiet_ions = ions + 1
    rng = np.random.default_rng(1)
    shift = np.array([0, 0, SPACING])  # the neighbour that never turns
    frames = rng.integers(50, 550, len(ions))
    found = rotation_near_jumps(history, quiet_ions, frames, origins + shift, destinations + shift)
    assert found.near.value == pytest.approx(found.elsewhere.value, rel=0.1)
    assert found.ratio.low < 1 < found.ratio.high


def test_what_cannot_be_compared_is_refused(coupled):
    history, ions, frames, origins, destinations = coupled
    with pytest.raises(AnalysisError, match=r"shapes \(96,\), \(95,\) and \(96, 3\)"):
        rotation_near_jumps(history, ions, frames[1:], origins, destinations)
    with pytest.raises(AnalysisError, match=r"window is 0.1 ps; it must be from 0.2 to 30 ps"):
        rotation_near_jumps(history, ions, frames, origins, destinations, window=0.1)
    with pytest.raises(AnalysisError, match=r"0 pairs of a jump and a group within 0.1 A"):
        rotation_near_jumps(history, ions, frames, origins + 3, destinations + 3, radius=0.1)
    with pytest.raises(AnalysisError, match="patience is -1 ps"):
        GroupHistories(tetrahedra(np.tile(np.eye(3), (3, 8, 1, 1))), patience=-1)
    with pytest.raises(AnalysisError, match="3 frames are too few"):
        GroupRotation(tetrahedra(diffusing(8, 3, 0.1)), cutoffs=CUTOFFS).run()


def jumps_beside(n: int):
    """Two jumps beside each of some groups of a grid of 3 x 3 x 3."""
    ions = np.repeat(np.arange(n), 2)
    grid = SPACING * np.array(np.meshgrid(*[np.arange(3)] * 3)).reshape(3, -1).T + 2.0
    where = grid[ions % 27]
    return ions, np.random.default_rng(4).integers(30, 270, len(ions)), where - 1, where + 1


def test_quantities_of_a_stage():
    found = measure_rotation(tetrahedra(diffusing(27, 300, 0.1)), cutoffs=CUTOFFS)
    assert set(found.tables) == {"rotation"}
    keys = {quantity.key: quantity for quantity in found.quantities}
    assert keys["rotation.C2.PS4"].value == pytest.approx(1 / 0.6, rel=0.4)
    assert keys["rotation.C1.PS4"].value == pytest.approx(1 / 0.2, rel=0.5)
    assert keys["rotation.broken"].value == 0
    near = measure_rotation(tetrahedra(diffusing(27, 300, 0.1)), cutoffs=CUTOFFS, jumps=jumps_beside(27))
    assert set(near.tables) == {"rotation", "rotation_jumps"}
    ratio = next(quantity for quantity in near.quantities if quantity.key == "rotation.near_jumps")
    assert ratio.low < 1 < ratio.high
    few = measure_rotation(tetrahedra(diffusing(27, 300, 0.1)), cutoffs=CUTOFFS, jumps=jumps_beside(2))
    assert "pairs of a jump and a group" in few.quantities[-1].refused
    short = measure_rotation(tetrahedra(diffusing(8, 5, 0.1)), cutoffs=CUTOFFS)
    assert "too few" in short.refusals["rotation"]
