"""What `napos-lmp analyse` reads from its command line for trajectories that no deck wrote."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napos_lmp.errors import AnalysisError

if TYPE_CHECKING:
    from napos_lmp.analysis.structure import StructureOptions


def split_paths(paths: Sequence[Path], elements: str | None) -> tuple[list[Path], list[Path], list[str] | None]:
    """Folders, files and elements; symbols that follow `--elements` with spaces between them arrive among the paths."""
    from napos_lmp.formula import ELEMENT_SYMBOLS

    symbols = words(elements)
    folders, files = [], []
    for path in paths:
        if symbols is not None and str(path) in ELEMENT_SYMBOLS and not path.exists():
            symbols.append(str(path))
        elif path.is_file():
            files.append(path)
        else:
            folders.append(path)
    return folders, files, symbols


def words(text: str | None) -> list[str] | None:
    """Words between commas or spaces; None for None."""
    return None if text is None else [word for word in re.split(r"[,\s]+", text) if word]


def structure_options(
    frames: tuple[int | None, int | None, int | None],
    cutoffs: Sequence[str],
    formers: str | None,
    anions: str | None,
    workers: int | None,
) -> StructureOptions:
    """Options of the structure measurements.

    Raises
    ------
    AnalysisError
        If a cutoff does not read as ``P-S=2.6``.
    """
    from napos_lmp.analysis.structure import StructureOptions

    start, stop, step = frames
    lengths = dict(_pair(text, "cutoff", "P-S=2.6, in A") for text in cutoffs)
    return StructureOptions(start, stop, step, words(formers), words(anions), lengths, workers)


def charges_of(text: str | None) -> dict[str, float] | None:
    """Charge numbers from ``Na=1,P=5,S=-2``; None for None.

    Raises
    ------
    AnalysisError
        If it does not read like that.
    """
    if text is None:
        return None
    return dict(_pair(word, "charge", "Na=1,P=5,S=-2, in elementary charges") for word in words(text) or [""])


def refuse_for_decks(asked: dict[str, Any]) -> None:
    """Refuse options that decks have in their manifests.

    Raises
    ------
    AnalysisError
        If one of them was given.
    """
    if given := [name for name, value in asked.items() if value]:
        raise AnalysisError(f"--{given[0]} is for files of trajectories; a deck has it in its manifest, leave it out")


def _pair(text: str, name: str, example: str) -> tuple[str, float]:
    key, _, number = text.partition("=")
    try:
        return key.strip(), float(number)
    except ValueError:
        raise AnalysisError(f"{name} is {text!r}; it must read like {example}") from None
