"""The deviation of a committee while a deck runs, against DeePMD-kit's and MACE's own on stored frames."""

import shutil

import numpy as np
import pytest
from synthetic_decks import CARD, melt_quench_stages, write_deck
from synthetic_decks import run_deck as write_run
from tiny_mace import ELEMENTS, save_tiny_mace
from typer.testing import CliRunner

from napos_lmp import deviation
from napos_lmp.analysis.deck import analyse_deck
from napos_lmp.analysis.extrapolation import Extrapolation, ExtrapolationResult
from napos_lmp.analysis.quantities.extrapolation import extrapolation_quantities, extrapolation_record
from napos_lmp.backends import get_backend
from napos_lmp.backends.deepmd import DeepmdBackend, import_deepmd, load_frozen
from napos_lmp.card import CommitteeMember, PotentialCard, TrainingData, UsualDeviation
from napos_lmp.cli.app import app
from napos_lmp.composition import Composition
from napos_lmp.deck import present_elements, render_deck
from napos_lmp.deviation import planned_deviation
from napos_lmp.engine import check_deck, run_deck
from napos_lmp.errors import AnalysisError, PotentialError, TrajectoryError
from napos_lmp.files import sha256_of
from napos_lmp.manifest import Deviation, Manifest, read_manifest, write_manifest
from napos_lmp.potential import add_potential, load_potential, write_card
from napos_lmp.protocol import Melt, Minimise, Produce, Protocol, Quench, Relax, Strain
from napos_lmp.report import write_report
from napos_lmp.structure import pack
from napos_lmp.trajectory import DeckTrajectory

USUAL = UsualDeviation(largest_atom_eV_A=0.004, frame_mean_eV_A=0.002, frames=20, atoms=5000)


@pytest.fixture(scope="module", autouse=True)
def folders(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAPOS_LMP_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setattr(deviation, "LEAST_INTERVAL_PS", 0.02)
        yield


def committee_card(folder, card: dict, names: list[str]):
    """Write the card of models that lie in a folder, and accept them."""
    digests = [sha256_of(folder / name) for name in names]
    others = [CommitteeMember(file=name, sha256=digest) for name, digest in zip(names[1:], digests[1:], strict=True)]
    told = {"file": names[0], "sha256": digests[0], "committee": others, "usual_deviation": USUAL}
    write_card(folder, PotentialCard.model_validate(card | told))
    return add_potential(folder, trust=True)


@pytest.fixture(scope="module")
def deepmd_committee(folders, tmp_path_factory):
    """The shipped model, and two whose fitting networks differ a little from it."""
    import torch

    shipped = load_potential("napos-deepmd")
    tabulated = DeepmdBackend().deck_file(shipped)
    folder = tmp_path_factory.mktemp("deepmd")
    shutil.copyfile(tabulated, folder / "model.pth")
    for seed in (2, 3):
        model = load_frozen(tabulated)
        torch.manual_seed(seed)
        with torch.no_grad():
            for name, values in [*model.named_parameters(), *model.named_buffers()]:
                if "fitting_net" in name and name.endswith("matrix") and values.numel() > 200:
                    values.add_(0.01 * values.abs().mean() * torch.randn_like(values))
        torch.jit.save(model, str(folder / f"model-{seed}.pth"))
    card = shipped.card.model_dump() | {"name": "three", "tabulation": None}
    return committee_card(folder, card, ["model.pth", "model-2.pth", "model-3.pth"])


def small_deck(folder, potential, *, temperature=1200.0):
    """26 atoms: a minimisation, 60 steps at one temperature and 40 at constant pressure; frames every 10 steps."""
    composition = Composition.parse("Na4P2S5O2")
    counts = composition.cell(26).counts
    stages = (
        Minimise(max_iterations=45),
        Melt(temperature_K=temperature, duration_ps=0.06, dump_steps=10),
        Quench(ensemble="npt", end_temperature_K=temperature - 100, rate_K_per_ps=100 / 0.04, dump_steps=10),
    )
    render_deck(
        folder,
        composition=composition,
        potential=potential,
        protocol=Protocol(name="test", stages=stages, timestep_fs=1.0, thermo_ps=0.01, restart_ps=0.02),
        seed=3,
        structure=pack(counts, 1.8, 3, present_elements(potential, counts)),
    )
    return folder


@pytest.fixture(scope="module")
def stopped_deck(deepmd_committee, tmp_path_factory):
    """A deck that was stopped on the way and resumed."""
    deck = small_deck(tmp_path_factory.mktemp("runs") / "deck", deepmd_committee)
    stage = deck / "stages/02-melt.lammps"
    text = stage.read_text()
    stage.write_text(
        text.replace("\nrun ", "\nrun 25\nshell touch STOP\nrun ", 1)
    )  # LAMMPS itself: in time on any machine
    assert run_deck(deck, progress=False, force=True).outcome == "stopped"
    stage.write_text(text)
    assert run_deck(deck, progress=False).last_step == 100
    return deck


def stored(deck, stage):
    """Steps of all stored frames of a stage, their positions and cells."""
    from napos_lmp.analysis.base import checked_box

    universe = DeckTrajectory(deck).universe(stage)
    frames = [(universe.atoms.positions.astype(float), checked_box(step)) for step in universe.trajectory]
    return universe.trajectory.steps, np.array([frame[0] for frame in frames]), np.array([frame[1] for frame in frames])


def test_every_model_is_in_the_deck_and_checked(stopped_deck, deepmd_committee, tmp_path):
    manifest = read_manifest(stopped_deck)
    assert manifest.deviation == Deviation(stride=20)
    assert [other.file for other in manifest.potential.committee] == ["potential/model-2.pth", "potential/model-3.pth"]
    assert all(manifest.files[other.file] == other.sha256 for other in manifest.potential.committee)
    line = (
        "pair_style  deepmd potential/model.pth potential/model-2.pth potential/model-3.pth out_file ${deviation_file}"
    )
    assert f"{line} out_freq 20" in (stopped_deck / "potential.lammps").read_text()
    deck = small_deck(tmp_path / "deck", deepmd_committee)
    other = deck / "potential/model-3.pth"
    other.unlink()
    shutil.copyfile(deck / "potential/model.pth", other)
    (check,) = [check for check in check_deck(deck, force=True) if check.name == "potential"]
    assert (check.status, "potential/model-3.pth is missing or not the model" in check.sentence) == ("fail", True)


def test_a_check_leaves_the_rows_of_a_run_alone(stopped_deck):
    files = sorted((stopped_deck / "trajectory").iterdir())
    before = [file.read_bytes() for file in files]
    assert not [check.sentence for check in check_deck(stopped_deck) if check.status == "fail"]
    assert sorted((stopped_deck / "trajectory").iterdir()) == files
    assert [file.read_bytes() for file in files] == before


def test_rows_are_those_of_deepmd_on_the_stored_frames(stopped_deck, deepmd_committee):
    """Across a restart, without the rows of the minimisation, and each step once."""
    import_deepmd()
    from deepmd.infer import DeepPot
    from deepmd.infer.model_devi import calc_model_devi

    assert len(list(stopped_deck.glob("trajectory/deviation.*.txt"))) == 2
    assert not (stopped_deck / "trajectory/deviation.001.txt").read_text().startswith("#")
    models = [DeepPot(str(file)) for file in deepmd_committee.models]
    types = DeckTrajectory(stopped_deck).universe("02-melt").atoms.elements
    order = [list(models[0].get_type_map()).index(element) for element in types]
    for stage, expected in (("02-melt", [0, 20, 40, 60]), ("03-quench", [60, 80, 100])):
        rows = DeckTrajectory(stopped_deck).deviation(stage)
        assert rows.steps.tolist() == expected
        np.testing.assert_allclose(rows.times, np.array(expected) / 1000)
        steps, positions, cells = stored(stopped_deck, stage)
        chosen = np.isin(steps, expected)
        table = calc_model_devi(positions[chosen], cells[chosen], order, models)
        np.testing.assert_allclose(rows.largest, table[:, 4], rtol=2e-3)
        np.testing.assert_allclose(rows.mean, table[:, 6], rtol=2e-4)


def test_stored_frames_give_the_same_where_nothing_was_written(stopped_deck, tmp_path):
    asked = Extrapolation(DeckTrajectory(stopped_deck), "03-quench").run()
    deck = tmp_path / "deck"
    shutil.copytree(stopped_deck, deck)
    for file in deck.glob("trajectory/deviation.*"):
        file.unlink()
    found = Extrapolation(DeckTrajectory(deck), "03-quench").run()
    assert (asked.source, found.source) == ("run", "frames")
    np.testing.assert_allclose(found.times, [0.06, 0.07, 0.08, 0.09, 0.1])
    np.testing.assert_allclose(found.largest[::2], asked.largest, rtol=2e-3)
    np.testing.assert_allclose(found.mean[::2], asked.mean, rtol=2e-4)
    with pytest.raises(TrajectoryError, match="has no whole row in trajectory/deviation"):
        Extrapolation(DeckTrajectory(deck), "03-quench").run(stored_frames=False)


def test_analysis_and_report_say_that_it_extrapolates(stopped_deck, tmp_path):
    deck = tmp_path / "study" / "deck"
    shutil.copytree(stopped_deck, deck)
    result = analyse_deck(deck)
    stages = {stage.stage: stage for stage in result.stages}
    assert list(stages) == ["02-melt", "03-quench"]
    record = stages["03-quench"].extrapolation
    assert (record.source, record.looks, record.share, record.extrapolating) == ("run", 3, 1.0, True)
    rows = DeckTrajectory(deck).deviation("03-quench")
    assert stages["03-quench"].get("extrapolation.largest").value == pytest.approx(rows.largest.max())
    assert stages["03-quench"].get("extrapolation.frames").value == 100
    assert record.verdict.startswith("extrapolating: 100 % of 3 looks on the way are beyond the limits")
    table = np.loadtxt(deck / "analysis" / stages["03-quench"].files["deviation"], delimiter=",", skiprows=1)
    np.testing.assert_allclose(table, np.column_stack([rows.times, rows.largest, rows.mean]))
    assert "trajectory/deviation.001.txt" in result.inputs
    printed = CliRunner().invoke(app, ["analyse", str(deck)])
    assert f"{deck}, 03-quench: {record.verdict}" in printed.stderr.splitlines()
    page = write_report(tmp_path / "study").read_text()
    assert "Configurations that the potential does not know" in page
    assert "the potential extrapolates in 2 of 2 stages" in page
    assert "Deviation of the committee in Na4P2S5O2 against time" in page


def test_killed_run_loses_no_more_than_its_last_row(stopped_deck, tmp_path):
    deck = tmp_path / "deck"
    shutil.copytree(stopped_deck, deck)
    file = deck / "trajectory/deviation.001.txt"
    file.write_text(file.read_text()[:-30])
    assert DeckTrajectory(deck).deviation("03-quench").steps.tolist() == [60, 80]


def test_other_files_are_refused(stopped_deck, tmp_path):
    deck = tmp_path / "deck"
    shutil.copytree(stopped_deck, deck)
    file = deck / "trajectory/deviation.001.txt"
    for row, sentence in (
        ("90 0 0 0 1 1 1", "has rows off the grid of every 20 steps"),
        ("120 0 0 0 1 1 1", "goes to step 120; the deck ends at 100"),
        ("80 0 0 0", "is damaged"),
        ("80 0 0 0 x y z", "is damaged"),
    ):
        file.write_text(f"{(stopped_deck / 'trajectory/deviation.001.txt').read_text()}{row}\n")
        with pytest.raises(TrajectoryError, match=sentence) as caught:
            DeckTrajectory(deck).deviation("03-quench")
        assert "\n" not in str(caught.value)


def test_segment_that_was_killed_in_the_minimisation_has_no_rows(stopped_deck, tmp_path):
    deck = tmp_path / "deck"
    shutil.copytree(stopped_deck, deck)
    for name in ("log/thermo.002.log", "trajectory/deviation.002.txt"):
        (deck / name).write_text((deck / name.replace("002", "000")).read_text() if "deviation" in name else "")
    assert DeckTrajectory(deck).deviation("02-melt").steps.tolist() == [0, 20, 40, 60]


def written_deck(folder, card):
    stages = melt_quench_stages(frames=4)
    write_run(folder, stages, write_deck(folder, stages, card=card))
    return folder


def test_potential_of_one_model_has_no_deviation(tmp_path):
    trajectory = DeckTrajectory(written_deck(tmp_path / "deck", CARD))
    reason = "'made-up'.* is one model, and a deviation takes a committee of at least two"
    with pytest.raises(TrajectoryError, match=reason):
        trajectory.deviation("04-produce")
    with pytest.raises(AnalysisError, match=reason):
        Extrapolation(trajectory, "04-produce").run()


def test_deck_without_its_potential_here_says_what_to_do(tmp_path):
    """As made before this program asked committees: the manifest has none of the new fields."""
    card = CARD | {"committee": [{"file": "model-2.pth", "sha256": "1" * 64}]}
    deck = written_deck(tmp_path / "deck", card)
    manifest = read_manifest(deck)
    older = manifest.model_dump(mode="json")
    del older["deviation"], older["potential"]["committee"]
    assert Manifest.model_validate(older) == manifest
    with pytest.raises(PotentialError, match="potential 'made-up' is not known"):
        Extrapolation(DeckTrajectory(deck), "04-produce").run()


def test_accepted_models_must_be_those_of_the_deck(stopped_deck, tmp_path):
    deck = tmp_path / "deck"
    shutil.copytree(stopped_deck, deck)
    for file in deck.glob("trajectory/deviation.*"):
        file.unlink()
    manifest = read_manifest(deck)
    card = manifest.potential.card | {"sha256": "2" * 64}
    write_manifest(
        deck, manifest.model_copy(update={"potential": manifest.potential.model_copy(update={"card": card})})
    )
    with pytest.raises(AnalysisError, match="'three' is accepted here with other models than those of the deck"):
        Extrapolation(DeckTrajectory(deck), "02-melt").run()


def looks(largest, mean, usual=USUAL, n_atoms=100):
    times = np.arange(len(largest)) * 0.5
    return ExtrapolationResult(times, np.array(largest), np.array(mean), n_atoms, usual, "run", "three")


def test_chance_is_what_frames_of_the_same_kind_show():
    """Deviations of one distribution, drawn anew: as many are beyond the limits as the formula says."""
    generator = np.random.default_rng(5)
    shares, chances, judged = [], [], []
    for _ in range(60):
        validation = np.linalg.norm(generator.normal(0, 0.1, (40, 50, 3)), axis=2)
        usual = UsualDeviation(
            largest_atom_eV_A=validation.max(),
            frame_mean_eV_A=np.quantile(validation.mean(1), 0.99),
            frames=40,
            atoms=validation.size,
        )
        run = np.linalg.norm(generator.normal(0, 0.1, (200, 200, 3)), axis=2)
        found = looks(run.max(1), run.mean(1), usual, n_atoms=200)
        shares.append(np.mean(found.largest > usual.largest_atom_eV_A))
        chances.append(found.chance - 0.01)
        judged.append(found.extrapolating)
    assert np.mean(shares) == pytest.approx(np.mean(chances), abs=0.02)
    assert np.mean(judged) < 0.5


def test_verdicts():
    home = looks([0.003] * 99 + [0.0041], [0.001] * 100)
    assert (home.extrapolating, home.share, home.worst) == (False, 0.01, 99)
    assert home.verdict.startswith(
        "at home: 1 % of 100 looks on the way are beyond the limits, where chance gives up to 3"
    )
    often = looks([0.0041] * 12 + [0.003] * 88, [0.001] * 100)
    assert often.verdict.startswith("extrapolating: 12 % of 100 looks on the way are beyond the limits")
    assert "0.0041 eV/A at 0 ps, is 1 x the largest of the validation frames; do not trust" in often.verdict
    assert looks([0.003] * 99 + [0.009], [0.001] * 100).extrapolating
    assert looks([0.003] * 100, [0.0021] * 10 + [0.001] * 90).extrapolating
    blown = looks([0.003, np.nan], [0.001, np.nan])
    assert (blown.extrapolating, blown.share, blown.worst) == (True, 0.5, 1)
    assert {q.key: q.refused for q in extrapolation_quantities(blown)}[
        "extrapolation.largest"
    ] == "the simulation blew up"
    assert extrapolation_record(blown).largest_eV_A is None


def test_card_that_does_not_say_what_is_usual_gives_numbers_without_a_verdict():
    found = looks([0.1, 0.2], [0.05, 0.06], usual=None)
    assert (found.extrapolating, found.share, found.chance) == (None, None, None)
    assert (
        "no verdict: the largest deviation of an atom, 0.2 eV/A at 0.5 ps, in 2 looks on the way cannot"
        in found.verdict
    )
    quantities = {quantity.key: quantity for quantity in extrapolation_quantities(found)}
    assert quantities["extrapolation.largest"].value == 0.2
    assert quantities["extrapolation.mean"].value == pytest.approx(0.055)
    assert quantities["extrapolation.frames"].refused == "the card of three does not say what is usual"


def stride(*stages, timestep_fs=1.0):
    protocol = Protocol(name="test", stages=stages, timestep_fs=timestep_fs)
    found = planned_deviation(protocol.schedule(), timestep_fs / 1000)
    return found and found.stride


def test_committee_is_asked_on_frames_of_the_production(monkeypatch):
    monkeypatch.setattr(deviation, "LEAST_INTERVAL_PS", 0.5)
    melt = Melt(temperature_K=1200, duration_ps=10, dump_ps=1.0)
    assert stride(melt) == 1000
    assert stride(melt, Produce(temperature_K=1200, duration_ps=10, dump_ps=0.1)) == 500
    assert stride(melt, Produce(temperature_K=1200, duration_ps=10, dump_ps=0.2)) == 600
    assert stride(melt, Produce(temperature_K=1200, duration_ps=10, dump_ps=0.1), timestep_fs=2.0) == 250
    assert stride(Melt(temperature_K=1200, duration_ps=10, dump_ps=None)) == 500
    assert stride(Relax(), Strain()) is None


def test_only_the_bridge_asks_a_committee_of_mace():
    assert get_backend("mliap").committee_template() == "potentials/mliap_committee.lmp.j2"
    assert get_backend("mliap").committee_template(gpu=True) is None
    assert get_backend("mliap", "symmetrix/mace").committee_template() is None


@pytest.mark.slow
def test_bridge_asks_a_committee_of_mace(tmp_path):
    """Against MACE's own calculators on the stored frames."""
    import torch
    from ase import Atoms
    from mace.calculators import MACECalculator

    models = [save_tiny_mace(tmp_path / name, seed=seed) for seed, name in enumerate(["a.model", "b.model"])]
    folder = tmp_path / "committee"
    folder.mkdir()
    for model in models:
        model.rename(folder / model.name)
    card = {
        "name": "two-mace", "backend": "mliap", "elements": ELEMENTS, "cutoff_A": 4.0, "description": "random weights",
        "training_data": TrainingData(level_of_theory="none"),
    }  # fmt: skip
    potential = committee_card(folder, card, ["a.model", "b.model"])
    deck = small_deck(tmp_path / "deck", potential, temperature=600.0)
    assert [other.file for other in read_manifest(deck).potential.committee] == ["potential/model-2.pt"]
    run_deck(deck, progress=False)
    heading = (deck / "trajectory/deviation.000.txt").read_text().splitlines()[0]
    assert tuple(heading.removeprefix("#").split()) == read_manifest(deck).deviation.columns
    trajectory = DeckTrajectory(deck)
    networks = [torch.load(file, weights_only=False) for file in potential.models]
    calculators = [MACECalculator(models=[one], device="cpu", default_dtype="float64") for one in networks]
    symbols = trajectory.universe("02-melt").atoms.elements
    for stage, expected in (("02-melt", [0, 20, 40, 60]), ("03-quench", [60, 80, 100])):
        rows = trajectory.deviation(stage)
        assert rows.steps.tolist() == expected
        steps, positions, cells = stored(deck, stage)
        for place, step in enumerate(expected):
            at = int(np.flatnonzero(steps == step)[0])
            atoms = Atoms(symbols, positions=positions[at], cell=cells[at], pbc=True)
            forces = [calculator.get_forces(atoms) for calculator in calculators]
            apart = np.linalg.norm(forces[0] - forces[1], axis=1) / 2
            assert rows.largest[place] == pytest.approx(apart.max(), rel=1e-4)
            assert rows.mean[place] == pytest.approx(apart.mean(), rel=1e-4)
    for file in deck.glob("trajectory/deviation.*"):
        file.unlink()
    found = Extrapolation(DeckTrajectory(deck), "02-melt").run()
    np.testing.assert_allclose(found.mean[::2], trajectory.deviation("02-melt").mean, rtol=1e-4)
