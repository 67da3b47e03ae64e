"""Checks that every potential has to pass, for notebooks, tests and the command line; see `docs/conformance.md`."""

from napos_lmp.testing.conformance import CHECKS, check_potential, model_precision
from napos_lmp.testing.evaluate import CalculatorEvaluator, Evaluation, Evaluator, LammpsEvaluator
from napos_lmp.testing.physics import PHYSICS, TOLERANCES, Tolerances, check_physics
from napos_lmp.testing.restart import restart_continuity
from napos_lmp.testing.results import CheckResult, Conformance
from napos_lmp.testing.samples import Samples, make_samples

__all__ = [
    "CHECKS",
    "PHYSICS",
    "TOLERANCES",
    "CalculatorEvaluator",
    "CheckResult",
    "Conformance",
    "Evaluation",
    "Evaluator",
    "LammpsEvaluator",
    "Samples",
    "Tolerances",
    "check_physics",
    "check_potential",
    "make_samples",
    "model_precision",
    "restart_continuity",
]
