"""How far a training is, for a caller or for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingProgress:
    """State of a training; `activity` says what is being done in words.

    Force errors are RMSE in eV/A as DeePMD-kit last printed them, on one training batch and on validation batches.
    """

    activity: str
    step: int
    steps: int
    force_rmse_train: float | None = None
    force_rmse_validation: float | None = None


ProgressCallback = Callable[[TrainingProgress], None]


@contextmanager
def progress_bar() -> Iterator[ProgressCallback]:
    """Show a bar with step, force errors and time left while the block runs; yields the callback that moves it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[errors]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, speed_estimate_period=300) as bar:
        task = bar.add_task("starting", total=None, errors="")

        def show(state: TrainingProgress) -> None:
            errors = ""
            if state.force_rmse_train is not None and state.force_rmse_validation is not None:
                errors = (
                    f"force error {state.force_rmse_validation:.3f} eV/A ({state.force_rmse_train:.3f} in training)"
                )
            bar.update(task, description=state.activity, completed=state.step, total=state.steps, errors=errors)

        yield show
