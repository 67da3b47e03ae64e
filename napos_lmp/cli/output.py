"""Output shared by the commands: JSON for scripts, tables and progress for people."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


def print_json(content: Any) -> None:
    """Print JSON; paths become strings."""
    typer.echo(json.dumps(content, indent=1, default=str))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a plain table."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


@contextmanager
def counted_progress(description: str) -> Iterator[Callable[[int, int, str], None]]:
    """Show a bar where standard error is a terminal; yields a callback of items done, items in all and what is next."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    now = TextColumn("{task.fields[now]}")
    with Progress(*columns, now, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(description, total=None, now="")

        def show(done: int, total: int, now: str) -> None:
            bar.update(task, completed=done, total=total, now=now)

        yield show
