"""Figures of an evaluation, in the style of the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from napos_lmp.evaluation.calibration import Calibration
from napos_lmp.evaluation.comparison import Evaluated
from napos_lmp.report.figures.style import INK, MARKERS, OKABE_ITO, WIDTH, make_logarithmic, svg_of
from napos_lmp.training.dataset import Array

_GRID = 60
_BINS = 14
_LEAST_IN_BIN = 10
_MILLI = 1000.0
_WIDE = 3.0
_COLUMNS = 4


def parity(evaluated: Sequence[Evaluated]) -> str:
    """Predictions against labels: a row for each potential, with energy, forces and virial.

    Energies are relative to the mean of the labels, after the best constant for each element was taken off where the
    potential has another zero.
    """

    def draw(figure: Any) -> None:
        axes = figure.subplots(len(evaluated), 3, squeeze=False)
        for row, one in zip(axes, evaluated, strict=True):
            for ax, (title, unit, labels, found) in zip(row, _parity_panels(one), strict=True):
                ax.set_title(f"{one.potential.name}: {title}")
                ax.set_xlabel(f"label ({unit})")
                ax.set_ylabel(f"potential ({unit})")
                if len(labels):
                    _cloud(ax, labels, found)

    return svg_of(draw, WIDTH, 2.7 * len(evaluated))


def error_against_force(evaluated: Sequence[Evaluated]) -> str:
    """Root mean square error of forces in bins of the size of the label."""

    def draw(figure: Any) -> None:
        ax = figure.subplots()
        for place, one in enumerate(evaluated):
            sizes = np.concatenate([np.linalg.norm(frame.forces, axis=1) for frame in one.frames])
            squares = np.concatenate([(force**2).mean(axis=1) for force in one.errors.force])
            centres, values = _binned(sizes, squares)
            ax.plot(centres, _MILLI * np.sqrt(values), **_line(place), label=one.potential.name)
        ax.set_xscale("log")
        make_logarithmic(ax)
        ax.set_xlabel("size of the force on an atom, label (eV/Å)")
        ax.set_ylabel("RMSE of its components (meV/Å)")
        ax.legend()

    return svg_of(draw, 0.72 * WIDTH, 2.9)


def error_against(evaluated: Sequence[Evaluated], sign: Callable[[Evaluated], Array | None], axis: str) -> str:
    """Force error of each frame against what may foretell it; a panel for each potential, a colour for each phase."""
    phases = list(dict.fromkeys(sorted(frame.phase for one in evaluated for frame in one.frames)))
    shown = [(one, values) for one in evaluated if (values := sign(one)) is not None]
    columns = min(len(shown), _COLUMNS)
    rows = -(-len(shown) // _COLUMNS)

    def draw(figure: Any) -> None:
        axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
        for ax in axes[len(shown) :]:
            ax.remove()
        for ax, (one, values) in zip(axes, shown, strict=False):
            errors = _MILLI * one.frame_force_rmse
            for place, phase in enumerate(phases):
                chosen = np.array([frame.phase == phase for frame in one.frames]) & np.isfinite(values)
                if chosen.any():
                    style: Any = {"color": OKABE_ITO[place % len(OKABE_ITO)], "marker": MARKERS[place % len(MARKERS)]}
                    ax.plot(values[chosen], errors[chosen], ls="none", ms=3.5, alpha=0.8, label=phase, **style)
            ax.set_title(one.potential.name)
            ax.set_xlabel(axis)
        make_logarithmic(axes[0])
        for ax in axes[: len(shown) : columns]:
            ax.set_ylabel("force RMSE of the frame (meV/Å)")
        axes[0].legend()

    return svg_of(draw, min(WIDTH, 3.9 * columns), 2.9 * rows)


def calibrations(curves: Mapping[str, Calibration]) -> str:
    """Error of atoms against the deviation of the committee, and the line on which both are the same."""

    def draw(figure: Any) -> None:
        ax = figure.subplots()
        for place, (name, curve) in enumerate(curves.items()):
            ax.plot(_MILLI * curve.deviation, _MILLI * curve.error, **_line(place), label=name)
        make_logarithmic(ax, "x")
        make_logarithmic(ax)
        ends = ax.get_xlim()
        ax.plot(ends, ends, color=INK, lw=0.8, ls=":", label="error = deviation")
        ax.set_xlim(ends)
        ax.set_xlabel("deviation of the committee on an atom, root mean square (meV/Å)")
        ax.set_ylabel("error, root mean square (meV/Å)")
        ax.legend()

    return svg_of(draw, 0.72 * WIDTH, 2.9)


def curve(series: Mapping[str, Sequence[tuple[float, float, float, float]]], axis: str) -> str:
    """Force error with its interval against something, a line for each family: rows of x, value, low and high."""

    def draw(figure: Any) -> None:
        ax = figure.subplots()
        for place, (name, rows) in enumerate(series.items()):
            x, value, low, high = np.array(sorted(rows)).T
            errors = np.clip([value - low, high - value], 0, None)
            ax.errorbar(x, value, yerr=errors, **_line(place), label=name)
        make_logarithmic(ax)
        ax.set_xlabel(axis)
        places = [row[0] for rows in series.values() for row in rows]
        if max(places) > _WIDE * min(places):
            ax.set_xscale("log")
        else:
            ax.set_xlim(left=0)
        ax.set_ylabel("force RMSE (meV/Å)")
        ax.legend()

    return svg_of(draw, 0.72 * WIDTH, 2.9)


def _parity_panels(one: Evaluated) -> list[tuple[str, str, Array, Array]]:
    pairs = list(zip(one.frames, one.errors.predictions, strict=True))
    sizes = np.array([len(frame.symbols) for frame in one.frames])
    energies = np.array([frame.energy for frame in one.frames]) / sizes
    errors = one.errors.shifted_energy if one.errors.other_zero else one.errors.energy
    middle = energies.mean()
    virials = [
        (frame.virial / n, p.virial / n) for (frame, p), n in zip(pairs, sizes, strict=True) if frame.virial is not None
    ]
    return [
        ("energy", "eV/atom", energies - middle, energies + errors - middle),
        (
            "forces",
            "eV/Å",
            np.concatenate([frame.forces.ravel() for frame, _ in pairs]),
            np.concatenate([p.forces.ravel() for _, p in pairs]),
        ),
        (
            "virial",
            "eV/atom",
            np.array([label for label, _ in virials]).ravel(),
            np.array([found for _, found in virials]).ravel(),
        ),
    ]  # fmt: skip


def _cloud(ax: Any, labels: Array, found: Array) -> None:
    """Points, or their density where they are many, and the line on which both agree."""
    low, high = float(min(labels.min(), found.min())), float(max(labels.max(), found.max()))
    margin = 0.04 * max(high - low, 1e-9)
    ends = (low - margin, high + margin)
    if len(labels) > _GRID**2 / 2:
        from matplotlib.colors import LogNorm

        counts, edges, _ = np.histogram2d(labels, found, bins=_GRID, range=(ends, ends))
        shown = np.ma.masked_equal(counts.T, 0)
        ax.pcolormesh(edges, edges, shown, norm=LogNorm(), cmap="viridis_r", rasterized=True)
    else:
        ax.plot(labels, found, ls="none", marker="o", ms=2.2, alpha=0.6, color=OKABE_ITO[0], rasterized=True)
    ax.plot(ends, ends, color=INK, lw=0.7, ls=":")
    ax.set_xlim(ends)
    ax.set_ylim(ends)
    ax.set_aspect("equal")


def _binned(sizes: Array, values: Array) -> tuple[Array, Array]:
    """Mean of values in bins of like size that hold enough of them: middles and means."""
    positive = sizes > 0
    edges = np.geomspace(sizes[positive].min(), sizes.max() * (1 + 1e-9), _BINS + 1)
    places = np.searchsorted(edges, sizes[positive], side="right") - 1
    counts = np.bincount(places, minlength=_BINS)
    full = counts >= _LEAST_IN_BIN
    means = np.bincount(places, values[positive], minlength=_BINS)[full] / counts[full]
    return np.sqrt(edges[:-1] * edges[1:])[full], means


def _line(place: int) -> dict[str, Any]:
    return {"color": OKABE_ITO[place % len(OKABE_ITO)], "marker": MARKERS[place % len(MARKERS)], "ms": 4}
