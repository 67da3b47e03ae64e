"""`napos-lmp potentials` and `napos-lmp templates`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from napos_lmp.cli.output import Json, print_json, print_table

potentials = typer.Typer(help="List, show and accept potentials.", no_args_is_help=True)
templates = typer.Typer(help="List, show and copy the LAMMPS templates.", no_args_is_help=True)

Own = Annotated[
    Path | None, typer.Option("--templates", help="Your folder of templates that stand in for shipped ones.")
]


@potentials.command("list")
def list_potentials(as_json: Json = False) -> None:
    """List the potentials that studies can name."""
    from napos_lmp.potential import available_potentials

    found = available_potentials()
    if as_json:
        keys = ("name", "backend", "elements", "folder")
        print_json([{key: getattr(p, key) for key in keys} | {"version": p.card.version} for p in found])
        return
    rows = [
        (p.name, p.card.version or "-", p.backend, " ".join(p.elements), f"{p.cutoff:g}", p.card.description)
        for p in found
    ]
    print_table(("name", "version", "back-end", "elements", "cutoff (A)", "description"), rows)


@potentials.command("show")
def show_potential(
    name: Annotated[str, typer.Argument(help="Name, or folder with a card.")], as_json: Json = False
) -> None:
    """Show the card of a potential: what it was trained on, its errors and what to distrust."""
    import yaml

    from napos_lmp.card import error_table
    from napos_lmp.potential import load_potential, read_potential

    potential = read_potential(Path(name)) if Path(name).is_dir() else load_potential(name)
    card = potential.card.model_dump(mode="json", exclude_none=True)
    if as_json:
        print_json(card)
        return
    shown = {
        key: value for key, value in card.items() if key not in ("errors", "peer_errors") and value not in ({}, [])
    }
    typer.echo(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=100), nl=False)
    if potential.card.errors:
        typer.echo("\nroot mean square errors (mean absolute errors)")
        print_table(*error_table(potential.card))


@potentials.command("add")
def add_potential(
    source: Annotated[Path, typer.Argument(help="Folder with a card, or a bare model file.")],
    name: Annotated[str | None, typer.Option(help="Name for a bare model file.")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Accept a model that runs code when it is loaded.")] = False,
    as_json: Json = False,
) -> None:
    """Accept a potential. A model file can run code: accept only what you know the origin of."""
    from napos_lmp.errors import PotentialError
    from napos_lmp.potential import add_model_file, look_at
    from napos_lmp.potential import add_potential as accept

    for sentence in look_at(source).sentences:
        typer.echo(sentence, err=True)
    if source.is_dir():
        added = accept(source, trust=trust)
    elif name is None:
        raise PotentialError(f"{source} is no folder with a card; a bare model file needs --name")
    else:
        added = add_model_file(source, name, trust=trust)
    if as_json:
        print_json({"name": added.name, "folder": added.folder, "sha256": added.sha256})
    else:
        typer.echo(f"{added.name} is in {added.folder}")


def export(
    name: Annotated[str, typer.Argument(help="Name of a MACE potential.")],
    device: Annotated[Literal["cpu", "gpu"], typer.Option("--for", help="Plain e3nn, or cuequivariance for a GPU.")],
    head: Annotated[str | None, typer.Option(help="Head of a model that has several; else the card's.")] = None,
    precision: Annotated[Literal["float32", "float64"] | None, typer.Option(help="Else the card's or its own.")] = None,
    output: Annotated[Path | None, typer.Option(help="Copy of the file; else it stays in the cache alone.")] = None,
    as_json: Json = False,
) -> None:
    """Export a MACE potential for LAMMPS's `pair_style mliap unified`; decks do so by themselves."""
    from napos_lmp.export import export_potential

    file = export_potential(name, device, head, precision, output, lambda text: typer.echo(text, err=True))
    if as_json:
        print_json({"file": file})
    else:
        typer.echo(str(file))


@templates.command("list")
def list_templates(own: Own = None, as_json: Json = False) -> None:
    """List the templates in force, shipped or your own."""
    from napos_lmp.templates import Templates

    found = Templates(own).catalogue()
    if as_json:
        print_json([{"name": t.name, "own": t.is_own, "path": t.path, "summary": t.summary} for t in found])
        return
    print_table(
        ("template", "from", "what it is"), [(t.name, "you" if t.is_own else "shipped", t.summary) for t in found]
    )


@templates.command("show")
def show_template(name: Annotated[str, typer.Argument(help="Such as stages/melt.lmp.")], own: Own = None) -> None:
    """Print a template."""
    from napos_lmp.templates import Templates

    typer.echo(Templates(own).source(name), nl=False)


@templates.command("copy")
def copy_template(
    name: Annotated[str, typer.Argument(help="Such as stages/melt.lmp.")],
    folder: Annotated[Path, typer.Argument(help="Your folder of templates.")],
) -> None:
    """Copy a template into your own folder, to be edited there; `templates: FOLDER` in a study uses it."""
    from napos_lmp.templates import Templates

    typer.echo(str(Templates().copy(name, folder)))
