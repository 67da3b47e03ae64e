"""The main job, command by command: init, deck, run, analyse, report, and the demo that does it all."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from napos_lmp.cli.output import Json, counted_progress, print_json, print_table

Decks = Annotated[list[Path], typer.Argument(help="Decks, or folders of studies.")]
Lammps = Annotated[str | None, typer.Option("--lammps", help="LAMMPS program; else NAPOS_LMP_LAMMPS, else `lmp`.")]
Jobs = Annotated[int, typer.Option(min=1, help="Decks run side by side.")]
Ranks = Annotated[int, typer.Option(min=1, help="MPI ranks of each deck.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads of each rank; the cores shared out by default.")]


def init(
    study: Annotated[Path, typer.Argument(help="File to write.")] = Path("study.yaml"),
    size_convergence: Annotated[
        bool, typer.Option("--size-convergence", help="Cells of several sizes of one composition.")
    ] = False,
) -> None:
    """Write a commented example study to start from."""
    from napos_lmp.errors import StudyError
    from napos_lmp.files import write_text
    from napos_lmp.study_file import example_study

    if study.exists():
        raise StudyError(f"{study} exists already and is not overwritten")
    write_text(study, example_study("size-convergence" if size_convergence else "study"))
    typer.echo(f"wrote {study}; next: napos-lmp deck {study} --out {study.stem}")


def deck(
    study: Annotated[Path, typer.Argument(help="Study file (YAML).")],
    out: Annotated[Path, typer.Option(help="Folder for the decks.")],
    as_json: Json = False,
) -> None:
    """Write the LAMMPS decks of a study; decks that have run are kept."""
    from napos_lmp.study import write_decks
    from napos_lmp.study_file import read_study

    with counted_progress("decks") as show:
        folders = write_decks(read_study(study), out, show)
    if as_json:
        print_json(folders)
        return
    for folder in folders:
        typer.echo(str(folder))
    typer.echo(f"{len(folders)} decks; next: napos-lmp run {out}", err=True)


def run(
    decks: Decks,
    ranks: Ranks = 1,
    threads: Threads = None,
    jobs: Jobs = 1,
    lammps: Lammps = None,
    force: Annotated[bool, typer.Option(help="Run although files of a deck were changed by hand.")] = False,
    as_json: Json = False,
) -> None:
    """Run decks, or go on with interrupted ones; Ctrl-C stops cleanly."""
    from napos_lmp.engine import run_decks
    from napos_lmp.study import deck_folders

    outcomes = run_decks(deck_folders(decks), ranks=ranks, threads=threads, jobs=jobs, lammps=lammps, force=force)
    if as_json:
        print_json([dataclasses.asdict(outcome) for outcome in outcomes])
    else:
        for outcome in outcomes:
            typer.echo(f"{outcome.deck}: {outcome.sentence}")
    statuses = {outcome.status for outcome in outcomes}
    if statuses & {"failed", "skipped"}:
        raise typer.Exit(2)
    if "stopped" in statuses:
        raise typer.Exit(130)


def extend(
    decks: Annotated[list[Path], typer.Argument(help="Finished decks whose last stage is a production.")],
    to: Annotated[str, typer.Option(help="Length of that stage in all, such as 2ns or 500ps.")],
    as_json: Json = False,
) -> None:
    """Let the production of finished decks go on: the next run continues them without a seam."""
    from napos_lmp.extend import extend_decks, parse_duration

    extended = extend_decks(decks, parse_duration(to))
    if as_json:
        print_json([dataclasses.asdict(deck) for deck in extended])
        return
    for deck in extended:
        typer.echo(
            f"{deck.deck}: {deck.stage} from {deck.before_ps:g} to {deck.after_ps:g} ps, last step {deck.last_step}; "
            f"goes on from step {deck.restart_step}"
        )
    typer.echo(f"next: napos-lmp run {' '.join(str(deck.deck) for deck in extended)}", err=True)


def plan(
    decks: Decks,
    error: Annotated[float, typer.Option(help="Relative standard error of the diffusion coefficient.")] = 0.05,
    as_json: Json = False,
) -> None:
    """Say how long the productions of analysed decks have to be for a relative error."""
    from napos_lmp.analysis.transport.plan import plan_decks
    from napos_lmp.study import deck_folders

    plans = plan_decks(deck_folders(decks), error)
    if as_json:
        print_json([dataclasses.asdict(plan) for plan in plans])
        return
    for plan in plans:
        typer.echo(f"{plan.deck}, {plan.stage}: {plan.sentence}")


def analyse(
    paths: Annotated[list[Path], typer.Argument(help="Decks, studies, or files of trajectories.")],
    elements: Annotated[
        str | None, typer.Option(help="Element of each type of a trajectory, in order: Na,P,S,O or Na P S O.")
    ] = None,
    topology: Annotated[
        Path | None, typer.Option(help="File that names the atoms of a trajectory, such as a LAMMPS data file.")
    ] = None,
    frame_ps: Annotated[
        float | None, typer.Option(help="Time between frames of a trajectory in ps; with it, transport is measured.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="Mean temperature of a trajectory in K.")] = None,
    charges: Annotated[
        str | None, typer.Option(help="Charge numbers for the conductivity, such as Na=1,P=5,S=-2; formal by default.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for a trajectory's results: NAME-analysis.")] = None,
    start: Annotated[int | None, typer.Option(help="First frame of a trajectory, from 0.")] = None,
    stop: Annotated[int | None, typer.Option(help="Frame to stop before.")] = None,
    step: Annotated[int | None, typer.Option(help="Take every n-th frame.")] = None,
    cutoff: Annotated[list[str] | None, typer.Option(help="Longest bond in A, such as P-S=2.6; repeatable.")] = None,
    formers: Annotated[str | None, typer.Option(help="Network formers of a trajectory, such as P,Si.")] = None,
    anions: Annotated[str | None, typer.Option(help="Anions of a trajectory, such as S,O.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Most cores to use; all by default.")] = None,
    force: Annotated[bool, typer.Option(help="Analyse again although nothing changed.")] = False,
    as_json: Json = False,
) -> None:
    """Measure structure and transport of decks that have run, or of any trajectory."""
    from napos_lmp.analysis.deck import analyse_decks
    from napos_lmp.analysis.trajectory import analyse_trajectories
    from napos_lmp.cli.trajectories import charges_of, refuse_for_decks, split_paths, structure_options
    from napos_lmp.study import deck_folders

    folders, files, symbols = split_paths(paths, elements)
    frames = (start, stop, step)
    numbers = charges_of(charges)
    options = structure_options(frames, cutoff or (), formers, anions, workers)
    decks = deck_folders(folders)
    if decks:
        refuse_for_decks(
            {"elements": symbols, "topology": topology, "out": out, "cutoff": cutoff, "formers": formers}
            | {
                "frame-ps": frame_ps is not None,
                "temperature": temperature is not None,
                "anions": anions,
                "start": start is not None,
                "stop": stop is not None,
                "step": step is not None,
            }
        )
    with counted_progress("analysed") as show:
        results = analyse_decks(decks, charges=numbers, force=force, workers=workers, progress=show) if decks else []
    with counted_progress("analysed") as show:
        found = analyse_trajectories(
            files,
            elements=symbols,
            topology=topology,
            frame_ps=frame_ps,
            temperature=temperature,
            charges=numbers,
            out=out,
            options=options,
            force=force,
            progress=show,
        )
    if as_json:
        print_json([result.model_dump(mode="json") for result in (*results, *found.values())])
        return
    for folder in (*(deck / "analysis" for deck in decks), *found):
        typer.echo(f"{folder / 'analysis.json'}")
    for deck, measured in zip(decks, results, strict=True):
        for sentence in measured.extrapolations:
            typer.echo(f"{deck}, {sentence}", err=True)
    for result in found.values():
        for sentence in (*result.result.messages, *(f"{k}: {reason}" for k, reason in result.result.refusals.items())):
            typer.echo(f"{result.trajectory}: {sentence}", err=True)


def report(study: Annotated[Path, typer.Argument(help="Folder of a study.")], as_json: Json = False) -> None:
    """Write the report of a study: one HTML page, with every number as CSV and JSON beside it."""
    from napos_lmp.report import headline, write_report

    page = write_report(study)
    if as_json:
        print_json({"report": page, "headline": [dataclasses.asdict(line) for line in headline(study)]})
    else:
        typer.echo(str(page))


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the demo; run again to go on.")] = Path("napos-lmp-demo"),
    potential: Annotated[str, typer.Option(help="Potential to run with, such as napos-mace.")] = "napos-deepmd",
    jobs: Jobs = 2,
) -> None:
    """Two glasses from composition to report in about ten minutes on two cores."""
    from napos_lmp.analysis.deck import analyse_decks
    from napos_lmp.demo import run_demo, write_demo
    from napos_lmp.report import headline, write_report

    with counted_progress("decks") as show:
        decks = write_demo(out, potential, show)
    run_demo(decks, jobs)
    with counted_progress("analysed") as show:
        analyse_decks(decks, progress=show)
    page = write_report(out)
    print_table(("glass", "quantity", "value"), [(line.glass, line.quantity, line.text) for line in headline(out)])
    typer.echo(f"report: {page}")
