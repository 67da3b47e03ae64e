"""Active learning: what is selected, what is refused, and a loop that is killed and goes on."""

import csv
import fcntl
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
import pytest
import yaml
from test_training import ELEMENTS, SUBSET
from typer.testing import CliRunner

from napos_lmp.card import UsualDeviation
from napos_lmp.cli.app import app
from napos_lmp.errors import LabelError, LearningError
from napos_lmp.learning import learn, read_learning_plan, standing
from napos_lmp.learning.round import Callbacks, Round, round_folder
from napos_lmp.learning.selection import judge
from napos_lmp.potential import load_potential
from napos_lmp.reference.queue import Queue
from napos_lmp.training.plan import UNCHANGED
from napos_lmp.training.prediction import Prediction
from napos_lmp.training.progress import named_progress_bars

START = Path(__file__).parents[1] / "potentials/first-stage/universal-deepmd.pth"
LIKE_START = {
    "descriptor": "dpa1", "cutoff_A": 6.0, "smooth_from_A": 2.0, "embedding": [16, 32, 64], "axis": 12,
    "fitting": [128, 128, 128], "neighbours": 92,
}  # fmt: skip
SETTINGS = {
    "steps": 5, "model": LIKE_START, "init_model": str(START), "learning_rate": {"start": 1e-4, "stop": 1e-5},
}  # fmt: skip
TRAINING = {
    "level_of_theory": "first stage",
    "elements": list(ELEMENTS),
    "data": ["start.extxyz"],
    "split": {"validation": 0.3, "test": 0.2, "seed": 2},
    "threads": 1,
    "output": "ignored",
    "models": [
        {
            "family": "deepmd",
            "name": "tiny",
            "description": "a few steps from a model of many labels",
            "members": 2,
            "settings": SETTINGS,
        }
    ],
}
SAMPLING = {
    "potential": "ignored",
    "output": "ignored.extxyz.gz",
    "work": "ignored",
    "atoms": 26,
    "every_ps": 0.02,
    "sources": [{"name": "melts", "compositions": ["Na4P2S5O2"], "temperatures_K": [600], "hold_ps": 0.1, "select": 1}],
}
LABELLING = {
    "name": "teacher",
    "engine": {
        "kind": "ase",
        "calculator": "odd_calculators:deepmd_potential",
        "arguments": {"model": str(START)},
        "level_of_theory": "first stage",
    },
}
PLAN = {
    "training": "training.yaml", "explorer": "tiny", "sampling": "sampling.yaml", "labelling": "queue.yaml",
    "rounds": 1, "frames": 3, "window": [1e-6, 1e6], "stop": 0.0, "output": "learning",
}  # fmt: skip


def write_files(folder, plan=None, training=None, sampling=None, labelling=None):
    files = {
        "training.yaml": TRAINING | (training or {}),
        "sampling.yaml": SAMPLING | (sampling or {}),
        "queue.yaml": LABELLING | (labelling or {}),
        "plan.yaml": PLAN | (plan or {}),
    }
    for name, content in files.items():
        (folder / name).write_text(yaml.safe_dump(content))
    if not (folder / "start.extxyz").exists():
        frames = ase.io.read(SUBSET, ":")
        for atoms in frames:
            atoms.calc.results["free_energy"] = atoms.calc.results["energy"]
        ase.io.write(folder / "start.extxyz", frames, format="extxyz")
    return folder / "plan.yaml"


def test_those_inside_the_window_that_differ_most_are_selected(monkeypatch):
    """Deviations are given here, by two models of which one says nothing; the descriptors are the real ones."""
    frames = ase.io.read(SUBSET, ":")[:8]
    for number, atoms in enumerate(frames):
        atoms.info |= {"id": str(number), "composition": "x", "phase": "melt", "trajectory": "a"}
    frames[5] = frames[4].copy()  # the same frame twice is worth one label
    sizes = [0.05, 0.3, 0.3, 9.0, 0.3, 0.3, np.nan, 0.3]
    shipped = load_potential("napos-deepmd")
    usual = UsualDeviation(largest_atom_eV_A=0.1, frame_mean_eV_A=0.1, frames=1, atoms=1)
    committee = type(shipped)(shipped.card.model_copy(update={"usual_deviation": usual}), shipped.folder)

    def two_models(_, given):
        forces = [
            size * np.ones((len(frame.symbols), 3)) / np.sqrt(3) for size, frame in zip(sizes, given, strict=True)
        ]
        return [[Prediction(0.0, sign * force, np.eye(3)) for force in forces] for sign in (1, -1)]

    monkeypatch.setattr("napos_lmp.learning.selection.committee_predictions", two_models)
    found = judge(committee, frames, (1.0, 5.0), 4)
    np.testing.assert_allclose(found.largest, sizes)
    assert (found.fates[0], found.fates[6], found.fates[3]) == ("known", "unphysical", "unphysical")
    assert found.counts == {"known": 1, "selected": 4, "left": 1, "unphysical": 2}
    assert {found.fates[4], found.fates[5]} == {"selected", "left"}
    assert found.unknown_share == pytest.approx(7 / 8)
    again = judge(committee, frames, (1.0, 5.0), 1, known=[frames[4]])
    assert "selected" not in (again.fates[4], again.fates[5])
    with pytest.raises(LearningError, match="the card of 'napos-deepmd' does not say which deviation"):
        judge(shipped.others[0], frames, (1.0, 5.0), 1)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"plan": {"explorer": "other"}}, r"explorer: 'other' is not in .*training\.yaml; it has tiny"),
        ({"plan": {"window": [5, 1]}}, "window: 5 must be below 1"),
        ({"plan": {"training": "none.yaml"}}, r"training: .*none\.yaml does not exist"),
        ({"plan": {"frame": 3}}, "frame"),
        ({"training": {"split": {"by": "run"}}}, "split.by is 'run'; labels name their 'trajectory'"),
        ({"training": {"models": [TRAINING["models"][0] | {"members": 1}]}}, "'tiny' has one member, and a deviation"),
        (
            {"training": {"models": [TRAINING["models"][0] | {"split": {"test_phases": ["melt"]}}]}},
            "model 'tiny' has a split of its own; in active learning all models share the plan's",
        ),
        ({"sampling": {"sources": []}}, "sources"),
        (
            {"sampling": {"sources": [SAMPLING["sources"][0] | {"group": "test"}]}},
            "source 'melts' is of the group test, of which nothing may be learned",
        ),
        (
            {"training": {"models": [TRAINING["models"][0] | {"family": "mace", "settings": {"epochs": 1}}]}},
            "explorer: 'tiny' is of family mace; it must be deepmd",
        ),
    ],
)
def test_bad_plans_are_one_sentence_before_anything_is_done(tmp_path, changes, sentence):
    with pytest.raises(Exception, match=sentence) as caught:
        read_learning_plan(write_files(tmp_path, **changes))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "learning").exists()


def test_a_second_process_and_data_without_a_free_energy_are_refused(tmp_path):
    learning = read_learning_plan(write_files(tmp_path))
    learning.plan.output.mkdir()
    with (learning.plan.output / "learning.lock").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(LearningError, match="another process is learning in"):
            learn(learning, None)
    ase.io.write(tmp_path / "start.extxyz", ase.io.read(SUBSET, ":"), format="extxyz")
    with pytest.raises(LearningError, match="the data have no free_energy, which labels have"):
        learn(read_learning_plan(tmp_path / "plan.yaml"), None)


def test_an_engine_that_is_missing_is_said_before_anything_is_trained(tmp_path):
    engine = {"kind": "gpaw", "python": str(tmp_path / "none")}
    learning = read_learning_plan(write_files(tmp_path, labelling={"engine": engine}))
    with pytest.raises(LabelError, match=r"engine\.python is .*none', which cannot be run; install Debian's packages"):
        learn(learning, None)
    assert not list(learning.plan.output.glob("round-*"))


def test_later_rounds_take_the_first_stage_from_the_first_round(tmp_path):
    tiny = {"cutoff_A": 4.0, "embedding": [4, 8], "fitting": [8]}
    model = TRAINING["models"][0] | {"settings": {"steps": 2}, "pretrain": {"steps": 4, "model": tiny}}
    first_stage = {"level_of_theory": "SevenNet-0", "data": ["start.extxyz"], "split": TRAINING["split"]}
    plan = write_files(tmp_path, training={"models": [model], "pretrain": first_stage})
    learning = read_learning_plan(plan)
    callbacks = Callbacks(named_progress_bars, None, None, lambda _: None)
    kept = {}
    for number in (1, 2):
        Round(learning, number, UNCHANGED, callbacks).train(trust=False)
        kept[number] = {
            path.relative_to(round_folder(learning.plan.output, number)): path.stat().st_mtime_ns
            for path in round_folder(learning.plan.output, number).rglob("member-*/pretrain/*.pt")
        }
    assert kept[1]
    assert kept[2] == kept[1]
    assert (round_folder(learning.plan.output, 2) / "training/tiny/member-1/train/model.ckpt-2.pt").is_file()


@pytest.mark.slow
def test_a_killed_loop_goes_on_and_does_nothing_twice(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPOS_LMP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    plan = write_files(tmp_path)
    command = [str(Path(sys.executable).with_name("napos-lmp")), "learn", str(plan)]
    queue = tmp_path / "learning/round-1/queue"
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        give_up = time.monotonic() + 400
        while not list(queue.glob("work/results/*.json")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < give_up
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        process.communicate()
    kept = {path: path.stat().st_mtime_ns for path in queue.glob("work/results/*.json")}
    trained = {path: path.stat().st_mtime_ns for path in (tmp_path / "learning/round-1").rglob("*.pth")}
    assert trained
    result = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert {path: path.stat().st_mtime_ns for path in (*kept, *trained)} == kept | trained
    learned = json.loads(result.stdout[result.stdout.index("{") :])
    assert learned["ended"].startswith("1 of at most 1 rounds are done")
    check_rounds(tmp_path, learned["rounds"])
    assert standing(read_learning_plan(plan)).ended
    before = sorted((tmp_path / "learning").rglob("*"))
    said = CliRunner().invoke(app, ["learn", str(plan), "--status"])
    assert said.exit_code == 0
    assert "1 of at most 1 rounds are done" in said.output
    assert sorted((tmp_path / "learning").rglob("*")) == before
    write_files(tmp_path, plan={"frames": 4})
    refused = CliRunner().invoke(app, ["learn", str(plan)])
    assert refused.exit_code != 0
    assert "frames is not what the learning in" in str(refused.exception or refused.output)


def check_rounds(folder: Path, rounds):
    """Each round trains on the labels of those before; what is validated and tested on stays."""
    first, last = rounds
    assert (first["labelled"], last["labelled"]) == (3, 0)
    trained_on = [record["models"][0]["trained_on"] for record in rounds]
    assert np.diff(trained_on).tolist() == [3]
    for name in ("validation", "test"):
        sizes = {next(e["frames"] for e in r["models"][0]["errors"] if e["set"] == name) for r in rounds}
        assert len(sizes) == 1
    assert last["unknown_share"] is None
    home = folder / "learning/round-1"
    rows = list(csv.DictReader((home / "candidates.csv").open()))
    assert sum(first["candidates"].values()) == len(rows)
    selected = {f"round-1-{row['id']}" for row in rows if row["fate"] == "selected"}
    assert Queue(home / "queue").collected == selected
