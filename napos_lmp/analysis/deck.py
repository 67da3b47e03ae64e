"""What makes sense to measure on a deck, measured: `analysis.json` and one CSV for each curve.

Equilibrations and productions give temperature, pressure, energy and, at constant pressure, density from the log. The
structure is measured on each production, or on the last stage at constant temperature where there is none; motion is
measured on each production, vibrations on the stages for them, and the deviation of a committee on every stage that has
it. A measurement that the data do not support is recorded as refused, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import napos_lmp
from napos_lmp.analysis.averages import mean_estimate
from napos_lmp.analysis.base import Result
from napos_lmp.analysis.extrapolation import Extrapolation
from napos_lmp.analysis.findings import Findings
from napos_lmp.analysis.frames import checked_workers
from napos_lmp.analysis.motion import MOBILE, measure_motion
from napos_lmp.analysis.network.network import Network
from napos_lmp.analysis.quantities.extrapolation import extrapolation_quantities, extrapolation_record
from napos_lmp.analysis.quantities.response import elastic_quantities, thermal_quantities
from napos_lmp.analysis.quantities.shared import refused
from napos_lmp.analysis.quantities.vibrations import measure_vibrations
from napos_lmp.analysis.response.elastic import ElasticConstants
from napos_lmp.analysis.response.thermal import read_cooling_curve
from napos_lmp.analysis.results import (
    ANALYSIS_FOLDER,
    ANALYSIS_VERSION,
    DeckResult,
    InputFile,
    Quantity,
    StageResult,
    Tables,
    Window,
    read_deck_result,
    write_result,
)
from napos_lmp.analysis.structure import StructureOptions, measure_structure, measured_network
from napos_lmp.analysis.transport.conductivity import checked_charges
from napos_lmp.currents import VelocitySums
from napos_lmp.errors import AnalysisError, NaposError
from napos_lmp.files import sha256_of
from napos_lmp.manifest import MANIFEST_NAME, StageRecord
from napos_lmp.trajectory import DeckTrajectory

Progress = Callable[[str], None]
Floats = NDArray[np.float64]

_STEADY = ("anneal", "equilibrate", "produce")
_THERMO_COLUMNS = {
    "Temp": "temperature_K",
    "Density": "density_g_cm3",
    "PotEng": "potential_energy_eV_atom",
    "Press": "pressure_bar",
}


def analyse_decks(
    decks: Sequence[Path],
    *,
    charges: Mapping[str, float] | None = None,
    force: bool = False,
    workers: int | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[DeckResult]:
    """Analyse decks one after the other, as :func:`analyse_deck` does.

    `progress` is called with the number of decks done, their total, and what is being measured in which deck.
    """
    results = []
    for done, deck in enumerate(decks):

        def show(what: str, done: int = done, deck: Path = deck) -> None:
            if progress:
                progress(done, len(decks), f"{what}, {deck}")

        results.append(analyse_deck(deck, charges=charges, force=force, workers=workers, progress=show))
    if progress:
        progress(len(decks), len(decks), "")
    return results


def analyse_deck(
    deck: str | Path,
    *,
    charges: Mapping[str, float] | None = None,
    force: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> DeckResult:
    """Measure what a deck's trajectory and logs support, and save it in the deck's folder ``analysis``.

    An analysis that is up to date with the manifest, the trajectory, the logs, this version of the program and what it
    measures is returned as it is.

    Parameters
    ----------
    deck
        The deck's folder; its run may be unfinished.
    charges
        Charge number of every element for the conductivity; None takes the formal ones of the manifest.
    force
        Measure again even so.
    workers
        Most processes to use; None takes every core.
    progress
        Is told in a few words what is being measured.

    Raises
    ------
    DeckError
        If the folder is no deck.
    AnalysisError
        If the number of workers is below 1, an element has no charge, or the charges do not sum to zero.
    TrajectoryError
        If its trajectory contradicts its manifest.
    """
    folder = Path(deck)
    trajectory = DeckTrajectory(folder)
    inputs = _inputs(trajectory)
    digest = sha256_of(folder / MANIFEST_NAME)
    manifest = trajectory.manifest
    formal = manifest.structure.charges
    chosen = formal if charges is None else checked_charges(charges, manifest.structure.counts)
    if not force and (known := _up_to_date(folder, digest, inputs, chosen)) is not None:
        return known
    analysis = _DeckAnalysis(trajectory, chosen, checked_workers(workers), progress or (lambda _: None))
    analysis.measure()
    result = DeckResult(
        program_version=napos_lmp.__version__,
        analysis_version=ANALYSIS_VERSION,
        label=manifest.label,
        formula=manifest.formula,
        seed=manifest.seed,
        manifest_sha256=digest,
        inputs=inputs,
        charges=chosen,
        last_step=analysis.last_step,
        complete=(folder / manifest.final_structure).is_file(),
        thermo="thermo.csv" if "thermo.csv" in analysis.tables else None,
        stages=tuple(stage.result() for stage in analysis.stages),
        refusals=analysis.refusals,
    )
    write_result(folder / ANALYSIS_FOLDER, result, analysis.tables)
    return result


@dataclass
class _StageDraft:
    """A stage's result while it is being measured."""

    record: StageRecord
    quantities: list[Quantity] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def result(self) -> StageResult:
        return StageResult(
            stage=self.record.name,
            kind=self.record.kind,
            temperature_K=self.record.temperature_stop_K if self.record.is_dynamics else 0.0,
            quantities=tuple(self.quantities),
            windows=tuple(self.windows),
            files=self.files,
            refusals=self.refusals,
            **self.facts,
        )


class _DeckAnalysis:
    """One pass over a deck; `measure` fills the drafts and the tables."""

    def __init__(
        self, trajectory: DeckTrajectory, charges: Mapping[str, float], workers: int, progress: Progress
    ) -> None:
        self._trajectory = trajectory
        self._charges = charges
        self._manifest = trajectory.manifest
        self._workers = workers
        self._progress = progress
        self.stages: list[_StageDraft] = []
        self.tables: Tables = {}
        self.refusals: dict[str, str] = {}
        self.last_step: int | None = None
        self._thermo: dict[str, dict[str, Floats]] = {}

    def measure(self) -> None:
        self._read_thermo()
        self._measure_cooling()
        for record in self._manifest.stages:
            if record.kind == "vibrate":
                self._measure_vibrations(record)
                continue
            if record.kind not in _STEADY or record.temperature_start_K != record.temperature_stop_K:
                continue
            draft = _StageDraft(record)
            self._describe_frames(draft)
            self._measure_thermo(draft)
            if record.name in self._measured_stages():
                self._measure_frames(draft)
            self.stages.append(draft)
        self._measure_elasticity()
        dynamics = [stage for stage in self._manifest.stages if stage.is_dynamics]
        if dynamics and self.stages and not any(stage.ensemble == "npt" for stage in dynamics):
            put_in = self._manifest.structure.density_g_cm3
            reason = f"no stage is at constant pressure: the density is the one put in, {put_in:.3f} g/cm3"
            self.stages[-1].quantities.append(refused("density", "density", "g/cm^3", reason))
        if self._manifest.potential.card.get("committee"):
            self._measure_extrapolation(dynamics)

    def _measure_extrapolation(self, dynamics: Sequence[StageRecord]) -> None:
        """Deviation of the committee in every stage that LAMMPS asked it in; else on frames of the stages measured."""
        drafts = {draft.record.name: draft for draft in self.stages}
        for record in dynamics:
            self._progress(f"{record.name}: deviation of the committee")
            known = drafts.get(record.name)
            draft = known or _StageDraft(record)
            stored = known is not None and record.dump is not None
            try:
                found = Extrapolation(self._trajectory, record.name).run(stored_frames=stored)
            except NaposError as error:
                draft.refusals["deviation"] = str(error)
                continue
            self._save(draft, "deviation", found)
            draft.quantities.extend(extrapolation_quantities(found))
            draft.facts["extrapolation"] = extrapolation_record(found)
            drafts[record.name] = draft
        self.stages = [drafts[stage.name] for stage in self._manifest.stages if stage.name in drafts]

    def _measure_cooling(self) -> None:
        """Glass transition and slopes, as quantities of the last stage that cools at constant pressure."""
        cooling = [stage for stage in self._manifest.stages if stage.kind == "quench" and stage.ensemble == "npt"]
        if not cooling or cooling[-1].name not in self._thermo:
            return
        draft = _StageDraft(cooling[-1])
        try:
            curve = read_cooling_curve(self._trajectory)
        except NaposError as error:
            draft.refusals["cooling"] = str(error)
        else:
            self._save(draft, "cooling", curve)
            draft.quantities.extend(thermal_quantities(curve))
        self.stages.append(draft)

    def _measure_vibrations(self, record: StageRecord) -> None:
        draft = _StageDraft(record)
        self._describe_frames(draft)
        self._measure_thermo(draft)
        self._progress(f"{record.name}: vibrations")
        try:
            universe = self._trajectory.universe(record.name)
        except NaposError as error:
            draft.refusals["vibrations"] = str(error)
        else:
            draft.facts["used_frames"] = len(universe.trajectory)
            self._keep(draft, measure_vibrations(universe, mobile=MOBILE))
        self.stages.append(draft)

    def _measure_elasticity(self) -> None:
        """Elastic constants at 0 K, as quantities of the last strain."""
        strains = [stage for stage in self._manifest.stages if stage.kind == "strain"]
        if not strains:
            return
        draft = _StageDraft(strains[-1])
        self._progress("elastic constants")
        try:
            relaxed = ElasticConstants(self._trajectory.folder).run()
            clamped = ElasticConstants(self._trajectory.folder, state="clamped").run()
        except NaposError as error:
            draft.refusals["elastic"] = str(error)
        else:
            self._save(draft, "elastic", relaxed)
            draft.quantities.extend(elastic_quantities(relaxed, clamped))
        self.stages.append(draft)

    def _measured_stages(self) -> set[str]:
        steady = [s for s in self._manifest.stages if s.kind in _STEADY and s.dump is not None]
        produced = {stage.name for stage in steady if stage.kind == "produce"}
        return produced or {stage.name for stage in steady[-1:]}

    def _read_thermo(self) -> None:
        for record in self._manifest.stages:
            if record.is_dynamics:
                try:
                    self._thermo[record.name] = self._trajectory.thermo(record.name)
                except NaposError as error:
                    self.refusals.setdefault("thermo", str(error))
        if not self._thermo:
            return
        parts = list(self._thermo.values())
        shared = [name for name in _THERMO_COLUMNS if all(name in part for part in parts)]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in ("Step", "time_ps", *shared)}
        self.last_step = int(joined["Step"][-1])
        table: dict[str, ArrayLike] = {"time_ps": joined["time_ps"], "step": joined["Step"].astype(np.int64)}
        table.update({_THERMO_COLUMNS[name]: joined[name] / self._divisor(name) for name in shared})
        self.tables["thermo.csv"] = table

    def _divisor(self, column: str) -> int:
        return self._manifest.structure.n_atoms if column == "PotEng" else 1

    def _describe_frames(self, draft: _StageDraft) -> None:
        report = self._trajectory.report.get(draft.record.name)
        if report is None:
            return
        if report.last_step is not None:
            self.last_step = max(self.last_step or 0, report.last_step)
        draft.facts = {
            "segments": tuple(segment.file for segment in report.segments if segment.used_frames),
            "n_frames": report.n_frames,
            "expected_frames": report.expected_frames,
            "messages": tuple(report.messages),
        }

    def _measure_thermo(self, draft: _StageDraft) -> None:
        """Means over the stage; density and energy over its second half, when it has settled."""
        thermo = self._thermo.get(draft.record.name)
        if thermo is None:
            return
        late = slice(len(thermo["Step"]) // 2, None)
        temperature = mean_estimate(thermo["Temp"], "K")
        draft.facts["measured_temperature_K"] = temperature.value
        draft.quantities.append(Quantity.of_estimate("temperature", "measured temperature", temperature))
        pressure = mean_estimate(thermo["Press"][late] * 1e-4, "GPa")
        draft.quantities.append(Quantity.of_estimate("pressure", "pressure", pressure))
        energy = mean_estimate(thermo["PotEng"][late] / self._manifest.structure.n_atoms, "eV/atom")
        draft.quantities.append(Quantity.of_estimate("energy", "potential energy", energy))
        if draft.record.ensemble == "npt":
            density = mean_estimate(thermo["Density"][late], "g/cm^3")
            draft.quantities.append(Quantity.of_estimate("density", "density", density))

    def _measure_frames(self, draft: _StageDraft) -> None:
        try:
            universe = self._trajectory.universe(draft.record.name)
        except NaposError as error:
            draft.refusals["structure"] = str(error)
            return
        draft.facts["used_frames"] = len(universe.trajectory)
        name, options = draft.record.name, StructureOptions(workers=self._workers)
        found = measure_structure(universe, options, lambda what: self._progress(f"{name}: {what}"))
        self._keep(draft, found)
        if draft.record.kind == "produce":
            self._measure_motion(draft, universe, measured_network(universe, options, found))

    def _measure_motion(self, draft: _StageDraft, universe: Any, network: Network | None) -> None:
        name = draft.record.name
        temperature = float(draft.facts.get("measured_temperature_K") or draft.record.temperature_stop_K or 0)
        found = measure_motion(
            universe,
            temperature,
            self._charges,
            network=network,
            currents=self._currents(draft),
            workers=self._workers,
            progress=lambda what: self._progress(f"{name}: {what}"),
        )
        self._keep(draft, found)

    def _currents(self, draft: _StageDraft) -> VelocitySums | None:
        """Sums of velocities that the stage wrote, if it was told to."""
        if draft.record.currents is None:
            return None
        try:
            return self._trajectory.currents(draft.record.name)
        except NaposError as error:
            draft.refusals["currents"] = str(error)
            return None

    def _keep(self, draft: _StageDraft, found: Findings) -> None:
        for measurement, result in found.tables.items():
            self._save(draft, measurement, result)
        draft.quantities.extend(found.quantities)
        draft.windows.extend(found.windows)
        draft.refusals.update(found.refusals)

    def _save(self, draft: _StageDraft, measurement: str, result: Result) -> None:
        name = f"{measurement}.{draft.record.name}.csv"
        self.tables[name] = result
        draft.files[measurement] = name


def _inputs(trajectory: DeckTrajectory) -> dict[str, InputFile]:
    """Every file that the analysis reads, manifest apart."""
    manifest, folder = trajectory.manifest, trajectory.folder
    patterns = [manifest.thermo_pattern, *(stage.dump.pattern for stage in manifest.stages if stage.dump)]
    patterns += [stage.table for stage in manifest.stages if stage.table]
    patterns += [stage.currents.pattern for stage in manifest.stages if stage.currents]
    patterns += [manifest.deviation.pattern] if manifest.deviation else []
    paths = {path for pattern in patterns for path in folder.glob(pattern)}
    paths |= {path for name in (manifest.structure.file, manifest.final_structure) if (path := folder / name).is_file()}
    return {
        path.relative_to(folder).as_posix(): InputFile(size=path.stat().st_size, changed_ns=path.stat().st_mtime_ns)
        for path in sorted(paths)
    }


def _up_to_date(
    folder: Path, digest: str, inputs: dict[str, InputFile], charges: dict[str, float]
) -> DeckResult | None:
    """The analysis that is there, if nothing has changed since."""
    try:
        known = read_deck_result(folder)
    except AnalysisError:
        return None
    if known is None:
        return None
    measured = (known.manifest_sha256, known.inputs, known.charges, known.program_version, known.analysis_version)
    return known if measured == (digest, inputs, charges, napos_lmp.__version__, ANALYSIS_VERSION) else None
