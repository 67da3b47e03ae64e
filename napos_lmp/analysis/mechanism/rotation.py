"""Reorientation of anion groups: correlation of the directions of their bonds, and rotation of each as a rigid body."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napos_lmp.analysis.base import Estimate, Floats, Integers, Result, plot_axes
from napos_lmp.analysis.jackknife import jackknife_error
from napos_lmp.analysis.mechanism.stretches import GroupHistories, GroupHistory, Stretch
from napos_lmp.errors import AnalysisError

RELAXED = math.exp(-1)
"""A correlation must fall below this for a relaxation time."""

_GRID_LAGS = 48
_MOST_ORIGINS = 40
_FEWEST_GROUPS = 5
_LEAST_ORIGINS = 20
_LEAST_EQUAL_GROUPS = 4.0
_FITTED_DOWN_TO = 0.05


@dataclass(frozen=True)
class KindRotation:
    """Reorientation of one kind of group or bond; all arrays of shape (T,), NaN at lags that no group lived for.

    Attributes
    ----------
    name
        Such as "P" for all groups around P, "P n1" for those with one bridge, "PO2S2", or "P-S terminal" for bonds.
    n_groups
        Formers that ever were of this kind.
    first, second
        Correlations of rank 1 and 2 of the directions of bonds.
    first_errors, second_errors
        Their standard errors, by the jackknife over formers.
    angle
        Mean angle in degrees by which a group has turned as a rigid body; NaN for bonds.
    pairs
        Pairs of frames behind each lag.
    first_time, second_time
        Relaxation times, the integrals of the correlations, ps; NaN with the reason in the note where they do not
        relax within the run.
    """

    name: str
    n_groups: int
    first: Floats
    second: Floats
    first_errors: Floats
    second_errors: Floats
    angle: Floats
    pairs: Floats
    first_time: Estimate
    second_time: Estimate


@dataclass(frozen=True)
class GroupRotationResult(Result):
    """Reorientation of all kinds.

    Attributes
    ----------
    times
        Lags in ps, shape (T,), evenly spaced in their logarithm after the first, which is 0.
    kinds
        By name.
    broken
        Share of the groups at the beginning that are not intact at the end.
    frame_interval
        ps.
    n_frames
        Frames used.
    """

    times: Floats
    kinds: Mapping[str, KindRotation]
    broken: float
    frame_interval: float
    n_frames: int
    _history: GroupHistory

    @property
    def history(self) -> GroupHistory:
        """The groups followed."""
        return self._history

    def get(self, name: str) -> KindRotation:
        """One kind.

        Raises
        ------
        AnalysisError
            If there is none of that name; the message lists the names.
        """
        if name not in self.kinds:
            raise AnalysisError(f"no group or bond is of kind {name!r}; there are {', '.join(self.kinds)}")
        return self.kinds[name]

    def columns(self) -> Mapping[str, ArrayLike]:
        """Lag, and for each kind both correlations with standard errors and the mean angle."""
        table: dict[str, ArrayLike] = {"time_ps": self.times}
        for name, kind in self.kinds.items():
            table |= {f"C1_{name}": kind.first, f"C1_error_{name}": kind.first_errors}
            table |= {f"C2_{name}": kind.second, f"C2_error_{name}": kind.second_errors}
            if np.any(np.isfinite(kind.angle)):
                table[f"angle_{name}_deg"] = kind.angle
        return table

    def plot(self, ax: Any = None) -> Any:
        """Draw the second-rank correlations over a logarithmic time axis; returns the axes."""
        ax = plot_axes(ax)
        for name, kind in self.kinds.items():
            ax.semilogx(self.times[1:], kind.second[1:], label=name)
        ax.set(xlabel="lag time (ps)", ylabel="C₂")
        ax.legend()
        return ax


class GroupRotation:
    r"""Reorientation of former-anion groups over all time origins, by fast Fourier transform.

    .. math:: C_l(t) = \langle P_l(\hat u(t_0) \cdot \hat u(t_0 + t)) \rangle, \qquad
              P_1(x) = x, \quad P_2(x) = (3 x^2 - 1) / 2

    for the directions u of the bonds of groups that stay the same from t_0 to t_0 + t. Isotropic rotational diffusion
    gives exp(-l (l + 1) D_r t) (Debye, Polar Molecules (1929); Berne and Pecora, Dynamic Light Scattering (1976)). The
    rotation of a whole group is that of Kabsch (Acta Cryst. A 32, 922 (1976)).

    A relaxation time is the integral of C_l: numerical to where C_l has fallen to 0.05, and from there on that of a
    stretched exponential fitted to its decay.

    Parameters
    ----------
    source
        Universe, AtomGroup or :class:`~napos_lmp.analysis.network.network.Network`; or a :class:`GroupHistory`.
    options
        As for :class:`GroupHistories`.
    """

    def __init__(self, source: Any, **options: Any) -> None:
        self._history = source if isinstance(source, GroupHistory) else None
        self._follow = None if isinstance(source, GroupHistory) else GroupHistories(source, **options)

    def run(
        self, start: int | None = None, stop: int | None = None, step: int | None = None, workers: int | None = None
    ) -> GroupRotationResult:
        """Follow the groups through the frames `start:stop:step` and correlate.

        Raises
        ------
        AnalysisError
            As :meth:`GroupHistories.run`, or if no group lives longer than a frame.
        """
        history = self._history if self._follow is None else self._follow.run(start, stop, step, workers)
        assert history is not None
        if not history.stretches:
            raise AnalysisError(
                "no group of a former and its anions is the same in two frames; write frames more often"
            )
        longest = history.n_frames // 2
        grid = np.unique(np.concatenate([[0], np.geomspace(1, longest, _GRID_LAGS).round()])).astype(np.int64)
        sums = _Sums(grid)
        for stretch in history.stretches:
            sums.add(stretch)
        times = np.asarray(grid * history.frame_interval, dtype=np.float64)
        kinds = {name: _kind(name, parts, times) for name, parts in sorted(sums.kinds.items())}
        return GroupRotationResult(
            times, kinds, _broken(history), history.frame_interval, history.n_frames, _history=history
        )


def rotation_angles(before: ArrayLike, after: ArrayLike) -> Floats:
    """Angle in degrees of the rotation that best brings one set of vectors onto another, for many pairs of sets.

    Parameters
    ----------
    before, after
        Shape (n, k, 3), of at least two vectors that are not parallel.

    Returns
    -------
    ndarray
        Shape (n,): from 0 to 180.
    """
    first, second = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    left, _, right = np.linalg.svd(np.einsum("nka,nkb->nab", first, second))
    right = right.transpose(0, 2, 1)
    right[..., 2] *= np.sign(np.linalg.det(left) * np.linalg.det(right))[:, None]
    rotations = right @ left.transpose(0, 2, 1)
    distance = np.linalg.norm(rotations - np.eye(3), axis=(1, 2))
    return np.asarray(np.degrees(2 * np.arcsin(np.minimum(distance / (2 * math.sqrt(2)), 1.0))))


class _Sums:
    """Sums over pairs of frames at each lag, for each kind and former: C1, C2, pairs, angles, pairs with angles."""

    def __init__(self, grid: Integers) -> None:
        self._grid = grid
        self.kinds: dict[str, dict[int, Floats]] = {}

    def add(self, stretch: Stretch) -> None:
        grid = self._grid
        first, second, pairs = _correlations(stretch, grid)
        whole = np.zeros((5, len(grid)))
        whole[:3] = first.sum(axis=0), second.sum(axis=0), pairs * len(first)
        whole[3:] = _angles(stretch, grid)
        for name in (stretch.kind, f"{stretch.kind} n{stretch.n_bridging}", stretch.shell):
            self._add(name, stretch.former, whole)
        for k, (anion, bridging) in enumerate(zip(stretch.anions, stretch.bridging.tolist(), strict=True)):
            name = f"{stretch.kind}-{anion} {'bridging' if bridging else 'terminal'}"
            bond = np.zeros((5, len(grid)))
            bond[:3] = first[k], second[k], pairs
            self._add(name, stretch.former, bond)

    def _add(self, name: str, former: int, parts: Floats) -> None:
        own = self.kinds.setdefault(name, {})
        own[former] = own[former] + parts if former in own else parts


def _correlations(stretch: Stretch, grid: Integers) -> tuple[Floats, Floats, Floats]:
    """Sums of P1 and P2 for each bond, shape (k, T), and the number of pairs of frames, shape (T,)."""
    from scipy import fft

    n_bonds, lived = stretch.vectors.shape[1], int(stretch.places[-1] - stretch.places[0]) + 1
    inside = grid < lived
    lags = grid[inside]
    directions = stretch.vectors / np.linalg.norm(stretch.vectors, axis=2, keepdims=True)
    x, y, z = directions.astype(np.float64).transpose(2, 1, 0)
    # five products whose sum of squares is (u.v)^2 - 1/3, times 3/2: the second rank
    half = math.sqrt(3) / 2
    rank2 = [math.sqrt(3) * x * y, math.sqrt(3) * y * z, math.sqrt(3) * x * z, half * (x**2 - y**2), 1.5 * z**2 - 0.5]
    size = fft.next_fast_len(2 * lived - 1, real=True)
    series = np.zeros((9, n_bonds, lived))
    series[..., stretch.places - stretch.places[0]] = [x, y, z, *rank2, np.ones_like(x)]
    power = np.abs(fft.rfft(series, size, axis=2)) ** 2
    summed = np.array([power[:3].sum(axis=0), power[3:8].sum(axis=0), power[8]])
    correlated = fft.irfft(summed, size, axis=2)[..., lags]
    results = np.zeros((3, n_bonds, len(grid)))
    results[..., inside] = correlated
    return results[0], results[1], np.round(results[2, 0])


def _angles(stretch: Stretch, grid: Integers) -> tuple[Floats, Floats]:
    """Sums of the angles of rotation at each lag over evenly spaced origins, in degrees, and their numbers."""
    sums, numbers = np.zeros(len(grid)), np.zeros(len(grid))
    if stretch.vectors.shape[1] < 2:
        return sums, numbers
    for i, lag in enumerate(grid.tolist()):
        before, after = frames_apart(stretch.places, lag)
        if len(before) == 0:
            break
        chosen = slice(None, None, -(-len(before) // _MOST_ORIGINS))
        angles = rotation_angles(stretch.vectors[before[chosen]], stretch.vectors[after[chosen]])
        sums[i], numbers[i] = angles.sum(), len(angles)
    return sums, numbers


def frames_apart(places: Integers, lag: int) -> tuple[Integers, Integers]:
    """Indices of all pairs of places that are `lag` apart."""
    where = np.searchsorted(places, places + lag)
    there = where < len(places)
    there[there] = places[where[there]] == places[there] + lag
    return np.flatnonzero(there), where[there]


def _kind(name: str, parts: Mapping[int, Floats], times: Floats) -> KindRotation:
    sums = np.array(list(parts.values()))
    value, error, _ = jackknife_error(sums, lambda total: total[:2] / total[2])
    total = sums.sum(axis=0)
    known = _well_known(sums[:, 2])
    value, error = np.where(known, value, np.nan), np.where(known & (len(sums) > 1), error, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        angle = np.where(total[4] > 0, total[3] / total[4], np.nan)
    relaxation = [relaxation_time(times, sums[:, [rank, 2]], rank + 1) for rank in (0, 1)]
    return KindRotation(
        name, len(sums), value[0], value[1], error[0], error[1], angle, total[2], relaxation[0], relaxation[1]
    )


def relaxation_time(times: Floats, sums: NDArray[np.float64], rank: int) -> Estimate:
    """Integral of a correlation over all times, with the interval of the jackknife over groups.

    Parameters
    ----------
    times
        Lags, shape (T,), the first 0.
    sums
        Shape (groups, 2, T): sum of the correlations of each group's pairs of frames, and their number.
    rank
        1 or 2, for the note.

    Returns
    -------
    Estimate
        In ps; NaN, with the reason in the note, where the correlation stays above 1/e.
    """
    total = sums.sum(axis=0)
    known = _well_known(sums[:, 1])
    last = len(times) - 1 if known.all() else int(np.argmin(known)) - 1
    if last < 4:
        return _unknown("too few groups of this kind stay the same for more than a few frames")
    curve = total[0, : last + 1] / total[1, : last + 1]
    if not curve.min() < RELAXED:
        return _unknown(
            f"not relaxed within the run: C{rank} is still {curve[-1]:.2f} after {times[last]:.3g} ps; the relaxation "
            f"time is above {times[last]:.2g} ps"
        )
    if len(sums) < _FEWEST_GROUPS:
        value = _integral(times[: last + 1], curve)
        return Estimate(value, math.nan, math.nan, "ps", note=f"{len(sums)} groups are too few for an interval")

    def logarithm(parts: Floats) -> Floats:
        mean = parts[0, : last + 1] / np.maximum(parts[1, : last + 1], 1)
        return np.asarray(math.log(_integral(times[: last + 1], mean)))

    from scipy.special import stdtrit

    middle, error, count = jackknife_error(sums, logarithm)
    half = float(stdtrit(count - 1, 0.975)) * float(error)
    centre = float(middle)
    return Estimate(math.exp(centre), math.exp(centre - half), math.exp(centre + half), "ps")


def _integral(times: Floats, curve: Floats) -> float:
    """Trapezoids on the logarithmic grid, and beyond the fit of a stretched exponential to the decay."""
    low = np.flatnonzero(curve < _FITTED_DOWN_TO)
    end = int(low[0]) if len(low) else len(curve) - 1
    area = float(np.trapezoid(curve[: end + 1], times[: end + 1]))
    shown = slice(1, end + 1)
    values = np.clip(curve[shown], 1e-3, None)
    start = times[end]
    amplitude, scale, stretching = _stretched(times[shown], values)
    x = (start / scale) ** stretching
    from scipy.special import gamma, gammaincc

    tail = amplitude * scale / stretching * float(gamma(1 / stretching) * gammaincc(1 / stretching, x))
    return area + tail


def _stretched(times: Floats, values: Floats) -> tuple[float, float, float]:
    from scipy.optimize import least_squares

    def residuals(p: Floats) -> Floats:
        return np.asarray(p[0] * np.exp(-((times / math.exp(p[1])) ** p[2])) - values)

    begin = float(np.interp(-RELAXED * values[0], -values, times))
    fit = least_squares(residuals, [values[0], math.log(begin), 0.9], bounds=([0, -30, 0.2], [1.0001, 30, 1.0]))
    return float(fit.x[0]), math.exp(float(fit.x[1])), float(fit.x[2])


def _well_known(pairs: Floats) -> NDArray[np.bool_]:
    """Lags with enough pairs of frames, of groups that count as 4 equal ones or more; of all, where there are fewer.

    Parameters
    ----------
    pairs
        Shape (groups, T).
    """
    total, squares = pairs.sum(axis=0), (pairs**2).sum(axis=0)
    equal = total**2 / np.maximum(squares, 1)
    least = min(_LEAST_EQUAL_GROUPS, len(pairs) - 0.5)
    return np.asarray((total >= _LEAST_ORIGINS) & (equal >= least))


def _unknown(reason: str) -> Estimate:
    return Estimate(math.nan, math.nan, math.nan, "ps", note=reason)


def _broken(history: GroupHistory) -> float:
    """Share of the groups of the first tenth of the frames that are gone in the last tenth."""
    edge = max(1, history.n_frames // 10)
    early = [s for s in history.stretches if s.places[0] < edge]
    whole = [s for s in early if s.places[-1] >= history.n_frames - edge]
    formers = {s.former for s in early}
    return 1 - len({s.former for s in whole}) / len(formers) if formers else math.nan
