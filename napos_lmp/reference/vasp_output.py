"""VASP's outputs, with what ASE does not say: whether the electronic steps of each frame converged."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from napos_lmp.errors import ReferenceDataError

VaspFrame = tuple[Any, bool, int]
"""A frame with its results, whether it converged, and how many electronic steps it took."""


def read_vasprun(path: Path) -> list[VaspFrame]:
    """Frames of `vasprun.xml`, one for each ionic step; those of a cut file as far as they are whole.

    Raises
    ------
    ReferenceDataError
        If the file is not there or is no `vasprun.xml`.
    """
    import ase.io

    limit, steps, code = _electronic_steps(path)
    try:
        frames = ase.io.read(path, index=":", format="vasp-xml")
    except (OSError, ElementTree.ParseError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise ReferenceDataError(f"{path} cannot be read as vasprun.xml: {error or type(error).__name__}") from None
    read = []
    for frame, taken in zip(frames, steps, strict=False):
        frame.info["code"] = code
        frame.set_constraint()
        read.append((frame, taken < limit, taken))
    return read


def read_outcar(path: Path) -> list[VaspFrame]:
    """Frames of `OUTCAR`, one for each ionic step.

    Raises
    ------
    ReferenceDataError
        If the file is not there or is no `OUTCAR`.
    """
    import ase.io

    try:
        text = path.read_text(errors="replace")
        frames = ase.io.read(path, index=":", format="vasp-out")
    except Exception as error:
        raise ReferenceDataError(f"{path} cannot be read as OUTCAR: {error or type(error).__name__}") from None
    limit = int(match[1]) if (match := re.search(r"NELM\s*=\s*(\d+)", text)) else 0
    version = re.search(r"vasp\.(\S+)", text)
    taken: dict[int, int] = {}
    for ionic, electronic in re.findall(r"Iteration\s+(\d+)\(\s*(\d+)\)", text):
        taken[int(ionic)] = max(int(electronic), taken.get(int(ionic), 0))
    read = []
    for number, frame in enumerate(frames, start=1):
        frame.info["code"] = f"VASP {version[1]}" if version else "VASP"
        frame.set_constraint()
        steps = taken.get(number, 0)
        read.append((frame, not limit or steps < limit, steps))
    return read


def _electronic_steps(path: Path) -> tuple[int, list[int], str]:
    """The limit NELM, the electronic steps of each whole ionic step, and the program's version."""
    limit, steps, code = 60, [], "VASP"
    try:
        for _, element in ElementTree.iterparse(path, events=("end",)):  # noqa: S314 - a local file of the user's own
            if element.tag == "i" and element.get("name") == "version" and element.text:
                code = f"VASP {element.text.strip()}"
            elif element.tag == "i" and element.get("name") == "NELM" and element.text:
                limit = int(element.text)
            elif element.tag == "calculation":
                steps.append(len(element.findall("scstep")))
    except ElementTree.ParseError:
        pass
    except OSError as error:
        raise ReferenceDataError(f"{path} cannot be read: {error.strerror}") from None
    return limit, steps, code
