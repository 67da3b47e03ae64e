"""Round after round, until the committee knows what it comes by."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from napos_lmp.errors import LearningError
from napos_lmp.learning.plan import Learning
from napos_lmp.learning.round import RECORD_NAME, Callbacks, Round, RoundRecord, errors_of, labelled_sets, round_folder
from napos_lmp.records import Record, read_record, write_record
from napos_lmp.reference.engines import make_engine
from napos_lmp.training.config import Split
from napos_lmp.training.dataset import is_held_out, read_frames, split_frames
from napos_lmp.training.plan import Changes

STATE_NAME = "learning.json"


class Begun(Record):
    """What a learning was begun with, by field of the plan; it must stay so."""

    settings: dict[str, str]


@dataclass(frozen=True)
class Row:
    """One model in one round: its errors on the test set, or without one on the validation set, and what came of them.

    `energy` in meV/atom and `force` in meV/A are root mean squares over `frames` of `set`.
    """

    round: int
    model: str
    trained_on: int
    set: str
    frames: int
    energy: float
    force: float
    unknown_share: float | None
    labelled: int


@dataclass(frozen=True)
class Learned:
    """Rounds that are whole; `ended` says in a sentence why there are no more, and is "" while there may be."""

    rounds: tuple[RoundRecord, ...]
    ended: str

    @property
    def rows(self) -> list[Row]:
        """A row for each round and model."""
        return [
            Row(
                number,
                model.name,
                model.trained_on,
                tested.set,
                tested.frames,
                tested.energy_meV_per_atom.rmse,
                tested.force_meV_per_A.rmse,
                record.unknown_share,
                record.labelled,
            )
            for number, record in enumerate(self.rounds, start=1)
            for model in record.models
            for tested in [model.tested]
        ]


def standing(learning: Learning) -> Learned:
    """How far a learning has come; nothing is done."""
    rounds: list[RoundRecord] = []
    while (path := round_folder(learning.plan.output, len(rounds) + 1) / RECORD_NAME).is_file():
        rounds.append(read_record(path, RoundRecord, LearningError))
    return Learned(tuple(rounds), _ended(learning, rounds))


def learn(learning: Learning, callbacks: Callbacks, *, workers: int = 1, trust: bool = False) -> Learned:
    """Train, explore, label where the committee disagrees, and again; the same call goes on after an interruption.

    All models are trained from the same start in every round, on the data of the plan and all labels so far. What is to
    validate and to test on stays as it was in the first round. The last round only trains.

    Parameters
    ----------
    learning
        From :func:`~napos_lmp.learning.plan.read_learning_plan`.
    callbacks
        Told of the progress.
    workers
        Decks, and calculations, side by side.
    trust
        Accept a foundation that the training plan names: it can run code.

    Raises
    ------
    LearningError
        If the plan is not the one that the rounds in its output were begun with.
    LabelError
        If the engine is not there, before anything is trained.
    RunStoppedError
        After Ctrl-C.
    """
    split = _named(learning)
    learning.plan.output.mkdir(parents=True, exist_ok=True)
    with _alone(learning.plan.output):
        _begin(learning)
        while not (state := standing(learning)).ended:
            make_engine(learning.labelling.engine).find()
            number = len(state.rounds) + 1
            data = labelled_sets(learning.plan.output, len(state.rounds))
            this = Round(learning, number, Changes(data, split), callbacks)
            record = _carry_out(learning, this, number, workers, trust, callbacks)
            write_record(this.folder / RECORD_NAME, record)
    return state


@contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Hold the folder of a learning; the kernel lets go of it when this process ends."""
    with (output / "learning.lock").open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LearningError(
                f"another process is learning in {output}; wait for it, or name another output"
            ) from None
        yield


def _carry_out(
    learning: Learning, this: Round, number: int, workers: int, trust: bool, callbacks: Callbacks
) -> RoundRecord:
    callbacks.message(f"round {number}: training")
    results = this.train(trust)
    if number > learning.plan.rounds:
        return RoundRecord(models=errors_of(results))
    committee = next(result.potential for result in results if result.potential.name == learning.plan.explorer)
    callbacks.message(f"round {number}: exploring")
    candidates = this.explore(committee, workers)
    judgement = this.select(committee, candidates)
    labelled = rejected = 0
    if judgement.unknown_share > learning.plan.stop:
        callbacks.message(f"round {number}: labelling {judgement.counts['selected']} of {len(candidates)} frames")
        labelled, rejected = this.label(workers)
    return RoundRecord(
        models=errors_of(results),
        candidates={str(fate): count for fate, count in judgement.counts.items()},
        unknown_share=judgement.unknown_share,
        labelled=labelled,
        rejected=rejected,
    )


def _ended(learning: Learning, rounds: list[RoundRecord]) -> str:
    """Why there are no more rounds."""
    last = rounds[-1] if rounds else None
    if last is None:
        return ""
    if last.unknown_share is None:
        return (
            f"{len(rounds) - 1} of at most {learning.plan.rounds} rounds are done, and what they labelled is trained on"
        )
    if last.unknown_share <= learning.plan.stop:
        return f"the committee knows all but {100 * last.unknown_share:.1f} % of the frames that it comes by"
    if not last.labelled:
        return "no frame lies inside the window, or none could be labelled"
    return ""


def _begin(learning: Learning) -> None:
    """Note what a learning begins with, or refuse what was changed since."""
    path = learning.plan.output / STATE_NAME
    settings = learning.settings
    if not path.is_file():
        write_record(path, Begun(settings=settings))
        return
    before = read_record(path, Begun, LearningError).settings
    if changed := [field for field, value in settings.items() if before.get(field) != value]:
        raise LearningError(
            f"{changed[0]} is not what the learning in {learning.plan.output} was begun with; name another output"
        )


def _named(learning: Learning) -> Split:
    """The split of the training plan with its trajectories by name, so that new ones are all to train on."""
    training, base = learning.training, learning.plan.training
    split = training.split
    frames = read_frames(learning.data, training.elements, split.by, training.force_cap_eV_A)
    if not frames.frames[0].smeared:
        raise LearningError(f"{base}: the data have no free_energy, which labels have; one training must have one kind")
    parts = split_frames(frames.frames, split)
    names = {
        part: tuple(sorted({frame.trajectory for frame in parts[part] if not is_held_out(frame, split)}))
        for part in ("validation", "test")
    }
    return split.model_copy(update=names)
