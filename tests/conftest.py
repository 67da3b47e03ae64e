"""Fixtures that tests of more than one part of the package use."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

# A job started in the background of a script ignores SIGINT, and so would every program that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

DeckMaker = Callable[..., Path]


@pytest.fixture(scope="session")
def make_small_deck() -> DeckMaker:
    """Make a deck of 13 atoms per formula unit of Na4P2S5O2 with the shipped potential.

    Keywords: `n_atoms`, `melt_ps`, `quench_ps` (NPT; none by default), `minimise`, `temperature`, `timestep_fs`,
    `source_deck`; frames and thermodynamic output every 10 steps, restart files every 20.
    """
    from napos_lmp.composition import Composition
    from napos_lmp.deck import present_elements, render_deck
    from napos_lmp.potential import load_potential
    from napos_lmp.protocol import Melt, Minimise, Protocol, Quench
    from napos_lmp.structure import estimate_density, pack

    composition, potential = Composition.parse("Na4P2S5O2"), load_potential("napos-deepmd")
    structures = {}

    def packed(n_atoms: int):
        if n_atoms not in structures:
            counts = composition.cell(n_atoms).counts
            elements = present_elements(potential, counts)
            structures[n_atoms] = pack(counts, 0.9 * estimate_density(composition).value, 3, elements)
        return structures[n_atoms]

    def make(
        folder: Path,
        *,
        n_atoms: int = 26,
        melt_ps: float = 0.1,
        quench_ps: float | None = None,
        minimise: bool = True,
        temperature: float = 1500.0,
        timestep_fs: float = 1.0,
        source_deck: Path | None = None,
    ) -> Path:
        stages = [Minimise(max_iterations=30)] if minimise else []
        stages.append(Melt(temperature_K=temperature, duration_ps=melt_ps, dump_steps=10))
        if quench_ps:
            rate = (temperature - 600.0) / quench_ps
            stages.append(Quench(ensemble="npt", end_temperature_K=600.0, rate_K_per_ps=rate, dump_steps=10))
        protocol = Protocol(
            name="test",
            stages=tuple(stages),
            timestep_fs=timestep_fs,
            thermo_ps=0.01 * timestep_fs,
            restart_ps=0.02 * timestep_fs,
        )
        render_deck(
            folder,
            composition=composition,
            potential=potential,
            protocol=protocol,
            seed=3,
            structure=None if source_deck else packed(n_atoms),
            source_deck=source_deck,
        )
        return folder

    return make
