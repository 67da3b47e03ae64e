"""Models for LAMMPS's ML-IAP interface: any exported "unified" object, and MACE models, exported on first use.

The unified object is what `pair_style mliap unified` loads: it names its elements and cutoff and computes forces from a
list of pairs. Such files, and MACE's own, are Python pickles: none is opened that :mod:`napos_lmp.trust` does not know.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napos_lmp.backends.mace import (
    MACE_CLASSES,
    Form,
    contained_imports,
    export_mace,
    is_mace,
    mace_calculator,
    mace_elements,
    refuse_without_cpu_permission,
    versions,
)
from napos_lmp.errors import PotentialError
from napos_lmp.files import locked, sha256_of, whole_file
from napos_lmp.pickled import pickle_contents
from napos_lmp.resources import cache_folder
from napos_lmp.trust import record_export, trusted_bytes

if TYPE_CHECKING:
    from napos_lmp.backends import Message
    from napos_lmp.card import Potential, Precision

_KOKKOS = ("-sf", "kk", "-pk", "kokkos", "newton", "on", "neigh", "half")


@dataclass(frozen=True)
class _PairStyle:
    """One pair style that runs the models: its template, what LAMMPS needs for it, and the bridge."""

    template: str
    packages: tuple[str, ...]
    bridged: bool = False


PAIR_STYLES = {
    "mliap": _PairStyle("potentials/mliap.lmp.j2", ("KOKKOS", "ML-IAP", "PYTHON"), bridged=True),
    "symmetrix/mace": _PairStyle("potentials/symmetrix.lmp.j2", ("KOKKOS",)),
    "mace": _PairStyle("potentials/mace.lmp.j2", ("KOKKOS", "ML-MACE")),
}


@dataclass(frozen=True)
class MliapBackend:
    """Unified objects and MACE models, in LAMMPS builds with KOKKOS."""

    pair_style: str = "mliap"
    name = "mliap"
    runs_code = True

    def __post_init__(self) -> None:
        if self.pair_style not in PAIR_STYLES:
            raise PotentialError(f"pair_style {self.pair_style!r} is not known; MACE runs in {', '.join(PAIR_STYLES)}")

    @property
    def template(self) -> str:
        """Template of the pair style block."""
        return PAIR_STYLES[self.pair_style].template

    @property
    def lammps_packages(self) -> tuple[str, ...]:
        """Packages of LAMMPS that the pair style lives in."""
        return PAIR_STYLES[self.pair_style].packages

    @property
    def bridged(self) -> bool:
        """Whether the CPU bridge can stand in for the pair style."""
        return PAIR_STYLES[self.pair_style].bridged

    def lammps_styles(self, potential: Potential) -> tuple[str, ...]:
        """The pair style."""
        return (f"pair {self.pair_style}",)

    def deck_file(self, potential: Potential, *, gpu: bool = False, message: Message | None = None) -> Path:
        """The exported form of the model; see :func:`export_model`."""
        return export_model(potential, gpu=gpu, message=message)

    def launch_arguments(self, *, gpus: int, threads: int, gpu_aware: bool = True) -> tuple[str, ...]:
        """Kokkos on, with one rank for each GPU or with threads."""
        device = ("g", str(gpus)) if gpus else ("t", str(threads))
        aware = () if gpu_aware or not gpus else ("gpu/aware", "off")
        return ("-k", "on", *device, *_KOKKOS, *aware)

    def environment(self, threads: int) -> dict[str, str]:
        """Threads of one LAMMPS process and of the libraries under torch."""
        return {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}

    def model_elements(self, file: Path) -> tuple[str, ...]:
        """Elements in the model's order, which for MACE is that of the atomic numbers."""
        model = load_model(file)
        return mace_elements(model) if is_mace(model) else tuple(str(element) for element in model.element_types)

    def model_cutoff(self, file: Path) -> float:
        """Cutoff in A; a unified object gives half of it (`rcutfac`)."""
        model = load_model(file)
        return float(model.r_max) if is_mace(model) else 2.0 * float(model.rcutfac)

    def calculator(self, potential: Potential) -> Any:
        """MACE's own ASE calculator on the model as trained; for another unified object, the bridge's evaluator."""
        model = load_model(potential.file)
        if is_mace(model):
            return mace_calculator(model, potential.card.head, potential.card.precision, potential.file)
        raise PotentialError(f"{potential.file} is an exported object, which has no calculator of its own")


def load_unified(file: Path) -> Any:
    """Load an exported unified object on the CPU, after its SHA-256 was found to be trusted.

    Raises
    ------
    PotentialError
        If it was not accepted, is no such object, or refuses a CPU.
    """
    unified = load_model(file)
    if is_mace(unified):
        raise PotentialError(f"{file} is a MACE model as trained, not its exported form; `napos-lmp export` makes that")
    refuse_without_cpu_permission(unified, file)
    return unified


def load_model(file: Path) -> Any:
    """Load a model file, trained or exported, after its SHA-256 was found to be trusted.

    Raises
    ------
    PotentialError
        If it was not accepted, or is neither a unified object nor a MACE model.
    """
    content = trusted_bytes(file)
    try:
        with contained_imports():
            model = _unpickle(content)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise PotentialError(f"{file} cannot be loaded: {reason}") from None
    if not (is_mace(model) or _is_unified(model)):
        raise PotentialError(
            f"{file} holds a {type(model).__name__}, which is neither a MACE model nor an object for pair_style mliap "
            "unified (element_types, rcutfac, compute_forces)"
        )
    return model


def export_model(
    potential: Potential,
    *,
    gpu: bool = False,
    head: str | None = None,
    precision: Precision | None = None,
    message: Message | None = None,
) -> Path:
    """The unified object of a potential, made on first use and cached.

    A MACE model is wrapped as it is for a CPU, in its cuequivariance form for a GPU; either file also runs on the
    other. A potential that is a unified object already is used as it is.

    Parameters
    ----------
    potential
        An accepted potential.
    gpu
        Which form.
    head, precision
        In the place of what the card says.
    message
        Told what is being waited for.

    Raises
    ------
    PotentialError
        If it cannot be made; see :func:`napos_lmp.backends.mace.export_mace`.
    """
    return _exported(potential, "gpu" if gpu else "cpu", head, precision, message)


def _exported(
    potential: Potential, form: Form, head: str | None, precision: Precision | None, message: Message | None
) -> Path:
    contents = pickle_contents(potential.file)
    if contents is None or not contents.root.startswith(MACE_CLASSES):
        return potential.file
    head, precision = head or potential.card.head, precision or potential.card.precision
    made_with = versions(form)
    key = hashlib.sha256(json.dumps([head, precision, made_with]).encode()).hexdigest()[:12]
    target = cache_folder() / "mace" / f"{potential.sha256[:24]}-{form}-{key}" / "model.pt"
    with locked(target.parent.with_name(f"{target.parent.name}.lock")):
        if not target.is_file():
            if message:
                message(f"exporting {potential.file.name} for LAMMPS (once, about 20 s)")
            with whole_file(target) as temporary:
                temporary.unlink()
                export_mace(potential.file, potential.sha256, temporary, form, head=head, precision=precision)
            record_export(sha256_of(target), potential.sha256, " ".join(f"{k} {v}" for k, v in made_with.items()))
    return target


def _is_unified(model: Any) -> bool:
    return bool(
        getattr(model, "element_types", None)
        and getattr(model, "rcutfac", None)
        and callable(getattr(model, "compute_forces", None))
    )


def _unpickle(content: bytes) -> Any:
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return pickle.loads(content)  # noqa: S301  trusted by its SHA-256
    import torch

    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=False)
