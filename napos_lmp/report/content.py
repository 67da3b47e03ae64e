"""What the report says: sections made from the collected study."""

from __future__ import annotations

from dataclasses import dataclass

import napos_lmp
from napos_lmp.errors import StructureError
from napos_lmp.experiment import experiment_values, references_for
from napos_lmp.report.collect import Glass, StudyView
from napos_lmp.report.comparison import comparison
from napos_lmp.report.convergence import convergence_section
from napos_lmp.report.distrust import caveats
from napos_lmp.report.experiment import experiment_section
from napos_lmp.report.extrapolation import deviation_blocks
from napos_lmp.report.glass import bridges_shown, former_of, glass_section, unit_name
from napos_lmp.report.html import Block, Card, CardItem, Cards, Caveat, Caveats, Page, Section, Tabular, Text
from napos_lmp.report.numbers import Cell, Number, Table
from napos_lmp.report.potentials import potentials_section
from napos_lmp.report.provenance import exact, provenance
from napos_lmp.report.quench_rate import quench_rate_section
from napos_lmp.report.temperature import activation_energy
from napos_lmp.structure import estimate_density

_MOST_CARDS = 8


@dataclass(frozen=True)
class Headline:
    """One of the three numbers that stand for a glass.

    Attributes
    ----------
    glass
        Its label, such as "Na4P2S7".
    quantity
        What the number is and at what temperature, such as "Density at 300 K".
    detail
        What the interval speaks for.
    value, low, high
        None where refused or without an interval.
    unit
        Unit of all three.
    refused
        Why there is no value; "" where there is.
    text
        Value, interval and unit as in the report.
    """

    glass: str
    quantity: str
    detail: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    refused: str
    text: str


def build_page(study: StudyView) -> Page:
    """The whole report of a study."""
    warnings = caveats(study)
    sections = [_glance(study, warnings)]
    if len({(glass.formula, glass.protocol_name) for glass in study.glasses}) > 1:
        sections.append(comparison(study))
    if (experiment := experiment_section(study)) is not None:
        sections.append(experiment)
    if (potentials := potentials_section(study)) is not None:
        sections.append(potentials)
    if (convergence := convergence_section(study)) is not None:
        sections.append(convergence)
    if (rates := quench_rate_section(study)) is not None:
        sections.append(rates)
    sections.extend(glass_section(glass) for glass in study.glasses)
    doubts = (Caveats(warnings), *deviation_blocks(study))
    sections.append(Section("distrust", "What to distrust", "What to distrust", doubts))
    sections.append(provenance(study))
    return Page(
        title=study.title,
        kicker="napos-lmp report",
        subtitle=_subtitle(study),
        program_version=napos_lmp.__version__,
        sections=tuple(sections),
        files="the curves are in the folder analysis of each deck",
    )


def headline_numbers(study: StudyView) -> list[Headline]:
    """Density, share of four-coordinate formers and highest-temperature conductivity of each glass."""
    return [
        Headline(
            card.title, item.label, item.detail, item.number.value, item.number.low, item.number.high,
            item.number.unit, item.number.refused, item.number.full_text,
        )
        for card in _cards(study.glasses)
        for item in card.items
    ]  # fmt: skip


def _subtitle(study: StudyView) -> str:
    formulas = list(dict.fromkeys(glass.formula for glass in study.glasses))
    listed = ", ".join(formulas) if len(formulas) <= 4 else f"{len(formulas)} compositions"
    potentials = sorted({deck.manifest.potential.name for deck in study.decks})
    seeds = sorted({deck.manifest.seed for deck in study.decks})
    many = f"{len(seeds)} replicas" if len(seeds) > 1 else "one replica"
    named = f"potential{'s' if len(potentials) > 1 else ''} {', '.join(potentials)}"
    return f"{listed}; {many}; {named}; {len(study.decks)} decks."


def _glance(study: StudyView, warnings: tuple[Caveat, ...]) -> Section:
    blocks: list[Block] = []
    if len(study.glasses) <= _MOST_CARDS:
        blocks.append(Cards(_cards(study.glasses)))
    if short := [caveat.short for caveat in warnings if caveat.short]:
        blocks.append(
            Text("Before you use these numbers: " + "; ".join(short) + ". More under What to distrust.", "alert")
        )
    blocks.append(Text(_how_to_read(study), "note"))
    tables = (_headline_table(study), _unit_table(study), _anion_table(study), _transport_table(study))
    blocks.extend(Tabular(table) for table in tables if table.rows)
    return Section("glance", "Results at a glance", "At a glance", tuple(blocks))


def _how_to_read(study: StudyView) -> str:
    text = "Intervals are at the 95 % level. "
    if any(len(glass.seeds) > 1 for glass in study.glasses):
        return text + (
            "Where a glass has several replicas, the value is their mean and the interval is that between them; the "
            "intervals within each run are in the glass's own section."
        )
    return text + "Each glass has one replica, so every interval is that within its one run."


def _cards(glasses: tuple[Glass, ...]) -> tuple[Card, ...]:
    cards = []
    for glass in glasses:
        former = former_of(glass)
        items = [_item(glass, "density", "Density", "g/cm³", hottest=False)]
        if former:
            items.append(_item(glass, f"four_coordinate.{former}", f"{former} with four S/O", "%", hottest=False))
        items.append(_item(glass, "conductivity", "Na⁺ conductivity", "S/cm", hottest=True))
        cards.append(Card(glass.label, glass.anchor, tuple(items)))
    return tuple(cards)


def _item(glass: Glass, key: str, label: str, unit: str, *, hottest: bool) -> CardItem:
    found = glass.hottest(key) if hottest else glass.coldest(key)
    if found is None:
        return CardItem(label, Number.of_refusal(unit, "no deck of this glass has measured it"), "")
    temperature, number = found
    detail = f"95 % interval {number.basis}" if number.has_interval else "no interval: " + number.note
    if key == "conductivity":
        detail = f"Nernst-Einstein; {detail}"
    return CardItem(f"{label} at {temperature:.0f} K", number, detail)


def _headline_table(study: StudyView) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for glass in study.glasses:
        former = former_of(glass)
        density = glass.coldest_number("density", "g/cm³")
        estimate, measured = _references(glass)
        expected = glass.composition.expected_mean_n if glass.composition else None
        rows.append(
            (
                glass.label,
                density,
                estimate,
                measured,
                glass.coldest_number(f"four_coordinate.{former}", "%") if former else "",
                glass.coldest_number("mean_n", "anions"),
                exact(expected, "anions", 2) if expected is not None else "",
                activation_energy(glass),
            )
        )
    columns = (
        "Glass", "Density", "Estimate", "Experiment", f"{_common_former(study)} with four S/O", "Mean n", "Expected n",
        "Activation energy",
    )  # fmt: skip
    return Table("headline", "Density, network and transport of each glass", columns, tuple(rows))


def _common_former(study: StudyView) -> str:
    """The network former of all glasses, or the word where they differ."""
    formers = {former_of(glass) for glass in study.glasses} - {None}
    return str(formers.pop()) if len(formers) == 1 else "former"


def _references(glass: Glass) -> tuple[Cell, Cell]:
    """Density estimated from the composition, and that of experiment where it is tabulated."""
    if glass.composition is None:
        return "", ""
    estimated: Cell = ""
    try:
        found = estimate_density(glass.composition)
        half = 1.96 * found.uncertainty
        estimated = Number(found.value, "g/cm³", found.value - half, found.value + half, basis="estimate")
    except StructureError:
        pass
    known = [r for r in references_for(glass.composition, experiment_values()) if r.key == "density"]
    if not known:
        return estimated, "none"
    nearest = known[0]
    near = f"the nearest tabulated glass, {nearest.glass}; " if nearest.offset(glass.composition) > 1e-6 else ""
    note = f"Experiment: {near}{nearest.source}; its error is not given"
    return estimated, Number(nearest.value, "g/cm³", basis="reference", note=note, decimals=2)


def _unit_table(study: StudyView) -> Table:
    rows: list[tuple[Cell, ...]] = []
    present = bridges_shown(study.glasses)
    for glass in study.glasses:
        former = former_of(glass)
        found = glass.coldest(f"unit.{former}.n0") if former else None
        if former and found:
            cells = [glass.coldest_number(f"unit.{former}.n{n}", "%") for n in present]
            rows.append((glass.label, exact(found[0], "K"), *cells))
    former_name = _common_former(study)
    columns = ("Glass", "At", *(unit_name(former_name, n) for n in present))
    caption = f"Network units: share of {former_name} with n bridging anions"
    return Table("units", caption, columns, tuple(rows))


def _anion_table(study: StudyView) -> Table:
    kinds = ("bridging", "terminal", "isolated", "tricluster")
    rows: list[tuple[Cell, ...]] = [
        (glass.label, element, *(glass.coldest_number(f"anion.{element}.{kind}", "%") for kind in kinds))
        for glass in study.glasses
        for element in dict.fromkeys(key.split(".")[1] for key in glass.keys("anion."))
    ]
    columns = ("Glass", "Anion", "Bridging", "Terminal", "Isolated", "Tricluster")
    return Table("anions", "Anions by the number of formers they are bonded to", columns, tuple(rows))


def _transport_table(study: StudyView) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (glass.label, exact(t, "K"), glass.number("diffusion.Na", t), glass.number("conductivity", t))
        for glass in study.glasses
        for t in glass.temperatures("conductivity")
    ]
    columns = ("Glass", "Temperature", "D(Na)", "σ, Nernst-Einstein")
    return Table("transport", "Sodium diffusion and conductivity", columns, tuple(rows))
