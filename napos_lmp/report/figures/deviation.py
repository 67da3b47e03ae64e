"""Figure of the deviation of a committee against time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napos_lmp.report.figures.style import OKABE_ITO, WIDTH, Floats, svg_of, thinned


def deviations(times: Floats, series: Mapping[str, tuple[Floats, float | None]]) -> str:
    """Deviations of forces in eV/A against time in ps, with the limit of each (dashed) where there is one."""

    def draw(figure: Any) -> None:
        ax = figure.subplots()
        thin = thinned(len(times))
        for (name, (values, limit)), colour in zip(series.items(), OKABE_ITO, strict=False):
            ax.plot(times[thin], values[thin], ".", color=colour, markersize=3, label=name)
            if limit is not None:
                ax.axhline(limit, color=colour, linewidth=1.0, linestyle="--", label=f"limit of the {name}")
        ax.set(xlabel="time (ps)", ylabel="deviation of forces (eV/Å)", yscale="log")
        ax.legend(ncols=2)

    return svg_of(draw, WIDTH, 2.4)
