"""All checks of one potential, as LAMMPS runs it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napos_lmp.backends import get_backend
from napos_lmp.card import Potential, Precision
from napos_lmp.errors import PotentialError
from napos_lmp.potential import load_potential
from napos_lmp.structure import Structure
from napos_lmp.templates import Templates
from napos_lmp.testing.evaluate import CalculatorEvaluator, Evaluator, LammpsEvaluator
from napos_lmp.testing.physics import PHYSICS, TOLERANCES, Tolerances, agreement, carry_out
from napos_lmp.testing.restart import restart_continuity
from napos_lmp.testing.results import Conformance
from napos_lmp.testing.samples import make_samples

CHECKS = (*PHYSICS, "calculator", "restart")
"""Names of all checks, in the order in which they are run."""

_RELAXATION_STEPS = 40
_LARGEST_FORCE = 0.5
_TABULATED_ENERGY = 1e-5
_TABULATED_FORCE = 2e-3


def check_potential(
    potential: str | Path | Potential,
    checks: Sequence[str] = CHECKS,
    *,
    lammps: str | Path | None = None,
    templates: Templates | None = None,
    threads: int = 1,
    evaluator: Evaluator | None = None,
    message: Callable[[str], None] | None = None,
) -> Conformance:
    """Check that a potential, as LAMMPS runs it in a deck, keeps what every potential must.

    Parameters
    ----------
    potential
        Its name or folder, as in a study, or the potential itself.
    checks
        Those of :data:`CHECKS` to run.
    lammps
        The program; see :func:`napos_lmp.engine.find_lammps`.
    templates
        Templates in force: a pair style block of one's own is held to the same.
    threads
        Threads of LAMMPS.
    evaluator
        What gives energies, forces and virials; LAMMPS unless given. The restart check always runs LAMMPS.
    message
        Told what is being waited for.

    Raises
    ------
    PotentialError
        If the potential may not be used, covers none of the glasses known, or a check is not known.
    EngineError
        If LAMMPS was not found or stopped with an error.
    """
    for name in checks:
        if name not in CHECKS:
            raise PotentialError(f"check {name!r} is not known; there are {', '.join(CHECKS)}")
    tell = message or (lambda _: None)
    known = potential if isinstance(potential, Potential) else load_potential(potential)
    precision = model_precision(known)
    allowed = TOLERANCES[precision]
    calculator = get_backend(known.backend).calculator(known)
    tell("relaxing a packed glass with the model's own calculator")
    samples = make_samples(known.elements, lambda structure: _relaxed(structure, calculator))
    in_lammps = evaluator or LammpsEvaluator(known, lammps=lammps, templates=templates, threads=threads)
    plans = {name: PHYSICS[name](samples, known.cutoff, allowed) for name in checks if name in PHYSICS}
    if "calculator" in checks:
        expected = CalculatorEvaluator(calculator)
        plans["calculator"] = agreement("calculator", samples, expected, _of_two_forms(allowed, known))
    tell("evaluating configurations in LAMMPS")
    in_lammps = evaluator or LammpsEvaluator(known, lammps=lammps, templates=templates, threads=threads)
    results = carry_out(list(plans.values()), in_lammps)
    if "restart" in checks:
        tell("running a deck through, and its copy from the middle")
        results += restart_continuity(known, samples, allowed, lammps=lammps, templates=templates, threads=threads)
    return Conformance(known.name, known.backend, precision, tuple(results))


def model_precision(potential: Potential) -> Precision:
    """The arithmetic that a potential's tolerances are made for: single if its card or any of its weights says so."""
    if potential.card.precision is not None:
        return potential.card.precision
    if potential.backend == "deepmd":
        from napos_lmp.backends.deepmd import load_frozen

        state = load_frozen(potential.file).state_dict()
    else:
        from napos_lmp.backends.mliap import load_model

        model = load_model(potential.file)
        state = getattr(model, "model", model).state_dict() if hasattr(model, "state_dict") else {}
    return "float64" if state and not any(str(v.dtype) == "torch.float32" for v in state.values()) else "float32"


def _of_two_forms(allowed: Tolerances, potential: Potential) -> Tolerances:
    """Tolerances between the model as trained and the tabulated form that LAMMPS runs, where there is one."""
    if potential.backend != "deepmd":
        return allowed
    return dataclasses.replace(allowed, energy=_TABULATED_ENERGY, force=_TABULATED_FORCE, virial=_TABULATED_FORCE)


def _relaxed(structure: Structure, calculator: Any) -> Structure:
    """A structure after a few steps downhill, at most `_RELAXATION_STEPS` of them."""
    from ase import Atoms
    from ase.optimize import FIRE

    atoms = Atoms(structure.symbols, positions=structure.positions, cell=structure.cell, pbc=True)
    atoms.calc = calculator
    FIRE(atoms, logfile=None).run(fmax=_LARGEST_FORCE, steps=_RELAXATION_STEPS)
    positions = np.array(atoms.get_positions(), dtype=np.float64)
    return Structure(structure.cell, positions, structure.types, structure.elements)
