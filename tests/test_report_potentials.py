"""A study with two potentials: the report sets them side by side, and compares only what can be compared."""

import base64
import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from synthetic_decks import CARD, diffusion_stages, melt_quench_stages, run_deck, write_deck

from napos_lmp.analysis.deck import analyse_deck
from napos_lmp.engine.record import RunRecord, SegmentRecord, write_run_record
from napos_lmp.report import collect_study, write_report
from napos_lmp.report.potentials import rivals_of

ROUGH, FINE = "rough", "fine"


def card(name: str, force: float, peers: dict[str, float] | None = None) -> dict[str, Any]:
    made = copy.deepcopy(CARD) | {"name": name}
    made["errors"][0]["force_meV_per_A"]["rmse"] = force
    made["peer_errors"] = {peer: card(peer, error)["errors"] for peer, error in (peers or {}).items()}
    return made


def segment(**changes: Any) -> SegmentRecord:
    values = {
        "number": 0, "start_step": 0, "restart": None, "command": ("lmp",), "ranks": 1, "threads": 1,
        "lammps_version": "22 Jul 2025", "host": "here", "started": "2026-01-01T00:00:00+00:00",
        "outcome": "complete",
    }  # fmt: skip
    return SegmentRecord(**(values | changes))


def write_study(root: Path) -> None:
    """Na3PS4 and Na4P2S7 with two potentials that differ in density and diffusion by known amounts."""
    for name, density, diffusion, wall, cores in ((ROUGH, 2.0, 0.3, 10.0, 1), (FINE, 2.2, 0.6, 40.0, 2)):
        its_card = card(FINE, 48.0, {ROUGH: 96.0}) if name == FINE else card(ROUGH, 96.0)
        for dimers in (False, True):
            deck = root / ("Na4P2S7" if dimers else "Na3PS4") / name / "seed-1" / "melt-quench"
            stages = melt_quench_stages(frames=20)
            structure = write_deck(deck, stages, dimers=dimers, card=its_card)
            run_deck(deck, stages, structure, density=density)
            write_run_record(deck, RunRecord(segments=(segment(last_step=1600, wall_seconds=wall, threads=cores),)))
            analyse_deck(deck)
        deck = root / "Na3PS4" / name / "seed-1" / "diffusion-0900K"
        stages = diffusion_stages(900, frames=300)
        structure = write_deck(deck, stages, source="../melt-quench", protocol="diffusion-0900K", card=its_card)
        run_deck(deck, stages, structure, diffusion=diffusion)
        analyse_deck(deck)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("study") / "two potentials"
    write_study(root)
    return root


@pytest.fixture(scope="module")
def report(study: Path) -> tuple[str, dict[str, Any]]:
    path = write_report(study)
    return path.read_text(encoding="utf-8"), json.loads((path.parent / "report.json").read_text())


def numbers(content: dict[str, Any], table: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {(n["row"], n["column"]): n for n in content["numbers"] if n["table"] == table}


def table_of(page: str, name: str) -> list[list[str]]:
    """Rows of a table as text, without the marks of notes."""
    body = re.search(rf'id="{name}">(.*?)</table>', page, re.DOTALL)
    assert body is not None
    rows = re.findall(r"<tr>(.*?)</tr>", re.sub(r"<sup.*?</sup>|<span.*?</span>", "", body[1]), re.DOTALL)
    return [
        [re.sub("<.*?>", "", cell).strip() for cell in re.findall(r"<t[dh].*?</t[dh]>", r, re.DOTALL)] for r in rows
    ]


def test_glasses_that_differ_in_the_potential_alone(study: Path):
    rivals = rivals_of(collect_study(study))
    assert [(group.title, list(group.glasses)) for group in rivals] == [
        ("Na3PS4", [FINE, ROUGH]),
        ("Na4P2S7", [FINE, ROUGH]),
    ]


def test_each_quantity_of_each_potential(report: tuple[str, dict[str, Any]]):
    found = numbers(report[1], "table-rivals-1")
    assert found["Density, 300 K", ROUGH]["value"] == pytest.approx(2.0, abs=0.01)
    assert found["Density, 300 K", FINE]["value"] == pytest.approx(2.2, abs=0.01)
    assert found["P⁰, 300 K", ROUGH]["value"] == 100
    ratio = found["D(Na), 900 K", FINE]["value"] / found["D(Na), 900 K", ROUGH]["value"]
    assert ratio == pytest.approx(2.0, rel=0.25)
    assert found["Conductivity, Nernst-Einstein, 900 K", FINE]["unit"] == "S/cm"
    assert ("D(Na), 300 K", FINE) not in found
    refused = numbers(report[1], "table-rivals-2")["D(Na), 300 K", FINE]
    assert refused["value"] is None
    assert "it must exceed one jump length" in refused["refused"]


def test_last_column_says_whether_intervals_overlap(report: tuple[str, dict[str, Any]]):
    rows = {row[0]: row[-1] for row in table_of(report[0], "table-rivals-1")}
    assert rows["Quantity"] == "Intervals"
    assert rows["Density, 300 K"] == "apart"
    assert rows["Activation energy"] == ""


def test_figures_overlay_the_potentials(report: tuple[str, dict[str, Any]]):
    images = dict(re.findall(r'src="data:image/svg\+xml;base64,([^"]*)" alt="([^"]*)"', report[0]))
    described = {alt: base64.b64decode(source).decode() for source, alt in images.items()}
    for formula in ("Na3PS4", "Na4P2S7"):
        assert f"Partial pair distribution functions of {formula} with each potential" in described
        assert f"Share of P in {formula} by number of bridging anions, with each potential" in described
    overlay = described["Partial pair distribution functions of Na3PS4 with each potential"]
    assert len(re.findall(r'id="axes_\d+"', overlay)) == 6
    assert "stroke-dasharray" in overlay


def test_errors_are_compared_on_the_same_frames(report: tuple[str, dict[str, Any]]):
    found = numbers(report[1], "errors-same-frames")
    assert found["test, force", ROUGH]["value"] == 96
    assert found["test, force", FINE]["value"] == 48
    assert found["test, force", "Size"]["value"] == 12
    assert not [row for row, _ in found if "virial" in row]


def test_cost_is_wall_time_times_cores_for_each_atom_and_step(report: tuple[str, dict[str, Any]]):
    found = numbers(report[1], "cost")
    atoms = 216 + 351
    assert found[ROUGH, "Speed"]["value"] == pytest.approx(1600 * atoms / 20.0 / 1000)
    assert found[ROUGH, "Core time per atom-step"]["value"] == pytest.approx(20.0 / (1600 * atoms) * 1e6)
    assert found[FINE, "Core time per atom-step"]["value"] == pytest.approx(2 * 80.0 / (1600 * atoms) * 1e6)
    assert [row[2] for row in table_of(report[0], "cost")[1:]] == ["1 rank × 2 threads", "1 rank × 1 thread"]


def test_errors_on_different_frames_are_not_compared(tmp_path: Path):
    for name in (ROUGH, FINE):
        write_deck(tmp_path / name, melt_quench_stages(), card=card(name, 1.0))
    path = write_report(tmp_path)
    page = path.read_text(encoding="utf-8")
    assert "errors on different frames cannot be compared" in page
    assert "Nothing was measured with more than one potential." in page
    assert "the time that it took is not known" in page
    assert not numbers(json.loads((path.parent / "report.json").read_text()), "errors-same-frames")


def test_runs_that_were_not_alike_are_named(tmp_path: Path):
    write_deck(tmp_path / ROUGH, melt_quench_stages(frames=20), card=card(ROUGH, 1.0))
    write_deck(tmp_path / FINE, melt_quench_stages(frames=40), card=card(FINE, 1.0))
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "was not run alike (fine: 216 atoms, one seed, decks of 6.4 ps; rough: 216 atoms, one seed, decks of" in page


def test_force_error_of_each_is_in_the_warning(report: tuple[str, dict[str, Any]]):
    assert "force errors are 48 meV/Å (fine), 96 meV/Å (rough)" in report[0]


def test_one_potential_has_no_such_section(tmp_path: Path):
    write_deck(tmp_path / "deck", melt_quench_stages())
    assert "side by side" not in write_report(tmp_path).read_text(encoding="utf-8")
