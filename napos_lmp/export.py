"""A potential's model as a file for LAMMPS elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from napos_lmp.backends.mliap import export_model
from napos_lmp.card import Precision
from napos_lmp.errors import PotentialError
from napos_lmp.files import whole_file
from napos_lmp.potential import load_potential


def export_potential(
    name: str,
    device: Literal["cpu", "gpu"],
    head: str | None = None,
    precision: Precision | None = None,
    output: Path | None = None,
    message: Callable[[str], None] | None = None,
) -> Path:
    """Export a potential for `pair_style mliap unified`, as its decks do, and return the file.

    Parameters
    ----------
    name
        Of an accepted potential.
    device
        `cpu` for the model in plain e3nn, `gpu` for its cuequivariance form; either runs on both.
    head, precision
        In the place of what the card says.
    output
        A copy of the file; the file itself stays in the cache.
    message
        Told what is being waited for.

    Raises
    ------
    PotentialError
        If it is no ML-IAP potential, `output` exists, or it cannot be exported.
    """
    potential = load_potential(name)
    if potential.backend != "mliap":
        raise PotentialError(
            f"potential {name!r} is a {potential.backend} model; its file {potential.file} is for LAMMPS"
        )
    if output is not None and output.exists():
        raise PotentialError(f"output {output} exists already and is not overwritten")
    file = export_model(potential, device, head=head, precision=precision, message=message)
    if output is None:
        return file
    with whole_file(output) as temporary:
        shutil.copyfile(file, temporary)
    return output
