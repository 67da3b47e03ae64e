"""Peaks of a curve: where they are, how high and wide, and how sure that is from one run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from napos_lmp.analysis.averages import mean_estimate
from napos_lmp.analysis.base import Estimate, Floats, Integers
from napos_lmp.analysis.pairs.cutoffs import middle_of_gap

_SMOOTHING = 0.03
_LEAST_CHANGE = 0.1
_FLAT = 0.02
_INTO_GAP = 0.3
_FEWEST_BINS = 5
_MOST_PEAKS = 6
_LEAST_SHARE = 0.05
_TOP = 0.5
_MOST_BLOCKS = 32
_FWHM = 2 * math.sqrt(2 * math.log(2))


@dataclass(frozen=True)
class Peak:
    """One peak of a pair function, and the minimum behind it.

    Attributes
    ----------
    position
        Place of the maximum.
    height
        Value at the maximum.
    width
        Full width at half height.
    minimum
        Place of the lowest point between this peak and the next; the middle of an empty gap.
    area
        Neighbours between the minimum before and the one behind, by direction such as "S around P".
    """

    position: Estimate
    height: Estimate
    width: Estimate
    minimum: Estimate
    area: dict[str, Estimate]


@dataclass(frozen=True)
class PeakPlace:
    """Indices of a peak's top and of the lowest points on both sides."""

    left: int
    top: int
    right: int


@dataclass(frozen=True)
class PairCurve:
    """A g(r) in bins of equal width, as :func:`pair_peaks` takes it.

    Attributes
    ----------
    edges
        Shape (B + 1,), A.
    g
        Shape (B,): mean over all frames.
    variance
        Shape (B,): of g by counting statistics.
    blocks
        Shape (n, B): means over blocks of frames.
    frames_each
        Frames in each block.
    """

    edges: Floats
    g: Floats
    variance: Floats
    blocks: Floats
    frames_each: int


def pair_peaks(curve: PairCurve) -> list[tuple[PeakPlace, Peak]]:
    """The first six peaks of a g(r) at most, with the bins they lie in; their areas are left empty.

    Peaks are sought in g(r) smoothed with a Gaussian of 0.03 A; they must rise over and fall under what surrounds them
    by 0.1, by 5 % of their height and by four times the noise. Positions and heights are those of a polynomial through
    the bins around the top, not of the highest bin.
    """
    from scipy.ndimage import gaussian_filter1d

    width = float(curve.edges[1] - curve.edges[0])
    spread = _SMOOTHING / width
    window = max(1.0, 2 * math.sqrt(math.pi) * spread)
    noise = np.sqrt(gaussian_filter1d(curve.variance, spread, mode="nearest") / window)
    smooth = gaussian_filter1d(curve.g, spread, mode="nearest")
    r = (curve.edges[1:] + curve.edges[:-1]) / 2
    places = _with_gaps(
        find_peaks(smooth, np.maximum(_LEAST_CHANGE, 4 * noise)), smooth, noise, round(_INTO_GAP / width)
    )
    places = places[:_MOST_PEAKS]
    smeared = math.hypot(_SMOOTHING, width / math.sqrt(12))

    def numbers(g: Floats) -> Floats:
        smoothed = gaussian_filter1d(g, spread, mode="nearest", axis=-1)
        found = []
        for place in places:
            half = smoothed[:, [place.top]] / 2
            wide = full_width(r, smoothed, place, half, smeared)
            behind = valley(r, g, place) if smooth[place.right] > _FLAT else np.full(len(g), math.nan)
            found += [*peak_top(r, g, place, smooth), wide, behind]
        return np.array(found).reshape(-1, len(g)).T

    units = ("Å", "", "Å", "Å") * len(places)
    estimates = jackknife(curve.blocks, curve.g, curve.frames_each, numbers, units) if places else []
    return [
        (place, _peak(*estimates[4 * k : 4 * k + 4], width=width, end=float(curve.edges[place.right])))
        for k, place in enumerate(places)
    ]


def _peak(position: Estimate, height: Estimate, wide: Estimate, minimum: Estimate, *, width: float, end: float) -> Peak:
    if math.isnan(wide.value):
        wide = dataclasses.replace(wide, note="g(r) does not fall to half the peak's height before the next peak")
    elif wide.value < _FEWEST_BINS * width:
        wide = dataclasses.replace(wide, note=f"under {_FEWEST_BINS} bins of {width:.3g} Å: take narrower bins")
    if math.isnan(minimum.value):
        minimum = Estimate(round(end, 6), math.nan, math.nan, "Å", note="in an empty gap behind the peak")
    return Peak(position, height, wide, minimum, {})


def _with_gaps(places: list[PeakPlace], smooth: Floats, noise: Floats, into_gap: int) -> list[PeakPlace]:
    """Places whose right ends lie in the middle of a gap where there is one, and whose left ends join them."""
    joined: list[PeakPlace] = []
    for k, place in enumerate(places):
        end = places[k + 1].top if k + 1 < len(places) else len(smooth)
        tolerance = max(_FLAT, 2 * float(noise[place.right]))
        middle = place.top + middle_of_gap(smooth[place.top : end], place.right - place.top, tolerance, into_gap)
        joined.append(PeakPlace(joined[-1].right if joined else 0, place.top, min(middle, len(smooth) - 1)))
    return joined


def find_peaks(curve: Floats, change: Floats) -> list[PeakPlace]:
    """Peaks that rise from the valley before and fall into the one behind by `change` and 5 % of their height.

    Parameters
    ----------
    curve
        Shape (B,), smooth enough that noise stays below `change`.
    change
        Shape (B,): smallest rise or fall that counts at each point.

    Returns
    -------
    list
        In order; none where the curve does not fall again behind its last maximum.
    """
    places: list[PeakPlace] = []
    low, top, left = 0, -1, 0
    for i in range(len(curve)):
        if top < 0:
            if curve[i] < curve[low]:
                low = i
            elif curve[i] > curve[low] + max(change[i], _LEAST_SHARE * abs(curve[low])):
                if places:
                    places[-1] = PeakPlace(places[-1].left, places[-1].top, low)
                left, top = low, i
        elif curve[i] > curve[top]:
            top = i
        elif curve[i] < curve[top] - max(change[top], _LEAST_SHARE * abs(curve[top])):
            places.append(PeakPlace(left, top, i))
            low, top = i, -1
    if places and top < 0:
        places[-1] = PeakPlace(places[-1].left, places[-1].top, low)
    return places


def peak_top(x: Floats, curves: Floats, place: PeakPlace, smooth: Floats, base: float = 0.0) -> tuple[Floats, Floats]:
    """Positions and heights of a maximum of some curves, between their points.

    They are read off a polynomial, of third degree where seven points or more allow it, else a parabola, fitted by
    least squares to the logarithm (of which a Gaussian's is a parabola) of the points around the top at which `smooth`
    is above half its height over `base`; where one is not positive, to the points themselves.

    Parameters
    ----------
    x, smooth
        Shape (B,): the abscissa, and a smooth mean of the curves.
    curves
        Shape (m, B).
    place
        The peak.
    base
        The background under it.

    Returns
    -------
    position, height
        Shape (m,) each.
    """
    limit = base + _TOP * (smooth[place.top] - base)
    low = high = place.top
    while low > place.left and smooth[low - 1] >= limit:
        low -= 1
    while high < min(place.right, len(x) - 1) and smooth[high + 1] >= limit:
        high += 1
    near = slice(max(0, min(low, place.top - 1)), max(high, place.top + 1) + 1)
    values = curves[:, near]
    if np.any(values <= 0):
        return _extremum(x[near], values, place_x=float(x[place.top]), sign=-1)
    weights = np.sqrt(np.maximum(smooth[near], values.min()))
    position, logarithm = _extremum(x[near], np.log(values), float(x[place.top]), -1, weights)
    return position, np.exp(logarithm)


def valley(x: Floats, curves: Floats, place: PeakPlace) -> Floats:
    """Positions (m,) of the minimum behind a peak of curves (m, B).

    That of a polynomial through the points no farther from the lowest than a third of its distance from the peak.
    """
    reach = (x[place.right] - x[place.top]) / 3
    near = np.flatnonzero(np.abs(x - x[place.right]) <= reach)
    return _extremum(x[near], curves[:, near], place_x=float(x[place.right]), sign=1)[0]


def full_width(x: Floats, curves: Floats, place: PeakPlace, height: Floats, smeared: float) -> Floats:
    """Full widths between the points on both sides of a peak where curves cross `height`.

    Parameters
    ----------
    x
        Shape (B,).
    curves
        Shape (m, B), smoothed.
    place
        The peak.
    height
        Shape (m, 1) or (m, B): half the height (at each point where it slopes with a background).
    smeared
        Standard deviation by which smoothing and bins have widened the curves; taken out as for a Gaussian.

    Returns
    -------
    ndarray
        Shape (m,). NaN where a curve does not fall to `height` between the minima on both sides; 0 where the peak is no
        wider than smoothing and bins make it.
    """
    over = curves - height
    ends = [
        _crossing(x, over, np.arange(place.top, edge, step))
        for edge, step in ((place.left - 1, -1), (place.right + 1, 1))
    ]
    width: Floats = np.sqrt(np.maximum(0.0, (ends[1] - ends[0]) ** 2 - (_FWHM * smeared) ** 2))
    return width


def _crossing(x: Floats, over: Floats, walk: Integers) -> Floats:
    """Where curves first fall to 0 on a walk along their indices; NaN where one does not."""
    below = over[:, walk] <= 0
    step = np.maximum(below.argmax(axis=1), 1)
    rows = np.arange(len(over))
    inner, outer = walk[step - 1], walk[np.minimum(step, len(walk) - 1)]
    high, low = over[rows, inner], over[rows, outer]
    with np.errstate(divide="ignore", invalid="ignore"):
        place = x[inner] + (x[outer] - x[inner]) * high / (high - low)
    return np.where(below.any(axis=1), place, math.nan)


def jackknife(
    block_means: Floats,
    mean: Floats,
    frames_each: int,
    measure: Callable[[Floats], Floats],
    units: Sequence[str],
) -> list[Estimate]:
    """Numbers read off a mean curve, with intervals from leaving out one block of frames after the other.

    Each number's pseudo-values n f(all) - (n - 1) f(all but block i) take the place of a time series in
    :func:`~napos_lmp.analysis.averages.mean_estimate` (R. G. Miller, Biometrika 61, 1 (1974)), so that blocks that are
    alike are seen. Neighbouring blocks are joined until there are at most 32.

    Parameters
    ----------
    block_means
        Shape (n, ...): means over blocks of equally many frames.
    mean
        Shape (...): the mean over all frames.
    frames_each
        Frames in each block.
    measure
        From mean curves (m, ...) to their numbers (m, k), NaN for one that is not there.
    units
        Unit of each number.
    """
    joined = max(1, math.ceil(len(block_means) / _MOST_BLOCKS))
    n = len(block_means) // joined
    blocks = block_means[: n * joined].reshape(n, joined, *block_means.shape[1:]).mean(axis=1)
    found = measure(np.concatenate([mean[None], mean + (mean - blocks) / max(n - 1, 1)]))
    values = found[0]
    pseudo = n * values - (n - 1) * found[1:]
    return [
        _estimate(pseudo[:, k], float(value), unit, frames_each * joined)
        for k, (value, unit) in enumerate(zip(values, units, strict=True))
    ]


def _estimate(pseudo: Floats, value: float, unit: str, frames_each: int) -> Estimate:
    if math.isnan(value):
        return Estimate(value, math.nan, math.nan, unit)
    if not np.all(np.isfinite(pseudo)):
        return Estimate(value, math.nan, math.nan, unit, note="not there in every block of frames")
    if len(pseudo) == 0:
        return Estimate(value, math.nan, math.nan, unit, note="1 frame is too few; an interval needs 8")
    return mean_estimate(pseudo, unit, value=value, frames_each=frames_each)


def _extremum(
    x: Floats, curves: Floats, place_x: float, sign: int, weights: Floats | None = None
) -> tuple[Floats, Floats]:
    """Places and values (m,) of fitted polynomials' minima (`sign` 1) or maxima (-1), else of the data's."""
    rows = np.arange(len(curves))
    best = np.argmin(sign * curves, axis=1)
    places, values = x[best], curves[rows, best]
    scale = float(np.ptp(x)) / 2
    if len(x) < 3:
        return places, values
    t = (x - place_x) / scale
    degree = 3 if len(t) >= 7 else 2
    fit = np.zeros((4, len(curves)))
    fit[: degree + 1] = np.polynomial.polynomial.polyfit(t, curves.T, degree, w=weights)
    slope, bend, twist = fit[1], 2 * fit[2], 3 * fit[3]
    with np.errstate(divide="ignore", invalid="ignore"):
        root = 2 * slope / (-bend - sign * np.sqrt(bend * bend - 4 * slope * twist))
    good = (bend * sign > 0) & (root >= t.min()) & (root <= t.max())
    top = np.where(good, root, 0.0)
    tops = ((fit[3] * top + fit[2]) * top + fit[1]) * top + fit[0]
    return np.where(good, place_x + scale * top, places), np.where(good, tops, values)
