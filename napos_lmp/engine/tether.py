"""Start a program that dies with its parent: `python tether.py PROGRAM ARGUMENT...` (Linux; elsewhere a plain start).

Run as a script, so that it needs nothing but the standard library. The engine starts LAMMPS and every MPI rank through
it: when the engine or the MPI launcher is killed outright, the kernel kills what they had started.
"""

import os
import signal
import sys


def die_with_parent() -> None:
    """Ask the kernel to send SIGKILL to this process, and to the program it becomes, when its parent dies."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    set_parent_death_signal = 1
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)


if __name__ == "__main__":
    die_with_parent()
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606
