"""Several potentials from one file: what follows from a plan, what is refused, and both families carried through."""

import ase.io
import numpy as np
import pytest
import yaml
from test_training import ELEMENTS, SUBSET

from napos_lmp.errors import TrainingError
from napos_lmp.training.plan import read_plan, train_plan

SHIFTS = {"Na": -40.0, "P": -90.0, "S": -60.0, "O": -75.0}
DEEPMD = {
    "family": "deepmd",
    "name": "tiny-deepmd",
    "description": "as small as it gets",
    "settings": {"steps": 20, "learning_rate": {"start": 1e-3, "stop": 1e-4}},
    "pretrain": {"steps": 40, "model": {"size": "small", "cutoff_A": 4.0, "embedding": [4, 8], "fitting": [8]}},
}
MACE = {
    "family": "mace",
    "name": "tiny-mace",
    "description": "as small as it gets",
    "settings": {"epochs": 1, "stage_two": None},
    "pretrain": {"epochs": 1, "model": {"channels": 8, "max_ell": 1, "correlation": 2, "cutoff_A": 3.0}},
}
SPLIT = {"validation": 0.35, "seed": 2}


def write_plan(folder, **changes):
    plan = {
        "level_of_theory": "shifted",
        "elements": list(ELEMENTS),
        "data": [str(SUBSET)],
        "split": SPLIT,
        "threads": 1,
        "pretrain": {"level_of_theory": "SevenNet-0", "data": [str(SUBSET)], "split": SPLIT},
        "models": [DEEPMD | {"members": 2, "seed": 5}, MACE],
        "output": "runs",
    }
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in (plan | changes).items() if value is not None}))
    return path


def test_every_stage_of_every_member_follows(tmp_path):
    _, trainings = read_plan(write_plan(tmp_path))
    files = [training.file.relative_to(tmp_path / "runs").as_posix() for training in trainings]
    assert files == [
        "tiny-deepmd/member-1/pretrain.yaml",
        "tiny-deepmd/member-1/train.yaml",
        "tiny-deepmd/member-2/pretrain.yaml",
        "tiny-deepmd/member-2/train.yaml",
        "tiny-mace/member-1/pretrain.yaml",
        "tiny-mace/member-1/train.yaml",
    ]
    assert [training.config["seed"] for training in trainings] == [5, 5, 6, 6, 1, 1]
    first, second = trainings[2].config, trainings[3].config
    assert (first["level_of_theory"], second["level_of_theory"]) == ("SevenNet-0", "shifted")
    assert second["finetune"] == "pretrain/model.ckpt-40.pt"
    assert second["model"] == first["model"]
    assert second["description"] == "as small as it gets, member 2 of 2"
    assert trainings[5].config["foundation"] == "pretrain/tiny-mace/mace.model"
    assert (trainings[1].file.parent / first["data"][0]).resolve() == SUBSET.resolve()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"models": [DEEPMD, DEEPMD]}, "two models are called 'tiny-deepmd'"),
        ({"pretrain": None}, "model 'tiny-deepmd' has a pretrain and the plan none: labels and settings of a stage go"),
        ({"models": [DEEPMD | {"settings": {"steps": 0}}]}, "models.0.settings: steps is 0: it should be greater"),
        ({"models": [DEEPMD | {"settings": {"epochs": 3}}]}, "epochs"),
        ({"models": [DEEPMD | {"pretrain": {}}]}, "models.0.pretrain: steps is missing"),
        (
            {"models": [MACE | {"settings": {"epochs": 1, "foundation": "x"}}]},
            "the stage before gives it, leave it out",
        ),
        ({"models": [MACE | {"members": 0}]}, "members"),
        ({"models": [MACE | {"family": "nequip"}]}, "family"),
        ({"data": ["nowhere.extxyz"]}, "data: .*nowhere.extxyz does not exist"),
    ],
)
def test_bad_plans_are_one_sentence_before_anything_is_written(tmp_path, changes, sentence):
    with pytest.raises(TrainingError, match=sentence) as caught:
        read_plan(write_plan(tmp_path, **changes))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_both_families_carry_over_to_labels_of_another_zero(tmp_path):
    """Labels whose energies differ by tens of eV an atom: the energies of the elements are shifted, not learned."""
    frames = ase.io.read(SUBSET, ":")
    for atoms in frames:
        atoms.calc.results["energy"] += sum(SHIFTS[symbol] for symbol in atoms.get_chemical_symbols())
    ase.io.write(tmp_path / "shifted.extxyz", frames, format="extxyz")
    told = []

    def progress(name):
        told.append(name)
        return lambda state: None

    plan = write_plan(tmp_path, data=["shifted.extxyz"], models=[DEEPMD, MACE])
    results = train_plan(plan, progress)
    assert told == [
        f"{name}/member-1/{stage} ({number}/4)"
        for number, (name, stage) in enumerate(
            [(name, stage) for name in ("tiny-deepmd", "tiny-mace") for stage in ("pretrain", "train")], start=1
        )
    ]
    for name in ("tiny-deepmd", "tiny-mace"):
        (result,) = results[name]
        card = result.potential.card
        assert card.training_data.level_of_theory == "shifted"
        (errors,) = [row for row in card.errors if row.set == "validation"]
        assert errors.energy_meV_per_atom.rmse < 2000
        assert np.isfinite(errors.force_meV_per_A.rmse)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*") if path.is_file()}
    again = train_plan(plan, progress)
    assert again["tiny-mace"][0].folder == results["tiny-mace"][0].folder
    kept = {path: path.stat().st_mtime_ns for path in before if path.name in ("card.yaml", "model.pth", "mace.model")}
    assert kept.items() <= before.items()
