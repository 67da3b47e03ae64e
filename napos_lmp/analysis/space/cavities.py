"""Free volume and cavities of a glass: what atoms of given radii leave to a probe, on a grid in the periodic box."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.averages import BlockedSums, FrameAverages
from napos_lmp.analysis.base import (
    AtomSet,
    Estimate,
    Floats,
    Result,
    checked_atoms,
    checked_frames,
    plot_axes,
)
from napos_lmp.analysis.frames import Frame, measure_frames
from napos_lmp.analysis.space.cavity_grid import Mask, SphereGrid, Surfaces, hollows, sampling_error
from napos_lmp.errors import AnalysisError

IONIC_RADII = {
    **{"Li": 0.76, "Na": 1.02, "K": 1.38, "Mg": 0.72, "Ca": 1.00, "Zn": 0.74, "Ag": 1.15, "Al": 0.39},
    **{"B": 0.11, "Si": 0.26, "Ge": 0.39, "P": 0.17, "O": 1.40, "S": 1.84, "Se": 1.98, "F": 1.33, "Cl": 1.81},
    **{"Br": 1.96, "I": 2.20},
}
"""Radii in A of R. D. Shannon, Acta Cryst. A 32, 751 (1976): six-coordinate, but formers and Al four-coordinate."""
_MOST_POINTS = 400_000_000
_FEWEST_POINTS = 4
_EDGES = 10.0 ** np.arange(-2.0, 7.01, 0.25)

Key = tuple[str, ...]


@dataclass(frozen=True)
class CavityResult(Result):
    """Means over frames, each with the interval within the run.

    Attributes
    ----------
    n_frames
        Frames averaged over.
    radii
        Radius of each element, A, and `radii_source` where they are from.
    radii_source
        "ionic", "van der Waals" or "given" by element.
    probe_radius
        Radius of the probe, A.
    spacing
        Spacing of the grid that was asked for, A; the grid itself is at most that wide.
    free
        Fraction of the volume outside of all atoms.
    accessible
        Fraction of the volume where the centre of a probe fits.
    occupiable
        Fraction of the volume that some probe that fits can cover.
    grid_error
        Standard error of `free`, `accessible` and `occupiable` in one frame that the grid makes; means over frames have
        less.
    cavities
        Cavities for each nm^3: connected places for the probe's centre.
    cavity_volume
        Mean volume of a cavity, A^3: what a probe in it can cover.
    largest_volume
        Volume of the largest cavity, A^3.
    largest_share
        Fraction of the occupiable volume that the largest cavity has.
    largest_radius
        Radius of the largest sphere that fits between the atoms, to the spacing of the grid, A; NaN if no probe fits.
    size_edges
        Shape (K + 1,): edges of the classes of cavity volumes, A^3.
    size_shares
        Shape (K,): fraction of the occupiable volume in cavities of each class, all frames together.
    """

    n_frames: int
    radii: dict[str, float]
    radii_source: dict[str, str]
    probe_radius: float
    spacing: float
    free: Estimate
    accessible: Estimate
    occupiable: Estimate
    grid_error: dict[str, float]
    cavities: Estimate
    cavity_volume: Estimate
    largest_volume: Estimate
    largest_share: Estimate
    largest_radius: Estimate
    size_edges: Floats
    size_shares: Floats

    def columns(self) -> Mapping[str, ArrayLike]:
        """Distribution of cavity volumes."""
        return {
            "volume_low_A3": self.size_edges[:-1],
            "volume_high_A3": self.size_edges[1:],
            "share_of_occupiable_volume": self.size_shares,
        }

    def plot(self, ax: Any = None) -> Any:
        """Draw the share of the volume in cavities of each size on a matplotlib axis; returns the axis."""
        ax = plot_axes(ax)
        ax.stairs(100 * self.size_shares, self.size_edges, fill=True, alpha=0.6)
        ax.set(xscale="log", xlabel="volume of the cavity (Å³)", ylabel="occupiable volume (%)", ylim=(0, None))
        return ax


class Cavities:
    """Free volume, volume for a probe, and cavities.

    Atoms are spheres. Points of a grid along the box vectors, which may lean, count as free outside of all spheres, as
    accessible where a sphere of the probe's radius fits with its centre, and as occupiable where such a sphere reaches
    (as Connolly's surface bounds it). Accessible points make one cavity when a probe gets from one to the other; a grid
    cannot tell necks apart that differ by less than half the diagonal of its cells, so that a probe smaller by that
    much must get through.

    Parameters
    ----------
    source
        MDAnalysis Universe or AtomGroup with elements; a group without Na tells what the glass leaves to Na.
    probe_radius
        Radius of the probe, A; by default that of Na+.
    spacing
        Longest distance of neighbouring points of the grid, A.
    radii
        "ionic" (Shannon's, :data:`IONIC_RADII`), "van der Waals" (A. Bondi, J. Phys. Chem. 68, 441 (1964) and later, as
        in ASE), or radii in A by element, which take the place of the ionic ones for the elements they name.

    Raises
    ------
    AnalysisError
        If elements or the box are missing, a radius is not known, or a parameter is out of range.
    """

    def __init__(
        self,
        source: Any,
        *,
        probe_radius: float = 1.02,
        spacing: float = 0.3,
        radii: str | Mapping[str, float] = "ionic",
    ) -> None:
        if not (math.isfinite(probe_radius) and 0 <= probe_radius <= 20):
            raise AnalysisError(f"probe_radius is {probe_radius} A; it must be 0 to 20")
        if not (math.isfinite(spacing) and 0.01 <= spacing <= 5):
            raise AnalysisError(f"spacing is {spacing} A; it must be 0.01 to 5")
        self._atoms = checked_atoms(source)
        self._radii, self._source = _chosen_radii(self._atoms.elements, radii)
        self._probe, self._spacing = float(probe_radius), float(spacing)

    def run(
        self, start: int | None = None, stop: int | None = None, step: int | None = None, workers: int | None = None
    ) -> CavityResult:
        """Measure the frames `start:stop:step` with at most `workers` processes (all cores by default).

        Raises
        ------
        AnalysisError
            If there are no such frames, a frame has no box, or the spacing is too wide or too narrow for it.
        """
        frames = checked_frames(self._atoms.atoms.universe.trajectory, start, stop, step)
        read = _Reader(self._atoms, self._radii, self._probe, self._spacing)
        averages: FrameAverages[Key] = FrameAverages()
        classes = BlockedSums((len(_EDGES) - 1,), np.float64)
        errors: dict[str, float] = dict.fromkeys(("free", "accessible", "occupiable"), 0.0)
        for numbers, volumes in measure_frames(self._atoms, frames, read, workers):
            averages.add(numbers)
            classes.add(np.histogram(np.clip(volumes, _EDGES[0], _EDGES[-1]), _EDGES, weights=volumes)[0])
            errors = {name: total + numbers["error", name] ** 2 for name, total in errors.items()}
        return self._result(averages, classes, {name: math.sqrt(e / len(frames)) for name, e in errors.items()})

    def _result(self, averages: FrameAverages[Key], classes: BlockedSums, errors: dict[str, float]) -> CavityResult:
        def mean(name: str, unit: str = "fraction") -> Estimate:
            return averages.mean((name,), unit, (0.0, 1.0 if unit == "fraction" else math.inf))

        def each(name: str, unit: str, by: str = "with_cavities") -> Estimate:
            none = f"no probe of {self._probe:g} Å fits in any frame"
            most = 1.0 if unit == "fraction" else math.inf
            return averages.ratio((name,), (by,), unit, limits=(0.0, most), none=none)

        total = float(classes.total.sum())
        return CavityResult(
            n_frames=averages.frames,
            radii=self._radii,
            radii_source=self._source,
            probe_radius=self._probe,
            spacing=self._spacing,
            free=mean("free"),
            accessible=mean("accessible"),
            occupiable=mean("occupiable"),
            grid_error=errors,
            cavities=mean("cavities", "per nm³"),
            cavity_volume=each("volume", "Å³", "count"),
            largest_volume=mean("largest_volume", "Å³"),
            largest_share=each("largest_share", "fraction"),
            largest_radius=each("largest_radius", "Å"),
            size_edges=_EDGES,
            size_shares=classes.total / total if total else np.zeros(len(_EDGES) - 1),
        )


class _Reader:
    """Numbers of one frame, and the volumes of its cavities in A^3."""

    def __init__(self, atoms: AtomSet, radii: Mapping[str, float], probe: float, spacing: float) -> None:
        self._radii = np.array([radii[element] for element in atoms.elements])[atoms.types]
        self._probe, self._spacing = probe, spacing

    def __call__(self, frame: Frame) -> tuple[dict[Key, float], Floats]:
        points = np.ceil(np.linalg.norm(frame.box, axis=1) / self._spacing / 2).astype(np.int64) * 2
        if points.min() < _FEWEST_POINTS or points.prod() > _MOST_POINTS:
            raise AnalysisError(
                f"spacing is {self._spacing:g} A, which gives a grid of {' x '.join(map(str, points))} points; at "
                f"least {_FEWEST_POINTS} along each box vector and at most {_MOST_POINTS:,} in all are possible"
            )
        grid = SphereGrid(frame.box, points)
        free = ~grid.covered(frame.positions, self._radii)
        accessible = ~grid.covered(frame.positions, self._radii + self._probe) if self._probe else free
        through = np.maximum(self._radii + self._probe - grid.coarseness, 0.0)
        surfaces = Surfaces(frame.positions, self._radii, frame.box)
        found = hollows(grid, surfaces, accessible, ~grid.covered(frame.positions, through), self._probe)
        volumes = np.bincount(found.cavity.ravel(), minlength=found.count + 1)[1:].astype(np.float64)
        volumes *= grid.point_volume
        fractions = {"free": free, "accessible": accessible, "occupiable": found.cavity > 0}
        return _numbers(fractions, volumes, found.largest_radius, abs(float(np.linalg.det(frame.box)))), volumes


def _numbers(fractions: dict[str, Mask], volumes: Floats, largest_radius: float, volume: float) -> dict[Key, float]:
    numbers: dict[Key, float] = {}
    for name, chosen in fractions.items():
        numbers[name,] = float(chosen.mean())
        numbers["error", name] = sampling_error(chosen)
    numbers["cavities",] = len(volumes) / volume * 1000
    numbers["count",], numbers["volume",] = float(len(volumes)), float(volumes.sum())
    if len(volumes):
        numbers["with_cavities",] = 1.0
        numbers["largest_volume",] = float(volumes.max())
        numbers["largest_share",] = float(volumes.max() / volumes.sum())
        numbers["largest_radius",] = largest_radius
    return numbers


def _chosen_radii(
    elements: tuple[str, ...], radii: str | Mapping[str, float]
) -> tuple[dict[str, float], dict[str, str]]:
    """Radius of each element, A, and where it is from."""
    if isinstance(radii, str) and radii not in ("ionic", "van der Waals"):
        raise AnalysisError(f"radii is {radii!r}; it must be 'ionic', 'van der Waals' or radii in A by element")
    given: Mapping[str, float] = {} if isinstance(radii, str) else radii
    for element, radius in given.items():
        if element not in elements:
            raise AnalysisError(f"radius of {element!r} is given, but the system has {', '.join(elements)}")
        if not (math.isfinite(radius) and 0 <= radius <= 10):
            raise AnalysisError(f"radius of {element} is {radius} A; it must be 0 to 10")
    kind = radii if isinstance(radii, str) else "ionic"
    table = {**_table(kind, elements), **{element: float(radius) for element, radius in given.items()}}
    missing = [element for element in elements if element not in table]
    if missing:
        raise AnalysisError(f"no {kind} radius of {missing[0]} is known; give it in A, as in {{'{missing[0]}': 1.5}}")
    source = {element: "given" if element in given else kind for element in elements}
    return {element: table[element] for element in elements}, source


def _table(kind: str, elements: tuple[str, ...]) -> dict[str, float]:
    if kind == "ionic":
        return IONIC_RADII
    from ase.data import atomic_numbers
    from ase.data.vdw import vdw_radii

    radii = {element: float(vdw_radii[atomic_numbers[element]]) for element in elements}
    return {element: radius for element, radius in radii.items() if math.isfinite(radius)}
