"""`napos-lmp potentials check`."""

from __future__ import annotations

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
