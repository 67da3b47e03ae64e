"""The program that :func:`napos_lmp.backends.mace.export_mace` starts: one exported form of one MACE model."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

from napos_lmp.backends.mace import choose_head, is_mace, mace_elements, mace_heads
from napos_lmp.errors import PotentialError


def main(order: dict[str, Any]) -> None:
    """Load the model, take its head and precision, write the form asked for.

    Raises
    ------
    PotentialError
        If it is no MACE model, or has no such head.
    """
    source, target = Path(order["source"]), Path(order["target"])
    content = source.read_bytes()
    if hashlib.sha256(content).hexdigest() != order["sha256"]:
        raise PotentialError(f"{source} was changed while it was being exported")
    import mace.modules  # noqa: F401  its import allows e3nn's constants to be loaded
    import torch

    model = torch.load(io.BytesIO(content), map_location="cpu", weights_only=False)
    if not is_mace(model):
        raise PotentialError(f"{source} is no MACE model but a {type(model).__name__}")
    head = choose_head(mace_heads(model), order["head"], source.name)
    if order["precision"]:
        model = model.to(getattr(torch, order["precision"]))
    torch.set_default_dtype(next(model.parameters()).dtype)
    match order["form"]:
        case "symmetrix":
            _write_symmetrix(source, mace_elements(model), head, target)
        case "libtorch":
            _write_libtorch(model, head, target)
        case "gpu":
            _write_unified(_in_cuequivariance(model), head, target)
        case _:
            _write_unified(model, head, target)


def _in_cuequivariance(model: Any) -> Any:
    """The same model on cuequivariance's kernels.

    An operation is stored with the kernel that it found on this machine, which without `cuequivariance-ops-torch` is a
    slow stand-in. So each is told to store the kernel that it was meant to have: where the file is loaded, the
    machine's own kernels decide again.
    """
    from cuequivariance_torch.primitives.segmented_polynomial import SegmentedPolynomial
    from mace.cli.convert_e3nn_cueq import run

    initialise = SegmentedPolynomial.__init__

    def remember_kernel(self: Any, polynomial: Any, method: str = "", *arguments: Any, **options: Any) -> None:
        initialise(self, polynomial, method, *arguments, **options)
        self.method = method

    SegmentedPolynomial.__init__ = remember_kernel
    return run(model)


def _write_unified(model: Any, head: str, target: Path) -> None:
    import torch
    from mace.calculators.lammps_mliap_mace import LAMMPS_MLIAP_MACE

    model.lammps_mliap = True
    buffer = io.BytesIO()
    torch.save(LAMMPS_MLIAP_MACE(model, head=head), buffer)
    target.write_bytes(buffer.getvalue())


def _write_libtorch(model: Any, head: str, target: Path) -> None:
    from e3nn.util import jit
    from mace.calculators import LAMMPS_MACE

    jit.compile(LAMMPS_MACE(model, head=head)).save(str(target))


def _write_symmetrix(source: Path, elements: tuple[str, ...], head: str, target: Path) -> None:
    options = ["--model", str(source), "--chemical-symbols", *elements, "--head", head, "--output", str(target)]
    sys.argv = ["symmetrix_extract_mace", *options]
    import_module("symmetrix.cli.extract_mace").main()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    try:
        main(json.loads(sys.argv[1]))
    except PotentialError as refusal:
        sys.stdout.write(f"{refusal}\n")
        sys.stdout.flush()
        os._exit(PotentialError.exit_status)
