"""Potentials on labelled frames: predictions, errors, distances from their training sets, deviations, cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from napos_lmp.backends.deepmd import DeepmdBackend
from napos_lmp.card import Potential
from napos_lmp.composition import Composition
from napos_lmp.errors import (
    CompositionError,
    EngineError,
    EvaluationError,
    PotentialError,
    PreflightError,
    RunStoppedError,
)
from napos_lmp.evaluation.cost import core_microseconds
from napos_lmp.evaluation.distance import AtomDescriptors, TrainingSet
from napos_lmp.evaluation.errors import FrameErrors
from napos_lmp.evaluation.training_frames import training_parts
from napos_lmp.potential import load_potential
from napos_lmp.training.dataset import Array, Frame, read_frames, refuse_overlap
from napos_lmp.training.deviation import extrapolates, force_deviations
from napos_lmp.training.prediction import committee_predictions, predictions

Message = Callable[[str], None]

DEFAULT_DESCRIPTOR = "napos-deepmd"
_ANY_FORCE = float("inf")


@dataclass(frozen=True)
class Evaluated:
    """One potential on its frames.

    Attributes
    ----------
    potential
        The potential.
    frames
        The frames, all of one evaluation or those that this potential alone was to be tested on.
    errors
        Differences from the labels.
    train
        Number of frames that it was trained on, where its card says.
    distances
        Of each frame from the training set, shape (frames,); None where that is not to be found.
    deviations
        Of the committee on each atom of each frame, eV/A; None for one model.
    flagged
        Whether the committee says of a frame that it extrapolates, shape (frames,); None where it cannot say.
    core_microseconds
        Time of one core for one step of one atom, us; None where it was not measured, for the reason in `no_cost`.
    """

    potential: Potential
    frames: Sequence[Frame]
    errors: FrameErrors
    train: int | None = None
    distances: Array | None = None
    deviations: Sequence[Array] | None = None
    flagged: np.ndarray[tuple[int], np.dtype[np.bool_]] | None = None
    core_microseconds: float | None = None
    no_cost: str = ""

    @property
    def frame_force_rmse(self) -> Array:
        """Root mean square error of the force components of each frame, shape (frames,), eV/A."""
        return np.array([np.sqrt((force**2).mean()) for force in self.errors.force])


@dataclass(frozen=True)
class Evaluation:
    """Several potentials, on the same frames where `files` names some, else each on its own test set.

    `elements` are those of the frames, `descriptor` the potential whose descriptors distances are taken in, if any.
    """

    potentials: tuple[Evaluated, ...]
    elements: tuple[str, ...]
    files: tuple[str, ...] = ()
    group: str = ""
    descriptor: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def same_frames(self) -> bool:
        """Whether all potentials were tested on the same frames; test sets of one plan are."""
        first, *others = ([(frame.name, frame.energy) for frame in one.frames] for one in self.potentials)
        return all(other == first for other in others)


def evaluate(
    names: Sequence[str],
    files: Sequence[Path] = (),
    *,
    group: str = "",
    lammps: str | None = None,
    message: Message = lambda _: None,
) -> Evaluation:
    """Compare potentials with labels.

    Parameters
    ----------
    names
        Names or folders of accepted potentials.
    files
        Labelled frames in extended XYZ; without any, each potential is tested on the test set of its own training.
    group
        Only frames of this group, such as ``test``.
    lammps
        Program for the cost of a step.
    message
        Told what is being done.

    Raises
    ------
    EvaluationError
        If there is nothing to compare, or a potential does not know an element of the frames.
    TrainingError
        If frames cannot be read, or are among those that a potential was trained on; the pairs are named.
    PotentialError
        If a potential is not known or not accepted.
    """
    potentials = [load_potential(name) for name in names]
    if twice := [p.name for k, p in enumerate(potentials) if p.sha256 in {q.sha256 for q in potentials[:k]}]:
        raise EvaluationError(f"potential {twice[0]!r} is named twice")
    given = _read(files, group) if files else None
    descriptor = _descriptor(potentials)
    notes: list[str] = []
    found = []
    for potential in potentials:
        message(f"{potential.name}: reading its training set")
        parts = training_parts(potential, [path.parent for path in files])
        frames = _frames_for(potential, given, parts, group)
        potential.check_elements(symbol for frame in frames for symbol in frame.symbols)
        if parts is None:
            notes.append(
                f"The training set of {potential.name} is not to be found, so distances from it are not known, nor "
                "whether it holds some of these frames."
            )
        elif given is not None:
            refuse_overlap(frames, parts["train"])
        found.append(_evaluated(potential, frames, parts, descriptor, lammps, message))
        if parts is not None and found[-1].distances is None:
            notes.append(
                f"Distances from the training set of {potential.name} are not known, as no DeePMD potential at hand "
                "knows all elements of it and of these frames."
            )
    elements = tuple(dict.fromkeys(symbol for one in found for frame in one.frames for symbol in frame.symbols))
    return Evaluation(
        tuple(found),
        tuple(sorted(elements)),
        tuple(path.name for path in files),
        group,
        descriptor.name if descriptor else "",
        tuple(notes),
    )


def _read(files: Sequence[Path], group: str) -> list[Frame]:
    from ase.data import chemical_symbols

    frames = list(read_frames(files, chemical_symbols[1:], "trajectory", _ANY_FORCE).frames)
    chosen = [frame for frame in frames if not group or frame.group == group]
    if not chosen:
        known = ", ".join(sorted({frame.group for frame in frames} - {""})) or "none"
        raise EvaluationError(f"no frame is of the group {group!r}; the groups of these files: {known}")
    return chosen


def _frames_for(
    potential: Potential, given: Sequence[Frame] | None, parts: dict[str, list[Frame]] | None, group: str
) -> Sequence[Frame]:
    if given is not None:
        return given
    if parts is None:
        raise EvaluationError(
            f"the training set of {potential.name!r} is not to be found, so its own test set is not known; "
            "name files with frames to test on"
        )
    chosen = [frame for frame in parts["test"] if not group or frame.group == group]
    if not chosen:
        raise EvaluationError(f"the training of {potential.name!r} left no test set; name files with frames to test on")
    return chosen


def _descriptor(potentials: Sequence[Potential]) -> Potential | None:
    """A DeePMD potential in whose descriptors all distances are taken: the first one, else the shipped one."""
    for potential in potentials:
        if potential.backend == DeepmdBackend.name:
            return potential
    try:
        return load_potential(DEFAULT_DESCRIPTOR)
    except PotentialError:
        return None


def _evaluated(
    potential: Potential,
    frames: Sequence[Frame],
    parts: dict[str, list[Frame]] | None,
    descriptor: Potential | None,
    lammps: str | None,
    message: Message,
) -> Evaluated:
    message(f"{potential.name}: {len(frames)} frames")
    deviations = flagged = None
    if len(potential.models) > 1:
        committee = committee_predictions(potential, frames)
        said, deviations = committee[0], force_deviations(committee)
        if potential.card.usual_deviation is not None:
            largest = np.array([deviation.max() for deviation in deviations])
            mean = np.array([deviation.mean() for deviation in deviations])
            flagged = extrapolates(potential.card.usual_deviation, largest, mean)
    else:
        said = predictions(potential, frames)
    elements = sorted({symbol for frame in frames for symbol in frame.symbols})
    message(f"{potential.name}: distance from its training set")
    distances = _distances(frames, parts, descriptor)
    message(f"{potential.name}: cost of a step")
    cost, no_cost = _cost(potential, frames, lammps)
    return Evaluated(
        potential,
        frames,
        FrameErrors(frames, said, elements),
        len(parts["train"]) if parts else potential.card.training_data.frames,
        distances,
        deviations,
        flagged,
        cost,
        no_cost,
    )


def _distances(
    frames: Sequence[Frame], parts: dict[str, list[Frame]] | None, descriptor: Potential | None
) -> Array | None:
    if parts is None or descriptor is None:
        return None
    every = [*frames, *parts["train"], *parts["validation"]]
    if {symbol for frame in every for symbol in frame.symbols} - set(descriptor.elements):
        return None
    return TrainingSet(AtomDescriptors(descriptor.file), parts["train"], parts["validation"]).distances(frames)


def _cost(potential: Potential, frames: Sequence[Frame], lammps: str | None) -> tuple[float | None, str]:
    """Cost in the frame of middle density whose composition can be read, or why there is none."""
    for frame in sorted(frames, key=lambda frame: abs(frame.density - float(np.median([f.density for f in frames])))):
        try:
            Composition.parse(frame.composition)
        except CompositionError:
            continue
        try:
            return core_microseconds(potential, frame, lammps=lammps), ""
        except RunStoppedError:
            raise
        except (EngineError, PreflightError, PotentialError) as error:
            return None, str(error)
    return None, "no frame names a composition that can be read"
