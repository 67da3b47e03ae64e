"""`napos-lmp train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napos_lmp.cli.output import Json, print_json

train = typer.Typer(help="Train potentials from labelled frames.", no_args_is_help=True)


@train.callback()
def _group() -> None:
    pass


@train.command("deepmd")
def train_deepmd(config: Annotated[Path, typer.Argument(help="Training file (YAML).")], as_json: Json = False) -> None:
    """Train, freeze and test a DeePMD potential; run again to go on after an interruption."""
    from napos_lmp.training.deepmd import train_deepmd as train_potential
    from napos_lmp.training.progress import progress_bar

    with progress_bar() as show:
        result = train_potential(config, show)
    if as_json:
        print_json({"folder": result.folder, "card": result.potential.card.model_dump(mode="json")})
        return
    for errors in result.potential.card.errors:
        typer.echo(
            f"{errors.set}: {errors.frames} frames, energy {errors.energy_meV_per_atom.rmse:.1f} meV/atom, "
            f"force {errors.force_meV_per_A.rmse:.0f} meV/A (RMSE)"
        )
    typer.echo(f"the potential is in {result.folder}; use it after `napos-lmp potentials add {result.folder}`")
