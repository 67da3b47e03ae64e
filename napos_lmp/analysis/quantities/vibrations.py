"""Vibrations on the frames of one stage as quantities with keys, for `analysis.json`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from napos_lmp.analysis.findings import Findings
from napos_lmp.analysis.mechanism.velocities import read_velocities
from napos_lmp.analysis.mechanism.velocity_correlation import VelocityAutocorrelation, VelocityAutocorrelationResult
from napos_lmp.analysis.mechanism.vibrations import WAVENUMBERS_PER_THZ, VibrationalSpectrum, VibrationalSpectrumResult
from napos_lmp.analysis.quantities.shared import refused
from napos_lmp.analysis.results import Quantity
from napos_lmp.errors import AnalysisError

ROOM_TEMPERATURE = 300.0
"""Temperature in K of the heat capacity of the oscillators."""

_ALL_FRAMES = slice(None)
_LARGEST_UNRESOLVED = 0.01
_MEAN = "mean over the run"
_A2_PER_NS = 1e7  # of one cm^2/s; early values may be negative, which units of diffusion in the report cannot


def measure_vibrations(source: Any, *, mobile: str = "Na", frames: slice = _ALL_FRAMES) -> Findings:
    """Velocity autocorrelation and vibrational spectrum of each element.

    Parameters
    ----------
    source
        MDAnalysis Universe with elements, and velocities or unwrapped positions every few fs.
    mobile
        The ion whose diffusion by velocities is compared with that by displacements.
    frames
        Those to use.
    """
    found = Findings()
    try:
        velocities = read_velocities(source, start=frames.start, stop=frames.stop, step=frames.step)
    except AnalysisError as error:
        found.refusals = {"vacf": str(error), "vibrations": str(error)}
        return found
    try:
        correlation = VelocityAutocorrelation(velocities).run()
    except AnalysisError as error:
        found.refusals["vacf"] = str(error)
    else:
        found.tables["vacf"] = correlation
        found.quantities.extend(_diffusion(correlation, mobile))
    try:
        spectrum = VibrationalSpectrum(velocities).run()
    except AnalysisError as error:
        found.refusals["vibrations"] = str(error)
    else:
        found.tables["vibrations"] = spectrum
        found.quantities.extend(_spectrum(spectrum))
    return found


def _diffusion(result: VelocityAutocorrelationResult, mobile: str) -> Iterator[Quantity]:
    if mobile not in result.plateau:
        return
    start, stop = result.times[len(result.times) // 2], result.times[-1]
    note = f"between {start:.2g} and {stop:.2g} ps, which need not be the diffusive regime"
    plateau = result.plateau[mobile].scaled(_A2_PER_NS, "Å^2/ns")
    yield Quantity.of_estimate(
        f"vibrations.diffusion.{mobile}", f"early diffusion of {mobile} by its velocities", plateau
    ).model_copy(update={"note": note})
    if mobile in result.displacement:
        yield Quantity(
            key=f"vibrations.diffusion_msd.{mobile}",
            label=f"early diffusion of {mobile} by its displacements",
            unit="Å^2/ns",
            value=result.displacement[mobile] * _A2_PER_NS,
            note=note,
        )


def _spectrum(result: VibrationalSpectrumResult) -> Iterator[Quantity]:
    yield Quantity(
        key="vibrations.temperature",
        label="temperature of the velocities",
        unit="K",
        value=result.temperature,
        note=_MEAN,
    )
    for name, mean in result.mean_frequency.items():
        yield Quantity.of_estimate(f"vibrations.mean_frequency.{name}", f"mean frequency of {name}", mean)
    for name in result.density:
        yield from _peaks(result, name)
    for name, modes in result.modes.items():
        yield Quantity(
            key=f"vibrations.equipartition.{name}",
            label=f"kinetic energy of {name} over that of equipartition",
            unit="",
            value=result.found[name] / modes,
            note=_MEAN,
        )
    capacity, zero_point = result.heat_capacity(ROOM_TEMPERATURE), result.zero_point_energy()
    label = f"heat capacity of harmonic quantum oscillators at {ROOM_TEMPERATURE:g} K, of a mole of atoms"
    yield Quantity.of_estimate("vibrations.heat_capacity", label, capacity)
    yield Quantity.of_estimate(
        "vibrations.zero_point_energy", "zero-point energy of an atom", zero_point.scaled(1000, "meV")
    )
    if result.unresolved > _LARGEST_UNRESOLVED:
        yield Quantity(
            key="vibrations.unresolved",
            label=f"modes above {result.frequencies[-1]:.3g} THz",
            unit="%",
            value=100 * result.unresolved,
            note=_MEAN,
        )


def _peaks(result: VibrationalSpectrumResult, name: str) -> Iterator[Quantity]:
    peaks = result.peaks[name]
    labels = {"strongest": f"strongest band of {name}", "highest": f"band of highest frequency of {name}"}
    if not peaks:
        for which, label in labels.items():
            reason = "no band stands out of the errors of the spectrum"
            yield refused(f"vibrations.{which}_peak.{name}", label, "THz", reason)
        return
    heights = np.interp([peak.value for peak in peaks], result.frequencies, result.density[name])
    listed = "all at " + ", ".join(f"{peak.value * WAVENUMBERS_PER_THZ:.0f}" for peak in peaks) + " 1/cm"
    for which, peak in (("strongest", peaks[int(np.argmax(heights))]), ("highest", peaks[-1])):
        quantity = Quantity.of_estimate(f"vibrations.{which}_peak.{name}", labels[which], peak)
        yield quantity.model_copy(update={"note": listed})
