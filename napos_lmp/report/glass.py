"""The section of one glass: how it was made, its structure and its transport."""

from __future__ import annotations

import re
from collections.abc import Iterable

from napos_lmp.analysis.results import StageResult
from napos_lmp.report.collect import DeckView, Glass
from napos_lmp.report.figures.overview import ThermoStage, bars, thermo
from napos_lmp.report.figures.structure import pair_functions
from napos_lmp.report.figures.transport import Displacement, displacements
from napos_lmp.report.html import Block, Figure, Heading, Section, Tabular, Text, subscripted
from napos_lmp.report.mechanism import mechanism_blocks
from napos_lmp.report.numbers import Cell, Number, Table, superscript
from napos_lmp.report.structure import (
    angle_blocks,
    environment_blocks,
    link_blocks,
    medium_range_blocks,
    response_blocks,
    scattering_blocks,
)
from napos_lmp.report.temperature import CONDUCTIVITIES, temperature_blocks
from napos_lmp.report.vibrations import rotation_blocks, vibration_blocks

_MOST_SEEDS = 5
_LEAST_SHARE = 0.5
_USUAL_BRIDGES = 3
_BOOKKEEPING = {
    "expected_mean_n": "Expected from the composition of the cell",
    "deviation.homopolar": "Change by bonds between formers",
    "deviation.coordination": "Change by formers with too few or too many neighbours",
    "deviation.isolated": "Change by isolated anions",
    "deviation.tricluster": "Change by anions with three formers",
    "mean_n": "Found",
}
_CONDUCTIVITIES = {key: f"σ, {way}" for key, way in CONDUCTIVITIES.items()} | {"haven_ratio": "Haven ratio"}
_THERMO_AXES = {
    "temperature_K": "T (K)",
    "density_g_cm3": "density\n(g/cm³)",
    "potential_energy_eV_atom": "energy\n(eV/atom)",
}


def former_of(glass: Glass) -> str | None:
    """The network former that the headlines speak of: P where there is one."""
    present = [key.rpartition(".")[2] for key in glass.keys("four_coordinate.")]
    if glass.composition is not None:
        present += [former for former in glass.composition.formers if former not in present]
    return "P" if "P" in present else present[0] if present else None


def unit_name(former: str, bridges: int) -> str:
    """P with two bridging anions is P², any other former Q²."""
    return f"{'P' if former == 'P' else 'Q'}{superscript(bridges)}"


def bridges_shown(glasses: Iterable[Glass]) -> list[int]:
    """Numbers of bridging anions to list: up to three, and any that a former has at the lowest temperature."""
    shown = set(range(_USUAL_BRIDGES + 1))
    for glass in glasses:
        for key in glass.keys(f"unit.{former_of(glass)}.n"):
            found = glass.coldest(key)
            if found and found[1].value:
                shown.add(_bridges(key))
    return sorted(shown)


def glass_section(glass: Glass) -> Section:
    """Everything that was found about one glass."""
    blocks: list[Block] = [Text(_how_it_was_made(glass))]
    blocks.extend(_thermo_figure(glass))
    blocks.extend(_structure(glass))
    blocks.extend(response_blocks(glass))
    blocks.extend(_vibrations(glass))
    blocks.extend(_transport(glass))
    blocks.extend(_replicas(glass))
    return Section(glass.anchor, glass.label, glass.label, tuple(blocks))


def _how_it_was_made(glass: Glass) -> str:
    deck = (glass.makers or glass.decks)[0]
    record = deck.manifest.structure
    rates = deck.quench_rates
    top = max((s.temperature_start_K or 0.0 for s in deck.dynamics), default=0.0)
    counts = ", ".join(f"{count} {element}" for element, count in record.counts.items())
    sentences = [f"{record.n_atoms} atoms ({counts})."]
    if rates:
        sentences.append(f"Melted at {top:.0f} K and cooled at {rates[0]:g} K/ps.")
    seeds = glass.seeds
    sentences.append(
        f"{len(seeds)} replicas (seeds {', '.join(map(str, seeds))})." if len(seeds) > 1 else "One replica."
    )
    if broken := [deck for deck in glass.decks if deck.status != "complete"]:
        listed = "; ".join(f"{deck.name} is {deck.status} ({deck.reason})" for deck in broken)
        sentences.append(f"Missing: {listed}.")
    return " ".join(sentences)


def _thermo_figure(glass: Glass) -> Iterable[Block]:
    deck = next((deck for deck in (*glass.makers, *glass.decks) if deck.result and deck.result.thermo), None)
    if deck is None:
        return
    table = deck.thermo()
    series = {label: (table["time_ps"], table[column]) for column, label in _THERMO_AXES.items() if column in table}
    if not series or len(table["time_ps"]) < 2:
        return
    step = deck.manifest.timestep_ps
    stages = [ThermoStage(s.kind, s.first_step * step, s.last_step * step) for s in deck.dynamics]
    seed = f", seed {deck.manifest.seed}" if len(glass.seeds) > 1 else ""
    yield Figure(
        thermo(_merged(stages), series),
        f"Temperature, density and energy of {glass.label} against time",
        f"{deck.protocol_name}{seed}: temperature, density and potential energy against time; stages shaded in turn.",
    )


def _merged(stages: list[ThermoStage]) -> list[ThermoStage]:
    """Neighbouring stages of one kind, such as the steps of a quench, as one."""
    merged: list[ThermoStage] = []
    for stage in stages:
        if merged and merged[-1].name == stage.name:
            merged[-1] = ThermoStage(stage.name, merged[-1].start, stage.stop)
        else:
            merged.append(stage)
    return merged


def _structure(glass: Glass) -> Iterable[Block]:
    source = coldest_with(glass, "rdf")
    if source is None:
        yield Text("Structure was not measured.", "note")
        return
    deck, stage = source
    temperature = stage.temperature_K or 0.0
    yield Heading(f"Structure at {temperature:.0f} K")
    cutoffs = {key[7:]: q.value for key in glass.keys("cutoff.") if (q := stage.get(key)) and q.value is not None}
    curves = deck.curve(stage, "rdf")
    pairs = {name[2:]: values for name, values in curves.items() if name.startswith("g_")}
    yield Figure(
        pair_functions(curves["r_A"], pairs, cutoffs),
        f"Partial pair distribution functions of {glass.label}",
        f"Partial pair distribution functions at {temperature:.0f} K; dashed: the cutoffs of the first shells"
        + (f". Seed {deck.manifest.seed}." if len(glass.seeds) > 1 else "."),
    )
    yield Tabular(_shell_table(glass, stage, temperature))
    yield from scattering_blocks(glass, deck, stage, temperature)
    yield Heading("Network")
    yield from _network(glass, temperature)
    yield from link_blocks(glass, temperature)
    yield from angle_blocks(glass, deck, stage, temperature)
    yield from medium_range_blocks(glass, temperature)
    yield from environment_blocks(glass, temperature)


def coldest_with(glass: Glass, curve: str, moving: str | None = None) -> tuple[DeckView, StageResult] | None:
    """The coldest stage, of the lowest seed, for which a curve was saved; if asked for, where an element diffused."""
    found = [
        (stage.temperature_K, deck.manifest.seed, -stage.used_frames, deck, stage)
        for deck in glass.decks
        for stage in (deck.result.stages if deck.result else ())
        if curve in stage.files and stage.temperature_K is not None and (moving is None or _diffuses(stage, moving))
    ]
    return min(found, key=lambda entry: entry[:3])[3:] if found else None


def _diffuses(stage: StageResult, element: str) -> bool:
    found = stage.get(f"diffusion.{element}")
    return found is not None and found.value is not None


def _shell_table(glass: Glass, stage: StageResult, temperature: float) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for quantity in stage.quantities:
        if not quantity.key.startswith("coordination.") or quantity.value is None:
            continue
        neighbour, centre = quantity.key.removeprefix("coordination.").split(".")
        pair = next((p for p in (f"{centre}-{neighbour}", f"{neighbour}-{centre}") if stage.get(f"cutoff.{p}")), "")
        rows.append(
            (
                f"{neighbour} around {centre}",
                glass.number(f"peak.{pair}", temperature) if stage.get(f"peak.{pair}") else "no peak",
                glass.number(f"cutoff.{pair}", temperature),
                glass.number(quantity.key, temperature),
            )
        )
    columns = ("Neighbours", "First peak", "Cutoff", "Coordination number")
    return Table(
        f"shells-{glass.anchor}",
        "First shells; cutoffs are first minima of g(r) unless noted",
        columns,
        tuple(rows),
    )


def _bridges(key: str) -> int:
    """Number of bridging anions of a unit, from the key of its share: 3 of `unit.P.n3`."""
    return int(key.rpartition(".n")[2])


def _network(glass: Glass, temperature: float) -> Iterable[Block]:
    former = former_of(glass)
    if former is None:
        return
    numbers_of = {key: glass.number(key, temperature) for key in glass.keys(f"unit.{former}.n")}
    units = [key for key, number in numbers_of.items() if number.value or _bridges(key) <= _USUAL_BRIDGES]
    if units:
        numbers = [numbers_of[key] for key in units]
        names = [unit_name(former, _bridges(key)) for key in units]
        yield Figure(
            bars(names, {subscripted(glass.label): numbers}, f"share of {former} (%)"),
            f"Share of {former} by number of bridging anions in {glass.label}",
            f"{former} by the number of its bridging anions, S and O together, at {temperature:.0f} K.",
        )
    shells = [(key.rpartition(".")[2], glass.number(key, temperature)) for key in glass.keys(f"shell.{former}.")]
    shown = tuple((name, number) for name, number in shells if (number.value or 0.0) >= _LEAST_SHARE)
    if shown:
        caption = f"First shells of {former} by the anions in them, down to {_LEAST_SHARE:g} %"
        yield Tabular(Table(f"anion-shells-{glass.anchor}", caption, ("Shell", f"Share of {former}"), shown))
    split = [(key.rpartition(".")[2], glass.number(key, temperature)) for key in glass.keys(f"unit_by_anion.{former}.")]
    if len(split) > 1:
        caption = f"{former} by the elements of its bridging anions, down to {_LEAST_SHARE:g} %"
        shown = tuple((name, number) for name, number in split if (number.value or 0.0) >= _LEAST_SHARE)
        yield Tabular(Table(f"bridging-anions-{glass.anchor}", caption, ("Bridges", f"Share of {former}"), shown))
    yield from _bookkeeping(glass, temperature)
    links = [
        (key, number)
        for prefix in ("bridge_share.", "homopolar.", "sharing.")
        for key, number in _all(glass, prefix, temperature)
    ]
    if links:
        rows = tuple((_label(glass, key), number) for key, number in links)
        yield Tabular(
            Table(f"links-{glass.anchor}", "Bridges, homopolar bonds and shared anions", ("Link", "Number"), rows)
        )


def _bookkeeping(glass: Glass, temperature: float) -> Iterable[Block]:
    """How the expected mean n becomes the one found, as an exact sum."""
    rows = tuple((label, glass.number(key, temperature)) for key, label in _BOOKKEEPING.items() if glass.keys(key))
    if rows:
        caption = "Mean number n of bridging anions per former: from the composition to what was found"
        yield Tabular(Table(f"bookkeeping-{glass.anchor}", caption, ("Contribution", "n"), rows))


def _all(glass: Glass, prefix: str, temperature: float) -> list[tuple[str, Number]]:
    return [(key, glass.number(key, temperature)) for key in glass.keys(prefix)]


def _label(glass: Glass, key: str) -> str:
    quantities = (q for d in glass.decks if d.result for s in d.result.stages for q in s.quantities if q.key == key)
    label = next(quantities).label
    return label[:1].upper() + label[1:]


def _vibrations(glass: Glass) -> Iterable[Block]:
    source = coldest_with(glass, "vibrations")
    if source is not None:
        deck, stage = source
        yield from vibration_blocks(glass, deck, stage, stage.temperature_K or 0.0)


def _transport(glass: Glass) -> Iterable[Block]:
    panels = list(_displacement_panels(glass))
    if not panels:
        return
    yield Heading("Transport")
    yield Figure(
        displacements(panels),
        f"Mean-square displacements of {glass.label}",
        "Mean-square displacement of each element against lag time, drift removed. Shaded: the window in which the "
        "line (dashed) was fitted; a curve without one gave no diffusion coefficient.",
    )
    yield from _diffusion(glass)
    yield from temperature_blocks(glass)
    for curve, blocks in (("van_hove", mechanism_blocks), ("rotation", rotation_blocks)):
        if (source := coldest_with(glass, curve, moving="Na") or coldest_with(glass, curve)) is not None:
            deck, stage = source
            yield from blocks(glass, deck, stage, stage.temperature_K or 0.0)


def _displacement_panels(glass: Glass) -> Iterable[Displacement]:
    seen: set[float] = set()
    stages = [
        (stage.temperature_K, deck.manifest.seed, deck, stage)
        for deck in glass.decks
        for stage in (deck.result.stages if deck.result else ())
        if "msd" in stage.files and stage.temperature_K is not None
    ]
    for temperature, _, deck, stage in sorted(stages, key=lambda entry: entry[:2]):
        if temperature in seen:
            continue
        seen.add(temperature)
        table = deck.curve(stage, "msd")
        curves = {match[1]: values for name, values in table.items() if (match := re.fullmatch(r"msd_(\w+)_A2", name))}
        windows = {w.species: (w.start_ps, w.stop_ps, w.intercept_A2, w.slope_A2_ps) for w in stage.windows}
        seed = f", seed {deck.manifest.seed}" if len(glass.seeds) > 1 else ""
        yield Displacement(f"{temperature:.0f} K{seed}", table["time_ps"], curves, windows)


def _diffusion(glass: Glass) -> Iterable[Block]:
    """D of sodium and of what else moves; the rest in one sentence."""
    keys = glass.keys("diffusion.")
    moving = [k for k in keys if k == "diffusion.Na" or any(m.number.value is not None for m in glass.measurements(k))]
    temperatures = sorted({t for key in moving for t in glass.temperatures(key)})
    rows: list[tuple[Cell, ...]] = [
        (f"{temperature:.0f} K", *(glass.number(key, temperature) for key in moving)) for temperature in temperatures
    ]
    if rows:
        columns = ("Temperature", *(f"D({key.partition('.')[2]})" for key in moving))
        yield Tabular(Table(f"diffusion-{glass.anchor}", "Self-diffusion coefficients", columns, tuple(rows)))
    yield from _conductivities(glass)
    still = [key for key in keys if key not in moving]
    if still and (hottest := glass.hottest(still[0])):
        names = ", ".join(f"D({key.partition('.')[2]})" for key in still)
        yield Text(f"{names}: not determined at any temperature. At {hottest[0]:.0f} K, {hottest[1].refused}.", "note")


def _conductivities(glass: Glass) -> Iterable[Block]:
    """Conductivity by all ways, and the Haven ratios, a row for each temperature."""
    ways = {key: label for key, label in _CONDUCTIVITIES.items() if glass.measurements(key)}
    if len(ways) < 2:
        return
    rows: list[tuple[Cell, ...]] = [
        (f"{temperature:.0f} K", *(glass.number(key, temperature) for key in ways))
        for temperature in glass.temperatures("conductivity")
    ]
    caption = "Conductivity of independent ions, with correlations between them, and their ratio"
    yield Tabular(Table(f"conductivities-{glass.anchor}", caption, ("Temperature", *ways.values()), tuple(rows)))


def _replicas(glass: Glass) -> Iterable[Block]:
    """Numbers of each replica with their intervals within the run, where there are several replicas."""
    seeds = glass.seeds[:_MOST_SEEDS]
    if len(seeds) < 2:
        return
    former = former_of(glass)
    keys = ["density", f"four_coordinate.{former}", "mean_n", *glass.keys(f"unit.{former}.n")[:4], "conductivity"]
    rows: list[tuple[Cell, ...]] = []
    for key in keys:
        found = glass.measurements(key)
        for temperature in (
            sorted({m.temperature for m in found}) if key == "conductivity" else glass.temperatures(key)[:1]
        ):
            by_seed = {m.deck.manifest.seed: m.number for m in found if m.temperature == temperature}
            cells = (
                by_seed.get(seed, Number.of_refusal(glass.number(key, temperature).unit, "not run")) for seed in seeds
            )
            rows.append((f"{_label(glass, key)}, {temperature:.0f} K", glass.number(key, temperature), *cells))
    if not rows:
        return
    yield Heading("Replicas")
    yield Text(
        "First the mean with the interval between replicas, then each replica with the interval within its run.", "note"
    )
    columns = ("Quantity", "Mean", *(f"Seed {seed}" for seed in seeds))
    yield Tabular(Table(f"replicas-{glass.anchor}", "Replicas", columns, tuple(rows)))
