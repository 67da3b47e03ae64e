"""Potentials that were trained alike but for their seeds, as one potential with a committee."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from napos_lmp.card import CommitteeMember, Potential, UsualDeviation, write_card
from napos_lmp.errors import TrainingError
from napos_lmp.files import whole_folder

_ALIKE = ("backend", "elements", "cutoff_A", "head", "precision", "training_data")


def write_committee(target: Path, members: Sequence[Potential], description: str, usual: UsualDeviation) -> None:
    """Write the folder of a potential whose first member simulations run with, and whose others judge it.

    The card is the first member's, its errors too; the folder stands whole or not at all.

    Parameters
    ----------
    target
        Folder to make.
    members
        At least two.
    description
        What the card says of all.
    usual
        Their deviation from one another on validation frames.

    Raises
    ------
    TrainingError
        If there are fewer than two members, or two of them differ in more than their seeds or in nothing.
    """
    if len(members) < 2:
        raise TrainingError(f"a committee needs at least two members; {len(members)} was given")
    first, *others = members
    for other in others:
        for field in _ALIKE:
            if getattr(first.card, field) != getattr(other.card, field):
                raise TrainingError(f"{other.folder} differs from {first.folder} in its {field}: it is of no committee")
    digests = [member.sha256 for member in members]
    if twice := [member for k, member in enumerate(members) if member.sha256 in digests[:k]]:
        raise TrainingError(f"{twice[0].folder} holds a model that another member has, too; its seed must be its own")
    stem, suffix = first.file.stem, first.file.suffix
    names = {other.file: f"{stem}-{number}{suffix}" for number, other in enumerate(others, start=2)}
    committee = tuple(CommitteeMember(file=names[other.file], sha256=other.sha256) for other in others)
    with whole_folder(target) as folder:
        for item in sorted(first.folder.iterdir()):
            if item.is_file():
                shutil.copyfile(item, folder / item.name)
        for file, name in names.items():
            shutil.copyfile(file, folder / name)
        told = {"committee": committee, "description": description, "usual_deviation": usual}
        write_card(folder, first.card.model_copy(update=told))
