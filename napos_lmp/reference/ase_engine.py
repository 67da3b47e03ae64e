"""Any ASE calculator in a process of its own: tight binding, a universal model, another DFT code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from napos_lmp.errors import LabelError
from napos_lmp.files import write_text
from napos_lmp.reference.labels import Label, read_label_json, write_frame_json
from napos_lmp.templates import shipped_templates


class AseSettings(BaseModel):
    """A calculator by `module:Class`, such as ``tblite.ase:TBLite``, and the keyword arguments it is made with.

    `level_of_theory` says in words what its numbers are. `python` is an interpreter that has ASE and the module; that
    of this program by default.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["ase"] = "ase"
    calculator: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    arguments: dict[str, Any] = {}
    level_of_theory: str
    python: str = sys.executable


class AseEngine:
    """Labels from an ASE calculator."""

    attempts = 1

    def __init__(self, settings: AseSettings) -> None:
        self.settings = settings

    @property
    def level(self) -> dict[str, Any]:
        """Everything but the interpreter."""
        return self.settings.model_dump(mode="json", exclude={"kind", "python"})

    @property
    def level_of_theory(self) -> str:
        """What the settings say."""
        return self.settings.level_of_theory

    def find(self) -> str:
        """The calculator, after a look whether it can be imported."""
        module, name = self.settings.calculator.split(":")
        done = subprocess.run(
            [self.settings.python, "-c", f"from {module} import {name}"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise LabelError(f"engine.calculator {self.settings.calculator!r} cannot be imported: {last}")
        return self.settings.calculator

    def prepare(self, frame: Any, folder: Path, attempt: int) -> list[str]:
        """Write `frame.json` and the script."""
        write_frame_json(frame, folder)
        (folder / "label.json").unlink(missing_ok=True)
        write_text(folder / "label.py", shipped_templates().render("reference/ase.py.j2", {"settings": self.settings}))
        return [self.settings.python, "label.py"]

    def read(self, frame: Any, folder: Path) -> Label:
        """Read what the script wrote."""
        return read_label_json(folder)
