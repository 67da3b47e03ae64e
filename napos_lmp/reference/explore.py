"""Sampling: short runs of a potential, from which a diverse pool of frames is chosen."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napos_lmp.errors import ReferenceDataError, RunStoppedError, TrajectoryError
from napos_lmp.reference.contacts import closest_pair
from napos_lmp.reference.descriptors import check_descriptor, mean_descriptors
from napos_lmp.reference.frames import frame_id, ids_of, read_frames, write_frames
from napos_lmp.reference.plan import MELT_FROM_K, SamplingPlan, Source
from napos_lmp.reference.selection import farthest_first
from napos_lmp.structure import CRYSTALS, Structure, crystal, estimate_density, lammps_frame, pack

if TYPE_CHECKING:
    from napos_lmp.card import Potential
    from napos_lmp.composition import Composition

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Start:
    """One run to come: its name, the source it belongs to, its composition and its atoms."""

    name: str
    source: Source
    composition: Composition
    label: str
    structure: Structure


@dataclass(frozen=True)
class Sampled:
    """What a sampling gave: the pool in the order in which it is to be labelled, and what was left out.

    `candidates` counts all frames of the runs, `too_close` those with an absurd contact, `failed` names the runs that
    LAMMPS did not finish, each with the reason.
    """

    pool: tuple[Any, ...]
    candidates: int
    too_close: int
    failed: tuple[str, ...]


def sample(plan: SamplingPlan, jobs: int = 1, progress: Progress | None = None) -> Sampled:
    """Run the decks of a sampling file, choose frames, and write the pool.

    Decks that have run are kept in `plan.work`, so an interrupted sampling goes on. A pool that is there already is
    kept, and only what is missing is chosen and put behind it, far from what it holds.

    Raises
    ------
    ReferenceDataError
        If a start cannot be built, or a source gives no frame.
    EngineError
        If LAMMPS is missing.
    RunStoppedError
        After Ctrl-C; the pool is as it was.
    """
    from napos_lmp.engine import run_decks
    from napos_lmp.potential import load_potential

    potential = load_potential(plan.potential)
    descriptor = load_potential(plan.descriptor) if plan.descriptor else potential
    check_descriptor(descriptor)
    starts = list(_starts(plan, potential))
    for number, start in enumerate(starts):
        _render(plan, start, potential)
        if progress:
            progress(number + 1, len(starts), "decks")
    outcomes = run_decks([plan.work / start.name for start in starts], jobs=jobs, threads=1)
    if any(outcome.status == "stopped" for outcome in outcomes):
        raise RunStoppedError("stopped; the same command goes on")
    failed = tuple(f"{o.deck.name}: {o.sentence}" for o in outcomes if o.status != "complete")
    candidates: dict[str, list[Any]] = {source.name: [] for source in plan.sources}
    count = too_close = 0
    for start in starts:
        for frame in _frames_of(plan, start):
            count += 1
            pair = closest_pair(frame)
            if pair is not None and pair[0] < plan.contact:
                too_close += 1
            else:
                candidates[start.source.name].append(frame)
    if empty := next((name for name, frames in candidates.items() if not frames), None):
        raise ReferenceDataError(f"source {empty} gave no frame; its runs are in {plan.work}")
    pool = _choose(plan, potential, descriptor, starts, candidates)
    write_frames(plan.output, pool)
    return Sampled(tuple(pool), count, too_close, failed)


def strained(frame: Any, strain: float, rattle: float, rng: np.random.Generator) -> Any:
    """A copy of a frame with its cell strained at random, components up to `strain`, and atoms moved by `rattle` A."""
    copy = frame.copy()
    tensor = rng.uniform(-strain, strain, (3, 3))
    copy.set_cell(frame.cell.array @ (np.eye(3) + (tensor + tensor.T) / 2), scale_atoms=True)
    copy.positions += rng.normal(0.0, rattle, copy.positions.shape)
    return copy


def _starts(plan: SamplingPlan, potential: Potential) -> Iterator[Start]:
    for source in plan.sources:
        for what in source.compositions or source.crystals:
            for scale in source.density_scale:
                for replica in range(source.replicas):
                    text = "" if scale == 1 else f"-{scale:g}"
                    name = f"{source.name}-{Path(what).stem}{text}-{replica}"
                    yield _start(plan, source, potential, what, scale, name)


def _start(plan: SamplingPlan, source: Source, potential: Potential, what: str, scale: float, name: str) -> Start:
    from napos_lmp.composition import Composition
    from napos_lmp.deck import present_elements
    from napos_lmp.protocol import derived_seed

    seed = derived_seed(plan.seed, name)
    if source.compositions:
        composition = Composition.parse(what)
        counts = composition.cell(source.atoms or plan.atoms).counts
        elements = present_elements(potential, counts)
        structure = pack(counts, estimate_density(composition).value * scale, seed, elements)
        label = what
    else:
        structure = _crystal(what, source, potential)
        divisor = math.gcd(*structure.counts.values())
        composition = Composition.parse("".join(f"{e}{n // divisor}" for e, n in structure.counts.items()))
        label = composition.formula
        cell = structure.cell / scale ** (1 / 3)
        structure = Structure(
            cell, structure.positions @ np.linalg.solve(structure.cell, cell), structure.types, structure.elements
        )
    if source.strain:
        structure = _stretched(structure, source.strain, np.random.default_rng(seed))
    if source.shape != "bulk":
        structure = _in_vacuum(structure, source)
    return Start(name, source, composition, label, lammps_frame(structure))


def _crystal(what: str, source: Source, potential: Potential) -> Structure:
    from napos_lmp.deck import present_elements

    if what in CRYSTALS:
        counts = crystal(what).counts
        return crystal(what, source.repeat, present_elements(potential, counts))
    import ase.io

    atoms = ase.io.read(what).repeat(source.repeat)
    symbols = atoms.get_chemical_symbols()
    elements = present_elements(potential, {symbol: symbols.count(symbol) for symbol in set(symbols)})
    types = np.array([elements.index(symbol) for symbol in symbols])
    return Structure(atoms.cell.array, atoms.positions, types, elements)


def _stretched(structure: Structure, strain: float, rng: np.random.Generator) -> Structure:
    tensor = rng.uniform(-strain, strain, (3, 3))
    change = np.eye(3) + (tensor + tensor.T) / 2
    return Structure(structure.cell @ change, structure.positions @ change, structure.types, structure.elements)


def _in_vacuum(structure: Structure, source: Source) -> Structure:
    """The atoms, wrapped into their cell, in a cell that is longer along its third vector or along all three."""
    directions = (2,) if source.shape == "slab" else (0, 1, 2)
    scaled = np.linalg.solve(structure.cell.T, structure.positions.T).T % 1.0
    cell = np.array(structure.cell)
    for axis in directions:
        length = float(np.linalg.norm(cell[axis]))
        cell[axis] *= (length + source.vacuum_A) / length
    return Structure(cell, scaled @ structure.cell, structure.types, structure.elements)


def _render(plan: SamplingPlan, start: Start, potential: Potential) -> None:
    from napos_lmp.deck import render_deck
    from napos_lmp.manifest import read_manifest
    from napos_lmp.protocol import Equilibrate, Melt, Minimise, Protocol

    folder = plan.work / start.name
    holds = [
        (Melt if number == 0 else Equilibrate)(
            temperature_K=temperature, duration_ps=start.source.hold_ps, ensemble="nvt", dump_ps=plan.every_ps
        )
        for number, temperature in enumerate(start.source.temperatures_K)
    ]
    protocol = Protocol(name=start.source.name, stages=(Minimise(), *holds), timestep_fs=plan.timestep_fs)
    if folder.exists():
        before = read_manifest(folder)
        card = potential.card.model_dump(mode="json")
        if (before.protocol, before.seed) != (protocol.model_dump(mode="json"), plan.seed) or (
            before.potential.card.get("sha256") != card["sha256"]
        ):
            raise ReferenceDataError(
                f"{folder} was run with other settings than the sampling file has now; name another folder in work"
            )
        return
    render_deck(
        folder,
        composition=start.composition,
        potential=potential,
        protocol=protocol,
        seed=plan.seed,
        structure=start.structure,
        label=start.name,
    )


def _frames_of(plan: SamplingPlan, start: Start) -> list[Any]:
    """Frames of one run, the first half of a hold's first picosecond left out, and strained copies of some."""
    from ase import Atoms

    from napos_lmp.trajectory import DeckTrajectory

    trajectory = DeckTrajectory(plan.work / start.name)
    draw = random.Random(f"{plan.seed} {start.name}")  # noqa: S311 - reproducible, not secret
    rng = np.random.default_rng(draw.getrandbits(64))
    frames = []
    settling = min(0.5, start.source.hold_ps / 2)
    for stage, temperature in zip(trajectory.stages, start.source.temperatures_K, strict=True):
        try:
            universe = trajectory.universe(stage)
        except TrajectoryError:
            break
        first = universe.trajectory[0].time
        for step in universe.trajectory:
            if step.time - first < settling:
                continue
            frame = Atoms(start.structure.symbols, step.positions, cell=start.structure.cell, pbc=True)
            frame.wrap()
            frame.info = _description(start, temperature, start.source.phase or _phase(start.source, temperature))
            frames.append(frame)
            if draw.random() < start.source.strained_copies:
                copy = strained(frame, start.source.strain, start.source.rattle_A, rng)
                copy.info = _description(start, temperature, start.source.phase or "strained")
                frames.append(copy)
    return frames


def _description(start: Start, temperature: float, phase: str) -> dict[str, Any]:
    return {
        "composition": start.label,
        "phase": phase,
        "temperature_K": temperature,
        "trajectory": start.name,
        "group": start.source.group,
    }


def _phase(source: Source, temperature: float) -> str:
    if source.shape != "bulk":
        return "surface" if source.shape == "slab" else "cluster"
    if source.crystals:
        return "crystal"
    return "melt" if temperature >= MELT_FROM_K else "glass"


def _choose(
    plan: SamplingPlan,
    potential: Potential,
    descriptor: Potential,
    starts: list[Start],
    candidates: dict[str, list[Any]],
) -> list[Any]:
    """Frames of all sources in labelling order: at every point each source has its share of what is chosen so far."""
    pool = read_frames(plan.output) if plan.output.is_file() else []
    held = set(ids_of(pool, plan.output)) if pool else set()
    source_of = {start.name: start.source.name for start in starts}
    held_sources = [source_of.get(str(frame.info.get("trajectory"))) for frame in pool]
    frames, strata = list(pool), [-1] * len(pool)
    for number, source in enumerate(plan.sources):
        for frame in candidates[source.name]:
            frame.info["id"] = frame_id(frame, f"{frame.info['composition']}-{frame.info['phase']}")
            frame.info["sampled"] = f"{potential.name} {potential.sha256[:8]}"
            if frame.info["id"] not in held:
                frames.append(frame)
                strata.append(number)
    wanted = [max(0, source.select - held_sources.count(source.name)) for source in plan.sources]
    points: NDArray[np.float64] = mean_descriptors(descriptor, frames)
    chosen = farthest_first(points, np.array(strata), wanted, range(len(pool)))
    return [*pool, *(frames[index] for index in chosen)]
