"""`napos-lmp sample`, `napos-lmp label` and `napos-lmp data`: reference frames from exploration to a data set."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napos_lmp.cli.output import Json, counted_progress, print_json

if TYPE_CHECKING:
    from napos_lmp.reference.labelling import LabelEvent


data = typer.Typer(help="Data sets of labelled frames: check, import, export.", no_args_is_help=True)


@data.command("check")
def check(
    files: Annotated[list[Path], typer.Argument(help="Extended XYZ files, plain or gzipped.")], as_json: Json = False
) -> None:
    """Look for frames that would spoil a training; exit status 1 if there are any."""
    from napos_lmp.reference.checks import check_files

    findings = check_files(files)
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        for finding in findings:
            typer.echo(finding.sentence)
        typer.echo(f"{len(findings)} findings")
    if any(finding.serious for finding in findings):
        raise typer.Exit(1)


@data.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(help="Outputs of DFT codes, or sets in other formats.")],
    out: Annotated[Path, typer.Option(help="Set to write, extended XYZ (.extxyz.gz).")],
    level: Annotated[str, typer.Option(help="Level of theory, such as 'PBE, 520 eV, Gamma'.")],
    kind: Annotated[str | None, typer.Option("--format", help="Format; guessed from the files by default.")] = None,
    composition: Annotated[str | None, typer.Option(help="Composition of frames that name none.")] = None,
    phase: Annotated[str | None, typer.Option(help="Phase of frames that name none: melt, glass, crystal ...")] = None,
    temperature: Annotated[float | None, typer.Option(help="Temperature of frames that name none, K.")] = None,
    licence: Annotated[str, typer.Option(help="Licence of the data.")] = "unknown",
    keep: Annotated[bool, typer.Option(help="Keep frames with serious findings too.")] = False,
) -> None:
    """Bring labelled frames of VASP, CP2K, Quantum ESPRESSO, DeePMD-kit or MACE into one set, checked."""
    from napos_lmp.reference.imports import import_set

    described = {"composition": composition, "phase": phase, "temperature_K": temperature}
    given = {key: value for key, value in described.items() if value is not None}
    imported = import_set(files, out, level, kind, given, licence, keep)
    for finding in imported.findings:
        typer.echo(finding.sentence)
    typer.echo(f"{out}: {imported.kept} frames, {imported.left_out} left out")


@data.command("export")
def export(
    files: Annotated[list[Path], typer.Argument(help="Sets in extended XYZ.")],
    out: Annotated[Path, typer.Option(help="A folder for deepmd, a file for mace.")],
    kind: Annotated[str, typer.Option("--format", help="deepmd or mace.")],
    elements: Annotated[str, typer.Option(help="Order of elements for deepmd, such as Na,P,S,O.")] = "",
    free_energy: Annotated[bool, typer.Option(help="Write the free energy, whose derivatives the forces are.")] = False,
    group: Annotated[str | None, typer.Option(help="Only the frames of this group: train or test.")] = None,
    dispersion: Annotated[bool, typer.Option("--dispersion", help="Add the D3(BJ) terms to the labels.")] = False,
) -> None:
    """Write sets for DeePMD-kit (npy) or MACE (extended XYZ)."""
    from napos_lmp.reference.imports import export_set

    energy = "free_energy" if free_energy else "energy"
    for path in export_set(files, out, kind, elements, energy, group, dispersion):  # type: ignore[arg-type]
        typer.echo(str(path))


@data.command("dispersion")
def dispersion(
    file: Annotated[Path, typer.Argument(help="Set in extended XYZ.")],
    functional: Annotated[str, typer.Option(help="Functional of the labels.")] = "PBE",
) -> None:
    """Store D3(BJ) dispersion beside the labels of a set; the labels stay as they are."""
    from napos_lmp.reference.imports import add_dispersion_to

    typer.echo(f"{file}: {add_dispersion_to(file, functional)} frames got dispersion terms")


def sample(
    plan: Annotated[Path, typer.Argument(help="Sampling file (YAML).")],
    jobs: Annotated[int, typer.Option(min=1, help="Runs side by side.")] = 1,
    as_json: Json = False,
) -> None:
    """Run short explorations and choose a diverse pool of frames; run again to go on after an interruption."""
    from napos_lmp.reference.explore import sample as sample_frames
    from napos_lmp.reference.plan import read_plan

    settings = read_plan(plan)
    with counted_progress("decks") as show:
        sampled = sample_frames(settings, jobs, show)
    if as_json:
        counts = {"candidates": sampled.candidates, "too_close": sampled.too_close, "failed": sampled.failed}
        print_json({"pool": settings.output, "frames": len(sampled.pool), **counts})
        return
    for sentence in sampled.failed:
        typer.echo(f"left out: {sentence}", err=True)
    typer.echo(
        f"{settings.output}: {len(sampled.pool)} frames, chosen from {sampled.candidates} "
        f"({sampled.too_close} with atoms too close left out)"
    )


def label(
    queue: Annotated[Path, typer.Argument(help="Folder of the queue, with its queue.yaml.")],
    workers: Annotated[int, typer.Option(min=1, help="Calculations side by side.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many frames.")] = None,
    collect: Annotated[bool, typer.Option("--collect", help="Write finished labels to the data set, no more.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Say how far the queue is, no more.")] = False,
    slurm: Annotated[Path | None, typer.Option(help="Write a Slurm array job for the queue, no more.")] = None,
    as_json: Json = False,
) -> None:
    """Label the frames of a queue that wait; run again, on as many machines as you like, to go on."""
    from napos_lmp.reference.labelling import label_queue
    from napos_lmp.reference.queue import Queue

    if slurm is not None:
        from napos_lmp.reference.slurm import write_array_job

        typer.echo(f"wrote {write_array_job(Queue(queue), slurm)}; start it with `sbatch {slurm}`")
        return
    opened = Queue(queue)
    if collect:
        number = opened.collect()
        typer.echo(f"{opened.settings.collected}: {number} new frames, {len(opened.collected)} in all")
        return
    state = opened.state() if status else label_queue(queue, workers, limit, tell_label)
    if as_json:
        print_json({**dataclasses.asdict(state), "waiting": state.waiting})
        return
    typer.echo(
        f"{state.frames} frames: {state.collected} collected, {state.labelled} labelled since, "
        f"{state.rejected} rejected, {state.waiting} waiting"
    )


def tell_label(event: LabelEvent) -> None:
    """Print what happened in a queue, and when it will be at its end."""
    from datetime import datetime, timedelta

    left = ""
    if event.seconds_left is not None and event.state.waiting:
        end = datetime.now() + timedelta(seconds=event.seconds_left)
        left = f"; {event.state.waiting} wait, ends about {end:%a %d %b %H:%M}"
    what = f"{event.frame}: {event.sentence}" if event.frame else event.sentence
    typer.echo(f"[{event.state.done}/{event.state.frames}] {what}{left}")
