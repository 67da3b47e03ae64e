"""`napos-lmp doctor`."""

from __future__ import annotations

import dataclasses

import typer

from napos_lmp.cli.output import Json, print_json, print_table


def doctor(as_json: Json = False) -> None:
    """Check that LAMMPS, its plugin, MPI, packmol and the potentials are there and work."""
    from napos_lmp.doctor import examine

    findings = examine()
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        print_table(("part", "", "finding"), [(f.part, f.status, f.sentence) for f in findings])
    if any(finding.status == "fail" for finding in findings):
        raise typer.Exit(1)
