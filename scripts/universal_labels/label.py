"""Label sampled frames with SevenNet-0, in an environment of its own: `pip install sevenn ase`.

    python label.py OUT

Labels every OUT/<run>/todo.xyz that has no done.xyz yet; frames with a force above 40 eV/A are left out. About 0.6 s a
frame of 65 atoms on one core.
"""

import sys
from pathlib import Path

import ase.io
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from sevenn.calculator import SevenNetCalculator

FORCE_CAP = 40.0


def main() -> None:
    calculator = SevenNetCalculator("7net-0", device="cpu")
    for todo in sorted(Path(sys.argv[1]).glob("*/todo.xyz")):
        done = todo.with_name("done.xyz")
        if done.exists():
            continue
        labelled = []
        for frame in ase.io.read(todo, ":", format="extxyz"):
            atoms = frame.copy()
            atoms.calc = calculator
            energy, forces, stress = float(atoms.get_potential_energy()), atoms.get_forces(), atoms.get_stress()
            if not np.isfinite(forces).all() or np.linalg.norm(forces, axis=1).max() > FORCE_CAP:
                continue
            frame.calc = SinglePointCalculator(frame, energy=energy, forces=forces, stress=stress)
            labelled.append(frame)
        if labelled:
            ase.io.write(done.with_suffix(".tmp"), labelled, format="extxyz")
            done.with_suffix(".tmp").rename(done)
        print(todo.parent.name, len(labelled), flush=True)


if __name__ == "__main__":
    main()
