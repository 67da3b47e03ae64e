import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
import yaml

from napos_lmp.errors import PotentialError
from napos_lmp.files import sha256_of
from napos_lmp.potential import (
    PotentialCard,
    add_model_file,
    add_potential,
    available_potentials,
    load_potential,
    read_potential,
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAPOS_LMP_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "potentials"


def copy_of_shipped(folder: Path, **changes: object) -> Path:
    shipped = load_potential("napos-deepmd")
    folder.mkdir()
    shutil.copyfile(shipped.file, folder / shipped.file.name)
    card = yaml.safe_load((shipped.folder / "card.yaml").read_text()) | {"name": folder.name} | changes
    (folder / "card.yaml").write_text(yaml.safe_dump(card))
    return folder


def test_shipped_potential_loads_with_its_file_and_hash():
    potential = load_potential("napos-deepmd")
    assert potential.backend == "deepmd"
    assert set(potential.elements) == {"Na", "P", "S", "O"}
    assert sha256_of(potential.file) == potential.sha256
    assert potential in available_potentials()


def test_card_survives_the_round_trip_through_json():
    card = load_potential("napos-deepmd").card
    assert PotentialCard.model_validate(card.model_dump(mode="json")) == card


def test_unknown_name_gives_the_nearest():
    with pytest.raises(PotentialError, match=r"'napos-depmd' is not known \(did you mean 'napos-deepmd'\?\)"):
        load_potential("napos-depmd")


def test_missing_elements_are_named():
    with pytest.raises(PotentialError, match="does not know Si, Ge; it covers Na, P, S, O"):
        load_potential("napos-deepmd").check_elements(["Na", "Si", "Ge", "Si"])


def test_changed_model_file_is_refused(tmp_path: Path):
    folder = copy_of_shipped(tmp_path / "mine")
    with (folder / "model.pth").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(PotentialError, match="is not the file on its card"):
        read_potential(folder)


def test_potential_of_the_user_is_found_by_name_after_it_was_added(tmp_path: Path, home: Path):
    folder = copy_of_shipped(tmp_path / "mine")
    added = add_potential(folder)
    assert added.folder == home / "mine"
    assert load_potential("mine") == added
    assert [potential.name for potential in available_potentials()] == ["mine", "napos-deepmd"]
    with pytest.raises(PotentialError, match="'mine' is there already"):
        add_potential(folder)


def test_name_of_a_shipped_potential_is_taken(tmp_path: Path, home: Path):
    folder = copy_of_shipped(tmp_path / "other", name="napos-deepmd")
    with pytest.raises(PotentialError, match="'napos-deepmd' is there already"):
        add_potential(folder)
    assert not home.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"elements": ["P", "Na", "S", "O"]}, "elements: P, Na, S, O differ from the model's own, Na, P, S, O"),
        ({"cutoff_A": 5.5}, "cutoff_A: 5.5 differs from the model's own, 6"),
        ({"backend": "depmd"}, r"backend 'depmd' is not known \(did you mean 'deepmd'\?\)"),
        ({"file": "../model.pth"}, "must be the name of a file beside the card"),
        ({"elements": ["Na", "Na"]}, "names an element twice"),
        ({"cutof": 3}, "did you mean 'cutoff_A'"),
        ({"name": "a/b"}, "name"),
        ({"sha256": "0" * 64}, "is not the file on its card"),
    ],
)
def test_wrong_card_is_refused_and_nothing_is_left(
    tmp_path: Path, home: Path, changes: dict[str, object], message: str
):
    folder = copy_of_shipped(tmp_path / "mine", **changes)
    with pytest.raises(PotentialError, match=message) as caught:
        add_potential(folder)
    assert "\n" not in str(caught.value)
    assert not home.exists() or not any(home.iterdir())


def test_bare_model_file_gets_a_card_that_says_what_is_unknown():
    model = load_potential("napos-deepmd")
    added = add_model_file(model.file, "bare")
    assert added.elements == model.elements
    assert added.cutoff == pytest.approx(model.cutoff)
    assert added.card.training_data.level_of_theory == "unknown"
    assert load_potential("bare") == added


@pytest.mark.parametrize("name", ["", "../up", "a b", ".hidden"])
def test_bad_names_are_refused(name: str):
    with pytest.raises(PotentialError, match="may hold letters, digits"):
        add_model_file(load_potential("napos-deepmd").file, name)


def test_folder_elsewhere_is_used_only_after_its_model_was_accepted(tmp_path: Path):
    folder = copy_of_shipped(tmp_path / "mine")
    assert load_potential(folder).folder == folder, "its model is the shipped one, thus accepted"
    model = folder / "model.pth"
    with zipfile.ZipFile(model, "a") as archive:
        archive.comment = b"another file, by its hash"
    card = yaml.safe_load((folder / "card.yaml").read_text())
    (folder / "card.yaml").write_text(yaml.safe_dump(card | {"sha256": sha256_of(model)}))
    with pytest.raises(PotentialError, match="has not been accepted"):
        load_potential(folder)
    add_potential(folder)
    assert load_potential(folder).sha256 == sha256_of(model)


class Planted:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("form", ["pickle", "torch"])
def test_pickle_is_never_unpickled(tmp_path: Path, home: Path, form: str):
    mark, model = tmp_path / "mark", tmp_path / "model.pth"
    if form == "pickle":
        model.write_bytes(pickle.dumps(Planted(mark)))
    else:
        import torch

        torch.save(Planted(mark), model)
    with pytest.raises(PotentialError, match="no frozen DeePMD model"):
        add_model_file(model, "planted")
    assert not mark.exists()
    assert not any(home.iterdir())


def test_damaged_card_is_left_out_of_the_list_with_a_warning(home: Path):
    (home / "broken").mkdir(parents=True)
    (home / "broken" / "card.yaml").write_text("name: broken\n")
    with pytest.warns(UserWarning, match="potential left out"):
        names = [potential.name for potential in available_potentials()]
    assert names == ["napos-deepmd"]
