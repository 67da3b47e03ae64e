"""Errors of a model on labelled frames, over all of them and by composition, phase and temperature."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from napos_lmp.card import ErrorPair, SetErrors
from napos_lmp.files import whole_file
from napos_lmp.training.dataset import Array, Frame
from napos_lmp.training.prediction import Prediction


def set_errors(name: str, frames: Sequence[Frame], predictions: Sequence[Prediction]) -> SetErrors:
    """Errors over frames: energy and virial per atom, forces over all Cartesian components."""
    pairs = list(zip(frames, predictions, strict=True))
    energy = [(p.energy - f.energy) / len(f.symbols) for f, p in pairs]
    force = np.concatenate([(p.forces - f.forces).ravel() for f, p in pairs])
    virial = [((p.virial - f.virial) / len(f.symbols)).ravel() for f, p in pairs if f.virial is not None]
    return SetErrors(
        set=name,
        frames=len(frames),
        energy_meV_per_atom=_pair(np.array(energy)),
        force_meV_per_A=_pair(force),
        virial_meV_per_atom=_pair(np.concatenate(virial)) if virial else None,
    )


def grouped_errors(name: str, frames: Sequence[Frame], predictions: Sequence[Prediction]) -> list[SetErrors]:
    """Errors over all frames of a set, then by composition, by phase and by temperature."""
    keys: tuple[tuple[str, Callable[[Frame], str]], ...] = (
        ("composition", lambda frame: frame.composition),
        ("phase", lambda frame: frame.phase),
        ("temperature", lambda frame: "unknown" if frame.temperature is None else f"{frame.temperature:g} K"),
    )
    rows = [set_errors(name, frames, predictions)]
    for label, key in keys:
        groups: dict[str, list[int]] = defaultdict(list)
        for index, frame in enumerate(frames):
            groups[key(frame)].append(index)
        rows += [
            set_errors(f"{name}, {label} {value}", [frames[i] for i in members], [predictions[i] for i in members])
            for value, members in sorted(groups.items())
        ]
    return rows


def write_errors(path: Path, rows: Sequence[SetErrors]) -> None:
    """Write error rows as CSV; an empty field stands where there are no labels."""
    quantities = ("energy_meV_per_atom", "force_meV_per_A", "virial_meV_per_atom")
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["set", "frames", *(f"{q}_{kind}" for q in quantities for kind in ("rmse", "mae"))])
        for row in rows:
            pairs = [getattr(row, quantity) for quantity in quantities]
            numbers = [f"{value:.4f}" for pair in pairs if pair for value in (pair.rmse, pair.mae)]
            writer.writerow([row.set, row.frames, *numbers, *([""] * (6 - len(numbers)))])


def largest_difference(frames: Sequence[Frame], one: Sequence[Prediction], two: Sequence[Prediction]) -> Array:
    """Largest difference between two models over frames: energy in eV/atom, force component in eV/A."""
    energy = [abs(a.energy - b.energy) / len(f.symbols) for f, a, b in zip(frames, one, two, strict=True)]
    force = [np.abs(a.forces - b.forces).max() for a, b in zip(one, two, strict=True)]
    return np.array([max(energy), max(force)])


def _pair(differences: Array) -> ErrorPair:
    """RMSE and MAE in thousandths of the unit given, to four significant digits."""
    rmse, mae = float(np.sqrt(np.mean(differences**2))), float(np.mean(np.abs(differences)))
    return ErrorPair(rmse=float(f"{1000 * rmse:.4g}"), mae=float(f"{1000 * mae:.4g}"))
