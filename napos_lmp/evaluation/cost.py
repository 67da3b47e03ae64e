"""What a step of a simulation costs with a potential, measured on the machine at hand."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import numpy as np

from napos_lmp.card import Potential
from napos_lmp.composition import Composition
from napos_lmp.deck import render_deck
from napos_lmp.engine import run_deck
from napos_lmp.errors import EngineError
from napos_lmp.protocol import Equilibrate, Protocol
from napos_lmp.structure import Structure, lammps_frame
from napos_lmp.training.dataset import Frame

_STEPS = 60
_LEAST_ATOMS = 150
_TEMPERATURE = 300.0
_LOOP = re.compile(r"^Loop time of (\S+) on \d+ procs for (\d+) steps with (\d+) atoms", re.MULTILINE)


def core_microseconds(potential: Potential, frame: Frame, *, lammps: str | None = None) -> float:
    """Time of one core for one step of one atom, us, in a deck that LAMMPS runs on one thread.

    The cell is the frame's, repeated until it holds 150 atoms; 60 steps of 1 fs at 300 K are timed, without the start.

    Raises
    ------
    EngineError
        If LAMMPS does not run through.
    """
    with tempfile.TemporaryDirectory(prefix="napos-lmp-cost-") as name:
        folder = Path(name) / "deck"
        stage = Equilibrate(ensemble="nvt", temperature_K=_TEMPERATURE, duration_ps=_STEPS / 1000, dump_ps=None)
        render_deck(
            folder,
            composition=Composition.parse(frame.composition),
            potential=potential,
            protocol=Protocol(name="cost", stages=(stage,), timestep_fs=1.0),
            seed=1,
            structure=_repeated(frame, potential.elements),
        )
        run_deck(folder, threads=1, lammps=lammps, progress=False)
        text = "".join(path.read_text("utf-8", "replace") for path in sorted(folder.rglob("*log*")) if path.is_file())
    timed = [match for match in _LOOP.findall(text) if int(match[1]) == _STEPS]
    if not timed:
        raise EngineError(f"LAMMPS says not how long {_STEPS} steps with potential {potential.name!r} took")
    seconds, steps, atoms = timed[-1]
    return 1e6 * float(seconds) / (int(steps) * int(atoms))


def _repeated(frame: Frame, elements: tuple[str, ...]) -> Structure:
    present = tuple(element for element in elements if element in frame.symbols)
    cell, positions = frame.cell.copy(), frame.positions
    types = np.array([present.index(symbol) for symbol in frame.symbols])
    while len(positions) < _LEAST_ATOMS:
        shortest = int(np.linalg.norm(cell, axis=1).argmin())
        positions = np.concatenate([positions, positions + cell[shortest]])
        types = np.concatenate([types, types])
        cell[shortest] *= 2
    return lammps_frame(Structure(cell, positions, types, present))
