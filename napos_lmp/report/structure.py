"""The structure of one glass beyond g(r) and P^n: scattering, groups and links, angles, medium range, around sodium."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from napos_lmp.analysis.results import StageResult
from napos_lmp.report.collect import DeckView, Glass
from napos_lmp.report.figures.overview import bars
from napos_lmp.report.figures.structure import Curves, angle_distributions, scattering
from napos_lmp.report.figures.style import Floats
from napos_lmp.report.html import Block, Figure, Heading, Tabular, Text
from napos_lmp.report.numbers import Cell, Number, Table

_LEAST_GROUP = 1.0
_MOST_GROUPS = 12
_CONSTANT = re.compile(r"\.C\d\d$")
_CHARGE = re.compile(r" ([1-9]\d*[+-])(?= |$)")
_SUPERSCRIPT = str.maketrans("0123456789+-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻")
_SUBSCRIPT = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_RADIATIONS = {"neutron": "neutrons", "xray": "X-rays"}
_CLUSTERS = (
    "clusters.number_average", "clusters.weight_average", "clusters.largest", "clusters.isolated_anions",
    "clusters.percolating", "clusters.percolating.3d",
)  # fmt: skip
_VOIDS = ("cavity.free", "cavity.fraction", "cavity.number", "cavity.largest_volume", "cavity.largest_radius")


def scattering_blocks(glass: Glass, deck: DeckView, stage: StageResult, temperature: float) -> Iterable[Block]:
    """S(q) and T(r) for neutrons and X-rays, and the first sharp diffraction peak."""
    factors, totals = deck.curve(stage, "structure_factor"), deck.curve(stage, "total_rdf")
    panels = [
        Curves("q (1/Å)", "S(q)", factors.get("q_1/A", np.zeros(0)), _of_radiations(factors, "S_{}"), 1.0),
        Curves("r (Å)", "T(r) (1/Å²)", totals.get("r_A", np.zeros(0)), _of_radiations(totals, "T_{}_1/A2"), None),
    ]
    shown = [panel for panel in panels if panel.lines]
    if not shown:
        return
    yield Heading("Scattering")
    yield Figure(
        scattering(shown),
        f"Structure factor and total correlation function of {glass.label}",
        "Left: total structure factor (Faber-Ziman), summed over reciprocal vectors of the box. Right: total "
        "correlation function; for X-rays with atomic numbers as weights." + _seed(glass, deck),
    )
    parts = ("position", "height", "width")
    rows: list[tuple[Cell, ...]] = [
        (label, *(glass.number(f"fsdp.{radiation}.{part}", temperature) for part in parts))
        for radiation, label in _RADIATIONS.items()
        if glass.measurements(f"fsdp.{radiation}.position")
    ]
    if rows:
        columns = ("Radiation", "Position", "Height", "Width")
        yield Tabular(Table(f"fsdp-{glass.anchor}", "First sharp diffraction peak", columns, tuple(rows)))
    keys = [key for radiation in _RADIATIONS for key in glass.keys(f"total_peak.{radiation}.")]
    yield from _table(glass, temperature, "total", "Peaks of the total g(r), and the box", [*keys, "q_smallest"])


def link_blocks(glass: Glass, temperature: float) -> Iterable[Block]:
    """Anion groups, bridges against random mixing, preference for bridging sites, chains."""
    groups = [(_ion(key.partition(".")[2]), glass.number(key, temperature)) for key in glass.keys("group.")]
    groups.sort(key=lambda row: -(row[1].value or 0.0))
    frequent = [row for row in groups if (row[1].value or 0.0) >= _LEAST_GROUP][:_MOST_GROUPS]
    if frequent:
        yield Heading("Anion groups and links")
        caption = f"Anion groups that hold at least {_LEAST_GROUP:g} % of the formers"
        yield Tabular(Table(f"groups-{glass.anchor}", caption, ("Group", "Share of formers"), tuple(frequent)))
    free = [(_ion(key.partition(".")[2]), glass.number(key, temperature)) for key in glass.keys("free_anion.")]
    if there := tuple(row for row in free if row[1].value):
        yield Tabular(Table(f"free-{glass.anchor}", "Anions without a former", ("Anions", "Number"), there))
    yield from _bridges(glass, temperature)


def _bridges(glass: Glass, temperature: float) -> Iterable[Block]:
    kinds = [key.partition(".")[2] for key in glass.keys("bridge.")]
    mixed = bool(glass.keys("mixing."))
    rows: list[tuple[Cell, ...]] = []
    for kind in kinds:
        share = glass.number(f"bridge.{kind}", temperature)
        rows.append((kind, share, glass.number(f"mixing.{kind}", temperature)) if mixed else (kind, share))
    if rows:
        columns = ("Bridge", "Share of bridges", "Found over random")[: 3 if mixed else 2]
        caption = "Bridges, and random mixing of their ends" if mixed else "Bridges"
        yield Tabular(Table(f"bridges-{glass.anchor}", caption, columns, tuple(rows)))
    chains = [key for key in glass.keys("chain.") if glass.number(key, temperature).value]
    caption = "Preference for bridging sites (1 at random) and homopolar chains"
    yield from _table(glass, temperature, "preference", caption, [*glass.keys("preference."), *chains])


def angle_blocks(glass: Glass, deck: DeckView, stage: StageResult, temperature: float) -> Iterable[Block]:
    """Distributions of the angles, their means and widths, and the tetrahedral order."""
    curves = deck.curve(stage, "angles")
    kinds = [key.partition(".")[2] for key in glass.keys("angle.")]
    if not curves or not kinds:
        return
    formers = {key.partition(".")[2] for key in glass.keys("mean_coordination.")}
    densities = {kind: curves[f"p_{kind}_per_deg"] for kind in kinds if f"p_{kind}_per_deg" in curves}
    inside = {kind: values for kind, values in densities.items() if kind.split("-")[1] in formers}
    bridges = {kind: values for kind, values in densities.items() if kind not in inside}
    yield Heading("Angles")
    yield Figure(
        angle_distributions(curves["angle_deg"], inside, bridges),
        f"Bond angles of {glass.label}",
        f"Angles inside the units (left) and at the bridges (right) at {temperature:.0f} K." + _seed(glass, deck),
    )
    rows: list[tuple[Cell, ...]] = [
        (kind, glass.number(f"angle.{kind}", temperature), glass.number(f"angle_width.{kind}", temperature))
        for kind in kinds
    ]
    columns = ("Angle", "Mean", "Standard deviation")
    yield Tabular(Table(f"angles-{glass.anchor}", "Bond angles", columns, tuple(rows)))
    order = glass.keys("tetrahedral_order.")
    yield from _table(glass, temperature, "order", "Order of four-coordinate formers (1 for tetrahedra)", order)


def medium_range_blocks(glass: Glass, temperature: float) -> Iterable[Block]:
    """Rings, clusters, and voids."""
    sizes = sorted((int(key.rpartition("size")[2]), key) for key in glass.keys("rings.size"))
    numbers = [(str(size), glass.number(key, temperature)) for size, key in sizes]
    keys = [key for key in (*_CLUSTERS, *_VOIDS) if glass.keys(key)]
    if not numbers and not keys:
        return
    yield Heading("Rings, clusters and voids")
    if any(number.value for _, number in numbers):
        yield Figure(
            bars([size for size, _ in numbers], {glass.label: [number for _, number in numbers]}, numbers[0][1].unit),
            f"Rings of {glass.label} by the number of formers in them",
            f"Primitive rings by the number of formers in them, at {temperature:.0f} K.",
        )
    else:
        yield Text(f"The network has no rings at {temperature:.0f} K.", "note")
    yield from _table(glass, temperature, "medium", "Clusters of linked formers, and voids", keys)


def environment_blocks(glass: Glass, temperature: float, centre: str = "Na") -> Iterable[Block]:
    """What stands around the mobile ion."""
    start = f"environment.{centre}."
    keys = [key for key in glass.keys(start) if ".with" not in key]
    if not keys:
        return
    yield Heading(f"Around {centre}")
    shares = sorted((int(key.rpartition("with")[2]), key) for key in glass.keys(f"{start}with"))
    if shares:
        numbers = [glass.number(key, temperature) for _, key in shares]
        yield Figure(
            bars([str(k) for k, _ in shares], {glass.label: numbers}, f"share of {centre} (%)"),
            f"{centre} by the number of anions around it in {glass.label}",
            f"{centre} by the number of anions in its first shell, at {temperature:.0f} K.",
        )
    yield from _table(glass, temperature, f"around-{centre}", f"First shell of {centre}", keys)


def response_blocks(glass: Glass) -> Iterable[Block]:
    """How the glass answers to strain and to cooling."""
    cooling = ("glass_transition", "expansion", "heat_capacity", "cooling.")
    groups = (
        ("Cooling", "cooling", "Glass transition and slopes from cooling", [k for p in cooling for k in glass.keys(p)]),
        ("Elasticity at 0 K", "elastic", "Elastic moduli of relaxed and clamped atoms", _moduli(glass)),
    )
    for heading, name, caption, keys in groups:
        if keys:
            temperature = glass.temperatures(keys[0])[0]
            yield Heading(heading)
            yield from _table(glass, temperature, name, caption, keys)


def _moduli(glass: Glass) -> list[str]:
    """Keys of all elastic quantities but the single constants, which are in the CSV file."""
    return [key for key in glass.keys("elastic.") if not _CONSTANT.search(key)]


def _table(
    glass: Glass,
    temperature: float,
    name: str,
    caption: str,
    keys: Sequence[str],
    columns: tuple[str, str] = ("Quantity", "Value"),
) -> Iterable[Block]:
    """Quantities of the glass by their labels; nothing where none was measured."""
    rows: list[tuple[str, Number]] = [
        (_label(glass, key), glass.number(key, temperature)) for key in keys if glass.measurements(key)
    ]
    if rows:
        yield Tabular(Table(f"{name}-{glass.anchor}", caption, columns, tuple(rows)))


def _label(glass: Glass, key: str) -> str:
    label = next(found.quantity.label for found in glass.measurements(key) if found.quantity.label)
    return label[:1].upper() + label[1:]


def _ion(name: str) -> str:
    """The name of a group with amounts below and the charge above the line: "PS4 3-" becomes PS₄³⁻."""
    formula, _, rest = name.partition(" ")
    rest = _CHARGE.sub(lambda match: match[1].translate(_SUPERSCRIPT), f" {rest}").removeprefix(" 0")
    return re.sub(r"(?<=[A-Za-z])\d+", lambda match: match[0].translate(_SUBSCRIPT), formula) + rest.rstrip()


def _of_radiations(table: dict[str, Floats], column: str) -> dict[str, Floats]:
    named = ((label, column.format(radiation)) for radiation, label in _RADIATIONS.items())
    return {label: table[name] for label, name in named if name in table}


def _seed(glass: Glass, deck: DeckView) -> str:
    return f" Seed {deck.manifest.seed}." if len(glass.seeds) > 1 else ""
