"""Figures of vibrations and of the rotation of groups, in the style of the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from napos_lmp.report.figures.style import ELEMENT_COLOURS, INK, OKABE_ITO, WIDTH, Floats, svg_of

WAVENUMBERS_PER_THZ = 33.35640952


@dataclass(frozen=True)
class Curve:
    """Values with their standard errors; both of one shape."""

    values: Floats
    errors: Floats


def vibrations(
    frequencies: Floats, densities: Mapping[str, Curve], times: Floats, correlations: Mapping[str, Curve]
) -> str:
    """Density of states of all atoms ("total") and of each element, and the velocity autocorrelations beside it."""

    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(3, 2)) if correlations else (figure.subplots(), None)
        for name, curve in densities.items():
            _banded(left, frequencies, curve, name, ELEMENT_COLOURS.get(name, INK))
        left.set(
            xlabel="frequency (THz)", ylabel="density of states (1/THz)", xlim=(0, frequencies[-1]), ylim=(0, None)
        )
        top = left.secondary_xaxis("top", functions=(_wavenumber, _frequency))
        top.set_xlabel("wavenumber (1/cm)")
        left.legend()
        if right is None:
            return
        for name, curve in correlations.items():
            _banded(right, times, curve, name, ELEMENT_COLOURS.get(name, INK))
        right.axhline(0.0, color="#9aa3af", linewidth=0.7, zorder=0)
        right.set(xlabel="lag time (ps)", ylabel="velocity autocorrelation", xlim=(0, min(1.0, times[-1])))
        right.legend()

    return svg_of(draw, WIDTH, 2.9)


def orientations(times: Floats, first: Mapping[str, Curve], second: Mapping[str, Curve]) -> str:
    """Correlations of rank 1 and 2 of the directions of bonds, each kind a line."""
    colours = dict(zip(dict.fromkeys([*first, *second]), cycle(OKABE_ITO), strict=False))

    def draw(figure: Any) -> None:
        for ax, curves, label in zip(figure.subplots(1, 2, sharey=True), (first, second), ("C₁", "C₂"), strict=True):
            for name, curve in curves.items():
                _banded(ax, times, curve, name, colours[name])
            ax.set(xscale="log", xlabel="lag time (ps)", ylabel=label)
            ax.legend()

    return svg_of(draw, WIDTH, 2.7)


def _banded(ax: Any, x: Floats, curve: Curve, name: str, colour: str) -> None:
    ax.plot(x, curve.values, color=colour, label=name)
    low, high = curve.values - 2 * curve.errors, curve.values + 2 * curve.errors
    ax.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)


def _wavenumber(frequency: Any) -> Any:
    return frequency * WAVENUMBERS_PER_THZ


def _frequency(wavenumber: Any) -> Any:
    return wavenumber / WAVENUMBERS_PER_THZ
