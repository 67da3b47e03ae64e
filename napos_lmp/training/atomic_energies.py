"""Energies of free atoms (E0), which are taken off the labels before a MACE model is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm

import numpy as np

from napos_lmp.training.dataset import Frame

# mace_run_train is given as many digits; a total energy of 1,000 atoms keeps its meV
_DIGITS = 6

Relation = dict[str, int]


@dataclass(frozen=True)
class AtomicEnergies:
    """Energy of each element in eV, and what kept the fit from determining them one by one.

    Each of `relations` says that, in every frame, the numbers of atoms of some elements times the factors given add up
    to zero: a ratio that never varies (Na - 2 P), or the balance of charges (Na + 5 P - 2 S - 2 O).
    """

    values: dict[str, float]
    relations: tuple[Relation, ...] = ()

    def warnings(self) -> tuple[str, ...]:
        """What to say of each of `relations`, one sentence each."""
        return tuple(
            f"The energies of free {_listed(relation)} are not determined one by one, because {_equation(relation)} "
            "(in numbers of atoms) in all training frames; other compositions are extrapolated."
            for relation in self.relations
        )


def fit_atomic_energies(frames: Sequence[Frame], elements: Sequence[str], known: Mapping[str, float]) -> AtomicEnergies:
    """Energies of free atoms by least squares: total energy = sum over elements of number x energy.

    Parameters
    ----------
    frames
        Frames to fit, each with the same weight.
    elements
        Elements of the frames.
    known
        Energies in eV that are kept as they are; only the rest is fitted.

    Returns
    -------
    AtomicEnergies
        Values rounded to 1e-6 eV. Where the matrix of numbers has not the full rank, the solution of smallest norm, as
        `numpy.linalg.lstsq` gives it, and the relations between the numbers.
    """
    unknown = [element for element in elements if element not in known]
    values = {element: float(energy) for element, energy in known.items()}
    if not unknown:
        return AtomicEnergies(values)
    counts = [tuple(frame.symbols.count(element) for element in unknown) for frame in frames]
    rest = [frame.energy - sum(known.get(symbol, 0.0) for symbol in frame.symbols) for frame in frames]
    solution = np.linalg.lstsq(np.array(counts, dtype=np.float64), np.array(rest), rcond=None)[0]
    values |= {element: round(float(value), _DIGITS) for element, value in zip(unknown, solution, strict=True)}
    return AtomicEnergies(values, tuple(_relations(counts, unknown)))


def _relations(counts: Sequence[Sequence[int]], elements: Sequence[str]) -> list[Relation]:
    """Basis of the null space of `counts` (frames, elements), exactly, by elimination in fractions."""
    pivots: dict[int, list[Fraction]] = {}
    for row in dict.fromkeys(map(tuple, counts)):
        rest = [Fraction(number) for number in row]
        for column, pivot in pivots.items():
            rest = [a - rest[column] * b for a, b in zip(rest, pivot, strict=True)]
        column = next((index for index, value in enumerate(rest) if value), -1)
        if column < 0:
            continue
        new = [value / rest[column] for value in rest]
        pivots = {
            other: [a - pivot[column] * b for a, b in zip(pivot, new, strict=True)] for other, pivot in pivots.items()
        }
        pivots[column] = new
    relations = []
    for free in (index for index in range(len(elements)) if index not in pivots):
        vector = {elements[free]: Fraction(1)} | {elements[i]: -row[free] for i, row in pivots.items() if row[free]}
        scale = lcm(*(value.denominator for value in vector.values()))
        numbers = {element: int(vector[element] * scale) for element in elements if element in vector}
        common = gcd(*numbers.values()) * (1 if next(iter(numbers.values())) > 0 else -1)
        relations.append({element: number // common for element, number in numbers.items()})
    return relations


def _equation(relation: Relation) -> str:
    sides = [
        " + ".join(f"{abs(n)} {element}" if abs(n) != 1 else element for element, n in relation.items() if n * sign > 0)
        for sign in (1, -1)
    ]
    return f"{sides[0]} = {sides[1] or 0}"


def _listed(relation: Relation) -> str:
    names = list(relation)
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
