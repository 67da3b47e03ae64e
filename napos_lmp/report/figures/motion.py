"""Figures of how ions move, as SVG text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napos_lmp.report.figures.style import OKABE_ITO, WIDTH, Floats, svg_of


@dataclass(frozen=True)
class Band:
    """A line with half the width of the band around it, shape (R,) each; NaN where there is none."""

    label: str
    values: Floats
    errors: Floats


def van_hove(r: Floats, selves: Sequence[Band], others: Sequence[Band]) -> str:
    """Self and distinct part of van Hove's function at some lag times, a panel each; `r` in A."""
    panels = [(bands, label) for bands, label in ((selves, "4πr² G$_s$ (1/Å)"), (others, "G$_d$ / density")) if bands]

    def draw(figure: Any) -> None:
        for ax, (bands, label) in zip(figure.subplots(1, len(panels), squeeze=False).ravel(), panels, strict=True):
            for band, colour in zip(bands, cycle(OKABE_ITO), strict=False):
                ax.plot(r, band.values, color=colour, label=band.label, linewidth=1.2)
                ends = band.values - band.errors, band.values + band.errors
                ax.fill_between(r, *ends, color=colour, alpha=0.22, linewidth=0)
            far = r[np.any([np.nan_to_num(band.values) > 0.003 for band in bands], axis=0)]
            ax.set(
                xlabel="r (Å)", ylabel=label, xlim=(0, far[-1] if len(far) else None), ylim=(0, _top(bands, r > 0.5))
            )
            ax.legend()
        if others:
            ax.axhline(1.0, color="#9aa3af", linewidth=0.7, zorder=0)

    return svg_of(draw, WIDTH if len(panels) > 1 else 5.2, 2.6)


def departures(lengths: Band | None, length: Floats, time: Floats, remaining: Floats, exponential: Floats) -> str:
    """Distribution of the lengths of departures (`length` in A), and the share that stays against `time` in ps."""

    def draw_lengths(ax: Any, band: Band) -> None:
        width = 0.92 * (length[1] - length[0] if len(length) > 1 else 0.25)
        ax.bar(length, band.values, width, color=OKABE_ITO[0], alpha=0.85)
        ax.errorbar(length, band.values, np.nan_to_num(band.errors), fmt="none", ecolor="#1d2430", elinewidth=1)
        ax.set(xlabel="length (Å)", ylabel="probability (1/Å)", ylim=(0, None))
        ax.grid(visible=False, axis="x")

    def draw_residence(ax: Any) -> None:
        shown = remaining > 0
        ax.semilogy(time[shown], remaining[shown], drawstyle="steps-post", color=OKABE_ITO[0], label="ions")
        near = exponential >= 0.5 * remaining[shown].min()
        ax.semilogy(time[near], exponential[near], "--", color=OKABE_ITO[1], linewidth=1.1, label="exponential law")
        ax.set(xlabel="time since arrival (ps)", ylabel="share still there")
        ax.legend()

    drawings: list[Callable[[Any], None]] = [draw_residence]
    if lengths is not None:
        drawings.insert(0, lambda ax: draw_lengths(ax, lengths))

    def draw(figure: Any) -> None:
        for ax, part in zip(figure.subplots(1, len(drawings), squeeze=False).ravel(), drawings, strict=True):
            part(ax)

    return svg_of(draw, WIDTH if len(drawings) > 1 else 5.2, 2.6)


def _top(bands: Sequence[Band], known: NDArray[np.bool_]) -> float:
    """Top of the axis: above all but much higher peaks of early lags, and the noise at the smallest distances."""
    peaks = sorted(float(np.nanmax(band.values[known])) for band in bands)
    return 1.12 * min(peaks[-1], 2.5 * peaks[0] if len(peaks) > 1 else peaks[-1])
