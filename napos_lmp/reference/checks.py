"""What would spoil a training: every finding names its file and frame."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napos_lmp.errors import CompositionError
from napos_lmp.reference.contacts import closest_pair
from napos_lmp.reference.frames import read_frames

Kind = Literal[
    "unreadable",
    "no labels",
    "not converged",
    "not finite",
    "absurd force",
    "net force",
    "missing virial",
    "atoms too close",
    "wrong elements",
    "mixed levels",
    "duplicate",
    "wrong unit",
]

FORCE_CAP = 50.0
"""Force on an atom that no useful configuration reaches, eV/A."""

CONTACT = 0.6
"""Shortest distance that is allowed, as a fraction of the sum of radii, see `napos_lmp.reference.contacts`."""

NET_FORCE = 0.05
"""Largest sum of all forces, eV/A, that rounding and a plane-wave grid explain for one atom."""

_SAME_A = 1e-3
_SMALL_STEP_A = 0.5
_PAIRS_WANTED = 5
_UNITS = {"Hartree": 27.211386, "Rydberg": 13.605693, "kcal/mol": 1 / 23.060548, "kJ/mol": 1 / 96.485332, "meV": 1e-3}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: the file, the number of the frame in it (None for the whole file), kind and sentence.

    A finding that is not `serious` leaves the frame of some use, such as one without a virial.
    """

    file: str
    frame: int | None
    kind: Kind
    sentence: str
    serious: bool = True


def check_files(paths: Iterable[Path]) -> list[Finding]:
    """Check the frames of files, together: duplicates and levels of theory are looked for across all of them.

    Raises
    ------
    ReferenceDataError
        If a file cannot be read as extended XYZ at all.
    """
    named = [(str(path), number, frame) for path in paths for number, frame in enumerate(read_frames(path))]
    return check_frames([frame for *_, frame in named], [(file, number) for file, number, _ in named])


def check_frames(frames: Sequence[Any], places: Sequence[tuple[str, int]] | None = None) -> list[Finding]:
    """Check frames.

    Parameters
    ----------
    frames
        `ase.Atoms` with their labels, see :mod:`napos_lmp.reference.frames`.
    places
        File and number of each frame; by default all are of one file without a name.
    """
    where = list(places) if places is not None else [("", number) for number in range(len(frames))]
    findings: list[Finding] = []
    for frame, (file, number) in zip(frames, where, strict=True):
        findings += _check_one(frame, file, number)
    findings += _mixed_levels(frames, where)
    findings += _duplicates(frames, where)
    findings += _wrong_units(frames, where)
    return findings


def _check_one(frame: Any, file: str, number: int) -> list[Finding]:
    place = f"{file}, frame {number}" if file else f"frame {number}"
    found: list[tuple[Kind, str, bool]] = []
    labels = frame.calc.results if frame.calc is not None else {}
    if frame.info.get("converged") in (False, "False", "F", 0):
        found.append(("not converged", "its calculation did not converge", True))
    if missing := [name for name in ("energy", "forces") if name not in labels]:
        found.append(("no labels", f"has no {' and no '.join(missing)}", True))
    if broken := [name for name, value in labels.items() if not np.isfinite(np.asarray(value, dtype=float)).all()]:
        found.append(("not finite", f"its {', '.join(broken)} holds a number that is not finite", True))
    elif "forces" in labels:
        forces = np.asarray(labels["forces"])
        if (largest := float(np.linalg.norm(forces, axis=1).max())) > FORCE_CAP:
            found.append(("absurd force", f"a force of {largest:.1f} eV/A is above {FORCE_CAP:g} eV/A", True))
        net = float(np.linalg.norm(forces.sum(axis=0)))
        if net > NET_FORCE * len(frame):
            found.append(("net force", f"its forces add up to {net:.2f} eV/A instead of zero", True))
    if "energy" in labels and "stress" not in labels:
        found.append(("missing virial", "has no stress, so no virial", False))
    if close := _too_close(frame):
        found.append(("atoms too close", close, True))
    if wrong := _wrong_elements(frame):
        found.append(("wrong elements", wrong, True))
    return [Finding(file, number, kind, f"{place}: {sentence}", serious) for kind, sentence, serious in found]


def _too_close(frame: Any) -> str | None:
    pair = closest_pair(frame)
    if pair is None or pair[0] >= CONTACT:
        return None
    _, first, second, distance = pair
    symbols = frame.get_chemical_symbols()
    return f"atoms {first} and {second} ({symbols[first]}-{symbols[second]}) are {distance:.2f} A apart"


def _wrong_elements(frame: Any) -> str | None:
    """Elements that do not fit the composition a frame names, as after a type map in the wrong order."""
    from napos_lmp.formula import parse_formula

    named = frame.info.get("composition")
    if not isinstance(named, str):
        return None
    try:
        amounts = parse_formula(named)
    except CompositionError:
        return None
    fractions = {element: float(amount / sum(amounts.values())) for element, amount in amounts.items()}
    symbols = frame.get_chemical_symbols()
    shares = {element: symbols.count(element) / len(symbols) for element in {*symbols, *fractions}}
    if max(abs(shares[element] - fractions.get(element, 0.0)) for element in shares) < 0.03:
        return None
    return f"holds {frame.get_chemical_formula()} but names itself {named}; is the order of elements right?"


def _mixed_levels(frames: Sequence[Any], where: Sequence[tuple[str, int]]) -> list[Finding]:
    """Frames of another level of theory than the most common one."""
    levels = [str(frame.info["level"]) if "level" in frame.info else None for frame in frames]
    known = sorted({level for level in levels if level is not None}, key=lambda level: -levels.count(level))
    if not known or (len(known) == 1 and None not in levels):
        return []
    return [
        Finding(
            file, number, "mixed levels",
            f"{file}, frame {number}: its level of theory is {level or 'not named'}, that of most frames is {known[0]}",
        )
        for (file, number), level in zip(where, levels, strict=True)
        if level != known[0]
    ]  # fmt: skip


def _duplicates(frames: Sequence[Any], where: Sequence[tuple[str, int]]) -> list[Finding]:
    """Frames whose atoms all lie within a thousandth of an angstrom of those of an earlier one."""
    alike: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, frame in enumerate(frames):
        alike[tuple(frame.get_chemical_symbols())].append(index)
    findings = []
    for members in alike.values():
        cells = np.array([frames[index].cell.array for index in members])
        scaled = np.array([frames[index].get_scaled_positions(wrap=False) for index in members])
        for later in range(1, len(members)):
            same_cell = np.abs(cells[:later] - cells[later]).max(axis=(1, 2)) < _SAME_A
            for earlier in np.flatnonzero(same_cell):
                step = scaled[later] - scaled[earlier]
                if np.abs((step - np.rint(step)) @ cells[later]).max() < _SAME_A:
                    file, number = where[members[later]]
                    other = where[members[int(earlier)]]
                    sentence = f"{file}, frame {number}: is the same as frame {other[1]} of {other[0] or 'this file'}"
                    findings.append(Finding(file, number, "duplicate", sentence))
                    break
    return findings


def _wrong_units(frames: Sequence[Any], where: Sequence[tuple[str, int]]) -> list[Finding]:
    """Files whose energies do not change from frame to frame as their forces say (dE = -F dx over small steps)."""
    pairs: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for (one, (file, _)), (two, (file_two, _)) in zip(
        zip(frames, where, strict=True), zip(frames[1:], where[1:], strict=False), strict=False
    ):
        if file == file_two and (work := _work(one, two)) is not None:
            pairs[file].append((work, float(two.calc.results["energy"] - one.calc.results["energy"])))
    findings = []
    for file, values in pairs.items():
        predicted, found = np.array(values).T
        if len(values) < _PAIRS_WANTED or not predicted.any():
            continue
        slope = float(np.median(found[np.abs(predicted) > 1e-3] / predicted[np.abs(predicted) > 1e-3]))
        if 0.5 < slope < 2.0:
            continue
        unit = next((name for name, eV in _UNITS.items() if 0.8 < slope * eV < 1.25), None)
        guess = f"are they in {unit}?" if unit else "energies and forces do not belong together"
        sentence = f"{file}: its energies change {slope:.3g} times as much as its forces say; {guess}"
        findings.append(Finding(file, None, "wrong unit", sentence))
    return findings


def _work(one: Any, two: Any) -> float | None:
    """Energy by the mean force over a step between two frames of one cell, eV; None if that is no small step."""
    labels = [frame.calc.results if frame.calc is not None else {} for frame in (one, two)]
    if not all({"energy", "forces"} <= label.keys() for label in labels) or len(one) != len(two):
        return None
    if (one.numbers != two.numbers).any() or np.abs(one.cell.array - two.cell.array).max() > _SAME_A:
        return None
    step: NDArray[np.float64] = two.get_scaled_positions(wrap=False) - one.get_scaled_positions(wrap=False)
    moved = (step - np.rint(step)) @ one.cell.array
    if np.linalg.norm(moved, axis=1).max() > _SMALL_STEP_A:
        return None
    return float(-((labels[0]["forces"] + labels[1]["forces"]) / 2 * moved).sum())
