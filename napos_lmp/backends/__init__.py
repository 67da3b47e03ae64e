"""Back-ends: what LAMMPS needs to know of one family of models."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from napos_lmp.errors import PotentialError

if TYPE_CHECKING:
    from napos_lmp.card import Potential

Message = Callable[[str], None]


class Backend(Protocol):
    """One family of models, as decks, engine and tests see it."""

    @property
    def name(self) -> str:
        """Name as written on a card."""

    @property
    def template(self) -> str:
        """Template of the pair style block, relative to the templates folder."""

    def committee_template(self, *, gpu: bool = False) -> str | None:
        """Template of the pair style block that asks a committee; None where only its first model can be run."""

    @property
    def pair_style(self) -> str:
        """Name of the LAMMPS pair style that runs the model."""

    @property
    def pair_styles(self) -> tuple[str, ...]:
        """All pair styles that can run models of the family, the usual one first."""

    @property
    def lammps_packages(self) -> tuple[str, ...]:
        """Packages that the LAMMPS binary must have been built with, as ``lmp -h`` lists them."""

    @property
    def bridged(self) -> bool:
        """Whether the engine can run its decks on a CPU without those packages, through the bridge."""

    @property
    def single_rank(self) -> bool:
        """Whether the pair style runs on one rank only."""

    @property
    def runs_code(self) -> bool:
        """Whether a model file is a Python pickle, which runs code while it is loaded."""

    def lammps_styles(self, potential: Potential) -> tuple[str, ...]:
        """Styles that the LAMMPS binary must have, such as ``pair deepmd``."""

    def deck_file(self, potential: Potential, *, gpu: bool = False, message: Message | None = None) -> Path:
        """File that LAMMPS reads, for a GPU or a CPU; made on first use and cached.

        `message` is told what is being waited for.

        Raises
        ------
        PotentialError
            If it cannot be made.
        """

    def launch_arguments(self, *, gpus: int, threads: int, gpu_aware: bool = True) -> tuple[str, ...]:
        """Command-line switches of LAMMPS.

        Parameters
        ----------
        gpus
            GPUs of each node, one rank each; 0 runs on the CPU.
        threads
            Threads of each rank.
        gpu_aware
            Whether MPI passes memory of GPUs on by itself.
        """

    def environment(self, threads: int) -> dict[str, str]:
        """Environment variables of a LAMMPS process that may use `threads` threads."""

    def model_elements(self, file: Path) -> tuple[str, ...]:
        """Elements in the model's order; loads the model.

        Raises
        ------
        PotentialError
            If the file is no model of this family, or may not be loaded.
        """

    def model_cutoff(self, file: Path) -> float:
        """Cutoff in A; loads the model.

        Raises
        ------
        PotentialError
            If the file is no model of this family, or may not be loaded.
        """

    def calculator(self, potential: Potential) -> Any:
        """ASE calculator of the model as trained, without LAMMPS."""


def get_backend(name: str, pair_style: str | None = None) -> Backend:
    """Back-end by name.

    Parameters
    ----------
    name
        As on a card.
    pair_style
        The LAMMPS pair style that is to run the model, where the family has several; None for its usual one.

    Raises
    ------
    PotentialError
        If there is no such back-end, or it has no such pair style.
    """
    from napos_lmp.backends.deepmd import DeepmdBackend
    from napos_lmp.backends.mliap import MliapBackend

    backends: dict[str, Backend] = {"deepmd": DeepmdBackend(), "mliap": MliapBackend()}
    if name not in backends:
        near = get_close_matches(name, backends, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise PotentialError(f"backend {name!r} is not known{hint}; available: {', '.join(backends)}")
    if pair_style is None or pair_style == backends[name].pair_style:
        return backends[name]
    if name == "mliap":
        return MliapBackend(pair_style)
    raise PotentialError(f"pair style {pair_style!r} does not run {name} models; theirs is {backends[name].pair_style}")
