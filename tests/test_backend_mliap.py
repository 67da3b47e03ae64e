import os
from pathlib import Path

import numpy as np
import pytest
from tiny_mace import ELEMENTS, save_tiny_mace, tiny_mace

from napos_lmp.backends import get_backend, mace
from napos_lmp.backends.mliap import MliapBackend, export_model, load_model, load_unified
from napos_lmp.card import Potential
from napos_lmp.errors import PotentialError
from napos_lmp.export import export_potential
from napos_lmp.files import sha256_of
from napos_lmp.potential import add_model_file, add_potential, is_trusted, load_potential, write_card
from napos_lmp.trust import trusted_bytes

WEIGHTS_VARIABLE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


@pytest.fixture(scope="module", autouse=True)
def folders(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAPOS_LMP_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("NAPOS_LMP_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv(WEIGHTS_VARIABLE, raising=False)
        yield


@pytest.fixture(scope="module")
def potential(folders: None, tmp_path_factory: pytest.TempPathFactory) -> Potential:
    file = save_tiny_mace(tmp_path_factory.mktemp("models") / "tiny.model")
    return add_model_file(file, "tiny", trust=True)


@pytest.fixture(scope="module")
def two_heads(folders: None, tmp_path_factory: pytest.TempPathFactory) -> Potential:
    file = save_tiny_mace(tmp_path_factory.mktemp("models") / "two.model", heads=("pbe", "r2scan"))
    return add_model_file(file, "two", trust=True)


@pytest.fixture(scope="module")
def cpu_file(potential: Potential) -> Path:
    told: list[str] = []
    file = get_backend("mliap").deck_file(potential, message=told.append)
    assert get_backend("mliap").deck_file(potential, message=told.append) == file
    assert told == ["exporting tiny.model for LAMMPS (once, about 20 s)"]
    return file


@pytest.fixture(scope="module")
def gpu_file(potential: Potential) -> Path:
    return get_backend("mliap").deck_file(potential, gpu=True)


class PairSprings:
    """A unified object of another program: harmonic springs between all atoms in reach, for any elements."""

    element_types = ("Na", "S")
    rcutfac = 1.75
    ndescriptors = nparams = 1
    interface = None

    def compute_forces(self, data: object) -> None:
        raise NotImplementedError


def saved(item: object, file: Path) -> Path:
    import torch

    torch.save(item, file)
    return file


def test_elements_and_cutoff_are_the_model_s_own(potential: Potential, cpu_file: Path, gpu_file: Path):
    backend = get_backend("mliap")
    assert (potential.elements, potential.cutoff) == (ELEMENTS, 4.0)
    for file in (potential.file, cpu_file, gpu_file):
        assert backend.model_elements(file) == ELEMENTS
        assert backend.model_cutoff(file) == 4.0


def test_exported_objects_may_run_on_a_cpu_and_keep_the_model_s_precision(cpu_file: Path, gpu_file: Path):
    import torch

    assert cpu_file != gpu_file
    for file in (cpu_file, gpu_file):
        unified = load_unified(file)
        assert unified.config.allow_cpu
        assert unified.dtype == torch.float64


def test_neither_loading_nor_exporting_lets_later_pickles_run(potential: Potential, cpu_file: Path):
    load_unified(cpu_file)
    get_backend("mliap").calculator(potential)
    assert WEIGHTS_VARIABLE not in os.environ
    assert "MACE_ALLOW_CPU" not in os.environ


def test_gpu_form_asks_for_the_fast_kernels_although_this_machine_has_none(
    gpu_file: Path, monkeypatch: pytest.MonkeyPatch
):
    from cuequivariance_torch.primitives.segmented_polynomial import SegmentedPolynomial

    asked, initialise = [], SegmentedPolynomial.__init__

    def note(self, polynomial, method="", *arguments):
        asked.append(method)
        initialise(self, polynomial, method, *arguments)

    monkeypatch.setattr(SegmentedPolynomial, "__init__", note)
    load_unified(gpu_file)
    assert "uniform_1d" in asked


def test_calculator_is_mace_s_own_with_forces_that_are_derivatives(potential: Potential):
    from ase.build import bulk

    atoms = bulk("NaS", "rocksalt", a=5.2, cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.calc = get_backend("mliap").calculator(potential)
    assert type(atoms.calc).__module__ == "mace.calculators.mace"
    force, step = atoms.get_forces()[0, 0], 1e-4
    energies = []
    for sign in (1, -1):
        atoms.positions[0, 0] += sign * step
        energies.append(atoms.get_potential_energy())
        atoms.positions[0, 0] -= sign * step
    assert force == pytest.approx(-(energies[0] - energies[1]) / (2 * step), abs=1e-6)
    assert np.abs(force) > 1e-3


def test_model_with_several_heads_needs_one_by_name(two_heads: Potential):
    for attempt in (
        lambda: export_model(two_heads, "cpu"),
        lambda: get_backend("mliap").calculator(two_heads),
    ):
        with pytest.raises(PotentialError, match="has several heads: choose one of pbe, r2scan with --head") as caught:
            attempt()
        assert "\n" not in str(caught.value)
    with pytest.raises(PotentialError, match="has no head 'scan'; it has pbe, r2scan"):
        export_model(two_heads, "cpu", head="scan")


def test_head_and_precision_of_an_export_are_those_asked_for(two_heads: Potential, tmp_path: Path):
    import torch

    file = export_potential("two", "cpu", head="pbe", precision="float32", output=tmp_path / "pbe.pt")
    unified = load_unified(file)
    assert int(unified.model.head) == 0
    assert unified.dtype == torch.float32
    with pytest.raises(PotentialError, match="exists already"):
        export_potential("two", "cpu", head="pbe", output=file)


def test_head_on_the_card_is_used(two_heads: Potential, tmp_path: Path):
    card = two_heads.card.model_copy(update={"name": "two-r2scan", "head": "r2scan"})
    (tmp_path / "two.model").write_bytes(two_heads.file.read_bytes())
    write_card(tmp_path, card)
    added = add_potential(tmp_path, trust=True)
    assert int(load_unified(export_model(added, "cpu")).model.head) == 1
    assert get_backend("mliap").calculator(added).head == "r2scan"


def test_missing_cuequivariance_is_one_sentence(potential: Potential, monkeypatch: pytest.MonkeyPatch):
    version = mace._version
    monkeypatch.setattr(mace, "_version", lambda name: "" if name.startswith("cuequivariance") else version(name))
    with pytest.raises(PotentialError, match="the GPU form of 'tiny' needs cuequivariance and cuequivariance-torch"):
        export_model(potential, "gpu")


def test_missing_symmetrix_is_one_sentence(potential: Potential):
    with pytest.raises(PotentialError, match="the Python package symmetrix, which has that program, is not installed"):
        get_backend("mliap", "symmetrix/mace").deck_file(potential)


def test_older_pair_style_reads_torchscript(potential: Potential):
    import torch

    file = get_backend("mliap", "mace").deck_file(potential)
    model = torch.jit.load(str(file))
    assert [int(number) for number in model.atomic_numbers] == [8, 11, 15, 16]


def test_export_for_gpus_alone_is_refused_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from mace.calculators.lammps_mliap_mace import LAMMPS_MLIAP_MACE

    monkeypatch.delenv("MACE_ALLOW_CPU", raising=False)
    file = saved(LAMMPS_MLIAP_MACE(tiny_mace(), head="Default"), tmp_path / "gpu-only.pt")
    added = add_model_file(file, "gpu-only", trust=True)
    assert added.elements == ELEMENTS
    with pytest.raises(PotentialError, match="was exported for GPUs alone and refuses a CPU: export it again with"):
        load_unified(added.file)


def test_unified_object_of_another_program_is_used_as_it_is(tmp_path: Path):
    added = add_model_file(saved(PairSprings(), tmp_path / "springs.pt"), "springs", trust=True)
    assert (added.elements, added.cutoff) == (("Na", "S"), 3.5)
    assert get_backend("mliap").deck_file(added, gpu=True) == added.file
    assert load_unified(added.file).rcutfac == 1.75
    with pytest.raises(
        PotentialError, match=r"is an exported object, in which head and precision \(float32\) are fixed"
    ):
        export_model(added, "cpu", precision="float32")
    with pytest.raises(PotentialError, match="runs in pair_style mliap alone"):
        get_backend("mliap", "mace").deck_file(added)


def test_trusted_pickle_of_something_else_is_no_model(tmp_path: Path):
    with pytest.raises(
        PotentialError, match="holds a dict, which is neither a MACE model nor an object for pair_style"
    ):
        add_model_file(saved({"weights": 1}, tmp_path / "weights.pt"), "weights", trust=True)


def test_trained_model_is_no_exported_object(potential: Potential):
    with pytest.raises(PotentialError, match="is a MACE model as trained, not its exported form"):
        load_unified(potential.file)


def test_exports_are_trusted_by_what_they_hold_not_by_where_they_lie(cpu_file: Path, tmp_path: Path):
    copy = tmp_path / "elsewhere.pt"
    copy.write_bytes(cpu_file.read_bytes())
    assert load_unified(copy).element_types == list(ELEMENTS)
    with copy.open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(PotentialError, match="has not been accepted here and is not opened") as caught:
        load_unified(copy)
    assert "--trust" in str(caught.value)


def test_exports_lose_their_trust_with_the_potential(cpu_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    digest = sha256_of(cpu_file)
    assert is_trusted(digest)
    monkeypatch.setenv("NAPOS_LMP_HOME", str(tmp_path))
    assert not is_trusted(digest)


@pytest.mark.parametrize("load", [load_model, trusted_bytes])
def test_file_that_is_not_there(load, tmp_path: Path):
    with pytest.raises(PotentialError, match="does not exist"):
        load(tmp_path / "none.model")


def test_command_line_exports_by_name(cpu_file: Path, tmp_path: Path):
    from typer.testing import CliRunner

    from napos_lmp.cli.app import app

    done = CliRunner().invoke(app, ["export", "tiny", "--for", "cpu", "--output", str(tmp_path / "model.pt")])
    assert done.exit_code == 0
    assert sha256_of(tmp_path / "model.pt") == sha256_of(cpu_file)
    refused = CliRunner().invoke(app, ["export", "napos-deepmd", "--for", "gpu"])
    assert "is a deepmd model" in str(refused.exception)
    assert CliRunner().invoke(app, ["export", "tiny"]).exit_code == 2, "cpu or gpu must be said"


def test_pair_styles_are_chosen_by_name():
    assert get_backend("mliap", "symmetrix/mace").template == "potentials/symmetrix.lmp.j2"
    with pytest.raises(PotentialError, match="'symetrix' is not known; MACE runs in mliap, symmetrix/mace, mace"):
        get_backend("mliap", "symetrix")
    with pytest.raises(PotentialError, match="'mliap' does not run deepmd models; theirs is deepmd"):
        get_backend("deepmd", "mliap")


@pytest.mark.parametrize(
    ("style", "settings", "switches"),
    [
        ("mliap", {"gpus": 4}, "-k on g 4 -sf kk -pk kokkos newton on neigh half"),
        ("mliap", {"gpus": 4, "gpu_aware": False}, "-k on g 4 -sf kk -pk kokkos newton on neigh half gpu/aware off"),
        ("mliap", {"gpus": 0}, "-k on t 3 -sf kk -pk kokkos newton on neigh half"),
        ("symmetrix/mace", {"gpus": 2}, "-k on g 2 -sf kk -pk kokkos newton on neigh half"),
        ("mace", {"gpus": 0}, ""),
    ],
)
def test_switches_of_lammps(style: str, settings: dict[str, int], switches: str):
    assert " ".join(MliapBackend(style).launch_arguments(threads=3, **settings)) == switches
    assert get_backend("deepmd").launch_arguments(threads=3, **settings) == ()


def test_potential_that_was_only_read_is_not_exported(potential: Potential, tmp_path: Path):
    (tmp_path / "other.model").write_bytes(potential.file.read_bytes() + b"\0")
    card = potential.card.model_copy(
        update={"name": "other", "file": "other.model", "sha256": sha256_of(tmp_path / "other.model")}
    )
    write_card(tmp_path, card)
    with pytest.raises(PotentialError, match="has not been accepted"):
        load_potential(tmp_path)
    with pytest.raises(PotentialError, match="has not been accepted here"):
        export_model(Potential(card, tmp_path), "cpu")


def test_missing_package_of_a_model_is_named(tmp_path: Path):
    file = tmp_path / "model.pt"
    file.write_bytes(b"cno_such_package\nThing\n.")
    with pytest.raises(PotentialError, match=r"needs the package no_such_package.*napos-lmp\[mace\]"):
        add_model_file(file, "absent", trust=True)
