import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from napos_lmp.backends.mace import contained_imports
from napos_lmp.card import PotentialCard, write_card
from napos_lmp.errors import TrainingError
from napos_lmp.files import is_whole_archive, sha256_of
from napos_lmp.potential import add_potential, load_potential
from napos_lmp.training import foundation as foundation_module
from napos_lmp.training import mace_run
from napos_lmp.training.atomic_energies import AtomicEnergies, fit_atomic_energies
from napos_lmp.training.config import read_config
from napos_lmp.training.dataset import Frame, read_frames, split_frames, stress_of_virial, write_extxyz
from napos_lmp.training.mace import train_mace
from napos_lmp.training.mace_config import MaceConfig
from napos_lmp.training.mace_run import mace_arguments
from napos_lmp.training.peers import peer_errors
from napos_lmp.training.plan import read_plan
from napos_lmp.training.prediction import predict_mace
from napos_lmp.trust import accepting

ELEMENTS = ("Na", "P", "S", "O")
SUBSET = Path(__file__).parent / "data" / "starter_subset.extxyz.gz"
ISOLATED = '1\nProperties=species:S:1:pos:R:3 config_type=IsolatedAtom energy={} pbc="F F F"\n{} 0 0 0\n'


CONFIG = {
    "name": "tiny",
    "description": "as small as it gets",
    "level_of_theory": "SevenNet-0",
    "elements": list(ELEMENTS),
    "data": [str(SUBSET)],
    "split": {"validation": 0.35, "seed": 2},
    "model": {"channels": 8, "max_ell": 1, "correlation": 2, "cutoff_A": 3.0},
    "epochs": 6,
    "threads": 1,
    "output": "out",
}


def write_config(folder: Path, **changes: object) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in (CONFIG | changes).items() if value is not None}))
    return path


def random_mace(path: Path, *, elements: tuple[str, ...] = ELEMENTS, heads: tuple[str, ...] = ("Default",)) -> Path:
    """Write a MACE model with random weights, in double precision."""
    import torch
    from ase.data import atomic_numbers
    from e3nn import o3
    from mace import modules

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(1)
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    model = modules.ScaleShiftMACE(
        r_max=3.0,
        num_bessel=4,
        num_polynomial_cutoff=5,
        max_ell=1,
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=2,
        num_elements=len(elements),
        hidden_irreps=o3.Irreps("4x0e"),
        MLP_irreps=o3.Irreps("4x0e"),
        atomic_energies=np.tile(np.arange(len(elements)) - 4.0, (len(heads), 1)),
        avg_num_neighbors=8.0,
        atomic_numbers=sorted(atomic_numbers[element] for element in elements),
        correlation=2,
        gate=torch.nn.functional.silu,
        radial_MLP=[8],
        radial_type="bessel",
        atomic_inter_scale=[1.0] * len(heads),
        atomic_inter_shift=[0.0] * len(heads),
        heads=list(heads),
    )
    torch.save(model, path)
    torch.set_default_dtype(before)
    return path


@pytest.fixture(scope="module", autouse=True)
def mace_imported() -> None:
    with contained_imports():
        import mace.calculators  # noqa: F401


@pytest.fixture(scope="module")
def frames() -> tuple[Frame, ...]:
    return read_frames([SUBSET], ELEMENTS, "trajectory", 40.0).frames


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HOME", "CACHE"):
        monkeypatch.setenv(f"NAPOS_LMP_{name}", str(tmp_path / name))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "HOME"


def frame_of(symbols: str, energy: float) -> Frame:
    from ase import Atoms

    atoms = Atoms(symbols)
    count = len(atoms)
    return Frame(
        symbols=tuple(atoms.get_chemical_symbols()),
        cell=9.0 * np.eye(3),
        positions=np.zeros((count, 3)),
        energy=energy,
        forces=np.zeros((count, 3)),
        virial=None,
        density=1.0,
        trajectory="a",
        composition=symbols,
        phase="glass",
        temperature=None,
    )


def test_frames_are_written_as_mace_reads_them(tmp_path: Path, frames: tuple[Frame, ...]):
    from ase.units import GPa
    from mace.data import load_from_xyz
    from mace.data.utils import KeySpecification

    without = Frame(**frames[1].__dict__ | {"virial": None})
    write_extxyz([frames[0], without], tmp_path / "two.xyz")
    _, (full, bare) = load_from_xyz(str(tmp_path / "two.xyz"), KeySpecification.from_defaults())
    assert full.properties["energy"] == frames[0].energy
    np.testing.assert_allclose(full.properties["forces"], frames[0].forces, atol=1e-8)
    volume = abs(np.linalg.det(frames[0].cell))
    np.testing.assert_allclose(full.properties["stress"], -frames[0].virial / volume, atol=1e-6 * GPa)
    assert full.property_weights["stress"] == 1.0
    assert bare.property_weights["stress"] == 0.0


@pytest.mark.parametrize("kind", ["universal", "squares"])
def test_a_frame_without_stress_teaches_no_zeros(tmp_path: Path, frames: tuple[Frame, ...], kind: str):
    import torch
    from mace.data import AtomicData, load_from_xyz
    from mace.data.utils import KeySpecification
    from mace.modules.loss import UniversalLoss, WeightedEnergyForcesStressLoss
    from mace.tools import AtomicNumberTable
    from mace.tools.torch_geometric import Batch

    given = read_config(write_config(tmp_path, loss={"kind": kind}), MaceConfig)
    mace_name = mace_arguments(given, "{}", None)["loss"]
    loss = {"universal": UniversalLoss, "stress": WeightedEnergyForcesStressLoss}[mace_name](stress_weight=100.0)
    write_extxyz([frames[0], Frame(**frames[1].__dict__ | {"virial": None})], tmp_path / "two.xyz")
    _, read = load_from_xyz(str(tmp_path / "two.xyz"), KeySpecification.from_defaults())
    table = AtomicNumberTable([8, 11, 15, 16])
    batch = Batch.from_data_list([AtomicData.from_config(item, z_table=table, cutoff=3.0) for item in read])
    right = {"energy": batch.energy, "forces": batch.forces, "stress": batch.stress}
    wrong_bare, wrong_full = batch.stress.clone(), batch.stress.clone()
    wrong_bare[1] += torch.eye(3)
    wrong_full[0] += torch.eye(3)
    assert loss(pred=right, ref=batch) == 0
    assert loss(pred=right | {"stress": wrong_bare}, ref=batch) == 0
    assert loss(pred=right | {"stress": wrong_full}, ref=batch) > 0.1


def test_atomic_energies_are_those_that_mace_fits(frames: tuple[Frame, ...], tmp_path: Path):
    from mace.data import compute_average_E0s, load_from_xyz
    from mace.data.utils import KeySpecification
    from mace.tools import AtomicNumberTable

    write_extxyz(frames, tmp_path / "all.xyz")
    _, read = load_from_xyz(str(tmp_path / "all.xyz"), KeySpecification.from_defaults())
    expected = compute_average_E0s(read, AtomicNumberTable([8, 11, 15, 16]))
    found = fit_atomic_energies(frames, ELEMENTS, {})
    assert [found.values[element] for element in ("O", "Na", "P", "S")] == pytest.approx(
        list(expected.values()), abs=1e-6
    )
    # two glasses, both neutral: two relations between four numbers
    assert len(found.relations) == 2


def test_atomic_energies_of_exact_labels_are_found():
    true = {"Na": -1.25, "P": -5.5, "S": -3.75}
    formulas = ("Na4P2S7", "Na3PS4", "NaPS3", "Na10P4S15", "Na2S", "P2S7")
    labels = [frame_of(text, sum(true[symbol] for symbol in frame_of(text, 0).symbols)) for text in formulas]
    assert fit_atomic_energies(labels, tuple(true), {}) == AtomicEnergies(true)
    assert fit_atomic_energies(labels[:2], tuple(true), {"P": -5.5}) == AtomicEnergies(true)


@pytest.mark.parametrize(
    ("formulas", "relations", "equation"),
    [
        (("Na4P2S7", "Na4P2S2O5", "Na3PS4", "NaPO3"), ({"Na": 1, "P": 5, "S": -2, "O": -2},), "Na + 5 P = 2 S + 2 O"),
        (("Na4P2S7", "Na4P2S5O", "Na2PSO"), ({"Na": 1, "P": -2},), "Na = 2 P"),
        (("Na4P2", "Na8P4"), ({"Na": 1, "P": -2},), "Na = 2 P"),
        (("Na4P2S7O", "Na3PS4O2", "NaPS3", "NaPO3"), (), ""),
    ],
)
def test_what_the_frames_leave_open_is_named(
    formulas: tuple[str, ...], relations: tuple[dict[str, int], ...], equation: str
):
    labels = [frame_of(text, -1.0 * index) for index, text in enumerate(formulas)]
    elements = tuple(element for element in ELEMENTS if any(element in frame.symbols for frame in labels))
    found = fit_atomic_energies(labels, elements, {})
    counts = np.array([[frame.symbols.count(element) for element in elements] for frame in labels])
    assert len(elements) - len(found.relations) == np.linalg.matrix_rank(counts)
    assert found.relations == relations
    assert all(equation in sentence for sentence in found.warnings())


def test_isolated_atoms_give_their_energies_and_are_no_frames(tmp_path: Path, frames: tuple[Frame, ...]):
    path = tmp_path / "isolated.extxyz"
    path.write_text(ISOLATED.format(-0.25, "Na") + ISOLATED.format(-1.5, "O") + ISOLATED.format(-0.25, "Na"))
    found = read_frames([SUBSET, path], ELEMENTS, "trajectory", 40.0)
    assert found.isolated == {"Na": -0.25, "O": -1.5}
    assert len(found.frames) == len(frames)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ISOLATED.format(-1, "Na") + ISOLATED.format(-2, "Na"), "the isolated Na has -2 eV, another one -1 eV"),
        (ISOLATED.format(-1, "Si"), "holds Si, which elements"),
        (ISOLATED.format("nan", "Na"), "the isolated Na has no finite energy"),
    ],
)
def test_bad_isolated_atoms_give_one_sentence(tmp_path: Path, text: str, message: str):
    path = tmp_path / "isolated.extxyz"
    path.write_text(text)
    with pytest.raises(TrainingError, match=re.escape(message)):
        read_frames([path], ELEMENTS, "trajectory", 40.0)


@pytest.mark.parametrize("size", ["small", "medium", "large"])
def test_arguments_are_accepted_by_mace_s_own_check(tmp_path: Path, size: str):
    from mace.tools import build_default_arg_parser, check_args

    plateau = {"schedule": "plateau", "factor": 0.5, "patience": 3}
    path = write_config(tmp_path, model={"size": size, "correlation": 2}, learning_rate=plateau)
    config = read_config(path, MaceConfig)
    arguments = mace_arguments(config, "{8: -1.5, 11: -0.25}", None)
    (tmp_path / "mace.yaml").write_text(yaml.safe_dump(arguments))
    read, _ = check_args(build_default_arg_parser().parse_args(["--config", str(tmp_path / "mace.yaml")]))
    assert (read.correlation, read.num_interactions) == (2, 2), "a number given replaces that of the preset"
    assert read.r_max == config.model.numbers()["cutoff_A"]
    assert str(read.hidden_irreps) == {"small": "32x0e", "medium": "64x0e", "large": "128x0e+128x1o"}[size]
    assert (read.swa, read.start_swa, read.max_num_epochs) == (True, 4, 6)
    assert (read.ema, read.ema_decay, read.plot) == (True, 0.99, False)
    assert (read.scheduler, read.lr_factor, read.scheduler_patience) == ("ReduceLROnPlateau", 0.5, 3)
    assert read.E0s == "{8: -1.5, 11: -0.25}"


@pytest.mark.parametrize(
    ("changes", "epochs"), [({"epochs": 40}, 30), ({"epochs": 300, "stage_two": {"start": 200}}, 200)]
)
def test_the_learning_rate_falls_tenfold_over_the_first_stage_however_long(tmp_path: Path, changes, epochs: int):
    config = read_config(write_config(tmp_path, **changes), MaceConfig)
    assert mace_arguments(config, "average", None)["lr_scheduler_gamma"] ** epochs == pytest.approx(0.1)


def test_the_first_stage_of_the_shipped_model_gives_the_arguments_it_was_trained_with():
    plan = Path(__file__).parents[1] / "potentials/first-stage/plan.yaml"
    _, trainings = read_plan(plan)
    given = MaceConfig.model_validate(next(one.config for one in trainings if one.family == "mace"))
    expected = """--name first-mace --energy_key REF_energy --forces_key REF_forces --stress_key REF_stress
        --model ScaleShiftMACE --num_channels 32 --max_L 0 --correlation 3 --num_interactions 2 --r_max 4.5 --max_ell 2
        --default_dtype float32 --batch_size 4 --valid_batch_size 8 --loss universal --energy_weight 1
        --forces_weight 10 --stress_weight 10 --lr 0.01 --scheduler ExponentialLR --lr_scheduler_gamma 0.9
        --ema True --ema_decay 0.99 --amsgrad True --swa True --start_swa 14 --swa_lr 0.0005 --swa_energy_weight 100
        --swa_forces_weight 100 --swa_stress_weight 100 --max_num_epochs 19 --eval_interval 1 --seed 1
        --compute_stress True --restart_latest True --save_cpu True"""
    words = expected.split()
    arguments = mace_arguments(given, "average", None)
    for name, value in zip(words[::2], words[1::2], strict=True):
        own = arguments[name.removeprefix("--")]
        assert (own == float(value)) if re.fullmatch(r"[\d.]+", value) else (str(own) == value), name


def test_predictions_are_the_ase_calculator_s_in_any_order_of_atoms(tmp_path: Path, frames: tuple[Frame, ...]):
    import torch
    from ase import Atoms
    from mace.calculators import MACECalculator

    file = random_mace(tmp_path / "random.model")
    frame, order = frames[-1], np.random.default_rng(2).permutation(26)
    atoms = Atoms(frame.symbols, positions=frame.positions, cell=frame.cell, pbc=True)[order]
    mixed = Frame(**frame.__dict__ | {"symbols": tuple(atoms.get_chemical_symbols()), "positions": atoms.positions})
    with accepting(sha256_of(file)):
        *_, found = predict_mace(file, [*frames[:17], mixed])
    model = torch.load(file, weights_only=False)
    atoms.calc = MACECalculator(models=[model], device="cpu", default_dtype="float64")
    assert found.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    np.testing.assert_allclose(found.forces, atoms.get_forces(), atol=1e-10)
    stress = stress_of_virial(found.virial, atoms.get_volume())
    np.testing.assert_allclose(stress, atoms.get_stress(voigt=False), atol=1e-11)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 3}, "'steps' is not a known key"),
        ({"epoch": 3}, "did you mean 'epochs'"),
        ({"epochs": 0}, "epochs is 0"),
        ({"model": {"size": "huge"}}, "size is 'huge': it should be 'small', 'medium' or 'large'"),
        ({"model": {"max_L": 3}}, r"max_L \(3\) must not be above max_ell \(2\)"),
        ({"ema": 1.5}, "ema is 1.5"),
        ({"loss": {"kind": "huber"}}, "it should be 'universal' or 'squares'"),
        ({"stage_two": {"start": 6}}, r"stage_two.start \(6\) must be below epochs \(6\)"),
        ({"atomic_energies_eV": {"Na": -1.0, "Si": -2.0}}, "Si is not among elements"),
        ({"atomic_energies_eV": "estimate"}, "'estimate' needs a foundation"),
        ({"foundation_head": "pbe"}, "there is no foundation"),
        ({"batch": 17}, "batch: 17 is more than the 16 training frames"),
        ({"elements": ["Na", "P", "S", "O", "Si"]}, "Si is in no training frame"),
        ({"compare_with": ["napos-mac"]}, "compare_with: potential 'napos-mac' is not known"),
        ({"compare_with": ["napos-deepmd"]}, "napos-deepmd was not tested on the same frames: its data files differ"),
        ({"foundation": "none.model"}, "foundation: none.model does not exist"),
        ({"foundation": "smal", "model": None}, r"did you mean 'small'.*medium-mpa-0"),
        ({"foundation": str(SUBSET)}, "model: leave it out"),
    ],
)
def test_bad_training_files_give_one_sentence(tmp_path: Path, changes: dict[str, object], message: str):
    if changes.get("foundation") == "none.model":
        changes = changes | {"model": None}
    path = write_config(tmp_path, **changes)
    with pytest.raises(TrainingError, match=message) as caught:
        train_mace(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_without_mace_one_sentence_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "mace", None)
    with pytest.raises(TrainingError, match=r"pip install 'napos-lmp\[mace\]'"):
        train_mace(write_config(tmp_path))


def test_a_broken_mace_gives_its_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    broken = tmp_path / "broken" / "mace"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('libcudart.so.12: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    with pytest.raises(TrainingError, match=r"`mace_run_train` failed: .*libcudart.*mace\.log") as caught:
        train_mace(write_config(tmp_path))
    assert "\n" not in str(caught.value)


def test_folder_of_something_else_is_left_alone(tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").touch()
    with pytest.raises(TrainingError, match="exists and holds no training"):
        train_mace(write_config(tmp_path), trust=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def peer(home: Path, folder: Path, **changes: object) -> None:
    """Put a potential that was tested on the frames of the tiny training among the user's own."""
    config = read_config(write_config(folder, **changes.pop("config", {})), MaceConfig)  # type: ignore[arg-type]
    numbers = {"rmse": 1.0, "mae": 0.5}
    rows = [
        {"set": name, "frames": count, "energy_meV_per_atom": numbers, "force_meV_per_A": numbers}
        for name, count in ((changes.pop("set", "validation"), changes.pop("frames", 6)), ("elsewhere", 3))
    ]
    card = {
        "name": "peer",
        "backend": "deepmd",
        "elements": list(ELEMENTS),
        "cutoff_A": 6.0,
        "file": "model.pth",
        "sha256": "0" * 64,
        "description": "another",
        "training_data": {"level_of_theory": "SevenNet-0", "files": {"a": sha256_of(config.data[0])}},
        "errors": rows,
    }
    (home / "potentials" / "peer").mkdir(parents=True)
    write_card(home / "potentials" / "peer", PotentialCard.model_validate(card))
    if changes.pop("beside", True):
        shutil.copyfile(folder / "config.yaml", home / "potentials" / "peer" / "config.yaml")


def test_errors_of_a_peer_are_taken_from_its_card(own_home: Path, tmp_path: Path, frames: tuple[Frame, ...]):
    peer(own_home, tmp_path)
    config = read_config(write_config(tmp_path, compare_with=["peer"]), MaceConfig)
    ((name, rows),) = peer_errors(config, split_frames(frames, config.split)).items()
    assert name == "peer"
    assert [row.set for row in rows] == ["validation"], "a set of which nothing is known is left out"
    assert rows[0].force_meV_per_A.mae == 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": {"split": {"validation": 0.3, "seed": 2}}}, "its split is .*0.3.* here it is .*0.35"),
        ({"config": {"force_cap_eV_A": 20.0}}, "its force_cap_eV_A is 20.0, here it is 40.0"),
        ({"frames": 7}, "its set 'validation' has 7, here it has 6"),
        ({"set": "other"}, "gives no errors for validation and test"),
        ({"beside": False}, "no config.yaml beside the card of peer"),
    ],
)
def test_a_peer_of_other_frames_is_refused(own_home: Path, tmp_path: Path, changes: dict[str, object], message: str):
    peer(own_home, tmp_path, **changes)
    with pytest.raises(TrainingError, match=f"compare_with: .*{message}"):
        train_mace(write_config(tmp_path, compare_with=["peer"]))


def test_a_pickle_as_foundation_does_not_run(own_home: Path, tmp_path: Path):
    trap = tmp_path / "sprung"
    planted = tmp_path / "planted.model"
    planted.write_bytes(b"cos\nsystem\n(S'touch " + str(trap).encode() + b"'\ntR.")
    with pytest.raises(TrainingError, match=f"{sha256_of(planted)}.* runs code when it is loaded.*--trust"):
        train_mace(write_config(tmp_path, model=None), foundation=planted)
    assert not trap.exists()
    assert not (tmp_path / "out").exists()
    told: list[str] = []
    with pytest.raises(TrainingError, match=r"foundation: .*neither a MACE model"):
        train_mace(write_config(tmp_path, model=None), foundation=planted, trust=True, message=told.append)
    assert trap.exists(), "the test's pickle would have run"
    assert any("it names what a model has no need of: os.system" in sentence for sentence in told)
    assert told[-1] == f"accepting {planted} with SHA-256 {sha256_of(planted)}"


def test_a_pickle_planted_as_a_finished_training_does_not_run(own_home: Path, tmp_path: Path):
    import torch

    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, (f"touch {tmp_path / 'sprung'}",)

    path = write_config(tmp_path)
    (tmp_path / "out").mkdir()
    torch.save(Trap(), tmp_path / "out" / "tiny_stagetwo.model")
    with pytest.raises(TrainingError, match=r"did not start.*--trust"):
        train_mace(path)
    fingerprint = read_config(path, MaceConfig).fingerprint()
    (tmp_path / "out" / "training.json").write_text(json.dumps({"fingerprint": fingerprint}))
    with pytest.raises(TrainingError, match=r"did not start.*--trust"):
        train_mace(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        ({"elements": ("Na", "P", "S")}, {}, "foundation: .*random.model does not know O; it covers Na, P, S"),
        ({"heads": ("pbe", "r2scan")}, {}, "several heads; set foundation_head to one of pbe, r2scan"),
        ({"heads": ("pbe",)}, {"foundation_head": "scan"}, "foundation_head: .* has no head 'scan'; it has pbe"),
    ],
)
def test_foundations_that_do_not_fit_give_one_sentence(
    tmp_path: Path, model: dict[str, tuple[str, ...]], changes: dict[str, object], message: str
):
    path = write_config(tmp_path, model=None, foundation="random.model", **changes)
    random_mace(tmp_path / "random.model", **model)
    with pytest.raises(TrainingError, match=message):
        train_mace(path, trust=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("answers", [False, True])
def test_a_foundation_that_cannot_be_downloaded_gives_one_sentence_soon(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: bool
):
    """A proxy that refuses connections, and one that takes them and never says a word."""
    monkeypatch.setattr(foundation_module, "_CONNECT_SECONDS", 1.0)
    with socket.socket() as proxy:
        proxy.bind(("127.0.0.1", 0))
        if answers:
            proxy.listen()
        for name in ("https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(TrainingError, match=r"'small' cannot be downloaded .*github.* --foundation FILE") as caught:
            train_mace(write_config(tmp_path, model=None), foundation=Path("small"))
    assert "\n" not in str(caught.value)
    assert time.monotonic() - began < 60


def children_in(folder: Path) -> list[int]:
    """Processes whose working directory is `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "cwd").readlink() == folder:
                found.append(int(entry.name))
    return found


def checkpoints(out: Path) -> list[tuple[bool, int]]:
    found = []
    for path in (out / "checkpoints").glob("*.pt"):
        match = re.fullmatch(r"tiny_run-1_epoch-(\d+)(_swa)?\.pt", path.name)
        if match and zipfile.is_zipfile(path):
            found.append((bool(match[2]), int(match[1])))
    return sorted(found)


@pytest.mark.slow
def test_training_killed_and_interrupted_goes_on_to_a_potential_that_can_be_added(own_home: Path, tmp_path: Path):
    config, out = write_config(tmp_path), tmp_path / "out"
    code = "import sys, pathlib; from napos_lmp.training.mace import train_mace; train_mace(pathlib.Path(sys.argv[1]))"
    killed = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code, str(config)])
    deadline = time.monotonic() + 300
    while not checkpoints(out):
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with pytest.raises(TrainingError, match="another process is training"):
        train_mace(config)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    while children_in(out):
        assert time.monotonic() < deadline, "a child outlived the process that started it"
        time.sleep(0.05)
    second, epoch = checkpoints(out)[-1]
    name = f"tiny_run-1_epoch-{epoch}{'_swa' if second else ''}.pt"
    torn = out / "checkpoints" / f"tiny_run-1_epoch-{epoch + 1}.pt"
    torn.write_bytes((out / "checkpoints" / name).read_bytes()[:5000])

    with pytest.raises(TrainingError, match="holds a training with other settings or data"):
        train_mace(write_config(tmp_path, epochs=7))
    write_config(tmp_path)

    def interrupt(state: object) -> None:
        if "epoch" in state.activity:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    # on a quick machine more epochs are done before the interrupt arrives; on a slow one MACE tears what it repeats
    with pytest.raises(TrainingError, match="training stopped; the same command goes on from epoch") as stopped:
        train_mace(config, interrupt)
    second, epoch = checkpoints(out)[-1]
    assert str(stopped.value).endswith(f" epoch {epoch + 1}")
    assert not children_in(out)

    seen = []
    result = train_mace(config, seen.append)
    assert result.resumed_from is not None
    assert result.resumed_from >= epoch - 1
    assert seen[-2].activity == "epoch 6 of 6, second stage"
    assert seen[-2].force_rmse_validation == pytest.approx(
        result.potential.card.errors[0].force_meV_per_A.rmse / 1000, rel=0.1
    )
    check_folder_of_tiny(result.folder, out)
    card = result.potential.card
    check_adoption(tmp_path, out, card)
    write_config(tmp_path)
    assert add_potential(result.folder, trust=True).card == card
    assert load_potential("tiny").card == card
    assert train_mace(config).resumed_from is None, "a finished training is not run again"
    check_fine_tuning(tmp_path, result.folder / "mace.model", card)


def test_a_checkpoint_torn_while_its_epoch_is_repeated_is_put_back(tmp_path: Path):
    config = MaceConfig.model_validate(CONFIG | {"output": str(tmp_path / "out")})
    folder = tmp_path / "out" / "checkpoints"
    folder.mkdir(parents=True)
    torn, kept = folder / "tiny_run-1_epoch-4.pt", folder / "tiny_run-1_epoch-4.pt.kept"
    with zipfile.ZipFile(kept, "w") as archive:
        archive.writestr("model", "weights")
    torn.write_bytes(kept.read_bytes()[:20])
    mace_run._restore_kept(config)
    assert checkpoints(tmp_path / "out") == [(False, 4)]
    assert not kept.exists()
    kept.write_bytes(torn.read_bytes()[:20])
    mace_run._restore_kept(config)
    assert checkpoints(tmp_path / "out") == [(False, 4)], "a whole one stays"
    assert not kept.exists()


def test_a_model_cut_behind_an_archive_inside_it_is_not_whole(tmp_path: Path):
    """MACE's models hold compiled parts, which are archives of their own; a reader may come while one is written."""
    whole, cut = tmp_path / "whole.model", tmp_path / "cut.model"
    inner = tmp_path / "inner.zip"
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("code", "x" * 100)
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("version", "3")
        archive.writestr("compiled", inner.read_bytes())
        archive.writestr("rest", "y" * 100)
    content = whole.read_bytes()
    end = content.index(inner.read_bytes()) + inner.stat().st_size
    cut.write_bytes(content[:end])
    assert zipfile.is_zipfile(cut)
    assert not is_whole_archive(cut)
    assert is_whole_archive(whole)
    for length in range(0, len(content), 7):
        cut.write_bytes(content[:length])
        assert not is_whole_archive(cut)
    assert not is_whole_archive(tmp_path / "none.model")


def check_folder_of_tiny(folder: Path, out: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {"card.yaml", "mace.model", "config.yaml", "errors.csv"}
    card = yaml.safe_load((folder / "card.yaml").read_text())
    assert card["elements"] == ["O", "Na", "P", "S"], "MACE orders by atomic number"
    assert (card["backend"], card["head"], card["precision"]) == ("mliap", "Default", "float32")
    log = (out / "logs" / "tiny_run-1.log").read_text()
    used = re.search(r"Atomic Energies used .*: \{8: (.*), 11: (.*), 15: (.*), 16: (.*)\}", log)
    assert used is not None
    assert [card["atomic_energies_eV"][element] for element in card["elements"]] == pytest.approx(
        [float(text) for text in used.groups()], rel=1e-6
    )
    second, kept = checkpoints(out)[-1]
    assert second
    lines = [json.loads(line) for line in (out / "results" / "tiny_run-1_train.txt").read_text().splitlines()]
    own = [line for line in lines if line["mode"] == "eval" and line["epoch"] == kept][-1]
    (validation,) = card["errors"]
    assert validation["force_meV_per_A"]["rmse"] == pytest.approx(1000 * own["rmse_f"], rel=1e-3)
    assert validation["energy_meV_per_atom"]["rmse"] == pytest.approx(1000 * own["rmse_e_per_atom"], rel=1e-2)
    assert any("are not determined one by one" in sentence for sentence in card["limits"])


def check_fine_tuning(folder: Path, model: Path, card: PotentialCard) -> None:
    """Start from a trained model, with a learning rate that moves nothing."""
    changes = {"epochs": 1, "stage_two": None, "output": "tuned", "atomic_energies_eV": "foundation", "model": None}
    rate = {"start": 1e-12, "factor": 1.0}
    path = write_config(folder, learning_rate=rate, **changes)
    tuned = train_mace(path, foundation=model)  # accepted, as it was added as a potential
    assert tuned.potential.card.atomic_energies_eV == card.atomic_energies_eV
    for mine, theirs in zip(tuned.potential.card.errors, card.errors, strict=True):
        assert mine.force_meV_per_A.rmse == pytest.approx(theirs.force_meV_per_A.rmse, rel=1e-4)
    assert sha256_of(model) in tuned.potential.card.remake


def check_adoption(folder: Path, out: Path, card: PotentialCard) -> None:
    """A finished run of mace_run_train that this program knows nothing of gets its card, if it is the right one."""
    foreign = folder / "foreign"
    shutil.copytree(out, foreign, ignore=shutil.ignore_patterns("tiny", "data", "training.json", "mace.*"))
    path = write_config(folder, output="foreign")
    model = foreign / "tiny_stagetwo.model"
    with pytest.raises(TrainingError, match=f"did not start; its model .*{sha256_of(model)}.*--trust"):
        train_mace(path)
    wrong = [
        ({"model": {"channels": 8, "max_ell": 1, "correlation": 2, "cutoff_A": 3.5}}, "its cutoff_A is 3, not 3.5"),
        ({"model": {"channels": 16, "max_ell": 1, "correlation": 2, "cutoff_A": 3.0}}, "its channels is 8, not 16"),
        ({"epochs": 9}, "it had 6 epochs, not 9"),
        ({"split": {"validation": 0.5, "seed": 7}}, "its atomic energy of"),
    ]
    for changes, message in wrong:
        with pytest.raises(TrainingError, match=f"not the one of the training file: {message}"):
            train_mace(write_config(folder, output="foreign", **changes), trust=True)
        assert not (foreign / "tiny").exists()
    result = train_mace(write_config(folder, output="foreign"), trust=True)
    assert result.potential.card == card
    assert result.resumed_from is None


@pytest.mark.slow
def test_training_that_diverges_is_stopped(tmp_path: Path):
    path = write_config(tmp_path, learning_rate={"start": 1e30}, stage_two=None)
    with pytest.raises(TrainingError, match=r"the training diverged: lower learning_rate\.start"):
        train_mace(path)
    assert not children_in(tmp_path / "out")
