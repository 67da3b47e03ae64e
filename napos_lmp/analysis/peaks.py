"""Peaks of a curve: where they are, how high and wide, and how sure that is from one run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from napos_lmp.analysis.averages import mean_estimate
from napos_lmp.analysis.base import Estimate, Floats
from napos_lmp.analysis.cutoffs import middle_of_gap

_SMOOTHING = 0.03
_LEAST_CHANGE = 0.1
_FLAT = 0.02
_INTO_GAP = 0.3
_FEWEST_BINS = 5
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
    """All peaks of a g(r), with the bins they lie in; their areas are left empty.

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
    found = []
    for place in places:

        def numbers(g: Floats, place: PeakPlace = place) -> tuple[float, ...]:
            smoothed = gaussian_filter1d(g, spread, mode="nearest")
            position, height = peak_top(r, g, place, smoothed)
            half = np.full(len(r), smoothed[place.top] / 2)
            wide = full_width(r, smoothed, place, half, math.hypot(_SMOOTHING, width / math.sqrt(12)))
            return position, height, wide, valley(r, g, place) if smooth[place.right] > _FLAT else math.nan

        units = ("Å", "", "Å", "Å")
        position, height, wide, minimum = jackknife(curve.blocks, curve.g, curve.frames_each, numbers, units)
        if math.isnan(wide.value):
            wide = dataclasses.replace(wide, note="g(r) does not fall to half the peak's height before the next peak")
        elif wide.value < _FEWEST_BINS * width:
            wide = dataclasses.replace(wide, note=f"under {_FEWEST_BINS} bins of {width:.3g} Å: take narrower bins")
        if math.isnan(minimum.value):
            middle = round(float(curve.edges[place.right]), 6)
            minimum = Estimate(middle, math.nan, math.nan, "Å", note="in an empty gap behind the peak")
        found.append((place, Peak(position, height, wide, minimum, {})))
    return found


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


def peak_top(x: Floats, y: Floats, place: PeakPlace, smooth: Floats, base: float = 0.0) -> tuple[float, float]:
    """Position and height of a maximum between the points of a curve.

    They are read off a polynomial, of third degree where seven points or more allow it, else a parabola, fitted by
    least squares to the logarithm (of which a Gaussian's is a parabola) of the points around the top at which the
    smoothed curve is above half its height over `base`; where one is not positive, to the points themselves.
    """
    limit = base + _TOP * (smooth[place.top] - base)
    low = high = place.top
    while low > place.left and smooth[low - 1] >= limit:
        low -= 1
    while high < min(place.right, len(x) - 1) and smooth[high + 1] >= limit:
        high += 1
    low, high = min(low, place.top - 1), max(high, place.top + 1)
    near, values = slice(max(0, low), high + 1), y[max(0, low) : high + 1]
    if np.any(values <= 0):
        return _extremum(x[near], values, place_x=float(x[place.top]), sign=-1)
    position, logarithm = _extremum(x[near], np.log(values), float(x[place.top]), -1, weights=np.sqrt(values))
    return position, math.exp(logarithm)


def valley(x: Floats, y: Floats, place: PeakPlace) -> float:
    """Position of the minimum behind a peak, from a parabola through a third of the way to it on either side."""
    reach = (x[place.right] - x[place.top]) / 3
    near = np.flatnonzero(np.abs(x - x[place.right]) <= reach)
    return _extremum(x[near], y[near], place_x=float(x[place.right]), sign=1)[0]


def full_width(x: Floats, smooth: Floats, place: PeakPlace, height: Floats, smeared: float) -> float:
    """Full width between the points on both sides of a peak where a curve crosses `height`.

    Parameters
    ----------
    x, smooth
        Shape (B,): the curve, smoothed.
    place
        The peak.
    height
        Shape (B,): half the height at each point (sloping where it is measured over a background).
    smeared
        Standard deviation by which smoothing and bins have widened the curve; taken out as for a Gaussian.

    Returns
    -------
    float
        NaN where the curve does not fall to `height` between the minima on both sides; 0 where the peak is no wider
        than smoothing and bins make it.
    """
    over = smooth - height
    left = np.flatnonzero(over[place.left : place.top] <= 0)
    right = np.flatnonzero(over[place.top : place.right + 1] <= 0)
    if len(left) == 0 or len(right) == 0:
        return math.nan
    i, j = place.left + int(left[-1]), place.top + int(right[0])
    start = x[i] + (x[i + 1] - x[i]) * over[i] / (over[i] - over[i + 1])
    stop = x[j - 1] + (x[j] - x[j - 1]) * over[j - 1] / (over[j - 1] - over[j])
    return math.sqrt(max(0.0, float(stop - start) ** 2 - (_FWHM * smeared) ** 2))


def jackknife(
    block_means: Floats,
    mean: Floats,
    frames_each: int,
    measure: Callable[[Floats], Sequence[float]],
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
        The numbers of a mean curve, NaN for one that is not there.
    units
        Unit of each number.
    """
    values = np.array(measure(mean), dtype=np.float64)
    joined = max(1, math.ceil(len(block_means) / _MOST_BLOCKS))
    n = len(block_means) // joined
    blocks = block_means[: n * joined].reshape(n, joined, *block_means.shape[1:]).mean(axis=1)
    pseudo = np.empty((n, len(values)))
    for i in range(n):
        without = np.array(measure(mean + (mean - blocks[i]) / (n - 1))) if n > 1 else values
        pseudo[i] = n * values - (n - 1) * without
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


def _extremum(x: Floats, y: Floats, place_x: float, sign: int, weights: Floats | None = None) -> tuple[float, float]:
    """Place and value of a fitted polynomial's minimum (`sign` 1) or maximum (-1); of the data's if it has none."""
    centre, scale = place_x, max(float(np.ptp(x)) / 2, 1e-12)
    t = (x - centre) / scale
    if len(t) >= 3:
        fit = np.polynomial.polynomial.polyfit(t, y, 3 if len(t) >= 7 else 2, w=weights)
        fit = np.pad(fit, (0, 4 - len(fit)))
        slope, bend, twist = fit[1], 2 * fit[2], 3 * fit[3]
        root = bend * bend - 4 * slope * twist
        if root >= 0 and (bend != 0 or twist != 0):
            t0 = 2 * slope / (-bend - sign * math.sqrt(root)) if bend * sign > 0 else math.nan
            if math.isfinite(t0) and t.min() <= t0 <= t.max():
                return centre + scale * float(t0), float(np.polynomial.polynomial.polyval(t0, fit))
    best = int(np.argmin(sign * y))
    return float(x[best]), float(y[best])
