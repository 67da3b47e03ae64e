r"""Statistics of the mean-square displacement of random walkers: its exact covariance and the fit that uses it.

A walker that diffuses with coefficient D and rattles in a cage has, for each coordinate, the displacement over m
frames from origin k

.. math:: \Delta_m(k) = \sum_{j=k}^{k+m-1} \eta_j + \xi_{k+m} - \xi_k,

with independent Gaussian steps of variance v = 2 D dt and positions of variance s^2 in the cage. Its mean-square
displacement in three dimensions is 3 (v m + 2 s^2): a straight line with slope b = 3 v per frame and intercept
a = 6 s^2. Since the covariance of two squared Gaussians is twice the square of their own covariance, the average over
K_m = T - m overlapping origins of one walker has the exact covariance

.. math::

   \mathrm{cov}(x_m, x_n) = \frac{6}{K_m K_n} \sum_{k, l} c^2, \qquad
   c = v\, o(k, m; l, n) + s^2 (\delta_{k,l} + \delta_{k+m,l+n} - \delta_{k+m,l} - \delta_{k,l+n}),

where o counts the steps that both displacements contain; for N independent walkers it is N times smaller. With it,
generalised least squares gives the best linear unbiased estimate of D. This is the covariance of Bullerjahn, von
Buelow and Hummer, J. Chem. Phys. 153, 024116 (2020); kinisi (McCluskey, Coles and Morgan, J. Chem. Theory Comput. 21,
79 (2025)) approximates the same matrix from observed variances.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from napos_lmp.analysis.base import Floats, Integers

_ITERATIONS = 6


@dataclass(frozen=True)
class LineFit:
    """Straight line through a mean-square displacement by generalised least squares.

    Attributes
    ----------
    intercept, slope
        In A^2 and A^2 per frame.
    slope_error, intercept_error
        Standard errors for the number of walkers given.
    weights
        Shape (lags,): the slope is this times the mean-square displacements.
    covariance
        Shape (lags, lags): covariance of the mean-square displacements.
    chi_square
        Weighted sum of squared residuals; about lags - 2 for a true line.
    residuals
        Shape (lags,): mean-square displacement less the line, over the standard error of the former.
    """

    intercept: float
    slope: float
    slope_error: float
    intercept_error: float
    weights: Floats
    covariance: Floats
    chi_square: float
    residuals: Floats


def walk_covariance(lags: Integers, n_frames: int, slope: float, intercept: float) -> Floats:
    """Covariance of the mean-square displacement of one walker at several lags, shape (lags, lags), in A^4.

    Parameters
    ----------
    lags
        Lags in frames.
    n_frames
        Frames of the trajectory, all of whose origins are averaged over.
    slope, intercept
        Of its mean-square displacement, in A^2 per frame and A^2; a negative intercept counts as 0.
    """
    step, cage = slope / 3, max(intercept, 0.0) / 6
    overlap, mixed, ends = _overlap_sums(tuple(lags.tolist()), n_frames)
    return 6 * (step**2 * overlap + 2 * step * cage * mixed + cage**2 * ends)


def fit_line(lags: Integers, curve: Floats, n_frames: int, n_walkers: float) -> LineFit:
    """Fit a line to a mean-square displacement with the covariance of the line itself, iterated to consistency.

    Parameters
    ----------
    lags
        Lags in frames, at least 3.
    curve
        Mean-square displacement at these lags in A^2.
    n_frames
        Frames of the trajectory.
    n_walkers
        Number of independent walkers.
    """
    design = np.column_stack([np.ones(len(lags)), lags.astype(np.float64)])
    slope, intercept = float(curve[-1] / lags[-1]), 0.0
    for _ in range(_ITERATIONS):
        covariance = walk_covariance(lags, n_frames, max(slope, 1e-3 * float(curve[-1] / lags[-1])), intercept)
        solved = np.linalg.solve(covariance, design)
        parameters = np.linalg.inv(design.T @ solved)
        rows = parameters @ solved.T
        intercept, slope = (float(value) for value in rows @ curve)
    residual = curve - design @ [intercept, slope]
    return LineFit(
        intercept=intercept,
        slope=slope,
        slope_error=float(np.sqrt(parameters[1, 1] / n_walkers)),
        intercept_error=float(np.sqrt(parameters[0, 0] / n_walkers)),
        weights=rows[1],
        covariance=covariance / n_walkers,
        chi_square=float(residual @ np.linalg.solve(covariance, residual) * n_walkers),
        residuals=residual / np.sqrt(np.diag(covariance) / n_walkers),
    )


@dataclass(frozen=True)
class PowerFit:
    """Power law MSD = offset + c t^exponent; `chi_square` is that of the residuals with the line's covariance."""

    exponent: float
    exponent_error: float
    chi_square: float


def fit_power(lags: Integers, curve: Floats, covariance: Floats) -> PowerFit:
    """Fit a power law without offset, c t^exponent, by generalised least squares of the logarithms."""
    design = np.column_stack([np.ones(len(lags)), np.log(lags)])
    solved = np.linalg.solve(covariance / np.outer(curve, curve), design)
    parameters = np.linalg.inv(design.T @ solved)
    fitted = parameters @ solved.T @ np.log(curve)
    residual = curve - np.exp(design @ fitted)
    return PowerFit(
        exponent=float(fitted[1]),
        exponent_error=float(np.sqrt(parameters[1, 1])),
        chi_square=float(residual @ np.linalg.solve(covariance, residual)),
    )


def fit_growth(lags: Integers, curve: Floats, covariance: Floats) -> PowerFit:
    """Fit the growth beyond a free offset, a + c t^exponent, for exponents near 1.

    About the line ``a + b t`` this is ``a + b t + b (exponent - 1) t ln t`` to first order, and linear in its three
    parameters.
    """
    middle = np.sqrt(float(lags[0]) * float(lags[-1]))
    design = np.column_stack([np.ones(len(lags)), lags, lags * np.log(lags / middle)])
    solved = np.linalg.solve(covariance, design)
    parameters = np.linalg.inv(design.T @ solved)
    fitted = parameters @ solved.T @ curve
    residual = curve - design @ fitted
    slope = max(abs(float(fitted[1])), 1e-12)
    return PowerFit(
        exponent=1 + float(fitted[2]) / slope,
        exponent_error=float(np.sqrt(parameters[2, 2])) / slope,
        chi_square=float(residual @ np.linalg.solve(covariance, residual)),
    )


@lru_cache(maxsize=128)
def _overlap_sums(lags: tuple[int, ...], n_frames: int) -> tuple[Floats, Floats, Floats]:
    """Means over all pairs of origins of o^2, o e and e^2, where e counts coinciding ends; shape (lags, lags) each."""
    sums = np.empty((3, len(lags), len(lags)))
    for i, m in enumerate(lags):
        for j, n in enumerate(lags[: i + 1]):
            sums[:, i, j] = sums[:, j, i] = _pair_sums(m, n, n_frames)
    return sums[0], sums[1], sums[2]


@lru_cache(maxsize=2**15)
def _pair_sums(m: int, n: int, n_frames: int) -> tuple[float, float, float]:
    """The three means for one pair of lags, summed over the shifts at which the two displacements touch."""
    shift = np.arange(-n, m + 1)
    pairs = np.minimum(n_frames - m, n_frames - n - shift) - np.maximum(0, -shift)
    pairs = np.maximum(pairs, 0) / ((n_frames - m) * (n_frames - n))
    common = np.minimum(m, shift + n) - np.maximum(0, shift)
    meeting = (shift == 0).astype(np.int64) + (shift == m - n) - (shift == m) - (shift == -n)
    return float(pairs @ common**2), float(pairs @ (common * meeting)), float(pairs @ meeting**2)
