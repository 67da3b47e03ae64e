"""Several potentials from one training file: both families, members of a committee, other labels to start from.

A plan is written out as the training files of its members, one for each stage, and these are trained one after the
other by the family's own trainer; so each can be interrupted, goes on, and can be trained again by itself.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from napos_lmp.card import Element, Name, Potential, read_card, write_card
from napos_lmp.errors import TrainingError
from napos_lmp.files import write_text
from napos_lmp.potential import read_potential
from napos_lmp.training.committee import write_committee
from napos_lmp.training.config import ConfigPart, Split, TrainingConfig, read_config
from napos_lmp.training.deepmd import train_deepmd
from napos_lmp.training.deepmd_config import DeepmdConfig
from napos_lmp.training.deviation import force_deviations, usual_deviation
from napos_lmp.training.mace import MODEL_NAME, train_mace
from napos_lmp.training.mace_config import MaceConfig
from napos_lmp.training.outcome import TrainingResult, read_parts
from napos_lmp.training.peers import errors_of_sets
from napos_lmp.training.prediction import predictions
from napos_lmp.training.progress import ProgressCallback
from napos_lmp.trust import accepting
from napos_lmp.yamlfile import check_model, read_yaml_model

_STARTS = ("init_model", "finetune", "foundation")
_CONFIGS: dict[str, type[TrainingConfig]] = {"deepmd": DeepmdConfig, "mace": MaceConfig}


class Labels(ConfigPart):
    """Frames of one level of theory, and how they are divided; as in every training file."""

    level_of_theory: str
    data: tuple[Path, ...] = Field(min_length=1)
    test: tuple[Path, ...] = ()
    split: Split = Split()
    force_cap_eV_A: float = Field(default=40.0, gt=0)


class PlannedModel(ConfigPart):
    """One potential of a plan.

    `settings` are what the training file of its family takes beside what all families share, `pretrain` those of the
    stage before, which is trained on the plan's `pretrain` labels; a network's size stands there, as the second stage
    keeps it. `members` trainings differ by their seeds, from `seed` on, and by what they start from where `finetune`,
    `init_model` or `foundation` name it with ``{member}``. `split` replaces keys of the plan's split for
    this model, to hold out something else, or to train on fewer frames.
    """

    family: Literal["deepmd", "mace"]
    name: Name
    description: str
    version: str | None = None
    members: int = Field(default=1, ge=1, le=20)
    seed: int = Field(default=1, ge=0, lt=2**30)
    settings: dict[str, Any]
    pretrain: dict[str, Any] | None = None
    split: dict[str, Any] = Field(default={})
    limits: tuple[str, ...] = ()
    licence: str = "unknown"


class TrainingPlan(Labels):
    """A plan; paths are relative to the file that holds it."""

    elements: tuple[Element, ...] = Field(min_length=1)
    output: Path
    threads: int | None = Field(default=None, gt=0)
    pretrain: Labels | None = None
    models: tuple[PlannedModel, ...] = Field(min_length=1)

    @field_validator("models")
    @classmethod
    def _named_once(cls, models: tuple[PlannedModel, ...]) -> tuple[PlannedModel, ...]:
        names = [model.name for model in models]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two models are called {twice[0]!r}")
        return models

    @model_validator(mode="after")
    def _labels_to_start_from(self) -> Self:
        for model in self.models:
            if (model.pretrain is None) != (self.pretrain is None):
                raise ValueError(
                    f"model {model.name!r} has {'no' if model.pretrain is None else 'a'} pretrain and the plan "
                    f"{'none' if self.pretrain is None else 'has one'}: labels and settings of a stage go together"
                )
        return self


@dataclass(frozen=True)
class PlannedTraining:
    """One training of a plan: its training file, and that of the stage that it starts from."""

    family: str
    file: Path
    config: dict[str, Any]
    start: Path | None = None


@dataclass(frozen=True)
class PlannedResult:
    """What became of one model of a plan: its potential, with a committee if it has members, and their trainings."""

    potential: Potential
    members: tuple[TrainingResult, ...]


@dataclass(frozen=True)
class Changes:
    """What a plan is trained with in the place of what it says: more data, another split, another folder."""

    data: tuple[Path, ...] = ()
    split: Split | None = None
    output: Path | None = None

    def of(self, plan: TrainingPlan) -> TrainingPlan:
        """The plan with the changes; paths that are absolute stay so."""
        update: dict[str, Any] = {"data": (*plan.data, *self.data)}
        if self.split is not None:
            update["split"] = self.split
        if self.output is not None:
            update["output"] = self.output
        return plan.model_copy(update=update)


UNCHANGED = Changes()


def read_plan(path: Path, changes: Changes = UNCHANGED) -> tuple[TrainingPlan, list[PlannedTraining]]:
    """Read a plan, and check every training that follows from it.

    Parameters
    ----------
    path
        The plan.
    changes
        Made to it.

    Returns
    -------
    plan, trainings
        The trainings in the order in which they are to be done: each model's members, each member's stages.

    Raises
    ------
    TrainingError
        If the plan or one of the trainings is wrong.
    """
    plan = changes.of(read_yaml_model(path, TrainingPlan, TrainingError))
    base = path.resolve().parent
    for labels, where in ((plan, ""), (plan.pretrain, "pretrain.")):
        for field, files in (("data", labels.data), ("test", labels.test)) if labels else ():
            if missing := [file for file in files if not (base / file).is_file()]:
                raise TrainingError(f"{path}: {where}{field}: {base / missing[0]} does not exist")
    trainings = []
    for place, model in enumerate(plan.models):
        for member in range(1, model.members + 1):
            folder = base / plan.output / model.name / f"member-{member}"
            trainings.extend(_trainings(plan, model, member, base, folder, f"{path}: models.{place}"))
    return plan, trainings


def train_plan(
    path: Path,
    progress: Callable[[str], ProgressCallback],
    *,
    changes: Changes = UNCHANGED,
    trust: bool = False,
    message: Callable[[str], None] | None = None,
) -> list[PlannedResult]:
    """Train all that a plan asks for; what is trained is kept, and what was interrupted goes on.

    Parameters
    ----------
    path
        The plan.
    progress
        Called with the name of each training; gives what is told of its progress.
    changes
        Made to the plan.
    trust, message
        As for :func:`~napos_lmp.training.mace.train_mace`; what the plan itself has trained is trusted.

    Returns
    -------
    results
        Of each model of the plan.

    Raises
    ------
    TrainingError
        As :func:`read_plan`, or as the trainers of the families.
    """
    plan, trainings = read_plan(path, changes)
    for training in trainings:
        _write(training)
    finished = {}
    for number, training in enumerate(trainings, start=1):
        stage = training.file.relative_to(path.resolve().parent / plan.output).with_suffix("")
        show = progress(f"{stage} ({number}/{len(trainings)})")
        if training.family == "deepmd":
            finished[training.file] = train_deepmd(training.file, show)
            continue
        with accepting(finished[training.start].potential.sha256) if training.start else nullcontext():
            finished[training.file] = train_mace(training.file, show, trust=trust, message=message)
    results = [_gathered(path, plan, model, finished) for model in plan.models]
    return [_beside_its_peers(plan, model, result, results) for model, result in zip(plan.models, results, strict=True)]


def _gathered(
    path: Path, plan: TrainingPlan, model: PlannedModel, finished: dict[Path, TrainingResult]
) -> PlannedResult:
    folder = path.resolve().parent / plan.output / model.name
    members = [finished[folder / f"member-{number}" / "train.yaml"] for number in range(1, model.members + 1)]
    if model.members == 1:
        return PlannedResult(members[0].potential, tuple(members))
    target = folder / "committee"
    potentials = [member.potential for member in members]
    digests = [potential.sha256 for potential in potentials]
    if not target.is_dir() or list(read_card(target).models.values()) != digests:
        frames = read_parts(read_config(folder / "member-1" / "train.yaml", _CONFIGS[model.family]))[1]["validation"]
        with accepting(*digests):
            said = [predictions(potential, frames) for potential in potentials]
        if target.is_dir():
            shutil.rmtree(target)
        write_committee(target, potentials, model.description, usual_deviation(force_deviations(said)))
    return PlannedResult(read_potential(target), tuple(members))


def _beside_its_peers(
    plan: TrainingPlan, model: PlannedModel, result: PlannedResult, results: Sequence[PlannedResult]
) -> PlannedResult:
    """The result, its card with the errors of those that were tested on the same frames: models of the same split."""
    peers = {
        other.potential.name: errors_of_sets(other.potential.card)
        for peer, other in zip(plan.models, results, strict=True)
        if peer is not model and peer.split == model.split
    }
    potential = result.potential
    if potential.card.peer_errors == peers:
        return result
    write_card(potential.folder, potential.card.model_copy(update={"peer_errors": peers}))
    told = read_potential(potential.folder)
    members = result.members if len(result.members) > 1 else (replace(result.members[0], potential=told),)
    return PlannedResult(told, members)


def _trainings(
    plan: TrainingPlan, model: PlannedModel, member: int, base: Path, folder: Path, where: str
) -> list[PlannedTraining]:
    """Stages of one member."""
    if plan.pretrain is None or model.pretrain is None:
        config = _config(plan, plan, model, model.settings, member, base, folder, "train", f"{where}.settings")
        return [_checked(model, folder / "train.yaml", config, f"{where}.settings")]
    first = _config(plan, plan.pretrain, model, model.pretrain, member, base, folder, "pretrain", f"{where}.pretrain")
    before = _checked(model, folder / "pretrain.yaml", first, f"{where}.pretrain")
    if given := [key for key in _STARTS if key in model.settings]:
        raise TrainingError(f"{where}.settings.{given[0]}: the stage before gives it, leave it out")
    second = _config(plan, plan, model, model.settings, member, base, folder, "train", f"{where}.settings")
    if model.family == "deepmd":
        second["finetune"] = f"pretrain/model.ckpt-{first['steps']}.pt"
        second.setdefault("model", first.get("model", {}))
    else:
        second["foundation"] = f"pretrain/{model.name}/{MODEL_NAME}"
    return [before, _checked(model, folder / "train.yaml", second, f"{where}.settings", before.file)]


def _config(
    plan: TrainingPlan,
    labels: Labels,
    model: PlannedModel,
    settings: dict[str, Any],
    member: int,
    base: Path,
    folder: Path,
    stage: str,
    where: str,
) -> dict[str, Any]:
    """Training file of one stage; paths relative to the member's folder."""

    def moved(path: Path) -> str:
        return Path(os.path.relpath(base / path, folder)).as_posix()

    starts = {}
    for key in _STARTS:
        if start := str(settings.get(key) or "").replace("{member}", str(member)):
            there = (base / start).is_file()
            if key != "foundation" and not there:  # which may be a name that MACE knows
                raise TrainingError(f"{where}.{key}: {base / start} does not exist")
            starts[key] = moved(Path(start)) if there else start
    said = f", member {member} of {model.members}" if model.members > 1 else ""
    common = {
        "name": model.name,
        "description": model.description + said,
        "version": model.version,
        "elements": list(plan.elements),
        "output": stage,
        "seed": model.seed + member - 1,
        "threads": plan.threads,
        "limits": list(model.limits),
        "licence": model.licence,
        **labels.model_dump(mode="json", include={"level_of_theory", "split", "force_cap_eV_A"}),
        "data": [moved(path) for path in labels.data],
        "test": [moved(path) for path in labels.test],
    }
    if labels is plan:
        common["split"] |= model.split
    if given := [key for key in common if key in settings]:
        raise TrainingError(f"{where}.{given[0]}: the plan says it for all stages and members, leave it out")
    return common | settings | starts


def _checked(
    model: PlannedModel, file: Path, config: dict[str, Any], where: str, start: Path | None = None
) -> PlannedTraining:
    check_model(config, _CONFIGS[model.family], TrainingError, where)
    return PlannedTraining(model.family, file, config, start)


def _write(training: PlannedTraining) -> None:
    """Write the training file, unless it stands there already as it is."""
    import yaml

    text = yaml.safe_dump(training.config, sort_keys=False, allow_unicode=True, width=118)
    if not training.file.is_file() or training.file.read_text(encoding="utf-8") != text:
        training.file.parent.mkdir(parents=True, exist_ok=True)
        write_text(training.file, text)
