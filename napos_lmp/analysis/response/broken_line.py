"""Straight and broken lines through noisy curves whose neighbouring points may be alike."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from napos_lmp.analysis.averages import statistical_inefficiency
from napos_lmp.analysis.base import Floats
from napos_lmp.errors import AnalysisError

FEWEST_POINTS = 12
_MOST_POINTS = 4000
_FEWEST_ASIDE = 4
_LEAST_SHARE = 0.1
_GRID = 400
_DRAWS = 2000
_PARAMETERS = 4


@dataclass(frozen=True)
class Curve:
    """Points of a curve in rising order of x, `inefficiency` of which tell as much as one independent point."""

    x: Floats
    y: Floats
    inefficiency: float = 1.0

    @property
    def independent(self) -> float:
        """How many independent points tell as much as these."""
        return len(self.x) / self.inefficiency


@dataclass(frozen=True)
class Line:
    """y = y0 + slope (x - x0) with standard errors; `quantile` of Student's t makes 95 % intervals of them."""

    x0: float
    y0: float
    slope: float
    y0_error: float
    slope_error: float
    quantile: float
    bend_p_value: float


@dataclass(frozen=True)
class BrokenLine:
    """Two straight lines that meet at `x`, with the 95 % interval of where they meet.

    `slopes` and `slope_errors` (standard errors at a given break) are those below and above, `y` is the value there,
    `line_p_value` the probability of a break as clear in a straight line, `parabola_wins` whether a parabola describes
    the points as well; `low` or `high` is NaN where the interval reaches an end of the range, `first` to `last`.
    """

    x: float
    low: float
    high: float
    y: float
    slopes: tuple[float, float]
    slope_errors: tuple[float, float]
    quantile: float
    line_p_value: float
    parabola_wins: bool
    first: float
    last: float

    def at(self, x: Floats) -> Floats:
        """The broken line at some x."""
        below, above = self.slopes
        return self.y + np.where(x < self.x, below, above) * (x - self.x)


def curve_of(x: Floats, y: Floats) -> Curve:
    """A curve with its statistical inefficiency about the best broken line or parabola.

    Neighbours are joined into at most 4000 points. Four parameters take their share from the residuals, for which the
    inefficiency is scaled up.

    Raises
    ------
    AnalysisError
        If it has fewer than 12 points, or they tell as much as fewer than 12 independent ones.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1 or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise AnalysisError("temperatures and values must be two equally long lists of finite numbers")
    if len(x) < FEWEST_POINTS or len(np.unique(x)) < FEWEST_POINTS:
        raise AnalysisError(f"{len(np.unique(x))} temperatures are too few; {FEWEST_POINTS} are needed")
    order = np.argsort(x, kind="stable")
    joined = joined_points(Curve(x[order], y[order]), _MOST_POINTS)
    break_, _ = _least_squares(joined, np.ones(len(joined.x)), _candidates(joined.x))
    share = min(
        statistical_inefficiency(joined.y - design @ _solve(design, joined.y)[0])
        for design in (_design(joined.x, break_), _powers(joined.x))
    )
    if share * FEWEST_POINTS > len(joined.x):
        raise AnalysisError(
            f"{len(x)} points change so slowly that they tell as much as {len(joined.x) / share:.0f} independent ones; "
            f"{FEWEST_POINTS} are needed: cool more slowly"
        )
    return Curve(joined.x, joined.y, share / (1 - _PARAMETERS * share / len(joined.x)))


def joined_points(curve: Curve, most: int) -> Curve:
    """The curve with neighbours joined, so that at most `most` points are left."""
    length = -(-len(curve.x) // most)
    blocks = len(curve.x) // length
    cut = slice(0, blocks * length)
    x, y = (values[cut].reshape(blocks, length).mean(axis=1) for values in (curve.x, curve.y))
    return Curve(x, y, max(1.0, curve.inefficiency / length))


def fit_line(curve: Curve) -> Line:
    """Least-squares line, and how probable its bend is in a straight one."""
    from scipy.special import fdtrc, stdtrit

    n, points = curve.independent, len(curve.x)
    x0 = float(curve.x.mean())
    design = np.column_stack([np.ones(points), curve.x - x0])
    solution, residual = _solve(design, curve.y)
    variance = residual / points * n / (n - 2) * curve.inefficiency
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * variance)
    _, bent = _solve(np.column_stack([design, (curve.x - x0) ** 2]), curve.y)
    ratio = (residual - bent) / (bent / (n - 3)) if bent > 0 else 0.0
    return Line(
        x0=x0,
        y0=float(solution[0]),
        slope=float(solution[1]),
        y0_error=float(errors[0]),
        slope_error=float(errors[1]),
        quantile=float(stdtrit(n - 2, 0.975)),
        bend_p_value=float(fdtrc(1, n - 3, ratio)),
    )


def fit_broken_line(curve: Curve, seed: int = 0) -> BrokenLine:
    """Continuous broken line by least squares, each side weighted by its own scatter.

    The break's interval is that of its profile likelihood: where the sum of squares is below F(1, n - 4) of its least.
    The test against one line is that of the largest F over all breaks, whose distribution is drawn (2000 straight lines
    with white noise), as the break has no meaning in a straight line (Davies, Biometrika 74, 33 (1987)).
    """
    from scipy.special import fdtri, stdtrit

    n = curve.independent
    weights = np.ones(len(curve.x))
    for _ in range(2):
        weights = _weights(curve, _least_squares(curve, weights, _candidates(curve.x))[0])
    allowed = 1 + float(fdtri(1, n - 4, 0.95)) / (n - 4)
    break_, least, low, high = _profile(curve, weights, allowed)
    design = _design(curve.x, break_)
    solution, _ = _solve(design * weights[:, None], curve.y * weights)
    covariance = np.linalg.inv((design * weights[:, None]).T @ (design * weights[:, None]))
    covariance *= least / len(curve.x) * n / (n - 4) * curve.inefficiency
    above = np.array([0.0, 1.0, 1.0])
    _, parabola = _solve(_powers(curve.x) * weights[:, None], curve.y * weights)
    return BrokenLine(
        x=break_,
        low=low,
        high=high,
        y=float(solution[0]),
        slopes=(float(solution[1]), float(solution[1] + solution[2])),
        slope_errors=(float(np.sqrt(covariance[1, 1])), float(np.sqrt(above @ covariance @ above))),
        quantile=float(stdtrit(n - 4, 0.975)),
        line_p_value=_line_p_value(curve, weights, least, seed),
        parabola_wins=n * math.log(parabola / least) <= math.log(n) if least > 0 else False,
        first=float(_candidates(curve.x)[0]),
        last=float(_candidates(curve.x)[-1]),
    )


def _candidates(x: Floats) -> Floats:
    """Breaks that are looked at: with at least 4 points, and a tenth of all, on either side."""
    aside = max(_FEWEST_ASIDE, math.ceil(_LEAST_SHARE * len(x)))
    return np.linspace(x[aside - 1], x[len(x) - aside], _GRID)


def _design(x: Floats, break_: float) -> Floats:
    """Columns of value at the break, slope below and change of slope."""
    return np.column_stack([np.ones(len(x)), x - break_, np.maximum(x - break_, 0.0)])


def _powers(x: Floats) -> Floats:
    """Columns of a parabola."""
    return np.vander((x - x.mean()) / np.ptp(x), 3)


def _solve(design: Floats, values: Floats) -> tuple[Floats, float]:
    solution = np.asarray(np.linalg.lstsq(design, values, rcond=None)[0], dtype=np.float64)
    return solution, float(np.sum((values - design @ solution) ** 2))


def _orthonormal_line(x: Floats, weights: Floats) -> Floats:
    """What a straight line spans, shape (n, 2)."""
    basis, _ = np.linalg.qr(np.column_stack([np.ones(len(x)), x - x.mean()]) * weights[:, None])
    return np.asarray(basis, dtype=np.float64)


def _projections(curve: Curve, weights: Floats, candidates: Floats, vectors: Floats) -> tuple[Floats, Floats]:
    """Squared projections of vectors, shape (n, k), on what each break adds to a line, shape (breaks, k), and the line.

    The sums over all points above a break are differences of running sums.
    """
    line = _orthonormal_line(curve.x, weights)
    vectors = vectors - line @ (line.T @ vectors)
    x = curve.x - curve.x.mean()
    breaks = (candidates - curve.x.mean())[:, None]
    first = np.searchsorted(curve.x, candidates, side="right")

    def above(values: Floats) -> Floats:
        sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values[::-1], axis=0)])
        return np.asarray(sums[len(x) - first])

    def products(values: Floats) -> Floats:
        weighted = values * weights[:, None]
        return np.asarray(above(weighted * x[:, None]) - breaks * above(weighted))

    ones = (weights**2)[:, None]
    squares = above(ones * (x**2)[:, None]) - 2 * breaks * above(ones * x[:, None]) + breaks**2 * above(ones)
    squares = squares - np.sum(products(line) ** 2, axis=1, keepdims=True)
    return np.asarray(products(vectors) ** 2 / squares), vectors


def _least_squares(curve: Curve, weights: Floats, candidates: Floats) -> tuple[float, Floats]:
    """The best break, and the weighted sum of squares for every one."""
    gains, left = _projections(curve, weights, candidates, (curve.y * weights)[:, None])
    sums = np.maximum(np.sum(left**2) - gains[:, 0], 0.0)
    return float(candidates[int(sums.argmin())]), sums


def _profile(curve: Curve, weights: Floats, allowed: float) -> tuple[float, float, float, float]:
    """Break, its sum of squares, and the ends of where that is at most `allowed` times larger; NaN at the range's ends.

    The breaks looked at are drawn together about the interval until it is many of them wide.
    """
    coarse = candidates = _candidates(curve.x)
    for _ in range(6):
        break_, sums = _least_squares(curve, weights, candidates)
        inside = np.flatnonzero(sums <= sums.min() * allowed)
        first, last = max(0, inside[0] - 1), min(len(candidates) - 1, inside[-1] + 1)
        low, high = float(candidates[first]), float(candidates[last])
        if last - first > len(candidates) // 4 or high - low < 1e-9 * (coarse[-1] - coarse[0]):
            break
        candidates = np.linspace(low, high, len(candidates))
    return (
        break_,
        float(sums.min()),
        low if low > coarse[0] else math.nan,
        high if high < coarse[-1] else math.nan,
    )


def _weights(curve: Curve, break_: float) -> Floats:
    """Inverse scatter of each side of a break, relative to their mean."""
    design = _design(curve.x, break_)
    solution, _ = _solve(design, curve.y)
    squares = (curve.y - design @ solution) ** 2
    below = curve.x < break_
    scatter = np.array([np.sqrt(squares[side].sum() / max(1, side.sum() - 2)) for side in (below, ~below)])
    if scatter.min() <= 0:
        return np.ones(len(curve.x))
    return np.asarray(np.where(below, 1 / scatter[0], 1 / scatter[1]) * math.sqrt(scatter[0] * scatter[1]))


def _line_p_value(curve: Curve, weights: Floats, least: float, seed: int) -> float:
    """Share of straight lines with white noise, of as many independent points, in which a break is as clear."""
    values = curve.y * weights
    line = _orthonormal_line(curve.x, weights)
    straight = float(np.sum((values - line @ (line.T @ values)) ** 2))
    points = round(curve.independent)
    found = (straight - least) / least * (points - 3) if least > 0 else math.inf
    places = np.linspace(0, len(curve.x) - 1, points).round().astype(np.int64)
    few = Curve(curve.x[places], curve.y[places])
    noise = np.random.default_rng(seed).normal(size=(points, _DRAWS))
    gains, left = _projections(few, weights[places], _candidates(few.x)[:: _GRID // 40], noise)
    gain = gains.max(axis=0) / np.sum(left**2, axis=0)
    drawn = gain / (1 - gain) * (points - 3)
    return float((1 + np.sum(drawn >= found)) / (1 + _DRAWS))
