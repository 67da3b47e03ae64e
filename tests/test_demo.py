"""The demo's study, and what of it is smaller with a potential that costs more."""

from pathlib import Path

import pytest
from tiny_mace import save_tiny_mace

from napos_lmp.demo import STUDY_FILE, demo_study, write_demo
from napos_lmp.errors import PotentialError
from napos_lmp.potential import add_model_file
from napos_lmp.report import write_report
from napos_lmp.study import write_decks
from napos_lmp.study_file import read_study


def test_default_is_the_study_file_as_it_is():
    assert demo_study("napos-deepmd") == read_study(STUDY_FILE)


def test_unknown_potential():
    with pytest.raises(PotentialError, match="did you mean 'napos-deepmd'"):
        demo_study("napos-deepmdd")


@pytest.fixture
def mace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("NAPOS_LMP_HOME", str(tmp_path / "home"))
    return add_model_file(save_tiny_mace(tmp_path / "tiny.model"), "tiny-mace", trust=True).name


def test_smaller_cells_are_owned_up_to_in_the_report(mace: str, tmp_path: Path):
    usual, study = demo_study("napos-deepmd"), demo_study(mace)
    assert study.atoms < usual.atoms
    assert study.model_copy(update={"atoms": usual.atoms, "note": "", "potential": usual.potential}) == usual
    write_decks(study, tmp_path / "demo")
    page = write_report(tmp_path / "demo").read_text(encoding="utf-8")
    assert f"cells hold {study.atoms} atoms with {mace} instead of {usual.atoms}" in page


def test_two_demos_in_one_folder_are_compared(mace: str, tmp_path: Path):
    for potential in ("napos-deepmd", mace):
        write_demo(tmp_path / "demo", potential)
    page = write_report(tmp_path / "demo").read_text(encoding="utf-8")
    assert "Potentials side by side" in page
    assert "was not run alike (tiny-mace: 78 atoms" in page
