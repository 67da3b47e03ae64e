"""Protocols and presets: what is asked for is what LAMMPS is told, and mistakes are named."""

import itertools

import pytest
import yaml

from napos_lmp.errors import NaposError, ProtocolError
from napos_lmp.presets import Cooling, Diffusion, Elastic, MeltQuench
from napos_lmp.protocol import Protocol, derived_seed
from napos_lmp.yamlfile import check_model, read_yaml, read_yaml_model


def protocol(text: str) -> Protocol:
    return check_model({"name": "p", **yaml.safe_load(text)}, Protocol, ProtocolError, "p")


def refusal(text: str, model: type = Protocol) -> str:
    data = yaml.safe_load(text)
    if model is Protocol:
        data = {"name": "p", **data}
    with pytest.raises(ProtocolError) as caught:
        check_model(data, model, ProtocolError, "p")
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("timestep", "rate", "steps_expected"), [(1.0, 10.0, 120_000), (2.0, 10.0, 60_000), (1.0, 0.5, 2_400_000)]
)
def test_quench_lasts_as_long_as_its_rate_says(timestep, rate, steps_expected):
    made = protocol(
        f"timestep_fs: {timestep}\nstages: [{{kind: melt, temperature_K: 1500, duration_ps: 10}}, "
        f"{{kind: quench, end_temperature_K: 300, rate_K_per_ps: {rate}}}]"
    )
    melt, quench = made.schedule()
    length = quench.last_step - quench.first_step
    assert length == steps_expected
    assert (quench.temperature_start, quench.temperature_stop) == (1500, 300)
    assert quench.first_step == melt.last_step
    assert (1500 - 300) / (length * timestep / 1000) == pytest.approx(rate, rel=1e-9)


def test_quench_in_steps_takes_the_same_time_and_ends_at_the_same_temperature():
    stages = "stages: [{kind: melt, temperature_K: 1200, duration_ps: 1}, {kind: quench, rate_K_per_ps: 9, %s}]"
    linear, stepped = protocol(stages % "").schedule(), protocol(stages % "steps: 3").schedule()
    assert [s.name for s in stepped] == ["01-melt", "02-quench", "03-quench", "04-quench"]
    assert [s.temperature_start for s in stepped[1:]] == [900, 600, 300]
    assert all(s.temperature_start == s.temperature_stop for s in stepped[1:])
    assert abs(stepped[-1].last_step - linear[-1].last_step) <= 3
    assert all(after.first_step == before.last_step for before, after in itertools.pairwise(stepped))


def test_a_stage_takes_its_temperature_from_the_one_before():
    stages = protocol(
        "stages: [{kind: minimise}, {kind: melt, temperature_K: 1000, duration_ps: 1}, "
        "{kind: quench, end_temperature_K: 400, rate_K_per_ps: 100}, {kind: equilibrate, duration_ps: 2}, "
        "{kind: produce, duration_ps: 3, dump_steps: 7}]"
    ).schedule()
    assert [s.temperature_start for s in stages] == [None, 1000, 1000, 400, 400]
    assert [s.pressure for s in stages] == [None, None, None, 1.0, None]
    assert [s.dump_stride for s in stages] == [None, 1000, 1000, 1000, 7]
    assert [(s.first_step, s.last_step) for s in stages] == [
        (0, 0),
        (0, 1000),
        (1000, 7000),
        (7000, 9000),
        (9000, 12_000),
    ]


def test_preset_overrides_change_one_number_and_keep_the_rest():
    (made,) = MeltQuench.model_validate(
        {"melt": {"duration_ps": 7}, "quench": {"end_temperature_K": 350}, "equilibrate": None, "anneal": {}}
    ).protocols()
    kinds = [stage.kind for stage in made.stages]
    assert kinds == ["minimise", "melt", "quench", "anneal", "produce"]
    melt, quench, *after = made.schedule()[1:]
    assert (melt.temperature_start, melt.last_step) == (1500, 7000)
    assert quench.rate == 5
    assert {s.temperature_start for s in after} == {350}


def test_anneal_at_a_temperature_of_its_own_does_not_move_what_follows():
    (made,) = MeltQuench.model_validate({"anneal": {"temperature_K": 500}}).protocols()
    assert [s.temperature_stop for s in made.schedule()[2:]] == [300, 500, 300, 300]


def test_diffusion_repeats_velocities_in_decks_of_their_own():
    made = Diffusion.model_validate({"temperatures_K": [600, 800], "velocities": 2}).protocols()
    assert [p.name for p in made] == ["diffusion-0600K", "diffusion-0600K-v2", "diffusion-0800K", "diffusion-0800K-v2"]
    assert made[0].stages == made[1].stages


def test_diffusion_makes_one_protocol_for_each_temperature():
    made = Diffusion.model_validate({"temperatures_K": [600, 850.5], "produce": {"dump_steps": 50}}).protocols()
    assert [p.name for p in made] == ["diffusion-0600K", "diffusion-0850.5K"]
    assert [s.temperature_start for s in made[1].schedule()[1:]] == [850.5, 850.5]
    assert made[0].schedule()[-1].dump_stride == 50


@pytest.mark.parametrize(
    ("preset", "given"), [(MeltQuench, {"quench": {"end_temperature_K": 400}}), (Diffusion, {"temperatures_K": [400]})]
)
def test_vibrate_comes_last_at_the_same_temperature_and_changes_nothing_else(preset, given):
    (without,) = preset.model_validate(given).protocols()
    (made,) = preset.model_validate({**given, "vibrate": {}}).protocols()
    assert made.model_dump()["stages"][:-1] == without.model_dump()["stages"]
    *before, last = made.schedule()
    assert tuple(before) == without.schedule()
    assert (last.kind, last.ensemble, last.temperature_start, last.temperature_stop) == ("vibrate", "nve", 400, 400)
    assert (last.last_step - last.first_step, last.dump_stride) == (10_000, 4)
    (other,) = preset.model_validate({**given, "timestep_fs": 2, "vibrate": {"dump_ps": 0.006}}).protocols()
    assert other.schedule()[-1].dump_stride == 3


def test_elastic_relaxes_then_strains_all_six_both_ways_one_step_each():
    (made,) = Elastic.model_validate({"strain": {"strain": 0.01}, "start": "mq"}).protocols()
    stages = made.schedule()
    assert made.start == "mq"
    assert [stage.kind for stage in stages] == ["relax"] + ["strain"] * 12
    assert [(stage.first_step, stage.last_step) for stage in stages] == [(i, i + 1) for i in range(13)]
    assert [stage.strained for stage in stages[1:5]] == [("xx", 0.01), ("xx", -0.01), ("yy", 0.01), ("yy", -0.01)]
    assert stages[0].pressure == 0
    assert all(stage.ensemble is None and stage.dump_stride is None for stage in stages)


def test_a_relaxation_may_follow_dynamics():
    stages = protocol(
        "stages: [{kind: melt, temperature_K: 900, duration_ps: 1}, {kind: relax}, {kind: strain}]"
    ).schedule()
    assert [stage.name for stage in stages[:3]] == ["01-melt", "02-relax", "03-strain"]
    assert (stages[1].first_step, stages[-1].last_step) == (1000, 1013)


def test_cooling_holds_each_step_at_constant_pressure_and_writes_no_frames():
    (made,) = Cooling.model_validate({"cool": {"steps": 4, "rate_K_per_ps": 2}}).protocols()
    stages = made.schedule()
    assert [stage.temperature_stop for stage in stages] == [1000, 800, 600, 400, 200]
    assert all(stage.last_step - stage.first_step == 100_000 for stage in stages)
    assert {stage.pressure for stage in stages} == {1.0}
    assert {stage.dump_stride for stage in stages} == {None}


def test_seeds_depend_on_study_seed_and_purpose_and_suit_lammps():
    seeds = {derived_seed(seed, purpose, "x") for seed in range(200) for purpose in ("velocities", "packing")}
    assert len(seeds) == 400
    assert all(1 <= seed < 900_000_000 for seed in seeds)
    assert derived_seed(1, "velocities", "a") == derived_seed(1, "velocities", "a")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("stages: [{kind: melt, temperature_K: 900, duration_ps: 1}, {kind: minimise}]", ["minimise", "first"]),
        ("stages: [{kind: minimise}]", ["at least one stage of dynamics"]),
        ("stages: [{kind: strain}]", ["strain", "relax before it"]),
        (
            "stages: [{kind: relax}, {kind: melt, temperature_K: 900, duration_ps: 1}]",
            ["after a relax only one strain may follow"],
        ),
        ("stages: [{kind: relax}, {kind: strain}, {kind: strain}]", ["after a relax only one strain may follow"]),
        ("stages: [{kind: relax, cell: cubic}]", ["cell is 'cubic'", "isotropic"]),
        ("stages: [{kind: relax}, {kind: strain, strain: 0.2}]", ["strain is 0.2", "0.05"]),
        (
            "stages: [{kind: melt, temperature_K: -5, duration_ps: 1}]",
            ["stages.0.temperature_K is -5", "greater than 0"],
        ),
        ("stages: [{kind: melt, temperature_K: .nan, duration_ps: 1}]", ["stages.0.temperature_K", "finite"]),
        ("stages: [{kind: melt, duration_ps: 1}]", ["temperature_K is missing"]),
        ("stages: [{kind: melt, temperature_K: 900}]", ["stages.0.duration_ps is missing"]),
        ("stages: [{kind: quensh}]", ["quensh", "'quench'"]),
        ("stages: [{temperature_K: 900}]", ["stages.0.kind is missing"]),
        ("stages: [{kind: quench, start_temperature_K: 900, rate_K_per_ps: -1}]", ["rate_K_per_ps is -1"]),
        ("stages: [{kind: quench, start_temperature_K: 900, rate_K_ps: 1}]", ["'rate_K_ps'", "'rate_K_per_ps'"]),
        ("stages: [{kind: quench, start_temperature_K: 200, rate_K_per_ps: 1}]", ["end_temperature_K is 300", "200"]),
        ("stages: [{kind: quench, rate_K_per_ps: 1}]", ["start_temperature_K is missing"]),
        ("stages: [{kind: melt, temperature_K: 900, duration_ps: 1, pressure_bar: 1}]", ["pressure_bar", "npt"]),
        ("stages: [{kind: melt, temperature_K: 900, duration_ps: 1, ensemble: nve}]", ["ensemble is 'nve'", "npt"]),
        ("stages: [{kind: melt, temperature_K: 900, duration_ps: 0.5}]", ["500 steps", "dump_ps"]),
        ("stages: [{kind: melt, temperature_K: 900, duration_ps: 0.0001}]", ["less than one step"]),
        ("stages: [{kind: produce, temperature_K: 9, duration_ps: 9, dump_ps: 1, dump_steps: 5}]", ["not both"]),
        ("stages: [{kind: vibrate, temperature_K: 300}]", ["stages.0 (vibrate).temperature_K is 300", "no dynamics"]),
        (
            "stages: [{kind: melt, temperature_K: 900, duration_ps: 1}, {kind: vibrate, temperature_K: 300}]",
            ["stages.1 (vibrate).temperature_K is 300", "ends at 900 K", "nve"],
        ),
        (
            "stages: [{kind: melt, temperature_K: 900, duration_ps: 1}, {kind: vibrate, dump_ps: null}]",
            ["stages.1.dump_ps"],
        ),
        ("{timestep_fs: 0, stages: [{kind: melt}]}", ["timestep_fs is 0"]),
        ("stages: []", ["stages", "at least 1"]),
    ],
)
def test_refused_protocols_name_field_value_and_what_is_allowed(text, parts):
    message = refusal(text)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("text", "model", "parts"),
    [
        ("quench: {rate_K_ps: 3}", MeltQuench, ["'rate_K_ps'", "quench", "'rate_K_per_ps'"]),
        ("mellt: {}", MeltQuench, ["'mellt'", "'melt'"]),
        ("melt: null", MeltQuench, ["melt"]),
        ("temperatures_K: [300, 300]", Diffusion, ["temperatures_K", "twice"]),
        ("temperatures_K: []", Diffusion, ["temperatures_K"]),
        ("produce: {temperature_K: 500}", Diffusion, ["produce", "temperatures_K"]),
        ("vibrate: {temperature_K: 500}", Diffusion, ["vibrate", "temperatures_K"]),
        ("vibrate: {ensemble: npt}", MeltQuench, ["vibrate.ensemble is 'npt'", "'nve'"]),
        ("cool: {ensemble: nvt}", Cooling, ["cool", "'nvt'", "'npt'"]),
        ("strain: null", Elastic, ["strain"]),
        ("minimise: {}", Elastic, ["minimise"]),
    ],
)
def test_refused_presets(text, model, parts):
    message = refusal(text, model)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("name: a\nname: b\n", ["line 2", "'name'", "twice"]),
        ("a: [1, 2\n", ["line"]),
        ("- 1\n", ["mapping", "list"]),
        ("", ["mapping", "nothing"]),
        ("a: !!python/object/apply:os.system ['true']\n", ["line 1"]),
        ("? [a]\n: 1\n", ["line 1", "key"]),
        ("? {a: 1}\n: 1\n", ["line 1", "key"]),
    ],
)
def test_yaml_that_cannot_be_used(tmp_path, text, parts):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ProtocolError) as caught:
        read_yaml_model(path, Protocol, ProtocolError)
    assert str(path) in str(caught.value)
    assert all(part in str(caught.value) for part in parts), caught.value


def test_missing_or_binary_yaml_is_one_sentence(tmp_path):
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("absent.yaml", "b.yaml"):
        with pytest.raises(NaposError, match=r"cannot be read|line"):
            read_yaml(tmp_path / name, ProtocolError)
