"""The engines by the name that a queue gives them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from napos_lmp.reference.ase_engine import AseEngine, AseSettings
from napos_lmp.reference.gpaw import GpawEngine, GpawSettings
from napos_lmp.reference.labels import Engine

EngineSettings = Annotated[GpawSettings | AseSettings, Field(discriminator="kind")]


def make_engine(settings: GpawSettings | AseSettings) -> Engine:
    """The engine that belongs to settings."""
    if isinstance(settings, AseSettings):
        return AseEngine(settings)
    return GpawEngine(settings)
