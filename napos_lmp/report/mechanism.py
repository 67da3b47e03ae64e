"""How the ions of one glass move: van Hove's functions, jumps or departures, and what surrounds them."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from napos_lmp.analysis.results import StageResult
from napos_lmp.report.collect import DeckView, Glass
from napos_lmp.report.figures.motion import Band, departures, van_hove
from napos_lmp.report.figures.style import Floats
from napos_lmp.report.html import Block, Figure, Heading, Tabular, Text
from napos_lmp.report.numbers import Cell, Table

_LAG = re.compile(r"self_([\d.e+-]+)ps_1/A")
_OVER_TEMPERATURE = {
    "van_hove.moved.{}": "Moved by 3 Å",
    "exit.time.{}": "Time to leave",
    "exit.diffusion.{}": "D that follows",
    "jump.rate.{}": "Jumps",
    "jump.length.{}": "Length of a jump",
    "jump.return.{}": "Undone",
}


def mechanism_blocks(
    glass: Glass, deck: DeckView, stage: StageResult, temperature: float, ion: str = "Na"
) -> Iterable[Block]:
    """Figures of one stage, and tables of all temperatures and of this one; nothing where no van Hove was measured.

    Parameters
    ----------
    glass
        The glass.
    deck, stage
        Whose curves to draw.
    temperature
        Of the stage, in K.
    ion
        Element that moves.
    """
    curves = deck.curve(stage, "van_hove")
    lags = [match[1] for name in curves if (match := _LAG.fullmatch(name))]
    if not lags:
        return
    yield Heading(f"How {ion} moves")
    yield _van_hove(glass, deck, curves, lags, ion, temperature)
    yield from _departures(glass, deck, stage, ion, temperature)
    yield from _over_temperature(glass, ion)
    keys = [*glass.keys("jump."), *glass.keys("exit."), *glass.keys("van_hove.")]
    rows: list[tuple[Cell, ...]] = []
    for key in keys:
        found = [m for m in glass.measurements(key) if m.temperature == temperature]
        if found and (number := glass.number(key, temperature)).value is not None:
            label = found[0].quantity.label
            rows.append((label[:1].upper() + label[1:], number))
    if rows:
        caption = f"Motion of {ion} at {temperature:.0f} K"
        yield Tabular(Table(f"motion-{glass.anchor}", caption, ("Quantity", "Value"), tuple(rows)))


def _van_hove(
    glass: Glass, deck: DeckView, curves: dict[str, Floats], lags: list[str], ion: str, temperature: float
) -> Figure:
    selves = [Band(f"{lag} ps", curves[f"self_{lag}ps_1/A"], curves[f"self_error_{lag}ps_1/A"]) for lag in lags]
    others = [Band(f"{lag} ps", curves[f"distinct_{lag}ps"], curves[f"distinct_error_{lag}ps"]) for lag in lags]
    return Figure(
        van_hove(curves["r_A"], selves, [band for band in others if np.isfinite(band.values).any()]),
        f"Van Hove's functions of {ion} in {glass.label}",
        f"Where {ion} is after the lag times given, from where it was (left), and where the other {ion} are from there "
        f"(right), at {temperature:.0f} K. A second peak on the left, at the distance of two sites, speaks for jumps; "
        "a peak at 0 on the right says that others take the place. Bands: 95 % intervals over blocks of time."
        + _seed(glass, deck),
    )


def _departures(glass: Glass, deck: DeckView, stage: StageResult, ion: str, temperature: float) -> Iterable[Block]:
    rate = stage.get(f"jump.rate.{ion}")
    if rate is not None and rate.refused:
        yield Text(f"No jumps of {ion} at {temperature:.0f} K: {rate.refused}.", "note")
    table, rests = deck.curve(stage, "jump_lengths"), deck.curve(stage, "residence")
    if len(rests.get("time_ps", ())) < 2:
        return
    jumping = rate is not None and rate.value is not None
    lengths = Band("", table["density_1/A"], table["error_1/A"]) if jumping and "length_A" in table else None
    what = (
        "Left: lengths of jumps. Right: share of the ions that are still in the cage they jumped to"
        if lengths is not None
        else "Share of the ions that have not yet left the sphere about the place they came to"
    )
    yield Figure(
        departures(
            lengths, table.get("length_A", np.zeros(0)), rests["time_ps"], rests["remaining"], rests["exponential"]
        ),
        f"How long {ion} stays in {glass.label}",
        f"{what}, and an exponential law with the same mean, at {temperature:.0f} K." + _seed(glass, deck),
    )


def _over_temperature(glass: Glass, ion: str) -> Iterable[Block]:
    columns = {key.format(ion): label for key, label in _OVER_TEMPERATURE.items()}
    ratios = {key: f"Rate near {key.rpartition('.')[2]} over others" for key in glass.keys(f"exit.rate_ratio.{ion}.")}
    shown = {key: label for key, label in {**columns, **ratios}.items() if glass.measurements(key)}
    temperatures = sorted({t for key in shown for t in glass.temperatures(key)})
    if len(temperatures) < 2:
        return
    rows: list[tuple[Cell, ...]] = [
        (f"{temperature:.0f} K", *(glass.number(key, temperature) for key in shown)) for temperature in temperatures
    ]
    caption = f"Motion of {ion} over temperature; what moved depends on the length of the run"
    yield Tabular(Table(f"motions-{glass.anchor}", caption, ("Temperature", *shown.values()), tuple(rows)))


def _seed(glass: Glass, deck: DeckView) -> str:
    return f" Seed {deck.manifest.seed}." if len(glass.seeds) > 1 else ""
