"""VASP, on machines that have it: inputs written, outputs read; the program and its POTCAR files are the user's."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from napos_lmp.errors import LabelError, ReferenceDataError
from napos_lmp.files import write_text
from napos_lmp.reference.labels import Label, NotConvergedError
from napos_lmp.reference.vasp_output import read_vasprun
from napos_lmp.templates import shipped_templates

_TAGS = {"PBE": "PE", "PBEsol": "PS"}
_SCF: tuple[dict[str, Any], ...] = (
    {"algorithm": "Fast", "max_iterations": 80, "amix": None},
    {"algorithm": "Normal", "max_iterations": 150, "amix": 0.1},
    {"algorithm": "All", "max_iterations": 300, "amix": None},
)


class VaspSettings(BaseModel):
    """Level of theory of VASP.

    `potcars` is the folder that holds a folder for each potential; `potentials` names that of an element where it is
    not the element itself, such as ``Na: Na_pv``. `command` starts VASP, for example ``srun vasp_std``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["vasp"] = "vasp"
    functional: Literal["PBE", "PBEsol"] = "PBE"
    cutoff_eV: float = Field(default=600.0, ge=200, le=3000)
    kpoints: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (1, 1, 1)
    smearing_eV: float = Field(default=0.05, gt=0, le=1)
    energy_tolerance_eV: float = Field(default=1e-6, gt=0, le=1e-3)
    spin_polarised: bool = False
    potentials: dict[str, str] = {}
    potcars: Path
    command: str

    @property
    def functional_tag(self) -> str:
        """The functional as the tag GGA names it."""
        return _TAGS[self.functional]


class VaspEngine:
    """Labels from VASP."""

    attempts = len(_SCF)

    def __init__(self, settings: VaspSettings) -> None:
        self.settings = settings

    @property
    def level(self) -> dict[str, Any]:
        """Everything but the command and the place of the POTCAR files."""
        return {"code": "VASP", **self.settings.model_dump(mode="json", exclude={"kind", "command", "potcars"})}

    @property
    def level_of_theory(self) -> str:
        """Functional, cutoff, k-points and smearing in words."""
        s = self.settings
        points = "Gamma" if s.kpoints == (1, 1, 1) else f"{'x'.join(map(str, s.kpoints))} k-points"
        spin = ", spin-polarised" if s.spin_polarised else ""
        return (
            f"{s.functional}, plane waves to {s.cutoff_eV:g} eV, PAW, {points}, "
            f"Fermi smearing {s.smearing_eV:g} eV{spin}, no dispersion"
        )

    def find(self) -> str:
        """The program, after a look whether it and the POTCAR folder are there."""
        program = shlex.split(self.settings.command)[0]
        if shutil.which(program) is None:
            raise LabelError(f"engine.command begins with {program!r}, which is not in PATH; VASP must be installed")
        if not self.settings.potcars.is_dir():
            raise LabelError(f"engine.potcars {self.settings.potcars} is no folder; it must hold one for each element")
        return f"VASP by `{self.settings.command}`"

    def prepare(self, frame: Any, folder: Path, attempt: int) -> list[str]:
        """Write INCAR, KPOINTS, POSCAR and POTCAR; atoms are sorted by element."""
        import ase.io

        values = {"settings": self.settings, "scf": _SCF[attempt]}
        for name in ("INCAR", "KPOINTS"):
            write_text(folder / name, shipped_templates().render(f"reference/{name}.j2", values))
        (folder / "vasprun.xml").unlink(missing_ok=True)
        order = _order(frame)
        ase.io.write(folder / "POSCAR", frame[order], format="vasp", vasp5=True, direct=True)
        symbols = frame.get_chemical_symbols()
        potcars = [self._potcar(symbol) for symbol in dict.fromkeys(symbols[i] for i in order)]
        write_text(folder / "POTCAR", "".join(potcars))
        return shlex.split(self.settings.command)

    def read(self, frame: Any, folder: Path) -> Label:
        """Read `vasprun.xml` and put the atoms into the frame's own order."""
        path = folder / "vasprun.xml"
        try:
            outputs = read_vasprun(path)
        except ReferenceDataError as error:
            raise LabelError(str(error)) from None
        if not outputs:
            raise LabelError(f"{path} holds no whole calculation")
        read, converged, iterations = outputs[-1]
        if not converged:
            raise NotConvergedError(f"the electronic steps ended at their limit of {iterations}")
        results = read.calc.results
        forces = np.empty((len(frame), 3))
        forces[_order(frame)] = results["forces"]
        return Label(
            energy=float(results["energy"]),
            free_energy=float(results["free_energy"]),
            forces=forces,
            stress=read.get_stress(voigt=False) if "stress" in results else None,
            iterations=iterations,
            code=str(read.info["code"]),
        )

    def _potcar(self, symbol: str) -> str:
        path = self.settings.potcars / self.settings.potentials.get(symbol, symbol) / "POTCAR"
        if not path.is_file():
            raise LabelError(f"{path} does not exist; name the potential of {symbol} in engine.potentials")
        return path.read_text(encoding="utf-8", errors="replace")


def _order(frame: Any) -> list[int]:
    """Atoms sorted by element in the order of first appearance, stable."""
    first = list(dict.fromkeys(frame.get_chemical_symbols()))
    symbols = frame.get_chemical_symbols()
    return sorted(range(len(frame)), key=lambda index: first.index(symbols[index]))
