"""How far potentials are from labelled frames, whether they know it, and where they are not to be used."""

from __future__ import annotations

from pathlib import Path

from napos_lmp.evaluation.comparison import Evaluation, evaluate
from napos_lmp.evaluation.page import build_page
from napos_lmp.evaluation.tables import write_frames
from napos_lmp.files import write_text
from napos_lmp.report.html import render_page
from napos_lmp.report.numbers import write_numbers

PAGE_NAME = "evaluation.html"
FRAMES_NAME = "frames.csv"

__all__ = ["Evaluation", "evaluate", "write_evaluation"]


def write_evaluation(evaluation: Evaluation, folder: Path) -> Path:
    """Write the page, all numbers on it as JSON and CSV, and the table of frames; return the path of the page.

    Parameters
    ----------
    evaluation
        What was found.
    folder
        Folder for ``evaluation.html``, ``report.json``, ``numbers.csv`` and ``frames.csv``.
    """
    page = build_page(evaluation)
    about = {
        "schema_version": 1,
        "title": page.title,
        "program_version": page.program_version,
        "potentials": {one.potential.name: one.potential.sha256 for one in evaluation.potentials},
        "files": list(evaluation.files),
        "group": evaluation.group,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_numbers(folder, about, page.book)
    write_frames(folder / FRAMES_NAME, evaluation)
    path = folder / PAGE_NAME
    write_text(path, render_page(page))
    return path
