"""From which step a deck goes on: the newest restart file that LAMMPS itself can read."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from napos_lmp.engine.command import Lammps
from napos_lmp.engine.messages import explain
from napos_lmp.manifest import Manifest

_PROBE = """
read_restart {file}
print "NAPOS-LMP RESTART $(step) $(atoms) $(xcm(all,x)+vcm(all,x))"
"""


@dataclass(frozen=True)
class RestartChoice:
    """Where a run begins.

    Attributes
    ----------
    file : str or None
        Restart file, relative to the deck; None for a start from the data file.
    step : int
        Its step; 0 without one.
    rejected : tuple of str
        One sentence for each file that cannot be used.
    """

    file: str | None
    step: int
    rejected: tuple[str, ...] = ()


def choose_restart(deck: Path, manifest: Manifest, lammps: Lammps) -> RestartChoice:
    """Try every restart file of a deck with LAMMPS and take the one with the highest step."""
    candidates = (manifest.restart.stop_file, *manifest.restart.files)
    best, rejected = RestartChoice(None, 0), []
    for name in candidates:
        if not (deck / name).is_file():
            continue
        step, reason = _probe(deck, name, manifest, lammps)
        if reason:
            rejected.append(f"{name} cannot be used: {reason}")
        elif step > best.step:
            best = RestartChoice(name, step)
    return RestartChoice(best.file, best.step, tuple(rejected))


def protect_restart(deck: Path, manifest: Manifest, choice: RestartChoice) -> RestartChoice:
    """Give the chosen file the name that LAMMPS overwrites second.

    LAMMPS always writes the first of the two names first; a kill during that must not cost the only good file.
    """
    first, second = manifest.restart.files
    if choice.file != first:
        return choice
    (deck / first).replace(deck / second)
    return RestartChoice(second, choice.step, choice.rejected)


def _probe(deck: Path, name: str, manifest: Manifest, lammps: Lammps) -> tuple[int, str]:
    """Step of a restart file, or the reason why it cannot be used."""
    answer = lammps.probe([], deck, _PROBE.format(file=name))
    match = re.search(r"^NAPOS-LMP RESTART (\d+) (\d+) (\S+)", answer.stdout, re.MULTILINE)
    if match is None:
        error = re.search(r"ERROR.*?: (.+?)(?: \(\S+\))?$", answer.stdout, re.MULTILINE)
        return 0, error[1] if error else explain(answer.stdout, answer.returncode)
    if int(match[2]) != manifest.structure.n_atoms:
        return 0, f"it holds {match[2]} atoms and this deck has {manifest.structure.n_atoms}"
    if not math.isfinite(float(match[3])):
        return 0, "it was written after the simulation blew up: its coordinates are no numbers"
    if int(match[1]) > manifest.last_step:
        return 0, f"its step {match[1]} lies beyond the deck's last step {manifest.last_step}"
    return int(match[1]), ""
