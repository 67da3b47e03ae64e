"""What is particular to MACE among the models that run through ML-IAP: its own files, its heads, its exported forms."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napos_lmp.errors import PotentialError

if TYPE_CHECKING:
    from napos_lmp.card import Potential

Form = Literal["cpu", "gpu", "libtorch", "symmetrix"]


# classes of models as MACE's training writes them; its exported objects are in mace.calculators
MACE_CLASSES = "mace.modules."

_PROGRAM = "napos_lmp.backends.mace_export"


@contextmanager
def contained_imports() -> Iterator[None]:
    """Import MACE and e3nn inside, without what MACE's import does to the process: let every `torch.load` run pickles.

    e3nn's own pickled constants, which hold a `slice` and no code, are allowed instead.
    """
    import torch

    name = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    try:
        with torch.serialization.safe_globals([slice]):
            yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


def is_mace(model: Any) -> bool:
    """Whether a loaded object is a MACE model as MACE's own training writes it."""
    return all(hasattr(model, name) for name in ("atomic_numbers", "r_max", "interactions", "products"))


def mace_elements(model: Any) -> tuple[str, ...]:
    """Elements in the model's order."""
    from ase.data import chemical_symbols

    return tuple(chemical_symbols[int(number)] for number in model.atomic_numbers)


def mace_heads(model: Any) -> tuple[str, ...]:
    """Names of the model's heads."""
    return tuple(getattr(model, "heads", None) or ("Default",))


def choose_head(heads: tuple[str, ...], head: str | None, file: str) -> str:
    """The head to use.

    Raises
    ------
    PotentialError
        If there are several and none was chosen, or the one chosen is not there.
    """
    listed = ", ".join(heads)
    if head is None:
        if len(heads) > 1:
            raise PotentialError(f"{file} has several heads: choose one of {listed} with --head, or `head` on its card")
        return heads[0]
    if head not in heads:
        raise PotentialError(f"{file} has no head {head!r}; it has {listed}")
    return head


def mace_calculator(model: Any, head: str | None, precision: str | None, file: Path) -> Any:
    """MACE's own ASE calculator, on the CPU."""
    with contained_imports():
        from mace.calculators import MACECalculator

    chosen = choose_head(mace_heads(model), head, file.name)
    own = str(next(model.parameters()).dtype).removeprefix("torch.")
    return MACECalculator(models=[model], device="cpu", default_dtype=precision or own, head=chosen)


def refuse_without_cpu_permission(unified: Any, file: Path) -> None:
    """Refuse an exported MACE object that was made for GPUs alone.

    Raises
    ------
    PotentialError
        If it was exported without permission to run on a CPU.
    """
    config = getattr(unified, "config", None)
    if getattr(config, "allow_cpu", True) or getattr(config, "force_cpu", False):
        return
    raise PotentialError(
        f"{file} was exported for GPUs alone and refuses a CPU: export it again with `napos-lmp export`, or with "
        "MACE_ALLOW_CPU=true in the environment of mace_create_lammps_model"
    )


def versions(form: Form) -> dict[str, str]:
    """Versions of the packages that an exported file depends on; empty for one that is not installed."""
    found = {name: _version(name) for name in ("mace-torch", "torch", "e3nn")}
    if form == "gpu":
        found |= {name: _version(name) for name in ("cuequivariance", "cuequivariance-torch")}
    if form == "symmetrix":
        found["symmetrix"] = _version("symmetrix") or _version("symmetrix-xl")
    return found


def export_mace(potential: Potential, target: Path, form: Form, *, head: str | None, precision: str | None) -> None:
    """Write the form of a MACE model that LAMMPS reads; it is made in a process of its own.

    Parameters
    ----------
    potential
        Its file is checked against its SHA-256 again by that process, before it is loaded.
    target
        File to write.
    form
        `cpu`: the ML-IAP object around the model itself; `gpu`: around its cuequivariance form; `libtorch`: the file of
        `pair_style mace`; `symmetrix`: that of `pair_style symmetrix/mace`.
    head, precision
        As for :func:`choose_head`; the model's own precision if None.

    Raises
    ------
    PotentialError
        With the reason, if it cannot be made.
    """
    _require_packages(potential, form)
    order = {
        "source": str(potential.file),
        "sha256": potential.sha256,
        "target": str(target),
        "form": form,
        "head": head,
        "precision": precision,
    }
    done = subprocess.run(
        [sys.executable, "-m", _PROGRAM, json.dumps(order)],
        env=_export_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == PotentialError.exit_status:
        raise PotentialError(done.stdout.strip().splitlines()[-1])
    if done.returncode or not target.stat().st_size:
        from napos_lmp.backends.deepmd import last_line

        raise PotentialError(f"{potential.file} could not be exported: {last_line(done.stderr + done.stdout)}")


def _require_packages(potential: Potential, form: Form) -> None:
    absent = " and ".join(name for name, found in versions(form).items() if not found)
    if not absent:
        return
    if form == "symmetrix":
        raise PotentialError(
            f"pair_style symmetrix/mace reads a file that symmetrix_extract_mace makes of {potential.file.name}, and "
            "the Python package symmetrix, which has that program, is not installed (github.com/wcwitt/symmetrix)"
        )
    raise PotentialError(
        f"the {form.upper()} form of {potential.name!r} needs {absent}, which is not installed; `pip install "
        f"{absent.replace(' and ', ' ')}`, or use the CPU form"
    )


def _export_environment() -> dict[str, str]:
    """MACE writes some of its environment into the file: permission for CPUs is wanted there, its timers are not."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MACE_")}
    return kept | {"MACE_ALLOW_CPU": "true", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
