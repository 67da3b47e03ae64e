"""The report of a study: one HTML page, and every number on it as JSON and CSV."""

from __future__ import annotations

from pathlib import Path

from napos_lmp.files import write_text
from napos_lmp.report.collect import StudyView, collect_study
from napos_lmp.report.content import Headline, build_page, headline_numbers
from napos_lmp.report.html import render_page
from napos_lmp.report.numbers import write_numbers

REPORT_FOLDER = "report"
REPORT_NAME = "report.html"

__all__ = ["Headline", "StudyView", "collect_study", "headline", "write_report"]


def write_report(study: str | Path) -> Path:
    """Write ``report/report.html``, ``report.json`` and ``numbers.csv`` of a study; return the path of the page.

    Only what was analysed is reported (see :func:`napos_lmp.analysis.deck.analyse_deck`); decks that are unfinished or
    not analysed are listed as missing.

    Parameters
    ----------
    study
        Folder of a study, or any folder with decks in it.

    Raises
    ------
    StudyError
        If there is no deck.
    DeckError
        If a manifest is damaged.
    """
    view = collect_study(Path(study))
    page = build_page(view)
    folder = view.folder / REPORT_FOLDER
    about = {
        "schema_version": 1,
        "title": page.title,
        "program_version": page.program_version,
        "decks": [{"deck": d.name, "state": d.status, "reason": d.reason} for d in view.decks],
        "missing": [*view.absent],
        "headline": [vars(number) for number in headline_numbers(view)],
        "distrust": [{"title": caveat.title, "sentences": list(caveat.sentences)} for caveat in page.caveats],
    }
    write_numbers(folder, about, page.book)
    path = folder / REPORT_NAME
    write_text(path, render_page(page))
    return path


def headline(study: str | Path | StudyView) -> list[Headline]:
    """Three numbers for each glass: density, share of four-coordinate formers, conductivity where it is hottest.

    Parameters
    ----------
    study
        Folder of a study, or what :func:`collect_study` read from it.
    """
    view = study if isinstance(study, StudyView) else collect_study(Path(study))
    return headline_numbers(view)
