"""ASE calculators that misbehave on purpose, for tests of the labelling queue (found through PYTHONPATH)."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from ase.calculators.lj import LennardJones


class Slow(LennardJones):  # type: ignore[misc]
    """Lennard-Jones that takes its time and notes each call."""

    def __init__(self, seconds: float, notes: str, **parameters: Any) -> None:
        super().__init__(**parameters)
        self._seconds, self._notes = seconds, Path(notes)

    def calculate(self, *arguments: Any, **more: Any) -> None:
        with self._notes.open("a") as stream:
            stream.write(f"{Path.cwd().name}\n")
        time.sleep(self._seconds)
        super().calculate(*arguments, **more)


class Broken(LennardJones):  # type: ignore[misc]
    """Ends with an error."""

    def calculate(self, *arguments: Any, **more: Any) -> None:
        raise FloatingPointError("the matrix is singular")


class Killed(LennardJones):  # type: ignore[misc]
    """Is killed, as for want of memory."""

    def calculate(self, *arguments: Any, **more: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def deepmd_potential(model: str) -> Any:
    """A DeePMD model, read as this program reads it."""
    from napos_lmp.backends.deepmd import import_deepmd

    import_deepmd()
    from deepmd.calculator import DP

    return DP(model)
