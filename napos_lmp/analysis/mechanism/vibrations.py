"""Vibrational density of states, whole and of each element, from the power spectrum of the velocities."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.base import Estimate, Floats, Result, plot_axes
from napos_lmp.analysis.mechanism.velocities import Velocities
from napos_lmp.errors import AnalysisError

WAVENUMBERS_PER_THZ = 33.35640952
"""1/cm of one THz."""
RESOLUTION = 0.5
"""Full width at half maximum of a line, THz, unless given: 17 1/cm."""

_BOLTZMANN_U = 0.8314462618
"""Boltzmann's constant in u A^2/ps^2 K."""
_GAS_CONSTANT = 8.314462618
_PLANCK_EV_THZ = 4.135667696e-3
_KELVIN_PER_THZ = 47.99243073
_HANN_WIDTH = 1.44
_OVERLAP_CORRELATION = 1 / 36
_FEWEST_SEGMENTS = 3
_PROMINENCE = 0.03
_CHUNK = 256


@dataclass(frozen=True)
class VibrationalSpectrumResult(Result):
    """Vibrational density of states, whole and of each element.

    Attributes
    ----------
    frequencies
        In THz, shape (F,), from 0 to the highest that the frames had to resolve.
    density, errors
        For each element, shape (F,): modes of the cell per THz, and their standard error from the segments.
    total, total_errors
        The same of all elements; `total` is the sum of `density`.
    modes
        For each element, its degrees of freedom: what `density` integrates to at equipartition.
    found
        For each element, what it integrates to. All together are `modes` together, by the normalisation.
    temperature
        Kinetic temperature in K, what normalises the density.
    resolution
        Full width at half maximum of a line, THz.
    n_segments
        Half-overlapping segments that were averaged.
    unresolved
        Share of the modes above the highest frequency.
    n_atoms
        Atoms of each element.
    peaks
        For each element the places of its peaks, THz, rising, with the interval of the segments.
    mean_frequency
        Of each element, THz.
    origin
        Whether the velocities were in the trajectory, or are differences of positions.
    """

    frequencies: Floats
    density: Mapping[str, Floats]
    errors: Mapping[str, Floats]
    total: Floats
    total_errors: Floats
    modes: Mapping[str, float]
    found: Mapping[str, float]
    temperature: float
    resolution: float
    n_segments: int
    unresolved: float
    n_atoms: Mapping[str, int]
    peaks: Mapping[str, tuple[Estimate, ...]]
    mean_frequency: Mapping[str, Estimate]
    origin: str
    _segments: Floats

    @property
    def wavenumbers(self) -> Floats:
        """The frequencies in 1/cm."""
        return self.frequencies * WAVENUMBERS_PER_THZ

    def heat_capacity(self, temperature: float = 300.0) -> Estimate:
        r"""Heat capacity at constant volume of harmonic quantum oscillators of this density, J/(mol K) of atoms.

        .. math:: C_V = R \int g(\nu) \frac{x^2 e^x}{(e^x - 1)^2} \, d\nu, \qquad x = h\nu / k_B T

        with g normalised to three modes an atom; 3 R in the classical limit. For a solid: modes that diffuse count as
        vibrations of low frequency here.
        """
        half = _KELVIN_PER_THZ * self.frequencies / (2 * _checked_temperature(temperature))
        weights = np.ones_like(half)
        weights[1:] = (half[1:] / np.sinh(np.minimum(half[1:], 300))) ** 2
        return self._mean_of(weights, 3 * _GAS_CONSTANT, "J/(mol K)")

    def zero_point_energy(self) -> Estimate:
        """Energy of harmonic oscillators of this density in their ground states, eV an atom: 3 <h nu> / 2."""
        return self._mean_of(_PLANCK_EV_THZ * self.frequencies / 2, 3.0, "eV/atom")

    def columns(self) -> Mapping[str, ArrayLike]:
        """Frequency in both units, density of all and of each element with standard errors."""
        table: dict[str, ArrayLike] = {"frequency_THz": self.frequencies, "wavenumber_1/cm": self.wavenumbers}
        table |= {"g_total_1/THz": self.total, "g_error_total_1/THz": self.total_errors}
        for name in self.density:
            table |= {f"g_{name}_1/THz": self.density[name], f"g_error_{name}_1/THz": self.errors[name]}
        return table

    def plot(self, ax: Any = None) -> Any:
        """Draw the densities over the frequency; returns the axes."""
        ax = plot_axes(ax)
        ax.plot(self.frequencies, self.total, color="black", label="total")
        for name, values in self.density.items():
            ax.plot(self.frequencies, values, label=name)
        ax.set(xlabel="frequency (THz)", ylabel="density of states (1/THz)", xlim=(0, self.frequencies[-1]))
        ax.legend()
        return ax

    def _mean_of(self, weights: Floats, factor: float, unit: str) -> Estimate:
        """Mean of a function of the frequency over all modes, times a factor."""
        segments = self._segments.sum(axis=1)
        return _segment_estimate(segments, lambda density: factor * _mean_over(density, weights), unit)


class VibrationalSpectrum:
    r"""Vibrational density of states from the power spectrum of the velocities.

    .. math:: g(\nu) = \frac{2}{k_B T} \sum_i m_i S_i(\nu), \qquad
              S_i(\nu) = \lim_{\tau \to \infty} \frac{1}{\tau} \Big| \int_0^\tau v_i(t) e^{-2\pi i \nu t} dt \Big|^2

    with :math:`\int_0^\infty g \, d\nu` = 3 N - 3, the degrees of freedom (Dickey and Paskin, Phys. Rev. 188, 1407
    (1969); Lin, Blanco and Goddard, J. Chem. Phys. 119, 11792 (2003)). S is Welch's estimate (IEEE Trans. Audio
    Electroacoust. 15, 70 (1967)): half-overlapping segments under Hann's window, whose lines are 1.44 / length wide at
    half maximum. Velocities that are differences of positions are divided by their response. k_B T is that of the
    velocities themselves; the density of an element integrates to its degrees of freedom at equipartition.

    Parameters
    ----------
    source
        MDAnalysis Universe or AtomGroup, or :class:`Velocities`.
    resolution
        Full width of a line at half maximum, THz.
    options
        As for :func:`read_velocities`.

    Raises
    ------
    AnalysisError
        As :func:`read_velocities`, or if the trajectory is shorter than two segments.
    """

    def __init__(self, source: Any, *, resolution: float = RESOLUTION, **options: Any) -> None:
        if not (math.isfinite(resolution) and resolution > 0):
            raise AnalysisError(f"resolution is {resolution:g} THz; it must be above 0")
        self.velocities = Velocities.of(source, options)
        self.resolution = resolution
        length, interval = self.velocities.n_times, self.velocities.interval
        self._segment = 2 * math.ceil(_HANN_WIDTH / resolution / interval / 2)
        if 2 * self._segment > length:
            raise AnalysisError(
                f"the trajectory of {length * interval:.3g} ps is too short for a resolution of {resolution:g} THz, "
                f"which needs {2 * self._segment * interval:.3g} ps; it allows "
                f"{2 * _HANN_WIDTH / (length * interval):.2g} THz"
            )
        if self._segment < 16:
            raise AnalysisError(
                f"resolution is {resolution:g} THz; for frames {interval * 1000:g} fs apart it must be below "
                f"{_HANN_WIDTH / (16 * interval):.3g} THz"
            )

    def run(self) -> VibrationalSpectrumResult:
        """Transform."""
        given = self.velocities
        names = given.elements
        frequencies = np.arange(self._segment // 2 + 1, dtype=np.float64) / (self._segment * given.interval)
        powers = np.stack([_welch(given.values[name], given.masses[name], self._segment) for name in names], axis=1)
        powers *= given.interval / given.response(frequencies) ** 2
        freedom = sum(given.modes.values())
        width = float(frequencies[1])
        kinetic = float(powers.mean(axis=0).sum(axis=0) @ _trapezoid(len(frequencies))) * width
        segments = powers * freedom / kinetic
        shown = frequencies <= given.highest * (1 + 1e-9)
        whole = segments.mean(axis=0)
        below = segments[..., shown]
        mean, error = below.mean(axis=0), _standard_error(below)
        total, total_error = below.sum(axis=1).mean(axis=0), _standard_error(below.sum(axis=1))
        return VibrationalSpectrumResult(
            frequencies=frequencies[shown],
            density={name: mean[i] for i, name in enumerate(names)},
            errors={name: error[i] for i, name in enumerate(names)},
            total=total,
            total_errors=total_error,
            modes=given.modes,
            found={name: float(whole[i] @ _trapezoid(len(frequencies))) * width for i, name in enumerate(names)},
            temperature=kinetic / (_BOLTZMANN_U * freedom),
            resolution=_HANN_WIDTH / (self._segment * given.interval),
            n_segments=len(segments),
            unresolved=float(whole.sum(axis=0)[~shown].sum()) * width / freedom,
            n_atoms={name: len(given.masses[name]) for name in names},
            peaks={name: _peaks(frequencies[shown], below[:, i], self.resolution) for i, name in enumerate(names)},
            mean_frequency={name: _mean_frequency(frequencies[shown], below[:, i]) for i, name in enumerate(names)},
            origin=given.origin,
            _segments=below,
        )


def _welch(values: Any, masses: Floats, length: int) -> Floats:
    """One-sided power of each half-overlapping segment, m v^2 a frequency of unit interval, shape (segments, F)."""
    from scipy import fft
    from scipy.signal import get_window

    count = values.shape[2]
    n_segments = max(_FEWEST_SEGMENTS, 2 * count // length - 1)
    starts = np.linspace(0, count - length, n_segments).round().astype(int)
    window = get_window("hann", length)
    powers = np.zeros((n_segments, length // 2 + 1))
    for first in range(0, len(values), _CHUNK):
        paths = values[first : first + _CHUNK]
        weights = masses[first : first + _CHUNK, None, None]
        for k, start in enumerate(starts.tolist()):
            spectrum = fft.rfft(paths[..., start : start + length] * window, axis=2)
            powers[k] += np.sum(weights * np.abs(spectrum) ** 2, axis=(0, 1))
    return np.asarray(2 * powers / np.sum(window**2))


def _trapezoid(count: int) -> Floats:
    weights = np.ones(count)
    weights[0] = weights[-1] = 0.5
    return weights


def _standard_error(segments: Floats) -> Floats:
    """Of the mean over half-overlapping segments under Hann's window, whose powers correlate by 1/36."""
    count = len(segments)
    inflation = 1 + 2 * _OVERLAP_CORRELATION * (count - 1) / count
    return np.asarray(segments.std(axis=0, ddof=1) * math.sqrt(inflation / count))


def _segment_estimate(segments: Floats, function: Callable[[Floats], float], unit: str) -> Estimate:
    """A function of the mean density, its interval from leaving out each segment in turn."""
    from scipy.special import stdtrit

    count = len(segments)
    value = function(segments.mean(axis=0))
    left_out = np.array([function(np.delete(segments, k, axis=0).mean(axis=0)) for k in range(count)])
    inflation = 1 + 2 * _OVERLAP_CORRELATION * (count - 1) / count
    error = math.sqrt(inflation * (count - 1) / count * float(np.sum((left_out - left_out.mean()) ** 2)))
    half = float(stdtrit(count - 1, 0.975)) * error
    return Estimate(value, value - half, value + half, unit)


def _mean_over(density: Floats, weights: Floats) -> float:
    edges = _trapezoid(len(density))
    return float((density * edges) @ weights / (density @ edges))


def _mean_frequency(frequencies: Floats, segments: Floats) -> Estimate:
    return _segment_estimate(segments, lambda density: _mean_over(density, frequencies), "THz")


def _peaks(frequencies: Floats, segments: Floats, resolution: float) -> tuple[Estimate, ...]:
    """Maxima above their surroundings by three standard errors and 3 % of the highest; tops of Gaussians there."""
    from scipy.signal import find_peaks

    width = float(frequencies[1])
    mean, error = segments.mean(axis=0), _standard_error(segments)
    places, facts = find_peaks(mean, prominence=_PROMINENCE * mean.max(), distance=max(1, round(resolution / width)))
    clear = facts["prominences"] > 3 * error[places]

    def top(density: Floats, near: int) -> float:
        reach = max(1, round(resolution / width))
        low, high = max(1, near - reach), min(len(density) - 1, near + reach + 1)
        k = low + int(np.argmax(density[low:high]))
        before, here, after = np.log(np.maximum(density[k - 1 : k + 2], 1e-300))
        bend = before - 2 * here + after
        return float(frequencies[k] + (0.5 * width * (before - after) / bend if bend < 0 else 0.0))

    return tuple(_segment_estimate(segments, partial(top, near=near), "THz") for near in places[clear].tolist())


def _checked_temperature(temperature: float) -> float:
    if not (math.isfinite(temperature) and temperature > 0):
        raise AnalysisError(f"temperature is {temperature:g} K; it must be above 0")
    return temperature
