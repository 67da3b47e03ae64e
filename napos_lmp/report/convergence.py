"""Whether cells are large enough and runs long enough: transport against 1/L and against run length."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from napos_lmp.analysis.base import Estimate
from napos_lmp.analysis.results import StageResult
from napos_lmp.analysis.transport.size_convergence import SizeConvergence, SizeConvergenceResult, State
from napos_lmp.errors import AnalysisError
from napos_lmp.report.collect import DeckView, Glass, StudyView
from napos_lmp.report.figures.transport import convergence
from napos_lmp.report.html import Block, Figure, Heading, Section, Tabular, Text
from napos_lmp.report.numbers import Cell, Number, Table

_QUANTITIES = {"diffusion.Na": ("D(Na)", "cm^2/s", "cm²/s"), "conductivity": ("σ, Nernst-Einstein", "S/cm", "S/cm")}
_A3_PER_CM3 = 1e24
_AVOGADRO = 6.02214076e23


@dataclass(frozen=True)
class _Run:
    """One production: its cell's edge in A, its length in ps, and what was measured."""

    deck: DeckView
    stage: StageResult
    edge: float
    length: float


def convergence_section(study: StudyView) -> Section | None:
    """Cell size and run length, for the glasses that the study has in cells of several sizes; None without any."""
    blocks = [block for family in _families(study) for block in _family(family)]
    if not blocks:
        return None
    return Section("convergence", "Size and run length", "Convergence", tuple(blocks))


def _families(study: StudyView) -> list[list[Glass]]:
    """Glasses that differ in the number of their atoms alone."""
    families: dict[tuple[str, str, str], list[Glass]] = {}
    for glass in study.glasses:
        families.setdefault((glass.formula, glass.potential, glass.protocol_name), []).append(glass)
    return [glasses for glasses in families.values() if len({_atoms(glass) for glass in glasses}) > 1]


def _family(glasses: list[Glass]) -> Iterable[Block]:
    runs = [run for glass in sorted(glasses, key=_atoms) for run in _runs(glass)]
    temperatures = sorted({run.stage.temperature_K for run in runs if run.stage.temperature_K is not None})
    name = glasses[0].formula
    for temperature in temperatures:
        here = [run for run in runs if run.stage.temperature_K == temperature]
        if not any(_estimate(run.stage, "diffusion.Na", "cm^2/s") for run in here):
            continue
        yield Heading(f"{name} at {temperature:.0f} K")
        for key, (label, unit, shown) in _QUANTITIES.items():
            yield from _against_size(here, key, label, unit, shown, f"{name}, {temperature:.0f} K")
        yield from _against_length(here, f"{name}, {temperature:.0f} K")


def _against_size(runs: list[_Run], key: str, label: str, unit: str, shown: str, title: str) -> Iterable[Block]:
    points = [(run, estimate) for run in runs if (estimate := _estimate(run.stage, key, unit)) is not None]
    try:
        result = SizeConvergence(
            [run.edge for run, _ in points], [estimate for _, estimate in points], state=_state(runs)
        ).run()
    except AnalysisError as error:
        yield Text(f"{label} against cell size: {error}.", "note")
        return
    numbers = [Number(e.value, shown, e.low, e.high, e.level, "within run") for _, e in points]
    line = (np.array([0.0, 1 / result.lengths.min()]), result.infinite.value, result.slope.value)
    yield Figure(
        convergence(1 / result.lengths, numbers, "1 / L (1/Å)", f"{label} ({shown})", line=line),
        f"{label} against the inverse edge of the cell, {title}",
        f"{label} against the inverse edge of the cell, each replica a point, and the line to an infinite cell.",
    )
    yield Tabular(_size_table(points, result, label, shown, title))
    yield Text(f"{label}: {result.sentence}. {result.correction[:1].upper()}{result.correction[1:]}.", "note")


def _size_table(
    points: Sequence[tuple[_Run, Estimate]], result: SizeConvergenceResult, label: str, shown: str, title: str
) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            f"{run.deck.manifest.structure.n_atoms} atoms, seed {run.deck.manifest.seed}",
            Number(run.edge, "Å", basis="input", decimals=2),
            Number(estimate.value, shown, estimate.low, estimate.high, estimate.level, "within run"),
        )
        for run, estimate in points
    ]
    end = result.infinite
    rows.append(("Infinite cell", "∞", Number(end.value, shown, end.low, end.high, end.level, "line in 1/L")))
    anchor = "-".join(re.findall(r"[A-Za-z0-9]+", f"{label} {title}"))
    return Table(f"size-{anchor}", f"{label} by cell size, {title}", ("Cell", "Edge", label), tuple(rows))


def _against_length(runs: list[_Run], title: str) -> Iterable[Block]:
    """D of the first parts of the longest run, where the analysis has measured them."""
    with_parts = [run for run in runs if "run_length" in run.stage.files]
    if not with_parts:
        return
    run = max(with_parts, key=lambda each: (each.edge, each.length))
    table = run.deck.curve(run.stage, "run_length")
    known = np.isfinite(table["diffusion_cm2_per_s"])
    columns = [table[f"{name}_cm2_per_s"][known].tolist() for name in ("diffusion", "low", "high")]
    numbers = [Number(value, "cm²/s", low, high) for value, low, high in zip(*columns, strict=True)]
    if len(numbers) < 2:
        return
    atoms = run.deck.manifest.structure.n_atoms
    yield Figure(
        convergence(table["length_ps"][known], numbers, "run length (ps)", "D(Na) (cm²/s)", logarithmic=True),
        f"D(Na) against run length, {title}",
        f"D(Na) from the first part of a run of {atoms} atoms, seed {run.deck.manifest.seed}; parts overlap.",
    )


def _runs(glass: Glass) -> list[_Run]:
    return [
        _Run(deck, stage, _edge(deck), stage.used_frames * _interval(deck, stage))
        for deck in glass.decks
        for stage in (deck.result.stages if deck.result else ())
        if stage.kind == "produce" and stage.get("diffusion.Na") is not None
    ]


def _edge(deck: DeckView) -> float:
    """Edge of the cell in A, the cube root of its volume at the measured density, else at that put in."""
    from ase.data import atomic_masses, atomic_numbers

    record = deck.manifest.structure
    measured = deck.result.get("density") if deck.result else None
    density = measured.value if measured is not None and measured.value is not None else record.density_g_cm3
    mass = sum(count * float(atomic_masses[atomic_numbers[element]]) for element, count in record.counts.items())
    return float((mass / _AVOGADRO / density * _A3_PER_CM3) ** (1 / 3))


def _interval(deck: DeckView, stage: StageResult) -> float:
    dump = deck.manifest.stage(stage.stage).dump
    return dump.stride * deck.manifest.timestep_ps if dump else 0.0


def _state(runs: list[_Run]) -> State:
    """A melt where anything but sodium is seen to diffuse."""
    quantities = [quantity for run in runs for quantity in run.stage.quantities if quantity.value is not None]
    moving = {quantity.key for quantity in quantities if quantity.key.startswith("diffusion.")}
    return "melt" if moving - {"diffusion.Na"} else "solid"


def _estimate(stage: StageResult, key: str, unit: str) -> Estimate | None:
    quantity = stage.get(key)
    if quantity is None or quantity.value is None or quantity.low is None or quantity.high is None:
        return None
    return Estimate(quantity.value, quantity.low, quantity.high, unit, quantity.level)


def _atoms(glass: Glass) -> int:
    return glass.decks[0].manifest.structure.n_atoms
