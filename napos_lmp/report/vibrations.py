"""Vibrations of one glass, and the rotation of its anion groups."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from napos_lmp.analysis.results import StageResult
from napos_lmp.report.collect import DeckView, Glass
from napos_lmp.report.figures.vibration import Curve, orientations, vibrations
from napos_lmp.report.html import Block, Figure, Heading, Tabular, Text
from napos_lmp.report.numbers import Cell, Table

_DENSITY = re.compile(r"g_(?!error_)(.+)_1/THz")
_CORRELATION = re.compile(r"vacf_(?!error_)(.+)")
_ORIENTATION = re.compile(r"C2_(?!error_)(.+)")
_OF_ELEMENTS = {
    "mean_frequency": "Mean",
    "strongest_peak": "Strongest band",
    "highest_peak": "Highest band",
    "equipartition": "Energy over equipartition",
}
_OF_GROUPS = {"C2": "Relaxation time, rank 2", "C1": "Relaxation time, rank 1", "order": "C₂", "angle": "Rotation"}
_MOST_LINES = 6


def vibration_blocks(glass: Glass, deck: DeckView, stage: StageResult, temperature: float) -> Iterable[Block]:
    """Density of states and velocity autocorrelation of one stage, and their numbers; nothing where there is neither.

    Parameters
    ----------
    glass
        The glass.
    deck, stage
        Whose curves to draw: a stage that has the tables ``vibrations`` and ``vacf``.
    temperature
        Of the stage, in K.
    """
    spectrum, correlation = deck.curve(stage, "vibrations"), deck.curve(stage, "vacf")
    if not spectrum:
        if reason := stage.refusals.get("vibrations") if stage.kind == "vibrate" else None:
            yield Heading("Vibrations")
            yield Text(f"The vibrational spectrum was not determined: {reason}.", "note")
        return
    densities = {
        match[1]: Curve(values, spectrum[f"g_error_{match[1]}_1/THz"])
        for name, values in spectrum.items()
        if (match := _DENSITY.fullmatch(name))
    }
    correlations = {
        match[1]: Curve(values, correlation[f"vacf_error_{match[1]}"])
        for name, values in correlation.items()
        if (match := _CORRELATION.fullmatch(name))
    }
    yield Heading("Vibrations")
    yield Figure(
        vibrations(spectrum["frequency_THz"], densities, correlation.get("time_ps", np.zeros(0)), correlations),
        f"Vibrational density of states of {glass.label}",
        "Left: vibrational density of states, whole and of each element, from the power spectrum of the velocities; it "
        "integrates to 3 N - 3 modes of the cell. Right: normalised autocorrelation of the velocities. At "
        f"{temperature:.0f} K; bands: two standard errors within the run." + _seed(glass, deck),
    )
    elements = [key.rpartition(".")[2] for key in glass.keys("vibrations.mean_frequency.")]
    heads = "Vibrations of each element", "Element"
    yield from _grid(glass, temperature, "bands", heads, elements, "vibrations", _OF_ELEMENTS)
    names = ("temperature", "heat_capacity", "zero_point_energy", "unresolved", "diffusion", "diffusion_msd")
    keys = [key for name in names for key in glass.keys(f"vibrations.{name}") if key.split(".")[1] == name]
    yield from _list(glass, temperature, "vibrations", "Of all vibrations, and early diffusion", keys)


def rotation_blocks(glass: Glass, deck: DeckView, stage: StageResult, temperature: float) -> Iterable[Block]:
    """Reorientation of groups and bonds in one stage, and near jumps; nothing where it was not measured.

    Parameters
    ----------
    glass
        The glass.
    deck, stage
        Whose curves to draw: a stage that has the table ``rotation``.
    temperature
        Of the stage, in K.
    """
    curves = deck.curve(stage, "rotation")
    names = [match[1] for name in curves if (match := _ORIENTATION.fullmatch(name))]
    bonds = [name for name in names if "-" in name][:_MOST_LINES]
    if not bonds:
        return
    first, second = (
        {name: Curve(curves[f"C{rank}_{name}"][1:], curves[f"C{rank}_error_{name}"][1:]) for name in bonds}
        for rank in (1, 2)
    )
    yield Heading("Rotation of anion groups")
    yield Figure(
        orientations(curves["time_ps"][1:], first, second),
        f"Reorientation of bonds in {glass.label}",
        "Correlation of the directions of bonds, of rank 1 (left) and 2 (right), in groups that keep their bonds and "
        f"bridges, at {temperature:.0f} K. Bands: two standard errors, by the jackknife over formers."
        + _seed(glass, deck),
    )
    kinds = [key.partition("rotation.order.")[2] for key in glass.keys("rotation.order.")]
    heads = "Reorientation", "Group or bond"
    yield from _grid(glass, temperature, "rotation", heads, kinds, "rotation", _OF_GROUPS)
    keys = [key for key in glass.keys("rotation.") if key.count(".") == 1]
    yield from _list(glass, temperature, "turning", "Groups that change, and groups near jumps", keys)


def _grid(
    glass: Glass,
    temperature: float,
    name: str,
    heads: tuple[str, str],
    kinds: Sequence[str],
    prefix: str,
    columns: dict[str, str],
) -> Iterable[Block]:
    """A row for each kind that was looked at, a column for each quantity; `heads` are caption and first column."""
    rows: list[tuple[Cell, ...]] = []
    for kind in dict.fromkeys(kinds):
        keys = [f"{prefix}.{part}.{kind}" for part in columns]
        if any(_measured(glass, key, temperature) for key in keys):
            cells = (glass.number(key, temperature) if _measured(glass, key, temperature) else "" for key in keys)
            rows.append((kind, *cells))
    if rows:
        caption, first = f"{heads[0]} at {temperature:.0f} K", heads[1]
        yield Tabular(Table(f"{name}-{glass.anchor}", caption, (first, *columns.values()), tuple(rows)))


def _list(glass: Glass, temperature: float, name: str, caption: str, keys: Sequence[str]) -> Iterable[Block]:
    rows: list[tuple[Cell, ...]] = []
    for key in keys:
        found = [m for m in glass.measurements(key) if m.temperature == temperature]
        if found:
            label = found[0].quantity.label
            rows.append((label[:1].upper() + label[1:], glass.number(key, temperature)))
    if rows:
        caption = f"{caption} at {temperature:.0f} K"
        yield Tabular(Table(f"{name}-{glass.anchor}", caption, ("Quantity", "Value"), tuple(rows)))


def _measured(glass: Glass, key: str, temperature: float) -> bool:
    return any(m.temperature == temperature for m in glass.measurements(key))


def _seed(glass: Glass, deck: DeckView) -> str:
    return f" Seed {deck.manifest.seed}." if len(glass.seeds) > 1 else ""
