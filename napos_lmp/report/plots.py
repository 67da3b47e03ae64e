"""The figures of the report: one style, colours that colour-blind readers can tell apart, units on every axis.

Each function returns an SVG document as text. Letters are drawn as outlines, so the figure looks the same everywhere.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napos_lmp.report.numbers import Number

Floats = NDArray[np.float64]

WIDTH = 7.8
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
ELEMENT_COLOURS = {
    "Na": "#0072B2", "P": "#009E73", "S": "#E69F00", "O": "#D55E00", "Si": "#56B4E9", "B": "#CC79A7", "Ge": "#5A5A5A",
}  # fmt: skip
MARKERS = "osD^vP"
INK = "#1d2430"
_MOST_POINTS = 1200
_LEAST_PLAIN = 1e-3
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": "#5b6472",
    "axes.labelcolor": INK,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e9ee",
    "grid.linewidth": 0.7,
    "xtick.color": "#5b6472",
    "ytick.color": "#5b6472",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.5,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.fonttype": "path",
    "svg.hashsalt": "napos-lmp",
    "errorbar.capsize": 2.5,
}


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


@dataclass(frozen=True)
class ThermoStage:
    """A stretch of the time axis that a stage takes: its name and its ends in ps."""

    name: str
    start: float
    stop: float


def pair_functions(r: Floats, curves: Mapping[str, Floats], cutoffs: Mapping[str, float]) -> str:
    """All partial g(r), former-anion, modifier-anion, cation-cation and anion-anion pairs in a panel each."""
    groups = [(title, names) for title, names in _pair_groups(curves) if names]

    def draw(figure: Any) -> None:
        columns = 2 if len(groups) > 1 else 1
        axes = figure.subplots(math.ceil(len(groups) / columns), columns, squeeze=False).ravel()
        for ax, (title, names) in zip(axes, groups, strict=False):
            for name, colour in zip(names, cycle(OKABE_ITO)):
                ax.plot(r, curves[name], color=colour, label=name)
                if math.isfinite(cutoffs.get(name, math.nan)):
                    ax.axvline(cutoffs[name], color=colour, linewidth=0.8, linestyle=(0, (3, 3)))
            ax.axhline(1.0, color="#9aa3af", linewidth=0.7, zorder=0)
            ax.set(title=title, xlim=(1.0, float(r[-1])), ylim=(0, None), xlabel="r (Å)", ylabel="g(r)")
            ax.legend()
        for ax in axes[len(groups) :]:
            ax.set_axis_off()

    return svg_of(draw, WIDTH, 2.35 * math.ceil(len(groups) / 2))


@dataclass(frozen=True)
class PairCurve:
    """One g(r) of a pair of elements; `r` in A and `g` of shape (R,)."""

    name: str
    r: Floats
    g: Floats


def pair_overlays(panels: Mapping[str, Sequence[PairCurve]]) -> str:
    """The g(r) of each pair in a panel of its own, with one line for each potential."""
    shown = {pair: curves for pair, curves in panels.items() if any(np.isfinite(c.g).any() for c in curves)}
    names = list(dict.fromkeys(curve.name for curves in shown.values() for curve in curves))
    look = dict(zip(names, zip(cycle(OKABE_ITO), cycle(("-", "--", ":")), strict=False), strict=False))

    def draw(figure: Any) -> None:
        columns = min(3, len(shown))
        axes = figure.subplots(math.ceil(len(shown) / columns), columns, squeeze=False, sharex=True).ravel()
        for ax, (pair, curves) in zip(axes, shown.items(), strict=False):
            for curve in curves:
                colour, dashes = look[curve.name]
                ax.plot(curve.r, curve.g, color=colour, linestyle=dashes, label=curve.name, linewidth=1.2)
            ax.axhline(1.0, color="#9aa3af", linewidth=0.7, zorder=0)
            ax.set(title=pair, xlim=(1.0, float(curves[0].r[-1])), ylim=(0, None))
        for place, ax in enumerate(axes[: len(shown)]):
            if place % columns == 0:
                ax.set_ylabel("g(r)")
            if place + columns >= len(shown):
                ax.set_xlabel("r (Å)")
                ax.tick_params(labelbottom=True)
        for ax in axes[len(shown) :]:
            ax.set_axis_off()
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=len(names))

    return svg_of(draw, WIDTH, 0.4 + 1.65 * math.ceil(len(shown) / 3))


@dataclass(frozen=True)
class Curves:
    """Lines over one axis: labels of both axes, `x` (N,), each line's values (N,), and the level of no correlation."""

    x_label: str
    y_label: str
    x: Floats
    lines: Mapping[str, Floats]
    level: float | None


def scattering(panels: Sequence[Curves]) -> str:
    """Total functions of scattering, a panel each."""

    def draw(figure: Any) -> None:
        for ax, panel in zip(figure.subplots(1, len(panels), squeeze=False).ravel(), panels, strict=True):
            for (name, values), colour in zip(panel.lines.items(), cycle(OKABE_ITO), strict=False):
                ax.plot(panel.x, values, color=colour, label=name, linewidth=1.2)
            if panel.level is not None:
                ax.axhline(panel.level, color="#9aa3af", linewidth=0.7, zorder=0)
            ax.set(xlabel=panel.x_label, ylabel=panel.y_label, xlim=(0, float(panel.x[-1])))
            ax.legend()

    return svg_of(draw, WIDTH if len(panels) > 1 else 5.2, 2.6)


def angle_distributions(angle: Floats, inside: Mapping[str, Floats], bridges: Mapping[str, Floats]) -> str:
    """Distributions of bond angles inside the units and at the bridges, a panel each."""
    panels = [(title, lines) for title, lines in (("Inside the units", inside), ("At the bridges", bridges)) if lines]

    def draw(figure: Any) -> None:
        for ax, (title, lines) in zip(figure.subplots(1, len(panels), squeeze=False).ravel(), panels, strict=True):
            for (name, values), colour in zip(lines.items(), cycle(OKABE_ITO), strict=False):
                ax.plot(angle, values, color=colour, label=name, linewidth=1.2)
            ax.set(title=title, xlabel="angle (°)", ylabel="probability (1/°)", xlim=(50, 180), ylim=(0, None))
            ax.legend()

    return svg_of(draw, WIDTH if len(panels) > 1 else 5.2, 2.6)


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
                at[known], [values[i] for i in known], _errors([numbers[i] for i in known]),
                fmt="none", ecolor=INK, elinewidth=1,
            )  # fmt: skip
        ax.set_xticks(range(len(categories)), categories)
        ax.set(ylabel=axis, ylim=(0, None), xlim=(-0.6, max(len(categories), 4) - 0.4))
        ax.grid(visible=False, axis="x")
        if len(series) > 1:
            ax.legend()

    return svg_of(draw, WIDTH if len(series) > 1 or len(categories) > 6 else 5.2, 2.5)


def thermo(stages: Sequence[ThermoStage], series: Mapping[str, tuple[Floats, Floats]]) -> str:
    """Quantities against time, one panel each on a shared axis, with the stages marked.

    `series` gives times in ps and values by the axis label.
    """

    def draw(figure: Any) -> None:
        axes = figure.subplots(len(series), 1, sharex=True, squeeze=False).ravel()
        for ax, (label, (times, values)), colour in zip(axes, series.items(), cycle(OKABE_ITO), strict=False):
            thin = _thinned(len(times))
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
                1000 / temperatures, values, _errors(numbers),
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
                1000 / experiment[0], measured, _errors(experiment[1]),
                fmt="D", color=INK, mfc="none", markersize=5, elinewidth=1, label="experiment",
            )  # fmt: skip
        _make_logarithmic(ax)
        ax.set(xlabel="1000 / T (1/K)", ylabel=f"{label} ({unit})")
        ax.margins(x=0.12, y=0.15)
        top = ax.secondary_xaxis("top", functions=(_inverse, _inverse))
        top.set_xlabel("T (K)")
        shown = [temperatures for temperatures, _ in series.values()]
        shown += [experiment[0]] if experiment is not None else []
        top.set_xticks(*_legible([float(t) for temperatures in shown for t in temperatures]))
        ax.legend()

    return svg_of(draw, 5.4, 3.4)


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


def against_composition(
    x: Sequence[float], axis: str, series: Mapping[str, Sequence[Number]], label: str, *, logarithmic: bool = False
) -> str:
    """Numbers against x of a series of compositions, with intervals and a line to guide the eye."""

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
                at, values, _errors([number for _, number in shown]),
                fmt=marker, color=colour, markersize=5, elinewidth=1, label=name,
            )  # fmt: skip
        if logarithmic:
            _make_logarithmic(ax)
        ax.set(xlabel=axis, ylabel=label)
        ax.margins(x=0.08, y=0.15)
        if len(series) > 1:
            ax.legend()

    return svg_of(draw, 5.4, 2.9)


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
        ax.errorbar(x, values, _errors(numbers), fmt="o", color=OKABE_ITO[0], markersize=5, elinewidth=1)
        if line is not None:
            ends, intercept, slope = line
            ax.plot(ends, intercept + slope * ends, color=INK, linewidth=1)
            ax.set_xlim(left=0)
        if logarithmic:
            ax.set_xscale("log")
        ax.set(xlabel=axis, ylabel=label)
        ax.margins(x=0.08, y=0.15)

    return svg_of(draw, 5.4, 2.9)


def _make_logarithmic(ax: Any) -> None:
    """Logarithmic y axis; where it spans little, plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.set_yscale("log")
    ax.margins(y=0.15)
    low, high = ax.get_ylim()
    if low >= _LEAST_PLAIN and high < 100 * low:
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 10 * low else (1, 2, 3, 4, 5, 7)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def _draw_displacement(ax: Any, panel: Displacement) -> None:
    for name, curve in panel.curves.items():
        colour = ELEMENT_COLOURS.get(name, INK)
        thin = _log_thinned(len(panel.times))
        ax.loglog(panel.times[thin], curve[thin], color=colour, label=name)
        if name in panel.windows:
            start, stop, intercept, slope = panel.windows[name]
            ax.axvspan(start, stop, color=colour, alpha=0.1, linewidth=0)
            times = np.geomspace(start, stop, 50)
            line = intercept + slope * times
            ax.plot(times[line > 0], line[line > 0], color=INK, linewidth=1.1, linestyle=(0, (4, 2)))
    ax.set(title=panel.title, xlabel="lag time (ps)")
    ax.legend(loc="upper left")


def _pair_groups(curves: Mapping[str, Floats]) -> list[tuple[str, list[str]]]:
    anions, modifiers = {"S", "O"}, {"Na"}
    groups: dict[str, list[str]] = {
        "Network former – anion": [], "Sodium – anion": [], "Cation – cation": [], "Anion – anion": []
    }  # fmt: skip
    for name, curve in curves.items():
        if not np.any(np.isfinite(curve)):
            continue
        pair = set(name.split("-"))
        if pair <= anions:
            groups["Anion – anion"].append(name)
        elif not pair & anions:
            groups["Cation – cation"].append(name)
        elif pair & modifiers:
            groups["Sodium – anion"].append(name)
        else:
            groups["Network former – anion"].append(name)
    return list(groups.items())


def _errors(numbers: Sequence[Number]) -> Floats:
    """Lengths of error bars below and above, shape (2, N); zero where there is no interval."""
    values = [number.value if number.value is not None else math.nan for number in numbers]
    ends = [number.ends or (value, value) for number, value in zip(numbers, values, strict=True)]
    below = [max(0.0, value - low) for value, (low, _) in zip(values, ends, strict=True)]
    above = [max(0.0, high - value) for value, (_, high) in zip(values, ends, strict=True)]
    return np.array([below, above])


def _thinned(count: int) -> slice:
    return slice(None, None, max(1, count // _MOST_POINTS))


def _log_thinned(count: int) -> NDArray[np.int64]:
    if count < 2:
        return np.empty(0, np.int64)
    return np.unique(np.geomspace(1, count - 1, 240).round().astype(np.int64))


def _inverse(values: Any) -> Any:
    return 1000 / np.maximum(np.asarray(values, dtype=np.float64), 1e-9)


def svg_of(draw: Callable[[Any], None], width: float, height: float) -> str:
    """What `draw` draws on a matplotlib figure of this size in inches, in the style of the report, as SVG."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()
