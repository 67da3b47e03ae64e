"""Where the numbers come from: program, potential, protocol, seeds, segments and cells."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from napos_lmp.manifest import StageRecord
from napos_lmp.report.collect import DeckView, Glass, StudyView
from napos_lmp.report.html import Block, Heading, Section, Tabular, Text
from napos_lmp.report.numbers import INPUT, Cell, Number, Table

_HASH_SHOWN = 16
_STAGE_COLUMNS = ("Stage", "Ensemble", "From", "To", "Rate", "Pressure", "Duration")


def provenance(study: StudyView) -> Section:
    """The last section of the report."""
    blocks: list[Block] = [_programs(study), Heading("Potentials")]
    for name, card in _cards(study).items():
        blocks.extend(_potential(name, card, study))
    blocks.append(Heading("Protocols"))
    blocks.extend(Tabular(table) for table in _protocols(study))
    blocks.extend((Heading("Cells"), Tabular(_cells(study)), Heading("Decks and runs"), Tabular(_decks(study))))
    blocks.extend((Heading("Templates"), Tabular(_templates(study))))
    return Section("provenance", "Provenance", "Provenance", tuple(blocks))


def exact(value: float, unit: str, decimals: int | None = None) -> Number:
    """A number that was put in or counted, not measured."""
    return Number(value, unit, basis=INPUT, decimals=decimals)


def _programs(study: StudyView) -> Text:
    made = sorted({deck.manifest.program_version for deck in study.decks})
    measured = sorted({deck.result.program_version for deck in study.decks if deck.result})
    lammps = sorted({s.lammps_version for deck in study.decks if deck.run for s in deck.run.segments})
    sentences = [f"Decks were made by napos-lmp {', '.join(made)}"]
    if measured:
        sentences[0] += f" and analysed by napos-lmp {', '.join(measured)}"
    sentences[0] += "."
    if lammps:
        sentences.append(f"They were run by LAMMPS {'; '.join(lammps)}.")
    elif any(deck.result and deck.result.last_step for deck in study.decks):
        sentences.append("They were run by LAMMPS without this program, which therefore does not know its version.")
    return Text(" ".join(sentences))


def _cards(study: StudyView) -> dict[str, dict[str, Any]]:
    return {deck.manifest.potential.name: deck.manifest.potential.card for deck in study.decks}


def _potential(name: str, card: dict[str, Any], study: StudyView) -> Iterable[Block]:
    record = next(d.manifest.potential for d in study.decks if d.manifest.potential.name == name)
    data, domain = card.get("training_data") or {}, card.get("domain") or {}
    version = f" version {card['version']}" if card.get("version") else ""
    sentences = [
        f"{name}{version} ({record.backend}; {', '.join(record.elements)}; cutoff {record.cutoff_A:g} Å): "
        f"{str(card.get('description') or 'no description').rstrip('.')}.",
        f"Trained on {data.get('frames') or 'an unknown number of'} frames labelled by "
        f"{data.get('level_of_theory') or 'an unknown level of theory'}.",
    ]
    if domain.get("temperature_K"):
        low, high = domain["temperature_K"]
        sentences.append(f"The training data span {low:.0f} to {high:.0f} K.")
    sentences.append(f"Licence: {card.get('licence') or 'unknown'}.")
    yield Text(" ".join(sentences))
    yield Text(
        f"SHA-256 of the file in the decks: {record.sha256}; of the model as shipped: {card.get('sha256')}.", "note"
    )
    rows: list[tuple[Cell, ...]] = []
    for entry in card.get("errors") or ():
        energy, force = entry["energy_meV_per_atom"], entry["force_meV_per_A"]
        rows.append(
            (entry["set"], exact(entry["frames"], "frames"), exact(energy["rmse"], "meV/atom", 1),
             exact(energy["mae"], "meV/atom", 1), exact(force["rmse"], "meV/Å", 0), exact(force["mae"], "meV/Å", 0))
        )  # fmt: skip
    if rows:
        columns = ("Set", "Size", "Energy, RMS", "Energy, mean abs.", "Force, RMS", "Force, mean abs.")
        yield Tabular(Table(f"errors-{name}", f"Errors of {name} against its labels", columns, tuple(rows)))


def _protocols(study: StudyView) -> Iterable[Table]:
    seen: dict[tuple[tuple[Any, ...], ...], DeckView] = {}
    for deck in study.decks:
        seen.setdefault(_signature(deck), deck)
    for place, deck in enumerate(seen.values(), start=1):
        rows = tuple(_stage_row(deck, stage) for stage in deck.manifest.stages)
        caption = f"{deck.protocol_name}: time step {deck.manifest.timestep_fs:g} fs"
        used = [k for k in range(len(_STAGE_COLUMNS)) if any(row[k] != "" for row in rows)]
        columns = tuple(_STAGE_COLUMNS[k] for k in used)
        yield Table(f"protocol-{place}", caption, columns, tuple(tuple(row[k] for k in used) for row in rows))


def _signature(deck: DeckView) -> tuple[tuple[Any, ...], ...]:
    return ((deck.manifest.timestep_fs,), *(tuple(stage.model_dump().values())[:8] for stage in deck.manifest.stages))


def _stage_row(deck: DeckView, stage: StageRecord) -> tuple[Cell, ...]:
    if not stage.is_dynamics:
        return (stage.name, "minimisation" if stage.kind == "minimise" else stage.kind, "", "", "", "", "")
    start, stop, rate = stage.temperature_start_K, stage.temperature_stop_K, deck.quench_rate(stage)
    return (
        stage.name,
        (stage.ensemble or "").upper(),
        exact(start, "K") if start is not None else "",
        exact(stop, "K") if stop is not None else "",
        exact(rate, "K/ps") if rate is not None else "",
        exact(stage.pressure_bar, "bar") if stage.pressure_bar is not None else "",
        exact(deck.duration(stage), "ps"),
    )


def _cells(study: StudyView) -> Table:
    rows = tuple(_cell_row(glass, deck) for glass in study.glasses for deck in glass.makers)
    columns = ("Glass", "Seed", "Size", "Number of each", "Composition error", "Density put in")
    return Table("cells", "Starting cells", columns, rows)


def _cell_row(glass: Glass, deck: DeckView) -> tuple[Cell, ...]:
    record = deck.manifest.structure
    counts = ", ".join(f"{count} {element}" for element, count in record.counts.items())
    return (
        glass.label,
        str(deck.manifest.seed),
        exact(record.n_atoms, "atoms"),
        counts,
        exact(100 * record.composition_error, "mol %", 3),
        exact(record.density_g_cm3, "g/cm³", 3),
    )


def _decks(study: StudyView) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for deck in study.decks:
        segments = deck.run.segments if deck.run else ()
        seconds = sum(segment.wall_seconds or 0.0 for segment in segments)
        frames = sum(stage.n_frames for stage in deck.result.stages) if deck.result else 0
        rows.append(
            (
                deck.name,
                str(deck.manifest.seed),
                deck.status,
                exact(len(segments), "segments") if segments else "",
                exact(seconds / 60, "min", 1) if seconds else "",
                exact(frames, "frames"),
            )
        )
    columns = ("Deck", "Seed", "State", "Run in", "Wall time", "Read")
    return Table("decks", "Decks; a run has one segment more than it was resumed", columns, tuple(rows))


def _templates(study: StudyView) -> Table:
    used: dict[tuple[str, str], None] = {}
    for deck in study.decks:
        used |= dict.fromkeys(deck.manifest.templates.items())
    rows = tuple((name, digest[:_HASH_SHOWN]) for name, digest in sorted(used))
    return Table("templates", "Templates and the start of their SHA-256", ("Template", "SHA-256"), rows)
