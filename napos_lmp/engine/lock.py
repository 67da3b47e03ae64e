"""One run at a time on a deck."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from napos_lmp.errors import DeckBusyError, DeckError

LOCK_NAME = "run.lock"
_PATIENCE_SECONDS = 5.0


class DeckLock:
    """Hold a deck for as long as the context lasts; the kernel lets go when every holder has died.

    The lock is on an open file. LAMMPS inherits it (`descriptor`), so that a deck is free only when its LAMMPS has
    ended.

    Raises
    ------
    DeckBusyError
        On entry, if another process holds the deck; the message names it.
    DeckError
        On entry, if the deck cannot be written to.
    """

    def __init__(self, deck: Path) -> None:
        self._deck = deck
        self.descriptor = -1

    def __enter__(self) -> DeckLock:
        path = self._deck / LOCK_NAME
        try:
            self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise DeckError(f"deck {self._deck} cannot be run: {path} cannot be written: {error.strerror}") from None
        try:
            self._acquire()
        except BaseException:
            os.close(self.descriptor)
            raise
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat("T", "seconds"),
        }
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, json.dumps(holder).encode(), 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.descriptor)

    def _acquire(self) -> None:
        """Take the lock; wait a little where its holder is dead and only its LAMMPS is still ending."""
        give_up = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = self._holder()
                if _is_dead(holder) and time.monotonic() < give_up:
                    time.sleep(0.05)
                    continue
                raise DeckBusyError(
                    f"deck {self._deck} is being run by process {holder.get('pid', '?')} "
                    f"on {holder.get('host', '?')} since {holder.get('since', '?')}"
                ) from None
            else:
                return

    def _holder(self) -> dict[str, object]:
        try:
            content = json.loads(os.pread(self.descriptor, 1000, 0))
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}


def is_running(deck: Path) -> bool:
    """Whether some process is running a deck."""
    try:
        with DeckLock(deck):
            return False
    except DeckBusyError:
        return True


def _is_dead(holder: dict[str, object]) -> bool:
    pid = holder.get("pid")
    if holder.get("host") != socket.gethostname() or not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
