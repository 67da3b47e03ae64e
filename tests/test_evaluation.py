"""Potentials against labels: errors and their intervals, what foretells them, and the whole command."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import ase.build
import ase.io
import numpy as np
import pytest
import yaml
from scipy.stats import bootstrap
from typer.testing import CliRunner

from napos_lmp.cli.app import app
from napos_lmp.errors import EvaluationError, TrainingError
from napos_lmp.evaluation import evaluate
from napos_lmp.evaluation.calibration import calibration, relation
from napos_lmp.evaluation.distance import AtomDescriptors, TrainingSet
from napos_lmp.evaluation.errors import Error, FrameErrors
from napos_lmp.evaluation.groups import atom_kinds, groups_of
from napos_lmp.evaluation.training_frames import held_out_members, training_parts
from napos_lmp.evaluation.verdict import verdict
from napos_lmp.potential import add_potential, load_potential
from napos_lmp.structure import crystal
from napos_lmp.training.dataset import Frame, read_frames
from napos_lmp.training.deviation import force_deviations
from napos_lmp.training.prediction import Prediction

ROOT = Path(__file__).parents[1]
DFT = ROOT / "potentials/data/napos_dft.extxyz.gz"
CRYSTALS = ROOT / "potentials/data/dft/crystals"
ELEMENTS = ("Na", "P", "S", "O")


def make_frame(generator, trajectory="a", symbols=("Na", "P", "S", "S"), **more):
    number = len(symbols)
    values = {
        "symbols": symbols,
        "cell": 8.0 * np.eye(3),
        "positions": generator.uniform(0, 8, (number, 3)),
        "energy": float(generator.normal()),
        "forces": generator.normal(size=(number, 3)),
        "virial": generator.normal(size=(3, 3)),
        "density": 2.1,
        "trajectory": trajectory,
        "composition": "NaPS2",
        "phase": "melt",
        "temperature": 900.0,
    }
    return Frame(**(values | more))


def off(frames, energy, force, virial):
    """Predictions that are off by given differences."""
    return [
        Prediction(f.energy + e, f.forces + d, f.virial + v)
        for f, e, d, v in zip(frames, energy, force, virial, strict=True)
    ]


def of_structure(structure):
    symbols = tuple(structure.elements[kind] for kind in structure.types)
    return make_frame(
        np.random.default_rng(0), symbols=symbols, cell=structure.cell, positions=structure.positions,
        forces=np.zeros((len(symbols), 3)),
    )  # fmt: skip


# ------------------------------------------------------------------ errors


def test_errors_are_those_of_ase_and_numpy():
    generator = np.random.default_rng(5)
    frames = [make_frame(generator, trajectory=str(k)) for k in range(7)]
    force, virial = generator.normal(size=(7, 4, 3)), generator.normal(size=(7, 3, 3))
    energy = generator.normal(size=7)
    found = FrameErrors(frames, off(frames, energy, force, virial), ("Na", "S")).overall
    assert found["energy_rmse"].value == pytest.approx(1000 * np.sqrt(np.mean((energy / 4) ** 2)))
    assert found["energy_mae"].value == pytest.approx(1000 * np.mean(np.abs(energy / 4)))
    assert found["force_rmse"].value == pytest.approx(1000 * np.std(force, mean=np.zeros((1, 1, 1))))
    assert found["force_S_mae"].value == pytest.approx(1000 * np.mean(np.abs(force[:, 2:])))
    assert found["force_Na_rmse"].value == pytest.approx(1000 * np.sqrt(np.mean(force[:, 0] ** 2)))
    assert found["virial_mae"].value == pytest.approx(1000 * np.mean(np.abs(virial / 4)))
    labels = np.array([frame.forces for frame in frames])
    assert found["force_relative"].value == pytest.approx(100 * np.linalg.norm(force) / np.linalg.norm(labels))
    strong = np.linalg.norm(labels, axis=2) >= 0.2
    from ase.geometry import get_angles

    angles = get_angles(labels[strong], (labels + force)[strong])
    assert found["direction"].value == pytest.approx(angles.mean())


def test_frames_without_a_virial_do_not_count():
    generator = np.random.default_rng(5)
    frames = [make_frame(generator), make_frame(generator, virial=None)]
    said = [Prediction(f.energy, f.forces, np.ones((3, 3))) for f in frames]
    found = FrameErrors(frames, said).overall
    expected = 1000 * np.sqrt(np.mean(((1 - frames[0].virial) / 4) ** 2))
    assert found["virial_rmse"].value == pytest.approx(expected)
    assert np.isnan(FrameErrors(frames[1:], said[1:]).overall["virial_rmse"].value)


def test_another_zero_of_energies_is_seen_and_taken_off():
    generator = np.random.default_rng(2)
    symbols = [("Na",) * a + ("P",) * b + ("S",) * c for a, b, c in generator.integers(1, 6, (12, 3))]
    frames = [make_frame(generator, symbols=s, trajectory=str(k)) for k, s in enumerate(symbols)]
    zeros = {"Na": -3.0, "P": 40.0, "S": -7.0}
    noise = generator.normal(scale=0.01, size=12)
    shifts = [sum(zeros[symbol] for symbol in s) + n for s, n in zip(symbols, noise, strict=True)]
    said = off(frames, shifts, [0.0] * 12, np.zeros((12, 3, 3)))
    errors = FrameErrors(frames, said)
    assert errors.other_zero
    assert errors.overall["shifted_energy_rmse"].value < 10
    assert not FrameErrors(frames, off(frames, noise, [0.0] * 12, np.zeros((12, 3, 3)))).other_zero


def test_intervals_are_those_of_scipy_where_each_trajectory_is_one_frame():
    generator = np.random.default_rng(8)
    frames = [make_frame(generator, trajectory=str(k)) for k in range(200)]
    energy = generator.gamma(1.0, size=200)
    found = FrameErrors(frames, off(frames, energy, [0.0] * 200, np.zeros((200, 3, 3)))).overall["energy_mae"]
    expected = bootstrap(
        (1000 * energy / 4,), np.mean, n_resamples=5000, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=0.02)


def test_intervals_hold_the_error_though_frames_of_a_trajectory_are_alike():
    """Errors that trajectories share: drawing frames one by one would be far too sure."""
    generator = np.random.default_rng(4)
    held = 0
    for _ in range(200):
        shared = generator.normal(size=20)
        frames = [make_frame(generator, trajectory=str(k)) for k in range(20) for _ in range(10)]
        energy = np.repeat(shared, 10) * 4
        found = FrameErrors(frames, off(frames, energy, [0.0] * 200, np.zeros((200, 3, 3)))).overall["energy_rmse"]
        held += found.low <= 1000 <= found.high
    assert held >= 176


def test_few_trajectories_give_no_interval():
    generator = np.random.default_rng(4)
    frames = [make_frame(generator, trajectory=str(k % 5)) for k in range(40)]
    found = FrameErrors(frames, off(frames, [1.0] * 40, [0.0] * 40, np.zeros((40, 3, 3)))).overall["energy_mae"]
    assert found == Error(pytest.approx(250.0))


# ------------------------------------------------------------------ kinds of frames and atoms


def test_atoms_of_crystals_are_told_by_their_bonds():
    """The ring P3O9 has three bridging and six terminal oxygens; PS4 has terminal sulfurs only."""
    ring = ase.io.read(CRYSTALS / "Na3P3O9.cif")
    frame = make_frame(
        np.random.default_rng(0), symbols=tuple(ring.get_chemical_symbols()), cell=ring.cell.array,
        positions=ring.positions, forces=np.zeros((len(ring), 3)),
    )  # fmt: skip
    kinds = atom_kinds(frame)
    n = frame.symbols.count("P")
    counts = {kind: kinds.count(kind) for kind in kinds}
    assert counts == {"Na": n, "P with 4 anions": n, "O, bridging": n, "O, terminal": 2 * n}
    assert set(atom_kinds(of_structure(crystal("Na3PS4")))) == {"Na", "P with 4 anions", "S, terminal"}
    antifluorite = ase.io.read(CRYSTALS / "Na2S.cif")
    alone = make_frame(
        np.random.default_rng(0), symbols=tuple(antifluorite.get_chemical_symbols()), cell=antifluorite.cell.array,
        positions=antifluorite.positions, forces=np.zeros((len(antifluorite), 3)),
    )  # fmt: skip
    assert set(atom_kinds(alone)) == {"Na", "S, free"}


def test_frames_fall_into_groups():
    generator = np.random.default_rng(0)
    frames = [
        make_frame(generator, temperature=300.0, density=2.26),
        make_frame(generator, phase="glass", temperature=None, density=1.99),
        make_frame(generator, composition="NaPO3", temperature=2500.0, density=2.49),
    ]
    groups = groups_of(frames)
    assert groups["composition"] == {"NaPO3": [2], "NaPS2": [0, 1]}
    assert groups["phase"] == {"glass": [1], "melt": [0, 2]}
    assert list(groups["temperature"]) == ["300 K", "2500 K", "unknown"]
    assert groups["density"] == {"1.75 to 2.00": [1], "2.25 to 2.50": [0, 2]}


# ------------------------------------------------------------------ signs of error


def test_relation_is_spearmans_and_its_interval_holds():
    generator = np.random.default_rng(6)
    held = 0
    for _ in range(200):
        one, two = generator.multivariate_normal([0, 0], [[1, 0.7], [0.7, 1]], size=40).T
        found = relation(one, two)
        held += found.low <= 6 / np.pi * np.arcsin(0.35) <= found.high
    assert held >= 180
    assert relation(np.arange(7.0), np.arange(7.0)) is None
    assert relation(np.full(20, np.inf), np.arange(20.0)) is None


def test_a_committee_of_honest_models_is_told_from_one_that_is_too_sure():
    """Four models whose errors are drawn as the spread of their own forces; then with an error that they share."""
    generator = np.random.default_rng(9)
    scales = generator.uniform(0.05, 0.5, size=(30, 50))
    forces = generator.normal(size=(4, 30, 50, 3)) * scales[..., None]
    committee = [[Prediction(0.0, frame, np.zeros((3, 3))) for frame in model] for model in forces]
    deviations = force_deviations(committee)
    honest = calibration(deviations, list(forces[0]))
    assert honest.factor == pytest.approx(np.sqrt(4 / 3), rel=0.05)
    assert np.all(np.diff(honest.error) > 0)
    assert honest.atoms.sum() == 1500
    sure = calibration(deviations, list(forces[0] + 1.0))
    assert sure.factor > 3


def test_distance_is_nil_at_home_and_grows_away_from_it():
    frames = read_frames([DFT], ELEMENTS, "trajectory", np.inf).frames
    glass = [frame for frame in frames if frame.composition == "Na4P2S3.5O3.5"]
    home = TrainingSet(AtomDescriptors(load_potential("napos-deepmd").file), glass[:5], glass[5:])
    np.testing.assert_allclose(home.distances(glass[:5]), 0, atol=1e-6)
    near = home.distances(glass[5:])
    assert 0.5 < np.median(near) < 2
    squeezed = [replace(f, cell=0.8 * f.cell, positions=0.8 * f.positions) for f in glass[5:]]
    assert np.all(home.distances(squeezed) > 2 * near)
    sulfide = [frame for frame in frames if set(frame.symbols) == {"Na", "P", "S"}]
    thin = TrainingSet(AtomDescriptors(load_potential("napos-deepmd").file), sulfide[:3], sulfide[3:])
    assert np.all(np.isinf(thin.distances(glass[:2])))


@pytest.mark.parametrize(
    ("error", "distance", "flagged", "word", "sentence"),
    [
        (Error(6.0, 5.0, 8.0), 1.0, 0.0, "good", "forces are within 8 %: simulate"),
        (Error(6.0, 5.0, 12.0), None, None, "fair", "forces are 12 % off: structure and trends, no absolute rates"),
        (Error(6.0), 3.0, None, "good", "; it lies 3.0 times as far from the training set as usual"),
        (Error(25.0), np.inf, None, "poor", "label frames of it and train again; it holds an element that was not"),
        (Error(9.0), 1.0, 0.25, "good", "; the committee extrapolates in 25 % of its frames"),
        (Error(float("nan")), None, None, "unknown", "there are no forces to compare with"),
    ],
)
def test_verdicts(error, distance, flagged, word, sentence):
    found = verdict(error, distance, flagged)
    assert found.word == word
    assert sentence in found.sentence


# ------------------------------------------------------------------ training sets and bad input


@pytest.mark.parametrize("name", ["napos-deepmd", "napos-mace"])
def test_training_sets_of_the_shipped_potentials_are_found_from_their_cards(name):
    potential = load_potential(name)
    parts = training_parts(potential)
    card = potential.card
    assert len(parts["train"]) == card.training_data.frames
    assert {row.set: row.frames for row in card.errors} == {part: len(parts[part]) for part in ("validation", "test")}


def test_a_training_set_that_is_gone_is_not_made_up(tmp_path):
    potential = load_potential("napos-deepmd")
    folder = tmp_path / "napos-deepmd"
    shutil.copytree(potential.folder, folder)
    elsewhere = replace(potential, folder=folder)
    assert training_parts(elsewhere) is not None
    card = potential.card.model_copy(
        update={"training_data": potential.card.training_data.model_copy(update={"files": {"x": "0" * 64}})}
    )
    assert training_parts(replace(elsewhere, card=card)) is None
    (folder / "config.yaml").unlink()
    assert training_parts(elsewhere) is None


def test_only_frames_of_the_kind_count_as_held_out(tmp_path):
    potential = load_potential("napos-deepmd")
    folder = tmp_path / "napos-deepmd"
    shutil.copytree(potential.folder, folder)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    generator = np.random.default_rng(1)
    frames = [
        make_frame(generator, phase="glass", group="test"),
        make_frame(generator, "hot-1", phase="melt", group="test"),
        make_frame(generator, phase="crystal", temperature=2500.0),
    ]
    for split, members in (
        ({"test_phases": ["glass"]}, [0]),
        ({"test_phases": ["glass"], "test_above_K": 1000}, [0, 2]),
        ({"test": ["hot-*"]}, [1]),
        ({"test": 0.1}, [0, 1, 2]),
    ):
        (folder / "config.yaml").write_text(yaml.safe_dump(config | {"split": split}))
        assert held_out_members(replace(potential, folder=folder), frames) == members


def test_frames_that_were_trained_on_are_refused():
    with pytest.raises(TrainingError, match=r"test and training data overlap: .* are the same frames") as caught:
        evaluate(["napos-deepmd"], [DFT])
    assert "and napos_dft.extxyz.gz, frame" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([str(DFT)], "name at least one potential with --potential"),
        ([str(DFT), "-p", "napos-deepmd", "-p", "napos-deepmd"], "potential 'napos-deepmd' is named twice"),
        ([str(DFT), "-p", "napos-deepmd", "--group", "tset"], "no frame is of the group 'tset'; the groups of these"),
        ([str(DFT), "-p", "napos-depmd"], "did you mean 'napos-deepmd'"),
        (["no.extxyz", "-p", "napos-deepmd"], "no.extxyz cannot be read"),
    ],
)
def test_bad_input_is_one_sentence(arguments, sentence, tmp_path):
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["evaluate", *arguments, "--out", str(out)])
    said = " ".join((result.output + str(result.exception or "")).replace("│", " ").split())
    assert result.exit_code != 0
    assert sentence in said
    assert not out.exists()


def test_elements_that_a_potential_does_not_know_are_refused(tmp_path):
    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((8, 3)))
    atoms.info["trajectory"] = "salt"
    ase.io.write(tmp_path / "salt.extxyz", atoms, format="extxyz")
    with pytest.raises(Exception, match="'napos-deepmd' does not know Cl"):
        evaluate(["napos-deepmd"], [tmp_path / "salt.extxyz"])


# ------------------------------------------------------------------ the whole


@pytest.mark.slow
def test_both_shipped_potentials_on_dft_frames(tmp_path):
    """On the page stands what the predictors say, and each frame has its row."""
    some = tmp_path / "some.extxyz"
    frames = [frame for frame in ase.io.read(DFT, ":") if frame.info["group"] == "test"][::2]
    ase.io.write(some, frames, format="extxyz")
    out = tmp_path / "out"
    arguments = ["evaluate", str(some), "-p", "napos-deepmd", "-p", "napos-mace", "--out", str(out), "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    numbers = json.loads((out / "report.json").read_text())["numbers"]
    rows = list(csv.DictReader((out / "frames.csv").open()))
    assert len(rows) == 2 * len(frames)
    for name in ("napos-deepmd", "napos-mace"):
        forces = next(n for n in numbers if (n["table"], n["row"], n["column"]) == ("summary", name, "Forces"))
        own = [row for row in rows if row["potential"] == name]
        squares = [float(row["force_rmse_meV_per_A"]) ** 2 * int(row["atoms"]) for row in own]
        expected = np.sqrt(sum(squares) / sum(int(row["atoms"]) for row in own))
        assert forces["value"] == pytest.approx(expected, rel=1e-4)
        assert forces["low"] < forces["value"] < forces["high"]
        assert 100 < forces["value"] < 1500
        cost = next(n for n in numbers if (n["table"], n["row"], n["column"]) == ("summary", name, "Core time"))
        assert cost["value"] > 10
        assert all(float(row["distance"]) > 0 for row in own)
    page = (out / "evaluation.html").read_text()
    for anchor in ("summary", "systems", "parity", "groups", "atoms", "signs", "cost", "method"):
        assert f'id="{anchor}"' in page


def test_no_test_set_of_its_own_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPOS_LMP_HOME", str(tmp_path / "home"))
    folder = tmp_path / "alone"
    shutil.copytree(load_potential("napos-deepmd").folder, folder)
    (folder / "config.yaml").unlink()
    card = folder / "card.yaml"
    card.write_text(card.read_text().replace("name: napos-deepmd", "name: alone"))
    add_potential(folder)
    with pytest.raises(EvaluationError, match="the training set of 'alone' is not to be found, so its own test set is"):
        evaluate(["alone"])
