"""Tables of an evaluation, each error with its interval, and the table of all frames as CSV."""

from __future__ import annotations

import csv
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from napos_lmp.evaluation.comparison import Evaluated, Evaluation
from napos_lmp.evaluation.errors import LEAST_TRAJECTORIES, Error
from napos_lmp.evaluation.groups import atom_kinds, groups_of
from napos_lmp.evaluation.verdict import Verdict, verdict
from napos_lmp.files import whole_file
from napos_lmp.report.numbers import Cell, Number, Table
from napos_lmp.report.provenance import exact

UNITS = {
    "energy": "meV/atom", "shifted_energy": "meV/atom", "force": "meV/Å", "force_relative": "%", "direction": "°",
    "virial": "meV/atom",
}  # fmt: skip
_FEW = f"fewer than {LEAST_TRAJECTORIES} trajectories, which give no interval"
_ABSENT = "none of its test frames is of this kind"
_LEAST_ATOMS = 30


def number_of(error: Error, unit: str) -> Number:
    """An error as the page shows it."""
    if not math.isfinite(error.value):
        return Number.of_refusal(unit, "there are no labels to compare with")
    if error.low is None or error.high is None:
        return Number(error.value, unit, note=_FEW, decimals=0 if error.value >= 10 else 1)
    return Number(error.value, unit, error.low, error.high, basis="trajectories resampled")


def summary_table(evaluation: Evaluation) -> Table:
    """Root-mean-square errors over all frames, a row for each potential."""
    columns = ("Potential", "Trained on", "Tested on", "Energy", "Forces", "Forces, relative", "Virial", "Core time")
    rows: list[tuple[Cell, ...]] = []
    for one in evaluation.potentials:
        errors = one.errors.overall
        energy = number_of(errors["energy_rmse"], UNITS["energy"])
        if one.errors.other_zero:
            offset = float(np.median(one.errors.energy))
            energy = Number.of_refusal(
                UNITS["energy"], f"its energies have another zero, {abs(offset):.1f} eV/atom from that of the labels"
            )
        rows.append(
            (
                one.potential.name,
                exact(float(one.train), "frames") if one.train else "unknown",
                exact(float(len(one.frames)), "frames"),
                energy,
                number_of(errors["force_rmse"], UNITS["force"]),
                number_of(errors["force_relative"], UNITS["force_relative"]),
                number_of(errors["virial_rmse"], UNITS["virial"]),
                _cost(one),
            )
        )
    caption = "Root-mean-square errors over all frames, and time of one core for one step of one atom"
    return Table("summary", caption, columns, tuple(rows))


def further_table(evaluation: Evaluation) -> Table:
    """Mean absolute errors, and what is left of the energy up to constants, over all frames."""
    columns = ("Potential", "Energy, up to constants", "Energy, MAE", "Forces, MAE", "Virial, MAE", "Direction")
    keys = ("shifted_energy_rmse", "energy_mae", "force_mae", "virial_mae", "direction")
    rows: list[tuple[Cell, ...]] = []
    for one in evaluation.potentials:
        errors = one.errors.overall
        rows.append(
            (one.potential.name, *(number_of(errors[key], UNITS[re.sub("_(rmse|mae)$", "", key)]) for key in keys))
        )
    return Table(
        "further", "Energy after the best constant for each element; mean absolute errors", columns, tuple(rows)
    )


def system_table(one: Evaluated) -> Table:
    """A verdict on a potential for each system, which is a composition in a phase."""
    columns = ("System", "Frames", "Energy", "Forces", "Forces, relative", "Verdict")
    rows: list[tuple[Cell, ...]] = []
    for composition, phase in sorted({(frame.composition, frame.phase) for frame in one.frames}):
        members = [k for k, f in enumerate(one.frames) if (f.composition, f.phase) == (composition, phase)]
        errors = one.errors.errors(members)
        rows.append(
            (
                f"{composition}, {phase}",
                exact(float(len(members)), ""),
                number_of(errors[_energy_key(one)], UNITS["energy"]),
                number_of(errors["force_rmse"], UNITS["force"]),
                number_of(errors["force_relative"], UNITS["force_relative"]),
                verdict_on(one, members, errors).sentence_with_word,
            )
        )
    name = one.potential.name
    return Table(f"systems-{name}", f"{name} by system: composition and phase", columns, tuple(rows))


def verdict_on(one: Evaluated, members: Sequence[int], errors: Mapping[str, Error]) -> Verdict:
    """Verdict on a potential for some of its frames."""
    distance = float(np.median(one.distances[list(members)])) if one.distances is not None else None
    flagged = float(one.flagged[list(members)].mean()) if one.flagged is not None else None
    return verdict(errors["force_relative"], distance, flagged)


def group_tables(evaluation: Evaluation) -> list[Table]:
    """Errors by composition, phase, temperature and density, a table for each."""
    return [
        _group_table(evaluation, kind, [groups_of(one.frames)[kind] for one in evaluation.potentials])
        for kind in groups_of(evaluation.potentials[0].frames)
    ]


def _group_table(evaluation: Evaluation, kind: str, groups: Sequence[Mapping[str, list[int]]]) -> Table:
    names = [one.potential.name for one in evaluation.potentials]
    counted = names[:1] if evaluation.same_frames else names
    columns = [
        "Density, g/cm³" if kind == "density" else kind.capitalize(),
        *("Frames" if evaluation.same_frames else f"{name}: frames" for name in counted),
        *(f"{name}: {what}" for what in ("energy", "forces", "virial") for name in names),
    ]
    rows: list[tuple[Cell, ...]] = []
    for group in sorted({group for found in groups for group in found}, key=_natural):
        members = [found.get(group, []) for found in groups]
        errors = [
            one.errors.errors(chosen) if chosen else {}
            for one, chosen in zip(evaluation.potentials, members, strict=True)
        ]
        row: list[Cell] = [group]
        row += [exact(float(len(chosen)), "") for chosen in members[: len(counted)]]
        for quantity in ("energy", "force", "virial"):
            for one, found in zip(evaluation.potentials, errors, strict=True):
                key = _energy_key(one) if quantity == "energy" else f"{quantity}_rmse"
                row.append(
                    number_of(found[key], UNITS[quantity]) if found else Number.of_refusal(UNITS[quantity], _ABSENT)
                )
        rows.append(tuple(row))
    return Table(f"by-{kind}", f"Root-mean-square errors by {kind}", tuple(columns), tuple(rows))


def element_table(evaluation: Evaluation) -> Table:
    """Force errors by element."""
    columns = ["Element"]
    for one in evaluation.potentials:
        columns += [f"{one.potential.name}: RMSE", f"{one.potential.name}: MAE"]
    errors = [one.errors.overall for one in evaluation.potentials]
    missing = Error(math.nan)
    rows: list[tuple[Cell, ...]] = [
        (
            element,
            *(
                number_of(found.get(f"force_{element}_{kind}", missing), UNITS["force"])
                for found in errors
                for kind in ("rmse", "mae")
            ),
        )
        for element in evaluation.elements
    ]
    return Table("by-element", "Force errors by element", tuple(columns), tuple(rows))


def environment_table(evaluation: Evaluation) -> Table:
    """Force errors by what an atom is bonded to, where 30 atoms or more are."""
    sums: list[dict[str, list[float]]] = []
    for one in evaluation.potentials:
        found: dict[str, list[float]] = defaultdict(list)
        for frame, force in zip(one.frames, one.errors.force, strict=True):
            for kind, squares in zip(atom_kinds(frame), (force**2).mean(axis=1), strict=True):
                found[kind].append(float(squares))
        sums.append(found)
    names = sorted({kind for found in sums for kind in found if len(found[kind]) >= _LEAST_ATOMS})
    potentials = [one.potential.name for one in evaluation.potentials]
    counted = potentials[:1] if evaluation.same_frames else potentials
    columns = [
        "Atom",
        *("Atoms" if evaluation.same_frames else f"{name}: atoms" for name in counted),
        *(f"{name}: forces" for name in potentials),
    ]
    note = "an error over atoms, without an interval"
    rows: list[tuple[Cell, ...]] = []
    for name in names:
        row: list[Cell] = [name]
        row += [exact(float(len(found.get(name, []))), "") for found in sums[: len(counted)]]
        for found in sums:
            squares = found.get(name, [])
            value = 1000 * math.sqrt(sum(squares) / len(squares)) if squares else None
            row.append(
                Number(value, UNITS["force"], note=note, decimals=0)
                if value is not None
                else Number.of_refusal(UNITS["force"], _ABSENT)
            )
        rows.append(tuple(row))
    return Table("by-environment", "Force errors by what atoms are bonded to", tuple(columns), tuple(rows))


def write_frames(path: Path, evaluation: Evaluation) -> None:
    """Write a row for each potential and frame: its errors, its distance from the training set, its deviation."""
    columns = (
        "potential", "frame", "composition", "phase", "temperature_K", "density_g_cm3", "trajectory", "atoms",
        "energy_error_meV_per_atom", "shifted_energy_error_meV_per_atom", "force_rmse_meV_per_A",
        "largest_force_error_meV_per_A", "virial_rmse_meV_per_atom", "distance", "largest_deviation_meV_per_A",
        "mean_deviation_meV_per_A", "extrapolates",
    )  # fmt: skip
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        for one in evaluation.potentials:
            writer.writerows(_frame_row(one, place) for place in range(len(one.frames)))


def _frame_row(one: Evaluated, place: int) -> list[str]:
    frame, force = one.frames[place], one.errors.force[place]
    atoms = len(frame.symbols)
    virial = None if frame.virial is None else (one.errors.predictions[place].virial - frame.virial) / atoms
    deviation = None if one.deviations is None else one.deviations[place]
    milli = (
        one.errors.energy[place],
        one.errors.shifted_energy[place],
        float(np.sqrt((force**2).mean())),
        float(np.linalg.norm(force, axis=1).max()),
        None if virial is None else float(np.sqrt((virial**2).mean())),
    )
    return [
        one.potential.name, frame.name, frame.composition, frame.phase,
        "" if frame.temperature is None else f"{frame.temperature:g}", f"{frame.density:.4f}", frame.trajectory,
        str(atoms), *("" if value is None else f"{1000 * value:.3f}" for value in milli),
        "" if one.distances is None else f"{one.distances[place]:.4f}",
        *(["", ""] if deviation is None else [f"{1000 * deviation.max():.3f}", f"{1000 * deviation.mean():.3f}"]),
        "" if one.flagged is None else str(bool(one.flagged[place])).lower(),
    ]  # fmt: skip


def _energy_key(one: Evaluated) -> str:
    """The error of energies that can be compared: up to constants where the zero is another."""
    return "shifted_energy_rmse" if one.errors.other_zero else "energy_rmse"


def _cost(one: Evaluated) -> Number:
    if one.core_microseconds is None:
        return Number.of_refusal("µs", one.no_cost)
    return exact(one.core_microseconds, "µs", 0)


def _natural(name: str) -> tuple[float, str]:
    head = name.split()[0]
    try:
        return (float(head), name)
    except ValueError:
        return (math.inf, name)
