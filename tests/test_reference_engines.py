from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase import Atoms

from napos_lmp.errors import LabelError
from napos_lmp.reference.cp2k import Cp2kEngine, Cp2kSettings
from napos_lmp.reference.frames import frame_id, read_frames, write_frames
from napos_lmp.reference.gpaw import GpawEngine, GpawSettings
from napos_lmp.reference.labelling import label_queue
from napos_lmp.reference.labels import Engine, NotConvergedError
from napos_lmp.reference.queue import Queue
from napos_lmp.reference.vasp import VaspEngine, VaspSettings

STEP = 0.02


def installed(engine: Engine) -> bool:
    try:
        engine.find()
    except LabelError:
        return False
    return True


def molecule(shift: float = 0.0) -> Atoms:
    positions = [[0.3, 0.2, 0.1], [0.9 + shift, 0.6, 0.3]]
    atoms = Atoms("H2", positions=positions, cell=[[3.4, 0, 0], [0.2, 3.6, 0], [0.1, -0.2, 3.2]], pbc=True)
    atoms.info["id"] = frame_id(atoms, "H2")
    return atoms


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(
            {"kind": "gpaw", "cutoff_eV": 500, "density_tolerance": 1e-6, "energy_tolerance": 1e-6},
            marks=pytest.mark.skipif(not installed(GpawEngine(GpawSettings())), reason="GPAW is not installed"),
        ),
        pytest.param(
            {"kind": "cp2k", "cutoff_Ry": 300, "eps_scf": 1e-7},
            marks=pytest.mark.skipif(not installed(Cp2kEngine(Cp2kSettings())), reason="CP2K is not installed"),
        ),
    ],
    ids=["gpaw", "cp2k"],
)
def test_forces_are_the_derivative_of_the_free_energy(tmp_path: Path, settings: dict[str, Any]) -> None:
    write_frames(tmp_path / "pool.extxyz.gz", [molecule(), molecule(STEP), molecule(-STEP)])
    (tmp_path / "queue.yaml").write_text(yaml.safe_dump({"engine": settings}))
    assert label_queue(tmp_path).labelled == 3
    Queue(tmp_path).collect()
    middle, plus, minus = read_frames(tmp_path / "labels.extxyz.gz")
    slope = (plus.calc.results["free_energy"] - minus.calc.results["free_energy"]) / (2 * STEP)
    assert middle.get_forces()[1, 0] == pytest.approx(-slope, abs=0.01, rel=0.01)
    assert abs(slope) > 0.5
    assert middle.get_stress().shape == (6,)
    assert settings["kind"].upper() in middle.info["code"]


def test_attempts_grow_sturdier_at_one_level(tmp_path: Path) -> None:
    engines: list[Engine] = [GpawEngine(GpawSettings()), Cp2kEngine(Cp2kSettings())]
    for engine in engines:
        texts = []
        for attempt in range(engine.attempts):
            engine.prepare(molecule(), tmp_path, attempt)
            name = "label.py" if isinstance(engine, GpawEngine) else "label.inp"
            texts.append((tmp_path / name).read_text())
        assert len(set(texts)) == engine.attempts
        level = ("PW(700)", "FermiDirac(0.05)") if isinstance(engine, GpawEngine) else ("CUTOFF 600", "MOLOPT-SR-GTH")
        assert all(part in text for text in texts for part in level)


def test_cp2k_that_did_not_converge_gives_no_label(tmp_path: Path) -> None:
    (tmp_path / "label.out").write_text(" *** SCF run NOT converged ***\n PROGRAM ENDED AT\n")
    with pytest.raises(NotConvergedError):
        Cp2kEngine(Cp2kSettings()).read(molecule(), tmp_path)
    (tmp_path / "label.out").write_text(" CP2K| version string: CP2K version 2023.1\n")
    with pytest.raises(LabelError, match="names no end of its SCF run"):
        Cp2kEngine(Cp2kSettings()).read(molecule(), tmp_path)


def test_vasp_inputs_are_sorted_and_outputs_put_back(tmp_path: Path) -> None:
    from dft_outputs import write_vasprun
    from test_reference_exchange import cell

    for symbol in ("Na_pv", "P", "S"):
        (tmp_path / "potcars" / symbol).mkdir(parents=True)
        (tmp_path / "potcars" / symbol / "POTCAR").write_text(f"PAW_PBE {symbol}\n")
    settings = VaspSettings(potcars=tmp_path / "potcars", potentials={"Na": "Na_pv"}, command="true")
    engine = VaspEngine(settings)
    given = cell()
    mixed = given[[6, 0, 4, 1, 2, 7, 5, 3]]
    assert engine.prepare(mixed, tmp_path, 0) == ["true"]
    assert (tmp_path / "POTCAR").read_text() == "PAW_PBE S\nPAW_PBE Na_pv\nPAW_PBE P\n"
    assert (tmp_path / "POSCAR").read_text().splitlines()[5].split() == ["S", "Na", "P"]
    assert "ENCUT  = 600\n" in (tmp_path / "INCAR").read_text()
    assert (tmp_path / "KPOINTS").read_text().splitlines()[2:4] == ["Gamma", "1 1 1"]

    order = [6, 7, 0, 1, 2, 3, 4, 5]
    results = {name: value for name, value in given.calc.results.items() if name != "forces"}
    from ase.calculators.singlepoint import SinglePointCalculator

    sorted_frame = given[order]
    sorted_frame.calc = SinglePointCalculator(sorted_frame, forces=given.get_forces()[order], **results)
    write_vasprun(tmp_path / "vasprun.xml", [sorted_frame], [10])
    label = engine.read(mixed, tmp_path)
    np.testing.assert_allclose(label.forces, given.get_forces()[[6, 0, 4, 1, 2, 7, 5, 3]], atol=1e-9)
    write_vasprun(tmp_path / "vasprun.xml", [sorted_frame], [60])
    with pytest.raises(NotConvergedError, match="limit of 60"):
        engine.read(mixed, tmp_path)


def test_a_missing_engine_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="apt-get install gpaw gpaw-data"):
        GpawEngine(GpawSettings(python="/no/such/python")).find()
    with pytest.raises(LabelError, match="apt-get install cp2k cp2k-data"):
        Cp2kEngine(Cp2kSettings(command="no-such-cp2k")).find()
    with pytest.raises(LabelError, match=r"potcars .* is no folder"):
        VaspEngine(VaspSettings(potcars=tmp_path / "no", command="true")).find()
