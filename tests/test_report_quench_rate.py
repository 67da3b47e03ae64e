"""Glasses that differ in the rate of their quench, in the report."""

import pytest
from synthetic_decks import run_deck, stage, write_deck
from test_report_temperature import deck_at

from napos_lmp.analysis.deck import analyse_deck
from napos_lmp.report.collect import Glass, StudyView, collect_study
from napos_lmp.report.html import Figure, Heading, Tabular
from napos_lmp.report.quench_rate import quench_rate_section


def glass_at(rate, potential, bonds, atoms=52, formula="NaPS3"):
    """A glass of which everything is given: deck and manifest are made up, the numbers are the test's own."""
    values = {
        "density": (2.0, "g/cm^3"), "mean_n": (2.0, "anions"), "four_coordinate.P": (80.0, "%"),
        "homopolar.P-P": (bonds, "per 100 formers"), "sharing.edge": (2 * bonds, "per 100 formers"),
    }  # fmt: skip
    deck = deck_at(300.0, 1, values, protocol=f"quench-{rate:g}")
    deck.manifest.protocol["stages"] = [{"kind": "melt"}, {"kind": "quench", "rate_K_per_ps": rate}]
    deck.manifest.structure = type("Record", (), {"source_deck": None, "n_atoms": atoms})()
    deck.manifest.potential = type("Named", (), {"name": potential})()
    return Glass(formula, f"{formula} {potential} {rate:g}", f"{potential}-{rate:g}", (deck,))


def study_of(tmp_path, *glasses):
    return StudyView(tmp_path, "rates", glasses, (), None)


def test_what_the_rate_leaves_in_a_glass(tmp_path):
    made = [glass_at(20.0, "a", 4.0), glass_at(100.0, "a", 8.0), glass_at(100.0, "b", 6.0), glass_at(20.0, "b", 3.0)]
    section = quench_rate_section(study_of(tmp_path, *made))
    table = next(block.table for block in section.blocks if isinstance(block, Tabular))
    assert table.columns[:3] == ("Rate", "Potential", "Density")
    found = {
        (row[0].value, row[1]): dict(zip(table.columns[2:], (cell.value for cell in row[2:]), strict=True))
        for row in table.rows
    }
    assert list(found) == [(100.0, "a"), (100.0, "b"), (20.0, "a"), (20.0, "b")]
    assert found[100.0, "a"]["P-P bonds"] == 8.0
    assert found[20.0, "b"] == {
        "Density": 2.0, "P with four S/O": 80.0, "Mean n": 2.0, "P-P bonds": 3.0, "Edge-sharing pairs": 6.0,
    }  # fmt: skip
    figures = [block for block in section.blocks if isinstance(block, Figure)]
    assert [figure.alt.split(" of ")[0] for figure in figures] == ["P-P bonds", "Edge-sharing pairs"]


def test_only_glasses_that_differ_in_the_rate_alone_stand_together(tmp_path):
    def section(*glasses):
        return quench_rate_section(study_of(tmp_path, *glasses))

    assert section(glass_at(20.0, "a", 4.0)) is None
    assert section(glass_at(20.0, "a", 4.0), glass_at(100.0, "b", 4.0)) is None
    assert section(glass_at(20.0, "a", 4.0), glass_at(100.0, "a", 4.0, atoms=104)) is None
    assert section(glass_at(20.0, "a", 4.0), glass_at(100.0, "a", 4.0, formula="NaPO3")) is None
    several = section(
        *(glass_at(rate, "a", 1.0, formula=name) for rate in (20.0, 100.0) for name in ("NaPS3", "NaPO3"))
    )
    assert [b.text for b in several.blocks if isinstance(b, Heading)] == ["NaPS3, 52 atoms", "NaPO3, 52 atoms"]
    table = next(block.table for block in several.blocks if isinstance(block, Tabular))
    assert "Potential" not in table.columns


def test_a_glass_of_several_rates_is_left_out_by_name(tmp_path):
    mixed = glass_at(20.0, "a", 4.0, formula="NaPO3")
    mixed.decks[0].manifest.protocol["stages"].append({"kind": "quench", "rate_K_per_ps": 5.0})
    section = quench_rate_section(study_of(tmp_path, glass_at(20.0, "a", 4.0), glass_at(100.0, "a", 8.0), mixed))
    assert section.blocks[0].text.endswith("as one protocol quenches them at several rates: NaPO3 a 20.")
    assert len([block for block in section.blocks if isinstance(block, Tabular)]) == 1


def test_rates_are_read_from_decks(tmp_path):
    for protocol, steps in (("fast", 400), ("slow", 800)):
        end = 400 + steps
        stages = (
            stage("01-melt", "melt", "nvt", 0, 400, 1500, 1500),
            stage("02-quench", "quench", "nvt", 400, end, 1500, 300),
            stage("03-produce", "produce", "nvt", end, end + 400, 300, 300),
        )
        deck = tmp_path / protocol
        run_deck(deck, stages, write_deck(deck, stages, protocol=protocol))
        analyse_deck(deck)
    section = quench_rate_section(collect_study(tmp_path))
    table = next(block.table for block in section.blocks if isinstance(block, Tabular))
    assert [row[0].value for row in table.rows] == pytest.approx([1200 / 0.8, 1200 / 1.6])  # steps of 2 fs
    assert [row[table.columns.index("P with four S/O")].value for row in table.rows] == [100.0, 100.0]
