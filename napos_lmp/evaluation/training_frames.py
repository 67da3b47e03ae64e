"""The frames that a potential was trained on, found again from its card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from napos_lmp.card import Potential
from napos_lmp.errors import TrainingError
from napos_lmp.files import sha256_of
from napos_lmp.resources import shipped_folder
from napos_lmp.training.config import Split, TrainingConfig
from napos_lmp.training.dataset import Frame, is_held_out, is_named, read_frames, split_frames
from napos_lmp.yamlfile import check_model, read_yaml

CONFIG_NAME = "config.yaml"
_FOLDERS_UP = 3


def training_parts(potential: Potential, places: Sequence[Path] = ()) -> dict[str, list[Frame]] | None:
    """Frames to train, to validate and to test on, divided as they were in the potential's training.

    The data files are known by the SHA-256 on the card. They are looked for where the training file beside the card
    says (relative to its folder or one above), in the folder of shipped data, and in `places`.

    Parameters
    ----------
    potential
        Its folder holds the training file as `config.yaml`, or nothing is found.
    places
        Further folders.

    Returns
    -------
    parts
        `train`, `validation` and `test`; None where the training file or a data file is not to be found.

    Raises
    ------
    TrainingError
        If the training file is wrong.
    """
    content = _training_file(potential)
    if content is None or not potential.card.training_data.files:
        return None
    above = [potential.folder, *potential.folder.parents[:_FOLDERS_UP]]
    candidates = [folder / str(name) for name in content.get("data", ()) for folder in above]
    folders = [shipped_folder("potentials") / "data", *places]
    found = []
    for name, digest in potential.card.training_data.files.items():
        files = [*candidates, *(folder / name for folder in folders)]
        if (file := next((f for f in files if f.is_file() and sha256_of(f) == digest), None)) is None:
            return None
        found.append(file)
    split = _split(potential, content)
    cap = float(content.get("force_cap_eV_A", TrainingConfig.model_fields["force_cap_eV_A"].default))
    frames = read_frames(found, potential.elements, split.by, cap)
    return split_frames(frames.frames, split)


def held_out(potential: Potential) -> str:
    """What the training file beside the card holds out for the test, in words; "" where it names nothing."""
    content = _training_file(potential)
    if content is None:
        return ""
    split = _split(potential, content)
    limits = {
        "hotter than {:g} K": split.test_above_K,
        "colder than {:g} K": split.test_below_K,
        "denser than {:g} g/cm3": split.test_above_g_cm3,
        "thinner than {:g} g/cm3": split.test_below_g_cm3,
    }
    named = split.test if isinstance(split.test, tuple) else ()
    said = [*(f"runs {name}" for name in named), *split.test_compositions, *split.test_phases]
    return ", ".join([*said, *(text.format(limit) for text, limit in limits.items() if limit is not None)])


def held_out_members(potential: Potential, frames: Sequence[Frame]) -> list[int]:
    """Which of the frames its training holds out for what they are, beside those of the group ``test``.

    All of them where the training file names no such kind.
    """
    content = _training_file(potential)
    if content is None or not held_out(potential):
        return list(range(len(frames)))
    split = _split(potential, content)
    patterns = split.test if isinstance(split.test, tuple) else ()
    return [
        place
        for place, frame in enumerate(frames)
        if is_held_out(replace(frame, group=""), split) or is_named(frame.trajectory, patterns)
    ]


def _training_file(potential: Potential) -> dict[str, Any] | None:
    """What the training file beside the card says; None without one."""
    beside = potential.folder / CONFIG_NAME
    content = read_yaml(beside, TrainingError) if beside.is_file() else None
    return content if isinstance(content, dict) else None


def _split(potential: Potential, content: dict[str, Any]) -> Split:
    return check_model(content.get("split") or {}, Split, TrainingError, f"{potential.folder / CONFIG_NAME}: split")
