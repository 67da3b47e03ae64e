"""The tree of commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from napos_lmp.cli import learning, library, line, machine, reference, testing, training

app = typer.Typer(
    name="napos-lmp",
    help="From a glass composition to structure and Na conductivity, with machine-learning potentials in LAMMPS.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from napos_lmp import __version__

        typer.echo(f"napos-lmp {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


command: Callable[..., None]
for command in (line.init, line.deck, line.run, line.extend, line.analyse, line.plan, line.report):
    app.command()(command)
for command in (line.demo, library.export, machine.doctor):
    app.command()(command)
library.potentials.command("check")(testing.check)
app.add_typer(library.potentials, name="potentials")
app.add_typer(library.templates, name="templates")
app.add_typer(training.train, name="train")
app.add_typer(reference.data, name="data")
for command in (reference.sample, reference.label, learning.learn, testing.evaluate):
    app.command()(command)
