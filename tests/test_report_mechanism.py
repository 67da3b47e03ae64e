"""How ions move in the report: jumps where there are any, and the reason where there are none."""

from types import SimpleNamespace

import numpy as np
import pytest
from hoppers import lattice_hoppers
from universes import universe_of
from walkers import brownian

from napos_lmp.analysis.quantities.jumps import measure_mechanism
from napos_lmp.analysis.results import DeckResult, StageResult, write_result
from napos_lmp.analysis.transport.msd import MeanSquareDisplacement
from napos_lmp.report.collect import DeckView, Glass
from napos_lmp.report.html import Figure, Heading, Tabular, Text
from napos_lmp.report.mechanism import mechanism_blocks


def deck_at(folder, temperature, paths):
    """A deck whose sodium moves along `paths` in a box of 14 A."""
    places = np.random.default_rng(0).uniform(0, 14, (paths.shape[1], 3))
    universe = universe_of(["Na"] * paths.shape[1], places + paths, [14.0] * 3 + [90.0] * 3)
    found = measure_mechanism(universe, MeanSquareDisplacement(universe, reference="none").run(), workers=1)
    stage = StageResult(
        stage="03-produce", kind="produce", temperature_K=temperature, quantities=tuple(found.quantities),
        files={name: f"{name}.csv" for name in found.tables},
    )  # fmt: skip
    result = DeckResult(
        program_version="0", label="", formula="", seed=1, manifest_sha256="", inputs={}, last_step=1,
        complete=True, stages=(stage,),
    )  # fmt: skip
    write_result(folder / "analysis", result, {f"{name}.csv": table for name, table in found.tables.items()})
    manifest = SimpleNamespace(seed=1, protocol={"name": "diffusion"})
    return DeckView(folder, folder.name, manifest, None, result, "complete", "", ()), stage


@pytest.fixture(scope="module")
def decks(tmp_path_factory):
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("study")
    cold = deck_at(folder / "cold", 400.0, lattice_hoppers(rng, 1000, 30, 0.01))
    hot = deck_at(folder / "hot", 1000.0, brownian(rng, 1000, 30, step=0.12))
    return cold, hot


def blocks_of(decks, which):
    glass = Glass("Na4P2S7", "Na4P2S7", "glass-1", tuple(deck for deck, _ in decks))
    deck, stage = decks[which]
    return list(mechanism_blocks(glass, deck, stage, stage.temperature_K))


def test_jumps_are_drawn_and_tabulated(decks):
    blocks = blocks_of(decks, 0)
    assert [type(block) for block in blocks] == [Heading, Figure, Figure, Tabular, Tabular]
    assert "at 400 K" in blocks[1].caption
    assert "Left: lengths of jumps" in blocks[2].caption
    assert all(block.svg.lstrip().startswith("<?xml") for block in blocks[1:3])
    over = {row[0]: dict(zip(blocks[3].table.columns, row, strict=True)) for row in blocks[3].table.rows}
    assert over["400 K"]["Jumps"].ends[0] < 10 < over["400 K"]["Jumps"].ends[1]
    assert "moves continuously" in over["1000 K"]["Jumps"].refused
    assert over["1000 K"]["Time to leave"].has_interval
    rows = dict(blocks[4].table.rows)
    assert rows["Mean length of a jump of Na"].value == pytest.approx(3.5, abs=0.15)
    assert rows["Jumps of a Na"].unit == "1/ns"


def test_continuous_motion_has_its_reason(decks):
    blocks = blocks_of(decks, 1)
    assert [type(block) for block in blocks] == [Heading, Figure, Text, Figure, Tabular, Tabular]
    assert blocks[2].text.startswith("No jumps of Na at 1000 K: Na moves continuously and not by jumps")
    assert blocks[3].caption.startswith("Share of the ions that have not yet left the sphere")
    assert "Jumps of a Na" not in dict(blocks[5].table.rows)


def test_a_stage_without_the_measurement_has_no_blocks(decks):
    (deck, stage), _ = decks
    empty = stage.model_copy(update={"files": {}})
    assert list(mechanism_blocks(Glass("Na4P2S7", "Na4P2S7", "glass-1", (deck,)), deck, empty, 400.0)) == []
