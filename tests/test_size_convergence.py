"""Values against 1/L: exact lines, repeated noise, the Yeh-Hummer shift, and the section of the report."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from napos_lmp.analysis.base import Estimate
from napos_lmp.analysis.results import DeckResult, Quantity, StageResult
from napos_lmp.analysis.transport.size_convergence import SizeConvergence, yeh_hummer_shift
from napos_lmp.errors import AnalysisError
from napos_lmp.report.collect import DeckView, Glass, StudyView
from napos_lmp.report.convergence import convergence_section
from napos_lmp.report.html import Figure, Tabular, Text

EDGES = [13.0, 16.4, 20.6, 26.0] * 3


def estimate(value, error=0.05, unit="cm^2/s"):
    return Estimate(value, value * (1 - 1.96 * error), value * (1 + 1.96 * error), unit)


def test_shift_against_numbers_by_hand():
    """kB T = 4.1143e-21 J at 298 K; over 6 pi 1e-3 Pa s 2e-9 m, times 2.837297: 3.0965e-10 m2/s."""
    assert yeh_hummer_shift(20.0, 298.0, 1e-3) == pytest.approx(3.0965e-6, rel=1e-4)


def test_hydrodynamic_line_is_found_and_corrected():
    true, temperature, viscosity = 5e-5, 1200.0, 2e-3
    values = [estimate(true - yeh_hummer_shift(edge, temperature, viscosity), 0.01) for edge in EDGES]
    result = SizeConvergence(EDGES, values, state="melt", temperature=temperature, viscosity=viscosity).run()
    assert result.infinite.value == pytest.approx(true, rel=1e-9)
    np.testing.assert_allclose(result.corrected, true, rtol=1e-12)
    assert result.depends
    assert "changes with the size" in result.sentence
    assert "corrected after Yeh and Hummer with 0.002 Pa s" in result.correction


def test_intervals_cover_the_truth():
    rng = np.random.default_rng(1)
    inside, found = [], []
    for _ in range(200):
        values = [estimate(1e-6 * (1 + 0.05 * rng.normal())) for _ in EDGES]
        result = SizeConvergence(EDGES, values, state="solid").run()
        inside.append(result.infinite.low < 1e-6 < result.infinite.high)
        found.append(result.depends)
    assert np.mean(inside) >= 0.9
    assert np.mean(found) <= 0.1


def test_a_solid_is_not_corrected():
    result = SizeConvergence([13, 26], [estimate(1e-6)] * 2, state="solid", temperature=500, viscosity=1e-3).run()
    assert result.corrected is None
    assert "not applicable to a solid" in result.correction
    assert "no change with the size of the cell can be seen between 13.0 and 26.0 A" in result.sentence
    assert np.isnan(result.columns()["corrected"]).all()


def test_what_a_melt_lacks_is_said():
    conductive = SizeConvergence([13, 26], [estimate(1e-2, unit="S/cm")] * 2, state="melt").run()
    assert "not for a conductivity" in conductive.correction
    assert (
        "needs its temperature and viscosity"
        in SizeConvergence([13, 26], [estimate(1e-6)] * 2, state="melt").run().correction
    )


@pytest.mark.parametrize(
    ("edges", "values", "state", "message"),
    [
        ([13.0, 13.01], [estimate(1e-6)] * 2, "solid", "cells of two sizes or more; given: 13 A"),
        ([13.0, 26.0], [estimate(1e-6)], "solid", "2 lengths and 1 values"),
        ([13.0, -1.0], [estimate(1e-6)] * 2, "solid", "all must be positive"),
        ([13.0, 26.0], [estimate(1e-6), estimate(1e-3, unit="S/cm")], "solid", "all must be in"),
        ([13.0, 26.0], [Estimate(1e-6, np.nan, np.nan, "cm^2/s")] * 2, "solid", "has no interval"),
        ([13.0, 26.0], [estimate(1e-6)] * 2, "gas", "must be 'melt' or 'solid'"),
    ],
)
def test_impossible_requests(edges, values, state, message):
    with pytest.raises(AnalysisError, match=message):
        SizeConvergence(edges, values, state=state)


def glass_of(n_atoms, seeds=(1, 2), framework=None):
    decks = []
    for seed in seeds:
        numbers = [("diffusion.Na", 2e-5 * (1 + 0.01 * seed), "cm^2/s"), ("conductivity", 1.0, "S/cm")]
        numbers += [("diffusion.P", framework, "cm^2/s")] if framework else []
        quantities = [
            Quantity(key=key, label=key, unit=unit, value=v, low=v * 0.9, high=v * 1.1) for key, v, unit in numbers
        ]
        stage = StageResult(
            stage="03-produce", kind="produce", temperature_K=900, used_frames=100, quantities=tuple(quantities)
        )
        result = DeckResult(
            program_version="0", label="", formula="", seed=seed, manifest_sha256="", inputs={}, last_step=1,
            complete=True, stages=(stage,),
        )  # fmt: skip
        units = n_atoms // 13
        structure = SimpleNamespace(
            n_atoms=n_atoms,
            density_g_cm3=2.0,
            counts={"Na": 4 * units, "P": 2 * units, "S": 7 * units},
            source_deck=None,
        )
        manifest = SimpleNamespace(
            seed=seed, structure=structure, timestep_ps=0.001, protocol={"name": "melt-quench"},
            potential=SimpleNamespace(name="made-up"),
            stage=lambda name: SimpleNamespace(dump=SimpleNamespace(stride=100)),
        )  # fmt: skip
        decks.append(DeckView(Path(), f"{n_atoms}-{seed}", manifest, None, result, "complete", "", ()))
    return Glass("Na4P2S7", f"Na4P2S7 ({n_atoms} atoms)", f"glass-{n_atoms}", tuple(decks))


@pytest.mark.parametrize(
    ("framework", "said"), [(None, "not applicable to a solid"), (3e-6, "applies to this melt but")]
)
def test_section_of_the_report(framework, said):
    glasses = tuple(glass_of(n, framework=framework) for n in (104, 208, 416))
    section = convergence_section(StudyView(Path(), "sizes", glasses, (), None))
    tables = [block.table for block in section.blocks if isinstance(block, Tabular)]
    assert len(tables) == 2
    assert [row[0] for row in tables[0].rows][:2] == ["104 atoms, seed 1", "104 atoms, seed 2"]
    # 8 Na4P2S7 of 378.34 g/mol at 2 g/cm3: (8 * 378.34 / 6.02214e23 / 2)^(1/3) cm
    assert tables[0].rows[0][1].value == pytest.approx(13.6, abs=0.05)
    assert tables[0].rows[-1][2].low < 2.03e-5 < tables[0].rows[-1][2].high
    assert sum(isinstance(block, Figure) for block in section.blocks) == 2
    assert any(said in block.text for block in section.blocks if isinstance(block, Text))


def test_one_size_has_no_section():
    assert convergence_section(StudyView(Path(), "one", (glass_of(104),), (), None)) is None
