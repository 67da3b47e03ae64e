"""Glasses that differ in how fast they were quenched: what the rate leaves in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from napos_lmp.report.collect import Glass, StudyView
from napos_lmp.report.figures.overview import against, drawable
from napos_lmp.report.glass import former_of
from napos_lmp.report.html import Block, Figure, Heading, Section, Tabular, Text
from napos_lmp.report.numbers import Cell, Number, Table
from napos_lmp.report.provenance import exact

_EDGES = "sharing.edge"
_HOMOPOLAR = "homopolar."


@dataclass(frozen=True)
class _Quenched:
    """A glass and the rate in K/ps at which it was quenched."""

    rate: float
    glass: Glass


def quench_rate_section(study: StudyView) -> Section | None:
    """The section; None where no composition was quenched at two rates with one potential."""
    blocks = [
        block for place, family in enumerate(_families(study), start=1) for block in _family(family, f"rates-{place}")
    ]
    if not blocks:
        return None
    note = (
        "Glasses that differ in the rate of their quench. What changes with it would change further towards the rates "
        "of experiment, which are some ten orders of magnitude slower."
    )
    if mixed := [glass.label for glass in study.glasses if len(_rates(glass)) > 1]:
        note += f" Left out, as one protocol quenches them at several rates: {', '.join(mixed)}."
    return Section("quench-rate", "Quench rate", "Quench rate", (Text(note, "note"), *blocks))


def _rates(glass: Glass) -> set[float]:
    return {rate for deck in glass.makers for rate in deck.quench_rates}


def _families(study: StudyView) -> list[list[_Quenched]]:
    """Glasses of one composition and size, by rate and potential, where a potential has several rates."""
    families: dict[tuple[str, int], list[_Quenched]] = {}
    for glass in study.glasses:
        rates = _rates(glass)
        if len(rates) == 1:
            size = glass.decks[0].manifest.structure.n_atoms
            families.setdefault((glass.formula, size), []).append(_Quenched(rates.pop(), glass))
    return [
        sorted(family, key=lambda quenched: (-quenched.rate, quenched.glass.potential))
        for family in families.values()
        if any(len({q.rate for q in family if q.glass.potential == name}) > 1 for name in _potentials(family))
    ]


def _potentials(family: list[_Quenched]) -> list[str]:
    return list(dict.fromkeys(quenched.glass.potential for quenched in family))


def _family(family: list[_Quenched], anchor: str) -> Iterable[Block]:
    first = family[0].glass
    title = f"{first.formula}, {first.decks[0].manifest.structure.n_atoms} atoms"
    several = len(_potentials(family)) > 1
    columns = _columns(family)
    rows: list[tuple[Cell, ...]] = [
        (
            exact(quenched.rate, "K/ps"),
            *((quenched.glass.potential,) if several else ()),
            *(quenched.glass.coldest_number(key, unit) for key, (_, unit) in columns.items()),
        )
        for quenched in family
    ]
    yield Heading(title, anchor)
    names = ("Rate", *(("Potential",) if several else ()), *(label for label, _ in columns.values()))
    caption = f"{title}: density and network by quench rate, at the lowest temperature of each glass"
    yield Tabular(Table(f"table-{anchor}", caption, names, tuple(rows)))
    for key in (key for key in columns if key == _EDGES or key.startswith(_HOMOPOLAR)):
        yield from _figure(family, key, columns[key][0], title)


def _columns(family: list[_Quenched]) -> dict[str, tuple[str, str]]:
    """Label and unit of what is tabulated, by key."""
    former = next((found for quenched in family if (found := former_of(quenched.glass))), None)
    columns = {"density": ("Density", "g/cm³")}
    if former is None:
        return columns
    bonds = dict.fromkeys(key for quenched in family for key in quenched.glass.keys(_HOMOPOLAR))
    columns[f"four_coordinate.{former}"] = (f"{former} with four S/O", "%")
    columns["mean_n"] = ("Mean n", "anions")
    columns |= {key: (f"{key.removeprefix(_HOMOPOLAR)} bonds", "per 100 formers") for key in bonds}
    columns[_EDGES] = ("Edge-sharing pairs", "per 100 formers")
    return columns


def _figure(family: list[_Quenched], key: str, label: str, title: str) -> Iterable[Block]:
    rates = sorted({quenched.rate for quenched in family})
    missing = Number.of_refusal("per 100 formers", "not quenched at this rate")
    series = {}
    for name in _potentials(family):
        found = {q.rate: q.glass.coldest_number(key, "per 100 formers") for q in family if q.glass.potential == name}
        numbers = [found.get(rate, missing) for rate in rates]
        if drawable(numbers):
            series[name] = numbers
    if series:
        yield Figure(
            against(rates, "quench rate (K/ps)", series, f"{label}\n(per 100 formers)", logarithmic="x"),
            f"{label} of {title} against quench rate",
            f"{label} of {title} against the quench rate, at the lowest temperature of each glass.",
        )
