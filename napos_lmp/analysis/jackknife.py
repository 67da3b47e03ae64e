"""Intervals of numbers made from sums over independent parts, such as ions or groups: the grouped jackknife."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.base import Estimate, Floats

MOST_GROUPS = 50
FEWEST_GROUPS = 5


def jackknife_error(sums: ArrayLike, function: Callable[[Floats], Floats]) -> tuple[Floats, Floats, int]:
    """Value of a function of sums over parts, its standard error, and the number of groups behind it.

    The parts are dealt into at most 50 groups; each is left out in turn (Efron and Stein, Ann. Stat. 9, 586 (1981)).

    Parameters
    ----------
    sums
        Shape (parts, ...): what each part adds.
    function
        Of the sums, shape (...), to a number or an array.
    """
    parts = np.asarray(sums, dtype=np.float64)
    count = min(MOST_GROUPS, len(parts))
    groups = np.zeros((count, *parts.shape[1:]))
    np.add.at(groups, np.arange(len(parts)) % count, parts)
    total = groups.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.asarray(function(total), dtype=np.float64)
        left_out = np.array([function(total - group) for group in groups])
        spread = left_out - left_out.mean(axis=0)
    return value, np.sqrt((count - 1) / count * np.sum(spread**2, axis=0)), count


def jackknife_estimate(
    sums: ArrayLike,
    function: Callable[[Floats], Floats],
    unit: str,
    *,
    limits: tuple[float, float] = (-math.inf, math.inf),
    none: str = "the data hold no such event",
) -> Estimate:
    """A number with its 95 % interval, Student's t for the number of groups; as :func:`jackknife_error`.

    Parameters
    ----------
    sums, function
        As there; `function` gives one number.
    unit
        Of the number.
    limits
        Values outside of which the number cannot lie.
    none
        Note of the estimate where the function gives none.
    """
    value, error, count = jackknife_error(sums, function)
    centre, half = float(value), float(error)
    if not math.isfinite(centre):
        return Estimate(math.nan, math.nan, math.nan, unit, note=none)
    if count < FEWEST_GROUPS:
        note = f"{count} independent parts are too few for an interval; {FEWEST_GROUPS} are needed"
        return Estimate(centre, math.nan, math.nan, unit, note=note)
    if not math.isfinite(half) or half == 0:
        return Estimate(centre, math.nan, math.nan, unit, note="the events are too few for an interval")
    from scipy.special import stdtrit

    half *= float(stdtrit(count - 1, 0.975))
    return Estimate(centre, max(limits[0], centre - half), min(limits[1], centre + half), unit)


def ratio(sums: Floats) -> Floats:
    """First sum over the second."""
    return np.asarray(sums[0] / sums[1])


def share_estimate(found: int, parts: int) -> Estimate:
    """Share of independent parts that have something, with the 95 % interval of Clopper and Pearson.

    Biometrika 26, 404 (1934).
    """
    from scipy.special import betaincinv

    low = float(betaincinv(found, parts - found + 1, 0.025)) if found else 0.0
    high = float(betaincinv(found + 1, parts - found, 0.975)) if found < parts else 1.0
    return Estimate(found / parts, low, high, "")


def count_interval(events: int) -> tuple[float, float]:
    """95 % interval of the mean number of events, of which so many happened (Garwood, Biometrika 28, 437 (1936))."""
    from scipy.special import gammaincinv

    return float(gammaincinv(events, 0.025)) if events else 0.0, float(gammaincinv(events + 1, 0.975))
