"""Kinds of frames, and kinds of atoms by what they are bonded to, of which errors are told apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from napos_lmp.analysis.network.network import ANIONS
from napos_lmp.composition import NETWORK_FORMERS
from napos_lmp.training.dataset import Frame

_DENSITY_STEP = 0.25
_BOND = 1.25


def groups_of(frames: Sequence[Frame]) -> dict[str, dict[str, list[int]]]:
    """Numbers of frames by composition, phase, temperature and density in g/cm3."""
    keys: dict[str, Callable[[Frame], str]] = {
        "composition": lambda frame: frame.composition,
        "phase": lambda frame: frame.phase,
        "temperature": lambda frame: "unknown" if frame.temperature is None else f"{frame.temperature:6.0f} K",
        "density": _density,
    }
    found: dict[str, dict[str, list[int]]] = {}
    for kind, key in keys.items():
        groups: dict[str, list[int]] = defaultdict(list)
        for number, frame in enumerate(frames):
            groups[key(frame)].append(number)
        found[kind] = {name.strip(): groups[name] for name in sorted(groups)}
    return found


def atom_kinds(frame: Frame) -> list[str]:
    """What each atom of a frame is, by its bonds.

    Formers are told apart by their number of anions, anions by their number of formers (free, terminal, bridging),
    other elements not at all. A bond is at most 1.25 times the sum of the covalent radii long (those of ASE, B. Cordero
    et al., Dalton Trans. 2008, 2832).
    """
    from ase import Atoms
    from ase.data import atomic_numbers, covalent_radii
    from ase.neighborlist import neighbor_list

    atoms = Atoms(frame.symbols, positions=frame.positions, cell=frame.cell, pbc=True)
    elements = sorted(set(frame.symbols))
    radius = {element: float(covalent_radii[atomic_numbers[element]]) for element in elements}
    cutoffs = {
        (former, anion): _BOND * (radius[former] + radius[anion])
        for former in elements
        for anion in elements
        if former in NETWORK_FORMERS and anion in ANIONS
    }
    bonds = np.bincount(neighbor_list("i", atoms, cutoffs) if cutoffs else [], minlength=len(atoms))
    return [_kind(symbol, int(number)) for symbol, number in zip(frame.symbols, bonds, strict=True)]


def _kind(symbol: str, bonds: int) -> str:
    if symbol in NETWORK_FORMERS:
        return f"{symbol} with {bonds} anions" if bonds != 1 else f"{symbol} with 1 anion"
    if symbol in ANIONS:
        names = ("free", "terminal", "bridging")
        return f"{symbol}, {names[bonds]}" if bonds < len(names) else f"{symbol} on {bonds} formers"
    return symbol


def _density(frame: Frame) -> str:
    low = np.floor(frame.density / _DENSITY_STEP) * _DENSITY_STEP
    return f"{low:5.2f} to {low + _DENSITY_STEP:.2f}"
