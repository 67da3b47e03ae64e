import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from napos_lmp.backends import get_backend
from napos_lmp.backends.deepmd import DeepmdBackend, import_deepmd, write_checkpoint
from napos_lmp.errors import PotentialError
from napos_lmp.files import sha256_of
from napos_lmp.potential import load_potential
from napos_lmp.training.dataset import Frame, read_frames
from napos_lmp.training.prediction import predict_deepmd

ELEMENTS = ("Na", "P", "S", "O")
SUBSET = Path(__file__).parent / "data" / "starter_subset.extxyz.gz"
LMP = Path(sys.executable).parent / "lmp"


@pytest.fixture(scope="module")
def frames() -> tuple[Frame, ...]:
    return read_frames([SUBSET], ELEMENTS, "trajectory", 40.0).frames


@pytest.fixture(scope="module")
def glass(frames: tuple[Frame, ...]) -> Frame:
    return next(frame for frame in frames if frame.phase == "glass" and "O" in frame.symbols)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAPOS_LMP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def tabulated(cache: None) -> Path:
    """The tabulated model, asked for twice at once: it must be made once."""
    potential, told, files = load_potential("napos-deepmd"), [], []
    workers = [
        threading.Thread(target=lambda: files.append(DeepmdBackend().deck_file(potential, message=told.append)))
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(told) == 1
    assert files[0] == files[1]
    return files[0]


def atoms_of(frame: Frame):
    from ase import Atoms

    return Atoms(frame.symbols, positions=frame.positions, cell=frame.cell, pbc=True)


def test_tabulated_model_is_another_file_that_gives_the_same_numbers(tabulated: Path, frames: tuple[Frame, ...]):
    frozen = load_potential("napos-deepmd").file
    assert tabulated != frozen
    for one, two in zip(predict_deepmd(frozen, frames), predict_deepmd(tabulated, frames), strict=True):
        assert abs(one.energy - two.energy) / 26 < 1e-5
        np.testing.assert_allclose(one.forces, two.forces, atol=2e-3)


def test_tabulated_model_is_used_as_it_is(tabulated: Path, recwarn: pytest.WarningsRecorder):
    assert DeepmdBackend().tabulate(tabulated, sha256_of(tabulated)) == tabulated
    assert not [warning for warning in recwarn if "tabulated" in str(warning.message)]


def test_tabulated_model_is_no_start_of_a_training(tmp_path: Path, tabulated: Path):
    with pytest.raises(PotentialError, match="is a tabulated model, which cannot be trained"):
        write_checkpoint(tabulated, tmp_path / "start.pt")
    assert not (tmp_path / "start.pt").exists()


def test_model_of_a_kind_that_cannot_be_tabulated_is_used_with_a_warning(tmp_path: Path, cache: None):
    import_deepmd()
    import torch
    from deepmd.pt.model.model import get_model

    descriptor = {"type": "se_atten", "sel": 20, "rcut": 4.0, "rcut_smth": 1.0, "neuron": [4], "axis_neuron": 2}
    model = get_model(
        {"type_map": ["Na"], "descriptor": descriptor | {"attn_layer": 0}, "fitting_net": {"neuron": [4]}}
    )
    file = tmp_path / "plain.pth"
    torch.jit.script(model).save(str(file))
    assert DeepmdBackend().model_elements(file) == ("Na",)
    assert DeepmdBackend().model_cutoff(file) == 4.0
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"no tabulated form: `dp compress` refused it"):
            assert DeepmdBackend().tabulate(file, sha256_of(file)) == file


def test_cache_that_cannot_be_written_gives_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NAPOS_LMP_CACHE", str(tmp_path / "file"))
    with pytest.raises(PotentialError, match="could not be tabulated into"):
        DeepmdBackend().deck_file(load_potential("napos-deepmd"))


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "does not exist"), (b"", "no frozen DeePMD model"), (b"PK\x03\x04 cut short", "no frozen DeePMD model")],
)
def test_files_that_are_no_model(tmp_path: Path, content: bytes | None, message: str):
    file = tmp_path / "model.pth"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(PotentialError, match=message):
        DeepmdBackend().model_elements(file)


def test_other_torchscript_is_no_model(tmp_path: Path):
    import torch

    file = tmp_path / "model.pth"
    torch.jit.script(torch.nn.Linear(1, 1)).save(str(file))
    with pytest.raises(PotentialError, match="it has no type map"):
        DeepmdBackend().model_elements(file)


def test_unknown_backend_gives_the_nearest():
    with pytest.raises(PotentialError, match="did you mean 'deepmd'"):
        get_backend("deepmdkit")


def lammps_energy_and_forces(folder: Path, model: Path, frame: Frame, orders: list[tuple[str, ...]]):
    """Energy and forces, in the frame's order of atoms, from one LAMMPS process per call and one box per order."""
    shutil.copyfile(model, folder / "model.pth")
    blocks = []
    for number, order in enumerate(orders):
        lines = [f"{len(frame.symbols)} atoms", f"{len(order)} atom types"]
        lines += [f"0 {frame.cell[axis, axis]:.16g} {name}lo {name}hi" for axis, name in enumerate("xyz")]
        lines += ["Masses", "", *(f"{index + 1} 1.0" for index in range(len(order))), "", "Atoms # atomic", ""]
        lines += [
            f"{index + 1} {order.index(symbol) + 1} {x:.16g} {y:.16g} {z:.16g}"
            for index, (symbol, (x, y, z)) in enumerate(zip(frame.symbols, frame.positions, strict=True))
        ]
        (folder / f"{number}.data").write_text("\n\n" + "\n".join(lines) + "\n")
        blocks.append(
            f"clear\nunits metal\natom_style atomic\nread_data {number}.data\npair_style deepmd model.pth\n"
            f'pair_coeff * * {" ".join(order)}\nrun 0\nprint "$(pe:%.10f)" file {number}.energy\n'
            f"write_dump all custom {number}.force fx fy fz modify sort id format float %.12g\n"
        )
    (folder / "in.lammps").write_text("".join(blocks))
    environment = {**os.environ, **DeepmdBackend().environment(1)}
    done = subprocess.run([LMP, "-in", "in.lammps"], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return [
        (float((folder / f"{n}.energy").read_text()), np.loadtxt(folder / f"{n}.force", skiprows=9))
        for n in range(len(orders))
    ]


def test_lammps_gives_the_calculator_s_numbers_in_any_order_of_elements(tmp_path: Path, tabulated: Path, glass: Frame):
    orders = [ELEMENTS, ("S", "Na", "O", "P"), ("O", "S", "P", "Na")]
    results = lammps_energy_and_forces(tmp_path, tabulated, glass, orders)
    atoms = atoms_of(glass)
    atoms.calc = get_backend("deepmd").calculator(load_potential("napos-deepmd"))
    same = predict_deepmd(tabulated, [glass])[0]
    for energy, forces in results:
        assert energy == pytest.approx(same.energy, abs=1e-4)
        np.testing.assert_allclose(forces, same.forces, atol=2e-4)
        assert energy == pytest.approx(atoms.get_potential_energy(), abs=26e-5)
        np.testing.assert_allclose(forces, atoms.get_forces(), atol=2e-3)


def test_virial_is_the_derivative_of_energy_by_strain(glass: Frame):
    model = load_potential("napos-deepmd").file
    step, virial = 1e-3, predict_deepmd(model, [glass])[0].virial
    strained, strains = [], []
    for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2)):
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[i, j] += sign * step / 2
            strain[j, i] += sign * step / 2
            strains.append((i, j))
            deform = np.eye(3) + strain
            moved = {"cell": glass.cell @ deform, "positions": glass.positions @ deform}
            strained.append(Frame(**{**glass.__dict__, **moved}))
    energies = [prediction.energy for prediction in predict_deepmd(model, strained)]
    assert np.abs(virial).max() > 1
    for number in range(0, len(energies), 2):
        derivative = (energies[number] - energies[number + 1]) / (2 * step)
        i, j = strains[number]
        assert -derivative == pytest.approx((virial[i, j] + virial[j, i]) / 2, abs=0.03)
