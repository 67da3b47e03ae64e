"""The engines by the name that a queue gives them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from napos_lmp.reference.ase_engine import AseEngine, AseSettings
from napos_lmp.reference.cp2k import Cp2kEngine, Cp2kSettings
from napos_lmp.reference.gpaw import GpawEngine, GpawSettings
from napos_lmp.reference.labels import Engine
from napos_lmp.reference.vasp import VaspEngine, VaspSettings

AnySettings = GpawSettings | Cp2kSettings | VaspSettings | AseSettings
EngineSettings = Annotated[AnySettings, Field(discriminator="kind")]


def make_engine(settings: AnySettings) -> Engine:
    """The engine that belongs to settings."""
    match settings:
        case GpawSettings():
            return GpawEngine(settings)
        case Cp2kSettings():
            return Cp2kEngine(settings)
        case VaspSettings():
            return VaspEngine(settings)
        case AseSettings():
            return AseEngine(settings)
