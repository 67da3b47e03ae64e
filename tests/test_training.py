import gzip
import json
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from napos_lmp.backends.deepmd import dp_command, dp_environment, write_checkpoint
from napos_lmp.errors import TrainingError
from napos_lmp.files import sha256_of
from napos_lmp.potential import add_potential, load_potential
from napos_lmp.training.config import Split, read_config
from napos_lmp.training.dataset import (
    Frame,
    read_frames,
    split_frames,
    stress_of_virial,
    virial_of_stress,
    write_systems,
)
from napos_lmp.training.deepmd import deepmd_input, train_deepmd
from napos_lmp.training.deepmd_config import DeepmdConfig
from napos_lmp.training.evaluate import grouped_errors, set_errors, write_errors
from napos_lmp.training.prediction import Prediction, predict_deepmd

ELEMENTS = ("Na", "P", "S", "O")
SUBSET = Path(__file__).parent / "data" / "starter_subset.extxyz.gz"
LATTICE = 'Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3:forces:R:3'
ATOMS = "Na 0 0 0 1 0 0\nS 2 2 2 -1 0 0\n"
GOOD = f'2\n{LATTICE} trajectory=a energy=-5.0 stress="0.1 0 0 0 0.2 0 0 0 0.3" pbc="T T T"\n{ATOMS}'


def write_config(folder: Path, **changes: object) -> Path:
    config = {
        "name": "tiny",
        "description": "as small as it gets",
        "level_of_theory": "SevenNet-0",
        "elements": list(ELEMENTS),
        "data": [str(SUBSET)],
        "split": {"validation": 0.35, "seed": 2},
        "model": {"size": "small", "cutoff_A": 4.0, "embedding": [4, 8], "fitting": [8]},
        "steps": 60,
        "threads": 1,
        "output": "out",
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config | changes))
    return path


@pytest.fixture(scope="module")
def frames() -> tuple[Frame, ...]:
    return read_frames([SUBSET], ELEMENTS, "trajectory", 40.0).frames


def test_stress_and_virial_agree_with_ase_and_with_each_other():
    from ase import Atoms
    from ase.calculators.lj import LennardJones

    atoms = Atoms("NaP", positions=[[0, 0, 0], [1.1, 0.2, 0.1]], cell=[5, 6, 7], pbc=True)
    atoms.calc = LennardJones(rc=2.4)
    stress = atoms.get_stress(voigt=False)
    vector = atoms.positions[1] - atoms.positions[0]
    by_hand = np.outer(vector, atoms.get_forces()[1])  # one pair: sum of r_ij f_ij
    virial = virial_of_stress(stress, atoms.get_volume())
    np.testing.assert_allclose(virial, by_hand, atol=1e-10)
    np.testing.assert_allclose(stress_of_virial(virial, atoms.get_volume()), stress, rtol=1e-14)


def test_frames_are_read_with_their_labels(tmp_path: Path):
    path = tmp_path / "one.extxyz"
    path.write_text(GOOD)
    (frame,) = read_frames([path], ELEMENTS, "trajectory", 40.0).frames
    assert frame.energy == -5.0
    assert frame.forces.tolist() == [[1, 0, 0], [-1, 0, 0]]
    np.testing.assert_allclose(frame.virial, -64 * np.diag([0.1, 0.2, 0.3]))
    assert frame.density == pytest.approx((22.98976928 + 32.06) / 6.02214076e23 / 64e-24, rel=1e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("S 2", "Si 2"), "frame 0: holds Si, which elements (Na, P, S, O) does not name"),
        (GOOD.replace("energy=-5.0", ""), "frame 0: has no energy"),
        (GOOD.replace(":forces:R:3", ":other:R:3"), "frame 0: has no forces"),
        (GOOD.replace("energy=-5.0", "energy=nan"), "its energy is not a finite number"),
        (GOOD.replace("trajectory=a", ""), "has no property 'trajectory'"),
        (GOOD.replace("T T T", "T T F"), "no cell that is periodic"),
        (GOOD.replace("Na 0 0 0 1", "Na 0 0 0 41"), "no frame is left after 1 with a force above 40 eV/A"),
        (GOOD[:-25], "cannot be read as extended XYZ"),
        ("not a frame", "cannot be read as extended XYZ"),
        ("", "holds no frame"),
    ],
)
def test_bad_data_give_one_sentence(tmp_path: Path, text: str, message: str):
    path = tmp_path / "bad.extxyz"
    path.write_text(text)
    with pytest.raises(TrainingError, match=re.escape(message)) as caught:
        read_frames([path], ELEMENTS, "trajectory", 40.0)
    assert "\n" not in str(caught.value)


def test_file_cut_short_by_gzip_gives_one_sentence(tmp_path: Path):
    path = tmp_path / "cut.extxyz.gz"
    path.write_bytes(gzip.compress(GOOD.encode())[:-20])
    with pytest.raises(TrainingError, match="cannot be read as extended XYZ"):
        read_frames([path], ELEMENTS, "trajectory", 40.0)


def test_frames_with_absurd_forces_are_left_out_and_counted(tmp_path: Path):
    path = tmp_path / "two.extxyz"
    path.write_text(GOOD + GOOD.replace("Na 0 0 0 1", "Na 0 0 0 41"))
    found = read_frames([path], ELEMENTS, "trajectory", 40.0)
    assert (len(found.frames), found.dropped) == (1, 1)


def test_energy_is_the_one_that_forces_are_derivatives_of(tmp_path: Path):
    smeared, plain = tmp_path / "smeared.extxyz", tmp_path / "plain.extxyz"
    smeared.write_text(GOOD.replace("energy=-5.0", "energy=-5.0 free_energy=-5.25"))
    plain.write_text(GOOD)
    (frame,) = read_frames([smeared], ELEMENTS, "trajectory", 40.0).frames
    assert frame.energy == -5.25
    with pytest.raises(TrainingError, match=r"smeared\.extxyz, frame 0 has a free_energy, .*plain\.extxyz, frame 0 "):
        read_frames([plain, smeared], ELEMENTS, "trajectory", 40.0)


def test_group_of_tests_is_never_trained_on(tmp_path: Path):
    path = tmp_path / "groups.extxyz"
    moved = [GOOD.replace("Na 0 0 0", f"Na 0 0 0.{k}").replace("trajectory=a", f"trajectory={k}") for k in range(6)]
    moved[3] = moved[3].replace("trajectory=3", "trajectory=3 group=test")
    moved[4] = moved[4].replace("trajectory=4", "trajectory=4 group=train")
    path.write_text("".join(moved))
    parts = split_frames(read_frames([path], ELEMENTS, "trajectory", 40.0).frames, Split(validation=0.3))
    assert [frame.trajectory for frame in parts["test"]] == ["3"]
    assert len(parts["train"]) + len(parts["validation"]) == 5


def test_frames_that_are_tested_and_trained_on_are_refused(tmp_path: Path):
    """Also in another order of the atoms, and with other labels."""
    path = tmp_path / "twice.extxyz"
    lines = GOOD.replace("trajectory=a", "trajectory=b composition=other").replace("-5.0", "-6.0").splitlines()
    swapped = "\n".join([*lines[:2], lines[3], lines[2]]) + "\n"
    third = GOOD.replace("Na 0 0 0", "Na 0 0 0.5").replace("trajectory=a", "trajectory=c")
    path.write_text(GOOD + swapped + third)
    found = read_frames([path], ELEMENTS, "trajectory", 40.0).frames
    with pytest.raises(TrainingError, match=r"overlap: twice\.extxyz, frame 1 and twice\.extxyz, frame 0 are the same"):
        split_frames(found, Split(validation=("c",), test_compositions=("other",)))


@pytest.mark.parametrize("seed", range(6))
def test_no_trajectory_stands_on_two_sides(frames: tuple[Frame, ...], seed: int):
    parts = split_frames(frames, Split(validation=0.4, test=0.3, seed=seed))
    assert sum(len(part) for part in parts.values()) == len(frames)
    sides = [{frame.trajectory for frame in part} for part in parts.values()]
    assert all(sides)
    assert len(set.union(*sides)) == sum(len(side) for side in sides)
    again = split_frames(frames, Split(validation=0.4, test=0.3, seed=seed))
    assert [[id(frame) for frame in part] for part in again.values()] == [
        [id(frame) for frame in part] for part in parts.values()
    ]


def test_trajectories_and_compositions_can_be_named(frames: tuple[Frame, ...]):
    name = frames[0].trajectory
    parts = split_frames(frames, Split(validation=(name,), test_compositions=("Na4P2S5O2",)))
    assert {frame.trajectory for frame in parts["validation"]} == {name}
    assert {frame.composition for frame in parts["test"]} == {"Na4P2S5O2"}
    assert {frame.composition for frame in parts["train"]} == {"Na4P2S3.5O3.5"}


def test_trajectories_can_be_named_by_the_beginning_of_their_names(frames: tuple[Frame, ...]):
    renamed = [replace(f, trajectory=f"{'cold' if k % 2 else 'hot[1]'}-{f.trajectory}") for k, f in enumerate(frames)]
    parts = split_frames(renamed, Split(test=("hot[[]1]-*",)))
    assert {frame.trajectory[0] for frame in parts["test"]} == {"h"}
    assert {frame.trajectory[0] for frame in (*parts["train"], *parts["validation"])} == {"c"}
    name = renamed[0].trajectory
    assert {frame.trajectory for frame in split_frames(renamed, Split(test=(name,)))["test"]} == {name}


@pytest.mark.parametrize(
    ("split", "held_out"),
    [
        (Split(test_phases=("melt",)), lambda frame: frame.phase == "melt"),
        (Split(test_above_K=1500), lambda frame: frame.temperature > 1500),
        (Split(test_below_K=1500), lambda frame: frame.temperature < 1500),
        (Split(test_above_g_cm3=2.2), lambda frame: frame.density > 2.2),
        (Split(test_below_g_cm3=2.0), lambda frame: frame.density < 2.0),
    ],
)
def test_kinds_of_frames_can_be_held_out(frames: tuple[Frame, ...], split: Split, held_out: Callable[[Frame], bool]):
    kinds = (("glass", 300.0, 2.3), ("melt", 2000.0, 1.9), ("melt", 1500.0, 2.1), ("crystal", 900.0, 2.2))
    known = [
        replace(frame, phase=phase, temperature=temperature, density=density, trajectory=str(k % 8))
        for k, frame in enumerate(frames)
        for phase, temperature, density in [kinds[k % 4]]
    ]
    parts = split_frames(known, split)
    assert parts["test"] == [frame for frame in known if held_out(frame)]
    assert parts["test"]
    assert not any(held_out(frame) for part in ("train", "validation") for frame in parts[part])


def test_fewer_training_frames_are_a_part_of_more(frames: tuple[Frame, ...]):
    whole = split_frames(frames, Split(validation=0.2))
    sets = [split_frames(frames, Split(validation=0.2, train_frames=n)) for n in (3, 6, 10_000)]
    ids = [{id(frame) for frame in parts["train"]} for parts in sets]
    assert [len(found) for found in ids] == [3, 6, len(whole["train"])]
    assert ids[0] < ids[1] < ids[2]
    assert all([id(f) for f in parts["validation"]] == [id(f) for f in whole["validation"]] for parts in sets)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (Split(test_phases=("slush",)), "split.test_phases: 'slush' is not in the data; it has"),
        (Split(validation=("nowhere",)), "split.validation: trajectory 'nowhere' is not in the data"),
        (Split(test_compositions=("NaPO4",)), "split.test_compositions: 'NaPO4' is not in the data"),
        (Split(validation=0.0), "split leaves no frame for validation"),
    ],
)
def test_impossible_splits_give_one_sentence(frames: tuple[Frame, ...], split: Split, message: str):
    with pytest.raises(TrainingError, match=re.escape(message)):
        split_frames(frames, split)


def test_systems_hold_the_frames_sorted_by_element(tmp_path: Path, frames: tuple[Frame, ...]):
    shuffled = np.random.default_rng(1).permutation(26)
    frame = frames[-1]
    mixed = Frame(
        **frame.__dict__
        | {
            "symbols": tuple(frame.symbols[index] for index in shuffled),
            "positions": frame.positions[shuffled],
            "forces": frame.forces[shuffled],
        }
    )
    without = Frame(**frame.__dict__ | {"virial": None})
    folders = write_systems([mixed, without], tmp_path, ELEMENTS)
    assert [folder.name for folder in folders] == ["Na8P4S7O7-no-virial", "Na8P4S7O7"]
    assert not (folders[0] / "set.000" / "virial.npy").exists()
    types = np.loadtxt(folders[1] / "type.raw", dtype=int)
    assert types.tolist() == [0] * 8 + [1] * 4 + [2] * 7 + [3] * 7
    rows = {name: np.load(folders[1] / "set.000" / f"{name}.npy") for name in ("coord", "force", "virial")}
    written = {
        (ELEMENTS[kind], *position, *force)
        for kind, position, force in zip(types, rows["coord"].reshape(-1, 3), rows["force"].reshape(-1, 3), strict=True)
    }
    expected = {
        (symbol, *position, *force)
        for symbol, position, force in zip(frame.symbols, frame.positions, frame.forces, strict=True)
    }
    assert written == expected
    np.testing.assert_array_equal(rows["virial"][0], frame.virial.ravel())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stepps": 3}, "did you mean 'steps'"),
        ({"steps": 0}, "steps"),
        ({"elements": ["Na", "na"]}, "elements"),
        ({"elements": ["Na", "Na"]}, "names an element twice"),
        ({"data": ["missing.extxyz"]}, r"data: .*missing.extxyz does not exist"),
        ({"data": []}, "data"),
        ({"split": {"validation": 1.5}}, "validation"),
        ({"model": {"cutoff_A": 1.5}}, "smooth_from_A .* must be below cutoff_A"),
        ({"model": {"neighbours": [20, 20]}}, "neighbours is one number for dpa1"),
        ({"model": {"descriptor": "se_a", "neighbours": [9, 9]}}, "2 numbers for 4 elements"),
        ({"finetune": "model.pb"}, "must be a checkpoint .* or a frozen model"),
        ({"init_model": "missing.pt"}, "init_model: .*missing.pt does not exist"),
        ({"elements": ["Na", "P", "S"]}, "holds O, which elements"),
    ],
)
def test_bad_training_files_give_one_sentence(tmp_path: Path, changes: dict[str, object], message: str):
    path = write_config(tmp_path, **changes)
    with pytest.raises(TrainingError, match=message) as caught:
        train_deepmd(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_folder_of_something_else_is_left_alone(tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").touch()
    with pytest.raises(TrainingError, match="exists and holds no training"):
        train_deepmd(write_config(tmp_path))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_both_descriptors_are_accepted_by_deepmd_s_own_check(tmp_path: Path):
    from deepmd.utils.argcheck import normalize
    from deepmd.utils.compat import update_deepmd_input

    for model in ({"descriptor": "se_a", "neighbours": [20, 10, 20, 20]}, {"descriptor": "dpa1"}, {"size": "small"}):
        content = deepmd_input(
            read_config(write_config(tmp_path, model=model), DeepmdConfig), ["data/train/a"], ["data/validation/b"]
        )
        normal = normalize(update_deepmd_input(json.loads(json.dumps(content)), warning=False))
        assert normal["training"]["numb_steps"] == 60
        assert normal["model"]["type_map"] == list(ELEMENTS)


def test_errors_of_known_offsets(frames: tuple[Frame, ...], tmp_path: Path):
    offset = [
        Prediction(frame.energy + 0.026, frame.forces + np.array([0.3, 0.0, 0.0]), frame.virial - 0.052 * np.eye(3))
        for frame in frames
    ]
    errors = set_errors("test", frames, offset)
    assert errors.energy_meV_per_atom.rmse == pytest.approx(1.0, rel=1e-3)
    assert errors.force_meV_per_A.mae == pytest.approx(100.0, rel=1e-3)
    assert errors.force_meV_per_A.rmse == pytest.approx(300 / np.sqrt(3), rel=1e-3)
    assert errors.virial_meV_per_atom.mae == pytest.approx(2 / 3, rel=1e-3)
    rows = grouped_errors("test", frames, offset)
    assert sum(row.frames for row in rows if ", composition" in row.set) == len(frames)
    write_errors(tmp_path / "errors.csv", rows)
    lines = (tmp_path / "errors.csv").read_text().splitlines()
    assert len(lines) == 1 + len(rows)
    assert lines[1].startswith(f"test,{len(frames)},1.0000,1.0000,")


def test_predictions_are_the_ase_calculator_s_in_any_order_of_atoms(frames: tuple[Frame, ...]):
    from ase import Atoms

    from napos_lmp.backends import get_backend

    potential = load_potential("napos-deepmd")
    frame, order = frames[-1], np.random.default_rng(2).permutation(26)
    atoms = Atoms(frame.symbols, positions=frame.positions, cell=frame.cell, pbc=True)[order]
    atoms.calc = get_backend("deepmd").calculator(potential)
    mixed = Frame(**frame.__dict__ | {"symbols": tuple(atoms.get_chemical_symbols()), "positions": atoms.positions})
    # the first frame makes the batch mixed, the second is the one compared
    _, found = predict_deepmd(potential.file, [frames[0], mixed])
    assert found.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-4)
    np.testing.assert_allclose(found.forces, atoms.get_forces(), atol=1e-4)
    np.testing.assert_allclose(
        stress_of_virial(found.virial, frame_volume(frame)), atoms.get_stress(voigt=False), atol=1e-5
    )


def frame_volume(frame: Frame) -> float:
    return float(abs(np.linalg.det(frame.cell)))


def children_in(folder: Path) -> list[int]:
    """Processes whose working directory is `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink() == folder:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def assert_nothing_runs_in(folder: Path) -> None:
    deadline = time.monotonic() + 20
    while children_in(folder):
        assert time.monotonic() < deadline, "a child outlived the process that started it"
        time.sleep(0.05)


def start_and_wait_for_checkpoint(config: Path, after: int) -> subprocess.Popen[str]:
    code = (
        "import sys; from pathlib import Path; from napos_lmp.training.deepmd import train_deepmd\n"
        "from napos_lmp.errors import NaposError\n"
        "try: train_deepmd(Path(sys.argv[1]))\n"
        "except NaposError as error: sys.exit(str(error))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(config)], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while not any(step_of(path) > after for path in whole_checkpoints(config.parent / "out")):
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def whole_checkpoints(folder: Path) -> list[Path]:
    return [path for path in folder.glob("model.ckpt-*.pt") if zipfile.is_zipfile(path)]


def step_of(path: Path) -> int:
    return int(path.stem.rsplit("-", 1)[1])


@pytest.mark.slow
def test_training_killed_and_interrupted_goes_on_to_a_potential_that_can_be_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("HOME", "CACHE"):
        monkeypatch.setenv(f"NAPOS_LMP_{name}", str(tmp_path / name))
    config, out = write_config(tmp_path), tmp_path / "out"

    killed = start_and_wait_for_checkpoint(config, after=0)
    with pytest.raises(TrainingError, match="another process is training"):
        train_deepmd(config)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert_nothing_runs_in(out)
    newest = max(step_of(path) for path in whole_checkpoints(out))
    torn = out / f"model.ckpt-{newest + 1}.pt"
    torn.write_bytes((out / f"model.ckpt-{newest}.pt").read_bytes()[:5000])

    with pytest.raises(TrainingError, match="holds a training with other settings or data"):
        train_deepmd(write_config(tmp_path, steps=61))
    write_config(tmp_path)

    stopped = start_and_wait_for_checkpoint(config, after=newest + 1)
    stopped.send_signal(signal.SIGINT)
    _, message = stopped.communicate(timeout=60)
    assert re.search(r"training stopped; the same command goes on from step \d+", message), message

    seen = []
    result = train_deepmd(config, seen.append)
    assert result.resumed_from is not None
    assert result.resumed_from > newest
    assert seen[-1].step == 60
    assert {path.name for path in result.folder.iterdir()} == {"card.yaml", "model.pth", "config.yaml", "errors.csv"}
    steps = [int(line.split()[0]) for line in (out / "lcurve.out").read_text().splitlines() if line[0] != "#"]
    assert steps[-1] == 60
    check_card_of_tiny(add_potential(result.folder).card)
    assert train_deepmd(config).resumed_from is None, "a finished training is not run again"

    rate = {"start": 1e-12, "stop": 1e-13}
    model = str(result.folder / "model.pth")
    more = train_deepmd(write_config(tmp_path, init_model=model, steps=1, learning_rate=rate, output="more"))
    assert more.potential.card.errors == result.potential.card.errors, "it starts from the weights it was given"


def check_card_of_tiny(card) -> None:
    assert load_potential("tiny").card == card
    (validation,) = card.errors
    assert validation.set == "validation"
    assert validation.frames + card.training_data.frames == 22
    assert 0 < validation.force_meV_per_A.rmse < 5000
    assert card.tabulation is not None, "a model trained in three parts can still be tabulated"
    assert card.tabulation.energy_meV_per_atom < 0.1
    assert card.domain.temperature_K == (300.0, 2500.0)
    assert card.training_data.files == {SUBSET.name: sha256_of(SUBSET)}


@pytest.mark.slow
def test_tuning_starts_from_a_frozen_model(tmp_path: Path):
    """DeePMD-kit's own freezing of the checkpoint made from a frozen model gives that model back."""
    first = train_deepmd(write_config(tmp_path)).potential
    checkpoint = tmp_path / "again.pt"
    write_checkpoint(first.file, checkpoint)
    command = dp_command("freeze", "-c", str(checkpoint), "-o", str(tmp_path / "again.pth"))
    subprocess.run(command, env=dp_environment(1), check=True, capture_output=True)
    frames = read_frames([SUBSET], ELEMENTS, "trajectory", 40.0).frames[:4]
    for one, other in zip(
        predict_deepmd(first.file, frames), predict_deepmd(tmp_path / "again.pth", frames), strict=True
    ):
        assert one.energy == other.energy
        np.testing.assert_array_equal(one.forces, other.forces)
    changes = {"finetune": str(first.file), "steps": 20, "learning_rate": {"start": 1e-8, "stop": 1e-9}}
    given = yaml.safe_load(write_config(tmp_path, **changes, output="tuned").read_text())
    del given["model"]  # it is that of the start, not the default
    (tmp_path / "tune.yaml").write_text(yaml.safe_dump(given))
    tuned = train_deepmd(tmp_path / "tune.yaml").potential
    assert tuned.card.cutoff_A == first.card.cutoff_A == 4.0
    for one, other in zip(predict_deepmd(first.file, frames), predict_deepmd(tuned.file, frames), strict=True):
        np.testing.assert_allclose(one.forces, other.forces, atol=1e-4)


@pytest.mark.slow
def test_training_that_diverges_is_stopped(tmp_path: Path):
    path = write_config(tmp_path, learning_rate={"start": 1e30, "stop": 1e29})
    with pytest.raises(TrainingError, match=r"the training diverged: lower learning_rate\.start"):
        train_deepmd(path)
    assert_nothing_runs_in(tmp_path / "out")


@pytest.mark.slow
def test_failure_of_dp_gives_its_last_line(tmp_path: Path):
    model = tmp_path / "init.pt"
    model.write_bytes(b"no checkpoint")
    with pytest.raises(TrainingError, match=r"`dp train` failed: .*dp\.log") as caught:
        train_deepmd(write_config(tmp_path, init_model=str(model)))
    assert "\n" not in str(caught.value)
    assert (tmp_path / "out" / "dp.log").exists()
