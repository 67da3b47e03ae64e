"""CP2K's output of one calculation, energies and forces by dpdata.

dpdata 1.1 passes over the stress of CP2K from 8 on, which is printed behind ``STRESS|``; a set read so would silently
lose its virials. It is read here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from napos_lmp.errors import ReferenceDataError
from napos_lmp.reference.frames import labelled

HARTREE_EV = 27.211386245988
GPA_EV_A3 = 1 / 160.21766340
_NUMBER = r"(-?\d+\.\d+E?[+-]?\d*)"


def read_cp2k_output(path: Path) -> tuple[Any, bool, int]:
    """The frame with its results, whether the self-consistency converged, and its iterations.

    CP2K's total energy is the free energy where electrons are smeared; `energy` is the mean of it and the energy, the
    limit of no smearing to second order. CP2K prints the stress with pressure positive.

    Raises
    ------
    ReferenceDataError
        If the file is missing or cut, or holds no forces.
    """
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        raise ReferenceDataError(f"{path} cannot be read: {error.strerror}") from None
    found = re.search(r"SCF run converged in\s+(\d+) steps", text)
    if "SCF run NOT converged" in text or not found:
        steps = len(re.findall(r"^\s+\d+ \S+/\S+\s", text, re.MULTILINE))
        if "SCF run NOT converged" not in text:
            raise ReferenceDataError(f"{path} is no whole output of CP2K: it names no end of its SCF run")
        return None, False, steps
    from ase import Atoms
    from dpdata.formats.cp2k.output import get_frames

    try:
        names, _, types, cells, positions, energies, forces, _ = get_frames(str(path))
    except (AssertionError, RuntimeError, IndexError, ValueError, UnboundLocalError) as error:
        raise ReferenceDataError(f"{path} is no whole output of CP2K: {error or type(error).__name__}") from None
    frame = Atoms([names[kind] for kind in types], positions=positions[0], cell=cells[0], pbc=True)
    free = float(energies[0])
    entropy = re.findall(r"Electronic entropic energy:\s+(\S+)", text)
    energy = free - float(entropy[-1]) * HARTREE_EV / 2 if entropy else free
    version = re.search(r"CP2K\| version string:\s+CP2K version (\S+)", text)
    frame.info["code"] = f"CP2K {version[1]}" if version else "CP2K"
    stress = _stress(text)
    return labelled(frame, energy, forces[0], stress, free_energy=free), True, int(found[1])


def _stress(text: str) -> Any:
    """Stress in eV/A^3, ASE's sign, shape (3, 3); None where none is printed."""
    new = re.search(r"STRESS\| Analytical stress tensor \[(\w+)\]\n.*\n((?:.*\n){3})", text)
    old = re.search(r"STRESS TENSOR \[(\w+)\]\n\s*\n?.*\n((?:.*\n){3})", text)
    if not (match := new or old):
        return None
    unit = {"GPa": 1.0, "bar": 1e-4}[match[1]] * GPA_EV_A3
    rows = [re.findall(_NUMBER, line)[-3:] for line in match[2].splitlines()]
    return -np.array(rows, dtype=np.float64) * unit
