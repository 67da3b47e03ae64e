"""Decks made longer: real LAMMPS runs against one run of the full length, and what cannot be extended."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from napos_lmp.analysis.deck import analyse_deck
from napos_lmp.analysis.results import read_deck_result
from napos_lmp.cli.app import app
from napos_lmp.composition import Composition
from napos_lmp.deck import present_elements, render_deck
from napos_lmp.engine import is_complete, read_run_record, run_deck
from napos_lmp.errors import DeckError
from napos_lmp.extend import extend_deck, newest_restart, parse_duration
from napos_lmp.files import sha256_of
from napos_lmp.manifest import changed_files, read_manifest
from napos_lmp.potential import load_potential
from napos_lmp.protocol import Melt, Minimise, Produce, Protocol
from napos_lmp.structure import estimate_density, pack
from napos_lmp.trajectory import DeckTrajectory

STAGE = "03-produce"


def make_deck(folder: Path, produce_ps: float) -> Path:
    """26 atoms at constant pressure; restart files every 170 steps, so that none falls on the end."""
    composition, potential = Composition.parse("Na4P2S5O2"), load_potential("napos-deepmd")
    counts = composition.cell(26).counts
    structure = pack(counts, 0.9 * estimate_density(composition).value, 3, present_elements(potential, counts))
    produce = Produce(duration_ps=produce_ps, dump_steps=10, currents_ps=0.005, ensemble="npt")
    stages = (Minimise(max_iterations=30), Melt(temperature_K=1200, duration_ps=0.053, dump_steps=10), produce)
    protocol = Protocol(name="test", timestep_fs=1.0, thermo_ps=0.01, restart_ps=0.17, stages=stages)
    render_deck(folder, composition=composition, potential=potential, protocol=protocol, seed=3, structure=structure)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A deck of 0.5 ps that has run; the tests work on copies."""
    deck = make_deck(tmp_path_factory.mktemp("extend") / "deck", 0.5)
    run_deck(deck, progress=False)
    return deck


@pytest.fixture
def deck(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "deck"))


def test_extended_run_equals_a_run_at_once(deck, tmp_path):
    """The same to rounding: a restart has its neighbours in another order, and the model sums in single precision."""
    whole = make_deck(tmp_path / "whole", 1.0)
    run_deck(whole, progress=False)
    first = analyse_deck(deck)
    extended = extend_deck(deck, 1.0)
    assert (extended.stage, extended.before_ps, extended.last_step) == (STAGE, pytest.approx(0.5), 1053)
    assert extended.restart_step == 553
    assert read_deck_result(deck).manifest_sha256 != sha256_of(deck / "deck.json")
    result = run_deck(deck, progress=False)
    assert (result.outcome, result.segment, result.first_step, result.last_step) == ("complete", 1, 553, 1053)

    joined, at_once = DeckTrajectory(deck), DeckTrajectory(whole)
    assert joined.report[STAGE].complete
    assert not joined.report[STAGE].holes
    frames, expected = (t.universe(STAGE).trajectory for t in (joined, at_once))
    np.testing.assert_array_equal(frames.steps, np.arange(60, 1054, 10))
    np.testing.assert_array_equal(frames.steps, expected.steps)
    for ours, theirs in zip(frames, expected, strict=True):
        np.testing.assert_allclose(ours.positions, theirs.positions, atol=2e-3)
        np.testing.assert_allclose(ours.dimensions, theirs.dimensions, rtol=1e-4)
    sums, expected_sums = joined.currents(STAGE), at_once.currents(STAGE)
    np.testing.assert_array_equal(sums.times, expected_sums.times)
    assert len(sums.times) == sums.expected_rows == 200
    np.testing.assert_allclose(sums.sums["Na"], expected_sums.sums["Na"], atol=0.1)
    before = sums.times < 0.553
    np.testing.assert_array_equal(sums.sums["Na"][before], expected_sums.sums["Na"][before])
    # a thermostat begun afresh would change sums by some 1e-2 A/ps within two steps
    after = np.abs(sums.sums["Na"] - expected_sums.sums["Na"])[~before][:2]
    assert after.max() < 1e-4
    thermo, expected_thermo = joined.thermo(STAGE), at_once.thermo(STAGE)
    np.testing.assert_array_equal(thermo["Step"], expected_thermo["Step"])
    np.testing.assert_allclose(thermo["Temp"], expected_thermo["Temp"], rtol=1e-3)

    second = analyse_deck(deck)
    assert (first.stages[-1].n_frames, second.stages[-1].n_frames) == (50, 100)
    assert second.complete


def test_inputs_equal_those_of_a_deck_made_at_once(deck, tmp_path):
    extend_deck(deck, 1.25)
    whole = make_deck(tmp_path / "whole", 1.25)
    for name in ("in.lammps", f"stages/{STAGE}.lammps", "stages/02-melt.lammps", "job.sh"):
        assert (deck / name).read_text() == (whole / name).read_text()
    ours, theirs = read_manifest(deck), read_manifest(whole)
    assert (ours.stages, ours.protocol, ours.files) == (theirs.stages, theirs.protocol, theirs.files)
    assert changed_files(deck, ours) == []
    assert [(e.from_step, e.to_step, e.duration_ps_before) for e in ours.extensions] == [(553, 1303, 0.5)]
    assert ours.first_protocol["stages"][-1]["duration_ps"] == 0.5
    assert not is_complete(deck)
    assert not (deck / "final.data").exists()
    assert "timestep = 553" in (deck / "final.553.data").read_text()[:200]
    assert not (deck / ".extension").exists()


def test_goes_on_from_an_earlier_restart_file(deck):
    """A deck of an older version keeps none of its end: the steps since the newest are run again."""
    (deck / "restart/stop.restart").unlink()
    assert extend_deck(deck, 0.6).restart_step == 510
    run_deck(deck, progress=False)
    assert read_run_record(deck).segments[-1].start_step == 510
    steps = DeckTrajectory(deck).universe(STAGE).trajectory.steps
    np.testing.assert_array_equal(steps, np.arange(60, 654, 10))


def test_extension_cut_short_is_ended_by_the_next_call(deck, monkeypatch):
    replace = Path.replace

    def fail(self, target):
        if self.name == "deck.json" and self.parent.name == ".extension":
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(KeyboardInterrupt):
            extend_deck(deck, 0.6)
    assert changed_files(deck, read_manifest(deck)) == ["in.lammps", f"stages/{STAGE}.lammps"]
    with pytest.raises(DeckError, match="has not finished"):
        extend_deck(deck, 0.6)
    assert changed_files(deck, read_manifest(deck)) == []
    assert read_manifest(deck).last_step == 653


@pytest.mark.parametrize(
    ("harm", "to_ps", "message"),
    [
        (lambda deck: None, 0.5, "lasts 0.5 ps already; 0.5 ps is not longer"),
        (lambda deck: None, 0.2, "lasts 0.5 ps already; 0.2 ps is not longer"),
        (lambda deck: (deck / "final.data").unlink(), 1.0, "has not finished"),
        (lambda deck: (deck / "in.lammps").write_text("run 1\n"), 1.0, r"changed since it was made \(in.lammps\)"),
        (lambda deck: shutil.rmtree(deck / "restart"), 1.0, "keeps no restart file of its stage 03-produce"),
    ],
    ids=["as long", "shorter", "not finished", "changed by hand", "no restart file"],
)
def test_refusals_leave_the_deck_alone(deck, harm, to_ps, message):
    harm(deck)
    before = {path: path.read_bytes() for path in deck.rglob("*") if path.is_file() and path.name != "run.lock"}
    with pytest.raises(DeckError, match=message):
        extend_deck(deck, to_ps)
    assert before == {path: path.read_bytes() for path in deck.rglob("*") if path.is_file() and path.name != "run.lock"}


def test_only_a_production_can_be_extended(make_small_deck, tmp_path):
    with pytest.raises(DeckError, match="ends with stage 02-melt; only a last stage of kind produce"):
        extend_deck(make_small_deck(tmp_path / "deck"), 1.0)


def test_damaged_restart_files_do_not_count(deck):
    manifest = read_manifest(deck)
    assert newest_restart(deck, manifest) == 553
    stop = deck / "restart/stop.restart"
    stop.write_bytes(stop.read_bytes()[:-8])
    assert newest_restart(deck, manifest) == 510


@pytest.mark.parametrize(("text", "ps"), [("2ns", 2000), ("1.5 ns", 1500), ("500ps", 500), (".5ps", 0.5), ("1us", 1e6)])
def test_durations(text, ps):
    assert parse_duration(text) == ps


@pytest.mark.parametrize("text", ["2", "ns", "-1ns", "0ps", "2 fs", "1e3ps"])
def test_no_durations(text):
    with pytest.raises(DeckError, match="such as 2ns"):
        parse_duration(text)


def test_command(deck):
    answer = CliRunner().invoke(app, ["extend", str(deck), "--to", "0.6ps"])
    assert answer.exit_code == 0
    assert "03-produce from 0.5 to 0.6 ps, last step 653; goes on from step 553" in answer.stdout
