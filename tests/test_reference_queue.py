import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.calculators.lj import LennardJones

from napos_lmp.errors import LabelError, ReferenceDataError
from napos_lmp.reference.card import read_data_card
from napos_lmp.reference.frames import frame_id, read_frames, write_frames
from napos_lmp.reference.labelling import LabelEvent, label_queue
from napos_lmp.reference.labels import NotConvergedError, read_label_json
from napos_lmp.reference.queue import Queue

TESTS = Path(__file__).resolve().parent
LJ = {"sigma": 2.0, "epsilon": 0.1, "rc": 5.0}


def pool(number: int) -> list[Atoms]:
    rng = np.random.default_rng(3)
    frames = []
    for index in range(number):
        grid = np.stack(np.meshgrid(*[np.arange(2)] * 3), axis=-1).reshape(-1, 3) * 2.4
        frame = Atoms("NaP" * 4, positions=grid + rng.normal(0, 0.1, grid.shape), cell=[4.8] * 3, pbc=True)
        frame.info = {"composition": "NaP", "phase": "melt", "trajectory": f"run-{index}", "group": "train"}
        frame.info["id"] = frame_id(frame, f"NaP-{index}")
        frames.append(frame)
    return frames


def make_queue(folder: Path, number: int = 3, **engine: Any) -> Path:
    folder.mkdir()
    write_frames(folder / "pool.extxyz.gz", pool(number))
    engine = {"calculator": "ase.calculators.lj:LennardJones", "arguments": LJ, **engine}
    settings = {"name": "lj", "engine": {"kind": "ase", "level_of_theory": "Lennard-Jones", **engine}}
    (folder / "queue.yaml").write_text(yaml.safe_dump(settings))
    return folder


@pytest.fixture
def odd_calculators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))


def test_labels_are_those_of_the_calculator_and_nothing_is_done_twice(tmp_path: Path) -> None:
    folder = make_queue(tmp_path / "queue")
    events: list[LabelEvent] = []
    assert label_queue(folder, workers=2, progress=events.append).labelled == 3
    done = [event.state.done for event in events]
    assert (done[0], done[-1]) == (0, 3)
    assert done == sorted(done)
    assert Queue(folder).collect() == 3
    given_frames = read_frames(folder / "pool.extxyz.gz")
    for frame, given in zip(read_frames(folder / "labels.extxyz.gz"), given_frames, strict=True):
        given.calc = LennardJones(**LJ)
        assert frame.get_potential_energy() == pytest.approx(given.get_potential_energy(), abs=1e-12)
        np.testing.assert_allclose(frame.get_forces(), given.get_forces(), atol=1e-8)
        np.testing.assert_allclose(frame.get_stress(), given.get_stress(), atol=1e-12)
        assert frame.info["id"] == given.info["id"]
    card = read_data_card(folder / "labels.extxyz.gz")
    assert (card.frames, card.with_stress, card.groups, card.elements) == (3, 3, {"train": 3}, ("Na", "P"))
    assert label_queue(folder).labelled == 0
    assert Queue(folder).collect() == 0


def test_a_fresh_clone_goes_on_after_what_is_collected(tmp_path: Path) -> None:
    folder = make_queue(tmp_path / "queue")
    label_queue(folder, limit=2)
    Queue(folder).collect()
    subprocess.run(["rm", "-r", str(folder / "work")], check=True)
    state = Queue(folder).state()
    assert (state.collected, state.waiting) == (2, 1)
    label_queue(folder)
    assert [path.stem for path in (folder / "work" / "results").iterdir()] == [pool(3)[2].info["id"]]
    assert Queue(folder).collect() == 1
    assert len(read_frames(folder / "labels.extxyz.gz")) == 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_labeller_resumes(tmp_path: Path, odd_calculators: None, number: signal.Signals) -> None:
    notes = tmp_path / "notes"
    arguments = {**LJ, "seconds": 1.0, "notes": str(notes)}
    folder = make_queue(tmp_path / "queue", 3, calculator="odd_calculators:Slow", arguments=arguments)
    command = [str(Path(sys.executable).with_name("napos-lmp")), "label", str(folder)]
    labeller = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: notes.exists() and len(notes.read_text().split()) == 2)
    labeller.send_signal(number)
    status = labeller.wait(10)
    assert status == (-9 if number == signal.SIGKILL else 130)
    done = [path.stem for path in (folder / "work" / "results").iterdir()]
    assert len(done) == 1
    time.sleep(0.5)
    label_queue(folder)
    calls = notes.read_text().split()
    assert sorted(set(calls)) == sorted(frame.info["id"] for frame in pool(3))
    assert calls.count(done[0]) == 1
    assert len(calls) == 4
    assert Queue(folder).collect() == 3


def test_two_labellers_share_a_queue(tmp_path: Path, odd_calculators: None) -> None:
    notes = tmp_path / "notes"
    arguments = {**LJ, "seconds": 0.3, "notes": str(notes)}
    folder = make_queue(tmp_path / "queue", 4, calculator="odd_calculators:Slow", arguments=arguments)
    command = [str(Path(sys.executable).with_name("napos-lmp")), "label", str(folder)]
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    calls = notes.read_text().split()
    assert sorted(calls) == sorted(frame.info["id"] for frame in pool(4))


def test_a_pool_may_grow_meanwhile(tmp_path: Path) -> None:
    folder = make_queue(tmp_path / "queue", 2)

    def grow(event: LabelEvent) -> None:
        if event.state.done == 1 and event.state.frames == 2:
            write_frames(folder / "pool.extxyz.gz", pool(4))

    assert label_queue(folder, progress=grow).labelled == 4


def test_a_frame_above_the_force_cap_is_rejected_with_the_reason(tmp_path: Path) -> None:
    folder = make_queue(tmp_path / "queue", 3)
    settings = yaml.safe_load((folder / "queue.yaml").read_text())
    frames = pool(3)
    frames[1].positions[1] = frames[1].positions[0] + [1.0, 0, 0]
    write_frames(folder / "pool.extxyz.gz", frames)
    (folder / "queue.yaml").write_text(yaml.safe_dump({**settings, "force_cap_eV_A": 20}))
    state = label_queue(folder)
    assert (state.labelled, state.rejected, state.waiting) == (2, 1, 0)
    assert Queue(folder).collect() == 2
    (rejection,) = json.loads((folder / "rejected.json").read_text())["rejected"]
    assert rejection["id"] == frames[1].info["id"]
    assert "above the cap of 20 eV/A" in rejection["reason"]
    (folder / "work").rename(tmp_path / "elsewhere")
    assert label_queue(folder).waiting == 0


def test_broken_calculations_reject_no_frame(tmp_path: Path, odd_calculators: None) -> None:
    folder = make_queue(tmp_path / "queue", 4, calculator="odd_calculators:Broken")
    with pytest.raises(LabelError, match=r"3 calculations in a row broke, .*the matrix is singular"):
        label_queue(folder)
    state = Queue(folder).state()
    assert (state.rejected, state.waiting) == (0, 4)


def test_a_killed_calculation_rejects_no_frame(tmp_path: Path, odd_calculators: None) -> None:
    folder = make_queue(tmp_path / "queue", 1, calculator="odd_calculators:Killed")
    assert label_queue(folder).waiting == 1


def test_an_unconverged_label_is_never_read(tmp_path: Path) -> None:
    (tmp_path / "label.json").write_text(json.dumps({"converged": False, "reason": "Did not converge!"}))
    with pytest.raises(NotConvergedError, match="Did not converge"):
        read_label_json(tmp_path)
    (tmp_path / "label.json").write_text('{"converged": tr')
    with pytest.raises(LabelError, match="missing or cut"):
        read_label_json(tmp_path)


def test_labels_of_two_levels_are_not_mixed(tmp_path: Path) -> None:
    folder = make_queue(tmp_path / "queue", 1)
    label_queue(folder)
    Queue(folder).collect()
    text = (folder / "queue.yaml").read_text().replace("epsilon: 0.1", "epsilon: 0.2")
    (folder / "queue.yaml").write_text(text)
    with pytest.raises(LabelError, match="another level of theory"):
        Queue(folder).state()
    (folder / "work").rename(tmp_path / "elsewhere")
    with pytest.raises(LabelError, match="another level of theory"):
        Queue(folder).collect()


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="is no queue"):
        Queue(tmp_path)
    folder = make_queue(tmp_path / "queue", 2, calculator="no_such_module:Thing")
    with pytest.raises(LabelError, match="cannot be imported"):
        label_queue(folder)
    frames = pool(2)
    frames[1].info["id"] = frames[0].info["id"]
    write_frames(folder / "pool.extxyz.gz", frames)
    with pytest.raises(ReferenceDataError, match="frames 0 and 1 have the same id"):
        Queue(folder)


def test_a_slurm_array_runs_the_same_queue(tmp_path: Path) -> None:
    folder = make_queue(tmp_path / "queue", 3)
    script = tmp_path / "label.slurm"
    label = [str(Path(sys.executable).with_name("napos-lmp")), "label", str(folder)]
    subprocess.run([*label, "--slurm", str(script)], check=True, capture_output=True)
    assert "#SBATCH --array=1-1" in script.read_text()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(["bash", str(script)], check=True, capture_output=True, env=os.environ | {"PATH": path})
    assert Queue(folder).state().labelled == 3


def wait_for(condition: Any, seconds: float = 30.0) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)
