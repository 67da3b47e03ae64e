"""All decks of a study and what was measured on them, read into one frozen model grouped by glass.

A glass is a composition made by one protocol with one potential in a cell of one size. Decks that start from another
deck's final structure belong to its glass; different seeds are replicas of one glass.
"""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napos_lmp.analysis.results import ANALYSIS_FOLDER, DeckResult, Quantity, StageResult, read_deck_result
from napos_lmp.composition import Composition, expand_series
from napos_lmp.engine.record import RunRecord, read_run_record
from napos_lmp.errors import AnalysisError, CompositionError, DeckError, StudyError
from napos_lmp.files import sha256_of
from napos_lmp.manifest import MANIFEST_NAME, Manifest, StageRecord, changed_files, read_manifest
from napos_lmp.report.numbers import COMPOSITION, Number, combine
from napos_lmp.study import INDEX_NAME, StudyIndex, decks_below, read_study_index

_BASES = {
    "peak": "g(r)", "cutoff": "g(r)", "expected_mean_n": COMPOSITION, "residual": "exact", "q_smallest": "box",
    "elastic": "fit", "cooling": "protocol", "cavity": "grid", "density_profile": "layers", "extrapolation": "looks",
}  # fmt: skip

GlassKey = tuple[str, str, str, int]
"""What decks of one glass share: formula, potential, protocol that made it, and number of atoms."""

Status = Literal["complete", "unfinished", "failed", "not started", "waiting", "not analysed"]


@dataclass(frozen=True)
class DeckView:
    """One deck as the report sees it.

    Attributes
    ----------
    name
        Folder relative to the study.
    status, reason
        How far it is, and in one sentence why it is not complete and analysed; "" where it is.
    changed
        Files that differ from what was rendered.
    result
        What was measured; None where nothing was.
    """

    folder: Path
    name: str
    manifest: Manifest
    run: RunRecord | None
    result: DeckResult | None
    status: Status
    reason: str
    changed: tuple[str, ...]

    @property
    def makes_glass(self) -> bool:
        """Whether the deck starts from atoms of its own rather than from another deck."""
        return self.manifest.structure.source_deck is None

    @property
    def protocol_name(self) -> str:
        """Name of the protocol that the deck was rendered from."""
        return str(self.manifest.protocol.get("name", "protocol"))

    @property
    def repeats_velocities(self) -> bool:
        """Whether the deck is another run of the same kind from the same glass, with velocities of its own."""
        return re.search(r"K-v\d+$", self.protocol_name) is not None

    @property
    def dynamics(self) -> tuple[StageRecord, ...]:
        """The stages of molecular dynamics."""
        return tuple(stage for stage in self.manifest.stages if stage.is_dynamics)

    def duration(self, stage: StageRecord) -> float:
        """Length of a stage in ps."""
        return (stage.last_step - stage.first_step) * self.manifest.timestep_ps

    def quench_rate(self, stage: StageRecord) -> float | None:
        """Cooling rate in K/ps of a stage that cools linearly, else None."""
        start, stop = stage.temperature_start_K, stage.temperature_stop_K
        if start is None or stop is None or stop >= start:
            return None
        return (start - stop) / self.duration(stage)

    @property
    def quench_rates(self) -> tuple[float, ...]:
        """Cooling rates in K/ps: as the protocol gives them, for linear ramps and for quenches in steps."""
        stages = self.manifest.protocol.get("stages", ())
        asked = [float(stage["rate_K_per_ps"]) for stage in stages if "rate_K_per_ps" in stage]
        return tuple(asked or (rate for stage in self.dynamics if (rate := self.quench_rate(stage)) is not None))

    def curve(self, stage: StageResult, name: str) -> dict[str, NDArray[np.float64]]:
        """Columns of a curve that was saved for a stage; empty where there is none."""
        return self._table(stage.files[name]) if name in stage.files else {}

    def thermo(self) -> dict[str, NDArray[np.float64]]:
        """Columns of the thermodynamic output of all stages; empty where there is none."""
        return self._table(self.result.thermo) if self.result and self.result.thermo else {}

    def _table(self, name: str) -> dict[str, NDArray[np.float64]]:
        path = self.folder / ANALYSIS_FOLDER / name
        if not path.is_file():
            return {}
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.reader(stream))
        columns = list(zip(*rows[1:], strict=True)) or [()] * len(rows[0])
        return {
            heading: np.array([float(value or "nan") for value in column])
            for heading, column in zip(rows[0], columns, strict=True)
            if all(_is_number(value) for value in column)
        }


@dataclass(frozen=True)
class Measurement:
    """A quantity of one stage of one deck; `temperature` is the target in K."""

    deck: DeckView
    stage: StageResult
    temperature: float
    quantity: Quantity

    @property
    def number(self) -> Number:
        """The quantity as a number of the report, its interval within the run."""
        q = self.quantity
        basis = "within run" if q.low is not None else _BASES.get(q.key.partition(".")[0], "")
        unit = q.unit.replace("^2", "²").replace("^3", "³")
        return Number(q.value, unit, q.low, q.high, q.level, basis, q.note, q.refused)


@dataclass(frozen=True)
class Glass:
    """One glass with all its decks; `label` tells it from the other glasses of the study."""

    formula: str
    label: str
    anchor: str
    decks: tuple[DeckView, ...]

    @cached_property
    def composition(self) -> Composition | None:
        """The composition; None where the formula needs charges that only the study knew."""
        try:
            return Composition.parse(self.formula)
        except CompositionError:
            return None

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the replicas."""
        return tuple(sorted({deck.manifest.seed for deck in self.decks}))

    @property
    def potential(self) -> str:
        """Name of the potential."""
        return self.decks[0].manifest.potential.name

    @property
    def protocol_name(self) -> str:
        """Name of the protocol that made the glass."""
        return (self.makers or self.decks)[0].protocol_name

    @property
    def makers(self) -> tuple[DeckView, ...]:
        """The decks that made the glass, one for each seed."""
        return tuple(deck for deck in self.decks if deck.makes_glass)

    def measurements(self, key: str) -> list[Measurement]:
        """Everything measured under a key, by rising temperature; one entry for each seed and temperature.

        Where a seed has a temperature twice, the longer measurement that gave a value counts; runs of one glass that
        differ in their velocities count as one, by their mean. Units and shells that a measured network does not hold
        count as zero.
        """
        found: dict[tuple[float, int], Measurement] = {}
        again: dict[tuple[float, int], list[Measurement]] = {}
        for deck in self.decks:
            for stage in deck.result.stages if deck.result else ():
                quantity = stage.get(key) or _absent(stage, key)
                if quantity is None or stage.temperature_K is None:
                    continue
                place = (stage.temperature_K, deck.manifest.seed)
                measured = Measurement(deck, stage, stage.temperature_K, quantity)
                if deck.repeats_velocities:
                    again.setdefault(place, []).append(measured)
                elif place not in found or _weight(found[place]) < _weight(measured):
                    found[place] = measured
        for place, repeated in again.items():
            others = [found[place]] if place in found else []
            found[place] = _one_glass([*others, *repeated])
        return [found[place] for place in sorted(found)]

    def temperatures(self, key: str) -> list[float]:
        """Temperatures in K at which a quantity was looked at."""
        return sorted({measurement.temperature for measurement in self.measurements(key)})

    def number(self, key: str, temperature: float) -> Number:
        """The quantity at a temperature, combined over replicas."""
        measured = self.measurements(key)
        here = [m.number for m in measured if m.temperature == temperature]
        unit = measured[0].number.unit if measured else ""
        return combine(here) if here else Number.of_refusal(unit, "no run has measured it")

    def coldest(self, key: str) -> tuple[float, Number] | None:
        """Temperature and number at the lowest temperature at which the quantity was looked at."""
        temperatures = self.temperatures(key)
        return (temperatures[0], self.number(key, temperatures[0])) if temperatures else None

    def coldest_number(self, key: str, unit: str) -> Number:
        """The quantity at the lowest temperature at which it was looked at; refused where it never was."""
        found = self.coldest(key)
        return found[1] if found else Number.of_refusal(unit, "no deck of this glass has measured it")

    def hottest(self, key: str) -> tuple[float, Number] | None:
        """Temperature and number at the highest temperature at which the quantity was determined.

        Where it was refused at all, the refusal at the highest temperature at which it was looked at.
        """
        points = [(temperature, self.number(key, temperature)) for temperature in reversed(self.temperatures(key))]
        return next((point for point in points if point[1].value is not None), points[0] if points else None)

    def keys(self, prefix: str) -> list[str]:
        """Keys of the glass's quantities that begin with a prefix, in the order they were measured."""
        found: dict[str, None] = {}
        for deck in self.decks:
            for stage in deck.result.stages if deck.result else ():
                found |= {q.key: None for q in stage.quantities if q.key.startswith(prefix)}
        return list(found)


@dataclass(frozen=True)
class StudyView:
    """A study: its glasses in the order in which they were written.

    Attributes
    ----------
    absent
        Decks that the study's index names and that are no longer there.
    series
        The formula with x and its unit-free values by the formula of each composition, for a study of one series.
    """

    folder: Path
    title: str
    glasses: tuple[Glass, ...]
    absent: tuple[str, ...]
    series: tuple[str, dict[str, float]] | None

    @property
    def decks(self) -> tuple[DeckView, ...]:
        """All decks."""
        return tuple(deck for glass in self.glasses for deck in glass.decks)

    @property
    def incomplete(self) -> tuple[DeckView, ...]:
        """Decks of which something is missing."""
        return tuple(deck for deck in self.decks if deck.status != "complete")


def collect_study(folder: Path) -> StudyView:
    """Read all decks of a study, or all decks below a folder that is none, and what was measured on them.

    Raises
    ------
    StudyError
        If there is no deck.
    DeckError
        If a manifest is damaged.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        raise StudyError(f"{folder} is no folder; give the folder of a study or of decks")
    index = read_study_index(folder) if (folder / INDEX_NAME).is_file() else None
    found = decks_below(folder)
    planned = [(folder / deck.path).resolve() for deck in index.decks] if index else []
    paths = [path for path in planned if path in found] + [path for path in found if path not in planned]
    if not paths:
        raise StudyError(f"{folder} holds no deck: no {MANIFEST_NAME} was found in it or below")
    views = {path: _view(path, folder) for path in paths}
    groups: dict[GlassKey, list[DeckView]] = {}
    for path, view in views.items():
        manifest = view.manifest
        maker = views[_root(path, views)]
        key = (manifest.formula, manifest.potential.name, maker.protocol_name, manifest.structure.n_atoms)
        groups.setdefault(key, []).append(view)
    absent = tuple(path.relative_to(folder).as_posix() for path in planned if path not in views)
    title = index.name if index else folder.name
    return StudyView(folder, title, tuple(_glasses(groups)), absent, _series(index) if index else None)


def _weight(measured: Measurement) -> tuple[bool, int]:
    return measured.quantity.value is not None, measured.stage.used_frames


def _one_glass(measured: list[Measurement]) -> Measurement:
    """Runs of one glass as one measurement: the mean, and the intervals within the runs, which are independent.

    Diffusion coefficients and conductivities are averaged in their logarithms.
    """
    valued = [m for m in measured if m.quantity.value is not None]
    if len(valued) < 2:
        return (valued or measured)[0]
    first = valued[0].quantity
    positive = first.unit in ("S/cm", "cm^2/s")
    into, back = (math.log, math.exp) if positive else (float, float)
    values = [into(m.quantity.value) for m in valued if m.quantity.value is not None]
    mean = sum(values) / len(values)
    ends: list[float | None] = [None, None]
    if all(m.quantity.low is not None and m.quantity.high is not None for m in valued):
        for side, sign in enumerate((-1, 1)):
            given = (m.quantity.high if side else m.quantity.low for m in valued)
            away = [into(end) - value for end, value in zip(given, values, strict=True) if end is not None]
            ends[side] = back(mean + sign * math.hypot(*away) / len(values))
    note = "; ".join(filter(None, (first.note, f"mean of {len(valued)} runs of one glass")))
    update = {"value": back(mean), "low": ends[0], "high": ends[1], "note": note}
    return replace(valued[0], quantity=first.model_copy(update=update))


def _series(index: StudyIndex) -> tuple[str, dict[str, float]] | None:
    """Formula with x, and x by composition, where the study is one series."""
    entries = index.study.get("compositions", ())
    if len(entries) != 1 or "series" not in entries[0]:
        return None
    formula, values = str(entries[0]["series"]), [float(x) for x in entries[0]["x"]]
    compositions = expand_series(formula, values)
    return formula, {c.formula: x for c, x in zip(compositions, values, strict=True)}


_ZERO_WHERE_ABSENT = {
    "unit.": ("mean_n", "%"),
    "unit_by_anion.": ("mean_n", "%"),
    "shell.": ("mean_n", "%"),
    "group.": ("bridges_per_former", "%"),
    "free_anion.": ("bridges_per_former", "per 100 formers"),
    "bridge.": ("bridges_per_former", "%"),
    "chain.": ("bridges_per_former", "per 100 formers"),
    "clusters.size": ("clusters.largest", "%"),
}
"""Kinds of quantity that only what occurs is listed of: what is there wherever they were measured, and their unit."""


def _absent(stage: StageResult, key: str) -> Quantity | None:
    """Zero for what no frame of a measured network holds, such as a unit, so that replicas without it count."""
    for prefix, (measured, unit) in _ZERO_WHERE_ABSENT.items():
        if key.startswith(prefix) and stage.get(measured) is not None:
            note = "in no frame; only replicas can give an interval"
            return Quantity(key=key, label="", unit=unit, value=0.0, note=note)
    return None


def _glasses(groups: dict[GlassKey, list[DeckView]]) -> Iterable[Glass]:
    formulas = Counter(formula for formula, *_ in groups)
    for place, ((formula, potential, protocol, n_atoms), decks) in enumerate(groups.items(), start=1):
        rivals = [key for key in groups if key[0] == formula]
        details = []
        if len({key[1] for key in rivals}) > 1:
            details.append(potential)
        if len({key[2] for key in rivals}) > 1:
            details.append(protocol)
        if len({key[3] for key in rivals}) > 1:
            details.append(f"{n_atoms} atoms")
        label = f"{formula} ({', '.join(details)})" if formulas[formula] > 1 else formula
        yield Glass(formula, label, f"glass-{place}", tuple(decks))


def _root(path: Path, views: dict[Path, DeckView]) -> Path:
    """The deck that a chain of decks starts from; the first one whose source is not in the study."""
    seen = {path}
    while (source := views[path].manifest.structure.source_deck) is not None:
        origin = (path / source).resolve()
        if origin not in views or origin in seen:
            break
        seen.add(origin)
        path = origin
    return path


def _view(path: Path, study: Path) -> DeckView:
    manifest = read_manifest(path)
    name = path.relative_to(study).as_posix()
    try:
        run = read_run_record(path)
    except DeckError:
        run = None
    result, damage = None, ""
    try:
        result = read_deck_result(path)
    except AnalysisError as error:
        damage = str(error)
    if result is not None and result.manifest_sha256 != sha256_of(path / MANIFEST_NAME):
        result, damage = None, "the analysis is of another deck: deck.json has changed since; analyse it again"
    status, reason = _status(path, manifest, run, result, damage)
    return DeckView(path, name, manifest, run, result, status, reason, tuple(_changed(path, manifest)))


def _status(
    path: Path, manifest: Manifest, run: RunRecord | None, result: DeckResult | None, damage: str
) -> tuple[Status, str]:
    last = run.segments[-1] if run and run.segments else None
    complete = (path / manifest.final_structure).is_file() or bool(result and result.complete)
    started = (result is not None and result.last_step is not None) or any(path.glob(manifest.thermo_pattern))
    if not complete:
        if last is not None and last.outcome == "failed":
            return "failed", last.message or f"LAMMPS ended with status {last.exit_status}"
        if not started:
            if manifest.structure.source_deck is not None and not (path / manifest.structure.file).is_file():
                return "waiting", f"its source deck {manifest.structure.source_deck} has not given its structure yet"
            return "not started", "it was never run"
        step = result.last_step if result and result.last_step is not None else last.last_step if last else None
        reached = (
            f"step {step} of {manifest.last_step}" if step is not None else f"an unknown step of {manifest.last_step}"
        )
        return "unfinished", f"the run has reached {reached}" + (f"; {damage}" if damage else "")
    if result is None:
        return "not analysed", damage or "it is complete but was not analysed"
    if not result.complete:
        return "not analysed", "it was analysed before it was complete; analyse it again"
    return "complete", ""


def _changed(path: Path, manifest: Manifest) -> list[str]:
    """Changed inputs; the structure that a deck gets from its source is no change."""
    return [
        name for name in changed_files(path, manifest) if name != manifest.structure.file or (path / name).is_file()
    ]


def _is_number(text: str) -> bool:
    try:
        float(text or "nan")
    except ValueError:
        return False
    return True
