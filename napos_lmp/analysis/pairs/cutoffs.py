"""Where the first coordination shell ends: the first minimum of g(r), or a table of the literature."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from napos_lmp.analysis.base import Floats, Integers

TABLE: dict[frozenset[str], float] = {
    frozenset(pair.split("-")): cutoff
    for pair, cutoff in {
        "P-S": 2.60,
        "P-O": 1.90,
        "Si-S": 2.55,
        "Si-O": 2.00,
        "Ge-S": 2.70,
        "Ge-O": 2.15,
        "B-S": 2.25,
        "B-O": 1.75,
        "Na-S": 4.00,
        "Na-O": 3.10,
        "P-P": 2.50,
        "Si-Si": 2.60,
        "Ge-Ge": 2.75,
        "B-B": 2.00,
        "P-Si": 2.55,
        "P-Ge": 2.60,
        "P-B": 2.25,
        "Si-Ge": 2.70,
        "Si-B": 2.30,
        "Ge-B": 2.35,
        "S-S": 2.40,
        "O-O": 1.70,
        "S-O": 1.90,
    }.items()
}
"""Cutoffs in A for pairs with no usable minimum of their own.

P-S, P-O, Si-S, Si-O, B-O, Na-S, Na-O and P-P are first minima of published g(r) (docs/pair-structure.md);
the rest are 1.15 to 1.25 times the single-bond length of the pair.
"""

_SMOOTHING = 0.06
_LEAST_PAIRS = 25
_LEAST_COORDINATION = 0.05
_LEAST_CHANGE = 0.1
_INTO_GAP = 0.3


@dataclass(frozen=True)
class Cutoff:
    """End of a first shell.

    Attributes
    ----------
    value
        Distance in A; NaN if there is none.
    source
        `data`: first minimum of g(r); `table`: the literature's; `given`: by the caller; `none`: no cutoff is known.
    note
        Why it is not from the data; empty when nothing needs saying.
    """

    value: float
    source: Literal["data", "table", "given", "none"]
    note: str = ""


@dataclass(frozen=True)
class FirstShell:
    """First peak of a g(r): position and height (smoothed), and the minimum behind it; NaN where there is none."""

    peak: float
    height: float
    minimum: float
    note: str = ""


def first_shell(edges: Floats, counts: Integers, ideal: Floats, fewer: float) -> FirstShell:
    """First peak and first minimum of a histogram of pair distances, robust against noise.

    g(r) is smoothed with a Gaussian of 0.06 A. The first peak is the first stretch above 1 that rises over its Poisson
    noise and holds 25 pairs and 0.05 neighbours an atom (so single homopolar bonds are no shell). Its minimum is the
    lowest point before g(r) rises again by 0.1 and four times the noise; where g(r) is flat there (an empty gap), the
    middle of the flat part, at most 0.3 A behind its beginning.

    Parameters
    ----------
    edges
        Shape (B + 1,), A.
    counts
        Shape (B,): pairs found, summed over frames.
    ideal
        Shape (B,): pairs expected in an ideal gas of the same density; g = counts / ideal.
    fewer
        Atoms of the rarer element, summed over frames.
    """
    from scipy.ndimage import gaussian_filter1d

    if not np.all(ideal > 0):
        return FirstShell(math.nan, math.nan, math.nan, "there are no two atoms to make a pair")
    width = _SMOOTHING / (edges[1] - edges[0])
    smooth = gaussian_filter1d(counts.astype(np.float64), width, mode="nearest")
    window = max(1.0, 2 * math.sqrt(math.pi) * width)
    g = smooth / ideal
    noise = np.sqrt(np.maximum(smooth, 1 / window) / window) / ideal
    change = np.maximum(_LEAST_CHANGE, 4 * noise)
    centres = (edges[1:] + edges[:-1]) / 2

    steps = np.diff((g > 1).astype(np.int8), prepend=0, append=0)
    for begin, end in zip(np.flatnonzero(steps == 1), np.flatnonzero(steps == -1), strict=True):
        peak = int(begin + np.argmax(g[begin:end]))
        pairs = counts[begin:end].sum()
        if g[peak] > 1 + change[peak] and pairs >= _LEAST_PAIRS and pairs >= _LEAST_COORDINATION * fewer:
            place, note = _first_minimum(g[end:], noise[end:], change[end:], round(_INTO_GAP / (edges[1] - edges[0])))
            minimum = round(float(edges[end + place]), 6) if place is not None else math.nan
            return FirstShell(round(float(centres[peak]), 6), float(g[peak]), minimum, note)
    return FirstShell(math.nan, math.nan, math.nan, "g(r) has no peak above its noise")


def table_cutoff(first: str, second: str, note: str) -> Cutoff:
    """The tabulated cutoff of a pair, or source `none`; `note` says why the data were not used."""
    value = TABLE.get(frozenset((first, second)))
    if value is None:
        return Cutoff(math.nan, "none", f"{note}, and the table has no {first}-{second}")
    return Cutoff(value, "table", note)


def _first_minimum(g: Floats, noise: Floats, change: Floats, into_gap: int) -> tuple[int | None, str]:
    lowest = np.minimum.accumulate(g) if len(g) else g
    rises = np.flatnonzero(g > lowest + change)
    if len(rises) == 0:
        return None, "g(r) does not rise again behind its first peak"
    bottom = int(np.argmin(g[: rises[0]]))
    return middle_of_gap(g[: rises[0]], bottom, max(0.02, 2 * float(noise[bottom])), into_gap), ""


def middle_of_gap(g: Floats, bottom: int, tolerance: float, into_gap: int) -> int:
    """Index in the middle of the flat part of `g` around its lowest point, at most `into_gap` behind its beginning."""
    flat = g <= g[bottom] + tolerance
    before = np.flatnonzero(~flat[:bottom])
    after = np.flatnonzero(~flat[bottom:])
    left = int(before[-1]) + 1 if len(before) else 0
    right = bottom + int(after[0]) if len(after) else len(flat)
    return min(round((left + right) / 2), left + into_gap)
