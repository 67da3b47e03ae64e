"""Reading LAMMPS's output while it is written."""

import io

import pytest
from rich.console import Console

from napos_lmp.engine.progress import PlainDisplay, ScreenFollower, open_display
from napos_lmp.manifest import read_manifest

MINIMISATION = """Setting up cg style minimization ...
   Step          Temp          PotEng
         0   0              -90.0
        25   0              -99.0
Loop time of 1.0 on 1 procs for 25 steps with 26 atoms
"""
DYNAMICS = """Setting up Verlet run ...
   Step          Temp          PotEng
         0   1500           -100.0
WARNING: something (src/x.cpp:1)
        10   1490.5         -101.5
"""


@pytest.fixture
def manifest(make_small_deck, tmp_path):
    return read_manifest(make_small_deck(tmp_path / "deck", melt_ps=0.1))


def test_pieces_of_lines_stages_and_numbers(manifest, tmp_path):
    screen = tmp_path / "screen.txt"
    follower = ScreenFollower(screen, manifest, 0, "deck")
    assert not follower.read()
    assert follower.state().stage == "01-minimise"
    for piece in (MINIMISATION[:60], MINIMISATION[60:], DYNAMICS[:80], DYNAMICS[80:-12]):
        with screen.open("a") as stream:
            stream.write(piece)
        follower.read()
    assert (follower.step, follower.state().energy) == (0, -100.0)
    with screen.open("a") as stream:
        stream.write(DYNAMICS[-12:])
    assert follower.read()
    state = follower.state()
    assert (state.step, state.stage, state.stage_number, state.n_stages) == (10, "02-melt", 2, 2)
    assert (state.temperature, state.energy) == (1490.5, -101.5)
    assert state.sentence == "02-melt (2/2), step 10/100, 1490 K, -101.5000 eV"
    assert follower.blown_up is None


def test_speed_and_time_left(manifest, tmp_path, monkeypatch):
    """At 5 steps of 1 fs a second, a day gives 0.432 ns."""
    screen = tmp_path / "screen.txt"
    screen.write_text(DYNAMICS)
    follower = ScreenFollower(screen, manifest, 0, "deck")
    now = [0.0]
    monkeypatch.setattr("napos_lmp.engine.progress.time.monotonic", lambda: now[0])
    follower.read()
    for step in (20, 30, 40):
        now[0] += 2.0
        with screen.open("a") as stream:
            stream.write(f"        {step}   1490.5         -101.5\n")
        follower.read()
    state = follower.state()
    assert state.ns_per_day == pytest.approx(0.432)
    assert state.seconds_left == pytest.approx(12.0)
    assert "0.432 ns/day, 0:12 left" in state.sentence


@pytest.mark.parametrize("number", ["nan", "-nan", "inf", "-inf"])
def test_numbers_that_are_none(manifest, tmp_path, number):
    screen = tmp_path / "screen.txt"
    screen.write_text(f"{DYNAMICS}        20   {number}   -101.5\n")
    follower = ScreenFollower(screen, manifest, 0, "deck")
    follower.read()
    assert follower.blown_up == f"20   {number}   -101.5"


def test_displays(manifest, tmp_path):
    screen = tmp_path / "screen.txt"
    screen.write_text(MINIMISATION + DYNAMICS)
    follower = ScreenFollower(screen, manifest, 0, "deck")
    begin = follower.state()
    follower.read()
    plain = Console(file=io.StringIO(), width=300)
    display = open_display(plain)
    assert isinstance(display, PlainDisplay)
    for state in (begin, follower.state(), follower.state()):
        display.update(state)
    display.message("a [bold]sentence[/bold]")
    display.close()
    lines = plain.file.getvalue().splitlines()
    assert [line.split(": ", 1)[-1].split(" (")[0] for line in lines[:2]] == ["01-minimise", "02-melt"]
    assert lines[2:] == ["a [bold]sentence[/bold]"]

    terminal = Console(file=io.StringIO(), width=200, force_terminal=True)
    display = open_display(terminal)
    display.update(follower.state())
    display.message("one moment")
    display.close()
    assert "10 %" in terminal.file.getvalue()
    assert "one moment" in terminal.file.getvalue()

    seen = []
    open_display(seen.append).update(begin)
    assert seen == [begin]
    open_display(False).update(begin)
