"""A deck: one folder with everything that LAMMPS needs for one protocol on one structure.

See `docs/decks.md` for what lies where and how a deck resumes.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napos_lmp
from napos_lmp.backends import Backend, get_backend
from napos_lmp.deviation import planned_deviation
from napos_lmp.errors import DeckError
from napos_lmp.files import link_or_copy, sha256_of, whole_folder
from napos_lmp.job import JobSettings, clock
from napos_lmp.manifest import (
    CommitteeFile,
    Currents,
    Dump,
    Manifest,
    PotentialRecord,
    Restart,
    StageRecord,
    StrainRecord,
    StructureRecord,
    read_manifest,
    write_manifest,
)
from napos_lmp.protocol import Protocol, Relax, ScheduledStage, derived_seed
from napos_lmp.templates import Templates, shipped_templates

if TYPE_CHECKING:
    from napos_lmp.card import Potential
    from napos_lmp.composition import Composition
    from napos_lmp.structure import Structure

STRUCTURE_FILE = "structure.data"
STOP_CHECK_STRIDE = 20
_RUN_FOLDERS = ("log", "trajectory", "restart")


@dataclass(frozen=True)
class _Start:
    """Where a deck's atoms come from: its own data file, or the end of another deck."""

    record: StructureRecord
    elements: tuple[str, ...]
    structure: Structure | None


def present_elements(potential: Potential, counts: dict[str, int]) -> tuple[str, ...]:
    """The potential's elements that are present, in the potential's order: the LAMMPS types of a deck.

    Raises
    ------
    PotentialError
        If an element of `counts` is not covered by the potential.
    """
    potential.check_elements(element for element, count in counts.items() if count)
    return tuple(element for element in potential.elements if counts.get(element))


def render_deck(
    folder: Path,
    *,
    composition: Composition,
    potential: Potential,
    protocol: Protocol,
    seed: int,
    structure: Structure | None = None,
    source_deck: Path | None = None,
    label: str | None = None,
    templates: Templates | None = None,
    job: JobSettings | None = None,
    pair_style: str | None = None,
) -> Manifest:
    """Write a deck, whole or not at all, and return its manifest.

    Parameters
    ----------
    folder
        The deck's folder, which must not exist.
    composition
        Gives the formula and the formal charges.
    potential
        LAMMPS types are its elements that are present, in its order.
    protocol
        The stages.
    seed
        The study's seed; the seed of the velocities is derived from it and the protocol's name.
    structure, source_deck
        One of the two: the atoms to start from, or the deck whose final structure is taken when it is complete.
    label
        A title for people; made from formula, protocol and seed unless given.
    templates, job
        Templates in force, and how the deck is started.
    pair_style
        The LAMMPS pair style that runs the potential, where its family has several; None for the usual one.

    Raises
    ------
    DeckError
        If the folder exists, or the start does not fit composition or potential.
    PotentialError
        If the potential does not cover an element, or its file cannot be made.
    TemplateError
        If a template does not render.
    """
    if folder.exists():
        raise DeckError(f"{folder} exists already and is not overwritten")
    if (structure is None) == (source_deck is None):
        raise DeckError("a deck starts from a structure or from a source deck: give one of the two")
    if structure is not None:
        start = _start_from_structure(structure, composition, potential)
    else:
        assert source_deck is not None
        start = _start_from_deck(source_deck, folder, potential)
    templates, job = templates or shipped_templates(), job or JobSettings()
    backend = get_backend(potential.backend, pair_style)
    _refuse_ranks(backend, job)
    model = backend.deck_file(potential, gpu=job.gpus > 0)
    potential_file = f"potential/model{model.suffix}"
    schedule = protocol.schedule()
    template, deviation = backend.template, None
    if potential.others and (committee_template := backend.committee_template(gpu=job.gpus > 0)):
        deviation = planned_deviation(schedule, protocol.timestep_fs / 1000)
        template = committee_template if deviation else template
    others = [backend.deck_file(other) for other in potential.others] if deviation else []
    committee = {f"potential/model-{place}{file.suffix}": file for place, file in enumerate(others, start=2)}
    manifest = Manifest(
        program_version=napos_lmp.__version__,
        label=label or f"{composition.formula}, {protocol.name}, seed {seed}",
        formula=composition.formula,
        seed=seed,
        timestep_fs=protocol.timestep_fs,
        elements=start.elements,
        structure=start.record,
        potential=_potential_record(potential, pair_style, {potential_file: model, **committee}),
        stages=tuple(_stage_record(stage, start.elements) for stage in schedule),
        deviation=deviation,
        restart=Restart(stride=protocol.restart_stride),
        thermo_stride=protocol.thermo_stride,
        lammps_styles=_lammps_styles(backend.lammps_styles(potential), schedule),
        lammps_packages=backend.lammps_packages,
        gpus=job.gpus,
        gpu_aware=job.gpu_aware,
        protocol=protocol.model_dump(mode="json"),
        templates={},
        files={},
    )
    values = _template_values(manifest, protocol, schedule, potential)
    values |= _job_values(manifest.label, job, backend)
    with whole_folder(folder) as temporary:
        for name in (*_RUN_FOLDERS, "potential", "stages"):
            (temporary / name).mkdir()
        texts, used = _render_inputs(templates, template, values)
        for name, text in texts.items():
            (temporary / name).write_text(text, encoding="utf-8")
        (temporary / "job.sh").chmod(0o755)
        if start.structure is not None:
            from napos_lmp.structure import write_data

            write_data(temporary / STRUCTURE_FILE, start.structure)
        hashes = {p.relative_to(temporary).as_posix(): sha256_of(p) for p in temporary.rglob("*") if p.is_file()}
        for name, file in {potential_file: model, **committee}.items():
            link_or_copy(file, temporary / name)
            hashes[name] = _hash_of(file)
        manifest = manifest.model_copy(update={"templates": used, "files": dict(sorted(hashes.items()))})
        write_manifest(temporary, manifest)
    return manifest


def _refuse_ranks(backend: Backend, job: JobSettings) -> None:
    ranks = max(job.local_ranks, job.slurm_ranks_per_node * job.slurm.nodes)
    if backend.single_rank and ranks > 1:
        raise DeckError(
            f"pair_style {backend.pair_style} runs on one rank and job asks for {ranks}: set ranks or gpus, and "
            "slurm.nodes, to 1"
        )


def _start_from_structure(structure: Structure, composition: Composition, potential: Potential) -> _Start:
    counts = {element: count for element, count in structure.counts.items() if count}
    elements = present_elements(potential, counts)
    if structure.elements != elements:
        raise DeckError(
            f"the structure's types are {', '.join(structure.elements)}; this deck needs {', '.join(elements)}, the "
            f"elements of potential {potential.name!r} that are present, in its order"
        )
    if set(counts) != set(composition.elements):
        raise DeckError(f"the structure holds {', '.join(counts)}; {composition.formula} needs exactly its elements")
    total = sum(counts.values())
    fractions = composition.mole_fractions
    record = StructureRecord(
        file=STRUCTURE_FILE,
        source_deck=None,
        source_file=None,
        n_atoms=total,
        counts={element: counts[element] for element in elements},
        composition_error=float(max(abs(Fraction(counts[e], total) - fractions[e]) for e in counts)),
        density_g_cm3=structure.density,
        charges={element: float(composition.charges[element]) for element in elements},
    )
    return _Start(record, elements, structure)


def _start_from_deck(source_deck: Path, folder: Path, potential: Potential) -> _Start:
    source = read_manifest(source_deck)
    elements = present_elements(potential, source.structure.counts)
    if elements != source.elements:
        raise DeckError(
            f"{source_deck} has the types {', '.join(source.elements)}, potential {potential.name!r} would number them "
            f"{', '.join(elements)}: one structure file cannot serve both"
        )
    path = Path(os.path.relpath(source_deck.resolve(), folder.resolve())).as_posix()
    update = {"file": STRUCTURE_FILE, "source_deck": path, "source_file": source.final_structure}
    return _Start(source.structure.model_copy(update=update), elements, None)


def _potential_record(potential: Potential, pair_style: str | None, models: dict[str, Path]) -> PotentialRecord:
    (file, sha256), *others = ((name, _hash_of(model)) for name, model in models.items())
    return PotentialRecord(
        name=potential.name,
        backend=potential.backend,
        pair_style=pair_style,
        file=file,
        sha256=sha256,
        elements=potential.elements,
        cutoff_A=potential.cutoff,
        card=potential.card.model_dump(mode="json"),
        committee=tuple(CommitteeFile(file=name, sha256=digest) for name, digest in others),
    )


def _stage_record(stage: ScheduledStage, elements: tuple[str, ...]) -> StageRecord:
    dump = Dump(pattern=f"trajectory/{stage.name}.*.dcd", stride=stage.dump_stride) if stage.dump_stride else None
    return StageRecord(
        name=stage.name,
        kind=stage.kind,
        ensemble=stage.ensemble,
        first_step=stage.first_step,
        last_step=stage.last_step,
        temperature_start_K=stage.temperature_start,
        temperature_stop_K=stage.temperature_stop,
        pressure_bar=stage.pressure,
        dump=dump,
        currents=_currents(stage, elements),
        table=_table(stage),
        strain=StrainRecord(component=stage.strained[0], amount=stage.strained[1]) if stage.strained else None,
    )


def _currents(stage: ScheduledStage, elements: tuple[str, ...]) -> Currents | None:
    if stage.current_stride is None:
        return None
    return Currents(
        pattern=f"trajectory/{stage.name}.currents.*.txt",
        stride=stage.current_stride,
        species=elements,
        columns=("step", *(f"v{axis}_{element}" for element in elements for axis in "xyz")),
    )


def _table(stage: ScheduledStage) -> str | None:
    """File of the cells and stresses that a stage without dynamics finds."""
    return f"log/{stage.name}.table" if stage.kind in ("relax", "strain") else None


def _lammps_styles(pair_styles: tuple[str, ...], schedule: tuple[ScheduledStage, ...]) -> tuple[str, ...]:
    fixes = dict.fromkeys(f"fix {stage.ensemble}" for stage in schedule if stage.ensemble)
    dumps = ("dump dcd",) if any(stage.dump_stride for stage in schedule) else ()
    strains = ("fix store/state",) if any(stage.kind == "strain" for stage in schedule) else ()
    currents = ("compute reduce", "fix ave/time") if any(stage.current_stride for stage in schedule) else ()
    return (*pair_styles, *fixes, "fix halt", *dumps, *currents, *strains)


def _template_values(
    manifest: Manifest, protocol: Protocol, schedule: tuple[ScheduledStage, ...], potential: Potential
) -> dict[str, Any]:
    """Every name that a template may use; `docs/templates.md` lists them."""
    start = manifest.structure
    velocity_seed = derived_seed(manifest.seed, "velocities", manifest.formula, protocol.name)
    stages = [_stage_values(stage, manifest.timestep_ps) for stage in schedule]
    for values, record in zip(stages, manifest.stages, strict=True):
        values["currents"] = record.currents
    for first in [stage for stage in stages if stage["ensemble"]][:1]:
        first["velocity_seed"] = velocity_seed
    return {
        "program_version": manifest.program_version,
        "label": manifest.label,
        "formula": manifest.formula,
        "elements": manifest.elements,
        "n_atoms": start.n_atoms,
        "potential": potential,
        "potential_file": manifest.potential.file,
        "committee_files": tuple(member.file for member in manifest.potential.committee),
        "deviation": manifest.deviation,
        "structure_file": start.file,
        "source_file": f"{start.source_deck}/{start.source_file}" if start.source_deck else None,
        "timestep_ps": manifest.timestep_ps,
        "thermostat_damping_ps": protocol.thermostat_damping_ps,
        "barostat_damping_ps": protocol.barostat_damping_ps,
        "thermo_stride": manifest.thermo_stride,
        "stop_check_stride": STOP_CHECK_STRIDE,
        "restart": manifest.restart,
        "input_file": manifest.input_file,
        "final_structure": manifest.final_structure,
        "minimise": next((stage for stage in stages if stage["kind"] == "minimise"), None),
        "stages": [stage for stage in stages if stage["kind"] != "minimise"],
    }


def _stage_values(stage: ScheduledStage, timestep_ps: float) -> dict[str, Any]:
    values = dataclasses.asdict(stage) | {
        "id": f"s{stage.name[:2]}",
        "file": f"stages/{stage.name}.lammps",
        "duration_ps": (stage.last_step - stage.first_step) * timestep_ps,
        "velocity_seed": None,
    }
    if stage.settings:
        values |= stage.settings.model_dump(exclude={"kind", "strain"}) | {"table": _table(stage)}
        values["force_tolerance"] = values.pop("force_tolerance_eV_A")
    if stage.strained:
        values["component"], values["amount"] = stage.strained
    if isinstance(stage.settings, Relax):
        values["stress_tolerance"] = values.pop("stress_tolerance_bar")
        values["cell_file"] = f"stages/{stage.name}.cell.lammps"
    return values


def _job_values(label: str, job: JobSettings, backend: Backend) -> dict[str, Any]:
    job_name = re.sub(r"[^A-Za-z0-9_.+-]+", "-", label).strip("-")[:60] or "napos-lmp"
    return {
        "job": job,
        "job_name": job_name,
        "walltime": clock(job.slurm.lammps_seconds),
        "environment": backend.environment(job.threads),
        "lammps_packages": backend.lammps_packages,
        "example_ranks": 1 if backend.single_rank else job.gpus or 2,
        "launch_arguments": backend.launch_arguments(gpus=job.gpus, threads=job.threads, gpu_aware=job.gpu_aware),
    }


def _render_inputs(
    templates: Templates, potential_template: str, values: dict[str, Any]
) -> tuple[dict[str, str], dict[str, str]]:
    """Text of every input by file name, and the SHA-256 of every template that was used."""
    inputs = {
        values["input_file"]: "in.lammps.j2",
        "stop.lammps": "stop.lammps.j2",
        "potential.lammps": potential_template,
        "job.sh": "jobs/local.sh.j2",
        "job.slurm": "jobs/slurm.sh.j2",
    }
    stages = {stage["file"]: stage for stage in (values["minimise"], *values["stages"]) if stage}
    inputs |= {file: f"stages/{stage['kind']}.lmp.j2" for file, stage in stages.items()}
    for stage in values["stages"]:
        if stage["kind"] == "relax" and stage["cell"] != "fixed":
            inputs[stage["cell_file"]] = "stages/relax_cell.lmp.j2"
            stages[stage["cell_file"]] = stage
    texts = {
        name: templates.render(template, values | {"stage": stages.get(name)}) for name, template in inputs.items()
    }
    return texts, templates.digests(inputs.values())


def _hash_of(model: Path) -> str:
    status = model.stat()
    return _hash_of_version(model, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=16)
def _hash_of_version(model: Path, modified_ns: int, size: int) -> str:
    """Hash of a model file, taken once for the many decks of a study."""
    return sha256_of(model)
