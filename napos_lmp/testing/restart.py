"""Restart continuity: a deck that was resumed half-way ends where one ends that ran through."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np

from napos_lmp.deck import render_deck
from napos_lmp.engine import run_deck
from napos_lmp.errors import EngineError
from napos_lmp.manifest import Manifest, segment_file
from napos_lmp.potential import Potential
from napos_lmp.protocol import Melt, Protocol
from napos_lmp.structure import Structure, read_data
from napos_lmp.templates import Templates
from napos_lmp.testing.physics import Tolerances
from napos_lmp.testing.results import CheckResult, Deviations
from napos_lmp.testing.samples import Samples
from napos_lmp.thermo import read_thermo

_STEPS = 40
_TEMPERATURE = 600.0
_HALF = "restart/a.restart"


def restart_continuity(
    potential: Potential,
    samples: Samples,
    allowed: Tolerances,
    *,
    lammps: str | Path | None = None,
    templates: Templates | None = None,
    threads: int = 1,
) -> list[CheckResult]:
    """Run a deck through, and its copy from the restart file of the middle, and compare where they end.

    Parameters
    ----------
    potential, samples, allowed
        What is run, from which structure, and how far the ends may be apart.
    lammps, templates, threads
        As for :func:`napos_lmp.engine.run_deck` and :func:`napos_lmp.deck.render_deck`.

    Raises
    ------
    EngineError
        If LAMMPS does not run through, or does not take the restart file.
    """
    with tempfile.TemporaryDirectory(prefix="napos-lmp-restart-") as name:
        whole, resumed = Path(name) / "whole", Path(name) / "resumed"
        manifest = _render(whole, potential, samples, templates)
        shutil.copytree(whole, resumed)
        run_deck(whole, threads=threads, lammps=lammps, progress=False)
        shutil.copyfile(whole / _HALF, resumed / _HALF)
        begun = run_deck(resumed, threads=threads, lammps=lammps, progress=False).first_step
        if begun != _STEPS // 2:
            raise EngineError(f"the deck did not resume at step {_STEPS // 2} but at step {begun}")
        return _compare(manifest, whole, resumed, allowed)


def _render(folder: Path, potential: Potential, samples: Samples, templates: Templates | None) -> Manifest:
    stage = Melt(ensemble="npt", temperature_K=_TEMPERATURE, duration_ps=_STEPS / 1000, dump_ps=None)
    half = _STEPS / 2000
    protocol = Protocol(name="restart", stages=(stage,), timestep_fs=1.0, thermo_ps=half, restart_ps=half)
    return render_deck(
        folder,
        composition=samples.composition,
        potential=potential,
        protocol=protocol,
        seed=1,
        structure=samples.structures["glass"],
        templates=templates,
    )


def _compare(manifest: Manifest, whole: Path, resumed: Path, allowed: Tolerances) -> list[CheckResult]:
    ends = [read_data(folder / manifest.final_structure, manifest.elements) for folder in (whole, resumed)]
    energies = [_last(folder, manifest, segment) for folder, segment in ((whole, 0), (resumed, 0))]
    position = Deviations("restart", "positions", "A", allowed.position)
    energy = Deviations("restart", "energy", "eV/atom", allowed.energy)
    position.add("glass", _nearest(*ends))
    energy.add("glass", (energies[1] - energies[0]) / manifest.structure.n_atoms)
    return [*position.results(), *energy.results()]


def _nearest(one: Structure, two: Structure) -> np.ndarray:
    """Difference of positions to the nearest image, and of the cells."""
    fractional = np.linalg.solve(two.cell.T, (two.positions - one.positions).T).T
    return np.concatenate([(fractional - np.round(fractional)) @ two.cell, two.cell - one.cell])


def _last(folder: Path, manifest: Manifest, segment: int) -> float:
    """Total energy in the last line that a segment logged, eV."""
    block = read_thermo(folder / segment_file(manifest.thermo_pattern, segment))[-1]
    return float(block.rows[-1, block.columns.index("TotEng")])
