"""How far a training is, for a caller or for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingProgress:
    """State of a training; `activity` says what is being done in words.

    Errors are RMSE as the program that trains last gave them: of forces in eV/A on validation frames and, DeePMD-kit
    only, on one training batch, and of energies in eV/atom on validation frames, MACE only.
    """

    activity: str
    step: int
    steps: int
    force_rmse_train: float | None = None
    force_rmse_validation: float | None = None
    energy_rmse_validation: float | None = None

    @property
    def errors(self) -> str:
        """The errors in words; empty before there are any."""
        if self.force_rmse_validation is None:
            return ""
        text = f"force error {self.force_rmse_validation:.3f} eV/A"
        if self.energy_rmse_validation is not None:
            text += f", energy {1000 * self.energy_rmse_validation:.1f} meV/atom"
        if self.force_rmse_train is not None:
            text += f" ({self.force_rmse_train:.3f} in training)"
        return text


ProgressCallback = Callable[[TrainingProgress], None]


@contextmanager
def named_progress_bars() -> Iterator[Callable[[str], ProgressCallback]]:
    """Show a bar with step, force errors and time left for each training that is named while the block runs."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[errors]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=300) as bars:

        def named(name: str) -> ProgressCallback:
            task = bars.add_task(name or "starting", total=None, errors="")
            begin = f"{name}: " if name else ""

            def show(state: TrainingProgress) -> None:
                words = f"{begin}{state.activity}"
                bars.update(task, description=words, completed=state.step, total=state.steps, errors=state.errors)

            return show

        yield named


@contextmanager
def progress_bar() -> Iterator[ProgressCallback]:
    """Show the bar of one training while the block runs; yields the callback that moves it."""
    with named_progress_bars() as named:
        yield named("")
