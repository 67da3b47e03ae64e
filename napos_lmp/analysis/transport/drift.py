"""What displacements and velocities are measured against: nothing, the whole system, or the framework of the glass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from napos_lmp.analysis.base import AtomSet, Floats
from napos_lmp.errors import AnalysisError

Reference = Literal["system", "framework", "none"]


@dataclass(frozen=True)
class SpeciesDisplacements:
    """Displacements since the first frame, summed over the atoms of each species: what collective transport needs.

    Attributes
    ----------
    sums
        For every species of the system in A, shape (frames, 3).
    frame_interval
        Time between frames in ps.
    n_atoms, masses
        Number of atoms, and mass of all of them in u, of each species.
    volume
        Mean volume of the box in A^3; NaN without a box.
    """

    sums: Mapping[str, Floats]
    frame_interval: float
    n_atoms: Mapping[str, int]
    masses: Mapping[str, float]
    volume: float

    @property
    def species(self) -> tuple[str, ...]:
        """The species of the system."""
        return tuple(self.sums)

    def relative_to(self, reference: Reference, mobile: Sequence[str] = ("Na",)) -> dict[str, Floats]:
        """The sums with the centre of mass of the whole system, or of all but `mobile`, held still.

        Raises
        ------
        AnalysisError
            If nothing is left of the framework.
        """
        return without_drift(self.sums, self.n_atoms, self.masses, reference, mobile)


def without_drift(
    sums: Mapping[str, Floats],
    n_atoms: Mapping[str, int],
    masses: Mapping[str, float],
    reference: Reference,
    mobile: Sequence[str],
) -> dict[str, Floats]:
    """Sums over the atoms of each species, of displacements or velocities, less what the reference moves.

    Parameters
    ----------
    sums
        Shape (times, 3) for each species.
    n_atoms, masses
        Number of atoms, and mass of all of them, of each species.
    reference, mobile
        As for :class:`MeanSquareDisplacement`.

    Raises
    ------
    AnalysisError
        If `reference` is none of the three, or nothing is left of the framework.
    """
    check_reference(reference)
    if reference == "none":
        return dict(sums)
    held = [name for name in sums if reference == "system" or name not in mobile]
    if not held:
        raise AnalysisError(f"no framework is left when mobile is {', '.join(mobile)}; the system has nothing else")
    mass = sum(masses[name] for name in held)
    drift = sum(masses[name] / n_atoms[name] * sums[name] for name in held) / mass
    return {name: values - n_atoms[name] * drift for name, values in sums.items()}


def check_reference(reference: str) -> None:
    """Refuse a reference that is none of the three."""
    if reference not in ("system", "framework", "none"):
        raise AnalysisError(f"reference is {reference!r}; it must be 'system', 'framework' or 'none'")


def drift_weights(everything: AtomSet, reference: Reference, mobile: Sequence[str]) -> Floats | None:
    """Share of each atom of the Universe in the centre of mass that is held still; None for no drift."""
    if reference == "none":
        return None
    weights = everything.masses.copy()
    if reference == "framework":
        for element in mobile:
            weights[everything.where(element)] = 0
        if not np.any(weights):
            raise AnalysisError(f"no framework is left when mobile is {', '.join(mobile)}; the system has nothing else")
    return np.asarray(weights / weights.sum())
