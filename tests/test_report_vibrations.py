"""Vibrations and rotation in the report: blocks from a deck whose analysis holds a spring crystal and a rotor."""

import numpy as np
import pytest
from synthetic_decks import stage, write_deck
from test_rotation import CUTOFFS, diffusing, tetrahedra
from test_vibrations import SpringCrystal, universe

from napos_lmp.analysis.quantities.rotation import measure_rotation
from napos_lmp.analysis.quantities.vibrations import measure_vibrations
from napos_lmp.analysis.results import ANALYSIS_FOLDER, DeckResult, StageResult, write_result
from napos_lmp.files import sha256_of
from napos_lmp.report import collect_study
from napos_lmp.report.html import Figure, Heading, Tabular, Text
from napos_lmp.report.vibrations import rotation_blocks, vibration_blocks


@pytest.fixture(scope="module")
def measured():
    crystal = SpringCrystal()
    positions, _ = crystal.run(1800)
    return (
        measure_vibrations(universe(crystal.elements, crystal.masses, positions, box=12), mobile="P"),
        measure_rotation(tetrahedra(diffusing(27, 200, 0.1)), cutoffs=CUTOFFS),
    )


def glass_of(folder, quantities, tables, refusals=None):
    write_deck(folder, (stage("01-vibrate", "vibrate", "nve", 0, 100, 300, 300),))
    files = {name: f"{name}.01-vibrate.csv" for name in tables}
    found = StageResult(
        stage="01-vibrate",
        kind="vibrate",
        temperature_K=300.0,
        quantities=quantities,
        files=files,
        refusals=refusals or {},
    )
    result = DeckResult(
        program_version="0",
        label="x",
        formula="Na3PS4",
        seed=1,
        manifest_sha256=sha256_of(folder / "deck.json"),
        inputs={},
        last_step=100,
        complete=True,
        stages=(found,),
    )
    write_result(folder / ANALYSIS_FOLDER, result, {files[name]: table for name, table in tables.items()})
    (glass,) = collect_study(folder.parent).glasses
    return glass, glass.decks[0], found


def test_blocks_hold_what_was_measured(measured, tmp_path):
    vibrations, rotation = measured
    quantities = (*vibrations.quantities, *rotation.quantities)
    glass, deck, found = glass_of(tmp_path / "deck", quantities, {**vibrations.tables, **rotation.tables})
    heading, figure, bands, whole = vibration_blocks(glass, deck, found, 300.0)
    assert isinstance(heading, Heading)
    assert isinstance(figure, Figure)
    assert figure.svg.startswith("<?xml")
    assert isinstance(bands, Tabular)
    assert {row[0] for row in bands.table.rows} == {"P", "O"}
    (phosphorus,) = (row for row in bands.table.rows if row[0] == "P")
    mean = next(q for q in vibrations.quantities if q.key == "vibrations.mean_frequency.P")
    assert phosphorus[1].value == mean.value
    assert isinstance(whole, Tabular)
    labels = [row[0] for row in whole.table.rows]
    assert labels[0] == "Temperature of the velocities"
    assert any(label.startswith("Heat capacity of harmonic") for label in labels)
    for number in (row[1] for row in whole.table.rows):
        assert number.low is not None or number.note or number.refused

    heading, figure, grid, changes = rotation_blocks(glass, deck, found, 300.0)
    assert isinstance(figure, Figure)
    assert isinstance(grid, Tabular)
    assert [row[0] for row in grid.table.rows] == ["P", "P n0", "P-S terminal", "PS4"]
    assert isinstance(changes, Tabular)
    assert np.isfinite(changes.table.rows[0][1].value)


def test_no_blocks_where_nothing_was_measured_and_the_reason_where_it_was_refused(tmp_path):
    glass, deck, found = glass_of(tmp_path / "a" / "deck", (), {}, {"vibrations": "frames are 20 fs apart"})
    heading, note = vibration_blocks(glass, deck, found, 300.0)
    assert isinstance(heading, Heading)
    assert isinstance(note, Text)
    assert "not determined: frames are 20 fs apart." in note.text
    assert not list(rotation_blocks(glass, deck, found, 300.0))
    glass, deck, found = glass_of(tmp_path / "b" / "deck", (), {})
    assert not list(vibration_blocks(glass, deck, found, 300.0))
