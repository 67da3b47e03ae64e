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


def write_demo(out: Path, potential: str, progress: Progress | None = None) -> list[Path]:
    """Write the decks of the demo, which are kept where they have run; see :func:`napos_lmp.study.write_decks`."""
    return write_decks(demo_study(potential), out, progress)


def run_demo(decks: list[Path], jobs: int) -> None:
    """Run the decks of the demo to their ends, `jobs` of them side by side; what was done before is kept.

    Raises
    ------
    EngineError
        If a deck failed.
    RunStoppedError
        If it was stopped on request; the same call goes on.
    """
    from napos_lmp.engine import run_decks

    for outcome in run_decks(decks, jobs=jobs):
        if outcome.status == "stopped":
            raise RunStoppedError(f"{outcome.deck}: {outcome.sentence}")
        if outcome.status != "complete":
            raise EngineError(f"{outcome.deck}: {outcome.sentence}")
