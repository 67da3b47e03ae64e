"""`napos-lmp potentials check` and `napos-lmp evaluate`."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

import typer

from napos_lmp.cli.output import Json, print_json, print_table


def check(
    name: Annotated[str, typer.Argument(help="Name, or folder of an accepted potential.")],
    only: Annotated[list[str] | None, typer.Option(help="Check to run; give it once for each. All by default.")] = None,
    lammps: Annotated[str | None, typer.Option(help="LAMMPS program; else NAPOS_LMP_LAMMPS, else `lmp`.")] = None,
    as_json: Json = False,
) -> None:
    """Check forces, virial, symmetries and restarts of a potential as LAMMPS runs it; about half a minute."""
    from napos_lmp.testing import CHECKS, check_potential
    from napos_lmp.testing.results import COLUMNS

    found = check_potential(name, tuple(only or CHECKS), lammps=lammps, message=lambda text: typer.echo(text, err=True))
    if as_json:
        print_json(found.as_dict())
    else:
        print_table(COLUMNS, [result.row for result in found.results])
        verdict = f"{len(found.failed)} of {len(found.results)} failed" if found.failed else "all passed"
        typer.echo(f"{found.potential} ({found.backend}, {found.precision}): {verdict}")
    if not found.passed:
        raise typer.Exit(1)


def evaluate(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Labelled frames (extended XYZ); else each potential's own test set."),
    ] = None,
    potential: Annotated[
        list[str] | None, typer.Option("--potential", "-p", help="Name or folder of an accepted one; once for each.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the page and its numbers.")] = Path("evaluation"),
    group: Annotated[str, typer.Option(help="Only the frames of this group: train or test.")] = "",
    lammps: Annotated[str | None, typer.Option(help="LAMMPS program; else NAPOS_LMP_LAMMPS, else `lmp`.")] = None,
    as_json: Json = False,
) -> None:
    """Compare potentials with labels, and with each other: errors, where they fail, and what foretells it."""
    from napos_lmp.evaluation import evaluate as evaluate_potentials
    from napos_lmp.evaluation import write_evaluation
    from napos_lmp.evaluation.tables import summary_table

    if not potential:
        raise typer.BadParameter("name at least one potential with --potential")
    say = functools.partial(typer.echo, err=True)
    evaluation = evaluate_potentials(potential, files or (), group=group, lammps=lammps, message=say)
    page = write_evaluation(evaluation, out)
    if as_json:
        print_json({"page": page, "numbers": page.with_name("report.json"), "frames": page.with_name("frames.csv")})
        return
    table = summary_table(evaluation)
    texts = [[cell if isinstance(cell, str) else cell.full_text for cell in row] for row in table.rows]
    columns, *rows = zip(table.columns, *texts, strict=True)
    print_table(columns, rows)
    typer.echo(str(page))
