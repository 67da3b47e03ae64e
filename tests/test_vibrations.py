"""Vibrations against normal modes of spring crystals, Langevin's particle, scipy's Welch and ase's oscillators."""

import MDAnalysis
import numpy as np
import pytest
from ase.thermochemistry import HarmonicThermo
from MDAnalysis.coordinates.memory import MemoryReader
from scipy.signal import welch

from napos_lmp.analysis.mechanism.velocities import difference_response, read_velocities
from napos_lmp.analysis.mechanism.velocity_correlation import VelocityAutocorrelation
from napos_lmp.analysis.mechanism.vibrations import VibrationalSpectrum
from napos_lmp.analysis.quantities.vibrations import measure_vibrations
from napos_lmp.errors import AnalysisError

BOLTZMANN = 0.8314462618  # u A^2/ps^2 K
TEMPERATURE = 300.0
INTERVAL = 0.004


def universe(elements, masses, positions, velocities=None, interval=INTERVAL, box=40.0):
    """A trajectory in memory; positions and velocities of shape (frames, atoms, 3)."""
    u = MDAnalysis.Universe.empty(len(elements), trajectory=True)
    u.add_TopologyAttr("elements", list(elements))
    u.add_TopologyAttr("masses", list(masses))
    more = {} if velocities is None else {"velocities": velocities.astype(np.float32)}
    u.load_new(
        positions.astype(np.float32),
        format=MemoryReader,
        order="fac",
        dt=interval,
        dimensions=[box, box, box, 90, 90, 90],
        **more,
    )
    return u


class SpringCrystal:
    """A cubic crystal of two masses with springs to the nearest and the second-nearest neighbours, by normal modes."""

    def __init__(self, cells: int = 4, seed: int = 5) -> None:
        grid = np.array(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij")).reshape(3, -1).T
        self.places = 3.0 * grid
        self.elements = np.where(grid.sum(axis=1) % 2, "O", "P")
        self.masses = np.where(self.elements == "P", 30.974, 15.999)
        n, box = len(grid), 3.0 * cells
        hessian = np.zeros((n, 3, n, 3))
        for i in range(n):
            for j in range(i):
                d = self.places[j] - self.places[i]
                d -= box * np.round(d / box)
                length = np.linalg.norm(d)
                stiffness = {3.0: 2.1e5, 4.24: 0.55e5}.get(round(float(length), 2), 0.0)  # u/ps^2
                block = stiffness * np.outer(d, d) / length**2
                hessian[i, :, j, :] -= block
                hessian[j, :, i, :] -= block
                hessian[i, :, i, :] += block
                hessian[j, :, j, :] += block
        roots = np.repeat(np.sqrt(self.masses), 3)
        squares, modes = np.linalg.eigh(hessian.reshape(3 * n, 3 * n) / np.outer(roots, roots))
        self.frequencies = np.sqrt(squares[3:]) / (2 * np.pi)
        self.modes = modes[:, 3:] / roots[:, None]
        self.weights = {e: (modes[:, 3:] ** 2)[np.repeat(self.elements == e, 3)].sum(axis=0) for e in "PO"}
        self._phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, len(self.frequencies))

    def run(self, frames: int, interval: float = INTERVAL):
        """Positions and velocities with k_B T in every mode, shape (frames, atoms, 3)."""
        angles = 2 * np.pi * self.frequencies * interval * np.arange(frames)[:, None] + self._phases
        amplitude = np.sqrt(2 * BOLTZMANN * TEMPERATURE)
        positions = amplitude * (np.cos(angles) / (2 * np.pi * self.frequencies)) @ self.modes.T
        velocities = -amplitude * np.sin(angles) @ self.modes.T
        shape = frames, len(self.places), 3
        return self.places + positions.reshape(shape), velocities.reshape(shape)

    def density(self, at: np.ndarray, length: float, weights=1.0) -> np.ndarray:
        """What Hann's window of a length in ps makes of the lines of the modes."""
        x = (at[:, None] - self.frequencies) * length
        line = length * (2 / 3) * (np.sinc(x) / np.where(np.abs(np.abs(x) - 1) < 1e-9, np.nan, 1 - x**2)) ** 2
        return (np.where(np.isnan(line), length / 6, line) * weights).sum(axis=1)


@pytest.fixture(scope="module")
def crystal():
    return SpringCrystal()


@pytest.mark.parametrize("interval", [0.004, 0.008])
def test_density_of_a_spring_crystal_is_that_of_its_normal_modes(crystal, interval):
    positions, _ = crystal.run(round(20 / interval), interval)
    source = universe(crystal.elements, crystal.masses, positions, interval=interval, box=12)
    found = VibrationalSpectrum(source, resolution=0.6).run()
    assert found.origin == "positions"
    assert crystal.frequencies.max() < 42
    expected = crystal.density(found.frequencies, 1.44 / found.resolution)
    assert np.abs(found.total - expected).max() < 0.02 * expected.max()
    for element in "PO":
        own = crystal.density(found.frequencies, 1.44 / found.resolution, crystal.weights[element])
        assert np.abs(found.density[element] - own).mean() < 0.05 * own.mean()
        # with equal energy in every mode an element has the energy of its share of the modes
        assert found.found[element] == pytest.approx(crystal.weights[element].sum(), rel=0.03)
    np.testing.assert_allclose(sum(found.density.values()), found.total)
    assert sum(found.found.values()) == pytest.approx(3 * 64 - 3, rel=1e-6)
    assert sum(found.modes.values()) == pytest.approx(3 * 64 - 3, rel=1e-12)
    integral = np.trapezoid(found.total, found.frequencies)
    assert integral == pytest.approx(3 * 64 - 3, rel=1e-3)
    assert found.temperature == pytest.approx(TEMPERATURE, rel=0.01)


def test_quantum_oscillators_of_the_density_are_those_of_the_modes(crystal):
    positions, _ = crystal.run(5000)
    found = VibrationalSpectrum(universe(crystal.elements, crystal.masses, positions, box=12)).run()
    thermo = HarmonicThermo(4.135667696e-3 * crystal.frequencies)  # h nu in eV
    per_atom = 3 / len(crystal.frequencies)
    zero_point = thermo.get_ZPE_correction() * per_atom
    assert found.zero_point_energy().value == pytest.approx(zero_point, rel=0.01)
    for temperature in (100.0, 300.0):
        energies = [thermo.get_internal_energy(temperature + d, verbose=False) for d in (-0.5, 0.5)]
        capacity = (energies[1] - energies[0]) * per_atom * 96485.33
        assert found.heat_capacity(temperature).value == pytest.approx(capacity, rel=0.01)
    assert found.heat_capacity(1e5).value == pytest.approx(3 * 8.314462618, rel=1e-3)


def test_peak_of_a_molecule_is_at_its_frequency():
    """P-O along x at 34.3 THz, and a slow oscillation of Na along y, in float32 positions far from the origin."""
    masses = np.array([30.974, 15.999, 22.99, 22.99])
    times = INTERVAL * np.arange(3000)
    reduced = masses[0] * masses[1] / (masses[0] + masses[1])
    wave = 0.05 * np.cos(2 * np.pi * 34.3 * times)
    slow = 0.3 * np.cos(2 * np.pi * 5.2 * times)
    positions = np.tile(np.array([[30.0, 30, 30], [31.5, 30, 30], [5, 5, 5], [9, 9, 9]]), (3000, 1, 1))
    positions[:, 0, 0] += wave * reduced / masses[0]
    positions[:, 1, 0] -= wave * reduced / masses[1]
    positions[:, 2, 1] += slow
    positions[:, 3, 1] -= slow
    found = VibrationalSpectrum(universe(["P", "O", "Na", "Na"], masses, positions)).run()
    assert [len(found.peaks[e]) for e in ("P", "O", "Na")] == [1, 1, 1]
    for element, expected in (("P", 34.3), ("O", 34.3), ("Na", 5.2)):
        assert found.peaks[element][0].value == pytest.approx(expected, abs=0.03)
        assert found.mean_frequency[element].value == pytest.approx(expected, abs=0.05)


def test_density_is_that_of_scipys_welch():
    rng = np.random.default_rng(2)
    velocities = np.cumsum(rng.normal(size=(2000, 2, 3)), axis=0)
    velocities -= velocities.mean(axis=1, keepdims=True)
    u = universe(["S", "S"], [32.06, 32.06], 10 + 0.001 * velocities, velocities)
    found = VibrationalSpectrum(u, resolution=1.44 / (400 * INTERVAL)).run()
    assert found.origin == "velocities"
    _, power = welch(
        velocities.reshape(2000, -1), 1 / INTERVAL, "hann", 400, 200, detrend=False, axis=0, scaling="density"
    )
    power[[0, -1]] *= 2  # of a real density; scipy gives the power of the bin
    shown = power.sum(axis=1)[: len(found.total)]
    np.testing.assert_allclose(found.total / found.total.sum(), shown / shown.sum(), rtol=1e-4)


@pytest.fixture(scope="module")
def langevin():
    """Free particles with friction 8/ps: positions and velocities by the exact joint update."""
    friction, n, frames = 8.0, 400, 4000
    rng = np.random.default_rng(11)
    mass = 22.98976928
    spread = np.sqrt(BOLTZMANN * TEMPERATURE / mass)
    decay = np.exp(-friction * INTERVAL)
    var_v = 1 - decay**2
    var_x = (2 * friction * INTERVAL - 3 + 4 * decay - decay**2) / friction**2
    cov = (1 - decay) ** 2 / friction
    root = np.linalg.cholesky(np.array([[var_v, cov], [cov, var_x]]))
    v, x = rng.normal(size=(n, 3)), rng.uniform(0, 40, (n, 3))
    positions, velocities = np.empty((frames, n, 3)), np.empty((frames, n, 3))
    for k in range(frames):
        positions[k], velocities[k] = x, spread * v
        noise = np.einsum("ab,bij->aij", root, rng.normal(size=(2, n, 3)))
        x = x + spread * ((1 - decay) / friction * v + noise[1])
        v = decay * v + noise[0]
    diffusion = BOLTZMANN * TEMPERATURE / (mass * friction) * 1e-4
    return universe(["Na"] * n, [mass] * n, positions, velocities), friction, diffusion, spread


def test_langevins_particle(langevin):
    source, friction, diffusion, spread = langevin
    found = VelocityAutocorrelation(source, longest=1.6).run()
    expected = np.exp(-friction * found.times)
    deviation = np.abs(found.correlation["Na"] - expected)
    assert deviation.max() < 0.02
    assert np.mean(deviation[1:] < 2.78 * found.errors["Na"][1:]) > 0.6
    assert found.mean_square["Na"] == pytest.approx(3 * spread**2, rel=0.02)
    plateau = found.plateau["Na"]
    assert plateau.low < diffusion < plateau.high
    assert plateau.value == pytest.approx(diffusion, rel=0.08)
    assert found.displacement["Na"] == pytest.approx(plateau.value, rel=0.04)


def test_spectrum_of_langevins_particle_is_lorentzs(langevin):
    source, friction, _, _ = langevin
    found = VibrationalSpectrum(source, resolution=1.0).run()
    modes = 3 * 400 - 3
    lorentzian = modes * 4 * friction / (friction**2 + (2 * np.pi * found.frequencies) ** 2)
    below = found.frequencies > 2
    assert np.abs(found.total / lorentzian - 1)[below & (found.frequencies < 15)].max() < 0.1
    assert found.temperature == pytest.approx(TEMPERATURE, rel=0.02)


def test_velocities_from_positions_are_those_written(crystal):
    positions, velocities = crystal.run(600)
    written = read_velocities(universe(crystal.elements, crystal.masses, positions, velocities, box=12))
    differences = read_velocities(universe(crystal.elements, crystal.masses, positions, box=12))
    assert (written.origin, differences.origin) == ("velocities", "positions")
    for element in "PO":
        ours = differences.values[element]
        # the differences stand in the middle of two frames: compare power, and response at the modes
        theirs = written.values[element][..., 3:-3]
        assert np.mean(ours.astype(float) ** 2) == pytest.approx(np.mean(theirs.astype(float) ** 2), rel=5e-3)
    phase = 2 * np.pi * crystal.frequencies * INTERVAL
    assert np.abs(difference_response(phase) - 1).max() < 2e-4
    wave = np.exp(1j * 2.0 * np.arange(-3.5, 4))
    weights = np.array([5 / 7168, -49 / 5120, 245 / 3072, -1225 / 1024])
    derivative = (np.concatenate([weights, -weights[::-1]]) @ wave) / 2.0j
    assert difference_response(np.array([2.0]))[0] == pytest.approx(derivative.real)


def test_quantities_of_a_stage(crystal):
    positions, _ = crystal.run(2500)
    found = measure_vibrations(universe(crystal.elements, crystal.masses, positions, box=12), mobile="O")
    assert set(found.tables) == {"vacf", "vibrations"}
    assert not found.refusals
    keys = {quantity.key: quantity for quantity in found.quantities}
    assert keys["vibrations.temperature"].value == pytest.approx(TEMPERATURE, rel=0.01)
    for name in "PO":
        highest = keys[f"vibrations.highest_peak.{name}"]
        assert highest.value is None or highest.value < crystal.frequencies.max() + 0.5
        assert keys[f"vibrations.equipartition.{name}"].value == pytest.approx(1, abs=0.05)
    assert abs(keys["vibrations.diffusion.O"].value) < 10
    coarse = measure_vibrations(still(1000, 0.02))
    assert set(coarse.refusals) == {"vacf", "vibrations"}
    assert not coarse.quantities


def still(frames, interval=INTERVAL, elements=("P", "O"), **changes):
    rng = np.random.default_rng(0)
    phases = rng.uniform(0, 6, (len(elements), 3))
    times = interval * np.arange(frames)[:, None, None]
    positions = 10 + 0.1 * np.sin(2 * np.pi * 5 * times + phases)
    return universe(elements, [30.974] * len(elements), positions, interval=interval, **changes)


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(AnalysisError, match=r"are 20 fs apart and resolve 25 THz; .* P, O up to 42 THz .* 9.52 fs"):
        read_velocities(still(1000, 0.02))
    assert read_velocities(still(1000, 0.016, ("P", "S"))).highest == 25
    with pytest.raises(AnalysisError, match="highest is -1 THz"):
        read_velocities(still(1000), highest=-1)
    with pytest.raises(AnalysisError, match="20 frames are too few"):
        read_velocities(still(20))
    with pytest.raises(AnalysisError, match=r"of 3.97 ps is too short for .* 0.5 THz, which needs 5.76 ps"):
        VibrationalSpectrum(still(1000))
    with pytest.raises(AnalysisError, match="resolution is 0 THz"):
        VibrationalSpectrum(still(1000), resolution=0)
    with pytest.raises(AnalysisError, match="longest is 3 ps"):
        VelocityAutocorrelation(still(1000), longest=3)
    with pytest.raises(AnalysisError, match="temperature is 0 K"):
        VibrationalSpectrum(still(2000)).run().heat_capacity(0)
    with pytest.raises(AnalysisError, match="step belongs to the velocities"):
        VibrationalSpectrum(read_velocities(still(2000)), step=2)


def test_frames_that_fold_high_frequencies_down_are_refused():
    """50 THz in frames that resolve 62.5 THz, although it was said that nothing is above 25 THz."""
    times = 0.008 * np.arange(1000)[:, None, None]
    positions = 10 + 0.1 * np.sin(2 * np.pi * 56 * times + np.arange(6).reshape(2, 3) ** 2)
    source = universe(["P", "S"], [30.974, 32.06], positions, interval=0.008)
    with pytest.raises(AnalysisError, match=r"% of the kinetic energy lies in the top fifth of the 62.5 THz"):
        read_velocities(source)


def test_uneven_frames_and_wrapped_positions_are_refused(langevin):
    source = langevin[0]
    positions = source.trajectory.timeseries(order="fac") % 40
    wrapped = universe(["Na"] * 400, [22.99] * 400, positions)
    with pytest.raises(AnalysisError, match="positions are wrapped"):
        read_velocities(wrapped)
    uneven = still(1000)
    uneven.trajectory.add_transformations(lambda ts: ts)
    original = type(uneven.trajectory)._read_next_timestep

    class Uneven(MemoryReader):
        def _read_next_timestep(self, ts=None):
            found = original(self, ts)
            found.time = found.frame * INTERVAL + (0.01 if found.frame > 500 else 0)
            return found

    uneven.load_new(still(1000).trajectory.timeseries(order="fac"), format=Uneven, order="fac", dt=INTERVAL)
    with pytest.raises(AnalysisError, match=r"0.004 ps apart, but 0.014 ps between frames 500 and 501"):
        read_velocities(uneven)
