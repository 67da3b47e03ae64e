from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.lj import LennardJones
from ase.md.verlet import VelocityVerlet

from napos_lmp.reference.checks import check_files, check_frames
from napos_lmp.reference.frames import labelled, write_frames
from napos_lmp.reference.selection import farthest_first

LJ = {"sigma": 2.1, "epsilon": 0.3, "rc": 6.0, "smooth": True}


def trajectory(number: int = 12) -> list[Any]:
    """Frames of a short molecular dynamics run with its own energies and forces."""
    rng = np.random.default_rng(5)
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), axis=-1).reshape(-1, 3)
    atoms = Atoms("Na9P9S9", positions=grid * 2.5, cell=[7.5] * 3, pbc=True)
    atoms.positions += rng.normal(0, 0.05, grid.shape)
    atoms.calc = LennardJones(**LJ)
    frames = []
    dynamics = VelocityVerlet(atoms, timestep=2 * units.fs)
    for _ in range(number):
        dynamics.run(8)
        frame = labelled(atoms, atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(voigt=False))
        frame.info = {"composition": "NaPS", "level": "lj"}
        frames.append(frame)
    return frames


def relabelled(frame: Any, energy: float = 1.0, forces: float = 1.0) -> Any:
    results = frame.calc.results
    copy = labelled(frame, results["energy"] * energy, results["forces"] * forces, results["stress"])
    copy.info = dict(frame.info)
    return copy


def test_a_sound_trajectory_has_no_findings() -> None:
    assert check_frames(trajectory()) == []


def test_each_spoiled_frame_is_named() -> None:
    frames = trajectory()
    del frames[0].calc.results["stress"]
    frames[1].info["converged"] = False
    frames[2].calc.results["forces"][3] = [60.0, 0, 0]
    frames[3].positions[1] = frames[3].positions[0] + [0.4, 0, 0]
    frames[4].info["composition"] = "Na3PS4"
    frames[5].info["level"] = "another"
    frames[6].calc.results["energy"] = float("nan")
    frames[7].calc.results["forces"] += 0.2
    frames[8].calc = None
    frames.append(frames[9].copy())
    frames[12].calc = frames[9].calc
    frames[12].positions += frames[12].cell.array.sum(axis=0)
    found = {(finding.frame, finding.kind) for finding in check_frames(frames)}
    assert found >= {
        (0, "missing virial"), (1, "not converged"), (2, "absurd force"), (3, "atoms too close"), (4, "wrong elements"),
        (5, "mixed levels"), (6, "not finite"), (7, "net force"), (8, "no labels"), (12, "duplicate"),
    }  # fmt: skip
    assert not {finding.frame for finding in check_frames(frames)} & {9, 10, 11}
    (missing,) = [finding for finding in check_frames(frames) if finding.kind == "missing virial"]
    assert not missing.serious


@pytest.mark.parametrize(("unit", "factor"), [("Hartree", 27.211386), ("kcal/mol", 0.0433641), ("meV", 1e-3)])
def test_energies_in_a_wrong_unit_are_named(unit: str, factor: float) -> None:
    (finding,) = check_frames([relabelled(frame, energy=1 / factor) for frame in trajectory()])
    assert (finding.kind, finding.frame) == ("wrong unit", None)
    assert f"are they in {unit}?" in finding.sentence


def test_forces_of_the_wrong_sign_are_named() -> None:
    (finding,) = check_frames([relabelled(frame, forces=-1) for frame in trajectory()])
    assert "do not belong together" in finding.sentence


def test_a_wrong_order_of_elements_is_named(tmp_path: Path) -> None:
    frames = trajectory(2)
    for frame in frames:
        frame.info["composition"] = "NaPS2"
    write_frames(tmp_path / "a.xyz", frames)
    findings = [finding for finding in check_files([tmp_path / "a.xyz"]) if finding.kind == "wrong elements"]
    assert [finding.frame for finding in findings] == [0, 1]
    assert "is the order of elements right?" in findings[0].sentence


@pytest.mark.parametrize("chosen", [(), (4, 9)])
def test_every_point_is_the_farthest_of_its_stratum(chosen: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    points, strata = rng.normal(size=(60, 5)), rng.integers(0, 3, 60)
    wanted = [10, 5, 3]
    order = farthest_first(points, strata, wanted, chosen)
    assert np.bincount(strata[order], minlength=3).tolist() == wanted
    assert len(set(order) | set(chosen)) == len(order) + len(chosen)
    taken = list(chosen) or order[:1]
    for index in order[0 if chosen else 1 :]:
        distance = np.linalg.norm(points[:, None] - points[taken], axis=2).min(axis=1)
        distance[taken] = -1.0
        assert distance[index] == distance[strata == strata[index]].max()
        taken.append(index)
    for length in range(1, len(order)):
        share = np.bincount(strata[order[:length]], minlength=3) / np.array(wanted)
        assert np.ptp(share) <= 1 / min(wanted)


def test_the_commands_check_and_import(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from napos_lmp.cli.app import app

    frames = trajectory(6)
    frames[2].calc.results["forces"][0] = [70.0, 0, 0]
    write_frames(tmp_path / "a.xyz", frames)
    run = CliRunner().invoke
    result = run(app, ["data", "check", str(tmp_path / "a.xyz")])
    assert result.exit_code == 1
    assert "a.xyz, frame 2: a force of 70.0 eV/A is above 50 eV/A" in result.output
    out = str(tmp_path / "b.extxyz.gz")
    result = run(app, ["data", "import", str(tmp_path / "a.xyz"), "--out", out, "--level", "LJ", "--phase", "melt"])
    assert (result.exit_code, "5 frames, 1 left out" in result.output) == (0, True), result.output
    result = run(app, ["data", "check", out])
    assert (result.exit_code, result.output) == (0, "0 findings\n")
    result = run(app, ["data", "export", out, "--format", "mace", "--out", str(tmp_path / "c.xyz"), "--group", "test"])
    assert "group is 'test'" in str(result.exception)
