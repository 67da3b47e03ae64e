"""Ions that hop between sites of a lattice and vibrate about them, with known rates, for the tests of jumps."""

import numpy as np
from walkers import caged, unbounded_universe

from napos_lmp.analysis.transport.msd import MeanSquareDisplacement

STEPS = np.concatenate([np.eye(3), -np.eye(3)])


def lattice_hoppers(rng, frames, atoms, rate, length=3.5, vibration=0.35, back=None):
    """Jumps at `rate` a frame to one of six neighbours; `back` is the share that lead back, 1/6 where not given."""
    steps = np.zeros((frames, atoms, 3))
    previous = np.zeros((atoms, 3))
    jumping = rng.random((frames, atoms)) < -np.expm1(-rate)
    for k in range(frames):
        chosen = STEPS[rng.integers(6, size=atoms)]
        if back is not None:
            returns = (rng.random(atoms) < back)[:, None]
            while np.any(same := np.all(chosen == -previous, axis=1)):
                chosen[same] = STEPS[rng.integers(6, size=int(same.sum()))]
            chosen = np.where(returns & np.any(previous, axis=1, keepdims=True), -previous, chosen)
        now = jumping[k][:, None]
        steps[k] = np.where(now, chosen, 0)
        previous = np.where(now, chosen, previous)
    return length * np.cumsum(steps, axis=0) + caged(rng, frames, atoms, 3, vibration)


def displacements_of(positions, dt=0.1):
    """Of ions whose drift is part of their motion."""
    return MeanSquareDisplacement(unbounded_universe(positions, dt), reference="none").run()
