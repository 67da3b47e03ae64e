"""The demo: the shortest study that goes all the way from two compositions to a report."""

from __future__ import annotations

from pathlib import Path

from napos_lmp.errors import EngineError, RunStoppedError
from napos_lmp.study import Progress, write_decks
from napos_lmp.study_file import Study, read_study

STUDY_FILE = Path(__file__).parent / "data" / "demo.yaml"


def demo_study(potential: str) -> Study:
    """The study of the demo, run with a potential of the user's choice."""
    return read_study(STUDY_FILE).model_copy(update={"potential": (potential,)})


def run_demo(out: Path, potential: str, jobs: int, progress: Progress | None = None) -> Path:
    """Write, run, analyse and report the demo; what was done before is kept.

    Parameters
    ----------
    out
        The study's folder.
    potential
        Name of the potential.
    jobs
        Decks run side by side.
    progress
        Called while decks are written, as by :func:`napos_lmp.study.write_decks`.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    EngineError
        If a deck failed.
    RunStoppedError
        If it was stopped on request; the same call goes on.
    """
    from napos_lmp.analysis.deck import analyse_deck
    from napos_lmp.engine import run_decks
    from napos_lmp.report import write_report

    decks = write_decks(demo_study(potential), out, progress)
    for outcome in run_decks(decks, jobs=jobs):
        if outcome.status == "stopped":
            raise RunStoppedError(f"{outcome.deck}: {outcome.sentence}")
        if outcome.status != "complete":
            raise EngineError(f"{outcome.deck}: {outcome.sentence}")
    for deck in decks:
        analyse_deck(deck)
    return write_report(out)
