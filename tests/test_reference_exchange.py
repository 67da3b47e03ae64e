from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones
from dft_outputs import write_outcar, write_pw, write_vasprun

from napos_lmp.errors import ReferenceDataError
from napos_lmp.reference.card import read_data_card
from napos_lmp.reference.cp2k_output import read_cp2k_output
from napos_lmp.reference.exchange import export_deepmd, export_mace, guess_format, import_files
from napos_lmp.reference.frames import labelled, read_frames
from napos_lmp.reference.imports import add_dispersion_to, export_set, import_set

LJ = {"sigma": 2.0, "epsilon": 0.5, "rc": 6.0, "smooth": True}
DATA = Path(__file__).resolve().parent / "data" / "reference"


def cell(strain: float = 0.0, seed: int = 1) -> Atoms:
    """Eight atoms in a skewed cell, sheared and stretched by `strain`, with Lennard-Jones labels."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3), axis=-1).reshape(-1, 3)
    atoms = Atoms("Na4P2S2", positions=grid * 2.3 + rng.normal(0, 0.08, grid.shape), pbc=True)
    atoms.set_cell([[4.7, 0.0, 0.0], [0.6, 4.5, 0.0], [-0.4, 0.3, 4.9]])
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain * np.array(MODE)), scale_atoms=True)
    atoms.calc = LennardJones(**LJ)
    energy = atoms.get_potential_energy()
    frame = labelled(atoms, energy, atoms.get_forces(), atoms.get_stress(voigt=False), free_energy=energy - 0.25)
    frame.info = {"id": f"cell-{seed}", "composition": "Na4P2S2", "trajectory": f"run-{seed}"}
    return frame


VASP_FILES = Path(ase.__file__).parent / "test/testdata/vasp"


@pytest.mark.skipif(not VASP_FILES.is_dir(), reason="this ASE came without its test data")
def test_outputs_that_vasp_itself_wrote(tmp_path: Path):
    """Files of ASE's own tests; numbers read off them by eye, and phonon results that no training reads."""
    (tmp_path / "OUTCAR").write_bytes((VASP_FILES / "OUTCAR_example_1").read_bytes())
    imported = import_set([tmp_path / "OUTCAR"], tmp_path / "nickel.extxyz.gz", "PBE, 350 eV")
    assert (imported.kept, imported.left_out) == (1, 0)
    (nickel,) = read_frames(tmp_path / "nickel.extxyz.gz")
    assert nickel.info["code"] == "VASP 5.3.3"
    assert nickel.calc.results["free_energy"] == pytest.approx(-68.22868532)
    assert nickel.calc.results["energy"] == pytest.approx(-68.23102426)
    kilobar = -1 / 1602.1766
    in_kilobar = [-4.29429, -4.58894, -4.50342, -0.94049, 0.36481, 0.50047]  # VASP writes xx yy zz xy yz zx
    np.testing.assert_allclose(nickel.get_stress(), np.multiply(kilobar, in_kilobar), rtol=1e-5)
    (tmp_path / "vasprun.xml").write_bytes((VASP_FILES / "vasprun_dfpt.xml").read_bytes())
    import_set([tmp_path / "vasprun.xml"], tmp_path / "phonons.extxyz.gz", "PBE")
    (phonons,) = read_frames(tmp_path / "phonons.extxyz.gz")
    assert set(phonons.calc.results) == {"energy", "free_energy", "forces", "stress"}


MODE = [[1.0, 0.3, 0.0], [0.3, -0.4, 0.2], [0.0, 0.2, 0.5]]


def strain_derivative(step: float = 1e-4) -> float:
    """dE/d(strain) along MODE by central differences, eV: volume times stress times MODE."""
    return float((cell(step).get_potential_energy() - cell(-step).get_potential_energy()) / (2 * step))


def through_vasprun(folder: Path) -> list[Any]:
    write_vasprun(folder / "vasprun.xml", [cell()], [12])
    return import_files([folder / "vasprun.xml"])


def through_outcar(folder: Path) -> list[Any]:
    write_outcar(folder / "OUTCAR", [cell()], [12])
    return import_files([folder / "OUTCAR"])


def through_pw(folder: Path) -> list[Any]:
    write_pw(folder / "pw.out", cell())
    return import_files([folder / "pw.out"])


def through_mace(folder: Path) -> list[Any]:
    export_mace([cell()], folder / "mace.xyz")
    return import_files([folder / "mace.xyz"])


def through_virial_key(folder: Path) -> list[Any]:
    frame = cell()
    copy = frame.copy()
    copy.info["virial"] = -frame.get_stress(voigt=False) * frame.get_volume()
    copy.info["energy"], copy.arrays["forces"] = frame.get_potential_energy(), frame.get_forces()
    ase.io.write(folder / "gap.xyz", copy, format="extxyz")
    return import_files([folder / "gap.xyz"])


def through_deepmd(folder: Path) -> list[Any]:
    return import_files(export_deepmd([cell()], folder / "npy", ("S", "P", "Na")))


def through_deepmd_raw(folder: Path) -> list[Any]:
    import dpdata

    (system,) = export_deepmd([cell()], folder / "npy", ("Na", "P", "S"))
    dpdata.LabeledSystem(str(system), fmt="deepmd/npy").to("deepmd/raw", str(folder / "raw"))
    return import_files([folder / "raw"])


ROUTES = [
    through_vasprun, through_outcar, through_pw, through_mace, through_virial_key, through_deepmd, through_deepmd_raw,
]  # fmt: skip


@pytest.mark.parametrize("route", ROUTES)
def test_labels_survive_every_format(tmp_path: Path, route: Callable[[Path], list[Any]]) -> None:
    (read,), given = route(tmp_path), cell()
    order = _matching(given, read)
    assert read.get_chemical_symbols() == [given.get_chemical_symbols()[index] for index in order]
    assert read.get_potential_energy() == pytest.approx(given.get_potential_energy(), abs=1e-5)
    np.testing.assert_allclose(read.calc.results["forces"], given.get_forces()[order], atol=1e-6)
    np.testing.assert_allclose(read.cell.array, given.cell.array, atol=1e-6)
    virial_along_mode = float((read.get_stress(voigt=False) * MODE).sum() * read.get_volume())
    assert virial_along_mode == pytest.approx(strain_derivative(), rel=1e-4)
    assert read.info["id"]
    assert read.info["trajectory"]


def _matching(given: Any, read: Any) -> list[int]:
    """Index in `given` of each atom of `read`, by position."""
    distance = np.linalg.norm(given.positions[None] - read.positions[:, None], axis=2)
    assert distance.min(axis=1).max() < 1e-6
    return [int(index) for index in distance.argmin(axis=1)]


def test_stress_of_real_cp2k_output_is_the_strain_derivative() -> None:
    energies = {}
    for name in ("minus", "middle", "plus"):
        frame, converged, iterations = read_cp2k_output(DATA / f"cp2k-{name}.out")
        assert converged
        assert iterations > 3
        energies[name] = frame
    middle = energies["middle"]
    # the cells are strained by 0.01 along xx, xy and yx
    slope = (energies["plus"].calc.results["free_energy"] - energies["minus"].calc.results["free_energy"]) / 0.02
    stress = middle.get_stress(voigt=False)
    assert (stress[0, 0] + 2 * stress[0, 1]) * middle.get_volume() == pytest.approx(slope, rel=0.03)
    assert middle.info["code"] == "CP2K 2023.1"


def test_a_trajectory_keeps_its_order_and_names_what_did_not_converge(tmp_path: Path) -> None:
    frames = [cell(seed=seed) for seed in (1, 2, 3)]
    write_vasprun(tmp_path / "vasprun.xml", frames, [12, 60, 9], limit=60)
    write_outcar(tmp_path / "OUTCAR", frames, [12, 60, 9], limit=60)
    for name in ("vasprun.xml", "OUTCAR"):
        read = import_files([tmp_path / name])
        assert [frame.info["converged"] for frame in read] == [True, False, True]
        energies = [frame.get_potential_energy() for frame in read]
        np.testing.assert_allclose(energies, [frame.get_potential_energy() for frame in frames], atol=1e-6)
    imported = import_set([tmp_path / "OUTCAR"], tmp_path / "set.extxyz.gz", "PBE", described={"phase": "melt"})
    assert (imported.kept, imported.left_out) == (2, 1), imported.findings
    (finding,) = [finding for finding in imported.findings if finding.kind == "not converged"]
    assert (finding.frame, finding.file) == (1, str(tmp_path / "OUTCAR"))
    card = read_data_card(tmp_path / "set.extxyz.gz")
    assert (card.frames, card.level_of_theory, card.phases, card.code) == (2, "PBE", {"melt": 2}, ("VASP 6.3.2",))


def test_a_cut_trajectory_gives_its_whole_frames(tmp_path: Path) -> None:
    write_vasprun(tmp_path / "vasprun.xml", [cell(seed=1), cell(seed=2)], [5, 5])
    text = (tmp_path / "vasprun.xml").read_text()
    (tmp_path / "vasprun.xml").write_text(text[: text.rindex('<varray name="forces">')])
    assert len(import_files([tmp_path / "vasprun.xml"])) == 1


def test_free_energy_can_be_exported(tmp_path: Path) -> None:
    export_mace([cell()], tmp_path / "mace.xyz", "free_energy")
    (read,) = import_files([tmp_path / "mace.xyz"])
    assert read.get_potential_energy() == pytest.approx(cell().get_potential_energy() - 0.25)


def test_mace_reads_what_is_exported(tmp_path: Path) -> None:
    from mace.data import KeySpecification, load_from_xyz

    export_mace([cell()], tmp_path / "mace.xyz")
    keys = KeySpecification(
        info_keys={"energy": "REF_energy", "stress": "REF_stress", "head": "head"}, arrays_keys={"forces": "REF_forces"}
    )
    _, (configuration,) = load_from_xyz(str(tmp_path / "mace.xyz"), keys)
    np.testing.assert_allclose(configuration.properties["stress"], cell().get_stress(), atol=1e-7)
    np.testing.assert_allclose(configuration.properties["forces"], cell().get_forces(), atol=1e-7)


def test_frames_without_stress_are_exported_apart(tmp_path: Path) -> None:
    bare = cell()
    del bare.calc.results["stress"]
    folders = export_deepmd([cell(), bare], tmp_path / "npy", ("Na", "P", "S"))
    assert sorted((folder / "set.000" / "virial.npy").is_file() for folder in folders) == [False, True]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda folder: import_files([folder / "nothing.xyz"]), "does not exist"),
        (lambda folder: guess_format(folder), "is not known; give one of vasp-outcar"),
        (lambda folder: import_set([], folder / "x.extxyz", "PBE", kind="gaussian"), "format is 'gaussian'"),
        (lambda folder: export_deepmd([cell()], folder / "npy", ("Na", "P")), "holds S, not among the elements"),
        (
            lambda folder: export_set([folder / "a.xyz"], folder / "out", "mace", "", "energy", "test"),
            "group is 'test'",
        ),
        (
            lambda folder: export_set([folder / "a.xyz"], folder / "out", "deepmd", "", "energy", None),
            "elements is empty",
        ),
    ],
)
def test_mistakes_are_named(tmp_path: Path, call: Callable[[Path], object], message: str) -> None:
    from napos_lmp.reference.frames import write_frames

    write_frames(tmp_path / "a.xyz", [cell()])
    with pytest.raises(ReferenceDataError, match=message):
        call(tmp_path)


def test_a_corrupt_frame_in_the_middle_is_named(tmp_path: Path) -> None:
    from napos_lmp.reference.frames import write_frames

    write_frames(tmp_path / "a.xyz", [cell(seed=seed) for seed in (1, 2, 3)])
    lines = (tmp_path / "a.xyz").read_text().splitlines()
    lines[13] = "Na 0.1 oops"
    (tmp_path / "a.xyz").write_text("\n".join(lines) + "\n")
    with pytest.raises(ReferenceDataError, match=r"a.xyz, frame 1 \(line 11\): could not convert"):
        read_frames(tmp_path / "a.xyz")


def test_dispersion_is_stored_apart_and_fits_its_own_strain(tmp_path: Path) -> None:
    from napos_lmp.reference.frames import write_frames

    write_frames(tmp_path / "a.xyz", [cell(), cell(1e-3), cell(-1e-3)])
    assert add_dispersion_to(tmp_path / "a.xyz", "PBE") == 3
    assert add_dispersion_to(tmp_path / "a.xyz", "PBE") == 0
    middle, plus, minus = read_frames(tmp_path / "a.xyz")
    assert middle.get_potential_energy() == pytest.approx(cell().get_potential_energy(), abs=1e-6)
    slope = (plus.info["d3bj_energy"] - minus.info["d3bj_energy"]) / 2e-3
    assert (np.reshape(middle.info["d3bj_stress"], (3, 3)) * MODE).sum() * middle.get_volume() == pytest.approx(
        slope, rel=3e-3
    )
    export_set([tmp_path / "a.xyz"], tmp_path / "b.xyz", "mace", "", dispersion=True)
    read = import_files([tmp_path / "b.xyz"])[0]
    assert read.get_potential_energy() - middle.get_potential_energy() == pytest.approx(middle.info["d3bj_energy"])
    np.testing.assert_allclose(
        (read.get_stress(voigt=False) - middle.get_stress(voigt=False)).ravel(),
        np.ravel(middle.info["d3bj_stress"]),
        atol=1e-10,
    )
    np.testing.assert_allclose(
        read.calc.results["forces"] - middle.get_forces(), middle.arrays["d3bj_forces"], atol=2e-8
    )
    with pytest.raises(ReferenceDataError, match="terms of PBE, not of BLYP"):
        add_dispersion_to(tmp_path / "a.xyz", "BLYP")
