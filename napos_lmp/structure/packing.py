"""Random starting structures: atoms packed into a periodic cube with packmol."""

from __future__ import annotations

import math
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napos_lmp.errors import StructureError
from napos_lmp.structure.atoms import AMU_PER_A3_IN_G_CM3, Structure, atomic_mass, check_elements, minimum_distances

PACKING_RADII = {"Na": 1.2, "P": 1.2, "Si": 1.2, "Ge": 1.25, "B": 1.05, "S": 1.3, "O": 1.05}
"""Half the distance of closest approach of two atoms of one element, A; two elements keep the sum of theirs."""

_RADIUS_OF_OTHERS = 1.2
_SCALES = (1.0, 0.93, 0.86)
_DENSEST_FRACTION = 0.60
_TOLERANCE = 0.02
_SECONDS_BASE = 60.0
_SECONDS_PER_ATOM = 0.1
_LARGEST_SEED = 2**31 - 1


def contact_distance(first: str, second: str) -> float:
    """Distance that packing keeps between two elements, A, before any shrinking for a dense cell."""
    return PACKING_RADII.get(first, _RADIUS_OF_OTHERS) + PACKING_RADII.get(second, _RADIUS_OF_OTHERS)


def pack(counts: dict[str, int], density: float, seed: int, elements: tuple[str, ...]) -> Structure:
    """Pack atoms at random into a periodic cube of a given density.

    Every pair keeps its `contact_distance`. Where packmol finds no such arrangement, the distances are shrunk to
    93 % and then 86 %. The same arguments give the same structure.

    Parameters
    ----------
    counts
        Atoms of each element.
    density
        Mass density, g/cm3.
    seed
        Any whole number from 0; another seed gives an independent arrangement.
    elements
        Ordered elements of the structure, at least those in `counts`.

    Raises
    ------
    StructureError
        If an argument is out of range, the density leaves no room for the atoms, or packmol is missing or fails.
    """
    numbers = _checked_counts(counts, elements)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise StructureError(f"seed is {seed!r}; it must be a whole number from 0")
    if not (math.isfinite(density) and density > 0):
        raise StructureError(f"density is {density!r}; it must be a positive number in g/cm3")
    mass = sum(atomic_mass(element) * n for element, n in numbers.items())
    edge = (mass * AMU_PER_A3_IN_G_CM3 / density) ** (1 / 3)
    fraction = sum(4 / 3 * math.pi * contact_distance(e, e) ** 3 / 8 * n for e, n in numbers.items()) / edge**3
    scales = [scale for scale in _SCALES if fraction * scale**3 <= _DENSEST_FRACTION]
    widest = max(contact_distance(e, e) for e in numbers) * _SCALES[-1]
    if not scales or edge < widest:
        densest = density * min(_DENSEST_FRACTION / (fraction * _SCALES[-1] ** 3), (edge / widest) ** 3)
        raise StructureError(
            f"density {density:g} g/cm3 is impossible to pack for {_listed(numbers)}; "
            f"at most {densest:.3g} g/cm3 leaves room for the atoms"
        )
    for attempt, scale in enumerate(scales):
        positions = _run_packmol(numbers, edge, scale, 1 + (seed + 104_729 * attempt) % _LARGEST_SEED)
        if positions is not None:
            types = np.repeat([elements.index(e) for e in numbers], list(numbers.values()))
            structure = Structure(np.eye(3) * edge, positions % edge, types, tuple(elements))
            if _keeps_distances(structure, scale):
                return structure
    raise StructureError(
        f"packmol found no arrangement of {_listed(numbers)} at density {density:g} g/cm3; lower the density"
    )


def _checked_counts(counts: dict[str, int], elements: tuple[str, ...]) -> dict[str, int]:
    check_elements(elements)
    for element, n in counts.items():
        if element not in elements:
            raise StructureError(f"counts holds {element!r}, which is not among the elements {', '.join(elements)}")
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0:
            raise StructureError(f"count of {element} is {n!r}; it must be a whole number from 0")
    numbers = {element: int(counts[element]) for element in elements if counts.get(element)}
    if not numbers:
        raise StructureError("counts holds no atoms; at least one is needed")
    return numbers


def packmol_program() -> Path:
    """The packmol program that comes with the Python package of that name.

    Raises
    ------
    StructureError
        If it is not there.
    """
    from packmol.cli import get_binary_path

    try:
        return Path(get_binary_path())
    except FileNotFoundError:
        raise StructureError("the packmol program is missing; install the Python package packmol again") from None


def _run_packmol(numbers: dict[str, int], edge: float, scale: float, seed: int) -> NDArray[np.float64] | None:
    """Positions from one packmol run in a periodic cube, or None when it found no arrangement in time."""
    binary = packmol_program()
    widest = max(contact_distance(element, element) for element in numbers)
    lines = [
        f"tolerance {widest * scale:.6f}",
        "filetype xyz",
        "output packed.xyz",
        f"seed {seed}",
        f"pbc {edge:.9f} {edge:.9f} {edge:.9f}",
    ]
    for element, n in numbers.items():
        radius = contact_distance(element, element) / 2 * scale
        lines += [f"structure {element}.xyz", f"  number {n}", "  atoms 1", f"    radius {radius:.6f}", "  end atoms"]
        lines += ["end structure"]
    with tempfile.TemporaryDirectory(prefix="napos-lmp-pack-") as name:
        folder = Path(name)
        for element in numbers:
            (folder / f"{element}.xyz").write_text(f"1\n\n{element} 0.0 0.0 0.0\n")
        (folder / "packmol.inp").write_text("\n".join(lines) + "\n")
        limit = _SECONDS_BASE + _SECONDS_PER_ATOM * sum(numbers.values())
        with (folder / "packmol.inp").open() as stream:
            try:
                done = subprocess.run(
                    [str(binary)], stdin=stream, cwd=folder, capture_output=True, timeout=limit, check=False
                )
            except subprocess.TimeoutExpired:
                return None
        packed = folder / "packed.xyz"
        if done.returncode or not packed.is_file():
            return None
        rows = [line.split()[1:4] for line in packed.read_text().splitlines()[2:] if line.strip()]
    positions = np.array(rows, dtype=np.float64)
    return positions if positions.shape == (sum(numbers.values()), 3) else None


def _keeps_distances(structure: Structure, scale: float) -> bool:
    widest = 2 * max(contact_distance(e, e) for e in structure.counts)
    shortest = minimum_distances(structure, widest)
    return all(distance >= scale * contact_distance(*pair) - _TOLERANCE for pair, distance in shortest.items())


def _listed(numbers: dict[str, int]) -> str:
    return " ".join(f"{element}{n}" for element, n in numbers.items())
