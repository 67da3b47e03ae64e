"""D3(BJ) dispersion on top of labels, stored apart, so that a set serves with it or without.

S. Grimme et al., J. Chem. Phys. 132, 154104 (2010) and J. Comput. Chem. 32, 1456 (2011), by the package `dftd3`
(s-dftd3, LGPL), which `pip install "napos-lmp[d3]"` brings.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from napos_lmp.errors import ReferenceDataError
from napos_lmp.reference.frames import labelled


def add_dispersion(frames: Iterable[Any], functional: str = "PBE") -> int:
    """Give frames that lack them the D3(BJ) terms of a functional; the number of frames that got them.

    They stand in `info` as `d3bj` (the functional), `d3bj_energy` (eV) and `d3bj_stress` (nine numbers, eV/A^3, ASE's
    sign), and in the array `d3bj_forces` ((N, 3), eV/A). Energies, forces and stresses of the frame stay as they are.

    Raises
    ------
    ReferenceDataError
        If `dftd3` is not installed, it has no parameters for the functional, or a frame has the terms of another one.
    """
    try:
        from dftd3.ase import DFTD3
    except ImportError:
        raise ReferenceDataError('dispersion needs the package dftd3: `pip install "napos-lmp[d3]"`') from None
    number = 0
    for frame in frames:
        if (before := frame.info.get("d3bj")) is not None:
            if before != functional:
                raise ReferenceDataError(
                    f"frame {frame.info.get('id')}: has the dispersion terms of {before}, not of {functional}"
                )
            continue
        bare = frame.copy()
        try:
            bare.calc = DFTD3(method=functional, damping="d3bj")
            energy = float(bare.get_potential_energy())
        except (RuntimeError, ValueError) as error:
            raise ReferenceDataError(f"functional is {functional!r}: dftd3 says {error}") from None
        frame.info |= {"d3bj": functional, "d3bj_energy": energy, "d3bj_stress": bare.get_stress(voigt=False).ravel()}
        frame.arrays["d3bj_forces"] = bare.get_forces()
        number += 1
    return number


def with_dispersion(frame: Any) -> Any:
    """A copy of a frame whose labels hold the dispersion terms that it carries.

    Raises
    ------
    ReferenceDataError
        If it carries none.
    """
    if "d3bj" not in frame.info:
        raise ReferenceDataError(f"frame {frame.info.get('id')}: has no dispersion terms; `napos-lmp data dispersion`")
    results, energy = frame.calc.results, float(frame.info["d3bj_energy"])
    stress = None
    if "stress" in results:
        stress = frame.get_stress(voigt=False) + np.reshape(frame.info["d3bj_stress"], (3, 3))
    more = {"free_energy": results["free_energy"] + energy} if "free_energy" in results else {}
    forces = results["forces"] + frame.arrays["d3bj_forces"]
    copy = labelled(frame, results["energy"] + energy, forces, stress, **more)
    for key in ("d3bj_energy", "d3bj_stress"):
        del copy.info[key]
    del copy.arrays["d3bj_forces"]
    return copy
