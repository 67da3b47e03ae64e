import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
import yaml

from napos_lmp.backends import get_backend
from napos_lmp.backends.mliap import load_unified
from napos_lmp.card import error_table
from napos_lmp.errors import PotentialError
from napos_lmp.files import sha256_of
from napos_lmp.pickled import pickle_contents
from napos_lmp.potential import (
    PotentialCard,
    add_model_file,
    add_potential,
    available_potentials,
    card_of_model,
    load_potential,
    look_at,
    read_potential,
)
from napos_lmp.structure import crystal


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAPOS_LMP_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "potentials"


ALONE: dict[str, object] = {"committee": [], "usual_deviation": None}


def copy_of_shipped(folder: Path, **changes: object) -> Path:
    """The first model of the shipped committee, alone."""
    shipped = load_potential("napos-deepmd")
    folder.mkdir()
    shutil.copyfile(shipped.file, folder / shipped.file.name)
    card = yaml.safe_load((shipped.folder / "card.yaml").read_text()) | ALONE | {"name": folder.name} | changes
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
    assert [potential.name for potential in available_potentials()] == ["mine", "napos-deepmd", "napos-mace"]
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
        ({"elements": ["P", "Na", "S", "O"]}, "elements: P, Na, S, O differ from those of model.pth, Na, P, S, O"),
        ({"cutoff_A": 5.5}, "cutoff_A: 5.5 differs from that of model.pth, 6"),
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


FORMS = ("pickle", "torch")


def planted(file: Path, mark: Path, form: str) -> Path:
    """A model file that creates `mark` when it is loaded."""
    if form == "pickle":
        file.write_bytes(pickle.dumps(Planted(mark)))
    else:
        import torch

        torch.save(Planted(mark), file)
    return file


def planted_folder(folder: Path, mark: Path, form: str, backend: str = "mliap") -> Path:
    """A potential of which the card is right and the model is planted."""
    folder.mkdir(parents=True)
    model = planted(folder / "model.pt", mark, form)
    card = yaml.safe_load((load_potential("napos-deepmd").folder / "card.yaml").read_text())
    changes = {"name": folder.name, "backend": backend, "file": model.name, "sha256": sha256_of(model)}
    (folder / "card.yaml").write_text(yaml.safe_dump(card | ALONE | changes))
    return folder


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("backend", ["mliap", "deepmd"])
def test_pickle_does_not_run_whatever_is_asked_of_it(tmp_path: Path, home: Path, form: str, backend: str):
    from napos_lmp.composition import Composition
    from napos_lmp.deck import render_deck
    from napos_lmp.presets import MeltQuench

    mark = tmp_path / "mark"
    folder = planted_folder(tmp_path / "evil", mark, form, backend)
    read = read_potential(folder)
    engine = get_backend(backend)
    render = {
        "composition": Composition.parse("Na3PS4"),
        "protocol": MeltQuench().protocols()[0],
        "structure": crystal("Na3PS4", (1, 1, 1), ("Na", "P", "S")),
    }
    refused = (
        lambda: load_potential(folder),
        lambda: add_potential(folder),
        lambda: add_model_file(read.file, "evil"),
        lambda: render_deck(tmp_path / "deck", potential=read, seed=1, **render),
        lambda: engine.deck_file(read, gpu=True),
        lambda: engine.model_elements(read.file),
        lambda: engine.model_cutoff(read.file),
        lambda: engine.calculator(read),
        lambda: load_unified(read.file),
        lambda: card_of_model(read.file, "evil", backend),
    )
    look_at(folder)
    look_at(read.file)
    available_potentials()
    for attempt in refused:
        with pytest.raises(PotentialError) as caught:
            attempt()
        assert "\n" not in str(caught.value)
    assert not mark.exists()
    assert not home.exists() or not any(home.iterdir())


@pytest.mark.parametrize("form", FORMS)
def test_pickle_runs_once_it_is_trusted_and_leaves_nothing_if_it_is_no_model(tmp_path: Path, home: Path, form: str):
    mark = tmp_path / "mark"
    folder = planted_folder(tmp_path / "evil", mark, form)
    with pytest.raises(PotentialError, match="neither a MACE model nor an object for pair_style mliap"):
        add_potential(folder, trust=True)
    assert mark.exists(), "or the test above could not fail"
    assert not any(home.iterdir())
    mark.unlink()
    with pytest.raises(PotentialError, match="has not been accepted"):
        load_unified(folder / "model.pt")
    assert not mark.exists()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bare", [True, False])
def test_command_line_shows_what_a_pickle_would_do_and_adds_it_with_trust_alone(tmp_path: Path, form: str, bare: bool):
    from typer.testing import CliRunner

    from napos_lmp.cli.app import app

    mark = tmp_path / "mark"
    folder = planted_folder(tmp_path / "evil", mark, form)
    source = [str(folder / "model.pt"), "--name", "evil"] if bare else [str(folder)]
    done = CliRunner().invoke(app, ["potentials", "add", *source])
    assert isinstance(done.exception, PotentialError)
    assert "and was not added" in str(done.exception)
    shown = done.stderr
    assert sha256_of(folder / "model.pt") in shown
    assert "it is a Python pickle: loading it runs the code that it names" in shown
    assert "it names what a model has no need of: " in shown
    assert "pathlib.Path.touch" in shown or "pathlib.PosixPath" in shown
    for command in (["list"], ["show", str(folder)]):
        assert CliRunner().invoke(app, ["potentials", *command]).exit_code == 0
    assert not mark.exists()
    CliRunner().invoke(app, ["potentials", "add", *source, "--trust"])
    assert mark.exists()


def test_names_in_a_pickle_are_read_from_every_protocol_and_from_the_memo(tmp_path: Path):
    import collections

    item = [collections.OrderedDict, Planted(tmp_path), collections.OrderedDict(), collections.Counter]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        file = tmp_path / f"{protocol}.pkl"
        file.write_bytes(pickle.dumps(item, protocol))
        contents = pickle_contents(file)
        assert contents is not None
        assert contents.complete
        assert {"collections.OrderedDict", "collections.Counter", "pathlib.PosixPath"} <= set(contents.names)
        assert contents.root == "collections.OrderedDict"
        assert "pathlib.PosixPath" in contents.unusual
        assert "collections.Counter" not in contents.unusual


def test_pickle_that_is_cut_short_is_said_to_be(tmp_path: Path):
    whole = pickle.dumps([Path("a"), 1, 2, 3])
    file = tmp_path / "short.pkl"
    file.write_bytes(whole[:-4])
    contents = pickle_contents(file)
    assert contents is not None
    assert not contents.complete
    assert "its pickle could not be read to the end: more may be in it" in look_at(file).sentences


def test_errors_of_two_potentials_stand_side_by_side():
    card = load_potential("napos-deepmd").card
    peer = card.errors[1].model_copy(update={"virial_meV_per_atom": None})
    columns, rows = error_table(card.model_copy(update={"peer_errors": {"other": (peer,)}}))
    assert columns == ("set", "frames", "error", "napos-deepmd", "other")
    assert rows[0][-1] == "not measured", "the validation set was not given for the peer"
    assert [row[3] == row[4] for row in rows if row[0] == "test"] == [True, True, False]
    assert rows[-1][:3] == ("test", "41", "virial (meV/atom)")


def test_card_of_a_mace_model_keeps_its_particulars(tmp_path: Path):
    changes = {"head": "pbe", "precision": "float32", "atomic_energies_eV": {"Na": -1.3, "P": -5.2}}
    card = read_potential(copy_of_shipped(tmp_path / "mine", **changes)).card
    assert (card.head, card.precision, card.atomic_energies_eV["P"]) == ("pbe", "float32", -5.2)
    with pytest.raises(PotentialError, match="atomic_energies_eV: Si is not among its elements, Na, P, S, O"):
        read_potential(copy_of_shipped(tmp_path / "other", atomic_energies_eV={"Si": 1.0}))


def test_damaged_card_is_left_out_of_the_list_with_a_warning(home: Path):
    (home / "broken").mkdir(parents=True)
    (home / "broken" / "card.yaml").write_text("name: broken\n")
    with pytest.warns(UserWarning, match="potential left out"):
        names = [potential.name for potential in available_potentials()]
    assert names == ["napos-deepmd", "napos-mace"]
