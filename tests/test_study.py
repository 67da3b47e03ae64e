"""Studies: one YAML file becomes decks in an order that can be run, and is extended without harm."""

import shutil

import pytest
import yaml

from napos_lmp.errors import NaposError, StructureError, StudyError
from napos_lmp.manifest import Extension, changed_files, read_manifest, write_manifest
from napos_lmp.structure import crystal, read_data
from napos_lmp.study import example_study, has_run, read_study, read_study_index, write_decks
from napos_lmp.templates import Templates

BASE = {
    "name": "small",
    "compositions": ["Na4P2S7", {"series": "Na4P2S{7-x}O{x}", "x": [1, 2], "density_g_cm3": [1.9, 2.0]}],
    "atoms": 26,
    "seeds": [5, 7],
    "potential": "napos-deepmd",
    "protocols": [{"preset": "melt-quench"}, {"preset": "diffusion", "temperatures_K": [600, 800]}],
}


def study_of(tmp_path, **changes):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({**BASE, **changes}))
    return read_study(path)


def test_the_example_is_a_study_of_the_shipped_potential(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(example_study())
    study = read_study(path)
    assert study.potential == ("napos-deepmd",)
    assert study.seeds == (1, 2, 3)
    assert [spec.preset for spec in study.protocols] == ["melt-quench", "diffusion"]


def test_decks_lie_where_they_are_said_to_and_sources_come_first(tmp_path):
    seen = []
    decks = write_decks(study_of(tmp_path), tmp_path / "out", lambda done, total, label: seen.append((done, total)))
    names = [deck.relative_to(tmp_path / "out").as_posix() for deck in decks]
    assert names == [
        f"{formula}/napos-deepmd/seed-{seed}/{protocol}"
        for formula in ("Na4P2S7", "Na4P2S6O", "Na4P2S5O2")
        for seed in (5, 7)
        for protocol in ("melt-quench", "diffusion-0600K", "diffusion-0800K")
    ]
    index = read_study_index(tmp_path / "out")
    assert [deck.path for deck in index.decks] == names
    done: set[str] = set()
    for deck in index.decks:
        assert deck.source is None or deck.source in done
        assert (deck.source is None) == deck.path.endswith("melt-quench")
        done.add(deck.path)
    for deck in decks:
        manifest = read_manifest(deck)
        assert changed_files(deck, manifest) == []
        if manifest.structure.source_deck:
            assert (deck / manifest.structure.source_deck).resolve() == deck.parent / "melt-quench"
    assert seen[-1] == (len(decks), len(decks))
    assert not any((tmp_path / "out").rglob(".*"))


def test_cells_of_several_sizes_have_folders_of_their_own(tmp_path):
    decks = write_decks(study_of(tmp_path, atoms=[26, 52], seeds=1, compositions=["Na4P2S7"]), tmp_path / "out")
    folders = [deck.relative_to(tmp_path / "out").parts[0] for deck in decks]
    assert folders == ["Na4P2S7-26-atoms"] * 3 + ["Na4P2S7-52-atoms"] * 3
    assert {read_manifest(deck).structure.n_atoms for deck in decks} == {26, 52}


def test_shipped_study_of_size_convergence(tmp_path):
    (tmp_path / "sizes.yaml").write_text(example_study("size-convergence"))
    study = read_study(tmp_path / "sizes.yaml")
    assert study.atoms == (104, 208, 416, 832)
    assert len(study.seeds) == 3


def test_a_deck_that_was_extended_is_kept(tmp_path):
    out, study = tmp_path / "out", study_of(tmp_path, seeds=1, compositions=["Na4P2S7"])
    deck = write_decks(study, out)[1]
    manifest = read_manifest(deck)
    stages = manifest.protocol["stages"]
    longer = {**manifest.protocol, "stages": [*stages[:-1], {**stages[-1], "duration_ps": 900.0}]}
    extension = Extension(from_step=1, to_step=2, duration_ps_before=stages[-1]["duration_ps"])
    write_manifest(deck, manifest.model_copy(update={"protocol": longer, "extensions": (extension,)}))
    (deck / "run.json").write_text("{}")
    write_decks(study, out)
    assert read_manifest(deck).protocol == longer


def test_densities_and_seeds_reach_the_structures(tmp_path):
    write_decks(study_of(tmp_path), tmp_path / "out")
    cells = {}
    for formula, density in (("Na4P2S6O", 1.9), ("Na4P2S5O2", 2.0)):
        for seed in (5, 7):
            deck = tmp_path / f"out/{formula}/napos-deepmd/seed-{seed}/melt-quench"
            manifest = read_manifest(deck)
            structure = read_data(deck / "structure.data", manifest.elements)
            assert structure.density == pytest.approx(density, rel=1e-6)
            cells[formula, seed] = structure.positions
    assert not (cells["Na4P2S6O", 5] == cells["Na4P2S6O", 7]).all()


def test_the_same_study_gives_the_same_decks(tmp_path):
    study = study_of(tmp_path, compositions=["Na4P2S7"])
    write_decks(study, tmp_path / "one")
    write_decks(study, tmp_path / "two")
    for deck in read_study_index(tmp_path / "one").decks:
        one, two = (read_manifest(tmp_path / name / deck.path) for name in ("one", "two"))
        assert one == two


def test_velocities_differ_between_replicas_and_temperatures(tmp_path):
    decks = write_decks(study_of(tmp_path, compositions=["Na4P2S7"]), tmp_path / "out")
    drawn = {
        line.split()[-7]
        for deck in decks
        for path in (deck / "stages").iterdir()
        for line in path.read_text().splitlines()
        if "velocity all create" in line
    }
    assert len(drawn) == len(decks)


def test_a_crystal_is_not_melted_and_diffuses_from_its_own_structure(tmp_path):
    study = study_of(tmp_path, compositions=[{"crystal": "Na3PS4", "repeat": [2, 2, 1]}], seeds=1)
    decks = write_decks(study, tmp_path / "out")
    assert [deck.name for deck in decks] == ["diffusion-0600K", "diffusion-0800K"]
    manifest = read_manifest(decks[0])
    assert manifest.structure.counts == crystal("Na3PS4", (2, 2, 1)).counts
    assert manifest.structure.source_deck is None
    assert manifest.formula == "Na3PS4" or manifest.formula == "Na6P2S8"


def test_own_stages_can_start_from_an_earlier_protocol(tmp_path):
    stages = [{"kind": "produce", "temperature_K": 300, "duration_ps": 5}]
    protocols = [{"preset": "melt-quench", "name": "mq"}, {"name": "later", "start": "mq", "stages": stages}]
    decks = write_decks(study_of(tmp_path, compositions=["Na4P2S7"], protocols=protocols, seeds=1), tmp_path / "out")
    assert read_manifest(decks[1]).structure.source_deck == "../mq"


def test_a_study_is_extended_and_what_has_run_is_kept(tmp_path):
    out = tmp_path / "out"
    first = write_decks(study_of(tmp_path, compositions=["Na4P2S7"], seeds=1), out)
    assert not has_run(first[0], read_manifest(first[0]))
    (first[0] / "log/thermo.000.log").write_text("it ran")
    (first[1] / "stray").write_text("not run: written anew")
    more = write_decks(study_of(tmp_path, compositions=["Na4P2S7", "Na4P2S5O2"], seeds=2), out)
    assert len(more) == 12
    assert (first[0] / "log/thermo.000.log").read_text() == "it ran"
    assert not (first[1] / "stray").exists()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"protocols": [{"preset": "melt-quench", "melt": {"temperature_K": 1400}}]}, "protocol"),
        ({"atoms": 52}, "atoms"),
        ({"compositions": [{"formula": "Na4P2S7", "density_g_cm3": 1.5}]}, "density"),
    ],
)
def test_a_deck_that_has_run_is_not_changed(tmp_path, changes, word):
    out = tmp_path / "out"
    base = {"compositions": ["Na4P2S7"], "seeds": 1, "protocols": [{"preset": "melt-quench"}]}
    (deck,) = write_decks(study_of(tmp_path, **base), out)
    (deck / "log/thermo.000.log").touch()
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(StudyError, match=rf"has run and would be changed \({word}\)"):
        write_decks(study_of(tmp_path, **{**base, **changes}), out)
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_another_study_is_not_mixed_in(tmp_path):
    write_decks(study_of(tmp_path, compositions=["Na4P2S7"], seeds=1), tmp_path / "out")
    with pytest.raises(StudyError, match="holds the study 'small'"):
        write_decks(study_of(tmp_path, name="other"), tmp_path / "out")


def test_after_an_error_the_folder_is_as_it_was(tmp_path):
    out = tmp_path / "out"
    base = {"compositions": ["Na4P2S7"], "seeds": 1}
    write_decks(study_of(tmp_path, **base), out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    own = Templates().copy("stages/produce.lmp.j2", tmp_path / "own")
    own.write_text("{{ 1 / (stage.temperature_start - 800) }}\n")
    with pytest.raises(NaposError, match="produce"):
        write_decks(study_of(tmp_path, **base, templates="own"), out)
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(StructureError):
        write_decks(study_of(tmp_path, compositions=[{"formula": "Na4P2S7", "density_g_cm3": 9}], seeds=1), out)
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    shutil.rmtree(tmp_path / "own")


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"composition": ["Na4P2S7"]}, ["'composition'", "did you mean 'compositions'"]),
        ({"protocols": [{"preset": "melt-quench", "quench": {"rate": 3}}]}, ["protocols.0.quench", "'rate_K_per_ps'"]),
        (
            {"protocols": [{"preset": "melt-quench", "quench": {"rate_K_per_ps": -2}}]},
            ["protocols.0.quench.rate_K_per_ps is -2"],
        ),
        ({"protocols": [{"preset": "meltquench"}]}, ["protocols.0", "melt-quench, diffusion, cooling or elastic"]),
        ({"protocols": [{"stages": []}]}, ["protocols.0.name is missing"]),
        ({"protocols": []}, ["protocols"]),
        ({"protocols": [{"preset": "melt-quench"}] * 2}, ["two protocols", "'melt-quench'"]),
        ({"protocols": [{"preset": "diffusion", "start": "mq"}]}, ["starts from 'mq'"]),
        ({"protocols": [{"preset": "melt-quench", "melt": {"duration_ps": 0.2}}]}, ["melt", "dump_ps"]),
        ({"compositions": ["Na4P2S8"]}, ["compositions.0.formula", "not neutral"]),
        ({"compositions": ["Xx2O"]}, ["compositions.0.formula", "Xx"]),
        ({"compositions": [{"formulae": "Na4P2S7"}]}, ["compositions.0", "formula, series and crystal"]),
        ({"compositions": [{"series": "Na4P2S{7-x}O{x}", "x": [9]}]}, ["compositions.0", "x = 9"]),
        ({"compositions": [{"crystal": "NaCl"}]}, ["compositions.0.crystal is 'NaCl'", "Na3PS4"]),
        ({"compositions": [{"formula": "Na4P2S7", "density_g_cm3": -1}]}, ["density_g_cm3 is -1"]),
        ({"compositions": []}, ["compositions"]),
        ({"atoms": "many"}, ["atoms is 'many'"]),
        ({"seeds": 0}, ["seeds is 0", "1 to 1000"]),
        ({"seeds": [1, 1]}, ["seeds", "twice"]),
        ({"seeds": [-1]}, ["seeds", "-1"]),
        ({"name": "../escape"}, ["name is '../escape'"]),
        ({"job": {"slurm": {"partition": "gpu; rm -rf /"}}}, ["job.slurm.partition"]),
        ({"job": {"slurm": {"time": "1 day"}}}, ["job.slurm.time is '1 day'"]),
        ({"job": {"rank": 2}}, ["'rank'", "job", "'ranks'"]),
    ],
)
def test_mistakes_are_named_in_one_sentence(tmp_path, changes, parts):
    with pytest.raises(StudyError) as caught:
        study_of(tmp_path, **changes)
    message = str(caught.value)
    assert "\n" not in message
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"compositions": ["Na4P2S7", "0.6667Na2S+0.3333P2S5", "Na4P2S7"]}, "there twice"),
        ({"compositions": ["Na4Si2S6"]}, "does not know Si"),
        ({"potential": "napos-deepmdd"}, "did you mean 'napos-deepmd'"),
        ({"templates": "absent"}, "does not exist"),
    ],
)
def test_mistakes_that_show_when_decks_are_written(tmp_path, changes, match):
    with pytest.raises(NaposError, match=match):
        write_decks(study_of(tmp_path, **changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_damaged_index_is_named(tmp_path):
    with pytest.raises(StudyError, match="holds no study"):
        read_study_index(tmp_path)
    (tmp_path / "study.json").write_text('{"name": "x"}')
    with pytest.raises(StudyError, match=r"study\.json"):
        read_study_index(tmp_path)
