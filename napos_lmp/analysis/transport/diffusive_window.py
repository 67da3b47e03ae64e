"""The stretch of lag times in which a mean-square displacement grows as that of diffusion, or why there is none.

One logic for the displacement of atoms, of which there are many, and for that of the charge, of which there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from napos_lmp.analysis.base import Floats, Integers
from napos_lmp.analysis.transport.random_walk import LineFit, PowerFit, fit_growth, fit_line, fit_power, walk_covariance
from napos_lmp.errors import AnalysisError

SLOPE_TOLERANCE = 0.1
CAGE_SHARE = 0.15
_SETTLED_SLOPE_ERROR = 0.25
_SETTLED_DEVIATION = 1.5
_CURVE_ERROR_LIMIT = 0.25
_WINDOW_SPAN = 3
_WINDOW_LAGS = 5
_LINE_TOLERANCE = 0.02
_LINE_DEVIATION = 3.0
_LINE_PREFERENCE = 6.0
_SLOPE_DEVIATION = 2.0
_SETTLED_SLOPE_DEVIATION = 3.0
_SLOPE_CHANGE = 0.01
_GUARD = 2.0


@dataclass(frozen=True)
class Walk:
    """A mean-square displacement and what is known of the walkers behind it.

    Attributes
    ----------
    curve
        Mean-square displacement at all lags, shape (frames,).
    grid
        Lags in frames at which it is looked at.
    interval
        Time between frames in ps.
    walkers
        Number of walkers, for the choice of lags.
    described
        What walks, for messages, such as "1000 frames of 40 atoms".
    independent
        Number of walkers that move independently, from the first lag of a window.
    excess
        Variance of the slope over that of as many independent random walkers, from the fit, its lags and their number;
        at least 1.
    settled_from
        Lag in frames from which on the walkers are known to diffuse; None where nothing is known. No window starts
        before it, and behind it growth with an exponent that does not contradict 1 is enough.
    """

    curve: Floats
    grid: Integers
    interval: float
    walkers: int
    described: str
    independent: Callable[[int], float]
    excess: Callable[[LineFit, Integers, float], float]
    settled_from: float | None = None

    @property
    def n_frames(self) -> int:
        """Frames of the trajectory."""
        return len(self.curve)


@dataclass(frozen=True)
class DiffusiveWindow:
    """A stretch of lags with its fits; `reason` says why it is not diffusive and is empty when it is.

    Attributes
    ----------
    lags
        In frames.
    fit
        The line.
    walkers
        Number of walkers that move independently.
    excess
        Variance of the slope over that of so many random walkers.
    power, growth
        Power laws without and with a constant offset.
    reason
        Why it is not diffusive.
    """

    lags: Integers
    fit: LineFit
    walkers: float
    excess: float
    power: PowerFit
    growth: PowerFit
    reason: str

    @property
    def relative_variance(self) -> float:
        """Variance of the slope over its square."""
        return (self.fit.slope_error / self.fit.slope) ** 2 * self.excess


def usable_lags(walk: Walk) -> Integers:
    """Lags of the grid up to half the run at which a random walk's curve would be known to 25 %.

    Raises
    ------
    AnalysisError
        If they are too few for a window.
    """
    lags = walk.grid[walk.grid <= (walk.n_frames - 1) // 2]
    variance = np.diag(walk_covariance(lags, walk.n_frames, 1.0, 0.0)) / walk.walkers
    known = np.sqrt(variance) / lags <= _CURVE_ERROR_LIMIT
    usable = np.asarray(lags[np.logical_and.accumulate(known)])
    if len(usable) < _WINDOW_LAGS or usable[-1] < _WINDOW_SPAN * usable[0]:
        raise AnalysisError(
            f"{walk.described} are too few to know the mean-square displacement to {100 * _CURVE_ERROR_LIMIT:.0f} % at "
            "any useful lag"
        )
    return usable


def find_window(walk: Walk, lags: Integers) -> DiffusiveWindow:
    """The window with the earliest start that is diffusive; it ends with the last of `lags`.

    Raises
    ------
    AnalysisError
        If there is none, with the reason.
    """
    starts = [i for i in range(len(lags) - _WINDOW_LAGS + 1) if lags[-1] >= _WINDOW_SPAN * lags[i]]
    settled_from = walk.settled_from or 0.0
    starts = [i for i in starts if lags[i] >= settled_from]
    if not starts:
        raise AnalysisError(
            f"no diffusive window: single ions diffuse from {settled_from * walk.interval:g} ps on, and the "
            f"mean-square displacement is known to {100 * _CURVE_ERROR_LIMIT:.0f} % up to "
            f"{lags[-1] * walk.interval:g} ps only, which must be {_WINDOW_SPAN} times more"
        )
    examined: dict[int, DiffusiveWindow] = {}
    for start in starts:
        window = _at(walk, lags, start, examined)
        if not window.reason:
            later = [_at(walk, lags, i, examined) for i in _doublings(lags, starts, start)]
            reason = _why_not_constant(window, later, settled=walk.settled_from is not None)
            if not reason:
                return _guarded(walk, lags, starts, start, examined)
            examined[start] = replace(window, reason=f"{_span(walk, window.lags)} {reason}")
    windows = [examined[start] for start in starts]
    telling = [window for window in windows if window.power.exponent_error <= SLOPE_TOLERANCE] or windows[:1]
    raise AnalysisError(f"no diffusive window: {telling[-1].reason}")


def chi_square_interval(relative_variance: float, level: float) -> tuple[float, float]:
    """Ends of the interval over the estimate, for an estimate that is a scaled chi-square variable."""
    from scipy.stats import chi2

    freedom = 2 / relative_variance
    tail = (1 - level) / 2
    return float(freedom / chi2.isf(tail, freedom)), float(freedom / chi2.ppf(tail, freedom))


def scatter_excess(slopes: Floats, expected_variance: float, level: float) -> float:
    """Variance between walkers' slopes over that of random walkers, raised by what Student's t adds; at least 1."""
    from scipy.stats import norm, t

    tail = (1 - level) / 2
    widening = float(t.isf(tail, len(slopes) - 1) / norm.isf(tail)) ** 2
    return max(1.0, widening * float(slopes.var(ddof=1)) / expected_variance)


def _at(walk: Walk, lags: Integers, start: int, examined: dict[int, DiffusiveWindow]) -> DiffusiveWindow:
    if start not in examined:
        examined[start] = _examine(walk, lags[start:])
    return examined[start]


def _guarded(
    walk: Walk, lags: Integers, starts: list[int], start: int, examined: dict[int, DiffusiveWindow]
) -> DiffusiveWindow:
    """The window that starts a little later than the first that passes, unless that is the first of all.

    Where earlier lags are not diffusive the first that pass lie at the edge of what the data can tell.
    """
    if start == starts[0]:
        return examined[start]
    for i in starts:
        if lags[i] >= _GUARD * lags[start] and not _at(walk, lags, i, examined).reason:
            return examined[i]
    return examined[start]


def _doublings(lags: Integers, starts: list[int], start: int) -> list[int]:
    """Starts at about twice, four times, ... the lag of `start`."""
    found = []
    lag = 2 * int(lags[start])
    while later := [i for i in starts if lags[i] >= lag]:
        found.append(later[0])
        lag = 2 * int(lags[later[0]])
    return found


def _why_not_constant(window: DiffusiveWindow, later: list[DiffusiveWindow], *, settled: bool) -> str:
    """Reason why the slope of a window is not that of those that start later; empty when it is.

    Since the fit is efficient, the variance of the difference is the difference of the variances (Hausman,
    Econometrica 46, 1251 (1978)).
    """
    deviation = _SETTLED_SLOPE_DEVIATION if settled else _SLOPE_DEVIATION
    for other in later:
        variance = max(0.0, other.fit.slope_error**2 - window.fit.slope_error**2) * max(other.excess, window.excess)
        change = other.fit.slope - window.fit.slope
        if abs(change) > deviation * np.sqrt(variance) + _SLOPE_CHANGE * window.fit.slope:
            return f"the slope changes by {100 * change / window.fit.slope:.0f} % where the window starts later"
    return ""


def _span(walk: Walk, window: Integers) -> str:
    return f"from {window[0] * walk.interval:g} to {window[-1] * walk.interval:g} ps"


def _examine(walk: Walk, window: Integers) -> DiffusiveWindow:
    curve = walk.curve[window]
    walkers = walk.independent(int(window[0]))
    fit = fit_line(window, curve, walk.n_frames, walkers)
    excess = walk.excess(fit, window, walkers)
    power = fit_power(window, curve, fit.covariance * excess)
    growth = fit_growth(window, curve, fit.covariance * excess)
    reason = _why_not_diffusive(window, curve, fit, excess, power, growth, settled=walk.settled_from is not None)
    return DiffusiveWindow(window, fit, walkers, excess, power, growth, reason and f"{_span(walk, window)} {reason}")


def _why_not_diffusive(
    lags: Integers,
    curve: Floats,
    fit: LineFit,
    excess: float,
    power: PowerFit,
    growth: PowerFit,
    *,
    settled: bool,
) -> str:
    """Reason why a mean-square displacement is not that of diffusion; empty when it is."""
    residual = np.abs(curve - fit.intercept - fit.slope * lags)
    bent = np.abs(fit.residuals) > _LINE_DEVIATION * np.sqrt(excess)
    if fit.slope > 0 and np.any(bent & (residual > _LINE_TOLERANCE * curve)):
        return f"the mean-square displacement is no straight line (log-log slope {power.exponent:.2f})"
    if settled:
        return _why_not_one(fit, growth)
    if _is_one(power):
        return ""
    if power.exponent_error > SLOPE_TOLERANCE:
        return f"the log-log slope is known to {power.exponent_error:.2f} only; {SLOPE_TOLERANCE} is the most"
    cage_share = fit.intercept / (fit.intercept + fit.slope * float(lags[-1]))
    preferred = power.chi_square - fit.chi_square / excess > _LINE_PREFERENCE
    if fit.slope > 0 and _is_one(growth) and preferred and 0 <= cage_share < CAGE_SHARE:
        return ""
    return (
        f"the log-log slope of the mean-square displacement is {power.exponent:.2f} +- {power.exponent_error:.2f}; it "
        f"must be 1 within {SLOPE_TOLERANCE}"
    )


def _is_one(fit: PowerFit) -> bool:
    return abs(fit.exponent - 1) <= SLOPE_TOLERANCE and fit.exponent_error <= SLOPE_TOLERANCE


def _why_not_one(fit: LineFit, growth: PowerFit) -> str:
    if fit.slope <= 0:
        return "the mean-square displacement does not grow"
    if growth.exponent_error > _SETTLED_SLOPE_ERROR:
        return f"the exponent of the growth is known to {growth.exponent_error:.2f}; {_SETTLED_SLOPE_ERROR} is the most"
    if abs(growth.exponent - 1) > _SETTLED_DEVIATION * growth.exponent_error:
        return (
            f"the mean-square displacement grows with an exponent of {growth.exponent:.2f} +- "
            f"{growth.exponent_error:.2f}; it must be 1 within {_SETTLED_DEVIATION} standard errors"
        )
    return ""
