"""How long the productions of decks have to be, from the diffusion coefficients that were measured on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from napos_lmp.analysis.base import Estimate
from napos_lmp.analysis.results import read_deck_result
from napos_lmp.analysis.transport.run_length import RunLengthPlan, plan_run_length
from napos_lmp.errors import AnalysisError
from napos_lmp.files import sha256_of
from napos_lmp.manifest import MANIFEST_NAME, read_manifest


@dataclass(frozen=True)
class DeckPlan:
    """What one production needs; `plan` is None where the data give no plan, and `sentence` says why."""

    deck: Path
    stage: str
    plan: RunLengthPlan | None
    sentence: str


def plan_decks(decks: Sequence[Path], error: float, species: str = "Na") -> list[DeckPlan]:
    """The length that each production of the decks needs for a relative standard error of D.

    Raises
    ------
    AnalysisError
        If a deck was not analysed as it is now, or none has a production.
    """
    plans = [plan for deck in decks for plan in _plans(deck, error, species)]
    if not plans:
        raise AnalysisError(f"none of the {len(decks)} decks has a production whose diffusion was looked at")
    return plans


def _plans(deck: Path, error: float, species: str) -> list[DeckPlan]:
    manifest, result = read_manifest(deck), read_deck_result(deck)
    if result is None or result.manifest_sha256 != sha256_of(deck / MANIFEST_NAME):
        raise AnalysisError(f"{deck} was not analysed as it is now: run napos-lmp analyse first")
    plans = []
    for stage in result.stages:
        quantity = stage.get(f"diffusion.{species}")
        if stage.kind != "produce" or quantity is None:
            continue
        if quantity.value is None or quantity.low is None or quantity.high is None:
            reason = quantity.refused or quantity.note
            plans.append(DeckPlan(deck, stage.stage, None, f"cannot be planned: {reason}"))
            continue
        record = manifest.stage(stage.stage)
        stride = record.dump.stride if record.dump else 1
        estimate = Estimate(quantity.value, quantity.low, quantity.high, quantity.unit, quantity.level)
        plan = plan_run_length(estimate, stage.used_frames * stride * manifest.timestep_ps, error)
        plans.append(DeckPlan(deck, stage.stage, plan, plan.sentence))
    return plans
