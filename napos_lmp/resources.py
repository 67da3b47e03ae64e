"""Where the templates and potentials that come with the package lie, and where a user keeps their own."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def shipped_folder(name: str) -> Path:
    """Folder `lammps_templates` or `potentials` as shipped, from a wheel or from a source tree."""
    installed = _PACKAGE / "_shipped" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


def home_folder() -> Path:
    """The user's own potentials and accepted models; `NAPOS_LMP_HOME` moves it."""
    if home := os.environ.get("NAPOS_LMP_HOME"):
        return Path(home)
    return Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share")) / "napos-lmp"


def cache_folder() -> Path:
    """Files that can be made again, such as tabulated potentials; `NAPOS_LMP_CACHE` moves it."""
    if cache := os.environ.get("NAPOS_LMP_CACHE"):
        return Path(cache)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "napos-lmp"
