"""Running decks: finding LAMMPS, checks before the first step, runs that resume, progress and readable errors."""

from napos_lmp.engine.campaign import DeckOutcome, run_decks
from napos_lmp.engine.checks import Check, check_deck, preflight
from napos_lmp.engine.command import Lammps, find_lammps, find_mpirun
from napos_lmp.engine.local import RunResult, request_stop, run_deck
from napos_lmp.engine.progress import ProgressState
from napos_lmp.engine.record import RunRecord, SegmentRecord, read_run_record
from napos_lmp.engine.state import is_complete

__all__ = [
    "Check",
    "DeckOutcome",
    "Lammps",
    "ProgressState",
    "RunRecord",
    "RunResult",
    "SegmentRecord",
    "check_deck",
    "find_lammps",
    "find_mpirun",
    "is_complete",
    "preflight",
    "read_run_record",
    "request_stop",
    "run_deck",
    "run_decks",
]
