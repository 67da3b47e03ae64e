"""The line from a study file to a report, with LAMMPS and the shipped potential."""

import json
import shutil

import pytest

from napos_lmp.analysis.deck import analyse_deck
from napos_lmp.engine import run_deck
from napos_lmp.report import headline, write_report
from napos_lmp.study import write_decks
from napos_lmp.study_file import read_study

STUDY = """
name: tiny
compositions: [Na4P2S5O2]
atoms: 39
seeds: [5]
potential: napos-deepmd
protocols:
  - preset: melt-quench
    timestep_fs: 2.0
    thermo_ps: 0.02
    restart_ps: 0.2
    minimise: {max_iterations: 30}
    melt: {temperature_K: 1500, duration_ps: 0.1, dump_steps: 10}
    quench: {end_temperature_K: 300, rate_K_per_ps: 12000, dump_steps: 10}
    equilibrate: {duration_ps: 0.2, dump_steps: 10}
    produce: {duration_ps: 0.2, dump_steps: 5}
  - preset: diffusion
    timestep_fs: 2.0
    thermo_ps: 0.02
    restart_ps: 0.2
    temperatures_K: [900]
    minimise: null
    equilibrate: null
    produce: {duration_ps: 0.3, dump_steps: 5}
"""


@pytest.fixture(scope="session")
def tiny_study(tmp_path_factory):
    """Folder of a study of one glass, run to its end by LAMMPS and analysed."""
    root = tmp_path_factory.mktemp("tiny")
    (root / "study.yaml").write_text(STUDY)
    decks = write_decks(read_study(root / "study.yaml"), root / "out")
    for deck in decks:
        assert run_deck(deck, ranks=1, threads=1).outcome == "complete"
        analyse_deck(deck)
    return root / "out"


def test_report_of_a_real_run(tiny_study):
    path = write_report(tiny_study)
    content = json.loads((path.parent / "report.json").read_text())
    assert content["title"] == "tiny"
    assert {deck["state"] for deck in content["decks"]} == {"complete"}
    assert "LAMMPS 22 Jul 2025" in path.read_text(encoding="utf-8")
    numbers = {(n["table"], n["row"], n["column"]): n for n in content["numbers"]}
    density = numbers["headline", "Na4P2S5O2", "Density"]
    assert 1 < density["value"] < 4
    peak = numbers["shells-glass-1", "S around P", "First peak"]
    assert 1.8 < peak["value"] < 2.4
    bookkeeping = {row: n["value"] for (table, row, _), n in numbers.items() if table == "bookkeeping-glass-1"}
    found = bookkeeping.pop("Found")
    assert sum(bookkeeping.values()) == pytest.approx(found, abs=1e-9)
    units = [n["value"] for (table, _, column), n in numbers.items() if table == "units" and column != "At"]
    assert sum(units) == pytest.approx(100)


def test_headline_of_a_real_run(tiny_study):
    lines = headline(tiny_study)
    assert [line.quantity for line in lines] == [
        "Density at 300 K",
        "P with four S/O at 300 K",
        "Na⁺ conductivity at 900 K",
    ]
    assert "no diffusion coefficient of Na" in lines[2].refused


def test_analysis_names_the_files_it_used(tiny_study):
    deck = next(tiny_study.rglob("melt-quench"))
    result = analyse_deck(deck)
    assert result.complete
    assert result.stages[-1].segments == ("trajectory/05-produce.000.dcd",)
    assert result.stages[-1].n_frames == result.stages[-1].expected_frames == 21


@pytest.fixture(scope="session")
def two_potentials(tiny_study, tmp_path_factory):
    """The same study with a second potential named: the decks that were run are kept, the others are run."""
    root = tmp_path_factory.mktemp("two")
    shutil.copytree(tiny_study, root / "out")
    (root / "study.yaml").write_text(STUDY.replace("potential: napos-deepmd", "potential: [napos-deepmd, napos-mace]"))
    decks = write_decks(read_study(root / "study.yaml"), root / "out")
    assert [deck.parts[-3] for deck in decks] == ["napos-deepmd", "napos-deepmd", "napos-mace", "napos-mace"]
    for deck in decks:
        result = run_deck(deck, ranks=1, threads=1)
        assert (result.segment is None) == ("napos-deepmd" in deck.parts)
        analyse_deck(deck)
    return root / "out"


def test_two_potentials_from_one_study_file(two_potentials):
    path = write_report(two_potentials)
    content = json.loads((path.parent / "report.json").read_text())
    assert {deck["state"] for deck in content["decks"]} == {"complete"}
    numbers = {(n["table"], n["row"], n["column"]): n for n in content["numbers"]}
    for potential in ("napos-deepmd", "napos-mace"):
        assert 1 < numbers["table-rivals-1", "Density, 300 K", potential]["value"] < 4
        assert numbers["cost", potential, "Core time per atom-step"]["value"] > 0
    errors = [numbers["errors-same-frames", "test, force", name]["value"] for name in ("napos-deepmd", "napos-mace")]
    assert errors[0] > errors[1] > 0
    assert "was not run alike" not in path.read_text(encoding="utf-8")
