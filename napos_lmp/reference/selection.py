"""Choosing few frames out of many so that they differ: farthest point sampling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def farthest_first(
    points: NDArray[np.float64], strata: NDArray[np.intp], wanted: Sequence[int], chosen: Sequence[int] = ()
) -> list[int]:
    """Order points so that every prefix is spread out, and each stratum has its share of every prefix.

    The next point belongs to the stratum that is furthest behind its share; within it, it is the point whose nearest
    chosen neighbour is farthest (T. Gonzalez, Theor. Comput. Sci. 38, 293, 1985). The first is the one nearest to the
    mean.

    Parameters
    ----------
    points
        Shape (N, D).
    strata
        Stratum of each point, shape (N,), from 0.
    wanted
        How many points to take from each stratum; fewer where it holds fewer.
    chosen
        Points that are taken already and only repel.

    Returns
    -------
    list of int
        Indices of the points taken, in order.
    """
    limits = [min(want, int((strata == stratum).sum())) for stratum, want in enumerate(wanted)]
    nearest = np.full(len(points), np.inf)
    for index in chosen:
        nearest = np.minimum(nearest, ((points - points[index]) ** 2).sum(axis=1))
    if not len(chosen):
        nearest = 1e300 - ((points - points.mean(axis=0)) ** 2).sum(axis=1)
    free = np.ones(len(points), dtype=bool)
    free[list(chosen)] = False
    taken = [0] * len(limits)
    order: list[int] = []
    for _ in range(sum(limits)):
        stratum = min(
            (s for s, limit in enumerate(limits) if taken[s] < limit), key=lambda s: (taken[s] + 0.5) / limits[s]
        )
        index = int(np.where(free & (strata == stratum), nearest, -np.inf).argmax())
        if not order and not len(chosen):
            nearest = np.full(len(points), np.inf)
        order.append(index)
        free[index] = False
        taken[stratum] += 1
        nearest = np.minimum(nearest, ((points - points[index]) ** 2).sum(axis=1))
    return order
