"""What a potential, or each model of its committee, says of labelled frames."""

from __future__ import annotations

from collections.abc import Sequence

from napos_lmp.card import Potential
from napos_lmp.errors import EvaluationError
from napos_lmp.training.dataset import Frame
from napos_lmp.training.prediction import Prediction, Predictor, predict_deepmd, predict_mace

_PREDICTORS: dict[str, Predictor] = {"deepmd": predict_deepmd, "mliap": predict_mace}


def predictions(potential: Potential, frames: Sequence[Frame]) -> list[Prediction]:
    """What the model that simulations run with says of frames, in their order; the potential must be accepted."""
    return _predictor(potential)(potential.file, frames)


def committee_predictions(potential: Potential, frames: Sequence[Frame]) -> list[list[Prediction]]:
    """What each model of a committee says of frames: the models first, the one that simulations run with at the head.

    Raises
    ------
    EvaluationError
        If the potential is one model.
    """
    if len(potential.models) < 2:
        raise EvaluationError(
            f"potential {potential.name!r} is one model, and a deviation takes a committee of at least two"
        )
    predict = _predictor(potential)
    return [predict(file, frames) for file in potential.models]


def _predictor(potential: Potential) -> Predictor:
    if potential.backend not in _PREDICTORS:
        raise EvaluationError(f"potential {potential.name!r}: models of {potential.backend} cannot be evaluated here")
    return _PREDICTORS[potential.backend]
