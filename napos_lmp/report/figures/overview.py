"""Figures of a whole run and of glasses side by side, as SVG text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np

from napos_lmp.report.figures.style import (
    INK,
    MARKERS,
    OKABE_ITO,
    WIDTH,
    Floats,
    errors_of,
    make_logarithmic,
    svg_of,
    thinned,
)
from napos_lmp.report.numbers import Number


@dataclass(frozen=True)
class ThermoStage:
    """A stretch of the time axis that a stage takes: its name and its ends in ps."""

    name: str
    start: float
    stop: float


def thermo(stages: Sequence[ThermoStage], series: Mapping[str, tuple[Floats, Floats]]) -> str:
    """Quantities against time, one panel each on a shared axis, with the stages marked.

    `series` gives times in ps and values by the axis label.
    """

    def draw(figure: Any) -> None:
        axes = figure.subplots(len(series), 1, sharex=True, squeeze=False).ravel()
        for ax, (label, (times, values)), colour in zip(axes, series.items(), cycle(OKABE_ITO), strict=False):
            thin = thinned(len(times))
            ax.plot(times[thin], values[thin], color=colour, linewidth=0.9)
            ax.set_ylabel(label)
            for place, stage in enumerate(stages):
                if place % 2 == 0:
                    ax.axvspan(stage.start, stage.stop, color="#f1f3f7", zorder=0, linewidth=0)
        span = stages[-1].stop - stages[0].start if stages else 1.0
        for stage in stages:
            if stage.stop - stage.start > 0.06 * span:
                middle = (stage.start + stage.stop) / 2
                axes[0].annotate(
                    stage.name, (middle, 1.0), (0, 3), xycoords=("data", "axes fraction"),
                    textcoords="offset points", ha="center", fontsize=7.5, color="#5b6472",
                )  # fmt: skip
        axes[-1].set_xlabel("time (ps)")
        if stages:
            axes[-1].set_xlim(stages[0].start, stages[-1].stop)
        figure.align_ylabels(axes)

    return svg_of(draw, WIDTH, 1.0 + 1.35 * len(series))


def bars(categories: Sequence[str], series: Mapping[str, Sequence[Number]], axis: str) -> str:
    """Grouped bars with intervals: a group for each category, a colour for each entry of `series`."""

    def draw(figure: Any) -> None:
        ax = figure.subplots()
        width = 0.8 / max(1, len(series))
        for place, ((name, numbers), colour) in enumerate(zip(series.items(), cycle(OKABE_ITO), strict=False)):
            at = np.arange(len(categories)) + (place - (len(series) - 1) / 2) * width
            values = [number.value or 0.0 for number in numbers]
            ax.bar(at, values, width * 0.92, color=colour, label=name, alpha=0.85)
            known = [i for i, number in enumerate(numbers) if number.has_interval]
            ax.errorbar(
                at[known], [values[i] for i in known], errors_of([numbers[i] for i in known]),
                fmt="none", ecolor=INK, elinewidth=1,
            )  # fmt: skip
        ax.set_xticks(range(len(categories)), categories)
        ax.set(ylabel=axis, ylim=(0, None), xlim=(-0.6, max(len(categories), 4) - 0.4))
        ax.grid(visible=False, axis="x")
        if len(series) > 1:
            ax.legend()

    return svg_of(draw, WIDTH if len(series) > 1 or len(categories) > 6 else 5.2, 2.5)


def drawable(numbers: Sequence[Number]) -> bool:
    """Whether there are two points to compare."""
    return sum(number.value is not None for number in numbers) > 1


def against(
    x: Sequence[float], axis: str, series: Mapping[str, Sequence[Number]], label: str, *, logarithmic: str = ""
) -> str:
    """Numbers of a series of glasses against what it goes by, with intervals and a line to guide the eye.

    `logarithmic` names the axes that are so, such as "x".
    """

    def draw(figure: Any) -> None:
        ax = figure.subplots()
        for (name, numbers), colour, marker in zip(series.items(), cycle(OKABE_ITO), cycle(MARKERS), strict=False):
            shown = [(at, number) for at, number in zip(x, numbers, strict=True) if number.value is not None]
            if not shown:
                continue
            at = np.array([place for place, _ in shown])
            values = np.array([number.value for _, number in shown], dtype=np.float64)
            order = np.argsort(at)
            ax.plot(at[order], values[order], color=colour, linewidth=0.8, alpha=0.5)
            ax.errorbar(
                at, values, errors_of([number for _, number in shown]),
                fmt=marker, color=colour, markersize=5, elinewidth=1, label=name,
            )  # fmt: skip
        if "y" in logarithmic:
            make_logarithmic(ax)
        if "x" in logarithmic:
            ax.set_xscale("log")
        ax.set(xlabel=axis, ylabel=label)
        ax.margins(x=0.08, y=0.15)
        if len(series) > 1:
            figure.legend(loc="outside upper left", ncols=min(3, len(series)))

    return svg_of(draw, 5.4, 2.9)
