"""Where the potential extrapolates, by the deviation of its committee."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from napos_lmp.analysis.results import ExtrapolationRecord, StageResult
from napos_lmp.report.collect import DeckView, StudyView
from napos_lmp.report.figures.deviation import deviations
from napos_lmp.report.html import Block, Caveat, Figure

_MOST_FIGURES = 6


def extrapolation_caveat(study: StudyView) -> Caveat | None:
    """Stages in which the committee deviates more than it does at home, or of which nobody can say."""
    found = [(deck, stage, record) for deck in study.decks for stage, record in _records(deck)]
    away = [f"{deck.name}, {stage.stage}: {record.verdict}." for deck, stage, record in found if record.extrapolating]
    unknown = dict.fromkeys(
        f"The card of {deck.manifest.potential.name} does not say how far its models usually are from one another, so "
        "nobody can say whether it extrapolates."
        for deck, _, record in found
        if record.extrapolating is None
    )
    said = (*away, *unknown)
    if not said:
        return None
    short = f"the potential extrapolates in {len(away)} of {len(found)} stages" if away else ""
    return Caveat("Configurations that the potential does not know", said, short)


def deviation_blocks(study: StudyView) -> Iterable[Block]:
    """For each glass, the deviation against time in the deck where it is largest against its limit."""
    shown = 0
    for glass in study.glasses:
        decks = [deck for deck in glass.decks if _times(deck)]
        if decks and shown < _MOST_FIGURES:
            yield _figure(glass.label, max(decks, key=_ratio))
            shown += 1


def _figure(label: str, deck: DeckView) -> Figure:
    curves = _times(deck)
    times, largest, mean = (
        np.concatenate([curve[name] for curve in curves]) for name in ("time_ps", "largest_eV_A", "mean_eV_A")
    )
    records = [record for _, record in _records(deck)]
    first, away = records[0], sum(bool(record.extrapolating) for record in records)
    series = {
        "largest deviation of an atom": (largest, first.usual_largest_eV_A),
        "mean deviation": (mean, first.usual_mean_eV_A),
    }
    way = "while LAMMPS ran" if first.source == "run" else "on stored frames"
    judged = f" {away} of {len(records)} stages extrapolate." if first.extrapolating is not None else ""
    return Figure(
        deviations(times, series),
        f"Deviation of the committee in {label} against time",
        f"{label}, {deck.name}: how far the forces of the {_models(deck)} models of {deck.manifest.potential.name} are "
        f"from one another, {way}. Dashed: what the validation frames stay below.{judged}",
    )


def _models(deck: DeckView) -> int:
    return 1 + len(deck.manifest.potential.card.get("committee", ()))


def _records(deck: DeckView) -> list[tuple[StageResult, ExtrapolationRecord]]:
    stages = deck.result.stages if deck.result else ()
    return [(stage, stage.extrapolation) for stage in stages if stage.extrapolation is not None]


def _times(deck: DeckView) -> list[dict[str, np.ndarray]]:
    curves = [deck.curve(stage, "deviation") for stage, _ in _records(deck)]
    return [curve for curve in curves if curve]


def _ratio(deck: DeckView) -> float:
    """Largest deviation over its limit; a simulation that blew up is beyond all."""
    return max(
        np.inf if record.largest_eV_A is None else record.largest_eV_A / (record.usual_largest_eV_A or 1.0)
        for _, record in _records(deck)
    )
