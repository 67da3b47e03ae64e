"""Conductivity with all correlations between ions, from the displacement of the charge (Einstein-Helfand)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.base import Estimate, Floats, Integers, Result, plot_axes
from napos_lmp.analysis.transport.conductivity import (
    check_state,
    checked_charges,
    conductivity_factor,
    onsager_factor,
)
from napos_lmp.analysis.transport.diffusive_window import (
    DiffusiveWindow,
    Walk,
    chi_square_interval,
    find_window,
    scatter_excess,
    usable_lags,
)
from napos_lmp.analysis.transport.drift import Reference, SpeciesDisplacements
from napos_lmp.analysis.transport.random_walk import LineFit, walk_covariance
from napos_lmp.errors import AnalysisError

MINIMUM_FRAMES = 100
MINIMUM_FREEDOM = 10.0
_BLOCKS = 5
_GRID_LAGS = 64
_STILL = 1e-10


@dataclass(frozen=True)
class EinsteinHelfandResult(Result):
    """Collective conductivity and where it comes from.

    Attributes
    ----------
    conductivity
        In S/cm with its interval.
    relative_variance
        Its variance over its square.
    partial
        Part of each ordered pair of species in S/cm, z_a z_b e^2 L_ab; they sum to the conductivity.
    onsager
        Onsager coefficient L_ab of each pair of species in 1/(J m s), in the frame of `reference`.
    transference
        Share of each species in the conductivity, in the frame of `reference`; they sum to 1.
    reference
        What stands still in the frame of `onsager` and `transference`; the conductivity is the same in all.
    temperature, volume
        In K and A^3.
    charges
        Charge number of each species.
    window_start, window_stop
        Lag times in ps between which the line was fitted.
    exponent, exponent_error
        Exponent with which the mean-square charge displacement grows beyond a constant offset; 1 is diffusive.
    excess
        Variance seen between blocks of the run over that of a random walk, at least 1; it is in the interval.
    n_frames
        Frames used.
    times, msd, line
        Lag times in ps, mean-square displacement of the charge and the fitted line in e^2 A^2.
    """

    conductivity: Estimate
    relative_variance: float
    partial: Mapping[tuple[str, str], Estimate]
    onsager: Mapping[tuple[str, str], Estimate]
    transference: Mapping[str, Estimate]
    reference: Reference
    temperature: float
    volume: float
    charges: Mapping[str, float]
    window_start: float
    window_stop: float
    exponent: float
    exponent_error: float
    excess: float
    n_frames: int
    times: Floats
    msd: Floats
    line: Floats

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON-ready values; pairs of species are joined as in ``Na-S``."""
        plain = super().as_dict()
        for field in ("partial", "onsager"):
            values = getattr(self, field)
            plain[field] = {"-".join(pair): item for pair, item in zip(values, plain[field].values(), strict=True)}
        return plain

    def columns(self) -> Mapping[str, ArrayLike]:
        """Lag time, mean-square displacement of the charge, fitted line and whether the lag lies in the window."""
        inside = (self.times >= self.window_start) & (self.times <= self.window_stop)
        return {
            "time_ps": self.times,
            "msd_e2A2": self.msd,
            "line_e2A2": self.line,
            "in_window": inside.astype(np.int64),
        }

    def plot(self, ax: Any = None) -> Any:
        """Draw the mean-square displacement of the charge, the line and the window; returns the axes."""
        ax = plot_axes(ax)
        ax.loglog(self.times[1:], self.msd[1:], label="charge")
        line = np.where(self.line > 0, self.line, np.nan)
        ax.loglog(self.times[1:], line[1:], "--", label=f"σ = {self.conductivity}")
        ax.axvspan(self.window_start, self.window_stop, color="0.9", zorder=0)
        ax.set_xlabel("lag time (ps)")
        ax.set_ylabel("mean-square charge displacement (e² Å²)")
        ax.legend()
        return ax


class EinsteinHelfandConductivity:
    r"""Conductivity from the mean-square displacement of the charge, with all correlations between ions.

    .. math:: \sigma = \frac{e^2}{6 V k_B T} \frac{d}{dt} \langle |P(t) - P(0)|^2 \rangle, \qquad
       P = \sum_i z_i r_i,

    over all time origins, by fast Fourier transform. The system must be neutral; then P does not change with the
    frame of reference, and drift has no part in it.

    **Interval.** However many ions there are, P is one walker. The line is fitted in a diffusive window found as for
    self-diffusion, with the covariance of the mean-square displacement of one random walk; a sum over many ions is
    Gaussian, as that covariance assumes. Slopes of five blocks of the run, direction by direction, are compared with
    it, and the interval is widened where they scatter more. The conductivity is a scaled chi-square variable. A
    standard error above 45 % is refused.

    **Onsager coefficients** come from the same weights of the same lags [1]_,

    .. math:: L_{ab} = \frac{1}{6 V k_B T} \frac{d}{dt} \langle \Delta U_a \cdot \Delta U_b \rangle, \qquad
       U_a = \sum_{i \in a} (r_i - R),

    with R the centre of mass of the reference, so that the sum of z_a z_b e^2 L_ab is exactly the conductivity. They
    do depend on the frame. Their errors are those of a Wishart matrix; the transference number of a species, the
    regression of z_a U_a on P, has Student's t.

    Parameters
    ----------
    displacements
        `collective` of a :class:`MeanSquareDisplacementResult`: no second look at the trajectory.
    temperature
        In K.
    charges
        Charge number of every species of the system, formal or other; they must sum to zero over the atoms.
    settled_from
        Lag time in ps from which on single ions are known to diffuse: the `window_start` of their self-diffusion. One
        walker cannot show it: taken by itself, motion in the cage passes for diffusion in up to half of all cases. No
        window starts before it; behind it, growth with an exponent that agrees with 1 within 1.5 standard errors is
        enough.
    reference
        What stands still for Onsager coefficients and transference numbers.
    mobile
        The elements that the framework leaves out.
    level
        Confidence level of the intervals.

    References
    ----------
    .. [1] K. D. Fong, J. Self, B. D. McCloskey, K. A. Persson, Macromolecules 54, 2575 (2021).
    """

    def __init__(
        self,
        displacements: SpeciesDisplacements,
        temperature: float,
        charges: Mapping[str, float],
        *,
        settled_from: float,
        reference: Reference = "framework",
        mobile: Sequence[str] = ("Na",),
        level: float = 0.95,
    ) -> None:
        check_state(temperature, displacements.volume)
        if not settled_from >= 0:
            raise AnalysisError(f"settled_from is {settled_from} ps; it must not be negative")
        if not 0 < level < 1:
            raise AnalysisError(f"level is {level}; it must lie between 0 and 1")
        self.charges = checked_charges(charges, displacements.n_atoms)
        self.temperature = temperature
        self.reference: Reference = reference
        self.level = level
        self._displacements = displacements
        self._sums = displacements.relative_to(reference, mobile)
        self._charge = np.asarray(sum(self.charges[name] * values for name, values in self._sums.items()))
        self._settled_from = settled_from

    def run(self) -> EinsteinHelfandResult:
        """Find the window and fit.

        Raises
        ------
        AnalysisError
            If the data give no collective conductivity, with the reason.
        """
        try:
            return self._measure()
        except AnalysisError as error:
            raise AnalysisError(f"no collective conductivity: {error}") from None

    def _measure(self) -> EinsteinHelfandResult:
        n_frames, interval = len(self._charge), self._displacements.frame_interval
        if n_frames < MINIMUM_FRAMES:
            raise AnalysisError(f"{n_frames} frames are too few; {MINIMUM_FRAMES} are the least")
        curve = mean_product(self._charge, self._charge)
        if curve.max() <= _STILL * self._squared_length():
            raise AnalysisError("the charge does not move")
        grid = np.unique(np.geomspace(1, n_frames // _BLOCKS - 1, _GRID_LAGS).round().astype(np.int64))
        walk = Walk(
            curve=curve,
            grid=grid,
            interval=interval,
            walkers=1,
            described=f"{n_frames} frames of the charge, which is one walker,",
            independent=lambda _: 1.0,
            excess=_BlockScatter(self._charge, grid, self.level),
            settled_from=self._settled_from / interval,
        )
        window = find_window(walk, usable_lags(walk))
        if window.relative_variance > 2 / MINIMUM_FREEDOM:
            raise AnalysisError(
                f"its standard error is {100 * np.sqrt(window.relative_variance):.0f} %; "
                f"{100 * np.sqrt(2 / MINIMUM_FREEDOM):.0f} % is the most"
            )
        return self._result(window, curve)

    def _squared_length(self) -> float:
        """Largest mean-square displacement that the charge would have if all ions of a species moved as one."""
        return float(max(np.abs(self.charges[name] * sums).max() for name, sums in self._sums.items()) ** 2)

    def _result(self, window: DiffusiveWindow, curve: Floats) -> EinsteinHelfandResult:
        interval, variance = self._displacements.frame_interval, window.relative_variance
        state = self.temperature, self._displacements.volume
        value = window.fit.slope / 6 / interval
        low, high = chi_square_interval(variance, self.level)
        conductivity = Estimate(value, value * low, value * high, "", self.level).scaled(
            conductivity_factor(*state), "S/cm"
        )
        slopes = self._pair_slopes(window) / 6 / interval
        errors = np.sqrt(np.maximum(np.outer(np.diag(slopes), np.diag(slopes)) + slopes**2, 0) * variance / 2)
        return EinsteinHelfandResult(
            conductivity=conductivity,
            relative_variance=variance,
            partial=self._partial(slopes, errors),
            onsager=self._pairs(slopes, errors, onsager_factor(*state), "1/(J m s)"),
            transference=self._transference(slopes, 2 / variance),
            reference=self.reference,
            temperature=self.temperature,
            volume=self._displacements.volume,
            charges=self.charges,
            window_start=float(window.lags[0] * interval),
            window_stop=float(window.lags[-1] * interval),
            exponent=window.growth.exponent,
            exponent_error=window.growth.exponent_error,
            excess=window.excess,
            n_frames=len(curve),
            times=interval * np.arange(len(curve), dtype=np.float64),
            msd=curve,
            line=window.fit.intercept + window.fit.slope * np.arange(len(curve), dtype=np.float64),
        )

    def _pair_slopes(self, window: DiffusiveWindow) -> Floats:
        """Growth of the mean product of displacements of each pair of species in A^2 per frame."""
        names = list(self._sums)
        slopes = np.empty((len(names), len(names)))
        for i, a in enumerate(names):
            for j, b in enumerate(names[: i + 1]):
                products = mean_product(self._sums[a], self._sums[b])[window.lags]
                slopes[i, j] = slopes[j, i] = window.fit.weights @ products
        return slopes

    def _pairs(self, slopes: Floats, errors: Floats, factor: float, unit: str) -> dict[tuple[str, str], Estimate]:
        """Estimates of each ordered pair of species; Wishart's variance, in its normal limit."""
        from scipy.stats import norm

        half = float(norm.isf((1 - self.level) / 2)) * errors
        names = list(self._sums)
        return {
            (a, b): Estimate(
                slopes[i, j] * factor,
                (slopes[i, j] - half[i, j]) * factor,
                (slopes[i, j] + half[i, j]) * factor,
                unit,
                self.level,
            )
            for i, a in enumerate(names)
            for j, b in enumerate(names)
        }

    def _partial(self, slopes: Floats, errors: Floats) -> dict[tuple[str, str], Estimate]:
        numbers = np.array(list(self.charges.values()))
        products = np.outer(numbers, numbers)
        factor = conductivity_factor(self.temperature, self._displacements.volume)
        return self._pairs(products * slopes, np.abs(products) * errors, factor, "S/cm")

    def _transference(self, slopes: Floats, freedom: float) -> dict[str, Estimate]:
        from scipy.stats import t

        numbers = np.array(list(self.charges.values()))
        total = float(numbers @ slopes @ numbers)
        found = {}
        for i, name in enumerate(self._sums):
            share = float(numbers[i] * slopes[i] @ numbers) / total
            scatter = max(0.0, float(numbers[i] ** 2 * slopes[i, i]) / total - share**2)
            half = float(t.isf((1 - self.level) / 2, max(1.0, freedom - 1))) * np.sqrt(scatter / max(1.0, freedom - 1))
            found[name] = Estimate(share, share - half, share + half, "", self.level)
        return found


class _BlockScatter:
    """How much more the slopes of blocks of the run scatter than those of a random walk."""

    def __init__(self, charge: Floats, grid: Integers, level: float) -> None:
        self._grid, self._level = grid, level
        self._length = len(charge) // _BLOCKS
        blocks = charge[: _BLOCKS * self._length].reshape(_BLOCKS, self._length, 3)
        self._curves = np.array(
            [mean_product(block[:, [axis]], block[:, [axis]])[grid] for block in blocks for axis in range(3)]
        )

    def __call__(self, fit: LineFit, lags: Integers, walkers: float) -> float:
        slopes = 3 * self._curves[:, np.searchsorted(self._grid, lags)] @ fit.weights
        covariance = walk_covariance(lags, self._length, max(fit.slope, 0.0), fit.intercept)
        expected = 3 * float(fit.weights @ covariance @ fit.weights)
        return scatter_excess(slopes, expected, self._level) if expected > 0 else 1.0


def mean_product(first: Floats, second: Floats) -> Floats:
    """Mean over all time origins of the product of two displacements at all lags, by fast Fourier transform.

    Parameters
    ----------
    first, second
        Paths, shape (frames, dimensions).

    Returns
    -------
    numpy.ndarray
        Shape (frames,); for two times the same path its mean-square displacement.
    """
    from scipy import fft

    n_frames = len(first)
    size = fft.next_fast_len(2 * n_frames - 1, real=True)
    one, two = first - first.mean(axis=0), second - second.mean(axis=0)
    products = np.einsum("td,td->t", one, two)
    spectra = fft.rfft(one, size, axis=0), fft.rfft(two, size, axis=0)
    power = np.einsum("fd,fd->f", spectra[0], spectra[1].conj()).real
    crossed = fft.irfft(power, size)[:n_frames]
    ends = np.cumsum(products)[::-1] + np.cumsum(products[::-1])[::-1]
    curve = np.asarray((ends - 2 * crossed) / (n_frames - np.arange(n_frames)))
    curve[0] = 0
    return curve
