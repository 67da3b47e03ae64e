"""How far the models of a committee are from one another, and what is usual.

The deviation of an atom is the root of the mean, over the models, of the squared distance between the model's force on
it and the mean force (Y. Zhang et al., Comput. Phys. Commun. 253, 107206, 2020); DeePMD-kit writes its largest and mean
value over the atoms of a frame, as ``max_devi_f`` and ``avg_devi_f``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napos_lmp.card import UsualDeviation
from napos_lmp.training.dataset import Array
from napos_lmp.training.prediction import Prediction

_MEAN_QUANTILE = 0.99


def force_deviations(committee: Sequence[Sequence[Prediction]]) -> list[Array]:
    """Deviation of each atom of each frame, eV/A.

    Parameters
    ----------
    committee
        Predictions of each model, all of the same frames; at least two models.

    Returns
    -------
    list of ndarray
        Shape (N,) for each frame.
    """
    return [
        np.linalg.norm(np.std([prediction.forces for prediction in frame], axis=0), axis=1)
        for frame in zip(*committee, strict=True)
    ]


def usual_deviation(deviations: Sequence[Array]) -> UsualDeviation:
    """What is usual in frames like those trained on, such as the validation set: for the card of the potential.

    Parameters
    ----------
    deviations
        Of the atoms of each frame, eV/A; as :func:`force_deviations` gives them.
    """
    means = [float(frame.mean()) for frame in deviations]
    return UsualDeviation(
        largest_atom_eV_A=_short(max(float(frame.max()) for frame in deviations)),
        frame_mean_eV_A=_short(float(np.quantile(means, _MEAN_QUANTILE))),
        frames=len(deviations),
        atoms=sum(len(frame) for frame in deviations),
    )


def extrapolates(usual: UsualDeviation, largest: Array, mean: Array) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether frames are unlike those that the potential was trained on.

    Parameters
    ----------
    usual
        From the card of the potential.
    largest, mean
        Largest and mean deviation over the atoms of each frame, shape (frames,), eV/A.

    Returns
    -------
    ndarray
        Shape (frames,): whether an atom deviates more than any of the validation frames did, or the frame as a whole
        more than 99 % of them.
    """
    return np.asarray((largest > usual.largest_atom_eV_A) | (mean > usual.frame_mean_eV_A), dtype=np.bool_)


def _short(value: float) -> float:
    return float(f"{value:.4g}")
