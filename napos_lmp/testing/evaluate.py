"""Energies, forces and virials of configurations, from LAMMPS as decks run it or from an ASE calculator."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napos_lmp.backends import get_backend
from napos_lmp.engine.command import deck_command, deck_environment, find_lammps, tethered
from napos_lmp.engine.launch import plan_launch
from napos_lmp.engine.messages import explain
from napos_lmp.errors import EngineError
from napos_lmp.files import link_or_copy
from napos_lmp.potential import Potential
from napos_lmp.structure import Structure, write_data
from napos_lmp.templates import Templates, shipped_templates

Floats = NDArray[np.float64]

_BAR_A3_IN_EV = 1.0 / 1.6021765e6  # the constant of LAMMPS
_SECONDS = 600

_INPUT = """
clear
log         {name}.log
units       metal
atom_style  atomic
boundary    p p p
atom_modify map yes
newton      on
read_data   {name}.data
change_box  all triclinic
include     {name}.potential
compute     energy all pe/atom
compute     virial all pressure NULL virial
thermo      1
thermo_style custom step pe vol c_virial[1] c_virial[2] c_virial[3] c_virial[4] c_virial[5] c_virial[6]
thermo_modify format float %.17g
dump        atoms all custom 1 {name}.atoms id c_energy fx fy fz
dump_modify atoms sort id format float %.17g
rerun       {name}.frames dump x y z box yes
log         none
"""


@dataclass(frozen=True)
class Evaluation:
    """What a potential says of one configuration.

    Attributes
    ----------
    energy
        Potential energy of the cell, eV.
    atomic_energies
        Share of each atom, shape (N,), eV; None where a calculator does not tell.
    forces
        Shape (N, 3), eV/A.
    virial
        Minus the derivative of the energy by strain, shape (3, 3), eV.
    """

    energy: float
    atomic_energies: Floats | None
    forces: Floats
    virial: Floats


class Evaluator(Protocol):
    """Anything that gives energies and their derivatives; structures are oriented as `lammps_frame` does."""

    def evaluate(self, structures: Sequence[Structure]) -> list[Evaluation]:
        """Evaluate structures; results in their order."""


class CalculatorEvaluator:
    """An ASE calculator.

    Parameters
    ----------
    calculator
        It must implement energy, forces and stress; `energies` are taken where it gives them.
    """

    def __init__(self, calculator: Any) -> None:
        self._calculator = calculator

    def evaluate(self, structures: Sequence[Structure]) -> list[Evaluation]:
        """Evaluate structures; results in their order."""
        return [self._evaluate(structure) for structure in structures]

    def _evaluate(self, structure: Structure) -> Evaluation:
        from ase import Atoms
        from ase.stress import voigt_6_to_full_3x3_stress

        atoms = Atoms(structure.symbols, positions=structure.positions, cell=structure.cell, pbc=True)
        atoms.calc = self._calculator
        energy, forces = float(atoms.get_potential_energy()), np.array(atoms.get_forces(), dtype=np.float64)
        stress = voigt_6_to_full_3x3_stress(atoms.get_stress())
        told = "energies" in getattr(self._calculator, "implemented_properties", ())
        energies = np.array(atoms.get_potential_energies(), dtype=np.float64) if told else None
        return Evaluation(energy, energies, forces, -np.asarray(stress, dtype=np.float64) * structure.volume)


class LammpsEvaluator:
    """LAMMPS with the pair style block of a deck, started as the engine starts a deck with this potential.

    Parameters
    ----------
    potential
        What is evaluated, in the form that decks hold. Structures name the elements that `pair_coeff` names, in order.
    lammps
        The program; see :func:`napos_lmp.engine.find_lammps`.
    templates
        Templates in force, for a pair style block of one's own.
    threads
        Threads of LAMMPS.
    """

    def __init__(
        self,
        potential: Potential,
        *,
        lammps: str | Path | None = None,
        templates: Templates | None = None,
        threads: int = 1,
    ) -> None:
        self._potential, self._threads = potential, threads
        self._backend = get_backend(potential.backend)
        self._launch = plan_launch(find_lammps(lammps), self._backend, threads=threads)
        self._templates = templates or shipped_templates()

    def evaluate(self, structures: Sequence[Structure]) -> list[Evaluation]:
        """Evaluate structures, all in one run of LAMMPS; results in their order.

        Raises
        ------
        EngineError
            If LAMMPS does not run through; the message says why.
        """
        groups: dict[tuple[tuple[str, ...], bytes], list[int]] = {}
        for place, structure in enumerate(structures):
            groups.setdefault((structure.elements, structure.types.tobytes()), []).append(place)
        found: dict[int, Evaluation] = {}
        with tempfile.TemporaryDirectory(prefix="napos-lmp-evaluate-") as name:
            folder = Path(name)
            model = self._backend.deck_file(self._potential)
            link_or_copy(model, folder / f"model{model.suffix}")
            for number, places in enumerate(groups.values()):
                self._write(folder, f"group-{number}", [structures[place] for place in places])
            self._run(folder)
            for number, places in enumerate(groups.values()):
                read = _read(folder, f"group-{number}", len(places), len(structures[places[0]]))
                found |= dict(zip(places, read, strict=True))
        return [found[place] for place in range(len(structures))]

    def _run(self, folder: Path) -> None:
        lammps = self._launch.lammps
        command = deck_command(lammps, "in.lammps", 1, {}, self._launch.switches)
        done = subprocess.run(
            tethered(command, lammps),
            cwd=folder,
            env=deck_environment(lammps, self._potential.backend, self._threads),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            start_new_session=True,
            check=False,
        )
        if done.returncode:
            reason = explain(done.stdout, done.returncode)
            raise EngineError(f"LAMMPS did not evaluate potential {self._potential.name!r}: {reason}")

    def _write(self, folder: Path, name: str, structures: list[Structure]) -> None:
        """Files of one group of structures with the same atoms, and what LAMMPS is to do with them."""
        values = {
            "potential": self._potential,
            "potential_file": f"model{self._backend.deck_file(self._potential).suffix}",
            "elements": structures[0].elements,
            "lammps_packages": self._backend.lammps_packages,
            "launch_arguments": self._launch.switches,
        }
        (folder / f"{name}.potential").write_text(self._templates.render(self._backend.template, values), "utf-8")
        write_data(folder / f"{name}.data", structures[0])
        with (folder / f"{name}.frames").open("w", encoding="utf-8") as stream:
            stream.writelines(_frame(step, structure) for step, structure in enumerate(structures))
        with (folder / "in.lammps").open("a", encoding="utf-8") as stream:
            stream.write(_INPUT.format(name=name))


def _frame(step: int, structure: Structure) -> str:
    """One frame of a LAMMPS dump, to the last bit."""
    cell = structure.cell
    xy, xz, yz = (float(cell[place]) for place in ((1, 0), (2, 0), (2, 1)))
    low = [min(0.0, xy, xz, xy + xz), min(0.0, yz), 0.0]
    high = [cell[0, 0] + max(0.0, xy, xz, xy + xz), cell[1, 1] + max(0.0, yz), cell[2, 2]]
    lines = [f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{len(structure)}", "ITEM: BOX BOUNDS xy xz yz pp pp pp"]
    lines += [f"{float(a)!r} {float(b)!r} {tilt!r}" for a, b, tilt in zip(low, high, (xy, xz, yz), strict=True)]
    lines.append("ITEM: ATOMS id type x y z")
    atoms = zip((structure.types + 1).tolist(), structure.positions.tolist(), strict=True)
    lines += [f"{number} {kind} {x!r} {y!r} {z!r}" for number, (kind, (x, y, z)) in enumerate(atoms, 1)]
    return "\n".join(lines) + "\n"


def _read(folder: Path, name: str, n_frames: int, n_atoms: int) -> list[Evaluation]:
    """What LAMMPS wrote for one group."""
    log = (folder / f"{name}.log").read_text("utf-8", "replace")
    rows = re.findall(r"^ *Step +PotEng .*\n((?:[ \d].*\n)+)", log, re.MULTILINE)
    table = np.array([line.split() for line in "".join(rows).splitlines()], dtype=np.float64)
    atoms = np.array(
        [
            line.split()
            for block in (folder / f"{name}.atoms").read_text("utf-8").split("ITEM: ATOMS")[1:]
            for line in block.splitlines()[1 : n_atoms + 1]
        ],
        dtype=np.float64,
    ).reshape(-1, n_atoms, 5)
    if not len(table) == len(atoms) == n_frames:
        raise EngineError(f"LAMMPS evaluated {len(table)} of {n_frames} configurations and says nothing of why")
    found = []
    for (_, energy, volume, *pressure), values in zip(table, atoms, strict=True):
        xx, yy, zz, xy, xz, yz = np.array(pressure) * volume * _BAR_A3_IN_EV
        virial = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        found.append(Evaluation(float(energy), values[:, 1].copy(), values[:, 2:].copy(), virial))
    return found
