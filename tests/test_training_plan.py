"""Several potentials from one file: what follows from a plan, what is refused, and both families carried through."""

import shutil
from dataclasses import replace

import ase.io
import numpy as np
import pytest
import yaml
from test_training import ELEMENTS, SUBSET

from napos_lmp.errors import PotentialError, TrainingError
from napos_lmp.potential import add_potential, is_trusted, load_potential, look_at
from napos_lmp.resources import shipped_folder
from napos_lmp.training.committee import write_committee
from napos_lmp.training.config import Split
from napos_lmp.training.dataset import read_frames, split_frames
from napos_lmp.training.plan import read_plan, train_plan

SHIFTS = {"Na": -40.0, "P": -90.0, "S": -60.0, "O": -75.0}
DEEPMD = {
    "family": "deepmd",
    "name": "tiny-deepmd",
    "description": "as small as it gets",
    "version": "0.1",
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


def test_the_plans_of_the_shipped_potentials_are_sound():
    folder = shipped_folder("potentials")
    plan, trainings = read_plan(folder / "plan.yaml")
    assert {model.name: model.members for model in plan.models} == {"napos-deepmd": 4, "napos-mace": 2}
    assert [training.config["seed"] for training in trainings] == [1, 2, 3, 4, 1, 2]
    splits = [yaml.safe_load((folder / model.name / "config.yaml").read_text())["split"] for model in plan.models]
    assert splits[0] == splits[1], "both shipped potentials are tested on the same frames"
    first = [read_plan(folder / "first-stage" / name)[0].models for name in ("wide.yaml", "plan.yaml")]
    assert [(model.family, model.members) for models in first for model in models] == [
        ("deepmd", 1), ("deepmd", 3), ("mace", 2),
    ]  # fmt: skip
    plan, trainings = read_plan(folder / "transfer.yaml")
    assert len(trainings) == 16
    frames = read_frames([folder / "data/napos_dft.extxyz.gz"], plan.elements, plan.split.by, plan.force_cap_eV_A)
    shown = [
        len(split_frames(frames.frames, Split(**plan.split.model_dump() | model.split))["train"])
        for model in plan.models
    ]
    assert shown[:8] == shown[8:]
    assert min(shown) >= 10


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


def test_members_can_start_from_models_of_their_own(tmp_path):
    for member in (1, 2):
        (tmp_path / f"start-{member}.pth").touch()
    settings = {"steps": 5, "finetune": "start-{member}.pth"}
    models = [{**DEEPMD, "members": 2, "settings": settings, "pretrain": None}]
    _, trainings = read_plan(write_plan(tmp_path, models=models, pretrain=None))
    starts = [(training.file.parent / training.config["finetune"]).resolve() for training in trainings]
    assert starts == [tmp_path / "start-1.pth", tmp_path / "start-2.pth"]
    (tmp_path / "start-2.pth").unlink()
    with pytest.raises(TrainingError, match=r"models\.0\.settings\.finetune: .*start-2\.pth does not exist"):
        read_plan(tmp_path / "plan.yaml")


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
        ({"models": [MACE | {"settings": {"epochs": 1, "data": ["x"]}}]}, "models.0.settings.data: the plan says it"),
        ({"models": [MACE | {"pretrain": {"epochs": 1, "seed": 3}}]}, "models.0.pretrain.seed: the plan says it for"),
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


@pytest.mark.slow
def test_both_families_carry_over_to_labels_of_another_zero(tmp_path, monkeypatch):
    """Labels whose energies differ by tens of eV an atom: the energies of the elements are shifted, not learned."""
    monkeypatch.setenv("NAPOS_LMP_HOME", str(tmp_path / "HOME"))
    frames = ase.io.read(SUBSET, ":")
    for atoms in frames:
        atoms.calc.results["energy"] += sum(SHIFTS[symbol] for symbol in atoms.get_chemical_symbols())
    ase.io.write(tmp_path / "shifted.extxyz", frames, format="extxyz")
    told = []

    def progress(name):
        told.append(name)
        return lambda state: None

    plan = write_plan(tmp_path, data=["shifted.extxyz"], models=[DEEPMD | {"members": 2}, MACE])
    results = train_plan(plan, progress)
    stages = [("tiny-deepmd", 1), ("tiny-deepmd", 2), ("tiny-mace", 1)]
    assert told == [
        f"{name}/member-{member}/{stage} ({2 * k + place}/6)"
        for k, (name, member) in enumerate(stages)
        for place, stage in enumerate(("pretrain", "train"), start=1)
    ]
    for result in results:
        card = result.potential.card
        assert card.training_data.level_of_theory == "shifted"
        (errors,) = [row for row in card.errors if row.set == "validation"]
        assert errors.energy_meV_per_atom.rmse < 2000
        assert np.isfinite(errors.force_meV_per_A.rmse)
    committee, alone = (result.potential for result in results)
    assert alone.card.committee == ()
    assert committee.card.description == "as small as it gets"
    assert committee.card.peer_errors == {"tiny-mace": alone.card.errors}
    assert alone.card.peer_errors == {"tiny-deepmd": committee.card.errors}
    assert (committee.card.version, alone.card.version) == ("0.1", None)
    assert [path.name for path in committee.models] == ["model.pth", "model-2.pth"]
    assert list(committee.models.values()) == [member.potential.sha256 for member in results[0].members]
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.pth")}
    assert train_plan(plan, progress) == [
        type(result)(result.potential, tuple(replace(member, resumed_from=None) for member in result.members))
        for result in results
    ]
    assert {path: path.stat().st_mtime_ns for path in made} == made
    check_committee(committee, tmp_path)


def check_committee(committee, tmp_path):
    """Accepted as a whole, and only if every member is the one on the card."""
    with pytest.raises(PotentialError, match="has not been accepted"):
        load_potential(committee.folder)
    usual = committee.card.usual_deviation
    assert usual.frame_mean_eV_A < usual.largest_atom_eV_A
    offer = look_at(committee.folder)
    assert [part.file.name for part in (offer, *offer.others)] == ["model.pth", "model-2.pth"]
    assert any("model-2.pth" in sentence for sentence in offer.sentences)
    changed = tmp_path / "changed"
    shutil.copytree(committee.folder, changed)
    (changed / "model-2.pth").write_bytes((changed / "model.pth").read_bytes())
    with pytest.raises(PotentialError, match=r"model-2\.pth is not the file on its card"):
        add_potential(changed)
    (changed / "model-2.pth").unlink()
    with pytest.raises(PotentialError, match=r"model-2\.pth is not in the folder"):
        add_potential(changed)
    added = add_potential(committee.folder)
    assert load_potential("tiny-deepmd").models.keys() == added.models.keys()
    assert is_trusted(committee.card.committee[0].sha256)
    with pytest.raises(TrainingError, match="a committee needs at least two members; 1 was given"):
        write_committee(tmp_path / "one", [committee], "alone", usual)
    with pytest.raises(TrainingError, match="holds a model that another member has, too"):
        write_committee(tmp_path / "one", [committee, committee], "twice the same", usual)
    other = replace(committee, card=committee.card.model_copy(update={"cutoff_A": 5.0}))
    with pytest.raises(TrainingError, match="in its cutoff_A: it is of no committee"):
        write_committee(tmp_path / "one", [committee, other], "unlike", usual)
    assert not (tmp_path / "one").exists()
