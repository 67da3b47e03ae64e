"""Decks for GPUs and for the pair styles of MACE, against what was stored and by LAMMPS's own reading."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_mace import save_tiny_mace

from napos_lmp.backends import get_backend
from napos_lmp.backends.mliap import MliapBackend
from napos_lmp.composition import Composition
from napos_lmp.deck import render_deck
from napos_lmp.errors import DeckError, StudyError
from napos_lmp.job import JobSettings, SlurmSettings
from napos_lmp.potential import add_model_file, load_potential
from napos_lmp.presets import MeltQuench
from napos_lmp.structure import crystal
from napos_lmp.study import write_decks
from napos_lmp.study_file import Study
from napos_lmp.templates import shipped_templates

EXPECTED = Path(__file__).parent / "expected" / "decks"
BIN = Path(sys.executable).parent
PARTS = ("potential.lammps", "job.sh", "job.slurm")
CLUSTER = SlurmSettings(partition="gpu", time="12:00:00", modules=("lammps/mliap",))
JOBS = {
    1: JobSettings(gpus=1, threads=4, slurm=CLUSTER),
    4: JobSettings(gpus=4, threads=4, slurm=CLUSTER),
    16: JobSettings(gpus=4, threads=4, slurm=CLUSTER.model_copy(update={"nodes": 4})),
}


@pytest.fixture(scope="module", autouse=True)
def folders(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAPOS_LMP_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("NAPOS_LMP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def tiny(folders: None, tmp_path_factory: pytest.TempPathFactory):
    file = save_tiny_mace(tmp_path_factory.mktemp("models") / "tiny.model", precision="float32")
    return add_model_file(file, "tiny-mace", trust=True)


@pytest.fixture(scope="module")
def render(tiny):
    potentials = {"deepmd": load_potential("napos-deepmd"), "mace": tiny}

    def make(folder: Path, potential: str, job: JobSettings, pair_style: str | None = None):
        chosen = potentials[potential]
        elements = tuple(element for element in chosen.elements if element != "O")
        return render_deck(
            folder,
            composition=Composition.parse("Na3PS4"),
            potential=chosen,
            protocol=MeltQuench().protocols()[0],
            seed=1,
            structure=crystal("Na3PS4", (2, 2, 2), elements),
            label="Na3PS4, GPUs",
            job=job,
            pair_style=pair_style,
        )

    return make


def without_hashes(text: str) -> str:
    """What is stored: neither hashes nor the program's version."""
    return re.sub(r"made by napos-lmp \S+", "made by napos-lmp", re.sub(r"\b[0-9a-f]{64}\b", "<SHA-256>", text))


@pytest.mark.parametrize("potential", ["deepmd", "mace"])
@pytest.mark.parametrize("gpus", JOBS)
def test_decks_for_gpus_are_as_stored(tmp_path: Path, render, potential: str, gpus: int):
    manifest = render(tmp_path / "deck", potential, JOBS[gpus])
    head = (tmp_path / "deck" / "in.lammps").read_text().partition("variable")[0]
    texts = [f"=== in.lammps\n{head}", *(f"=== {name}\n{(tmp_path / 'deck' / name).read_text()}" for name in PARTS)]
    expected = EXPECTED / f"{potential}-{gpus}gpu.txt"
    if os.environ.get("NAPOS_LMP_STORE_EXPECTED"):
        expected.write_text(without_hashes("\n".join(texts)))
    assert without_hashes("\n".join(texts)) == expected.read_text()
    assert manifest.gpus == JOBS[gpus].gpus
    assert manifest.lammps_packages == (("KOKKOS", "ML-IAP", "PYTHON") if potential == "mace" else ())
    for name in ("job.sh", "job.slurm"):
        subprocess.run(["bash", "-n", name], cwd=tmp_path / "deck", check=True)


@pytest.mark.parametrize("potential", ["deepmd", "mace"])
@pytest.mark.parametrize("gpus", JOBS)
def test_one_rank_for_each_gpu(tmp_path: Path, render, potential: str, gpus: int):
    render(tmp_path / "deck", potential, JOBS[gpus])
    slurm = (tmp_path / "deck" / "job.slurm").read_text()
    settings = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)$", slurm, re.MULTILINE))
    assert settings["ntasks-per-node"] == settings["gpus-per-node"] == str(JOBS[gpus].gpus)
    assert int(settings["nodes"]) * int(settings["gpus-per-node"]) == gpus
    assert f"mpirun -np {JOBS[gpus].gpus} lmp" in (tmp_path / "deck" / "job.sh").read_text()


def test_mpi_that_does_not_know_gpus_is_told_so(tmp_path: Path, render):
    render(tmp_path / "deck", "mace", JOBS[4].model_copy(update={"gpu_aware": False}))
    for name in ("job.sh", "job.slurm"):
        assert "neigh half gpu/aware off)" in (tmp_path / "deck" / name).read_text()


def lammps(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": f"{BIN}:{os.environ['PATH']}"}
    command = [str(BIN / "lmp"), "-in", "in.lammps", "-log", "none", "-skiprun", "-var", "dry", "yes", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("style", ["mliap", "symmetrix/mace", "mace"])
def test_pair_style_blocks_are_what_lammps_reads(tmp_path: Path, render, tiny, style: str):
    """LAMMPS reads the deck up to the pair style that it lacks, and all of it with `pair_style zero` in its place."""
    backend = MliapBackend(style)
    deck = tmp_path / "deck"
    if style == "symmetrix/mace":
        manifest = render(deck, "mace", JobSettings())
        values = {
            "potential": tiny,
            "potential_file": "potential/model.json",
            "elements": manifest.elements,
            "lammps_packages": backend.lammps_packages,
            "launch_arguments": backend.launch_arguments(gpus=1, threads=1),
        }
        (deck / "potential.lammps").write_text(shipped_templates().render(backend.template, values))
    else:
        manifest = render(deck, "mace", JobSettings(), style)
        assert manifest.potential.pair_style == style
    block = (deck / "potential.lammps").read_text()
    commands = [line.split() for line in block.splitlines() if not line.startswith("#")]
    file = "potential/model.json" if style == "symmetrix/mace" else "potential/model.pt"
    assert (
        commands
        == {
            "mliap": [["pair_style", "mliap", "unified", file, "0"], ["pair_coeff", "*", "*", "Na", "P", "S"]],
            "symmetrix/mace": [["pair_style", "symmetrix/mace"], ["pair_coeff", "*", "*", file, "Na", "P", "S"]],
            "mace": [["pair_style", "mace", "no_domain_decomposition"], ["pair_coeff", "*", "*", file, "Na", "P", "S"]],
        }[style]
    )
    lacking = lammps(deck).stdout
    words = {"mliap": "requires ML-IAP with python", "symmetrix/mace": "symmetrix/mace", "mace": "pair style 'mace'"}
    assert "ERROR" in lacking
    assert words[style] in lacking
    (deck / "potential.lammps").write_text("pair_style zero 4.0\npair_coeff * *\n")
    done = lammps(deck)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "ERROR" not in done.stdout


def test_pair_style_mace_runs_on_one_rank_only(tmp_path: Path, render):
    for job in (JobSettings(ranks=2), JOBS[4], JobSettings(slurm=SlurmSettings(nodes=2))):
        with pytest.raises(
            DeckError, match=r"pair_style mace runs on one rank and job asks for [248]: set ranks or gpus"
        ):
            render(tmp_path / "deck", "mace", job, "mace")


def study(**changes: object) -> Study:
    return Study.model_validate(
        {
            "name": "two",
            "compositions": [{"crystal": "Na3PS4"}],
            "seeds": 1,
            "protocols": [{"preset": "diffusion", "temperatures_K": [600]}],
        }
        | changes
    )


def test_study_s_pair_style_is_for_the_potentials_that_it_runs(tmp_path: Path, tiny):
    decks = write_decks(study(potential=["tiny-mace", "napos-deepmd"], pair_style="mace"), tmp_path / "decks")
    styles = [
        re.search(r"^pair_style +(\S+)", (deck / "potential.lammps").read_text(), re.MULTILINE)[1] for deck in decks
    ]
    assert styles == ["mace", "deepmd"]
    with pytest.raises(StudyError, match="pair_style is 'mace', which runs none of the potentials napos-deepmd"):
        write_decks(study(potential="napos-deepmd", pair_style="mace"), tmp_path / "other")


def test_deck_that_has_run_keeps_its_pair_style(tmp_path: Path, tiny):
    (deck,) = write_decks(study(potential="tiny-mace"), tmp_path / "decks")
    shutil.copyfile(deck / "structure.data", deck / "final.data")
    assert write_decks(study(potential="tiny-mace"), tmp_path / "decks") == [deck]
    with pytest.raises(StudyError, match=r"has run and would be changed \(pair_style\)"):
        write_decks(study(potential="tiny-mace", pair_style="mace"), tmp_path / "decks")


def test_old_place_of_gpus_is_named():
    with pytest.raises(ValueError, match=r"slurm.gpus stands beside slurm now, as job.gpus"):
        JobSettings.model_validate({"slurm": {"gpus": 4}})


def test_study_of_two_potentials_differs_in_the_name_alone(tmp_path: Path, tiny):
    decks = write_decks(study(potential=["napos-deepmd", "tiny-mace"]), tmp_path / "decks")
    stages = [[file.read_text() for file in sorted((deck / "stages").iterdir())] for deck in decks]
    assert stages[0] == stages[1]
    assert get_backend("deepmd").environment(1) != get_backend("mliap").environment(1)
