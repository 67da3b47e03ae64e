"""The deviation of a committee, against DeePMD-kit's own."""

import numpy as np
import pytest

from napos_lmp.card import UsualDeviation
from napos_lmp.errors import EvaluationError
from napos_lmp.potential import load_potential
from napos_lmp.training.deviation import extrapolates, force_deviations, usual_deviation
from napos_lmp.training.prediction import Prediction, committee_predictions


def committee_of(forces):
    """Predictions of each model with forces of shape (models, frames, N, 3)."""
    return [[Prediction(0.0, frame, np.zeros((3, 3))) for frame in model] for model in forces]


@pytest.mark.parametrize("models", [2, 4])
def test_deviation_is_that_of_deepmd(models):
    pytest.importorskip("deepmd")
    from deepmd.infer.model_devi import calc_model_devi_f

    forces = np.random.default_rng(3).normal(size=(models, 5, 11, 3))
    largest, _, mean, each = calc_model_devi_f(forces, atomic=True)
    found = force_deviations(committee_of(forces))
    np.testing.assert_allclose(found, each, rtol=1e-12)
    usual = usual_deviation(found)
    assert usual.largest_atom_eV_A == pytest.approx(largest.max(), rel=1e-3)
    assert usual.frame_mean_eV_A == pytest.approx(np.quantile(mean, 0.99), rel=1e-3)
    assert (usual.frames, usual.atoms) == (5, 55)


def test_frames_far_from_home_are_told_by_an_atom_or_by_their_mean():
    usual = UsualDeviation(largest_atom_eV_A=0.5, frame_mean_eV_A=0.1, frames=10, atoms=500)
    largest, mean = np.array([0.4, 0.6, 0.4, 0.6]), np.array([0.05, 0.05, 0.2, 0.2])
    assert extrapolates(usual, largest, mean).tolist() == [False, True, True, True]


def test_one_model_has_no_deviation():
    with pytest.raises(EvaluationError, match="'napos-deepmd' is one model, and a deviation takes a committee"):
        committee_predictions(load_potential("napos-deepmd").others[0], [])
