"""Working through a queue: one calculation per worker, side by side, until nothing waits."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from napos_lmp.engine.interrupt import Interruption
from napos_lmp.errors import LabelError, RunStoppedError
from napos_lmp.reference.labels import Label, NotConvergedError, check_label
from napos_lmp.reference.queue import Queue, QueueState, Rejection, record_of

_TETHER = (sys.executable, "-I", str(Path(__file__).resolve().parent.parent / "engine" / "tether.py"))
_FAULTS_IN_A_ROW = 3
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class LabelEvent:
    """Something that happened: the state of the queue after it, the frame, a sentence, and the time left in seconds.

    `frame` is empty for the event at the start; `seconds_left` is None until the first label shows what one costs.
    """

    state: QueueState
    frame: str
    sentence: str
    seconds_left: float | None


def label_queue(
    folder: Path,
    workers: int = 1,
    limit: int | None = None,
    progress: Callable[[LabelEvent], None] | None = None,
) -> QueueState:
    """Label the frames of a queue that wait; the same call goes on after an interruption.

    Frames that are put into the pool meanwhile are labelled as well.

    Parameters
    ----------
    folder
        The queue's folder.
    workers
        Calculations side by side.
    limit
        Stop after so many frames.
    progress
        Called at the start and after each frame.

    Raises
    ------
    LabelError
        If the queue or its engine is not well: missing, killed, or failing on several frames in a row.
    RunStoppedError
        After Ctrl-C or a signal of the batch system; the calculations under way are lost, nothing else.
    """
    queue = Queue(folder)
    engine = queue.engine.find()
    tried: set[str] = set()
    while True:
        run = _Run(queue, workers, None if limit is None else limit - len(tried), tried, progress)
        run.tell("", f"{engine}, {queue.state().waiting} frames wait")
        _work(run, workers, folder)
        queue = Queue(folder)  # the pool may have grown meanwhile
        if not set(queue.waiting()) - tried or (limit is not None and len(tried) >= limit):
            return queue.state()


def _work(run: _Run, workers: int, folder: Path) -> None:
    threads = [threading.Thread(target=run.work, name=f"label-{number}", daemon=True) for number in range(workers)]
    with Interruption() as interruption:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            if interruption.count:
                run.stop.set()
            time.sleep(_POLL_SECONDS)
    if run.error is not None:
        raise run.error
    if interruption.count:
        raise RunStoppedError(f"stopped; `napos-lmp label {folder}` goes on")


class _Run:
    """What the workers of one process share."""

    def __init__(
        self,
        queue: Queue,
        workers: int,
        limit: int | None,
        tried: set[str],
        progress: Callable[[LabelEvent], None] | None,
    ) -> None:
        self.queue = queue
        self.stop = threading.Event()
        self.error: LabelError | OSError | None = None
        self._workers, self._left, self._progress = workers, limit, progress
        self._tried = tried
        self._names = iter([name for name in queue.waiting() if name not in tried])
        self._lock = threading.Lock()
        self._faults = 0

    def work(self) -> None:
        """Take one frame after the other."""
        while not self.stop.is_set() and (name := self._next()) is not None:
            try:
                with self.queue.claim(name) as descriptor:
                    if descriptor is None or self.queue.is_done(name):
                        continue
                    self._label(name, descriptor)
            except (LabelError, OSError) as error:
                self.error = self.error or error
                self.stop.set()

    def tell(self, name: str, sentence: str) -> None:
        """Report one event."""
        if self._progress is None:
            return
        state = self.queue.state()
        left = None
        if state.seconds:
            recent = state.seconds[-20:]
            left = state.waiting * sum(recent) / len(recent) / self._workers
        self._progress(LabelEvent(state, name, sentence, left))

    def _next(self) -> str | None:
        with self._lock:
            if self._left == 0:
                return None
            name = next(self._names, None)
            if name is not None:
                self._tried.add(name)
                self._left = None if self._left is None else self._left - 1
            return name

    def _label(self, name: str, descriptor: int) -> None:
        queue, frame = self.queue, self.queue.frames[name]
        folder = queue.calculation_folder(name)
        folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        reason = fault = ""
        for attempt in range(queue.engine.attempts):
            try:
                label = self._calculate(frame, folder, attempt, descriptor)
            except NotConvergedError as error:
                reason, fault = f"not converged: {error}", ""
                continue
            except LabelError as error:
                fault = str(error)
                continue
            if label is None:
                return
            seconds = time.monotonic() - began
            if problem := check_label(label, len(frame), queue.settings.force_cap_eV_A):
                reason, fault = problem, ""
                break
            queue.store(record_of(name, queue.level, label, attempt, seconds, socket.gethostname(), _now()))
            shutil.rmtree(folder, ignore_errors=True)
            self._count_fault(None)
            with self._lock:
                self.tell(name, f"{seconds:.0f} s, {label.iterations} iterations, settings {attempt + 1}")
            return
        if fault:
            self._count_fault(f"{name}: {fault}")
            return
        seconds = time.monotonic() - began
        queue.store(
            Rejection(id=name, level=queue.level, reason=reason, attempts=attempt + 1, seconds=seconds, ended=_now())
        )
        with self._lock:
            self.tell(name, f"rejected: {reason}")

    def _calculate(self, frame: Any, folder: Path, attempt: int, descriptor: int) -> Label | None:
        """One calculation; None where it was stopped on request."""
        settings = self.queue.settings
        command = self.queue.engine.prepare(frame, folder, attempt)
        environment = os.environ | {
            "OMP_NUM_THREADS": str(settings.threads),
            "OPENBLAS_NUM_THREADS": str(settings.threads),
        }
        if command[0] != sys.executable:
            environment.pop("PYTHONPATH", None)
        with (folder / "screen.txt").open("wb") as screen:
            process = subprocess.Popen(
                [*_TETHER, *command],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=screen,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(descriptor,),
            )
        try:
            while process.poll() is None:
                if self.stop.is_set():
                    return None
                time.sleep(_POLL_SECONDS)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode < 0:
            raise LabelError(f"{command[0]} was killed by signal {-process.returncode} in {folder}")
        try:
            return self.queue.engine.read(frame, folder)
        except NotConvergedError:
            raise
        except LabelError as error:
            raise LabelError(f"{error}; it ended with: {_last_line(folder / 'screen.txt')}") from None

    def _count_fault(self, sentence: str | None) -> None:
        """Note a calculation that broke, which leaves its frame waiting; several in a row end the run."""
        with self._lock:
            self._faults = 0 if sentence is None else self._faults + 1
            if sentence is None:
                return
            if self._faults >= _FAULTS_IN_A_ROW:
                self.error = LabelError(f"{self._faults} calculations in a row broke, the last {sentence}")
                self.stop.set()
            else:
                self.tell("", f"left for another run, {sentence}")


def _last_line(path: Path) -> str:
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


def _now() -> str:
    return datetime.now(UTC).isoformat("T", "seconds")
