"""One round: train, explore, judge, label; each part is kept, and goes on where it was stopped."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from napos_lmp.card import Potential, SetErrors
from napos_lmp.errors import LearningError
from napos_lmp.files import write_text
from napos_lmp.learning.plan import Learning
from napos_lmp.learning.selection import Judgement, judge, write_candidates
from napos_lmp.records import Record
from napos_lmp.reference.explore import Progress, sample
from napos_lmp.reference.frames import read_frames, write_frames
from napos_lmp.reference.labelling import LabelEvent, label_queue
from napos_lmp.reference.queue import QUEUE_FILE, Queue
from napos_lmp.training.dataset import is_held_out, unlabelled
from napos_lmp.training.plan import Changes, PlannedResult, train_plan
from napos_lmp.training.progress import ProgressCallback
from napos_lmp.trust import accepting

RECORD_NAME = "round.json"
CANDIDATES_NAME = "candidates.csv"
_POOL = "candidates.extxyz.gz"
_LABELS = "labels.extxyz.gz"
_ALL = 10**6
_SEEDS_APART = 1000


class ModelErrors(Record):
    """Errors of one model of the plan, as on its card, and how many frames it was trained on."""

    name: str
    trained_on: int
    errors: tuple[SetErrors, ...] = Field(min_length=1)

    @property
    def tested(self) -> SetErrors:
        """Errors on the test set, else on the validation set."""
        return {row.set: row for row in reversed(self.errors)}.get("test", self.errors[0])


class RoundRecord(Record):
    """What a round came to: errors of the models that it began with, what they came by, what was labelled of it.

    `candidates` counts frames by their fate and is empty in the last round, which only trains. `unknown_share` is the
    share of those that the committee did not know.
    """

    models: tuple[ModelErrors, ...]
    candidates: dict[str, int] = Field(default={})
    unknown_share: float | None = None
    labelled: int = 0
    rejected: int = 0


@dataclass(frozen=True)
class Callbacks:
    """What is told of the progress: of trainings, by name, and of decks, while each goes on; of labels; sentences."""

    training: Callable[[], AbstractContextManager[Callable[[str], ProgressCallback]]]
    decks: Callable[[], AbstractContextManager[Progress]]
    labels: Callable[[LabelEvent], None]
    message: Callable[[str], None]


class Round:
    """A round of learning in its folder.

    Parameters
    ----------
    learning
        The plan.
    number
        From 1 on.
    changes
        Made to the training plan: the split, and labels of earlier rounds.
    callbacks
        Told of the progress.
    """

    def __init__(self, learning: Learning, number: int, changes: Changes, callbacks: Callbacks) -> None:
        self._learning, self._number, self._callbacks = learning, number, callbacks
        self.folder = round_folder(learning.plan.output, number)
        self._trained = self.folder / "training"
        self._changes = Changes(changes.data, changes.split, self._trained)
        self._queue = self.folder / "queue"

    def train(self, trust: bool) -> list[PlannedResult]:
        """Train all models of the plan."""
        path, message = self._learning.plan.training, self._callbacks.message
        self._share_pretraining()
        with self._callbacks.training() as progress:
            return train_plan(path, progress, changes=self._changes, trust=trust, message=message)

    def explore(self, committee: Potential, workers: int) -> list[Any]:
        """All frames that the committee's first model comes by."""
        pool = self.folder / _POOL
        if not pool.is_file():
            sources = tuple(source.model_copy(update={"select": _ALL}) for source in self._learning.sampling.sources)
            plan = self._learning.sampling.model_copy(
                update={
                    "sources": sources,
                    "potential": str(committee.folder),
                    "descriptor": None,
                    "seed": self._learning.sampling.seed + _SEEDS_APART * self._number,
                    "work": self.folder / "exploration",
                    "output": pool,
                }
            )
            with accepting(*committee.models.values()), self._callbacks.decks() as progress:
                failed = sample(plan, workers, progress).failed
            for sentence in failed:
                self._callbacks.message(f"left out: {sentence}")
        frames = read_frames(pool)
        split = self._changes.split or self._learning.training.split
        free = [frame for frame in frames if not is_held_out(unlabelled(frame), split)]
        if len(free) < len(frames):
            self._callbacks.message(f"left out: {len(frames) - len(free)} frames of kinds that the split holds out")
        if not free:
            raise LearningError(f"all frames of {pool} are of kinds that the split of the training plan holds out")
        return free

    def select(self, committee: Potential, candidates: Sequence[Any]) -> Judgement:
        """Judge the candidates, and put those to label into a queue."""
        plan = self._learning.plan
        known = [frame for path in self._changes.data for frame in read_frames(path)]
        judgement = judge(committee, candidates, plan.window, plan.frames, known)
        write_candidates(self.folder / CANDIDATES_NAME, candidates, judgement)
        chosen = [frame for frame, fate in zip(candidates, judgement.fates, strict=True) if fate == "selected"]
        if chosen and not (self._queue / _POOL).is_file():
            self._fill(chosen)
        return judgement

    def label(self, workers: int) -> tuple[int, int]:
        """Label what waits; the numbers of frames labelled and rejected.

        Raises
        ------
        LearningError
            If frames wait still, as another process has them.
        """
        if not (self._queue / _POOL).is_file():
            return 0, 0
        if Queue(self._queue).waiting():
            label_queue(self._queue, workers, progress=self._callbacks.labels)
        queue = Queue(self._queue)
        queue.collect()
        if waiting := queue.waiting():
            raise LearningError(f"{len(waiting)} frames of {self._queue} have no label yet; go on when they have")
        return len(queue.collected), queue.state().rejected

    def _share_pretraining(self) -> None:
        """Point to what the first round trained on other labels: no round changes those."""
        first = round_folder(self._learning.plan.output, 1) / "training"
        for done in first.glob("*/member-*/pretrain") if self._number > 1 else ():
            link = self._trained / done.relative_to(first)
            if not link.is_symlink():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(os.path.relpath(done, link.parent))

    def _fill(self, frames: Sequence[Any]) -> None:
        """The pool last: with it the queue is whole."""
        import yaml

        settings = self._learning.labelling.model_dump(mode="json", exclude_none=True)
        settings |= {"pool": _POOL, "collected": _LABELS, "work": "work"}
        self._queue.mkdir(parents=True, exist_ok=True)
        write_text(self._queue / QUEUE_FILE, yaml.safe_dump(settings, sort_keys=False))
        for frame in frames:
            frame.info |= {
                "id": f"round-{self._number}-{frame.info['id']}",
                "trajectory": f"round-{self._number}-{frame.info['trajectory']}",
            }
        write_frames(self._queue / _POOL, frames)


def round_folder(output: Path, number: int) -> Path:
    """Folder of a round."""
    return output / f"round-{number}"


def labelled_sets(output: Path, rounds: int) -> tuple[Path, ...]:
    """The data sets that so many rounds have added."""
    sets = (round_folder(output, number) / "queue" / _LABELS for number in range(1, rounds + 1))
    return tuple(path for path in sets if path.is_file())


def errors_of(results: Sequence[PlannedResult]) -> tuple[ModelErrors, ...]:
    """Errors of models, from their cards."""
    return tuple(
        ModelErrors(
            name=result.potential.name,
            trained_on=result.potential.card.training_data.frames or 0,
            errors=result.potential.card.errors,
        )
        for result in results
    )
