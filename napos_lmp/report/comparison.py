"""The glasses of a study side by side."""

from __future__ import annotations

from collections.abc import Iterable

from napos_lmp.report.collect import Glass, StudyView
from napos_lmp.report.figures.overview import against, bars, drawable
from napos_lmp.report.figures.transport import arrhenius
from napos_lmp.report.glass import bridges_shown, former_of, unit_name
from napos_lmp.report.html import Block, Figure, Section, Text, subscripted
from napos_lmp.report.numbers import Number
from napos_lmp.report.temperature import arrhenius_line, valued_points

_MOST_BAR_GROUPS = 6


def comparison(study: StudyView) -> Section:
    """Structure, density and conductivity over composition."""
    blocks = [*_units(study), *_conductivity(study), *_over_composition(study)]
    if not blocks:
        blocks = [Text("Not enough was measured to compare the glasses.", "note")]
    return Section("comparison", "Comparison over composition", "Comparison", tuple(blocks))


def composition_axis(study: StudyView) -> tuple[str, dict[str, float]] | None:
    """Label and value by formula of what the compositions differ in: x of a series, else oxygen's share of the anions.

    None where neither tells the glasses apart.
    """
    if study.series is not None:
        formula, values = study.series
        return f"x in {subscripted(formula)}", values
    shares: dict[str, float] = {}
    for glass in study.glasses:
        if glass.composition is None:
            return None
        anions = {e: float(a) for e, a in glass.composition.amounts.items() if glass.composition.charges[e] < 0}
        shares[glass.formula] = anions.get("O", 0.0) / sum(anions.values())
    ratios = {g.composition.modifier_ratio for g in study.glasses if g.composition}
    formers = {g.composition.formers for g in study.glasses if g.composition}
    told_apart = len(set(shares.values())) == len(shares) > 1
    return ("O / (O + S)", shares) if told_apart and len(ratios) == len(formers) == 1 else None


def _units(study: StudyView) -> Iterable[Block]:
    glasses = [g for g in study.glasses if former_of(g) and g.temperatures(f"unit.{former_of(g)}.n0")]
    formers = {former_of(glass) for glass in glasses}
    if not 1 < len(glasses) <= _MOST_BAR_GROUPS or len(formers) != 1:
        return
    former = formers.pop() or ""
    numbers = bridges_shown(glasses)
    keys = [f"unit.{former}.n{n}" for n in numbers]
    series = {subscripted(glass.label): [_coldest(glass, key, "%") for key in keys] for glass in glasses}
    names = [unit_name(former, n) for n in numbers]
    yield Figure(
        bars(names, series, f"share of {former} (%)"),
        f"Share of {former} by number of bridging anions in each glass",
        f"{former} by the number of its bridging anions, at the lowest temperature of each glass.",
    )


def _conductivity(study: StudyView) -> Iterable[Block]:
    series, lines = {}, {}
    for glass in study.glasses:
        temperatures, numbers = valued_points(glass)
        if len(temperatures):
            name = subscripted(glass.label)
            series[name] = (temperatures, numbers)
            if (line := arrhenius_line(glass)) is not None:
                lines[name] = line
    if max((len(temperatures) for temperatures, _ in series.values()), default=0) > 1:
        yield Figure(
            arrhenius(series, lines, "S/cm", "σ, Nernst-Einstein"),
            "Conductivity of each glass against inverse temperature",
            "Nernst-Einstein conductivity against inverse temperature"
            + (", with the fitted Arrhenius lines." if lines else "."),
        )


def _over_composition(study: StudyView) -> Iterable[Block]:
    axis = composition_axis(study)
    if axis is None:
        return
    label, values = axis
    groups: dict[str, list[Glass]] = {}
    for glass in study.glasses:
        if glass.formula in values:
            groups.setdefault(glass.potential, []).append(glass)
    if any(len({glass.formula for glass in glasses}) < len(glasses) for glasses in groups.values()):
        return
    formulas = sorted({glass.formula for glasses in groups.values() for glass in glasses}, key=lambda f: values[f])
    if len(formulas) < 2:
        return
    placed = {name: [_of_formula(glasses, f) for f in formulas] for name, glasses in groups.items()}
    x = [values[formula] for formula in formulas]
    density = {
        name if len(placed) > 1 else "density": [_coldest(glass, "density", "g/cm³") for glass in glasses]
        for name, glasses in placed.items()
    }
    if drawn := {name: numbers for name, numbers in density.items() if drawable(numbers)}:
        yield Figure(
            against(x, label, drawn, "density (g/cm³)"),
            f"Density against {label}",
            "Density at the lowest temperature at constant pressure.",
        )
    series = {
        f"{name}, {t:.0f} K" if len(placed) > 1 else f"{t:.0f} K": numbers
        for name, glasses in placed.items()
        for t, numbers in _shared_conductivities(glasses).items()
    }
    if series:
        yield Figure(
            against(x, label, series, "σ, Nernst-Einstein (S/cm)", logarithmic="y"),
            f"Conductivity against {label}",
            "Nernst-Einstein conductivity at each temperature that all glasses share.",
        )


def _of_formula(glasses: list[Glass], formula: str) -> Glass | None:
    return next((glass for glass in glasses if glass.formula == formula), None)


def _shared_conductivities(glasses: list[Glass | None]) -> dict[float, list[Number]]:
    """Conductivities over composition at each temperature that all glasses share, where two can be drawn."""
    temperatures = [{*glass.temperatures("conductivity")} if glass else set() for glass in glasses]
    found = {
        t: [glass.number("conductivity", t) for glass in glasses if glass]
        for t in sorted(set.intersection(*temperatures))
    }
    return {t: numbers for t, numbers in found.items() if drawable(numbers)}


def _coldest(glass: Glass | None, key: str, unit: str) -> Number:
    return glass.coldest_number(key, unit) if glass else Number.of_refusal(unit, "it was not measured")
