"""Measured values: that those shipped are sound, that a user's are checked, and what the report makes of both."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_decks import diffusion_stages, melt_quench_stages, run_deck, write_deck
from universes import sodium_thiophosphate

from napos_lmp.analysis.deck import analyse_deck
from napos_lmp.composition import Composition
from napos_lmp.errors import AnalysisError
from napos_lmp.experiment import ExperimentFile, Reference, experiment_values, references_for
from napos_lmp.report import collect_study, write_report
from napos_lmp.report.experiment import compare
from napos_lmp.structure.density import fitted_glasses


def of_glass(formula, key, references=None):
    found = references_for(Composition.parse(formula), references or experiment_values())
    return [reference for reference in found if reference.key == key]


def reference(key="density", value=2.0, uncertainty=0.1, temperature=293.15):
    return Reference(key, Composition.parse("Na4P2S7"), "Na4P2S7", value, uncertainty, temperature, "here", "")


class TestShipped:
    def test_every_value_has_source_and_uncertainty(self):
        for value in experiment_values():
            assert value.source
            assert value.uncertainty_from
            assert value.uncertainty > 0
            assert value.unit

    def test_densities_are_those_that_the_estimate_is_fitted_to(self):
        shipped = [value for value in experiment_values() if value.key == "density"]
        assert [(v.composition, v.value, v.source) for v in shipped] == [
            (glass.composition, glass.measured, glass.source) for glass in fitted_glasses()
        ]

    def test_units_balance_the_charge(self):
        """Na is bound by the anions that do not bridge: sum (full - n) P^n = R; 4 for Si, 3 for P (P=O is terminal)."""
        full = {"P": 3, "Si": 4}
        glasses = {}
        for value in experiment_values():
            if value.kind == "unit":
                former, n = value.key.split(".n")[0][5:], int(value.key[-1])
                glasses.setdefault((value.composition, former), []).append((n, value.value))
        assert len(glasses) == 7
        for (composition, former), units in glasses.items():
            assert sum(share for _, share in units) == pytest.approx(100, abs=1)
            charge = sum((full[former] - n) * share / 100 for n, share in units)
            assert charge == pytest.approx(composition.modifier_ratio, abs=0.06)

    def test_bond_length_is_that_of_the_crystal(self):
        atoms = sodium_thiophosphate((1, 1, 1))
        symbols = np.array(atoms.get_chemical_symbols())
        distances = atoms.get_all_distances(mic=True)[np.ix_(symbols == "P", symbols == "S")]
        assert of_glass("Na3PS4", "peak.P-S")[0].value == pytest.approx(np.sort(distances)[:, :4].mean(), abs=0.01)

    def test_values_of_the_pyrothiophosphate(self):
        (conductivity,) = of_glass("Na4P2S7", "conductivity")
        assert conductivity.value == pytest.approx(4.4e-6, rel=0.01)
        assert conductivity.ends == pytest.approx((conductivity.value / 1.57, conductivity.value * 1.57), rel=0.01)
        (transition,) = of_glass("Na4P2S7", "glass_transition")
        assert transition.value == pytest.approx(187 + 273.15)
        assert transition.temperature is None

    def test_range_is_a_flat_distribution(self):
        (transition,) = of_glass("NaPO3", "glass_transition")
        assert transition.value == pytest.approx((275 + 291) / 2 + 273.15)
        assert transition.uncertainty == pytest.approx(np.std(np.linspace(275, 291, 100001)), rel=1e-4)

    def test_nearest_glass_comes_first_and_far_ones_not_at_all(self):
        found = of_glass("0.65Na2S+0.35[0.42B2S3+0.58P2S5]", "density")
        assert found[0].glass == "0.65Na2S+0.35[0.4B2S3+0.6P2S5]"
        assert not of_glass("Na4P2S2O5", "density")
        assert not of_glass("0.55Na2S+0.45P2S5", "density")


class TestScore:
    @given(st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0.01, 1), st.floats(0.01, 1))
    def test_is_the_normalised_difference(self, simulated, measured, u_simulated, u_measured):
        half = 1.959963984540054 * u_simulated
        found = reference(value=measured, uncertainty=u_measured).z_score(simulated, simulated - half, simulated + half)
        assert found == pytest.approx((simulated - measured) / math.sqrt(u_simulated**2 + u_measured**2), abs=1e-9)

    def test_is_normal_for_values_that_agree(self):
        random = np.random.default_rng(5)
        scores = []
        for _ in range(4000):
            measured, simulated = random.normal(2, 0.3), random.normal(2, 0.4)
            known = reference(value=measured, uncertainty=0.3)
            scores.append(known.z_score(simulated, simulated - 1.96 * 0.4, simulated + 1.96 * 0.4))
        assert np.std(scores) == pytest.approx(1, abs=0.04)
        assert np.mean(np.abs(scores) > 2) == pytest.approx(0.0455, abs=0.012)

    def test_conductivities_are_compared_in_decades(self):
        known = reference("conductivity", 1e-6, 0.3)
        assert known.z_score(1e-5, 1e-5, 1e-5) == pytest.approx(1 / 0.3)
        assert known.z_score(1e-5, 1e-5 / 10**0.784, 1e-5 * 10**0.784) == pytest.approx(1 / 0.5, rel=1e-3)

    def test_without_interval_it_is_refused(self):
        with pytest.raises(AnalysisError, match="no interval"):
            reference().z_score(2.0, math.nan, math.nan)
        with pytest.raises(AnalysisError, match="above 0"):
            reference("conductivity", 1e-6, 0.3).z_score(1e-6, -1e-6, 3e-6)


class TestUserFile:
    def write(self, tmp_path, text):
        path = tmp_path / "experiment.yaml"
        path.write_text(text)
        return path

    def test_values_are_added(self, tmp_path):
        path = self.write(
            tmp_path,
            "glasses: [{composition: Na4P2S7, source: us, temperature_K: 300, values: {density: 2.1, unit.P.n1: 90}}]",
        )
        found = of_glass("Na4P2S7", "density", experiment_values(path))
        assert [(v.value, v.source) for v in found] == [(2.1, "us"), (2.02, "Haynes 2009 (SciGlass)")]
        assert found[0].uncertainty == pytest.approx(0.021)

    @pytest.mark.parametrize(
        ("values", "sentence"),
        [
            ("{densty: 2}", "'densty' is no quantity that can be compared, such as density"),
            ("{unit.P: 2}", "'unit.P' is no quantity"),
            ("{peak.P-Q: 2}", "'peak.P-Q' is no quantity"),
            ("{density: {value: 2, range: [1, 3]}}", "one of value, log10, range and log10_range is needed"),
            ("{density: {uncertainty: 2}}", "one of value, log10, range"),
            ("{density: {value: 2, uncertainty: 0}}", "greater than 0"),
            ("{density: {value: 2, error: 1}}", "'error' is not a known key"),
            ("{density: {range: [3, 1]}}", "must rise"),
            ("{density: {log10: 3}}", "only a conductivity can be"),
            ("{conductivity: 0}", "conductivity must be above 0"),
            ("{conductivity: -1.0e-6}", "conductivity must be above 0"),
            ("{density: heavy}", "density"),
            ("{mean_n: 1}", "mean_n of Na4P2S7 has no uncertainty and there is no default"),
            ("{}", "at least 1"),
        ],
    )
    def test_mistakes(self, tmp_path, values, sentence):
        text = f"glasses: [{{composition: Na4P2S7, source: us, temperature_K: 300, values: {values}}}]"
        path = self.write(tmp_path, text)
        with pytest.raises(AnalysisError) as error:
            experiment_values(path)
        assert sentence in str(error.value)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("glasses: [{composition: Na4P2S7, source: us, values: {density: 2}}]", "density has no temperature_K"),
            ("glasses: [{composition: Na4P2S7, values: {density: 2}}]", "source is missing"),
            ("glasses: [{composition: Na4P2S8, source: us, values: {glass_transition: 2}}]", "not neutral"),
            ("glasses: []", "at least 1"),
            ("defaults: {density: {decades: 1, why: x}}\nglasses: []", "decades are for conductivity"),
            ("defaults: {density: {why: x}}\nglasses: []", "one of absolute, relative and decades"),
        ],
    )
    def test_files(self, tmp_path, text, sentence):
        with pytest.raises(AnalysisError) as error:
            experiment_values(self.write(tmp_path, text))
        assert sentence in str(error.value)

    def test_missing_file(self, tmp_path):
        with pytest.raises(AnalysisError, match="cannot be read"):
            experiment_values(tmp_path / "none.yaml")

    def test_has_a_schema_for_editors(self):
        assert "glasses" in ExperimentFile.model_json_schema()["properties"]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("against-experiment")
    for seed, density in ((1, 2.10), (2, 2.11), (3, 2.12)):
        deck = root / "Na4P2S7" / f"seed-{seed}" / "melt-quench"
        stages = melt_quench_stages(frames=20)
        run_deck(deck, stages, write_deck(deck, stages, seed=seed, dimers=True), seed=seed, density=density)
        analyse_deck(deck)
    for temperature, coefficient in ((800, 0.3), (1000, 0.6)):
        deck = root / "Na4P2S7" / "seed-1" / f"diffusion-{temperature:04d}K"
        stages = diffusion_stages(temperature, frames=300)
        structure = write_deck(deck, stages, source="../melt-quench", protocol=deck.name, dimers=True)
        run_deck(deck, stages, structure, diffusion=coefficient, seed=temperature)
        analyse_deck(deck)
    (root / "experiment.yaml").write_text(
        """glasses:
  - composition: Na4P2S7
    source: our own
    temperature_K: 295
    values:
      unit.P.n1: 93
      peak.S-P: 2.05
      density: {value: 1.7, temperature_K: 600}
"""
    )
    return root


class TestReport:
    def compared(self, study):
        ((_, found),) = compare(collect_study(study))
        return {(each.reference.key, each.reference.source): each for each in found}

    def test_density_is_marked(self, study):
        found = self.compared(study)["density", "Haynes 2009 (SciGlass)"]
        u_simulated = (found.simulated.high - found.simulated.low) / 2 / 1.959964
        assert found.simulated.value == pytest.approx(2.11, abs=0.002)
        assert found.z == pytest.approx((found.simulated.value - 2.02) / math.hypot(u_simulated, 0.0202), rel=1e-5)
        assert found.z > 3
        assert found.judgement == "▲▲ off by more than 3 σ"

    def test_pairs_in_the_other_order_and_values_without_interval(self, study):
        found = self.compared(study)
        assert found["peak.S-P", "our own"].simulated.value == pytest.approx(2.05, abs=0.03)
        units = found["unit.P.n1", "our own"]
        assert (units.z, units.judgement) == (None, "no interval")
        assert "no interval" in units.reason

    def test_what_cannot_be_compared_says_why(self, study):
        found = self.compared(study)
        hot = found["density", "our own"]
        assert (hot.z, hot.judgement) == (None, "not comparable")
        assert hot.reason == "measured at 600 K in experiment, at 800 K at the nearest in the simulation"
        assert "not measured" in found["glass_transition", "Haynes 2009 (SciGlass)"].reason

    def test_conductivity_is_compared_by_extrapolation_only(self, study):
        found = self.compared(study)["conductivity", "Haynes 2009 (SciGlass)"]
        assert found.label == "Conductivity, Arrhenius line drawn to 293 K"
        assert found.z is not None or found.reason

    def test_page_and_numbers_hold_the_table(self, study):
        page = write_report(study).read_text()
        assert 'id="experiment"' in page
        assert "Against experiment" in page
        assert "▲▲ off by more than 3 σ" in page
        numbers = json.loads((study / "report" / "report.json").read_text())["numbers"]
        (z,) = [n for n in numbers if n["section"] == "experiment" and n["column"] == "z" and "Density" in n["row"]]
        assert z["value"] > 3

    def test_mistake_in_the_users_file_stops_the_report(self, study, tmp_path):
        path = study / "experiment.yaml"
        before = path.read_text()
        try:
            path.write_text("glasses: 3")
            with pytest.raises(AnalysisError, match=r"experiment\.yaml"):
                write_report(study)
        finally:
            path.write_text(before)

    def test_study_without_measured_glasses_has_no_section(self, tmp_path):
        stages = melt_quench_stages(frames=10)
        deck = tmp_path / "crystal"
        run_deck(deck, stages, write_deck(deck, stages, label="Na3PS4-crystal, made-up, melt-quench, seed 1"))
        analyse_deck(deck)
        assert not list(compare(collect_study(tmp_path)))
        assert 'id="experiment"' not in write_report(tmp_path).read_text()
