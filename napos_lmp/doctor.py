"""Is everything there that the main job needs? Each part is asked, not assumed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from napos_lmp.errors import LabelError, NaposError

_PACKAGES = (
    "deepmd-kit",
    "mace-torch",
    "cuequivariance-torch",
    "lammps",
    "torch",
    "mdanalysis",
    "packmol",
    "numpy",
    "scipy",
    "jinja2",
)
_SPARE_BYTES = 2_000_000_000


@dataclass(frozen=True)
class Finding:
    """One part of the installation: its name, how it is, and a sentence with the cure where it is not well."""

    part: str
    status: Literal["ok", "warn", "fail"]
    sentence: str


def examine() -> list[Finding]:
    """Examine the installation: packages, LAMMPS and its plugin, MPI, packmol, potentials, folders, cores and GPUs."""
    parts: list[tuple[str, Callable[[], Finding]]] = [
        *((f"package {name}", lambda name=name: _package(name)) for name in _PACKAGES),
        ("LAMMPS", _lammps),
        ("MPI", _mpi),
        ("packmol", _packmol),
        ("potentials", _potentials),
        ("cache", _cache),
        ("cores", _cores),
        ("GPU", _gpu),
        ("GPAW", lambda: _label_engine("gpaw")),
        ("CP2K", lambda: _label_engine("cp2k")),
    ]
    findings = []
    for part, ask in parts:
        try:
            findings.append(ask())
        except NaposError as error:
            findings.append(Finding(part, "fail", str(error)))
    return findings


def _package(name: str) -> Finding:
    try:
        return Finding(f"package {name}", "ok", version(name))
    except PackageNotFoundError:
        return Finding(f"package {name}", "fail", f"is not installed; `pip install {name}`")


def _lammps() -> Finding:
    from napos_lmp.backends import get_backend
    from napos_lmp.engine import find_lammps
    from napos_lmp.engine.probes import missing_styles
    from napos_lmp.potential import available_potentials

    lammps = find_lammps()
    potentials = [(p, get_backend(p.backend)) for p in available_potentials()]
    pair_styles = (s for p, backend in potentials if not backend.bridged for s in backend.lammps_styles(p))
    needed = tuple(dict.fromkeys((*pair_styles, "fix nvt", "fix npt", "fix halt", "dump dcd")))
    if missing := missing_styles(lammps, needed):
        return Finding("LAMMPS", "fail", f"{lammps.program} ({lammps.version}) lacks {', '.join(missing)}")
    return Finding("LAMMPS", "ok", f"{lammps.version}, {lammps.program}, with {', '.join(needed)}")


def _mpi() -> Finding:
    from napos_lmp.engine import find_lammps, find_mpirun

    return Finding("MPI", "ok", str(find_mpirun(find_lammps())))


def _packmol() -> Finding:
    from napos_lmp.structure.packing import packmol_program

    return Finding("packmol", "ok", str(packmol_program()))


def _potentials() -> Finding:
    from napos_lmp.potential import available_potentials, load_potential

    names = [load_potential(potential.name).name for potential in available_potentials()]
    if not names:
        return Finding("potentials", "fail", "none found; the installation is incomplete")
    return Finding("potentials", "ok", f"{', '.join(names)}: files agree with their cards")


def _cache() -> Finding:
    from napos_lmp.resources import cache_folder

    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass
    free = shutil.disk_usage(folder).free
    status: Literal["ok", "warn"] = "ok" if free > _SPARE_BYTES else "warn"
    return Finding("cache", status, f"{folder}, {free / 1e9:.1f} GB free")


def _label_engine(kind: Literal["gpaw", "cp2k"]) -> Finding:
    """A program that labels frames; nothing else needs it, so its absence is no fault."""
    from napos_lmp.reference.cp2k import Cp2kSettings
    from napos_lmp.reference.engines import make_engine
    from napos_lmp.reference.gpaw import GpawSettings

    engine = make_engine(GpawSettings() if kind == "gpaw" else Cp2kSettings())
    try:
        return Finding(kind.upper(), "ok", f"{engine.find()}, for `napos-lmp label`")
    except LabelError as error:
        return Finding(kind.upper(), "ok", f"not there; only `napos-lmp label` would need it: {error}")


def _cores() -> Finding:
    from napos_lmp.engine.command import available_cores

    threads = os.environ.get("OMP_NUM_THREADS")
    note = f", OMP_NUM_THREADS={threads} in the environment" if threads else ""
    return Finding("cores", "ok", f"{available_cores()}{note}")


def _gpu() -> Finding:
    if devices := sorted(Path("/dev").glob("nvidia[0-9]*")):
        return Finding("GPU", "ok", f"{len(devices)} NVIDIA")
    return Finding("GPU", "ok", "none; runs use the processor")
