"""Structure and transport of a trajectory that no deck of ours wrote, saved as those of a deck's stage are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

import napos_lmp
from napos_lmp.analysis.averages import mean_estimate
from napos_lmp.analysis.base import AtomSet, checked_atoms, checked_box, checked_frames
from napos_lmp.analysis.findings import Findings
from napos_lmp.analysis.motion import measure_motion
from napos_lmp.analysis.neighbours import box_heights
from napos_lmp.analysis.network.network import Network
from napos_lmp.analysis.results import ANALYSIS_VERSION, RESULT_NAME, InputFile, Quantity, StageResult, write_result
from napos_lmp.analysis.structure import Progress, StructureOptions, measure_structure, measured_network
from napos_lmp.analysis.transport.conductivity import checked_charges
from napos_lmp.bare_trajectory import BareTrajectory, open_trajectory
from napos_lmp.composition import FORMAL_CHARGES, Composition
from napos_lmp.errors import AnalysisError, CompositionError, TrajectoryError
from napos_lmp.records import Record, read_record

NO_TRANSPORT = "not measured: it needs the time between frames (--frame-ps) and the temperature (--temperature)"
_U_PER_A3_IN_G_PER_CM3 = 1.66053906660


class TrajectoryResult(Record):
    """All that was measured on a bare trajectory.

    `counts` are the atoms of each element, `formula` the composition, `elements_from` says where the elements are from,
    `settings` what was asked for, `result` is as that of a deck's stage, its files beside ``analysis.json``.
    """

    schema_version: Literal[1] = 1
    program_version: str
    analysis_version: int
    trajectory: str
    formula: str
    counts: dict[str, int]
    elements_from: str
    inputs: dict[str, InputFile]
    settings: dict[str, Any] = Field(default_factory=dict)
    result: StageResult

    def get(self, key: str) -> Quantity | None:
        """The quantity with a key, if it was looked at."""
        return self.result.get(key)


def default_folder(path: Path) -> Path:
    """Where the analysis of a trajectory goes: NAME-analysis beside it, NAME being all before the first dot."""
    return path.with_name(f"{path.name.partition('.')[0] or path.name}-analysis")


def analyse_trajectory(
    path: str | Path,
    *,
    elements: list[str] | None = None,
    topology: str | Path | None = None,
    frame_ps: float | None = None,
    temperature: float | None = None,
    charges: Mapping[str, float] | None = None,
    out: str | Path | None = None,
    options: StructureOptions | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> TrajectoryResult:
    """Measure structure and transport of a trajectory; save ``analysis.json`` and one CSV for each curve.

    All is written or nothing. An analysis of the same files with the same settings and the same version of the program
    is returned as it is.

    Parameters
    ----------
    path, elements, topology
        As :func:`~napos_lmp.bare_trajectory.open_trajectory`.
    frame_ps, temperature
        Time between frames in ps and mean temperature in K. Transport is measured where both are given.
    charges
        Charge number of every element; formal ones by default.
    out
        Folder of the results; NAME-analysis beside the trajectory by default.
    options
        Frames, network, cutoffs and processes.
    force
        Measure again even so.
    progress
        Is told in a few words what is being measured.

    Raises
    ------
    TrajectoryError
        If the trajectory cannot be read, its elements are not known, or `frame_ps` contradicts it.
    AnalysisError
        If one of `frame_ps` and `temperature` is given without the other, or charges without them; if an element has no
        charge, or they do not sum to zero; if the frames, formers, anions or cutoffs that were asked for are not there,
        a frame has no box, all frames are identical, or `out` holds something else than an analysis.
    """
    path, options = Path(path), options or StructureOptions()
    folder = default_folder(path) if out is None else Path(out)
    _refuse_foreign(folder)
    inputs = _inputs(path, topology)
    motion = _checked_motion(frame_ps, temperature, charges)
    settings = _settings(elements, topology, options) | motion
    if not force and (known := _up_to_date(folder, inputs, settings)) is not None:
        return known
    opened = open_trajectory(path, elements=elements, topology=topology, frame_ps=frame_ps)
    try:
        atoms = checked_atoms(opened.universe)
        if motion:
            motion["charges"] = checked_charges(motion.get("charges", FORMAL_CHARGES), atoms.counts)
        stage = _measure(opened, atoms, options, motion, progress)
    except AnalysisError as error:
        raise AnalysisError(f"{path}: {error}") from None
    except OSError as error:
        raise TrajectoryError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    tables = stage.pop("tables")
    result = TrajectoryResult(
        program_version=napos_lmp.__version__,
        analysis_version=ANALYSIS_VERSION,
        trajectory=path.name,
        formula=_formula(atoms.counts),
        counts=atoms.counts,
        elements_from=opened.elements_from,
        inputs=inputs,
        settings=settings,
        result=StageResult(stage="trajectory", kind="trajectory", temperature_K=temperature, **stage),
    )
    write_result(folder, result, tables)
    return result


def analyse_trajectories(
    paths: Sequence[Path],
    *,
    out: Path | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    **options: Any,
) -> dict[Path, TrajectoryResult]:
    """Analyse trajectories one after the other, as :func:`analyse_trajectory` does; results by their folders.

    `progress` is called with the number of trajectories done, their total, and what is being measured in which.

    Raises
    ------
    AnalysisError
        If two of them would be written to the same folder.
    """
    folders = [default_folder(path) if out is None else out for path in paths]
    for k, folder in enumerate(folders):
        if folder in folders[:k]:
            raise AnalysisError(
                f"{paths[folders.index(folder)]} and {paths[k]} would both be written to {folder}; "
                "analyse them one by one, each with a folder of its own (--out)"
            )
    results = {}
    for done, (path, folder) in enumerate(zip(paths, folders, strict=True)):

        def show(what: str, done: int = done, path: Path = path) -> None:
            if progress:
                progress(done, len(paths), f"{what}, {path}")

        results[folder] = analyse_trajectory(path, out=folder, progress=show, **options)
    return results


def _checked_motion(
    frame_ps: float | None, temperature: float | None, charges: Mapping[str, float] | None
) -> dict[str, Any]:
    """What transport needs; nothing where it is not asked for."""
    if frame_ps is None and temperature is None and charges is None:
        return {}
    if frame_ps is None:
        raise AnalysisError("frame_ps is missing: transport needs the time between frames in ps (--frame-ps)")
    if temperature is None:
        raise AnalysisError("temperature is missing: transport needs the mean temperature in K (--temperature)")
    if not 0 < temperature < math.inf:
        raise AnalysisError(f"temperature is {temperature:g} K; it must be positive")
    return {"frame_ps": frame_ps, "temperature": temperature} | ({} if charges is None else {"charges": dict(charges)})


def _measure(
    opened: BareTrajectory,
    atoms: AtomSet,
    options: StructureOptions,
    motion: dict[str, Any],
    progress: Progress | None,
) -> dict[str, Any]:
    trajectory = opened.universe.trajectory
    frames = checked_frames(trajectory, *options.slice(len(trajectory)))
    _check_network(opened.universe, options)
    found = measure_structure(opened.universe, options, progress)
    if "structure" in found.refusals:
        raise AnalysisError(found.refusals["structure"])
    moved = Findings(refusals={"transport": NO_TRANSPORT})
    if motion:
        moved = measure_motion(
            opened.universe,
            motion["temperature"],
            motion["charges"],
            network=measured_network(opened.universe, options, found),
            frames=slice(options.start, options.stop, options.step),
            workers=options.workers,
            progress=progress,
        )
    found.include(moved)
    return {
        "n_frames": len(trajectory),
        "expected_frames": len(trajectory),
        "used_frames": len(frames),
        "quantities": (_density(trajectory, frames, atoms), *found.quantities),
        "windows": tuple(found.windows),
        "files": {name: f"{name}.csv" for name in found.tables},
        "refusals": found.refusals,
        "messages": opened.messages,
        "tables": {f"{name}.csv": table for name, table in found.tables.items()},
    }


def _check_network(universe: Any, options: StructureOptions) -> None:
    """Refuse at once what was asked for and cannot be; without formers and cutoffs asked for, nothing is refused."""
    if not (options.formers or options.anions or options.cutoffs):
        return
    Network(universe, formers=options.formers, anions=options.anions, cutoffs=options.cutoffs)
    half = float(box_heights(checked_box(universe.trajectory.ts)).min()) / 2
    for pair, cutoff in options.cutoffs.items():
        if cutoff > half:
            raise AnalysisError(
                f"cutoff {pair} of {cutoff:g} A is longer than half the smallest height of the box, {half:.2f} A"
            )


def _density(trajectory: Any, frames: range, atoms: AtomSet) -> Quantity:
    mass = float(atoms.masses.sum())
    volumes = np.array([abs(np.linalg.det(checked_box(trajectory[frame]))) for frame in frames])
    estimate = mean_estimate(mass / volumes * _U_PER_A3_IN_G_PER_CM3, "g/cm^3")
    return Quantity.of_estimate("density", "density", estimate)


def _formula(counts: dict[str, int]) -> str:
    divisor = math.gcd(*counts.values())
    text = "".join(f"{element}{count // divisor}" for element, count in counts.items())
    try:
        return Composition.parse(text).formula
    except CompositionError:
        return text


def _settings(elements: list[str] | None, topology: str | Path | None, options: StructureOptions) -> dict[str, Any]:
    """What changes the numbers; the number of processes does not."""
    asked = {
        "elements": elements,
        "topology": None if topology is None else str(topology),
        "start": options.start,
        "stop": options.stop,
        "step": options.step,
        "formers": list(options.formers) if options.formers else None,
        "anions": list(options.anions) if options.anions else None,
        "cutoffs": dict(options.cutoffs) or None,
    }
    return {name: value for name, value in asked.items() if value is not None}


def _inputs(path: Path, topology: str | Path | None) -> dict[str, InputFile]:
    paths = [path] if topology is None else [path, Path(topology)]
    return {
        entry.name: InputFile(size=entry.stat().st_size, changed_ns=entry.stat().st_mtime_ns)
        for entry in paths
        if entry.is_file()
    }


def _up_to_date(folder: Path, inputs: dict[str, InputFile], settings: dict[str, Any]) -> TrajectoryResult | None:
    if not (folder / RESULT_NAME).is_file():
        return None
    try:
        known = read_record(folder / RESULT_NAME, TrajectoryResult, AnalysisError)
    except AnalysisError:
        return None
    same = (known.program_version, known.analysis_version, known.inputs, known.settings)
    return known if same == (napos_lmp.__version__, ANALYSIS_VERSION, inputs, settings) else None


def _refuse_foreign(folder: Path) -> None:
    if folder.exists() and not (folder.is_dir() and ((folder / RESULT_NAME).is_file() or not any(folder.iterdir()))):
        raise AnalysisError(f"{folder} exists and holds no {RESULT_NAME}; it is not overwritten, give another folder")
