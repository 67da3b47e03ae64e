"""The plan of active learning: what a user writes for `napos-lmp learn`."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from napos_lmp.errors import LabelError, LearningError
from napos_lmp.files import sha256_of
from napos_lmp.reference.card import card_path, read_data_card
from napos_lmp.reference.engines import make_engine
from napos_lmp.reference.plan import SamplingPlan
from napos_lmp.reference.plan import read_plan as read_sampling
from napos_lmp.reference.queue import QueueSettings, fingerprint
from napos_lmp.training.plan import TrainingPlan
from napos_lmp.training.plan import read_plan as read_training
from napos_lmp.yamlfile import read_yaml_model

Multiple = Annotated[float, Field(gt=0)]


class LearningPlan(BaseModel):
    """Active learning; paths are relative to the file that holds it.

    Attributes
    ----------
    training
        Plan of `napos-lmp train models`; all its models are trained in each round.
    explorer
        The DeePMD model of that plan whose committee explores and judges.
    sampling
        Sampling file: where to explore. Its `potential`, `output`, `work` and the `select` of its sources do not count.
    labelling
        `queue.yaml`: how to label. Its `pool`, `collected` and `work` do not count.
    rounds
        Most rounds of exploring and labelling.
    frames
        Most frames to label in one round.
    window
        A frame is worth a label if the largest deviation of the committee on an atom lies between these multiples of
        what is usual (the largest one in the validation frames): below it is known, above it is no structure to learn.
    stop
        Learning ends when at most this share of the frames lies above the lower end of the window.
    output
        Folder of the rounds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    training: Path
    explorer: str
    sampling: Path
    labelling: Path
    rounds: int = Field(default=3, ge=1, le=100)
    frames: int = Field(default=20, ge=1)
    window: tuple[Multiple, Multiple] = (1.0, 5.0)
    stop: float = Field(default=0.02, ge=0, lt=1)
    output: Path = Path("learning")

    @model_validator(mode="after")
    def _low_before_high(self) -> Self:
        if self.window[0] >= self.window[1]:
            raise ValueError(f"window: {self.window[0]:g} must be below {self.window[1]:g}")
        return self


@dataclass(frozen=True)
class Learning:
    """A plan with what it names, all read and checked; paths are absolute."""

    plan: LearningPlan
    training: TrainingPlan
    sampling: SamplingPlan
    labelling: QueueSettings

    @property
    def settings(self) -> dict[str, str]:
        """What must not change between rounds, by field: hashes of what files say, and values."""
        plan, training = self.plan, self.training
        window = "to".join(f"{end:g}" for end in plan.window)
        return {
            "training": _digest(training.model_dump(mode="json", exclude={"threads", "output"})),
            "data of training": _digest([sha256_of(path) for path in self.data]),
            "sampling": _digest(self.sampling.model_dump(mode="json", exclude={"output", "work", "potential"})),
            "labelling": _digest([make_engine(self.labelling.engine).level, self.labelling.force_cap_eV_A]),
            "explorer": plan.explorer,
            "frames": str(plan.frames),
            "window": window,
        }

    @property
    def data(self) -> tuple[Path, ...]:
        """The data files of the training plan."""
        return tuple(self.plan.training.parent / path for path in self.training.data)


def read_learning_plan(path: Path) -> Learning:
    """Read a plan of active learning and all that it names.

    Raises
    ------
    LearningError
        If the plan is wrong, or what it names does not fit.
    TrainingError, ReferenceDataError, LabelError
        If a file that it names is wrong.
    """
    plan = read_yaml_model(path, LearningPlan, LearningError)
    base = path.resolve().parent
    paths = {name: base / getattr(plan, name) for name in ("training", "sampling", "labelling", "output")}
    for name in ("training", "sampling", "labelling"):
        if not paths[name].is_file():
            raise LearningError(f"{path}: {name}: {paths[name]} does not exist")
    plan = plan.model_copy(update=paths)
    training, _ = read_training(plan.training)
    explorer = next((model for model in training.models if model.name == plan.explorer), None)
    if explorer is None:
        names = ", ".join(model.name for model in training.models)
        raise LearningError(f"{path}: explorer: {plan.explorer!r} is not in {plan.training}; it has {names}")
    if explorer.family != "deepmd":
        raise LearningError(f"{path}: explorer: {plan.explorer!r} is of family {explorer.family}; it must be deepmd")
    if explorer.members < 2:
        raise LearningError(
            f"{path}: explorer: {plan.explorer!r} has one member, and a deviation takes a committee of at least two"
        )
    if own := next((model.name for model in training.models if model.split), None):
        raise LearningError(
            f"{plan.training}: model {own!r} has a split of its own; in active learning all models share the plan's"
        )
    if training.split.by != "trajectory":
        raise LearningError(f"{plan.training}: split.by is {training.split.by!r}; labels name their 'trajectory'")
    sampling = read_sampling(plan.sampling)
    if tested := next((source.name for source in sampling.sources if source.group == "test"), None):
        raise LearningError(f"{plan.sampling}: source {tested!r} is of the group test, of which nothing may be learned")
    labelling = read_yaml_model(plan.labelling, QueueSettings, LabelError)
    learning = Learning(plan, training, sampling, labelling)
    level = fingerprint(make_engine(labelling.engine).level)
    for data in learning.data:
        if card_path(data).is_file() and (card := read_data_card(data)).settings and card.level != level:
            raise LearningError(
                f"{plan.labelling}: its level of theory is not that of {data} ({card.level_of_theory}); all labels of "
                "one training must be of one level"
            )
    return learning


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
