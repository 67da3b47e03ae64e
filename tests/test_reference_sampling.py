from pathlib import Path

import numpy as np
import pytest
import yaml

from napos_lmp.errors import ReferenceDataError
from napos_lmp.reference.contacts import closest_pair
from napos_lmp.reference.explore import sample, strained
from napos_lmp.reference.frames import read_frames
from napos_lmp.reference.plan import read_plan

PLAN = {
    "potential": "napos-deepmd",
    "output": "pool.extxyz.gz",
    "work": "work",
    "atoms": 26,
    "every_ps": 0.02,
    "sources": [
        {
            "name": "glasses", "compositions": ["Na4P2S5O2"], "temperatures_K": [1500, 600], "hold_ps": 0.1,
            "strain": 0.05, "strained_copies": 0.5, "select": 4,
        },
        {
            "name": "slabs", "group": "test", "crystals": ["Na3PS4"], "shape": "slab", "vacuum_A": 6,
            "temperatures_K": [500], "hold_ps": 0.1, "select": 2,
        },
    ],
}  # fmt: skip


def write_plan(folder: Path, **changes: object) -> Path:
    path = folder / "sampling.yaml"
    path.write_text(yaml.safe_dump({**PLAN, **changes}))
    return path


def test_a_pool_is_sampled_and_extended(tmp_path: Path) -> None:
    plan = read_plan(write_plan(tmp_path))
    sampled = sample(plan)
    assert sampled.failed == ()
    frames = read_frames(tmp_path / "pool.extxyz.gz")
    assert [frame.info["id"] for frame in frames] == [frame.info["id"] for frame in sampled.pool]
    assert sorted(frame.info["group"] for frame in frames) == ["test"] * 2 + ["train"] * 4
    assert [frame.info["group"] for frame in frames[:3]].count("test") == 1
    for frame in frames:
        pair = closest_pair(frame)
        assert pair is None or pair[0] >= plan.contact
        if frame.info["group"] == "test":
            assert (frame.info["phase"], frame.info["composition"]) == ("surface", "Na3PS4")
            assert frame.cell.lengths()[2] == pytest.approx(7.088 + 6)
            assert frame.get_chemical_formula() == "Na6P2S8"
        else:
            assert frame.get_chemical_formula() == "Na8O4P4S10"
            assert frame.info["phase"] in ("melt", "glass", "strained")
    more = {**PLAN["sources"][0], "select": 6}  # type: ignore[index]
    again = sample(read_plan(write_plan(tmp_path, sources=[more, PLAN["sources"][1]])))  # type: ignore[index]
    assert len(again.pool) == 8
    assert [frame.info["id"] for frame in again.pool[:6]] == [frame.info["id"] for frame in frames]
    with pytest.raises(ReferenceDataError, match="was run with other settings"):
        sample(read_plan(write_plan(tmp_path, seed=2)))


def test_strain_moves_atoms_with_their_cell() -> None:
    from ase.build import bulk

    frame = bulk("NaCl", "rocksalt", 5.6, cubic=True)
    copy = strained(frame, 0.1, 0.0, np.random.default_rng(1))
    np.testing.assert_allclose(copy.get_scaled_positions(), frame.get_scaled_positions(), atol=1e-12)
    tensor = np.linalg.solve(frame.cell.array, copy.cell.array) - np.eye(3)
    np.testing.assert_allclose(tensor, tensor.T, atol=1e-12)
    assert 0 < np.abs(tensor).max() <= 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": [{"name": "a", "select": 1}]}, "give compositions or crystals, one of the two"),
        ({"sources": [{"name": "a", "select": 1, "compositions": ["NaPS"]}]}, "is not neutral"),
        ({"sources": [{"name": "a", "select": 1, "crystals": ["Na9P"]}]}, "'Na9P' is neither a file nor one of Na3PS4"),
        ({"sources": [{"name": "a", "select": 0, "crystals": ["Na3PS4"]}]}, "select is 0"),
        ({"sources": PLAN["sources"] * 2}, "two sources have the name 'glasses'"),  # type: ignore[operator]
        ({"every_ps": 5}, "hold_ps of glasses must be at least twice every_ps"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(ReferenceDataError, match=message):
        read_plan(write_plan(tmp_path, **change))
