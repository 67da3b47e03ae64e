"""CP2K: Gaussians and plane waves, with the electrons' temperature that makes glasses and melts converge.

The default settings diagonalise and smear. Orbital transformation, CP2K's usual way, is faster in crystals and
molecules, but stalled on most of these glasses.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from napos_lmp.errors import LabelError, ReferenceDataError
from napos_lmp.files import write_text
from napos_lmp.reference.cp2k_output import read_cp2k_output
from napos_lmp.reference.labels import Label, NotConvergedError
from napos_lmp.templates import shipped_templates

INSTALL = "install Debian's packages (`apt-get install cp2k cp2k-data`), or name the program in engine.command"

_KELVIN_PER_EV = 11604.518121550
_VALENCE = {"H": 1, "Li": 3, "B": 3, "O": 6, "F": 7, "Na": 9, "Mg": 10, "Al": 3, "Si": 4, "P": 5, "S": 6, "Cl": 7,
            "K": 9, "Ca": 10, "Ge": 4, "Se": 6, "Br": 7, "I": 7}  # fmt: skip
_SCF: tuple[dict[str, Any], ...] = (
    {"max_iterations": 80, "alpha": 0.3, "history": 8},
    {"max_iterations": 200, "alpha": 0.1, "history": 12},
    {"max_iterations": 400, "alpha": 0.03, "history": 20},
)


class Cp2kSettings(BaseModel):
    """Level of theory of CP2K at Gamma: basis set, GTH potentials named after their electrons, Fermi smearing.

    Spare orbitals that may hold smeared electrons are a share `spare_orbitals` of the occupied ones. Basis set and
    potential files are those of CP2K's data folder, which `CP2K_DATA_DIR` names if need be.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["cp2k"] = "cp2k"
    functional: Literal["PBE", "BLYP"] = "PBE"
    basis: str = Field(default="DZVP-MOLOPT-SR-GTH", pattern=r"^[A-Za-z0-9-]+$")
    basis_file: str = Field(default="BASIS_MOLOPT", pattern=r"^[\w./-]+$")
    potential_file: str = Field(default="GTH_POTENTIALS", pattern=r"^[\w./-]+$")
    cutoff_Ry: float = Field(default=600.0, ge=100, le=3000)
    relative_cutoff_Ry: float = Field(default=60.0, ge=20, le=400)
    eps_default: float = Field(default=1e-12, gt=0, le=1e-6)
    eps_scf: float = Field(default=1e-6, gt=0, le=1e-3)
    smearing_eV: float = Field(default=0.05, gt=0, le=1)
    spare_orbitals: float = Field(default=0.15, ge=0.02, le=2)
    spin_polarised: bool = False
    command: str = "cp2k.psmp"


class Cp2kEngine:
    """Labels from CP2K."""

    attempts = len(_SCF)

    def __init__(self, settings: Cp2kSettings) -> None:
        self.settings = settings

    @property
    def level(self) -> dict[str, Any]:
        """Everything but the command."""
        return {"code": "CP2K", **self.settings.model_dump(mode="json", exclude={"kind", "command"})}

    @property
    def level_of_theory(self) -> str:
        """Functional, basis, potentials, cutoff and smearing in words."""
        s = self.settings
        spin = ", spin-polarised" if s.spin_polarised else ""
        return (
            f"{s.functional}, {s.basis}, GTH potentials, grid cutoff {s.cutoff_Ry:g} Ry, Gamma, "
            f"Fermi smearing {s.smearing_eV:g} eV{spin}, no dispersion"
        )

    def find(self) -> str:
        """CP2K's version, asked of the program."""
        program = shlex.split(self.settings.command)[0]
        if shutil.which(program) is None:
            raise LabelError(f"engine.command is {self.settings.command!r}, which is not installed; {INSTALL}")
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=False)
        match = re.search(r"CP2K version ([\w.]+)", done.stdout)
        if not match:
            raise LabelError(f"{program} does not start: {(done.stderr or done.stdout).strip()[-200:]}")
        return f"CP2K {match[1]}"

    def prepare(self, frame: Any, folder: Path, attempt: int) -> list[str]:
        """Write `label.inp` of the given attempt."""
        for name in ("label.out", "label-RESTART.wfn"):
            (folder / name).unlink(missing_ok=True)
        symbols = frame.get_chemical_symbols()
        if unknown := sorted(set(symbols) - _VALENCE.keys()):
            raise LabelError(f"no GTH potential is known here for {', '.join(unknown)}")
        occupied = sum(_VALENCE[symbol] for symbol in symbols) // 2
        values = {
            "settings": self.settings,
            "scf": _SCF[attempt],
            "added_mos": max(4, round(self.settings.spare_orbitals * occupied)),
            "temperature_K": self.settings.smearing_eV * _KELVIN_PER_EV,
            "cell": list(zip("ABC", frame.cell.array.tolist(), strict=True)),
            "periodic": "".join(axis for axis, on in zip("XYZ", frame.pbc, strict=True) if on) or "NONE",
            "atoms": list(zip(symbols, frame.positions.tolist(), strict=True)),
            "kinds": [
                (symbol, f"GTH-{self.settings.functional}-q{_VALENCE[symbol]}") for symbol in dict.fromkeys(symbols)
            ],
        }
        write_text(folder / "label.inp", shipped_templates().render("reference/cp2k.inp.j2", values))
        return [*shlex.split(self.settings.command), "-i", "label.inp", "-o", "label.out"]

    def read(self, frame: Any, folder: Path) -> Label:
        """Read `label.out`."""
        path = folder / "label.out"
        try:
            read, converged, iterations = read_cp2k_output(path)
        except ReferenceDataError as error:
            raise LabelError(str(error)) from None
        if not converged:
            raise NotConvergedError(f"the SCF run did not converge in {iterations} steps")
        results = read.calc.results
        return Label(
            energy=float(results["energy"]),
            free_energy=float(results["free_energy"]),
            forces=results["forces"],
            stress=read.get_stress(voigt=False) if "stress" in results else None,
            iterations=iterations,
            code=str(read.info["code"]),
        )
