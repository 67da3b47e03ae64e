"""How far a run is: read from what LAMMPS prints, shown as a bar on a terminal and as plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from napos_lmp.manifest import Manifest

_SECONDS_PER_DAY = 86400.0
_PLAIN_LINE_SECONDS = 30.0
_REFRESH_SECONDS = 0.5


@dataclass(frozen=True)
class ProgressState:
    """Where a run stands.

    Attributes
    ----------
    deck, label : str
        The deck's folder and its label.
    stage : str
        Name of the stage, with its place among the stages in `stage_number` of `n_stages`.
    step, first_step, last_step : int
        Now, at the start of this segment, and at the end of the deck.
    ns_per_day, seconds_left : float or None
        None until there is something to go by.
    temperature, energy : float or None
        In K and eV (potential energy of the cell).
    """

    deck: str
    label: str
    stage: str
    stage_number: int
    n_stages: int
    step: int
    first_step: int
    last_step: int
    ns_per_day: float | None = None
    seconds_left: float | None = None
    temperature: float | None = None
    energy: float | None = None

    @property
    def sentence(self) -> str:
        """All of it on one line."""
        parts = [f"{self.stage} ({self.stage_number}/{self.n_stages})", f"step {self.step}/{self.last_step}"]
        if self.ns_per_day is not None:
            parts.append(f"{self.ns_per_day:.3g} ns/day")
        if self.seconds_left is not None:
            parts.append(f"{_clock(self.seconds_left)} left")
        if self.temperature is not None:
            parts.append(f"{self.temperature:.0f} K")
        if self.energy is not None:
            parts.append(f"{self.energy:.4f} eV")
        return ", ".join(parts)


class ProgressDisplay(Protocol):
    """Something that shows runs while they go on."""

    def update(self, state: ProgressState) -> None:
        """Take note of a new state."""

    def message(self, text: str) -> None:
        """Show one sentence."""

    def close(self) -> None:
        """Give the terminal back."""


class SilentDisplay:
    """Shows nothing, or hands each state to a function."""

    def __init__(self, receiver: Callable[[ProgressState], None] | None = None) -> None:
        self._receiver = receiver

    def update(self, state: ProgressState) -> None:
        """Hand the state on."""
        if self._receiver:
            self._receiver(state)

    def message(self, text: str) -> None:
        """Nothing: messages are in the result too."""

    def close(self) -> None:
        """Nothing to give back."""


class PlainDisplay:
    """A line every now and then, for a log file."""

    def __init__(self, console: Console, interval: float = _PLAIN_LINE_SECONDS) -> None:
        self._console, self._interval = console, interval
        self._shown: dict[str, tuple[float, str]] = {}

    def update(self, state: ProgressState) -> None:
        """Print a line at a new stage, after the interval, and at the end."""
        now = time.monotonic()
        when, stage = self._shown.get(state.deck, (-math.inf, ""))
        if state.stage != stage or now - when >= self._interval or state.step >= state.last_step:
            self._shown[state.deck] = (now, state.stage)
            self._line(f"{state.label}: {state.sentence}")

    def message(self, text: str) -> None:
        """Print the sentence."""
        self._line(text)

    def close(self) -> None:
        """Nothing to give back."""

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class BarDisplay:
    """A bar for each deck on a terminal, redrawn twice a second and only when something changed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[line]}", markup=False),
            console=console,
            auto_refresh=False,
        )
        self._tasks: dict[str, TaskID] = {}
        self._drawn = 0.0
        self._progress.start()

    def update(self, state: ProgressState) -> None:
        """Move the deck's bar."""
        if state.deck not in self._tasks:
            self._tasks[state.deck] = self._progress.add_task(state.label, total=state.last_step, line="")
        self._progress.update(self._tasks[state.deck], completed=state.step, line=state.sentence)
        if time.monotonic() - self._drawn >= _REFRESH_SECONDS or state.step >= state.last_step:
            self._progress.refresh()
            self._drawn = time.monotonic()

    def message(self, text: str) -> None:
        """Print the sentence above the bars."""
        self._progress.console.print(text, markup=False, highlight=False)
        self._progress.refresh()

    def close(self) -> None:
        """Leave the last state of the bars on the screen."""
        self._progress.refresh()
        self._progress.stop()


def open_display(progress: bool | Console | Callable[[ProgressState], None]) -> ProgressDisplay:
    """The display for a `progress` argument: False for none, True for standard error, a console, or a function."""
    if isinstance(progress, bool):
        if not progress:
            return SilentDisplay()
        progress = Console(stderr=True)
    if isinstance(progress, Console):
        return BarDisplay(progress) if progress.is_terminal else PlainDisplay(progress)
    return SilentDisplay(progress)


class ScreenFollower:
    """Reads what LAMMPS prints while it runs: thermodynamic output, and whether it is minimising.

    Attributes
    ----------
    step : int
        Last step seen.
    blown_up : str or None
        The first line of thermodynamic output that held something not finite.
    """

    def __init__(self, path: Path, manifest: Manifest, first_step: int, deck: str) -> None:
        self._path, self._manifest, self._deck = path, manifest, deck
        self._position, self._rest = 0, b""
        self._columns: list[str] = []
        self._minimising = first_step == 0 and manifest.stages[0].kind == "minimise"
        self._values: dict[str, float] = {}
        self._rate: float | None = None
        self._mark: tuple[float, int] | None = None
        self._first_step = first_step
        self.step = first_step
        self.blown_up: str | None = None

    def read(self) -> bool:
        """Take in what is new; True if the step moved on."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._position)
                new = stream.read()
        except FileNotFoundError:
            return False
        if not new:
            return False
        self._position += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        before = self.step
        for line in lines:
            self._take(line.decode("utf-8", "replace"))
        if self.step != before:
            self._measure_rate()
        return self.step != before

    def state(self) -> ProgressState:
        """Where the run stands."""
        stages = self._manifest.stages
        number = next((i for i, stage in enumerate(stages) if self.step < stage.last_step), len(stages) - 1)
        if self._minimising:
            number = next((i for i, stage in enumerate(stages) if stage.kind == "minimise"), number)
        left = self._manifest.last_step - self.step
        nanoseconds = self._manifest.timestep_ps / 1000
        return ProgressState(
            deck=self._deck,
            label=self._manifest.label,
            stage=stages[number].name,
            stage_number=number + 1,
            n_stages=len(stages),
            step=self.step,
            first_step=self._first_step,
            last_step=self._manifest.last_step,
            ns_per_day=self._rate * nanoseconds * _SECONDS_PER_DAY if self._rate else None,
            seconds_left=left / self._rate if self._rate else None,
            temperature=self._values.get("Temp"),
            energy=self._values.get("PotEng"),
        )

    def _take(self, line: str) -> None:
        words = line.split()
        if not words:
            return
        if words[0] == "Step":
            self._columns = words
        elif line.startswith("Loop time of"):
            self._columns = []
            self._minimising = False
        elif line.startswith("Setting up"):
            self._minimising = "minimization" in line
        elif self._columns and len(words) == len(self._columns):
            self._take_row(line, words)

    def _take_row(self, line: str, words: list[str]) -> None:
        try:
            values = dict(zip(self._columns, map(float, words), strict=True))
        except ValueError:
            return
        self._values = values
        if not self._minimising:
            self.step = int(values["Step"])
        if self.blown_up is None and not all(map(math.isfinite, values.values())):
            self.blown_up = line.strip()

    def _measure_rate(self) -> None:
        """Steps per second, an average that forgets over a few readings."""
        now = time.monotonic()
        if self._mark is None:
            self._mark = (now, self.step)
            return
        seconds, steps = now - self._mark[0], self.step - self._mark[1]
        if seconds > 1.0 and steps > 0:
            rate = steps / seconds
            self._rate = rate if self._rate is None else 0.7 * self._rate + 0.3 * rate
            self._mark = (now, self.step)


def _clock(seconds: float) -> str:
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
