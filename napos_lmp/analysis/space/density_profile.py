"""Density of each element in layers across the box, for glasses with surfaces and to see whether a bulk is even."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.averages import BlockedSums, mean_estimate
from napos_lmp.analysis.base import AtomSet, Floats, Result, checked_atoms, checked_box, checked_frames, plot_axes
from napos_lmp.analysis.frames import Frame, measure_frames
from napos_lmp.analysis.neighbours import box_heights
from napos_lmp.errors import AnalysisError

AXES = ("a", "b", "c")
_U_PER_A3 = 1.66053906660
_MOST_BINS = 10_000


@dataclass(frozen=True)
class Profile:
    """One density in each layer.

    Attributes
    ----------
    value
        Shape (B,): mean over frames.
    low, high
        Shape (B,): ends of the 95 % interval within the run; NaN where there is none.
    unit
        Unit of all three.
    """

    value: Floats
    low: Floats
    high: Floats
    unit: str


@dataclass(frozen=True)
class DensityProfileResult(Result):
    """Densities in layers, means over frames.

    Attributes
    ----------
    axis
        Box vector whose layers these are; the normal of the layers is that of the plane of the other two.
    n_frames
        Frames averaged over.
    centred
        Whether the centre of mass was moved to the middle of the box in each frame.
    edges
        Shape (B + 1,): edges of the layers in A along the normal, in the mean box.
    height
        Mean height of the box along the normal, A.
    number
        Atoms of each element, 1/nm^3.
    mass
        Density of all atoms, g/cm^3.
    charge
        Density of charge, e/nm^3; None without charges.
    """

    axis: str
    n_frames: int
    centred: bool
    edges: Floats
    height: float
    number: dict[str, Profile]
    mass: Profile
    charge: Profile | None

    @property
    def z(self) -> Floats:
        """Middle of each layer, shape (B,), A."""
        middle: Floats = (self.edges[1:] + self.edges[:-1]) / 2
        return middle

    def columns(self) -> Mapping[str, ArrayLike]:
        """One row a layer."""
        table: dict[str, ArrayLike] = {"z_A": self.z}
        profiles = {f"{element}_per_nm3": profile for element, profile in self.number.items()}
        profiles["mass_g_cm3"] = self.mass
        if self.charge is not None:
            profiles["charge_e_per_nm3"] = self.charge
        for name, profile in profiles.items():
            table.update({name: profile.value, f"{name}_low": profile.low, f"{name}_high": profile.high})
        return table

    def plot(self, ax: Any = None) -> Any:
        """Draw the number density of each element on a matplotlib axis; returns the axis."""
        ax = plot_axes(ax)
        for element, profile in self.number.items():
            (line,) = ax.plot(self.z, profile.value, label=element, linewidth=1.2)
            ax.fill_between(self.z, profile.low, profile.high, color=line.get_color(), alpha=0.25, linewidth=0)
        ax.set(xlabel=f"position along the normal of the layers ({self.axis}) (Å)", ylabel="density (nm⁻³)")
        ax.set(xlim=(0, self.height), ylim=(0, None))
        ax.legend(frameon=False)
        return ax


class DensityProfile:
    """Number, mass and charge density in layers of equal thickness across the box.

    Layers are parallel to the plane of two box vectors and divide the third in equal parts; in each frame they fill the
    box, whose volume may change. Densities are those of the same frame's layers.

    Parameters
    ----------
    source
        MDAnalysis Universe or AtomGroup with elements.
    axis
        Box vector to divide: "a", "b" or "c"; for a slab the one that crosses the vacuum.
    bin_width
        Thickness of a layer in A, adjusted so that a whole number fits into the first frame.
    centred
        Whether to move the centre of mass to the middle of the box in each frame, which a slab that drifts needs. The
        centre is that of a circle, so that a slab may lie across the boundary.
    charges
        Charge of each element in e, if charge densities are wanted.

    Raises
    ------
    AnalysisError
        If elements or the box are missing, or a parameter is out of range.
    """

    def __init__(
        self,
        source: Any,
        *,
        axis: str = "c",
        bin_width: float = 0.5,
        centred: bool = False,
        charges: Mapping[str, float] | None = None,
    ) -> None:
        if axis not in AXES:
            raise AnalysisError(f"axis is {axis!r}; it must be one of the box vectors {', '.join(AXES)}")
        if not (math.isfinite(bin_width) and bin_width > 0):
            raise AnalysisError(f"bin_width is {bin_width} A; it must be positive")
        self._atoms = checked_atoms(source)
        self._axis, self._bin_width, self._centred = axis, float(bin_width), centred
        self._charges = _checked_charges(charges, self._atoms)

    def run(
        self, start: int | None = None, stop: int | None = None, step: int | None = None, workers: int | None = None
    ) -> DensityProfileResult:
        """Measure the frames `start:stop:step` with at most `workers` processes (all cores by default).

        Raises
        ------
        AnalysisError
            If there are no such frames, a frame has no box, or the layers are too thick or too thin for it.
        """
        trajectory = self._atoms.atoms.universe.trajectory
        frames = checked_frames(trajectory, start, stop, step)
        first = float(box_heights(checked_box(trajectory[frames[0]]))[AXES.index(self._axis)])
        n_bins = round(first / self._bin_width)
        if not 2 <= n_bins <= _MOST_BINS:
            raise AnalysisError(
                f"bin_width is {self._bin_width:g} A, which makes {n_bins} layers of a box {first:.2f} A high; "
                f"2 to {_MOST_BINS} are possible"
            )
        read = _Reader(self._atoms, AXES.index(self._axis), n_bins, self._centred, self._charges)
        sums, heights = BlockedSums((read.n_profiles, n_bins), np.float64), 0.0
        for densities, height in measure_frames(self._atoms, frames, read, workers):
            sums.add(densities)
            heights += height
        return self._result(sums, heights / len(frames), n_bins)

    def _result(self, sums: BlockedSums, height: float, n_bins: int) -> DensityProfileResult:
        n_elements = len(self._atoms.elements)
        number = {x: _profile(sums, k, 1000.0, "nm⁻³") for k, x in enumerate(self._atoms.elements)}
        return DensityProfileResult(
            axis=self._axis,
            n_frames=sums.frames,
            centred=self._centred,
            edges=np.linspace(0, height, n_bins + 1),
            height=height,
            number=number,
            mass=_profile(sums, n_elements, _U_PER_A3, "g/cm³"),
            charge=_profile(sums, n_elements + 1, 1000.0, "e/nm³") if self._charges is not None else None,
        )


class _Reader:
    """Densities of one frame in 1/A^3, u/A^3 and e/A^3, shape (profiles, bins), and the height of the box in A."""

    def __init__(self, atoms: AtomSet, axis: int, n_bins: int, centred: bool, charges: Floats | None) -> None:
        self._types, self._masses, self._charges = atoms.types, atoms.masses, charges
        self._n_elements = len(atoms.elements)
        self._axis, self._n_bins, self._centred = axis, n_bins, centred
        self.n_profiles = self._n_elements + 1 + (charges is not None)

    def __call__(self, frame: Frame) -> tuple[Floats, float]:
        place = frame.positions @ np.linalg.inv(frame.box)[:, self._axis]
        if self._centred:
            turn = np.sum(self._masses * np.exp(2j * math.pi * place))
            place = place - np.angle(turn) / (2 * math.pi) + 0.5
        layer = np.minimum(((place - np.floor(place)) * self._n_bins).astype(np.int64), self._n_bins - 1)
        counts = np.bincount(self._types * self._n_bins + layer, minlength=self._n_elements * self._n_bins)
        profiles = [*counts.reshape(self._n_elements, self._n_bins)]
        profiles.append(np.bincount(layer, self._masses, minlength=self._n_bins))
        if self._charges is not None:
            profiles.append(np.bincount(layer, self._charges[self._types], minlength=self._n_bins))
        volume = abs(float(np.linalg.det(frame.box))) / self._n_bins
        return np.array(profiles, dtype=np.float64) / volume, float(box_heights(frame.box)[self._axis])


def _profile(sums: BlockedSums, row: int, factor: float, unit: str) -> Profile:
    value = sums.total[row] / sums.frames * factor
    blocks = sums.block_means[:, row] * factor
    ends = [mean_estimate(blocks[:, k], unit, value=value[k], frames_each=sums.length) for k in range(len(value))]
    return Profile(value, np.array([end.low for end in ends]), np.array([end.high for end in ends]), unit)


def _checked_charges(charges: Mapping[str, float] | None, atoms: AtomSet) -> Floats | None:
    if charges is None:
        return None
    for element, charge in charges.items():
        if element not in atoms.elements:
            raise AnalysisError(f"charge of {element!r} is given, but the system has {', '.join(atoms.elements)}")
        if not math.isfinite(charge):
            raise AnalysisError(f"charge of {element} is {charge} e; it must be a number")
    missing = [element for element in atoms.elements if element not in charges]
    if missing:
        raise AnalysisError(f"charge of {missing[0]} is missing; charges must name every element")
    return np.array([charges[element] for element in atoms.elements], dtype=np.float64)
