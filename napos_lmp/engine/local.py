"""Running one deck on this machine: start or resume, watch, stop, and say how it ended."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napos_lmp.engine.checks import preflight
from napos_lmp.engine.command import (
    Lammps,
    deck_command,
    deck_environment,
    default_threads,
    find_lammps,
    tethered,
)
from napos_lmp.engine.interrupt import Interruption
from napos_lmp.engine.launch import Launch, plan_deck_launch
from napos_lmp.engine.lock import DeckLock, is_running
from napos_lmp.engine.messages import explain
from napos_lmp.engine.progress import ProgressDisplay, ProgressState, ScreenFollower, open_display
from napos_lmp.engine.record import (
    Outcome,
    RunRecord,
    SegmentRecord,
    next_segment,
    read_run_record,
    screen_file,
    write_run_record,
)
from napos_lmp.engine.restart import choose_restart, protect_restart
from napos_lmp.engine.state import bring_source, close_killed, is_complete
from napos_lmp.errors import DeckError, EngineError
from napos_lmp.manifest import read_manifest

if TYPE_CHECKING:
    from rich.console import Console

POLL_SECONDS = 0.1
_READ_SECONDS = 0.5
_GRACE_SECONDS = 10.0
_TAIL_BYTES = 65536


@dataclass(frozen=True)
class RunResult:
    """How a run of a deck ended.

    Attributes
    ----------
    deck : Path
        The deck's folder.
    outcome : str
        "complete", or "stopped" where it was interrupted and can be resumed.
    segment : int or None
        The segment that was run; None where the deck was complete before.
    first_step, last_step : int
        Steps at the start and at the end of this segment.
    wall_seconds : float
        Time that LAMMPS took, its start included.
    ns_per_day : float or None
        Speed over the whole segment.
    warnings : tuple of str
        What was shown on the way: warnings of the preflight, restart files passed over.
    screen : Path or None
        File with everything that LAMMPS printed.
    """

    deck: Path
    outcome: Literal["complete", "stopped"]
    segment: int | None
    first_step: int
    last_step: int
    wall_seconds: float
    ns_per_day: float | None
    warnings: tuple[str, ...]
    screen: Path | None


def run_deck(
    deck: str | Path,
    *,
    ranks: int = 1,
    threads: int | None = None,
    lammps: str | Path | None = None,
    force: bool = False,
    progress: bool | Console | Callable[[ProgressState], None] = True,
) -> RunResult:
    """Run a deck to its end, from its newest usable restart file if it was begun before.

    Ctrl-C (or SIGTERM, SIGHUP) stops it cleanly with a restart file; a second one ends it at once.

    Parameters
    ----------
    deck : path
        The deck's folder.
    ranks, threads : int
        MPI ranks, and threads of each; by default OMP_NUM_THREADS or the cores shared out among the ranks.
    lammps : path, optional
        The program; see :func:`napos_lmp.engine.find_lammps`.
    force : bool
        Run although files of the deck were changed by hand.
    progress : bool, rich console or function
        True shows a bar or lines on standard error, False nothing; a function is given every new state.

    Raises
    ------
    DeckError
        If the folder is no deck, or the deck it starts from has not finished.
    DeckBusyError
        If another process is running it.
    PreflightError
        If a check before the first step failed.
    EngineError
        If LAMMPS was not found or ended with an error; the message says which and where its output lies.
    """
    with Interruption() as interruption, ExitStack() as stack:
        display = open_display(progress)
        stack.callback(display.close)
        run = stack.enter_context(
            DeckRun(Path(deck), ranks=ranks, threads=threads, lammps=lammps, force=force, display=display)
        )
        if run.prepare() and not interruption.count:
            run.start()
        while not run.poll():
            run.heed(interruption.count)
            time.sleep(POLL_SECONDS)
        return run.finish()


def request_stop(deck: str | Path) -> None:
    """Ask a deck that is running to stop cleanly, from another process.

    Raises
    ------
    DeckError
        If nobody is running it.
    """
    folder = Path(deck)
    manifest = read_manifest(folder)
    if not is_running(folder):
        raise DeckError(f"deck {folder} is not running")
    (folder / manifest.restart.stop_request).touch()


class DeckRun:
    """One run of one deck, driven from outside: `prepare`, `start`, `poll` until it is true, `finish`.

    The context holds the deck's lock, and leaves no LAMMPS behind.
    """

    def __init__(
        self,
        deck: Path,
        *,
        ranks: int,
        threads: int | None,
        lammps: str | Path | None,
        force: bool,
        display: ProgressDisplay,
    ) -> None:
        self.deck = deck
        self.manifest = read_manifest(deck)
        self._ranks, self._threads = ranks, threads or default_threads(ranks)
        self._lammps, self._force, self._display = lammps, force, display
        self._lock = DeckLock(deck)
        self._warnings: list[str] = []
        self._record = RunRecord()
        self._segment: SegmentRecord | None = None
        self._launch: Launch | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._follower: ScreenFollower | None = None
        self._started = self._last_read = 0.0
        self._stop_requests = 0
        self._terminated_at: float | None = None

    def __enter__(self) -> DeckRun:
        self._lock.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._lock.__exit__(None, None, None)

    def prepare(self) -> bool:
        """Do all that comes before LAMMPS: structure, checks, restart file. False if the deck is complete already."""
        with self._write_errors():
            return self._prepare()

    def start(self) -> None:
        """Start LAMMPS on the segment that was prepared."""
        with self._write_errors():
            self._start()

    def _prepare(self) -> bool:
        self._record = close_killed(self.deck, read_run_record(self.deck) or RunRecord())
        if is_complete(self.deck, self.manifest):
            self._display.message(f"{self.manifest.label}: complete already, at step {self.manifest.last_step}")
            return False
        self._record = bring_source(self.deck, self.manifest, self._record)
        program = find_lammps(self._lammps)
        checks = preflight(self.deck, lammps=program, ranks=self._ranks, threads=self._threads, force=self._force)
        for check in checks:
            if check.status == "warn":
                self._warn(f"{check.name}: {check.sentence}")
        self._launch = plan_deck_launch(program, self.manifest, self._ranks, self._threads)
        self._segment = self._new_segment(program, self._launch)
        return True

    def _start(self) -> None:
        if self._segment is None or self._launch is None:
            raise EngineError(f"deck {self.deck} was not prepared")
        program = self._launch.lammps
        for name in ("log", "restart", "trajectory"):
            (self.deck / name).mkdir(exist_ok=True)
        self._stop_file.unlink(missing_ok=True)
        screen = screen_file(self.deck, self._segment.number)
        write_run_record(self.deck, self._record.with_segment(self._segment))
        with screen.open("wb") as output:
            self._process = subprocess.Popen(
                tethered(list(self._segment.command), program),
                cwd=self.deck,
                env=deck_environment(program, self.manifest.potential.backend, self._threads),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(self._lock.descriptor,),
            )
        self._started = time.monotonic()
        self._follower = ScreenFollower(screen, self.manifest, self._segment.start_step, str(self.deck))
        self._display.update(self._follower.state())

    def poll(self) -> bool:
        """Take note of how far LAMMPS is; True once it has ended (or was never started)."""
        if self._process is None or self._follower is None:
            return True
        ended = self._process.poll() is not None
        now = time.monotonic()
        if ended or now - self._last_read >= _READ_SECONDS:
            self._last_read = now
            if self._follower.read():
                self._display.update(self._follower.state())
            if self._follower.blown_up and self._terminated_at is None:
                self._terminate(now)
        if self._terminated_at is not None and now - self._terminated_at > _GRACE_SECONDS:
            self._process.kill()
        return ended

    def heed(self, requests: int) -> None:
        """Act on the number of stop requests so far: the first stops cleanly, the second at once."""
        if self._process is None or requests <= self._stop_requests:
            return
        self._stop_requests = requests
        if requests == 1:
            self._stop_file.touch()
            self._display.message(
                f"{self.manifest.label}: stopping at the next step where that can be resumed; "
                "once more ends it at once, losing the steps since the last restart file"
            )
        elif self._terminated_at is None:
            self._terminate(time.monotonic())

    def finish(self) -> RunResult:
        """Write the record of the segment and give the result.

        Raises
        ------
        EngineError
            If LAMMPS ended with an error.
        """
        segment, follower, process = self._segment, self._follower, self._process
        if segment is None:
            step = self.manifest.last_step
            return RunResult(self.deck, "complete", None, step, step, 0.0, None, tuple(self._warnings), None)
        if process is None or follower is None:
            step = segment.start_step
            return RunResult(self.deck, "stopped", None, step, step, 0.0, None, tuple(self._warnings), None)
        wall = time.monotonic() - self._started
        screen = screen_file(self.deck, segment.number)
        outcome, message = self._verdict(_tail(screen), process.returncode, follower)
        self._stop_file.unlink(missing_ok=True)
        last_step = self.manifest.last_step if outcome == "complete" else follower.step
        ended = {
            "ended": _now(),
            "exit_status": process.returncode,
            "last_step": last_step,
            "wall_seconds": round(wall, 3),
            "outcome": outcome,
            "message": message,
        }
        failed = message is not None and outcome != "stopped"
        with suppress(OSError) if failed else self._write_errors():
            write_run_record(self.deck, self._record.with_segment(segment.model_copy(update=ended)))
        if failed:
            raise EngineError(f"{self.deck}: at step {last_step}: {message} (all output: {screen})")
        speed = (last_step - segment.start_step) * self.manifest.timestep_ps / 1000 / wall * 86400
        return RunResult(
            self.deck,
            "complete" if outcome == "complete" else "stopped",
            segment.number,
            segment.start_step,
            last_step,
            wall,
            speed if speed > 0 else None,
            tuple(self._warnings),
            screen,
        )

    @property
    def _stop_file(self) -> Path:
        return self.deck / self.manifest.restart.stop_request

    def _was_asked_to_stop(self) -> bool:
        """By the file STOP, or by the deck's own wall time limit, which leaves a restart file too."""
        kept = self.deck / self.manifest.restart.stop_file
        written = kept.is_file() and time.time() - kept.stat().st_mtime <= time.monotonic() - self._started + 1.0
        return written or self._stop_file.exists()

    def _terminate(self, now: float) -> None:
        if self._process is not None:
            self._terminated_at = now
            self._process.terminate()

    @contextmanager
    def _write_errors(self) -> Iterator[None]:
        """Say in one sentence that the deck's folder cannot be written to."""
        try:
            yield
        except OSError as error:
            name = f" ({error.filename})" if error.filename else ""
            raise EngineError(f"{self.deck} cannot be written to: {error.strerror}{name}") from None

    def _warn(self, sentence: str) -> None:
        self._warnings.append(sentence)
        self._display.message(f"{self.manifest.label}: {sentence}")

    def _new_segment(self, program: Lammps, launch: Launch) -> SegmentRecord:
        choice = protect_restart(self.deck, self.manifest, choose_restart(self.deck, self.manifest, program))
        for sentence in choice.rejected:
            self._warn(sentence)
        number = next_segment(self.deck, self.manifest, self._record)
        variables = {"segment": str(number), **({"resume": choice.file} if choice.file else {})}
        if choice.file:
            self._display.message(f"{self.manifest.label}: going on from step {choice.step} ({choice.file})")
        elif any(segment.last_step for segment in self._record.segments):
            self._warn("no restart file can be used: starting afresh")
        return SegmentRecord(
            number=number,
            start_step=choice.step,
            restart=choice.file,
            command=tuple(
                deck_command(launch.lammps, self.manifest.input_file, self._ranks, variables, launch.switches)
            ),
            ranks=self._ranks,
            threads=self._threads,
            lammps_version=program.version,
            host=socket.gethostname(),
            started=_now(),
        )

    def _verdict(self, text: str, exit_status: int, follower: ScreenFollower) -> tuple[Outcome, str | None]:
        """How the segment ended, and the sentence for it unless it is complete."""
        if follower.blown_up:
            return "failed", (
                "the simulation blew up: the thermodynamic output is no longer finite; check the start structure, "
                "shorten the time step, or use a potential that knows these temperatures"
            )
        if exit_status == 0:
            if is_complete(self.deck, self.manifest):
                return "complete", None
            if "Fix halt condition for fix-id disk" in text:
                return "failed", explain(text, exit_status)
            if self._was_asked_to_stop():
                return "stopped", "stopped on request"
            return "failed", "LAMMPS ended before the last step and says nothing of an error"
        if self._terminated_at is not None:
            return "stopped", "ended at once on request"
        if os.statvfs(self.deck).f_bavail == 0:  # what LAMMPS said of it may not have fitted onto the disk
            text += "\nNo space left on device"
        return ("killed" if exit_status < 0 else "failed"), explain(text, exit_status)


def _tail(path: Path) -> str:
    with path.open("rb") as stream:
        stream.seek(0, 2)
        stream.seek(max(0, stream.tell() - _TAIL_BYTES))
        return stream.read().decode("utf-8", "replace")


def _now() -> str:
    return datetime.now(UTC).isoformat("T", "milliseconds")
