"""Weighted straight lines through points of which some share a glass and so err together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napos_lmp.analysis.base import Floats, Integers

SCATTER_SIGNIFICANCE = 0.05
_LEAST_FREEDOM = 1.0


@dataclass(frozen=True)
class SharedGlassFit:
    r"""A line y = intercept + slope x with errors in common, by generalised least squares.

    .. math:: y_i = a + b x_i + g_{k(i)} + e_i, \quad g \sim N(0, \tau^2), \quad e_i \sim N(0, c\, s_i^2)

    Attributes
    ----------
    coefficients
        Intercept and slope.
    within, between
        Their covariance from the scatter of single points and from that between glasses, shape (2, 2); it is the sum.
    point_variance
        Mean variance of a single point.
    glass_variance
        Variance between glasses, tau squared; 0 for one glass.
    within_freedom, between_freedom
        Degrees of freedom of both; infinite where errors are known.
    reduced_chi_square
        Scatter within glasses over what the errors explain; NaN without errors or freedom.
    scaled
        Whether the errors were scaled up to that scatter.
    n_glasses
        Number of glasses.
    chi_square
        Of the points about the line that is best with the errors as given.
    """

    coefficients: Floats
    within: Floats
    between: Floats
    point_variance: float
    glass_variance: float
    within_freedom: float
    between_freedom: float
    reduced_chi_square: float
    scaled: bool
    n_glasses: int
    chi_square: float

    def half(self, row: Floats, level: float, *, new_point: bool = False) -> float:
        """Half the interval of a combination of intercept and slope, by Student's t with Satterthwaite's freedom.

        `new_point` asks for the interval of a new point of another glass.
        """
        from scipy.stats import norm, t

        within = float(row @ self.within @ row) + (self.point_variance if new_point else 0.0)
        between = float(row @ self.between @ row) + (self.glass_variance if new_point else 0.0)
        total = within + between
        inverse = (within**2 / self.within_freedom + between**2 / self.between_freedom) / total**2
        tail = (1 - level) / 2
        if inverse == 0:
            return float(norm.isf(tail) * total**0.5)
        return float(t.isf(tail, max(1 / inverse, _LEAST_FREEDOM)) * total**0.5)


def fit_line(
    x: Floats, y: Floats, errors: Floats | None, glasses: Integers, *, glass_variance: float | None = None
) -> SharedGlassFit:
    """Fit a line; see :class:`SharedGlassFit`.

    Errors are tested against the scatter within glasses (chi-square, 5 %) and scaled up where they do not explain it.
    The variance between glasses is found by restricted maximum likelihood.

    Parameters
    ----------
    x, y
        Shape (n,).
    errors
        Standard errors of y, or None where they are not known.
    glasses
        Number of the glass of each point, from 0.
    glass_variance
        Variance between glasses, where it is known from another fit.
    """
    from scipy.stats import chi2

    design = np.column_stack([np.ones(len(x)), x])
    known = errors is not None
    given = variances = np.ones(len(x)) if errors is None else errors**2
    n_glasses = int(glasses.max()) + 1
    chi_square, freedom = _scatter_within(design, y, variances, glasses)
    reduced = chi_square / freedom if freedom > 0 else float("nan")
    scaled = freedom > 0 and (not known or bool(chi2.sf(chi_square, freedom) < SCATTER_SIGNIFICANCE))
    if scaled:
        variances = variances * reduced
    shared = (glasses[:, None] == glasses[None, :]).astype(np.float64)
    if glass_variance is None:
        glass_variance = _variance_between(design, y, variances, shared) if n_glasses > 1 else 0.0
    weights = _weights(design, np.diag(variances) + glass_variance * shared)
    unscaled = np.diag(given) + glass_variance * shared
    residual = y - design @ (_weights(design, unscaled) @ y)
    return SharedGlassFit(
        coefficients=weights @ y,
        within=(weights * variances) @ weights.T,
        between=glass_variance * weights @ shared @ weights.T,
        point_variance=float(np.mean(variances)),
        glass_variance=glass_variance,
        within_freedom=float(freedom) if scaled else (float("inf") if known else float("nan")),
        between_freedom=float(n_glasses - 1) if n_glasses > 1 else float("inf"),
        reduced_chi_square=reduced if known else float("nan"),
        scaled=scaled,
        n_glasses=n_glasses,
        chi_square=float(residual @ np.linalg.solve(unscaled, residual)),
    )


def _weights(design: Floats, covariance: Floats) -> Floats:
    """What turns y into the coefficients of generalised least squares, shape (2, n)."""
    inverse = np.linalg.inv(covariance)
    return np.asarray(np.linalg.solve(design.T @ inverse @ design, design.T @ inverse))


def _scatter_within(design: Floats, y: Floats, variances: Floats, glasses: Integers) -> tuple[float, int]:
    """Chi-square about lines of one slope and an intercept for each glass, and its degrees of freedom."""
    dummies = (glasses[:, None] == np.arange(int(glasses.max()) + 1)[None, :]).astype(np.float64)
    full = np.column_stack([dummies, design[:, 1:]])
    root = 1 / np.sqrt(variances)
    solution, _, rank, _ = np.linalg.lstsq(full * root[:, None], y * root, rcond=None)
    return float(np.sum(((y - full @ solution) * root) ** 2)), len(y) - int(rank)


def _variance_between(design: Floats, y: Floats, variances: Floats, shared: Floats) -> float:
    """Variance between glasses by restricted maximum likelihood, on a fine logarithmic grid and 0."""
    scale = float(np.mean(variances))
    grid = np.concatenate([[0.0], scale * np.logspace(-3, 5, 160)])
    return float(min(grid, key=lambda trial: _restricted(design, y, np.diag(variances) + trial * shared)))


def _restricted(design: Floats, y: Floats, covariance: Floats) -> float:
    """Minus twice the restricted log-likelihood (Patterson and Thompson, Biometrika 58, 545 (1971))."""
    inverse = np.linalg.inv(covariance)
    information = design.T @ inverse @ design
    residual = y - design @ np.linalg.solve(information, design.T @ inverse @ y)
    return float(np.linalg.slogdet(covariance)[1] + np.linalg.slogdet(information)[1] + residual @ inverse @ residual)
