"""Back-ends: what LAMMPS needs to know of one family of models."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from napos_lmp.errors import PotentialError

if TYPE_CHECKING:
    from napos_lmp.potential import Potential

Message = Callable[[str], None]


class Backend(Protocol):
    """One family of models, as decks, engine and tests see it."""

    @property
    def name(self) -> str:
        """Name as written on a card."""

    @property
    def template(self) -> str:
        """Template of the pair style block, relative to the templates folder."""

    def lammps_styles(self, potential: Potential) -> tuple[str, ...]:
        """Styles that the LAMMPS binary must have, such as ``pair deepmd``."""

    def deck_file(self, potential: Potential, message: Message | None = None) -> Path:
        """File that LAMMPS reads; made on first use and cached, `message` is told what is being waited for.

        Raises
        ------
        PotentialError
            If it cannot be made.
        """

    def environment(self, threads: int) -> dict[str, str]:
        """Environment variables of a LAMMPS process that may use `threads` threads."""

    def model_elements(self, file: Path) -> tuple[str, ...]:
        """Elements in the model's order; loads the model.

        Raises
        ------
        PotentialError
            If the file is no model of this family.
        """

    def model_cutoff(self, file: Path) -> float:
        """Cutoff in A; loads the model.

        Raises
        ------
        PotentialError
            If the file is no model of this family.
        """

    def calculator(self, potential: Potential) -> Any:
        """ASE calculator of the model as trained, without LAMMPS."""


def get_backend(name: str) -> Backend:
    """Back-end by name.

    Raises
    ------
    PotentialError
        If there is none.
    """
    from napos_lmp.backends.deepmd import DeepmdBackend

    backends: dict[str, Backend] = {"deepmd": DeepmdBackend()}
    if name in backends:
        return backends[name]
    near = get_close_matches(name, backends, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise PotentialError(f"backend {name!r} is not known{hint}; available: {', '.join(backends)}")
