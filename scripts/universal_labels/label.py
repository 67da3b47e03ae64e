"""Label frames with SevenNet-0, in an environment of its own: `pip install sevenn ase`.

    python label.py [--tuned TUNED.pt] FRAMES ...

Writes the labels of FRAMES, such as `todo.xyz`, to `todo-labelled.extxyz.gz` beside it; files that have theirs are left
alone, and frames with a force above 40 eV/A are left out. `--tuned` takes the weights of tune.py, with energies on the
scale of its DFT. About 0.4 s a frame of 60 atoms on one core.
"""

import argparse
from pathlib import Path

import ase.io
import numpy as np
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from sevenn.calculator import SevenNetCalculator
from sevenn.util import load_checkpoint

FORCE_CAP = 40.0
KEPT = ("composition", "temperature_K", "phase", "sampled", "trajectory")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames", type=Path, nargs="+")
    parser.add_argument("--tuned", type=Path)
    arguments = parser.parse_args()
    calculator, constants = calculator_of(arguments.tuned)
    for source in arguments.frames:
        target = source.with_name(source.name.split(".")[0] + "-labelled.extxyz.gz")
        if target.exists():
            continue
        found = (labelled(frame, calculator, constants) for frame in ase.io.iread(source, ":", format="extxyz"))
        kept = [frame for frame in found if frame is not None]
        temporary = target.with_name("." + target.name)
        ase.io.write(temporary, kept, format="extxyz")
        temporary.replace(target)
        print(target, len(kept), flush=True)


def calculator_of(tuned: Path | None) -> tuple[SevenNetCalculator, dict[str, float]]:
    """SevenNet-0 with its own weights or tuned ones, and the constants to add to its energy for each element."""
    if tuned is None:
        return SevenNetCalculator("7net-0", device="cpu"), {}
    state = torch.load(tuned, weights_only=True)
    model = load_checkpoint("7net-0").build_model()
    model.load_state_dict(state["model"])
    return SevenNetCalculator(model, file_type="model_instance", device="cpu"), state["constants_eV"]


def labelled(frame: ase.Atoms, calculator: SevenNetCalculator, constants: dict[str, float]) -> ase.Atoms | None:
    atoms = ase.Atoms(frame.get_chemical_symbols(), positions=frame.positions, cell=frame.cell, pbc=True)
    atoms.calc = calculator
    energy = float(atoms.get_potential_energy()) + sum(constants.get(symbol, 0.0) for symbol in atoms.symbols)
    forces, stress = atoms.get_forces(), atoms.get_stress()
    if not np.isfinite(forces).all() or np.linalg.norm(forces, axis=1).max() > FORCE_CAP:
        return None
    atoms.info = {key: frame.info[key] for key in KEPT if key in frame.info}
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, stress=stress)
    return atoms


if __name__ == "__main__":
    main()
