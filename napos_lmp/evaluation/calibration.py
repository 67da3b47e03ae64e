"""Whether the deviation of a committee, or the distance from the training set, says how wrong a model is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napos_lmp.training.dataset import Array

_LEAST_FRAMES = 8
_BINS = 12
_LEAST_IN_BIN = 20


@dataclass(frozen=True)
class Relation:
    """How a sign foretells an error, frame by frame.

    `rank` is Spearman's correlation with its 95 % interval (Fisher's, with the variance of D. G. Bonett and
    T. A. Wright, Psychometrika 65, 23, 2000), `frames` how many there were.
    """

    rank: float
    low: float
    high: float
    frames: int


@dataclass(frozen=True)
class Calibration:
    """Errors of atoms against the deviation of the committee on them.

    `deviation` and `error` are root mean squares in eV/A over atoms in bins of like deviation, shape (bins,); `atoms`
    how many each holds. `factor` is the root mean square error over the root mean square deviation of all atoms: a
    committee of perfect judgement has one near 1, of more than 1 it is too sure.
    """

    deviation: Array
    error: Array
    atoms: Array
    factor: float


def relation(sign: Array, error: Array) -> Relation | None:
    """Rank correlation over frames, both shape (frames,); None below 8 frames with a finite sign."""
    from scipy.stats import spearmanr

    finite = np.isfinite(sign)
    number = int(finite.sum())
    if number < _LEAST_FRAMES or np.ptp(sign[finite]) == 0:
        return None
    rank = float(spearmanr(sign[finite], error[finite]).statistic)
    half = 1.96 * np.sqrt((1 + rank**2 / 2) / (number - 3))
    centre = np.arctanh(np.clip(rank, -0.9999, 0.9999))
    return Relation(rank, float(np.tanh(centre - half)), float(np.tanh(centre + half)), number)


def calibration(deviations: Sequence[Array], errors: Sequence[Array]) -> Calibration:
    """Compare the deviation of each atom with its error.

    Parameters
    ----------
    deviations
        For each frame, shape (N,), eV/A.
    errors
        Difference of force and label, for each frame, shape (N, 3), eV/A.
    """
    deviation = np.concatenate(list(deviations))
    squares = np.concatenate([(error**2).sum(axis=1) for error in errors])
    edges = np.unique(np.quantile(deviation, np.linspace(0, 1, _BINS + 1)))
    places = np.clip(np.searchsorted(edges, deviation, side="right") - 1, 0, max(len(edges) - 2, 0))
    atoms = np.bincount(places)
    full = atoms >= _LEAST_IN_BIN
    error = np.sqrt(np.bincount(places, squares)[full] / atoms[full])
    usual = np.sqrt(np.bincount(places, deviation**2)[full] / atoms[full])
    factor = float(np.sqrt(squares.mean() / max(float((deviation**2).mean()), 1e-30)))
    return Calibration(usual, error, atoms[full].astype(np.float64), factor)
