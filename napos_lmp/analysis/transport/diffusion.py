"""Self-diffusion coefficient of one species with an interval, or the reason why the data give none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.base import Estimate, Floats, Integers, Result, plot_axes
from napos_lmp.analysis.transport.diffusive_window import (
    DiffusiveWindow,
    Walk,
    chi_square_interval,
    find_window,
    scatter_excess,
    usable_lags,
)
from napos_lmp.analysis.transport.msd import MeanSquareDisplacementResult
from napos_lmp.analysis.transport.random_walk import LineFit
from napos_lmp.errors import AnalysisError

A2_PER_PS_IN_CM2_PER_S = 1e-4
MINIMUM_FRAMES = 20
MINIMUM_DISPLACEMENTS = 20
_SCATTER_ATOMS = 5


@dataclass(frozen=True)
class DiffusionResult(Result):
    """Diffusion coefficient of one species and where it comes from.

    Attributes
    ----------
    species
        Element.
    diffusion
        Diffusion coefficient in cm^2/s with its interval.
    window_start, window_stop
        Lag times in ps between which the line was fitted.
    intercept
        Mean-square displacement of the line at lag 0 in A^2: motion in the cage.
    slope, slope_error
        Log-log slope of the mean-square displacement in the window and its standard error; 1 is diffusive, and less
        when motion in the cage leaves an offset.
    exponent, exponent_error
        Exponent with which the mean-square displacement grows beyond a constant offset in the window, and its
        standard error; 1 is diffusive.
    displacement
        Root-mean-square displacement at the end of the window in A.
    jump_length
        Length in A that counts as one jump.
    n_atoms
        Atoms of the species.
    independent_atoms
        How many of them move independently of each other.
    relative_variance
        Variance of the diffusion coefficient over its square.
    independent_displacements
        Displacements of one jump length in the whole run, over the independent atoms.
    n_frames
        Frames used.
    volume
        Mean volume of the box in A^3; NaN without a box.
    times, msd, line
        Lag times in ps, the mean-square displacement and the fitted line in A^2.
    """

    species: str
    diffusion: Estimate
    window_start: float
    window_stop: float
    intercept: float
    slope: float
    slope_error: float
    exponent: float
    exponent_error: float
    displacement: float
    jump_length: float
    n_atoms: int
    independent_atoms: float
    relative_variance: float
    independent_displacements: float
    n_frames: int
    volume: float
    times: Floats
    msd: Floats
    line: Floats

    def columns(self) -> Mapping[str, ArrayLike]:
        """Lag time, mean-square displacement, fitted line and whether the lag lies in the window."""
        inside = (self.times >= self.window_start) & (self.times <= self.window_stop)
        return {
            "time_ps": self.times,
            "msd_A2": self.msd,
            "line_A2": self.line,
            "in_window": inside.astype(np.int64),
        }

    def plot(self, ax: Any = None) -> Any:
        """Draw the mean-square displacement, the line and the window; returns the axes."""
        ax = plot_axes(ax)
        ax.loglog(self.times[1:], self.msd[1:], label=self.species)
        ax.loglog(self.times[1:], np.where(self.line > 0, self.line, np.nan)[1:], "--", label=f"D = {self.diffusion}")
        ax.axvspan(self.window_start, self.window_stop, color="0.9", zorder=0)
        ax.set_xlabel("lag time (ps)")
        ax.set_ylabel("mean-square displacement (Å²)")
        ax.legend()
        return ax


class DiffusionCoefficient:
    r"""Self-diffusion coefficient by generalised least squares over a diffusive window.

    **Window.** It ends at half the run, or where the mean-square displacement is known to less than 25 %. It starts at
    the earliest lag from which on the curve is a straight line within three standard errors (or 2 %) at every lag,
    with a log-log slope known to 0.1 and within 0.1 of 1. Motion in the cage adds an offset that lowers this slope
    although diffusion is reached; so the offset is allowed for when it makes up less than 15 % at the end of the
    window, the growth beyond it has an exponent within 0.1 of 1, and the line fits better than a power law (by 6 in
    chi-square).

    **Value.** A line with intercept is fitted with the exact covariance of a random walk's mean-square displacement
    (see :mod:`napos_lmp.analysis.transport.random_walk`), D = slope / 6.

    **Interval.** The estimate is a weighted sum of mean-square displacements, so each atom has its own. Their
    scatter (of five atoms or more, with Student's t for few), or the random walk's where that is larger, divided by
    the number of independently moving atoms (see :meth:`MeanSquareDisplacementResult.independent_atoms`), is the
    variance of D. Scatter between atoms contains hops and sites of different mobility; the number of independent
    atoms contains concerted motion. D is then a scaled chi-square variable with 2 D^2 / variance degrees of freedom,
    as a sum of squared displacements is. The interval speaks of this glass at this length of run; what differs
    between glasses needs replicas.

    Parameters
    ----------
    msd
        Mean-square displacements.
    species
        Which element.
    jump_length
        What one jump covers, in A; 3 A is somewhat below the distance of neighbouring Na sites in these glasses.
    level
        Confidence level of the interval.
    """

    def __init__(
        self, msd: MeanSquareDisplacementResult, species: str = "Na", *, jump_length: float = 3.0, level: float = 0.95
    ) -> None:
        if species not in msd.species:
            raise AnalysisError(f"species {species!r} has no mean-square displacement; {', '.join(msd.species)} have")
        if not jump_length > 0:
            raise AnalysisError(f"jump_length is {jump_length} A; it must be positive")
        if not 0 < level < 1:
            raise AnalysisError(f"level is {level}; it must lie between 0 and 1")
        self._msd = msd
        self.species = species
        self.jump_length = jump_length
        self.level = level
        self._atoms_by_lag: dict[int, float] = {}

    def run(self) -> DiffusionResult:
        """Find the window and fit.

        Raises
        ------
        AnalysisError
            If the data give no diffusion coefficient, with the reason: too few frames, no diffusive window, a
            displacement below one jump length, or too few independent displacements.
        """
        try:
            return self._measure()
        except AnalysisError as error:
            raise AnalysisError(f"no diffusion coefficient of {self.species}: {error}") from None

    def _measure(self) -> DiffusionResult:
        msd = self._msd
        if msd.n_frames < MINIMUM_FRAMES:
            raise AnalysisError(f"{msd.n_frames} frames are too few; {MINIMUM_FRAMES} are the least")
        window = self._find_window()
        value = window.fit.slope / 6
        displacements = self._displacements(window)
        if displacements < MINIMUM_DISPLACEMENTS:
            raise AnalysisError(
                f"the run holds {displacements:.1f} independent displacements of {self.jump_length:g} A; "
                f"{MINIMUM_DISPLACEMENTS} are the least"
            )
        low, high = chi_square_interval(window.relative_variance, self.level)
        estimate = Estimate(value, value * low, value * high, "A^2/ps", self.level)
        interval = msd.frame_interval
        return DiffusionResult(
            species=self.species,
            diffusion=estimate.scaled(A2_PER_PS_IN_CM2_PER_S / interval, "cm^2/s"),
            window_start=float(window.lags[0] * interval),
            window_stop=float(window.lags[-1] * interval),
            intercept=window.fit.intercept,
            slope=window.power.exponent,
            slope_error=window.power.exponent_error,
            exponent=window.growth.exponent,
            exponent_error=window.growth.exponent_error,
            displacement=float(np.sqrt(msd.msd[self.species][window.lags[-1]])),
            jump_length=self.jump_length,
            n_atoms=msd.n_atoms[self.species],
            independent_atoms=window.walkers,
            relative_variance=window.relative_variance,
            independent_displacements=displacements,
            n_frames=msd.n_frames,
            volume=msd.volume,
            times=msd.times,
            msd=msd.msd[self.species],
            line=window.fit.intercept + window.fit.slope * np.arange(msd.n_frames, dtype=np.float64),
        )

    def _find_window(self) -> DiffusiveWindow:
        msd = self._msd
        n_atoms = msd.n_atoms[self.species]
        walk = Walk(
            curve=msd.msd[self.species],
            grid=msd.grid,
            interval=msd.frame_interval,
            walkers=n_atoms,
            described=f"{msd.n_frames} frames of {n_atoms} atoms",
            independent=self._independent_atoms,
            excess=self._excess_scatter,
        )
        lags = usable_lags(walk)
        self._refuse_short_displacement(int(lags[-1]))
        return find_window(walk, lags)

    def _refuse_short_displacement(self, lag: int) -> None:
        displacement = float(np.sqrt(self._msd.msd[self.species][lag]))
        if displacement < self.jump_length:
            raise AnalysisError(
                f"the root-mean-square displacement is {displacement:.2f} A after {lag * self._msd.frame_interval:g} "
                f"ps; it must exceed one jump length, {self.jump_length:g} A"
            )

    def _independent_atoms(self, lag: int) -> float:
        """Independent atoms at the power of 2 next below a lag; each power is computed once."""
        power = 1 << (lag.bit_length() - 1)
        if power not in self._atoms_by_lag:
            self._atoms_by_lag[power] = self._msd.independent_atoms(self.species, power)
        return self._atoms_by_lag[power]

    def _excess_scatter(self, fit: LineFit, lags: Integers, independent_atoms: float) -> float:
        """Variance of the slope between atoms over that of a random walk; below five atoms it is not used."""
        places = np.searchsorted(self._msd.grid, lags)
        slopes = self._msd.per_atom(self.species)[:, places].astype(np.float64) @ fit.weights
        if len(slopes) < _SCATTER_ATOMS:
            return 1.0
        return scatter_excess(slopes, fit.slope_error**2 * independent_atoms, self.level)

    def _displacements(self, window: DiffusiveWindow) -> float:
        """Independent displacements of one jump length in the whole run."""
        frames_per_jump = max(1.0, self.jump_length**2 / window.fit.slope)
        return window.walkers * (self._msd.n_frames - 1) / frames_per_jump
