"""Running several decks: in the order of what starts from what, side by side if asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napos_lmp.engine.command import default_threads
from napos_lmp.engine.interrupt import Interruption
from napos_lmp.engine.local import POLL_SECONDS, DeckRun, RunResult
from napos_lmp.engine.progress import ProgressDisplay, ProgressState, open_display
from napos_lmp.engine.state import source_folder
from napos_lmp.errors import DeckError, NaposError
from napos_lmp.manifest import read_manifest

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class DeckOutcome:
    """What became of one deck of several.

    `sentence` says it in words; `result` is there for a deck that was started and did not fail.
    """

    deck: Path
    status: Literal["complete", "stopped", "failed", "skipped"]
    sentence: str
    result: RunResult | None = None


def run_decks(
    decks: Iterable[str | Path],
    *,
    jobs: int = 1,
    ranks: int = 1,
    threads: int | None = None,
    lammps: str | Path | None = None,
    force: bool = False,
    progress: bool | Console | Callable[[ProgressState], None] = True,
) -> list[DeckOutcome]:
    """Run decks to their ends, each after the deck it starts from; a failed deck stops only those that need it.

    Parameters
    ----------
    decks : iterable of path
        Their folders, in any order.
    jobs : int
        Decks run side by side; the cores are divided among them unless `threads` or OMP_NUM_THREADS is given.
    ranks, threads, lammps, force, progress
        As for :func:`napos_lmp.engine.run_deck`, for each deck.

    Returns
    -------
    list of DeckOutcome
        In the order in which `decks` were given.

    Raises
    ------
    DeckError
        If a folder is no deck or decks start from each other in a circle.
    """
    if jobs < 1:
        raise DeckError(f"jobs must be 1 or more, not {jobs}")
    folders = list(dict.fromkeys(Path(deck) for deck in decks))
    if threads is None and jobs > 1:
        threads = default_threads(ranks * min(jobs, len(folders) or 1))
    display = open_display(progress)
    try:
        with Interruption() as interruption:
            campaign = _Campaign(folders, jobs, ranks, threads, lammps, force, display)
            campaign.run(interruption)
    finally:
        display.close()
    return [campaign.outcomes[folder] for folder in folders]


class _Campaign:
    def __init__(
        self,
        folders: list[Path],
        jobs: int,
        ranks: int,
        threads: int | None,
        lammps: str | Path | None,
        force: bool,
        display: ProgressDisplay,
    ) -> None:
        self._jobs, self._ranks, self._threads = jobs, ranks, threads
        self._lammps, self._force, self._display = lammps, force, display
        self._needs = _needs(folders)
        self._pending = list(folders)
        self._active: list[DeckRun] = []
        self.outcomes: dict[Path, DeckOutcome] = {}

    def run(self, interruption: Interruption) -> None:
        try:
            while self._pending or self._active:
                if interruption.count:
                    self._give_up_pending()
                else:
                    self._start_ready()
                for run in list(self._active):
                    run.heed(interruption.count)
                    if run.poll():
                        self._close(run)
                time.sleep(POLL_SECONDS)
        finally:
            for run in self._active:
                run.__exit__(None, None, None)

    def _start_ready(self) -> None:
        for folder in list(self._pending):
            source = self._needs.get(folder)
            before = self.outcomes.get(source) if source else None
            if before is not None and before.status != "complete":
                self._settle(folder, "skipped", f"it starts from {source}, which did not finish")
            elif len(self._active) < self._jobs and (source is None or before is not None):
                self._start(folder)

    def _start(self, folder: Path) -> None:
        self._pending.remove(folder)
        try:
            run = DeckRun(
                folder,
                ranks=self._ranks,
                threads=self._threads,
                lammps=self._lammps,
                force=self._force,
                display=self._display,
            )
            run.__enter__()
        except NaposError as error:
            self._settle(folder, "failed", str(error))
            return
        self._active.append(run)
        try:
            if run.prepare():
                run.start()
        except NaposError as error:
            self._settle(folder, "failed", str(error))
            self._leave(run)

    def _close(self, run: DeckRun) -> None:
        try:
            result = run.finish()
        except NaposError as error:
            self._settle(run.deck, "failed", str(error))
        else:
            self._settle(run.deck, result.outcome, f"{result.outcome} at step {result.last_step}", result)
        finally:
            self._leave(run)

    def _leave(self, run: DeckRun) -> None:
        self._active.remove(run)
        run.__exit__(None, None, None)

    def _give_up_pending(self) -> None:
        for folder in list(self._pending):
            self._settle(folder, "skipped", "not started: interrupted")

    def _settle(
        self,
        folder: Path,
        status: Literal["complete", "stopped", "failed", "skipped"],
        sentence: str,
        result: RunResult | None = None,
    ) -> None:
        if folder in self._pending:
            self._pending.remove(folder)
        self.outcomes[folder] = DeckOutcome(folder, status, sentence, result)
        if status in ("failed", "skipped"):
            self._display.message(f"{folder}: {status}: {sentence}")


def _needs(folders: list[Path]) -> dict[Path, Path]:
    """For each deck that starts from another one of these decks, that deck."""
    by_place = {folder.resolve(): folder for folder in folders}
    needs = {}
    for folder in folders:
        source = source_folder(folder, read_manifest(folder))
        if source in by_place:
            needs[folder] = by_place[source]
    for folder in folders:
        seen = {folder}
        while folder in needs:
            folder = needs[folder]
            if folder in seen:
                raise DeckError(f"deck {folder} starts, by way of other decks, from itself")
            seen.add(folder)
    return needs
