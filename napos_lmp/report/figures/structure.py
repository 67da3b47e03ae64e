"""Figures of the structure, as SVG text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np

from napos_lmp.report.figures.style import (
    OKABE_ITO,
    WIDTH,
    Floats,
    svg_of,
)


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
