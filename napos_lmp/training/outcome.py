"""What a training leaves: the model's errors on frames it has not seen, and the potential's folder with its card."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from napos_lmp import __version__
from napos_lmp.card import Domain, Potential, PotentialCard, SetErrors, TrainingData, write_card
from napos_lmp.files import sha256_of, whole_folder
from napos_lmp.training.config import TrainingConfig
from napos_lmp.training.dataset import Frame, FrameSet, read_frames, refuse_overlap, split_frames
from napos_lmp.training.evaluate import grouped_errors, write_errors
from napos_lmp.training.prediction import Predictor


@dataclass(frozen=True)
class TrainingResult:
    """A finished training.

    `folder` is the potential's own, ready for :func:`napos_lmp.potential.add_potential`; `resumed_from` the step or
    epoch of the checkpoint that this call went on from; `dropped` the frames left out for a force above the cap.
    """

    potential: Potential
    resumed_from: int | None
    dropped: int

    @property
    def folder(self) -> Path:
        """Folder with card, model, training file and errors."""
        return self.potential.folder


@dataclass(frozen=True)
class TrainedModel:
    """A model that was trained, and what its card says of it besides errors and data.

    `packages` are the programs that made it, as pip calls them; `details` further fields of the card.
    """

    file: Path
    name_in_folder: str
    backend: str
    elements: tuple[str, ...]
    cutoff: float
    remake: str
    packages: tuple[str, ...]
    predictor: Predictor
    details: Mapping[str, Any]


def read_parts(config: TrainingConfig) -> tuple[FrameSet, dict[str, list[Frame]]]:
    """The frames of a training file, and what of them is to train, to validate and to test on.

    Raises
    ------
    TrainingError
        If the data are wrong, cannot be divided as asked for, or a test file shares a frame with them.
    """
    frames = read_frames(config.data, config.elements, config.split.by, config.force_cap_eV_A)
    parts = split_frames(frames.frames, config.split)
    for tested in sets_to_test(config, parts).values():
        refuse_overlap(tested, parts["train"])
    return frames, parts


def sets_to_test(config: TrainingConfig, parts: Mapping[str, Sequence[Frame]]) -> dict[str, Sequence[Frame]]:
    """Sets of frames that a model is tested on: validation, test, and each test file under its name; none is empty."""
    sets: dict[str, Sequence[Frame]] = {name: parts[name] for name in ("validation", "test") if parts[name]}
    for path in config.test:
        found = read_frames([path], config.elements, config.split.by, config.force_cap_eV_A)
        sets[path.name.split(".")[0]] = found.frames
    return sets


def write_potential(
    target: Path,
    config: TrainingConfig,
    config_path: Path,
    model: TrainedModel,
    parts: Mapping[str, Sequence[Frame]],
    *,
    peer_errors: Mapping[str, tuple[SetErrors, ...]],
    limits: Sequence[str] = (),
) -> None:
    """Test a model and write the potential's folder: `card.yaml`, the model, `config.yaml` and `errors.csv`.

    Parameters
    ----------
    target
        Folder to make; it stands whole or not at all.
    config, config_path
        The training file, read and as a file.
    model
        The model.
    parts
        Frames by part: `train`, `validation`, `test`.
    peer_errors
        Errors of other potentials on the same sets.
    limits
        Sentences for the card on top of those of the training file.
    """
    sets = sets_to_test(config, parts)
    rows = [
        row
        for name, frames in sets.items()
        for row in grouped_errors(name, frames, model.predictor(model.file, frames))
    ]
    card = PotentialCard(
        name=config.name,
        backend=model.backend,
        elements=model.elements,
        cutoff_A=model.cutoff,
        file=model.name_in_folder,
        sha256=sha256_of(model.file),
        description=config.description,
        version=config.version,
        training_data=_training_data(config, parts["train"]),
        errors=tuple(row for row in rows if row.set in sets),
        peer_errors=dict(peer_errors),
        domain=_domain(parts["train"]),
        limits=(*config.limits, *limits),
        licence=config.licence,
        remake=model.remake,
        made_with={"napos-lmp": __version__, **{package: version(package) for package in model.packages}},
        **model.details,
    )
    with whole_folder(target) as folder:
        shutil.copyfile(model.file, folder / model.name_in_folder)
        shutil.copyfile(config_path, folder / "config.yaml")
        write_errors(folder / "errors.csv", rows)
        write_card(folder, card)


def _training_data(config: TrainingConfig, frames: Sequence[Frame]) -> TrainingData:
    return TrainingData(
        level_of_theory=config.level_of_theory,
        files={path.name: sha256_of(path) for path in config.data},
        frames=len(frames),
        compositions=tuple(sorted({frame.composition for frame in frames})),
    )


def _domain(frames: Sequence[Frame]) -> Domain:
    temperatures = [frame.temperature for frame in frames if frame.temperature is not None]
    densities = [frame.density for frame in frames]
    return Domain(
        temperature_K=(min(temperatures), max(temperatures)) if temperatures else None,
        density_g_cm3=(round(min(densities), 3), round(max(densities), 3)),
        compositions=tuple(sorted({frame.composition for frame in frames})),
    )
