"""The page of an evaluation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from napos_lmp import __version__
from napos_lmp.card import ErrorPair
from napos_lmp.evaluation import figures, tables
from napos_lmp.evaluation.calibration import Calibration, calibration, relation
from napos_lmp.evaluation.comparison import Evaluated, Evaluation
from napos_lmp.evaluation.training_frames import held_out, held_out_members
from napos_lmp.report.html import Block, Figure, Page, Section, Tabular, Text
from napos_lmp.report.numbers import Cell, Number, Table
from napos_lmp.report.provenance import exact
from napos_lmp.training.dataset import Array

_LEAST_CURVE = 2


def build_page(evaluation: Evaluation) -> Page:
    """All sections of the page."""
    names = [one.potential.name for one in evaluation.potentials]
    sections = [
        Section("summary", "At a glance", "At a glance", tuple(_summary(evaluation))),
        Section("systems", "What each potential is good for", "By system", tuple(_systems(evaluation))),
        Section("parity", "Predictions against labels", "Parity", tuple(_parity(evaluation))),
        Section("groups", "Errors of groups of frames", "Groups", tuple(map(Tabular, tables.group_tables(evaluation)))),
        Section("atoms", "Errors of kinds of atoms", "Atoms", tuple(_atoms(evaluation))),
        Section("signs", "What foretells an error", "Signs of error", tuple(_signs(evaluation))),
        Section("cost", "Frames, cost and error", "Cost", tuple(_cost(evaluation))),
        Section("method", "How the errors were taken", "Method", tuple(_method(evaluation))),
    ]
    return Page(
        title="Potentials against labels",
        kicker="napos-lmp evaluation",
        subtitle=f"{', '.join(names)} on {_tested_on(evaluation)}",
        program_version=__version__,
        sections=tuple(section for section in sections if section.blocks),
        files="errors, distances and deviations of each frame are in frames.csv",
    )


def _tested_on(evaluation: Evaluation) -> str:
    number = len(evaluation.potentials[0].frames)
    if not evaluation.same_frames:
        return "the test set of its own training, each"
    if not evaluation.files:
        return f"the {number} frames of the test set of its training"
    group = f" of the group {evaluation.group}" if evaluation.group else ""
    return f"{number} frames{group} of {', '.join(evaluation.files)}"


def _summary(evaluation: Evaluation) -> Iterable[Block]:
    yield Tabular(tables.summary_table(evaluation))
    yield Tabular(tables.further_table(evaluation))
    yield from (Text(note, "note") for note in evaluation.notes)
    theories = {one.potential.name: one.potential.card.training_data.level_of_theory for one in evaluation.potentials}
    yield Text("Trained on labels of: " + "; ".join(f"{name}: {theory}" for name, theory in theories.items()) + ".")
    if not evaluation.same_frames:
        yield Text("Each potential was tested on other frames, so that their errors are not to be compared.", "alert")
    if not evaluation.files:
        yield Tabular(_held_out_table(evaluation))


def _held_out_table(evaluation: Evaluation) -> Table:
    """Errors at home and on what was held out."""
    rows: list[tuple[Cell, ...]] = []
    for one in evaluation.potentials:
        home = next((row for row in one.potential.card.errors if row.set == "validation"), None)
        members = held_out_members(one.potential, one.frames)
        away = _force_of(one, members)
        rows.append(
            (
                one.potential.name,
                held_out(one.potential) or "trajectories at random",
                exact(float(len(members)), ""),
                _home(home.force_meV_per_A if home else None),
                away,
                _factor(home.force_meV_per_A if home else None, away),
            )
        )
    columns = (
        "Potential",
        "Held out",
        "Frames held out",
        "Forces, validation set",
        "Forces, held out",
        "Held out over validation",
    )
    return Table("held-out", "Errors on kinds of frames that were not trained on", columns, tuple(rows))


def _home(pair: ErrorPair | None) -> Number:
    if pair is None:
        return Number.of_refusal(tables.UNITS["force"], "the card gives no error on a validation set")
    return Number(pair.rmse, tables.UNITS["force"], note="from the card, which gives no interval", decimals=0)


def _factor(pair: ErrorPair | None, away: Number) -> Number:
    if pair is None or away.value is None or pair.rmse <= 0:
        return Number.of_refusal("", "one of the two is not known")
    low, high = (end / pair.rmse for end in away.ends) if away.ends else (None, None)
    return Number(away.value / pair.rmse, "", low, high, basis=away.basis, note=away.note, decimals=1)


def _systems(evaluation: Evaluation) -> Iterable[Block]:
    yield Text(
        "A system is a composition in a phase. The verdict goes by the root-mean-square error of the forces as a share "
        "of that of the labels, by the upper end of its interval where there is one: below 10 % good, below 20 % fair, "
        "else poor.",
        "note",
    )
    yield from (Tabular(tables.system_table(one)) for one in evaluation.potentials)


def _parity(evaluation: Evaluation) -> Iterable[Block]:
    shifted = [one.potential.name for one in evaluation.potentials if one.errors.other_zero]
    said = f" Of {', '.join(shifted)} the best constant for each element was taken off the energies." if shifted else ""
    yield Figure(
        figures.parity(evaluation.potentials),
        "Predicted against labelled energies, forces and virials",
        f"Predictions against labels: energies, all components of forces and of virials; darker where more lie.{said}",
    )
    yield Figure(
        figures.error_against_force(evaluation.potentials),
        "Force error against the size of the force",
        "Error of the force on an atom, in bins of the size of the label.",
    )


def _atoms(evaluation: Evaluation) -> Iterable[Block]:
    yield Tabular(tables.element_table(evaluation))
    yield Tabular(tables.environment_table(evaluation))


def _signs(evaluation: Evaluation) -> Iterable[Block]:
    rows = [row for one in evaluation.potentials for row in _relations(one)]
    if rows:
        columns = ("Potential", "Sign", "Rank correlation with the force error of a frame", "Frames")
        yield Tabular(Table("signs", "What foretells the error of a frame", columns, tuple(rows)))
    if any(one.distances is not None for one in evaluation.potentials):
        yield Figure(
            figures.error_against(evaluation.potentials, lambda one: one.distances, "distance from the training set"),
            "Force error of frames against their distance from the training set",
            "Force error of each frame against its distance from the potential's training set, as the descriptor of "
            f"{evaluation.descriptor} sees it; 1 is as far as validation frames are.",
        )
    committees = [one for one in evaluation.potentials if one.deviations is not None]
    if not committees:
        yield Text("None of the potentials is a committee, so that there is no deviation to go by.", "note")
        return
    yield Figure(
        figures.error_against(committees, _mean_deviations, "mean deviation of the committee (meV/Å)"),
        "Force error of frames against the deviation of the committee",
        "Force error of each frame against the mean deviation of the committee on its atoms.",
    )
    found = {one.potential.name: _calibration(one) for one in committees}
    yield Figure(
        figures.calibrations(found),
        "Error of atoms against the deviation of the committee",
        "Error of atoms in bins of like deviation; on the dotted line the committee judges itself rightly.",
    )
    headings = ("Potential", "Models", "Error over deviation", "Frames that extrapolate", "Forces there", "Elsewhere")
    judged = tuple(_committee_row(one, found[one.potential.name]) for one in committees)
    yield Tabular(Table("committees", "How well committees judge themselves", headings, judged))


def _relations(one: Evaluated) -> Iterable[tuple[Cell, ...]]:
    signs = {"distance from the training set": one.distances, "mean deviation of the committee": _mean_deviations(one)}
    for name, values in signs.items():
        if values is None:
            continue
        if (found := relation(values, one.frame_force_rmse)) is None:
            number = Number.of_refusal("", "there are fewer than eight frames with one")
        else:
            number = Number(found.rank, "", found.low, found.high, basis="Fisher")
        yield (one.potential.name, name, number, exact(float(len(one.frames)), ""))


def _mean_deviations(one: Evaluated) -> Array | None:
    return None if one.deviations is None else np.array([1000 * deviation.mean() for deviation in one.deviations])


def _calibration(one: Evaluated) -> Calibration:
    assert one.deviations is not None
    return calibration(one.deviations, one.errors.force)


def _committee_row(one: Evaluated, found: Calibration) -> tuple[Cell, ...]:
    models = exact(float(len(one.potential.models)), "")
    factor = Number(found.factor, "", note="over atoms, without an interval", decimals=2)
    if one.flagged is None:
        reason = "the card does not say which deviation is usual"
        refused = [Number.of_refusal(unit, reason) for unit in ("%", tables.UNITS["force"], tables.UNITS["force"])]
        return (one.potential.name, models, factor, *refused)
    share = exact(100 * float(one.flagged.mean()), "%", 0)
    parts = [np.nonzero(one.flagged)[0].tolist(), np.nonzero(~one.flagged)[0].tolist()]
    return (one.potential.name, models, factor, share, *(_force_of(one, part) for part in parts))


def _force_of(one: Evaluated, members: Sequence[int]) -> Number:
    if not members:
        return Number.of_refusal(tables.UNITS["force"], "there is no such frame")
    return tables.number_of(one.errors.errors(members)["force_rmse"], tables.UNITS["force"])


def _cost(evaluation: Evaluation) -> Iterable[Block]:
    families: dict[str, list[Evaluated]] = defaultdict(list)
    for one in evaluation.potentials:
        families[one.potential.backend].append(one)
    learned = {
        family: [(float(one.train), *_force_ends(one)) for one in members if one.train]
        for family, members in families.items()
        if len({one.train for one in members if one.train}) >= _LEAST_CURVE
    }
    if learned and evaluation.same_frames:
        yield Figure(
            figures.curve(learned, "frames trained on"),
            "Force error against the number of frames trained on",
            "Learning curve: force error against the number of frames that a potential was trained on.",
        )
    paid = {
        one.potential.name: [(one.core_microseconds, *_force_ends(one))]
        for one in evaluation.potentials
        if one.core_microseconds is not None
    }
    if len(paid) >= _LEAST_CURVE and evaluation.same_frames:
        yield Figure(
            figures.curve(paid, "time of one core for one step of one atom (µs)"),
            "Force error against cost",
            "Force error against the time of one core of this machine for one step of one atom, as decks run it.",
        )


def _force_ends(one: Evaluated) -> tuple[float, float, float]:
    error = one.errors.overall["force_rmse"]
    return (
        error.value,
        error.value if error.low is None else error.low,
        error.value if error.high is None else error.high,
    )


def _method(evaluation: Evaluation) -> Sequence[Block]:
    lines = [
        "Energies are those that the forces are derivatives of (the free energy where the labels have one). Energies "
        "and virials are per atom, over all frames and components; forces over all Cartesian components of all atoms; "
        "the direction is the mean angle between force and label, on atoms with a label of 0.2 eV/Å or more.",
        "Intervals are of 95 %, from drawing whole trajectories with replacement, as the frames of one trajectory are "
        "alike; they know nothing of errors of the labels.",
    ]
    if evaluation.descriptor:
        lines.append(
            "The distance of an atom is that to the nearest atom of its element in the training set, in the descriptor "
            f"of {evaluation.descriptor} on its 16 widest principal axes of unit spread, over the median of the "
            "validation frames; that of a frame is the mean over its atoms."
        )
    lines.append(
        "The time of a step was taken from LAMMPS on one core of this machine, which may have had other work to do: 60 "
        "steps of at least 150 atoms."
    )
    return tuple(Text(line, "note") for line in lines)
