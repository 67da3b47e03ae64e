"""GPAW in a process of its own; by default that of Debian's packages `gpaw` and `gpaw-data`."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from napos_lmp.errors import LabelError
from napos_lmp.files import write_text
from napos_lmp.reference.labels import Label, read_label_json, write_frame_json
from napos_lmp.templates import shipped_templates

INSTALL = "install Debian's packages (`apt-get install gpaw gpaw-data`), or name a Python that has it in engine.python"

# the first beats GPAW's defaults on melts: mixing of 0.1 for 0.05 by a tenth of the iterations (26 for 29), one step of
# Davidson for two by a tenth of the time (27 iterations for 24)
_SCF: tuple[dict[str, Any], ...] = (
    {"mixing": (0.1, 5, 50.0), "eigensolver": {"name": "dav", "niter": 1}, "max_iterations": 100},
    {"mixing": (0.03, 5, 100.0), "eigensolver": None, "max_iterations": 200},
    {"mixing": (0.01, 8, 100.0), "eigensolver": "rmm-diis", "max_iterations": 300},
)


class GpawSettings(BaseModel):
    """Level of theory of GPAW: plane waves and PAW data sets, Fermi smearing.

    `energy_tolerance` is in eV per valence electron, `density_tolerance` in electrons per valence electron. `python` is
    the interpreter that has GPAW.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["gpaw"] = "gpaw"
    functional: str = Field(default="PBE", pattern=r"^[A-Za-z0-9_+-]+$")
    cutoff_eV: float = Field(default=700.0, ge=200, le=3000)
    kpoints: tuple[Annotated[int, Field(ge=1, le=20)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (
        1,
        1,
        1,
    )
    smearing_eV: float = Field(default=0.05, gt=0, le=1)
    energy_tolerance: float = Field(default=1e-4, gt=0, le=1e-2)
    density_tolerance: float = Field(default=1e-4, gt=0, le=1e-2)
    spin_polarised: bool = False
    python: str = "/usr/bin/python3"


class GpawEngine:
    """Labels from GPAW."""

    attempts = len(_SCF)

    def __init__(self, settings: GpawSettings) -> None:
        self.settings = settings

    @property
    def level(self) -> dict[str, Any]:
        """Everything but the interpreter."""
        return {"code": "GPAW", **self.settings.model_dump(mode="json", exclude={"kind", "python"})}

    @property
    def level_of_theory(self) -> str:
        """Functional, basis, k-points and smearing in words."""
        s = self.settings
        points = "Gamma" if s.kpoints == (1, 1, 1) else f"{'x'.join(map(str, s.kpoints))} k-points"
        spin = ", spin-polarised" if s.spin_polarised else ""
        return (
            f"{s.functional}, plane waves to {s.cutoff_eV:g} eV, PAW, {points}, "
            f"Fermi smearing {s.smearing_eV:g} eV{spin}, no dispersion"
        )

    def find(self) -> str:
        """GPAW's version, asked of its interpreter."""
        question = "import gpaw; print('GPAW', gpaw.__version__)"
        try:
            done = subprocess.run(
                [self.settings.python, "-c", question], capture_output=True, text=True, timeout=60, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            raise LabelError(f"engine.python is {self.settings.python!r}, which cannot be run; {INSTALL}") from None
        if done.returncode:
            raise LabelError(f"GPAW is not installed for {self.settings.python}; {INSTALL}")
        return done.stdout.strip().splitlines()[-1]

    def prepare(self, frame: Any, folder: Path, attempt: int) -> list[str]:
        """Write `frame.json` and the script of the given attempt."""
        write_frame_json(frame, folder)
        (folder / "label.json").unlink(missing_ok=True)
        values = {"settings": self.settings, "scf": _SCF[attempt]}
        write_text(folder / "label.py", shipped_templates().render("reference/gpaw.py.j2", values))
        return [self.settings.python, "label.py"]

    def read(self, frame: Any, folder: Path) -> Label:
        """Read what the script wrote."""
        return read_label_json(folder)
