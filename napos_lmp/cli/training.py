"""`napos-lmp train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napos_lmp.cli.output import Json, print_json

if TYPE_CHECKING:
    from napos_lmp.card import Potential
    from napos_lmp.training.outcome import TrainingResult

train = typer.Typer(help="Train potentials from labelled frames.", no_args_is_help=True)

TrainingFile = Annotated[Path, typer.Argument(help="Training file (YAML).")]


@train.command("deepmd")
def train_deepmd(config: TrainingFile, as_json: Json = False) -> None:
    """Train, freeze and test a DeePMD potential; run again to go on after an interruption."""
    from napos_lmp.training.deepmd import train_deepmd as train_potential
    from napos_lmp.training.progress import progress_bar

    with progress_bar() as show:
        result = train_potential(config, show)
    _print_result(result, as_json)


@train.command("mace")
def train_mace(
    config: TrainingFile,
    foundation: Annotated[
        Path | None, typer.Option(help="MACE model to fine-tune: a file, or a name that MACE can download.")
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Accept the foundation or the run found in `output`: they can run code.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train and test a MACE potential, from nothing or from a foundation; run again to go on after an interruption."""
    from napos_lmp.training.mace import train_mace as train_potential
    from napos_lmp.training.progress import progress_bar

    with progress_bar() as show:
        result = train_potential(config, show, foundation=foundation, trust=trust, message=_say)
    _print_result(result, as_json)


@train.command("models")
def train_models(
    plan: Annotated[Path, typer.Argument(help="Plan (YAML).")],
    trust: Annotated[bool, typer.Option("--trust", help="Accept a foundation that it names: it can run code.")] = False,
    as_json: Json = False,
) -> None:
    """Train all potentials of a plan, both families and committees; run again to go on after an interruption."""
    from napos_lmp.training.plan import train_plan
    from napos_lmp.training.progress import named_progress_bars

    with named_progress_bars() as progress:
        results = train_plan(plan, progress, trust=trust, message=_say)
    if as_json:
        print_json(
            [
                {"folder": result.potential.folder, "card": result.potential.card.model_dump(mode="json")}
                for result in results
            ]
        )
        return
    for result in results:
        _print_potential(result.potential)


def _say(sentence: str) -> None:
    typer.echo(sentence, err=True)


def _print_result(result: TrainingResult, as_json: bool) -> None:
    if as_json:
        print_json({"folder": result.folder, "card": result.potential.card.model_dump(mode="json")})
    else:
        _print_potential(result.potential)


def _print_potential(potential: Potential) -> None:
    card = potential.card
    for name, rows in (("", card.errors), *card.peer_errors.items()):
        for errors in rows:
            typer.echo(
                f"{name + ', ' if name else ''}{errors.set}: {errors.frames} frames, "
                f"energy {errors.energy_meV_per_atom.rmse:.1f} meV/atom, "
                f"force {errors.force_meV_per_A.rmse:.0f} meV/A (RMSE)"
            )
    if card.committee:
        typer.echo(f"a committee of {1 + len(card.committee)}; the errors are those of the first")
    add = f"napos-lmp potentials add {potential.folder}" + (" --trust" if card.backend == "mliap" else "")
    typer.echo(f"the potential is in {potential.folder}; use it after `{add}`")
