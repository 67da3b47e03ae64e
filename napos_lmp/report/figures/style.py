"""The one style of all figures: colours that colour-blind readers can tell apart, and how a drawing becomes SVG.

Letters are drawn as outlines, so a figure looks the same everywhere.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

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


def errors_of(numbers: Sequence[Number]) -> Floats:
    """Lengths of error bars below and above, shape (2, N); zero where there is no interval."""
    values = [number.value if number.value is not None else math.nan for number in numbers]
    ends = [number.ends or (value, value) for number, value in zip(numbers, values, strict=True)]
    below = [max(0.0, value - low) for value, (low, _) in zip(values, ends, strict=True)]
    above = [max(0.0, high - value) for value, (_, high) in zip(values, ends, strict=True)]
    return np.array([below, above])


def make_logarithmic(ax: Any, which: Literal["x", "y"] = "y") -> None:
    """Make an axis logarithmic; where it spans little, with plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis = ax.xaxis if which == "x" else ax.yaxis
    ax.set(**{f"{which}scale": "log"})
    ax.margins(**{which: 0.15})
    low, high = ax.get_xlim() if which == "x" else ax.get_ylim()
    if low >= _LEAST_PLAIN and high < 100 * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 10 * low else (1, 2, 3, 4, 5, 7)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def thinned(count: int) -> slice:
    """Places of at most some 1,200 evenly spaced points of a curve."""
    return slice(None, None, max(1, count // _MOST_POINTS))


def log_thinned(count: int) -> NDArray[np.int64]:
    """Places of points of a curve that are evenly spaced in their logarithm, without the first."""
    if count < 2:
        return np.empty(0, np.int64)
    return np.unique(np.geomspace(1, count - 1, 240).round().astype(np.int64))


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
