"""Figure of the deviation of a committee against time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from napos_lmp.report.figures.style import OKABE_ITO, WIDTH, Floats, svg_of

_MOST_POINTS = 1200


def deviations(times: Floats, series: Mapping[str, tuple[Floats, float | None]]) -> str:
    """Deviations of forces in eV/A against time in ps, with the limit of each (dashed) where there is one.

    Of a long run each point is the largest of its neighbours, so that no event is lost.
    """
    starts = np.arange(0, len(times), -(-len(times) // _MOST_POINTS))

    def draw(figure: Any) -> None:
        ax = figure.subplots()
        for (name, (values, limit)), colour in zip(series.items(), OKABE_ITO, strict=False):
            ax.plot(times[starts], np.fmax.reduceat(values, starts), ".", color=colour, markersize=3, label=name)
            if limit is not None:
                ax.axhline(limit, color=colour, linewidth=1.0, linestyle="--")
        ax.set(xlabel="time (ps)", ylabel="deviation of forces (eV/Å)", yscale="log")
        figure.legend(loc="outside upper right", ncols=2)

    return svg_of(draw, WIDTH, 2.4)
