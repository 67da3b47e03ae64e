"""ASE calculator of a "unified" ML-IAP object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from napos_lmp.backends.unified import UnifiedEvaluator
from napos_lmp.errors import PotentialError


class UnifiedCalculator(Calculator):  # type: ignore[misc]  # ase brings no types
    """Energies, forces and stress of fully periodic atoms from a unified object; no LAMMPS takes part.

    Parameters
    ----------
    unified
        The object as :func:`napos_lmp.backends.mliap.load_unified` gives it.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "energies", "forces", "stress"]

    def __init__(self, unified: Any) -> None:
        super().__init__()
        self._unified = unified
        self._symbols: list[str] = []
        self._evaluator: UnifiedEvaluator | None = None

    def calculate(
        self,
        atoms: Any = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Evaluate all properties at once.

        Raises
        ------
        PotentialError
            If the model does not know an element, or the atoms are not periodic in all three directions.
        """
        super().calculate(atoms, properties, system_changes)
        if not self.atoms.pbc.all():
            raise PotentialError(
                f"pbc is {self.atoms.pbc.tolist()}; an ML-IAP object is evaluated in periodic cells only"
            )
        symbols = self.atoms.get_chemical_symbols()
        if self._evaluator is None or symbols != self._symbols:
            self._symbols = symbols
            self._evaluator = UnifiedEvaluator(self._unified, sorted(set(symbols)))
        elements = sorted(set(symbols))
        types = np.array([elements.index(symbol) for symbol in symbols])
        result = self._evaluator.evaluate(self.atoms.positions, self.atoms.cell.array, types)
        stress = -result.virial / self.atoms.get_volume()
        self.results = {
            "energy": result.energy,
            "free_energy": result.energy,
            "energies": result.energies,
            "forces": result.forces,
            "stress": (stress + stress.T)[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] / 2,
        }
