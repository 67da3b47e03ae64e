"""The demo is one study with any potential, and two demos in one folder are compared."""

from pathlib import Path

import pytest

from napos_lmp.demo import STUDY_FILE, demo_study, write_demo
from napos_lmp.errors import PotentialError
from napos_lmp.report import write_report
from napos_lmp.study_file import read_study


def test_only_the_name_of_the_potential_changes():
    assert demo_study("napos-deepmd") == read_study(STUDY_FILE)
    changed = demo_study("napos-mace")
    assert changed.potential == ("napos-mace",)
    assert changed.model_copy(update={"potential": ("napos-deepmd",)}) == read_study(STUDY_FILE)


def test_unknown_potential(tmp_path: Path):
    with pytest.raises(PotentialError, match="did you mean 'napos-deepmd'"):
        write_demo(tmp_path / "demo", "napos-deepmdd")


def test_two_demos_in_one_folder_are_compared(tmp_path: Path):
    for potential in ("napos-deepmd", "napos-mace"):
        decks = write_demo(tmp_path / "demo", potential)
        assert {deck.parts[-3] for deck in decks} == {potential}
    page = write_report(tmp_path / "demo").read_text(encoding="utf-8")
    assert "Potentials side by side" in page
    assert "was not run alike" not in page
