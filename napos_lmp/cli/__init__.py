"""The command `napos-lmp`: each subcommand is a few lines over a public function."""

from __future__ import annotations

import sys

from napos_lmp.errors import NaposError


def main() -> None:
    """Run the command line; a user's mistake ends in one sentence and exit status 2."""
    from napos_lmp.cli.app import app

    try:
        app()
    except NaposError as error:
        _fail(str(error), error.exit_status)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        _fail(f"{error.strerror or error}{where}", NaposError.exit_status)
    except KeyboardInterrupt:
        _fail("interrupted; the same command goes on where it stopped", 130)


def _fail(sentence: str, status: int) -> None:
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True).print(Text.assemble(("error: ", "bold red"), sentence), soft_wrap=True)
    sys.exit(status)
