"""Several decks: order, failures that stay where they belong, side by side."""

import io
import signal
import subprocess
import sys
import time

import pytest
from rich.console import Console

from napos_lmp.engine import read_run_record, run_decks
from napos_lmp.errors import DeckError
from napos_lmp.files import sha256_of
from napos_lmp.manifest import read_manifest, write_manifest


def test_decks_run_in_the_order_they_need_and_failures_stay_alone(make_small_deck, tmp_path):
    first = make_small_deck(tmp_path / "first", melt_ps=0.02, minimise=False)
    second = make_small_deck(tmp_path / "second", melt_ps=0.02, minimise=False, source_deck=first)
    broken = make_small_deck(tmp_path / "broken", melt_ps=0.02, minimise=False)
    (broken / "in.lammps").write_text("quit 1\n")
    orphan = make_small_deck(tmp_path / "orphan", melt_ps=0.02, minimise=False, source_deck=broken)
    console = Console(file=io.StringIO(), width=200)

    outcomes = run_decks([second, orphan, broken, first], progress=console)

    assert [(one.deck.name, one.status) for one in outcomes] == [
        ("second", "complete"),
        ("orphan", "skipped"),
        ("broken", "failed"),
        ("first", "complete"),
    ]
    assert outcomes[0].result.last_step == 20
    assert outcomes[1].sentence == f"it starts from {broken}, which did not finish"
    assert "changed since the deck was made: in.lammps" in outcomes[2].sentence
    source = read_run_record(second).source
    assert (source.deck, source.file) == ("../first", "final.data")
    assert source.sha256 == sha256_of(first / "final.data") == sha256_of(second / "structure.data")
    started = [read_run_record(deck).segments[0].started for deck in (first, second)]
    assert started == sorted(started)
    shown = console.file.getvalue()
    assert "step 20/20" in shown
    assert f"{broken}: failed: " in shown


def test_side_by_side(make_small_deck, tmp_path):
    decks = [make_small_deck(tmp_path / name, melt_ps=0.1, minimise=False) for name in ("one", "two")]
    console = Console(file=io.StringIO(), width=200, force_terminal=True)
    outcomes = run_decks(decks, jobs=2, progress=console)
    assert [one.status for one in outcomes] == ["complete", "complete"]
    one, two = (read_run_record(deck).segments[0] for deck in decks)
    assert one.started < two.ended
    assert two.started < one.ended
    assert one.threads == two.threads
    assert "100 %" in console.file.getvalue()


def test_interrupt_stops_all_and_starts_no_more(make_small_deck, tmp_path):
    decks = [make_small_deck(tmp_path / name, melt_ps=20, minimise=False) for name in ("a", "b", "c")]
    code = (
        "import sys; from napos_lmp.engine import run_decks\n"
        "for one in run_decks(sys.argv[1:], jobs=2, progress=False): print(one.deck.name, one.status)"
    )
    engine = subprocess.Popen([sys.executable, "-c", code, *map(str, decks)], stdout=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while not all((deck / "restart/a.restart").exists() for deck in decks[:2]):
            assert engine.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        engine.send_signal(signal.SIGINT)
        output, _ = engine.communicate(timeout=120)
    finally:
        engine.kill()
        engine.wait()
    assert output.split() == ["a", "stopped", "b", "stopped", "c", "skipped"]
    assert (decks[0] / "restart/stop.restart").exists()


def test_circle_and_nonsense(make_small_deck, tmp_path):
    first = make_small_deck(tmp_path / "first", melt_ps=0.02, minimise=False)
    second = make_small_deck(tmp_path / "second", melt_ps=0.02, minimise=False, source_deck=first)
    manifest = read_manifest(first)
    structure = manifest.structure.model_copy(update={"source_deck": "../second", "source_file": "final.data"})
    write_manifest(first, manifest.model_copy(update={"structure": structure}))
    with pytest.raises(DeckError, match="from itself"):
        run_decks([first, second], progress=False)
    with pytest.raises(DeckError, match="jobs must be 1 or more, not 0"):
        run_decks([first], jobs=0)
    with pytest.raises(DeckError, match="is no deck"):
        run_decks([tmp_path], progress=False)
    assert run_decks([], progress=False) == []
