"""The engines by the name that a queue gives them."""

from __future__ import annotations

from napos_lmp.reference.gpaw import GpawEngine, GpawSettings
from napos_lmp.reference.labels import Engine

EngineSettings = GpawSettings


def make_engine(settings: EngineSettings) -> Engine:
    """The engine that belongs to settings."""
    return GpawEngine(settings)
