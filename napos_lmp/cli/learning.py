"""`napos-lmp learn`."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napos_lmp.cli.output import Json, counted_progress, print_json, print_table
from napos_lmp.cli.reference import tell_label

if TYPE_CHECKING:
    from napos_lmp.learning import Learned


def learn(
    plan: Annotated[Path, typer.Argument(help="Plan of active learning (YAML).")],
    workers: Annotated[int, typer.Option(min=1, help="Decks and calculations side by side.")] = 1,
    status: Annotated[bool, typer.Option("--status", help="Say how far it is, no more.")] = False,
    trust: Annotated[bool, typer.Option("--trust", help="Accept a foundation that it names: it can run code.")] = False,
    as_json: Json = False,
) -> None:
    """Explore with a committee, label where it disagrees, train again; run again to go on after an interruption."""
    from napos_lmp.learning import learn as learn_rounds
    from napos_lmp.learning import read_learning_plan, standing
    from napos_lmp.learning.round import Callbacks
    from napos_lmp.training.progress import named_progress_bars

    learning = read_learning_plan(plan)
    if status:
        _show(standing(learning), as_json)
        return
    callbacks = Callbacks(
        training=named_progress_bars,
        decks=functools.partial(counted_progress, "decks"),
        labels=tell_label,
        message=functools.partial(typer.echo, err=True),
    )
    _show(learn_rounds(learning, callbacks, workers=workers, trust=trust), as_json)


def _show(learned: Learned, as_json: bool) -> None:
    if as_json:
        rounds = [record.model_dump(mode="json") for record in learned.rounds]
        print_json({**dataclasses.asdict(learned), "rounds": rounds})
        return
    columns = ("round", "model", "trained on", "tested on", "energy meV/atom", "forces meV/A", "unknown", "labelled")
    rows = [
        (
            str(row.round),
            row.model,
            str(row.trained_on),
            f"{row.frames} ({row.set})",
            f"{row.energy:.1f}",
            f"{row.force:.0f}",
            "" if row.unknown_share is None else f"{100 * row.unknown_share:.0f} %",
            str(row.labelled),
        )
        for row in learned.rows
    ]
    print_table(columns, rows)
    typer.echo(learned.ended or "not at its end; the same command goes on")
