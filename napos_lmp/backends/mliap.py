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
from napos_lmp.trust import is_trusted, record_export, trusted_bytes

if TYPE_CHECKING:
    from napos_lmp.backends import Message
    from napos_lmp.card import Potential, Precision

_KOKKOS = ("-sf", "kk", "-pk", "kokkos", "newton", "on", "neigh", "half")


@dataclass(frozen=True)
class _PairStyle:
    """One pair style that runs the models: its template, the file it reads, and what it needs of LAMMPS.

    Without a `form` the ML-IAP object for the processor at hand is read. `kokkos_on_cpu` says that the style exists in
    the KOKKOS package alone.
    """

    template: str
    packages: tuple[str, ...]
    form: Form | None = None
    bridged: bool = False
    single_rank: bool = False
    kokkos_on_cpu: bool = True


_PAIR_STYLES = {
    "mliap": _PairStyle("potentials/mliap.lmp.j2", ("KOKKOS", "ML-IAP", "PYTHON"), bridged=True),
    "symmetrix/mace": _PairStyle("potentials/symmetrix.lmp.j2", ("KOKKOS",), "symmetrix"),
    "mace": _PairStyle("potentials/mace.lmp.j2", ("ML-MACE",), "libtorch", single_rank=True, kokkos_on_cpu=False),
}


@dataclass(frozen=True)
class MliapBackend:
    """Unified objects and MACE models; `symmetrix/mace` and `mace` run MACE models only."""

    pair_style: str = "mliap"
    name = "mliap"
    pair_styles = tuple(_PAIR_STYLES)
    runs_code = True

    def __post_init__(self) -> None:
        if self.pair_style not in _PAIR_STYLES:
            raise PotentialError(f"pair_style {self.pair_style!r} is not known; MACE runs in {', '.join(_PAIR_STYLES)}")

    @property
    def template(self) -> str:
        """Template of the pair style block."""
        return self._style.template

    def committee_template(self, *, gpu: bool = False) -> str | None:
        """Only the CPU bridge can ask a committee, so decks for GPUs and for other pair styles hold the first model."""
        return "potentials/mliap_committee.lmp.j2" if self.bridged and not gpu else None

    @property
    def lammps_packages(self) -> tuple[str, ...]:
        """Packages of LAMMPS that the pair style lives in."""
        return self._style.packages

    @property
    def bridged(self) -> bool:
        """Whether the CPU bridge can stand in for the pair style."""
        return self._style.bridged

    @property
    def single_rank(self) -> bool:
        """Whether the pair style runs on one rank only."""
        return self._style.single_rank

    @property
    def _style(self) -> _PairStyle:
        return _PAIR_STYLES[self.pair_style]

    def lammps_styles(self, potential: Potential) -> tuple[str, ...]:
        """The pair style."""
        return (f"pair {self.pair_style}",)

    def deck_file(self, potential: Potential, *, gpu: bool = False, message: Message | None = None) -> Path:
        """The form of the model that the pair style reads; see :func:`export_model`."""
        return export_model(potential, self._style.form or ("gpu" if gpu else "cpu"), message=message)

    def launch_arguments(self, *, gpus: int, threads: int, gpu_aware: bool = True) -> tuple[str, ...]:
        """Kokkos on, with one rank for each GPU or with threads."""
        if not (gpus or self._style.kokkos_on_cpu):
            return ()
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
        from napos_lmp.backends.unified_calculator import UnifiedCalculator

        return UnifiedCalculator(load_unified(potential.file))


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
    except ModuleNotFoundError as error:
        raise PotentialError(
            f"{file} needs the package {error.name}, which is not installed: `pip install 'napos-lmp[mace]'`"
        ) from None
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
    form: Form,
    *,
    head: str | None = None,
    precision: Precision | None = None,
    message: Message | None = None,
) -> Path:
    """File of a potential that LAMMPS reads, made on first use and cached.

    A MACE model becomes a unified object, around the model itself for a CPU or its cuequivariance form for a GPU
    (either file runs on the other, slower), or the file of another pair style. Any other unified object is used as it
    is.

    Parameters
    ----------
    potential
        An accepted potential.
    form
        See :func:`napos_lmp.backends.mace.export_mace`.
    head, precision
        In the place of what the card says.
    message
        Told what is being waited for.

    Raises
    ------
    PotentialError
        If its file was not accepted, or it cannot be made.
    """
    if hashlib.sha256(trusted_bytes(potential.file)).hexdigest() != potential.sha256:
        raise PotentialError(f"{potential.file} is not the file on its card")
    if not _is_mace_file(potential.file):
        return _exported_elsewhere(potential, form, head or precision)
    head, precision = head or potential.card.head, precision or potential.card.precision
    made_with = versions(form)
    key = hashlib.sha256(json.dumps([head, precision, made_with]).encode()).hexdigest()[:12]
    target = cache_folder() / "mace" / f"{potential.sha256[:24]}-{form}-{key}" / _FILE_NAMES[form]
    try:
        with locked(target.parent.with_name(f"{target.parent.name}.lock")):
            if not (target.is_file() and is_trusted(sha256_of(target))):
                if message:
                    message(f"exporting {potential.file.name} for LAMMPS (once, about 20 s)")
                with whole_file(target) as temporary:
                    export_mace(potential, temporary, form, head=head, precision=precision)
                made = " ".join(f"{package} {found}" for package, found in made_with.items())
                record_export(sha256_of(target), potential.sha256, f"{form} form, {made}")
    except OSError as error:
        raise PotentialError(
            f"{potential.file} could not be exported into {target.parent}: {error.strerror or error}"
        ) from None
    return target


_FILE_NAMES: dict[Form, str] = {
    "cpu": "model.pt",
    "gpu": "model.pt",
    "libtorch": "model.pt",
    "symmetrix": "model.json",
}


def _exported_elsewhere(potential: Potential, form: Form, wish: str | None) -> Path:
    """The file of a unified object that was made by another program."""
    if form in ("libtorch", "symmetrix"):
        raise PotentialError(f"{potential.file} is an exported object, and runs in pair_style mliap alone")
    if wish:
        raise PotentialError(f"{potential.file} is an exported object, in which head and precision ({wish}) are fixed")
    return potential.file


def _is_mace_file(file: Path) -> bool:
    contents = pickle_contents(file)
    return contents is not None and contents.root.startswith(MACE_CLASSES)


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
