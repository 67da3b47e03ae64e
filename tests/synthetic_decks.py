"""Decks whose trajectory was not simulated but made up, so that every number in their analysis is known beforehand.

A glass of isolated PS4 tetrahedra (Na3PS4) or of P2S7 dimers (Na4P2S7), atoms trembling about their sites, and sodium
that walks at random with a given diffusion coefficient.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import MDAnalysis
import numpy as np

from napos_lmp.manifest import (
    Dump,
    Manifest,
    PotentialRecord,
    Restart,
    StageRecord,
    StructureRecord,
    write_manifest,
)
from napos_lmp.structure import Structure, write_data

ELEMENTS = ("Na", "P", "S")
STRIDE = 20
TIMESTEP_FS = 2.0
BOND = 2.05
CARD = {
    "name": "made-up",
    "description": "No potential at all <b>",
    "licence": "MIT",
    "sha256": "0" * 64,
    "training_data": {"level_of_theory": "none", "frames": 7},
    "errors": [
        {
            "set": "test",
            "frames": 12,
            "energy_meV_per_atom": {"rmse": 4.21, "mae": 3.0},
            "force_meV_per_A": {"rmse": 96.0, "mae": 70.0},
        }
    ],
    "domain": {"temperature_K": [300.0, 1000.0]},
    "limits": ["Made up for tests."],
}


def _tetrahedron(towards: np.ndarray) -> np.ndarray:
    """Four unit vectors at tetrahedral angles, the first along `towards`."""
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
    axis = towards / np.linalg.norm(towards)
    helper = np.cross(corners[0], axis)
    if np.linalg.norm(helper) < 1e-9:
        return corners
    cross = np.array([[0, -helper[2], helper[1]], [helper[2], 0, -helper[0]], [-helper[1], helper[0], 0]])
    rotation = np.eye(3) + cross + cross @ cross / (1 + corners[0] @ axis)
    return corners @ rotation.T


def glass_structure(dimers: bool) -> Structure:
    """27 formula units of Na3PS4, or 27 of Na4P2S7, in a cubic box."""
    spacing = 8.2 if dimers else 6.6
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3) * spacing + spacing / 2
    axis = np.array([1.0, 0.0, 0.0])
    p, s, na = [], [], []
    for centre in grid:
        if dimers:
            s.append(centre)
            for sign in (1, -1):
                phosphorus = centre + sign * BOND * axis
                p.append(phosphorus)
                s.extend(phosphorus + BOND * _tetrahedron(-sign * axis)[1:])
        else:
            p.append(centre)
            s.extend(centre + BOND * _tetrahedron(axis))
        sides = np.array([[0, 1, 1], [0, -1, -1], [0, 1, -1], [0, -1, 1]]) * spacing * 0.42
        na.extend(centre + sides[: 4 if dimers else 3])
    positions = np.array([*na, *p, *s])
    types = np.repeat([0, 1, 2], [len(na), len(p), len(s)])
    return Structure(np.eye(3) * 3 * spacing, positions, types, ELEMENTS)


def stage(name: str, kind: str, ensemble: str, first: int, last: int, start: float, stop: float) -> StageRecord:
    return StageRecord(
        name=name,
        kind=kind,
        ensemble=ensemble,
        first_step=first,
        last_step=last,
        temperature_start_K=start,
        temperature_stop_K=stop,
        pressure_bar=1.0 if ensemble == "npt" else None,
        dump=Dump(pattern=f"trajectory/{name}.*.dcd", stride=STRIDE),
    )


def melt_quench_stages(frames: int = 60) -> tuple[StageRecord, ...]:
    n = frames * STRIDE
    return (
        stage("01-melt", "melt", "nvt", 0, n, 1500, 1500),
        stage("02-quench", "quench", "nvt", n, 2 * n, 1500, 300),
        stage("03-equilibrate", "equilibrate", "npt", 2 * n, 3 * n, 300, 300),
        stage("04-produce", "produce", "nvt", 3 * n, 4 * n, 300, 300),
    )


def diffusion_stages(temperature: float, frames: int = 800) -> tuple[StageRecord, ...]:
    n, m = 60 * STRIDE, frames * STRIDE
    return (
        stage("01-equilibrate", "equilibrate", "npt", 0, n, temperature, temperature),
        stage("02-produce", "produce", "nvt", n, n + m, temperature, temperature),
    )


def write_deck(
    folder: Path,
    stages: tuple[StageRecord, ...],
    *,
    dimers: bool = False,
    seed: int = 1,
    source: str | None = None,
    protocol: str = "melt-quench",
    label: str | None = None,
    card: dict[str, Any] = CARD,
) -> Structure:
    """The deck as rendered, nothing run."""
    structure = glass_structure(dimers)
    for name in ("trajectory", "log", "restart"):
        (folder / name).mkdir(parents=True)
    counts = {element: int(np.sum(structure.types == i)) for i, element in enumerate(ELEMENTS)}
    manifest = Manifest(
        program_version="0.0.test",
        label=label or f"made up, seed {seed}",
        formula="Na4P2S7" if dimers else "Na3PS4",
        seed=seed,
        timestep_fs=TIMESTEP_FS,
        elements=ELEMENTS,
        structure=StructureRecord(
            file="structure.data",
            source_deck=source,
            source_file="final.data" if source else None,
            n_atoms=len(structure.types),
            counts=counts,
            composition_error=0.0,
            density_g_cm3=structure.density,
            charges={"Na": 1.0, "P": 5.0, "S": -2.0},
        ),
        potential=PotentialRecord(
            name=card["name"],
            backend="deepmd",
            file="potential/model.pth",
            sha256="0" * 64,
            elements=ELEMENTS,
            cutoff_A=6.0,
            card=card,
        ),
        stages=stages,
        restart=Restart(stride=1000),
        thermo_stride=10,
        lammps_styles=("pair deepmd",),
        protocol={"name": protocol},
        templates={"in.lammps.j2": "ab" * 32},
        files={},
    )
    write_manifest(folder, manifest)
    if source is None:
        write_data(folder / "structure.data", structure)
    return structure


def run_deck(
    folder: Path,
    stages: tuple[StageRecord, ...],
    structure: Structure,
    *,
    diffusion: float = 0.0,
    density: float = 2.0,
    seed: int = 1,
    finish: bool = True,
    skip: dict[str, slice] | None = None,
) -> None:
    """Write what a run would have: trajectory, log, structures. `diffusion` of Na in A^2/ps.

    `skip` leaves frames of a stage out, which makes a hole: the frames before and after it become two segments.
    """
    generator = np.random.default_rng(seed)
    write_data(folder / "structure.data", structure)
    sodium = structure.types == 0
    walk = np.zeros((int(sodium.sum()), 3))
    log = []
    for record in stages:
        walk = _write_stage(folder, record, structure, diffusion, generator, walk, (skip or {}).get(record.name))
        log.append(_log_of(record, density, generator))
    (folder / "log" / "thermo.000.log").write_text("\n".join(log) + "\n")
    if finish:
        write_data(folder / "final.data", structure)


def _write_stage(folder, record, structure, diffusion, generator, walk, skip):
    interval = STRIDE * TIMESTEP_FS / 1000
    steps = np.arange(record.first_step, record.last_step + 1, STRIDE)
    frames = [steps] if skip is None else [steps[: skip.start], steps[skip.stop :]]
    sodium = structure.types == 0
    universe = MDAnalysis.Universe.empty(len(structure.types), trajectory=True)
    side = structure.cell[0, 0]
    for segment, part in enumerate(frames):
        path = folder / "trajectory" / f"{record.name}.{segment:03d}.dcd"
        with MDAnalysis.Writer(
            str(path), len(structure.types), dt=interval, nsavc=STRIDE, istart=int(part[0])
        ) as writer:
            for _ in part:
                walk = walk + generator.normal(0, np.sqrt(2 * diffusion * interval), walk.shape)
                positions = structure.positions + generator.normal(0, 0.03, structure.positions.shape)
                positions[sodium] += walk
                universe.atoms.positions = positions
                universe.dimensions = [side, side, side, 90, 90, 90]
                writer.write(universe.atoms)
    return walk


def _log_of(record: StageRecord, density: float, generator: np.random.Generator) -> str:
    lines = [f"run {record.last_step} upto start {record.first_step} stop {record.last_step}", ""]
    lines.append("Step Time Temp PotEng KinEng TotEng Press Volume Density")
    for step in range(record.first_step, record.last_step + 1, 10):
        share = (step - record.first_step) / (record.last_step - record.first_step)
        temperature = record.temperature_start_K + share * (record.temperature_stop_K - record.temperature_start_K)
        noise = generator.normal()
        values = (
            temperature * (1 + 0.01 * noise),
            -900 + 0.02 * temperature + noise,
            10.0,
            -890.0,
            100 * noise,
            8000.0,
            density + 0.01 * noise,
        )
        lines.append(f"{step} {step * TIMESTEP_FS / 1000} " + " ".join(f"{value:.10g}" for value in values))
    lines.append("Loop time of 1 on 1 procs")
    return "\n".join(lines)
