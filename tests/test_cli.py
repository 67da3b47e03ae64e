"""The command line as a user meets it: real processes, exit statuses, one sentence for a mistake."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).with_name("napos-lmp"))


def napos(*arguments, cwd, expect=0):
    done = subprocess.run([COMMAND, *arguments], cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == expect, done.stdout + done.stderr
    return done


def refused(*arguments, cwd):
    """Run a command that must fail as a user's mistake; its sentence."""
    done = napos(*arguments, cwd=cwd, expect=2)
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_help_imports_nothing_heavy(tmp_path):
    script = "import sys; from napos_lmp.cli.app import app; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "torch", "MDAnalysis", "matplotlib", "pydantic", "deepmd", "scipy", "ase"} & set(loaded)


def test_version_is_the_package_s(tmp_path):
    from importlib.metadata import version

    assert napos("--version", cwd=tmp_path).stdout == f"napos-lmp {version('napos-lmp')}\n"


def test_init_writes_a_study_that_can_be_read_and_overwrites_nothing(tmp_path):
    from napos_lmp.study_file import read_study

    napos("init", "glass.yaml", cwd=tmp_path)
    assert read_study(tmp_path / "glass.yaml").compositions
    before = (tmp_path / "glass.yaml").read_bytes()
    assert "glass.yaml" in refused("init", "glass.yaml", cwd=tmp_path)
    assert (tmp_path / "glass.yaml").read_bytes() == before


def test_unknown_key_names_the_nearest_and_writes_nothing(tmp_path):
    (tmp_path / "study.yaml").write_text(
        "name: a\ncompositions: [NaPS3]\npotental: napos-deepmd\nprotocols: [{preset: melt-quench}]\n"
    )
    sentence = refused("deck", "study.yaml", "--out", "decks", cwd=tmp_path)
    assert "potental" in sentence
    assert "potential" in sentence
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]


@pytest.mark.parametrize(
    ("composition", "words"),
    [("Na4Xq2S7", "Xq"), ("NaPS4", "charge"), ("''", "composition"), ("Na-4P2S7", "Na-4P2S7"), ("Na2KPS4", "K")],
)
def test_impossible_compositions_are_refused_before_anything_is_written(tmp_path, composition, words):
    (tmp_path / "study.yaml").write_text(
        f"name: a\ncompositions: [{composition}]\natoms: 60\nseeds: 1\npotential: napos-deepmd\n"
        "protocols: [{preset: melt-quench}]\n"
    )
    assert words in refused("deck", "study.yaml", "--out", "decks", cwd=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]


def test_running_what_is_no_deck_is_one_sentence(tmp_path):
    assert "neither a deck nor a study" in refused("run", "nowhere", cwd=tmp_path)
    assert "neither a deck nor a study" in refused("analyse", "nowhere", cwd=tmp_path)


def test_decks_of_a_study_are_listed_as_json_and_found_again(tmp_path):
    from napos_lmp.study import deck_folders

    (tmp_path / "study.yaml").write_text(
        "name: a\ncompositions: [NaPS3]\natoms: 60\nseeds: 2\npotential: napos-deepmd\n"
        "protocols: [{preset: melt-quench}, {preset: diffusion, temperatures_K: [600, 800]}]\n"
    )
    listed = json.loads(napos("deck", "study.yaml", "--out", "decks", "--json", cwd=tmp_path).stdout)
    assert len(listed) == 2 * 3
    assert [str(folder.relative_to(tmp_path)) for folder in deck_folders([tmp_path / "decks"])] == listed
    below = tmp_path / "decks" / "NaPS3"
    assert [str(folder.relative_to(tmp_path)) for folder in deck_folders([below])] == listed, "sources come first"
    (tmp_path / "decks" / "study.json").unlink()
    shutil.copytree(below, tmp_path / "decks" / ".cut" / "NaPS3")
    assert [str(folder.relative_to(tmp_path)) for folder in deck_folders([tmp_path / "decks"])] == listed


def test_templates_can_be_listed_shown_and_copied(tmp_path):
    names = {entry["name"] for entry in json.loads(napos("templates", "list", "--json", cwd=tmp_path).stdout)}
    assert "in.lammps.j2" in names
    shown = napos("templates", "show", "in.lammps", cwd=tmp_path).stdout
    napos("templates", "copy", "in.lammps", "mine", cwd=tmp_path)
    assert (tmp_path / "mine" / "in.lammps.j2").read_text() == shown
    assert "melt" in refused("templates", "show", "stages/molt.lmp", cwd=tmp_path)


def test_potentials_show_prints_the_card(tmp_path):
    card = json.loads(napos("potentials", "show", "napos-deepmd", "--json", cwd=tmp_path).stdout)
    assert card["elements"] == ["Na", "P", "S", "O"]
    assert "napos-deepmd" in refused("potentials", "show", "napos-depmd", cwd=tmp_path)


def test_doctor_finds_this_installation_well(tmp_path):
    findings = {entry["part"]: entry for entry in json.loads(napos("doctor", "--json", cwd=tmp_path).stdout)}
    assert findings["LAMMPS"]["status"] == "ok"
    assert "pair deepmd" in findings["LAMMPS"]["sentence"]


def test_doctor_says_when_lammps_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPOS_LMP_LAMMPS", "/nowhere/lmp")
    done = napos("doctor", "--json", cwd=tmp_path, expect=1)
    finding = next(entry for entry in json.loads(done.stdout) if entry["part"] == "LAMMPS")
    assert finding["status"] == "fail"
    assert "/nowhere/lmp" in finding["sentence"]
