"""Figures of displacements and conductivities, as SVG text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np

from napos_lmp.report.figures.style import (
    ELEMENT_COLOURS,
    INK,
    MARKERS,
    OKABE_ITO,
    WIDTH,
    Floats,
    errors_of,
    log_thinned,
    make_logarithmic,
    svg_of,
)
from napos_lmp.report.numbers import Number


@dataclass(frozen=True)
class Displacement:
    """MSD of some species at one temperature, with the window in which D was fitted, if it was.

    `times` in ps and `curves` in A^2, shape (T,); `window` is (start, stop) in ps, `line` (intercept, slope) in A^2 and
    A^2/ps.
    """

    title: str
    times: Floats
    curves: Mapping[str, Floats]
    windows: Mapping[str, tuple[float, float, float, float]]


def displacements(panels: Sequence[Displacement]) -> str:
    """MSD of every species on doubly logarithmic axes, a panel for each temperature, the fitted window shaded."""
    columns = {1: 1, 2: 2, 4: 2}.get(len(panels), 3)
    rows = math.ceil(len(panels) / columns)

    def draw(figure: Any) -> None:
        axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
        for ax, panel in zip(axes, panels, strict=False):
            _draw_displacement(ax, panel)
        for ax in axes[len(panels) :]:
            ax.set_axis_off()
        for ax in axes[::columns]:
            ax.set_ylabel("MSD (Å²)")

    return svg_of(draw, WIDTH if columns > 1 else 5.2, 2.7 * rows)


def arrhenius(
    series: Mapping[str, tuple[Floats, Sequence[Number]]],
    lines: Mapping[str, tuple[Floats, Floats]],
    unit: str,
    label: str,
    *,
    experiment: tuple[Floats, Sequence[Number]] | None = None,
    extended: Mapping[str, tuple[Floats, Floats]] | None = None,
) -> str:
    """Numbers against 1000/T on a logarithmic axis, a marker for each glass, with fitted lines where there are any.

    `series` gives temperatures in K and the numbers by glass, `lines` temperatures and fitted values, `extended` those
    beyond the points, drawn dashed; `experiment` are measured numbers, drawn open.
    """

    def draw(figure: Any) -> None:
        ax = figure.subplots()
        for (name, (temperatures, numbers)), colour, marker in zip(
            series.items(), cycle(OKABE_ITO), cycle(MARKERS), strict=False
        ):
            values = np.array([number.value for number in numbers], dtype=np.float64)
            ax.errorbar(
                1000 / temperatures, values, errors_of(numbers),
                fmt=marker, color=colour, markersize=5, elinewidth=1, label=name,
            )  # fmt: skip
            if name in lines:
                ax.plot(1000 / lines[name][0], lines[name][1], color=colour, linewidth=1, alpha=0.8)
            if extended and name in extended:
                temperature, line = extended[name]
                ax.plot(1000 / temperature, line, color=colour, linewidth=0.9, alpha=0.7, linestyle=(0, (4, 3)))
        if experiment is not None:
            measured = np.array([number.value for number in experiment[1]], dtype=np.float64)
            ax.errorbar(
                1000 / experiment[0], measured, errors_of(experiment[1]),
                fmt="D", color=INK, mfc="none", markersize=5, elinewidth=1, label="experiment",
            )  # fmt: skip
        make_logarithmic(ax)
        ax.set(xlabel="1000 / T (1/K)", ylabel=f"{label} ({unit})")
        ax.margins(x=0.12, y=0.15)
        top = ax.secondary_xaxis("top", functions=(_inverse, _inverse))
        top.set_xlabel("T (K)")
        shown = [temperatures for temperatures, _ in series.values()]
        shown += [experiment[0]] if experiment is not None else []
        top.set_xticks(*_legible([float(t) for temperatures in shown for t in temperatures]))
        ax.legend()

    return svg_of(draw, 5.4, 3.4)


def convergence(
    x: Floats,
    numbers: Sequence[Number],
    axis: str,
    label: str,
    *,
    line: tuple[Floats, float, float] | None = None,
    logarithmic: bool = False,
) -> str:
    """Numbers with their intervals against 1/L, with a line (its ends in x, intercept and slope), or run length."""

    def draw(figure: Any) -> None:
        ax = figure.subplots()
        values = np.array([number.value for number in numbers], dtype=np.float64)
        ax.errorbar(x, values, errors_of(numbers), fmt="o", color=OKABE_ITO[0], markersize=5, elinewidth=1)
        if line is not None:
            ends, intercept, slope = line
            ax.plot(ends, intercept + slope * ends, color=INK, linewidth=1)
            ax.set_xlim(left=0)
        if logarithmic:
            ax.set_xscale("log")
        ax.set(xlabel=axis, ylabel=label)
        ax.margins(x=0.08, y=0.15)

    return svg_of(draw, 5.4, 2.9)


def _legible(temperatures: Sequence[float]) -> tuple[list[float], list[str]]:
    """Ticks at temperatures, and their labels; those that would run into a colder one are left empty."""
    ticks = sorted(set(temperatures))
    width = 0.07 * (1 / ticks[0] - 1 / ticks[-1])
    labels, last = [], math.inf
    for t in ticks:
        free = last - 1 / t >= width
        labels.append(f"{t:.0f}" if free else "")
        last = 1 / t if free else last
    return ticks, labels


def _draw_displacement(ax: Any, panel: Displacement) -> None:
    for name, curve in panel.curves.items():
        colour = ELEMENT_COLOURS.get(name, INK)
        thin = log_thinned(len(panel.times))
        ax.loglog(panel.times[thin], curve[thin], color=colour, label=name)
        if name in panel.windows:
            start, stop, intercept, slope = panel.windows[name]
            ax.axvspan(start, stop, color=colour, alpha=0.1, linewidth=0)
            times = np.geomspace(start, stop, 50)
            line = intercept + slope * times
            ax.plot(times[line > 0], line[line > 0], color=INK, linewidth=1.1, linestyle=(0, (4, 2)))
    ax.set(title=panel.title, xlabel="lag time (ps)")
    ax.legend(loc="upper left")


def _inverse(values: Any) -> Any:
    return 1000 / np.maximum(np.asarray(values, dtype=np.float64), 1e-9)
