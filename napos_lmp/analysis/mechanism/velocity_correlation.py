"""Autocorrelation of the velocities of each element, and the diffusion that is its integral."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.base import Estimate, Floats, Result, plot_axes
from napos_lmp.analysis.mechanism.velocities import Velocities
from napos_lmp.analysis.transport.diffusion import A2_PER_PS_IN_CM2_PER_S
from napos_lmp.errors import AnalysisError

N_BLOCKS = 5
"""Stretches of time origins that the errors of the autocorrelation come from."""

_LONGEST_LAG = 2.5
_CHUNK = 256


@dataclass(frozen=True)
class VelocityAutocorrelationResult(Result):
    """Autocorrelation of the velocities of each element, and what its integral says of diffusion.

    Attributes
    ----------
    times
        Lags in ps, shape (T,).
    correlation, errors
        For each element, shape (T,): normalised to 1 at the start, and its standard error from blocks of origins.
    mean_square
        Of the velocities of each element, A^2/ps^2.
    diffusion
        For each element, shape (T,): a third of the integral up to the lag, cm^2/s.
    plateau
        For each element, mean of `diffusion` over the second half of the lags, with the interval of blocks of origins.
    displacement
        For each element the same from its mean-square displacement, (MSD(T) - MSD(T/2)) / 6 (T/2), in cm^2/s; empty
        where positions were not to be had.
    n_blocks
        Blocks of origins.
    origin
        Whether the velocities were in the trajectory, or are differences of positions.
    """

    times: Floats
    correlation: Mapping[str, Floats]
    errors: Mapping[str, Floats]
    mean_square: Mapping[str, float]
    diffusion: Mapping[str, Floats]
    plateau: Mapping[str, Estimate]
    displacement: Mapping[str, float]
    n_blocks: int
    origin: str

    def columns(self) -> Mapping[str, ArrayLike]:
        """Lag, and for each element the correlation, its standard error and the running integral."""
        table: dict[str, ArrayLike] = {"time_ps": self.times}
        for name in self.correlation:
            table[f"vacf_{name}"] = self.correlation[name]
            table[f"vacf_error_{name}"] = self.errors[name]
            table[f"D_{name}_cm2_s"] = self.diffusion[name]
        return table

    def plot(self, ax: Any = None) -> Any:
        """Draw the correlations; returns the axes."""
        ax = plot_axes(ax)
        for name, values in self.correlation.items():
            ax.plot(self.times, values, label=name)
        ax.set(xlabel="lag time (ps)", ylabel="velocity autocorrelation")
        ax.legend()
        return ax


class VelocityAutocorrelation:
    r"""Velocity autocorrelation of each element over all time origins, by fast Fourier transform.

    .. math:: C(t) = \frac{\langle v_i(t_0) \cdot v_i(t_0 + t) \rangle}{\langle v_i^2 \rangle}, \qquad
              D(t) = \frac{1}{3} \int_0^t \langle v_i(t_0) \cdot v_i(t_0 + t') \rangle \, dt'

    D(t) is a sixth of the slope of the mean-square displacement at t, at every t (Green, J. Chem. Phys. 22, 398
    (1954); Kubo, J. Phys. Soc. Jpn. 12, 570 (1957)).

    Parameters
    ----------
    source
        MDAnalysis Universe or AtomGroup, or :class:`Velocities`.
    longest
        Longest lag in ps; a quarter of the trajectory, and at most 2.5 ps, unless given.
    options
        As for :func:`read_velocities`.

    Raises
    ------
    AnalysisError
        As :func:`read_velocities`, or if `longest` is above half the trajectory.
    """

    def __init__(self, source: Any, *, longest: float | None = None, **options: Any) -> None:
        self.velocities = Velocities.of(source, options)
        count, interval = self.velocities.n_times, self.velocities.interval
        wanted = min(count * interval / 4, _LONGEST_LAG) if longest is None else float(longest)
        self._lags = round(wanted / interval) if math.isfinite(wanted) else 0
        if not 4 <= self._lags <= count // 2:
            raise AnalysisError(
                f"longest is {wanted:g} ps; it must be from {4 * interval:g} to {count // 2 * interval:g} ps, half of "
                "the trajectory"
            )

    def run(self) -> VelocityAutocorrelationResult:
        """Correlate."""
        from scipy.special import stdtrit

        given, lags = self.velocities, self._lags
        times = given.interval * np.arange(lags + 1, dtype=np.float64)
        correlation, errors, squares, running, plateau, displacement = {}, {}, {}, {}, {}, {}
        factor = float(stdtrit(N_BLOCKS - 1, 0.975)) / math.sqrt(N_BLOCKS)
        late = slice(lags // 2, None)
        for name, values in given.values.items():
            blocks = _blocks_of_origins(values, lags)
            mean = blocks.mean(axis=0)
            integrals = _cumulative(blocks) * given.interval / 3 * A2_PER_PS_IN_CM2_PER_S
            squares[name] = float(mean[0])
            correlation[name] = mean / mean[0]
            errors[name] = (blocks / blocks[:, :1]).std(axis=0, ddof=1) / math.sqrt(N_BLOCKS)
            running[name] = integrals.mean(axis=0)
            ends = integrals[:, late].mean(axis=1)
            value, half = float(ends.mean()), factor * float(ends.std(ddof=1))
            plateau[name] = Estimate(value, value - half, value + half, "cm^2/s")
            if name in given.msd:
                msd = given.msd[name]
                rise = float(msd[lags] - msd[lags // 2]) / (6 * given.interval * (lags - lags // 2))
                displacement[name] = rise * A2_PER_PS_IN_CM2_PER_S
        return VelocityAutocorrelationResult(
            times, correlation, errors, squares, running, plateau, displacement, N_BLOCKS, given.origin
        )


def _blocks_of_origins(values: Any, lags: int) -> Floats:
    """Correlation at lags 0 to `lags`, one row for each stretch of time origins, all origins with all lags."""
    from scipy import fft

    count = values.shape[2]
    edges = np.linspace(0, count - lags, N_BLOCKS + 1).round().astype(int)
    sums = np.zeros((N_BLOCKS, lags + 1))
    for first in range(0, len(values), _CHUNK):
        paths = values[first : first + _CHUNK].reshape(-1, count).astype(np.float64)
        for b, (start, stop) in enumerate(itertools.pairwise(edges.tolist())):
            size = fft.next_fast_len(stop - start + 2 * lags, real=True)
            origins = fft.rfft(paths[:, start:stop], size, axis=1)
            later = fft.rfft(paths[:, start : stop + lags], size, axis=1)
            product = np.sum(np.conj(origins) * later, axis=0)
            sums[b] += fft.irfft(product, size)[: lags + 1]
    return np.asarray(sums / (np.diff(edges)[:, None] * len(values)))


def _cumulative(values: Floats) -> Floats:
    """Integral from the first column on by the trapezoidal rule, in units of the interval."""
    areas = (values[:, 1:] + values[:, :-1]) / 2
    return np.concatenate([np.zeros((len(values), 1)), np.cumsum(areas, axis=1)], axis=1)
