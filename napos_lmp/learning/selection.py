"""Which of the frames that a committee came by are worth a label."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from napos_lmp.card import Potential
from napos_lmp.errors import LearningError
from napos_lmp.files import whole_file
from napos_lmp.reference.descriptors import mean_descriptors
from napos_lmp.reference.selection import farthest_first
from napos_lmp.training.dataset import Array, unlabelled
from napos_lmp.training.deviation import force_deviations
from napos_lmp.training.prediction import committee_predictions

Fate = Literal["known", "selected", "left", "unphysical"]


@dataclass(frozen=True)
class Judgement:
    """What a committee says of candidates.

    Attributes
    ----------
    largest, mean
        Largest and mean deviation over the atoms of each candidate, shape (candidates,), eV/A.
    fates
        Of each: known (below the window), selected or left (inside), unphysical (above).
    """

    largest: Array
    mean: Array
    fates: tuple[Fate, ...]

    @property
    def counts(self) -> dict[Fate, int]:
        """Number of candidates of each fate."""
        found = Counter(self.fates)
        return {fate: found[fate] for fate in get_args(Fate)}

    @property
    def unknown_share(self) -> float:
        """Share of the candidates above the lower end of the window."""
        return 1 - self.counts["known"] / len(self.fates)


def judge(
    committee: Potential, candidates: Sequence[Any], window: tuple[float, float], most: int, known: Sequence[Any] = ()
) -> Judgement:
    """Judge candidates, and select those to label: of those inside the window the ones that differ most.

    Parameters
    ----------
    committee
        A DeePMD potential with a committee and its usual deviation on the card.
    candidates
        `ase.Atoms`.
    window
        Multiples of the usual largest deviation between which a frame is worth a label.
    most
        Number of frames to select.
    known
        Frames labelled before, from which those selected shall differ, too.

    Raises
    ------
    LearningError
        If the card does not say which deviation is usual.
    """
    usual = committee.card.usual_deviation
    if usual is None:
        raise LearningError(f"the card of {committee.name!r} does not say which deviation of its committee is usual")
    deviations = force_deviations(committee_predictions(committee, [unlabelled(frame) for frame in candidates]))
    largest = np.array([deviation.max() for deviation in deviations])
    mean = np.array([deviation.mean() for deviation in deviations])
    low, high = (end * usual.largest_atom_eV_A for end in window)
    fates: list[Fate] = ["known" if size < low else "left" if size <= high else "unphysical" for size in largest]
    inside = [place for place, fate in enumerate(fates) if fate == "left"]
    if inside:
        frames = [*known, *(candidates[place] for place in inside)]
        strata = np.array([-1] * len(known) + [0] * len(inside))
        for chosen in farthest_first(mean_descriptors(committee, frames), strata, [most], range(len(known))):
            fates[inside[chosen - len(known)]] = "selected"
    return Judgement(largest, mean, tuple(fates))


def write_candidates(path: Path, candidates: Sequence[Any], judgement: Judgement) -> None:
    """Write a row for each candidate: what it is, how far the committee disagrees, what became of it."""
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["id", "composition", "phase", "temperature_K", "largest_eV_per_A", "mean_eV_per_A", "fate"])
        for frame, largest, mean, fate in zip(
            candidates, judgement.largest, judgement.mean, judgement.fates, strict=True
        ):
            told = [frame.info.get(key, "") for key in ("id", "composition", "phase", "temperature_K")]
            writer.writerow([*told, f"{largest:.4f}", f"{mean:.4f}", fate])
