"""Analyses of made-up decks against the numbers they were made from."""

import csv
import json
import os

import pytest
from synthetic_decks import STRIDE, diffusion_stages, melt_quench_stages, run_deck, stage, write_deck

from napos_lmp.analysis.base import Result
from napos_lmp.analysis.deck import analyse_deck
from napos_lmp.analysis.results import read_deck_result
from napos_lmp.errors import AnalysisError, DeckError

D_SODIUM = 0.35


@pytest.fixture(scope="module")
def glass(tmp_path_factory):
    folder = tmp_path_factory.mktemp("glass") / "melt-quench"
    stages = melt_quench_stages()
    run_deck(folder, stages, write_deck(folder, stages, dimers=True), density=2.02)
    return folder, analyse_deck(folder)


@pytest.fixture(scope="module")
def diffusion(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diffusion") / "diffusion-0900K"
    stages = diffusion_stages(900, frames=400)
    structure = write_deck(folder, stages, source="../melt-quench", protocol="diffusion-0900K")
    run_deck(folder, stages, structure, diffusion=D_SODIUM, density=1.9)
    return folder, analyse_deck(folder)


def columns(path):
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    return dict(zip(rows[0], zip(*rows[1:], strict=True), strict=True))


class TestGlass:
    def test_network_of_dimers_is_p1(self, glass):
        result = glass[1]
        assert result.get("unit.P.n1").value == 100
        assert result.get("mean_n").value == 1
        assert result.get("expected_mean_n").value == pytest.approx(1)
        assert result.get("four_coordinate.P").value == 100
        assert result.get("shell.P.PS4").value == 100
        assert result.get("anion.S.bridging").value == pytest.approx(100 / 7)
        assert result.get("anion.S.terminal").value == pytest.approx(600 / 7)

    def test_density_is_that_of_the_second_half_at_constant_pressure(self, glass):
        density = glass[1].get("density")
        assert density.unit == "g/cm^3"
        assert density.low < 2.02 < density.high
        assert [s.stage for s in glass[1].stages if s.get("density")] == ["03-equilibrate"]

    def test_only_steady_stages_are_measured(self, glass):
        stages = {s.stage: s for s in glass[1].stages}
        assert list(stages) == ["03-equilibrate", "04-produce"]
        assert "rdf" not in stages["03-equilibrate"].files
        assert stages["04-produce"].temperature_K == 300
        assert stages["04-produce"].measured_temperature_K == pytest.approx(300, rel=0.01)

    def test_sodium_that_stands_still_is_refused_with_a_reason(self, glass):
        refused = glass[1].get("diffusion.Na")
        assert refused.value is None
        assert "jump length" in refused.refused

    def test_every_curve_is_a_file(self, glass):
        folder, result = glass
        stage_result = result.stages[-1]
        assert {"rdf", "shells", "network", "msd"} <= set(stage_result.files)
        for name in (*stage_result.files.values(), result.thermo):
            assert columns(folder / "analysis" / name)

    def test_thermo_holds_every_stage_once(self, glass):
        folder, result = glass
        table = columns(folder / "analysis" / result.thermo)
        steps = [int(step) for step in table["step"]]
        assert set(steps) == set(range(0, 4 * 60 * STRIDE + 1, 10))
        assert float(table["time_ps"][-1]) == pytest.approx(4 * 60 * STRIDE * 0.002)
        assert -3 < float(table["potential_energy_eV_atom"][0]) < -2
        assert result.last_step == steps[-1]
        assert result.complete


class TestDiffusion:
    def test_diffusion_coefficient_of_the_walk(self, diffusion):
        found = diffusion[1].get("diffusion.Na")
        assert found.unit == "cm^2/s"
        assert found.low < D_SODIUM * 1e-4 < found.high
        assert found.value == pytest.approx(D_SODIUM * 1e-4, rel=0.15)

    def test_window_and_line_are_those_of_the_walk(self, diffusion):
        (window,) = diffusion[1].stages[-1].windows
        assert window.species == "Na"
        assert 0 < window.start_ps < window.stop_ps < 16
        assert window.slope_A2_ps == pytest.approx(6 * D_SODIUM, rel=0.15)

    def test_conductivity_is_nernst_einstein(self, diffusion):
        found = diffusion[1].get("conductivity")
        box_cm3 = (3 * 6.6e-8) ** 3
        charge, boltzmann, n_sodium = 1.602176634e-19, 1.380649e-23, 81
        factor = n_sodium * charge**2 / (box_cm3 * boltzmann * diffusion[1].stages[-1].measured_temperature_K)
        assert found.unit == "S/cm"
        assert found.value == pytest.approx(factor * diffusion[1].get("diffusion.Na").value, rel=0.01)

    def test_charges_of_the_user_count_until_the_formal_ones_are_asked_for(self, diffusion):
        folder, formal = diffusion
        halved = analyse_deck(folder, charges={"Na": 0.5, "P": 2.5, "S": -1, "O": -1})
        assert halved.charges == {"Na": 0.5, "P": 2.5, "S": -1}
        assert halved.get("conductivity").value == pytest.approx(formal.get("conductivity").value / 4)
        with pytest.raises(AnalysisError, match="they must sum to zero"):
            analyse_deck(folder, charges={"Na": 1, "P": 5, "S": -1})
        assert read_deck_result(folder) == halved
        assert analyse_deck(folder) == formal


class TestKeeping:
    def test_second_call_reads_and_force_measures_again(self, glass):
        folder, result = glass
        path = folder / "analysis" / "analysis.json"
        before = path.stat().st_mtime_ns
        assert analyse_deck(folder) == result
        assert path.stat().st_mtime_ns == before
        assert analyse_deck(folder, force=True) == result
        assert path.stat().st_mtime_ns > before

    def test_changed_log_makes_it_measure_again(self, glass):
        folder, _ = glass
        log = folder / "log" / "thermo.000.log"
        os.utime(log, ns=(1, 1))
        assert analyse_deck(folder).inputs["log/thermo.000.log"].changed_ns == 1

    def test_result_of_an_older_analysis_is_measured_again(self, glass):
        folder, result = glass
        path = folder / "analysis" / "analysis.json"
        content = json.loads(path.read_text())
        assert content.pop("analysis_version") > 1
        path.write_text(json.dumps(content))
        assert read_deck_result(folder).analysis_version == 1
        assert analyse_deck(folder).stages == result.stages
        assert read_deck_result(folder).analysis_version > 1

    def test_damaged_result_is_replaced(self, glass):
        folder, result = glass
        path = folder / "analysis" / "analysis.json"
        path.write_text(path.read_text()[:100])
        with pytest.raises(AnalysisError, match=r"analysis\.json"):
            read_deck_result(folder)
        assert analyse_deck(folder).stages == result.stages

    def test_failure_leaves_the_older_analysis_whole(self, glass, monkeypatch):
        folder, _ = glass
        before = {path.name: path.read_bytes() for path in (folder / "analysis").iterdir()}

        def fail(self, path):
            raise OSError("No space left on device")

        monkeypatch.setattr(Result, "to_csv", fail)
        with pytest.raises(OSError, match="No space"):
            analyse_deck(folder, force=True)
        assert {path.name: path.read_bytes() for path in (folder / "analysis").iterdir()} == before
        assert not list(folder.glob(".analysis*"))

    def test_no_deck(self, tmp_path):
        with pytest.raises(DeckError, match=r"deck\.json"):
            analyse_deck(tmp_path)

    def test_json_is_strict(self, glass):
        def refuse(constant):
            raise AssertionError(constant)

        json.loads((glass[0] / "analysis" / "analysis.json").read_text(), parse_constant=refuse)


class TestIncomplete:
    def test_deck_that_was_not_started(self, tmp_path):
        write_deck(tmp_path / "deck", melt_quench_stages())
        result = analyse_deck(tmp_path / "deck")
        assert result.last_step is None
        assert not result.complete
        assert "no row" in result.refusals["thermo"]
        assert result.stages[-1].refusals["structure"]

    def test_run_that_ended_early(self, tmp_path):
        stages = melt_quench_stages()
        structure = write_deck(tmp_path / "deck", stages)
        run_deck(tmp_path / "deck", stages[:3], structure, finish=False)
        result = analyse_deck(tmp_path / "deck")
        assert result.last_step == stages[2].last_step
        assert not result.complete
        assert result.get("density").value == pytest.approx(2.0, abs=0.01)
        assert "no whole frame" in result.stages[-1].refusals["structure"]

    def test_hole_is_reported_and_the_longest_stretch_used(self, tmp_path):
        stages = melt_quench_stages(frames=30)
        structure = write_deck(tmp_path / "deck", stages)
        run_deck(tmp_path / "deck", stages, structure, skip={"04-produce": slice(5, 9)})
        (found,) = [s for s in analyse_deck(tmp_path / "deck").stages if s.stage == "04-produce"]
        assert found.n_frames == 27
        assert found.used_frames == 22
        assert any("hole of 4 frames" in message for message in found.messages)
        assert len(found.segments) == 2

    def test_density_without_constant_pressure_is_refused(self, tmp_path):
        stages = (stage("01-produce", "produce", "nvt", 0, 20 * STRIDE, 300, 300),)
        run_deck(tmp_path / "deck", stages, write_deck(tmp_path / "deck", stages))
        density = analyse_deck(tmp_path / "deck").get("density")
        assert density.value is None
        assert "constant pressure" in density.refused

    def test_progress_is_told(self, tmp_path):
        stages = (stage("01-produce", "produce", "nvt", 0, 10 * STRIDE, 300, 300),)
        run_deck(tmp_path / "deck", stages, write_deck(tmp_path / "deck", stages))
        told = []
        analyse_deck(tmp_path / "deck", progress=told.append)
        assert any("pair distribution" in text for text in told)
