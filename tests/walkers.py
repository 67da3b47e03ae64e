"""Random walkers with exactly known diffusion, for the oracles of the transport tests."""

import MDAnalysis
import numpy as np
from MDAnalysis.coordinates.memory import MemoryReader

from napos_lmp.analysis.transport.diffusion import DiffusionCoefficient, DiffusionResult
from napos_lmp.analysis.transport.msd import MeanSquareDisplacement


def unbounded_universe(positions, dt=1.0, symbols=None):
    """A Universe without a box: positions need no unwrapping."""
    universe = MDAnalysis.Universe.empty(positions.shape[1], trajectory=False)
    universe.add_TopologyAttr("elements", symbols or ["Na"] * positions.shape[1])
    universe.trajectory = MemoryReader(positions.astype(np.float32), order="fac", dt=dt)
    return universe


def diffusion_of(positions, dt=1.0, **options) -> DiffusionResult:
    """Diffusion of walkers whose drift is part of their motion."""
    msd = MeanSquareDisplacement(unbounded_universe(positions, dt), reference="none").run()
    return DiffusionCoefficient(msd, "Na", **options).run()


def brownian(rng, frames, atoms, step=1.0, cage=0.0):
    """D = step^2 / 2 per frame; `cage` is the width of uncorrelated motion about the walker."""
    path = np.cumsum(rng.normal(scale=step, size=(frames, atoms, 3)), axis=0)
    return path + rng.normal(scale=cage, size=path.shape) if cage else path


def locked_pairs(rng, frames, atoms):
    """Pairs that move as one: half as many independent walkers."""
    path = brownian(rng, frames, atoms // 2)
    return np.concatenate([path, path + 1.0], axis=1)


def hopping(rng, frames, atoms, rate=0.05, length=3.0, spread=0.0):
    """Jumps of fixed length in random directions, D = rate length^2 / 6; rates differ by exp(spread)."""
    rates = rate * np.exp(spread * rng.normal(size=(1, atoms, 1)) - spread**2 / 2)
    directions = rng.normal(size=(frames, atoms, 3))
    directions /= np.linalg.norm(directions, axis=2, keepdims=True)
    jumps = (rng.random((frames, atoms, 1)) < rates) * directions * length
    return np.cumsum(jumps, axis=0) + rng.normal(scale=0.3, size=jumps.shape)


def caged(rng, frames, atoms, time, width):
    """Ornstein-Uhlenbeck motion: bound to a place, relaxing over `time` frames."""
    memory = np.exp(-1 / time)
    path = np.empty((frames, atoms, 3))
    path[0] = rng.normal(scale=width, size=(atoms, 3))
    for k in range(1, frames):
        path[k] = memory * path[k - 1] + np.sqrt(1 - memory**2) * rng.normal(scale=width, size=(atoms, 3))
    return path


def fractional(rng, frames, atoms, exponent, step=2.0):
    """Fractional Brownian motion, MSD = 3 step^2 t^exponent exactly (Davies and Harte's circulant embedding)."""
    lag = np.arange(frames)
    row = (np.abs(lag + 1.0) ** exponent - 2 * np.abs(lag) ** exponent + np.abs(lag - 1.0) ** exponent) / 2
    row = np.concatenate([row, row[-2:0:-1]])
    spectrum = np.clip(np.fft.fft(row).real, 0, None) / len(row)
    noise = rng.normal(size=(len(row), atoms, 3)) + 1j * rng.normal(size=(len(row), atoms, 3))
    increments = np.fft.fft(np.sqrt(spectrum)[:, None, None] * noise, axis=0).real[:frames]
    return step * np.cumsum(increments, axis=0)
