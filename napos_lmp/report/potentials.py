"""The potentials of a study side by side: structure, density, transport, cost, and errors on the same frames."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from napos_lmp.report.collect import Glass, StudyView
from napos_lmp.report.figures.overview import bars
from napos_lmp.report.figures.structure import PairCurve, pair_overlays
from napos_lmp.report.glass import bridges_shown, coldest_with, former_of, unit_name
from napos_lmp.report.html import Block, Figure, Heading, Section, Tabular, Text, subscripted
from napos_lmp.report.numbers import INPUT, Cell, Number, Table
from napos_lmp.report.provenance import exact
from napos_lmp.report.temperature import activation_energy

_MICRO = 1e6
_NO_INTERVAL, _APART, _OVERLAP = "", "apart", "overlap"
_ERRORS = {
    "energy_meV_per_atom": ("energy", "meV/atom", 1),
    "force_meV_per_A": ("force", "meV/Å", 0),
    "virial_meV_per_atom": ("virial", "meV/atom", 1),
}


@dataclass(frozen=True)
class Rivals:
    """One composition made by one protocol with several potentials: the glass of each, by the potential's name."""

    title: str
    anchor: str
    glasses: dict[str, Glass]


def rivals_of(study: StudyView) -> list[Rivals]:
    """All glasses of a study that differ in the potential alone."""
    groups: dict[tuple[str, str], dict[str, Glass]] = {}
    for glass in study.glasses:
        groups.setdefault((glass.formula, glass.protocol_name), {})[glass.potential] = glass
    protocols = {protocol for _, protocol in groups}
    return [
        Rivals(formula if len(protocols) == 1 else f"{formula}, {protocol}", f"rivals-{place}", glasses)
        for place, ((formula, protocol), glasses) in enumerate(groups.items(), start=1)
        if len(glasses) > 1
    ]


def potentials_section(study: StudyView) -> Section | None:
    """The section; None where no composition was made with more than one potential."""
    rivals = rivals_of(study)
    if not rivals:
        return None
    blocks: list[Block] = [Text(_what_was_run(rivals), "note")]
    for group in rivals:
        blocks.extend(_group(group))
    blocks.extend(_errors(study))
    blocks.extend(_cost(study))
    return Section("potentials", "Potentials side by side", "Potentials", tuple(blocks))


def _what_was_run(rivals: list[Rivals]) -> str:
    sentences = [
        "The same compositions and protocols with each potential. The last column says whether the 95 % intervals "
        "overlap or lie apart; they know nothing of errors that the potentials share."
    ]
    for group in rivals:
        said = {name: _size(glass) for name, glass in group.glasses.items()}
        if len(set(said.values())) > 1:
            listed = "; ".join(f"{name}: {text}" for name, text in said.items())
            sentences.append(f"{group.title} was not run alike ({listed}).")
    return " ".join(sentences)


def _size(glass: Glass) -> str:
    """What should be the same for every potential: atoms, replicas, and how long each deck runs."""
    deck = glass.decks[0]
    last = sorted({d.manifest.last_step * d.manifest.timestep_ps for d in glass.decks})
    times = f"{last[0]:g} ps" if len(last) == 1 else f"{last[0]:g} to {last[-1]:g} ps"
    seeds = "one seed" if len(glass.seeds) == 1 else f"{len(glass.seeds)} seeds"
    return f"{deck.manifest.structure.n_atoms} atoms, {seeds}, decks of {times}"


def _group(group: Rivals) -> Iterable[Block]:
    yield Heading(group.title, group.anchor)
    rows = [row for row in _rows(group) if any(isinstance(cell, Number) for cell in row)]
    if rows:
        columns = ("Quantity", *group.glasses, "Intervals")
        yield Tabular(Table(f"table-{group.anchor}", "Density, network and transport", columns, tuple(rows)))
    else:
        yield Text("Nothing was measured with more than one potential.", "note")
    yield from _overlay(group)
    yield from _units(group)


def _rows(group: Rivals) -> Iterable[tuple[Cell, ...]]:
    glasses = list(group.glasses.values())
    former = next((f for glass in glasses if (f := former_of(glass))), None)
    cold = [("density", "Density")]
    if former:
        cold.append((f"four_coordinate.{former}", f"{former} with four S/O"))
        cold.extend((f"unit.{former}.n{n}", unit_name(former, n)) for n in bridges_shown(glasses))
        cold.append(("mean_n", "Mean n"))
    for key, label in cold:
        yield from _row(group, key, label, coldest=True)
    yield from _row(group, "diffusion.Na", "D(Na)")
    yield from _row(group, "conductivity", "Conductivity, Nernst-Einstein")
    if any(glass.temperatures("conductivity") for glass in glasses):
        yield _cells("Activation energy", [activation_energy(glass) for glass in glasses])


def _row(group: Rivals, key: str, label: str, *, coldest: bool = False) -> Iterable[tuple[Cell, ...]]:
    """A quantity at the lowest temperature, or at each at which a potential gives a value, else at the highest."""
    glasses = list(group.glasses.values())
    points: dict[float, list[Number]] = {}
    for temperature in sorted({t for glass in glasses for t in glass.temperatures(key)}):
        found = {
            glass.potential: glass.number(key, temperature) for glass in glasses if _looked_at(glass, key, temperature)
        }
        unit = next(iter(found.values())).unit
        missing = Number.of_refusal(unit, "it was not measured with this potential")
        points[temperature] = [found.get(glass.potential, missing) for glass in glasses]
    known = [t for t, numbers in points.items() if any(number.value is not None for number in numbers)]
    for temperature in list(points)[:1] if coldest else known or list(points)[-1:]:
        yield _cells(f"{label}, {temperature:.0f} K", points[temperature])


def _looked_at(glass: Glass, key: str, temperature: float) -> bool:
    return temperature in glass.temperatures(key)


def _cells(label: str, numbers: list[Number]) -> tuple[Cell, ...]:
    ends = [number.ends for number in numbers if number.ends]
    if len(ends) < len(numbers):
        return (label, *numbers, _NO_INTERVAL)
    apart = max(low for low, _ in ends) > min(high for _, high in ends)
    return (label, *numbers, _APART if apart else _OVERLAP)


def _overlay(group: Rivals) -> Iterable[Block]:
    """All partial g(r) that two potentials have, at the lowest temperature that all of them share."""
    found = {name: coldest_with(glass, "rdf") for name, glass in group.glasses.items()}
    sources = {name: source for name, source in found.items() if source}
    if len(sources) < 2:
        return
    panels: dict[str, list[PairCurve]] = {}
    for name, (deck, stage) in sources.items():
        curves = deck.curve(stage, "rdf")
        for column, values in curves.items():
            if column.startswith("g_"):
                panels.setdefault(_pair(column[2:]), []).append(PairCurve(name, curves["r_A"], values))
    temperatures = {stage.temperature_K or 0.0 for _, stage in sources.values()}
    at = " and ".join(f"{temperature:.0f} K" for temperature in sorted(temperatures))
    seeds = {deck.manifest.seed for deck, _ in sources.values()}
    one = f", seed {seeds.pop()}" if len(seeds) == 1 and any(len(g.seeds) > 1 for g in group.glasses.values()) else ""
    yield Figure(
        pair_overlays(panels),
        f"Partial pair distribution functions of {group.title} with each potential",
        f"Partial pair distribution functions at {at}{one}, a panel for each pair and a colour for each potential.",
    )


def _pair(name: str) -> str:
    """A pair of elements under one name, whichever order the potential's own elements have."""
    order = {"Na": 0, "P": 1, "Si": 1, "B": 1, "Ge": 1, "S": 2, "O": 3}
    return "-".join(sorted(name.split("-"), key=lambda element: (order.get(element, 4), element)))


def _units(group: Rivals) -> Iterable[Block]:
    formers = {former_of(glass) for glass in group.glasses.values()} - {None}
    if len(formers) != 1:
        return
    former = str(formers.pop())
    glasses = {name: g for name, g in group.glasses.items() if g.temperatures(f"unit.{former}.n0")}
    if len(glasses) < 2:
        return
    bridges = bridges_shown(glasses.values())
    series = {
        name: [found[1] for n in bridges if (found := glass.coldest(f"unit.{former}.n{n}"))]
        for name, glass in glasses.items()
    }
    names = [unit_name(former, n) for n in bridges]
    yield Figure(
        bars(names, series, f"share of {former} (%)"),
        f"Share of {former} in {group.title} by number of bridging anions, with each potential",
        f"{subscripted(group.title)}: {former} by the number of its bridging anions, with each potential.",
    )


def _errors(study: StudyView) -> Iterable[Block]:
    """Errors of the potentials on the same frames, from a card that was made to compare them."""
    cards = {deck.manifest.potential.name: deck.manifest.potential.card for deck in study.decks}
    known = ({name: card.get("errors", ()), **(card.get("peer_errors") or {})} for name, card in cards.items())
    table = next((found for found in known if set(cards) <= set(found)), None)
    yield Heading("Errors on the same frames")
    if table is None:
        yield Text(
            "No card gives the errors of the other potentials on its own frames, and errors on different frames cannot "
            "be compared (`compare_with` of a training file measures them).",
            "note",
        )
        return
    rows = tuple(_error_rows({name: table[name] for name in cards}))
    columns = ("Set and quantity", "Size", *cards)
    caption = "Root-mean-square errors against the same labels on the same frames"
    yield Tabular(Table("errors-same-frames", caption, columns, rows))
    theories = {name: str(card.get("training_data", {}).get("level_of_theory")) for name, card in cards.items()}
    if len(set(theories.values())) > 1:
        listed = "; ".join(f"{name}: {theory}" for name, theory in theories.items())
        yield Text(f"The labels that they were trained on differ ({listed}).", "note")


def _error_rows(errors: dict[str, Any]) -> Iterable[tuple[Cell, ...]]:
    """One row for each set and quantity that all potentials have."""
    sets = {name: {entry["set"]: entry for entry in entries} for name, entries in errors.items()}
    for place in next(iter(sets.values())):
        entries = [known.get(place) for known in sets.values()]
        for key, (label, unit, decimals) in _ERRORS.items():
            pairs = [entry.get(key) if entry else None for entry in entries]
            if all(pairs) and len({entry["frames"] for entry in entries if entry}) == 1:
                numbers = (exact(pair["rmse"], unit, decimals) for pair in pairs if pair)
                frames = next(entry["frames"] for entry in entries if entry)
                yield (f"{place}, {label}", exact(frames, "frames"), *numbers)


@dataclass
class _Cost:
    """Wall time in s and atoms times steps of all runs of one kind."""

    wall: float = 0.0
    atom_steps: int = 0
    atoms: tuple[int, ...] = ()


def _cost(study: StudyView) -> Iterable[Block]:
    costs: dict[tuple[str, str, int, int, int], _Cost] = {}
    for deck in study.decks:
        for segment in deck.run.segments if deck.run else ():
            steps = (segment.last_step or 0) - segment.start_step
            if not segment.wall_seconds or steps <= 0:
                continue
            manifest = deck.manifest
            kind = (manifest.potential.name, segment.host, segment.ranks, segment.threads, manifest.gpus)
            cost = costs.setdefault(kind, _Cost())
            cost.wall += segment.wall_seconds
            cost.atom_steps += steps * manifest.structure.n_atoms
            cost.atoms = tuple(sorted({*cost.atoms, manifest.structure.n_atoms}))
    yield Heading("Cost")
    if not costs:
        yield Text("No deck was run by napos-lmp, so the time that it took is not known.", "note")
        return
    hosts = sorted({kind[1] for kind in costs})
    rows = tuple(_cost_row(kind, cost, hosts.index(kind[1])) for kind, cost in costs.items())
    used = [k for k in range(len(_COST_COLUMNS)) if any(row[k] != "" for row in rows)]
    columns = tuple(_COST_COLUMNS[k] for k in used)
    yield Tabular(Table("cost", "Cost of the runs", columns, tuple(tuple(row[k] for k in used) for row in rows)))
    yield Text(
        "Wall time of LAMMPS, its start and the minimisation included, of all decks of a kind; decks that ran side by "
        "side shared the machine. Core time is wall time times ranks and threads.",
        "note",
    )


_COST_COLUMNS = ("Potential", "Machine", "Cells", "Run on", "Wall time", "Speed", "Core time per atom-step")


def _cost_row(kind: tuple[str, str, int, int, int], cost: _Cost, machine: int) -> tuple[Cell, ...]:
    name, _, ranks, threads, gpus = kind
    cells = str(cost.atoms[0]) if len(cost.atoms) == 1 else f"{cost.atoms[0]} to {cost.atoms[-1]}"
    return (
        name,
        f"machine {machine + 1}" if machine else "",
        f"{cells} atoms",
        f"{_count(gpus, 'GPU')} a node" if gpus else f"{_count(ranks, 'rank')} × {_count(threads, 'thread')}",
        exact(cost.wall / 60, "min", 1),
        Number(cost.atom_steps / cost.wall / 1000, "katom-step/s", basis=INPUT, decimals=2),
        "" if gpus else exact(cost.wall * ranks * threads / cost.atom_steps * _MICRO, "µs", 0),
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
