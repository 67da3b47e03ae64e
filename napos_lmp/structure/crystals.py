"""Crystals of known structure, as references and as starting points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napos_lmp.errors import StructureError
from napos_lmp.structure.atoms import Structure, check_elements
from napos_lmp.structure.datafile import lammps_frame


@dataclass(frozen=True)
class CrystalRecord:
    """A crystal by space group number, cell (a, b, c in A, angles in degrees), sites and source."""

    space_group: int
    cell: tuple[float, float, float, float, float, float]
    sites: tuple[tuple[str, tuple[float, float, float]], ...]
    source: str


CRYSTALS = {
    "Na3PS4": CrystalRecord(
        114,
        (6.956, 6.956, 7.088, 90, 90, 90),
        (
            ("Na", (0, 0.5, 0.426)),
            ("Na", (0, 0, 0)),
            ("P", (0, 0, 0.5)),
            ("S", (0.315, 0.345, 0.167)),
        ),
        "tetragonal P-42_1c, PMC5028709",
    ),
    "SiO2-quartz": CrystalRecord(
        154,
        (4.9134, 4.9134, 5.4052, 90, 90, 120),
        (("Si", (0.4697, 0, 2 / 3)), ("O", (0.4135, 0.2669, 0.1191 + 2 / 3))),
        "alpha-quartz P3_221, Levien, Prewitt and Weidner, Am. Mineral. 65 (1980) 920",
    ),
    "SiO2-cristobalite": CrystalRecord(
        227,
        (7.16, 7.16, 7.16, 90, 90, 90),
        (("Si", (0, 0, 0)), ("O", (0.125, 0.125, 0.125))),
        "idealised beta-cristobalite Fd-3m, straight Si-O-Si, Wyckoff, Crystal Structures 1 (1963)",
    ),
    "SiS2": CrystalRecord(
        72,
        (9.583, 5.614, 5.547, 90, 90, 90),
        (("Si", (0, 0, 0.25)), ("S", (0.117, 0.208, 0))),
        "orthorhombic Ibam, chains of edge-sharing SiS4, Peters and Krebs, Acta Cryst. B 38 (1982)",
    ),
}


def crystal(name: str, repeat: int | tuple[int, int, int] = 1, elements: tuple[str, ...] | None = None) -> Structure:
    """A crystal, repeated along its cell vectors.

    Parameters
    ----------
    name
        One of `CRYSTALS`.
    repeat
        Cells along each vector; one number for all three.
    elements
        Ordered elements of the structure, at least those of the crystal, which is also the default.

    Returns
    -------
    Structure
        In LAMMPS's orientation (first vector along x, second in the xy plane), positions inside the cell.

    Raises
    ------
    StructureError
        If the name or an element is unknown, or `repeat` is no positive whole number.
    """
    from ase.spacegroup import crystal as ase_crystal

    if name not in CRYSTALS:
        raise StructureError(f"crystal {name!r} is not known; there are {', '.join(CRYSTALS)}")
    record = CRYSTALS[name]
    own = tuple(dict.fromkeys(symbol for symbol, _ in record.sites))
    ordered = own if elements is None else tuple(elements)
    check_elements(ordered)
    if missing := [element for element in own if element not in ordered]:
        raise StructureError(f"crystal {name} holds {missing[0]}, which is not among the elements {', '.join(ordered)}")
    repeats = (repeat, repeat, repeat) if isinstance(repeat, int) else tuple(repeat)
    if len(repeats) != 3 or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in repeats):
        raise StructureError(f"repeat is {repeat!r}; it must be one or three whole numbers from 1")
    atoms = ase_crystal(
        [symbol for symbol, _ in record.sites],
        [site for _, site in record.sites],
        spacegroup=record.space_group,
        cellpar=list(record.cell),
    )
    atoms.wrap(eps=1e-9)
    atoms = atoms.repeat(repeats)
    types = np.array([ordered.index(symbol) for symbol in atoms.get_chemical_symbols()])
    return lammps_frame(Structure(np.array(atoms.cell), atoms.get_positions(), types, ordered))
