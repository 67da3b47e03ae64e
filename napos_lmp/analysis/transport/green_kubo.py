"""Conductivity with all correlations between ions, from the current and its time correlation (Green-Kubo)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.base import Estimate, Floats, Integers, Result, plot_axes
from napos_lmp.analysis.transport.collective import MINIMUM_FREEDOM
from napos_lmp.analysis.transport.conductivity import check_state, checked_charges, conductivity_factor
from napos_lmp.analysis.transport.diffusive_window import chi_square_interval, scatter_excess
from napos_lmp.analysis.transport.drift import without_drift
from napos_lmp.currents import VelocitySums
from napos_lmp.errors import AnalysisError

MINIMUM_ROWS = 200
_PLATEAU_DEVIATION = 3.0
_BLOCKS = 5
_GUARD = 2
_CUTOFFS_PER_DOUBLING = 2
_FIRST_LAGS = 2000
_LATER_LAGS = 500


@dataclass(frozen=True)
class GreenKuboResult(Result):
    """Collective conductivity from the current, and the running integral it comes from.

    Attributes
    ----------
    conductivity
        In S/cm with its interval: the mean of the running integral from `cutoff` to twice that.
    relative_variance
        Its variance over its square.
    cutoff
        Time in ps from which on the running integral is taken to be constant.
    excess
        Variance seen between blocks of the run over that of a current without memory beyond the cutoff, at least 1; it
        is in the interval.
    temperature, volume
        In K and A^3.
    charges
        Charge number of each species.
    n_rows
        Rows of currents used.
    interval
        Time between them in ps.
    times
        Lag times in ps: all of the first, then evenly spaced in their logarithm.
    correlation
        Correlation of the current with itself, over its value at lag 0.
    integral
        Running integral in S/cm.
    integral_error
        Its standard error in S/cm, if the conductivity is what was found.
    """

    conductivity: Estimate
    relative_variance: float
    cutoff: float
    excess: float
    temperature: float
    volume: float
    charges: Mapping[str, float]
    n_rows: int
    interval: float
    times: Floats
    correlation: Floats
    integral: Floats
    integral_error: Floats

    def columns(self) -> Mapping[str, ArrayLike]:
        """Lag time, correlation of the current, running integral and its standard error."""
        return {
            "time_ps": self.times,
            "correlation": self.correlation,
            "integral_S_per_cm": self.integral,
            "error_S_per_cm": self.integral_error,
        }

    def plot(self, ax: Any = None) -> Any:
        """Draw the running integral with its error, the range it is averaged over and the result; returns the axes."""
        ax = plot_axes(ax)
        later = slice(1, None)
        ax.semilogx(self.times[later], self.integral[later], label="running integral")
        low, high = self.integral - self.integral_error, self.integral + self.integral_error
        ax.fill_between(self.times[later], low[later], high[later], alpha=0.2)
        ax.axhline(self.conductivity.value, ls="--", color="0.3", label=f"σ = {self.conductivity}")
        ax.axvspan(self.cutoff, 2 * self.cutoff, color="0.9", zorder=0)
        ax.set_xlabel("time (ps)")
        ax.set_ylabel("running integral (S/cm)")
        ax.legend()
        return ax


class GreenKuboConductivity:
    r"""Conductivity from the time correlation of the current.

    .. math:: \sigma = \frac{e^2}{3 V k_B T} \int_0^{\infty} \langle J(0) \cdot J(t) \rangle dt, \qquad
       J = \sum_a z_a \sum_{i \in a} v_i

    The current comes from the sums of velocities that LAMMPS prints while it runs (`currents_ps` of a production), so
    that no velocity of an atom is stored. The velocity of the whole system's centre of mass is taken out; in a neutral
    system it does not count. Rows may be as far apart as the current has no motion faster than 1/interval.

    **Cutoff.** The running integral is averaged from a time, the cutoff, to twice that time. The cutoff is
    `settled_from` if this average agrees with those at all later times within three standard errors of their
    difference; otherwise twice the first later time at which it does. It cannot lie beyond a tenth of the run.

    **Interval.** The average is a sum over the current's periodogram, so a scaled chi-square variable. For a run of
    length T and a cutoff t the relative variance is 16 t / (9 T), from the weights 1 up to t, falling to 0 at 2 t, of
    the correlation of one current in three dimensions [1]_. The same average over five blocks of the run, direction by
    direction, is compared with it, and the interval is widened where they scatter more. A standard error above 45 %
    is refused. The interval knows nothing of correlation beyond the cutoff.

    Parameters
    ----------
    currents
        Sums of velocities, such as ``DeckTrajectory.currents`` gives.
    temperature, volume
        In K and A^3: the means of the same stage.
    charges
        Charge number of every species; by default those of `currents`. They must sum to zero over the atoms.
    settled_from
        Lag time in ps from which on single ions are known to diffuse: the `window_start` of their self-diffusion. The
        noise of one current hides what is left of a slow motion in the cage.
    level
        Confidence level of the interval.

    References
    ----------
    .. [1] D. B. Percival, A. T. Walden, Spectral Analysis for Univariate Time Series, Cambridge (2020), chapter 7;
       R. E. Jones, K. K. Mandadapu, J. Chem. Phys. 136, 154102 (2012).
    """

    def __init__(
        self,
        currents: VelocitySums,
        temperature: float,
        volume: float,
        *,
        settled_from: float,
        charges: Mapping[str, float] | None = None,
        level: float = 0.95,
    ) -> None:
        check_state(temperature, volume)
        if not settled_from >= 0:
            raise AnalysisError(f"settled_from is {settled_from} ps; it must not be negative")
        if not 0 < level < 1:
            raise AnalysisError(f"level is {level}; it must lie between 0 and 1")
        self.charges = checked_charges(currents.charges if charges is None else charges, currents.n_atoms)
        self.temperature, self.volume, self.level = temperature, volume, level
        self._currents = currents
        self._settled_from = settled_from

    def run(self) -> GreenKuboResult:
        """Correlate, integrate and find the cutoff.

        Raises
        ------
        AnalysisError
            If the data give no conductivity, with the reason.
        """
        try:
            return self._measure()
        except AnalysisError as error:
            raise AnalysisError(f"no conductivity by Green-Kubo: {error}") from None

    def _measure(self) -> GreenKuboResult:
        n_rows = len(self._currents.times)
        if n_rows < MINIMUM_ROWS:
            raise AnalysisError(f"{n_rows} rows of currents are too few; {MINIMUM_ROWS} are the least")
        interval = _interval(self._currents.times)
        current = self._current()
        factor = conductivity_factor(self.temperature, self.volume) / 3
        correlation = _correlation(current)
        integral = factor * _running_integral(correlation, interval)
        cutoff = self._cutoff(integral, n_rows, interval)
        value = _average(integral, cutoff)
        excess = self._excess(current * np.sqrt(factor * interval), cutoff, value)
        variance = _relative_variance(cutoff, n_rows) * excess
        if variance > 2 / MINIMUM_FREEDOM:
            raise AnalysisError(
                f"behind {cutoff * interval:.3g} ps the running integral is {value:.2g} S/cm with a standard error of "
                f"{100 * np.sqrt(variance):.0f} %; {100 * np.sqrt(2 / MINIMUM_FREEDOM):.0f} % is the most"
            )
        low, high = chi_square_interval(variance, self.level)
        shown = _shown_lags(n_rows)
        return GreenKuboResult(
            conductivity=Estimate(value, value * low, value * high, "S/cm", self.level),
            relative_variance=variance,
            cutoff=cutoff * interval,
            excess=excess,
            temperature=self.temperature,
            volume=self.volume,
            charges=self.charges,
            n_rows=n_rows,
            interval=interval,
            times=np.asarray(shown * interval),
            correlation=correlation[shown] / correlation[0],
            integral=integral[shown],
            integral_error=value * np.sqrt(4 * shown / (3 * n_rows)),
        )

    def _current(self) -> Floats:
        """Current in e A/ps, shape (rows, 3)."""
        currents = self._currents
        masses = {name: currents.masses[name] * currents.n_atoms[name] for name in currents.species}
        still = without_drift(currents.sums, currents.n_atoms, masses, "system", ())
        return np.asarray(sum(self.charges[name] * still[name] for name in still))

    def _cutoff(self, integral: Floats, n_rows: int, interval: float) -> int:
        """Cutoff in rows: the earliest from which on the averages agree, with a guard if it is not the first of all."""
        most = n_rows // (2 * _BLOCKS) - 1
        first = max(1, int(np.ceil(self._settled_from / interval)))
        ratio = 2 ** (1 / _CUTOFFS_PER_DOUBLING)
        tried = np.unique(
            (first * ratio ** np.arange(np.log(max(most / first, 1)) / np.log(ratio) + 1)).astype(np.int64)
        )
        tried = tried[tried <= most]
        averages = np.array([_average(integral, int(cutoff)) for cutoff in tried])
        variances = _relative_variance(tried, n_rows)
        for i, cutoff in enumerate(tried.tolist()):
            later = tried >= 2 * cutoff
            error = averages[i] * np.sqrt(np.maximum(variances[later] - variances[i], 0))
            if averages[i] > 0 and np.all(np.abs(averages[later] - averages[i]) <= _PLATEAU_DEVIATION * error):
                guarded = cutoff if i == 0 else _GUARD * cutoff
                if guarded <= most and _average(integral, guarded) > 0:
                    return int(guarded)
                break
        raise AnalysisError(
            f"the running integral has no plateau of positive value behind {self._settled_from:g} ps in the first "
            f"{2 * most * interval:.3g} ps of its {n_rows * interval:.3g} ps, beyond which it is too noisy"
        )

    def _excess(self, current: Floats, cutoff: int, value: float) -> float:
        """Variance between blocks of the run, direction by direction, over that of a current without memory."""
        length = len(current) // _BLOCKS
        blocks = current[: _BLOCKS * length].reshape(_BLOCKS, length, 3)
        found = [
            3 * _average(_running_integral(_correlation(block[:, [axis]]), 1.0), cutoff)
            for block in blocks
            for axis in range(3)
        ]
        return scatter_excess(np.array(found), 3 * _relative_variance(cutoff, length) * value**2, self.level)


def _interval(times: Floats) -> float:
    steps = np.diff(times)
    interval = float(np.median(steps))
    if interval <= 0 or np.any(np.abs(steps - interval) > 1e-3 * interval):
        raise AnalysisError(f"rows of currents are not uniform in time: {interval:g} ps apart, but not all of them")
    return float((times[-1] - times[0]) / (len(times) - 1))


def _correlation(current: Floats) -> Floats:
    """Mean of J(t) J(t + lag) over all time origins, shape (rows,)."""
    from scipy import fft

    n_rows = len(current)
    spectrum = fft.rfft(current, fft.next_fast_len(2 * n_rows - 1, real=True), axis=0)
    power = (np.abs(spectrum) ** 2).sum(axis=1)
    size = fft.next_fast_len(2 * n_rows - 1, real=True)
    return np.asarray(fft.irfft(power, size)[:n_rows] / (n_rows - np.arange(n_rows)))


def _running_integral(correlation: Floats, interval: float) -> Floats:
    """Integral up to each lag by the trapezoid rule."""
    parts = (correlation[1:] + correlation[:-1]) * interval / 2
    return np.concatenate([[0.0], np.cumsum(parts)])


def _average(integral: Floats, cutoff: int) -> float:
    return float(integral[cutoff : 2 * cutoff + 1].mean())


def _relative_variance(cutoff: Any, n_rows: int) -> Any:
    return 16 * cutoff / (9 * n_rows)


def _shown_lags(n_rows: int) -> Integers:
    first = np.arange(min(_FIRST_LAGS, n_rows // 4))
    later = np.geomspace(max(1, len(first)), max(2, n_rows // 4), _LATER_LAGS).round()
    return np.unique(np.concatenate([first, later]).astype(np.int64))
