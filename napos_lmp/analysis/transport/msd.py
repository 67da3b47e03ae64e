"""Mean-square displacement of each species, averaged over all time origins by fast Fourier transform."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napos_lmp.analysis.base import (
    Floats,
    Integers,
    Result,
    checked_atoms,
    checked_box,
    checked_frames,
    plot_axes,
)
from napos_lmp.analysis.compiled import compiled
from napos_lmp.analysis.transport import displacement_loops as loops
from napos_lmp.analysis.transport.drift import Reference, SpeciesDisplacements, check_reference, drift_weights
from napos_lmp.analysis.transport.unwrapped import BoxJumps, uniform_interval, volume_drift_of
from napos_lmp.errors import AnalysisError

MAXIMUM_VOLUME_DRIFT = 0.05
_GRID_LAGS = 64
_CHUNK_BYTES = 8 * 2**20
_MOMENT_ORIGINS = 500


@dataclass(frozen=True)
class Tracks:
    """Displacements of the atoms of one species since the first frame, drift removed, in fractions of the cell.

    Attributes
    ----------
    fractions
        Shape (frames, 3, atoms), float32.
    cell
        Mean cell, rows in A.
    first
        Shape (3, atoms): places in the first frame, in fractions of its cell.
    indices
        Shape (atoms,): numbers of the atoms in the Universe.
    frames
        Numbers of the frames in the trajectory.
    """

    fractions: NDArray[np.float32]
    cell: Floats
    first: Floats
    indices: Integers
    frames: range

    def of_atoms(self, start: int, stop: int) -> Floats:
        """Displacements of a range of atoms in A, shape (atoms, 3, frames)."""
        block = np.ascontiguousarray(self.fractions[:, :, start:stop].transpose(2, 1, 0), dtype=np.float64)
        return np.asarray(self.cell.T @ block)

    def beginning(self, n_frames: int) -> Tracks:
        """The same in the first frames alone."""
        return dataclasses.replace(self, fractions=self.fractions[:n_frames], frames=self.frames[:n_frames])


@dataclass(frozen=True)
class MeanSquareDisplacementResult(Result):
    """Mean-square displacements against lag time.

    Attributes
    ----------
    species
        Elements, in the order asked for.
    times
        Lag times in ps, shape (frames,); the first is 0.
    msd
        For each species the mean-square displacement in A^2, shape (frames,).
    n_atoms
        Atoms of each species.
    n_frames
        Frames used.
    frame_interval
        Time between them in ps.
    volume
        Mean volume of the box in A^3; NaN without a box.
    reference
        What the displacements are measured against.
    volume_drift
        Relative change of the volume over the frames, by a straight line through it; 0 for a constant box.
    collective
        Sums of the displacements of all species of the system, from the same frames.
    """

    species: tuple[str, ...]
    times: Floats
    msd: Mapping[str, Floats]
    n_atoms: Mapping[str, int]
    n_frames: int
    frame_interval: float
    volume: float
    reference: Reference
    volume_drift: float
    collective: SpeciesDisplacements
    _grid: Integers
    _per_atom: Mapping[str, NDArray[np.float32]]
    _tracks: Mapping[str, Tracks]

    @property
    def grid(self) -> Integers:
        """Lags in frames, evenly spaced in their logarithm, at which :meth:`per_atom` is known."""
        return self._grid

    def tracks(self, species: str) -> Tracks:
        """Path of each atom of a species since the first frame."""
        return self._tracks[self._checked(species)]

    def beginning(self, n_frames: int) -> MeanSquareDisplacementResult:
        """The same from the first frames alone, as if the run had ended there.

        Raises
        ------
        AnalysisError
            If that is fewer than 3 frames, or more than there are.
        """
        if not 3 <= n_frames <= self.n_frames:
            raise AnalysisError(f"n_frames is {n_frames}; it must be from 3 to {self.n_frames}")
        tracks = {name: track.beginning(n_frames) for name, track in self._tracks.items()}
        grid = _grid_of(n_frames)
        curves = {name: _multi_origin(track, grid) for name, track in tracks.items()}
        sums = {name: each[:n_frames] for name, each in self.collective.sums.items()}
        return dataclasses.replace(
            self,
            times=self.times[:n_frames],
            msd={name: curves[name][0] for name in self.species},
            n_frames=n_frames,
            collective=dataclasses.replace(self.collective, sums=sums),
            _grid=grid,
            _per_atom={name: curves[name][1] for name in self.species},
            _tracks=tracks,
        )

    def per_atom(self, species: str) -> NDArray[np.float32]:
        """Mean-square displacement of each atom at the lags of `grid` in A^2, shape (atoms, lags)."""
        return self._per_atom[self._checked(species)]

    def slopes(self, species: str) -> Floats:
        """Local log-log slope d ln MSD / d ln t at the lags of `grid`: 2 ballistic, 1 diffusive, 0 caged."""
        curve = self.msd[self._checked(species)][self._grid]
        with np.errstate(divide="ignore"):
            return np.asarray(np.gradient(np.log(curve), np.log(self._grid)))

    def independent_atoms(self, species: str, lag: int) -> float:
        """Number of atoms that would scatter as the real ones do if they moved independently.

        The squared displacement over `lag` frames, averaged over N independent atoms, varies from one time origin to
        the next N times less than that of one atom. The ratio of the two variances counts the independent atoms,
        at most N; atoms that jump together lower it.
        """
        tracks = self._tracks[self._checked(species)]
        n_atoms = tracks.fractions.shape[2]
        total = np.zeros(self.n_frames - lag)
        single = 0.0
        for start, stop in _chunks(n_atoms, self.n_frames * 24):
            displacement = tracks.of_atoms(start, stop)
            squared = np.sum((displacement[..., lag:] - displacement[..., :-lag]) ** 2, axis=1)
            total += squared.sum(axis=0)
            single += float(squared.var(axis=1).sum())
        together = float(total.var())
        return min(float(n_atoms), n_atoms * single / together) if together > 0 else float(n_atoms)

    def non_gaussian(self, species: str) -> Floats:
        r"""Non-Gaussian parameter at the lags of `grid`: 0 for Gaussian displacements, more where few atoms jump far.

        .. math:: \alpha_2 = \frac{3 \langle r^4 \rangle}{5 \langle r^2 \rangle^2} - 1

        (Rahman, Phys. Rev. 136, A405 (1964)), over at most 500 evenly spaced time origins of each lag.
        """
        tracks = self._tracks[self._checked(species)]
        n_atoms = tracks.fractions.shape[2]
        moments = np.zeros((2, len(self._grid)))
        for start, stop in _chunks(n_atoms, self.n_frames * 24):
            places = tracks.of_atoms(start, stop).transpose(2, 1, 0)
            for i, lag in enumerate(self._grid.tolist()):
                step = -(-(self.n_frames - lag) // _MOMENT_ORIGINS)
                squared = np.sum((places[lag::step] - places[:-lag:step]) ** 2, axis=1)
                moments[:, i] += squared.mean(axis=0).sum(), (squared**2).mean(axis=0).sum()
        second, fourth = moments / n_atoms
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(3 * fourth / (5 * second**2) - 1)

    def columns(self) -> Mapping[str, ArrayLike]:
        """Lag time and one column per species."""
        return {"time_ps": self.times, **{f"msd_{name}_A2": self.msd[name] for name in self.species}}

    def plot(self, ax: Any = None) -> Any:
        """Draw the curves on doubly logarithmic axes with a line of slope 1; returns the axes."""
        ax = plot_axes(ax)
        top = 0.0
        for name in self.species:
            ax.loglog(self.times[1:], self.msd[name][1:], label=name)
            top = max(top, float(self.msd[name][self.n_frames // 2]))
        if top > 0:
            middle = self.times[self.n_frames // 2]
            ax.loglog(self.times[1:], top * self.times[1:] / middle, ":", color="0.5", label="slope 1")
        ax.set_xlabel("lag time (ps)")
        ax.set_ylabel("mean-square displacement (Å²)")
        ax.legend()
        return ax

    def _checked(self, species: str) -> str:
        if species not in self.msd:
            raise AnalysisError(f"species {species!r} has no mean-square displacement here; {self.species} have")
        return species


class MeanSquareDisplacement:
    r"""Multi-origin mean-square displacement of each species.

    .. math:: MSD(m) = \frac{1}{N (T-m)} \sum_{i=1}^{N} \sum_{k=0}^{T-m-1} |r_i(k+m) - r_i(k)|^2

    for T frames, by the fast correlation algorithm [1]_: in T log T instead of T^2 operations and without an error of
    truncation. Positions are kept in float32 as displacements since the first frame, transformed in float64, a few
    hundred atoms at a time.

    **Box.** Displacements are taken in fractions of the cell of each frame and turned into lengths with the mean
    cell. That removes the scaling of all positions with the box, which a barostat applies and which is no diffusion;
    LAMMPS's unwrapped positions need it in particular, because the images of an atom move with the box [2]_. In a
    constant box the result is that of plain positions.

    Parameters
    ----------
    source
        MDAnalysis Universe, or AtomGroup whose atoms are looked at (the drift is still that of the whole Universe).
        Positions must be unwrapped, frames uniform in time, elements known.
    species
        Elements to look at; by default all in `source`.
    reference
        Whose centre of mass is held still: that of the whole "system", of the "framework" (all elements but `mobile`),
        or "none".
    mobile
        The elements that the framework leaves out.
    start, stop, step
        Frames to use, as in a slice.

    References
    ----------
    .. [1] V. Calandrini, E. Pellegrini, P. Calligari, K. Hinsen, G. R. Kneller, Collection SFN 12, 201 (2011).
    .. [2] S. von Buelow, J. T. Bullerjahn, G. Hummer, J. Chem. Phys. 153, 021101 (2020).
    """

    def __init__(
        self,
        source: Any,
        species: Sequence[str] | None = None,
        *,
        reference: Reference = "system",
        mobile: Sequence[str] = ("Na",),
        start: int | None = None,
        stop: int | None = None,
        step: int | None = None,
    ) -> None:
        check_reference(reference)
        self._atoms = checked_atoms(source, needs_box=False)
        self._universe = self._atoms.atoms.universe
        self.species = self._atoms.elements if species is None else tuple(species)
        self.reference: Reference = reference
        self._everything = checked_atoms(self._universe, needs_box=False)
        self._weights = drift_weights(self._everything, reference, mobile)
        self._indices = {name: self._atoms.atoms.indices[self._atoms.where(name)] for name in self.species}
        self._frames = checked_frames(self._universe.trajectory, start, stop, step)

    def run(self) -> MeanSquareDisplacementResult:
        """Read the trajectory once and compute.

        Raises
        ------
        AnalysisError
            If there are fewer than 3 frames, frames are not uniform in time, positions are wrapped, a frame lacks the
            box that the first one has, the volume drifts by more than 5 %, or the box varies with `reference` "none".
        """
        if len(self._frames) < 3:
            raise AnalysisError(
                f"{len(self._frames)} frames are too few for a mean-square displacement; 3 are the least"
            )
        fractions, first, sums, cells, times = self._read()
        interval = uniform_interval(times)
        volumes = np.linalg.det(cells)
        drift = volume_drift_of(volumes)
        constant = bool(np.allclose(cells, cells[0], rtol=1e-5, atol=1e-5))
        if drift > MAXIMUM_VOLUME_DRIFT:
            raise AnalysisError(
                f"the volume changes by {100 * drift:.1f} % over the frames used; at most "
                f"{100 * MAXIMUM_VOLUME_DRIFT:.0f} % is allowed, so leave out the equilibration with start"
            )
        if not constant and self.reference == "none":
            raise AnalysisError("reference is 'none' in a box that varies; it must be 'system' or 'framework' there")
        tracks = {
            name: Tracks(fractions[name], cells.mean(axis=0), first[:, indices], indices, self._frames)
            for name, indices in self._indices.items()
        }
        grid = _grid_of(len(times))
        curves = {name: _multi_origin(tracks[name], grid) for name in self.species}
        return MeanSquareDisplacementResult(
            species=self.species,
            times=interval * np.arange(len(times), dtype=np.float64),
            msd={name: curves[name][0] for name in self.species},
            n_atoms={name: len(self._indices[name]) for name in self.species},
            n_frames=len(times),
            frame_interval=interval,
            volume=float(volumes.mean()) if self._has_box else float("nan"),
            reference=self.reference,
            volume_drift=0.0 if constant else drift,
            collective=self._collective(sums, cells, interval),
            _grid=grid,
            _per_atom={name: curves[name][1] for name in self.species},
            _tracks=tracks,
        )

    @property
    def _has_box(self) -> bool:
        return self._universe.trajectory.ts.dimensions is not None

    def _collective(self, sums: Floats, cells: Floats, interval: float) -> SpeciesDisplacements:
        everything = self._everything
        lengths = sums @ cells.mean(axis=0)
        return SpeciesDisplacements(
            sums={name: lengths[:, i] for i, name in enumerate(everything.elements)},
            frame_interval=interval,
            n_atoms=everything.counts,
            masses={name: float(everything.masses[everything.where(name)].sum()) for name in everything.elements},
            volume=float(np.linalg.det(cells).mean()) if self._has_box else float("nan"),
        )

    def _read(self) -> tuple[dict[str, NDArray[np.float32]], Floats, Floats, Floats, Floats]:
        """Displacements of each species, first places and sums of displacements; cells and times of all frames.

        All but the last two in fractions of the cell.
        """
        trajectory = self._universe.trajectory
        trajectory[self._frames[0]]
        boxed = self._has_box
        count = len(self._frames)
        fractions = {
            name: np.empty((count, 3, len(indices)), dtype=np.float32) for name, indices in self._indices.items()
        }
        cells, times = np.tile(np.eye(3), (count, 1, 1)), np.empty(count)
        everything = self._everything
        sums = np.empty((count, len(everything.elements), 3))
        weights = np.zeros(everything.n_atoms) if self._weights is None else self._weights
        follow, take = compiled(loops.follow), compiled(loops.take)
        places = moved = first = np.empty((3, 0))
        jumps = BoxJumps()
        for k, ts in enumerate(trajectory[self._frames.start : _stop(self._frames) : self._frames.step]):
            times[k] = ts.time
            if boxed:
                cells[k] = checked_box(ts)
            inverse = np.linalg.inv(cells[k])
            positions = np.ascontiguousarray(ts.positions, dtype=np.float32)
            if k == 0:
                first = np.ascontiguousarray((positions.astype(np.float64) @ inverse).T)
                places, moved = first.copy(), np.empty_like(first)
            seen = jumps.counts, jumps.low, jumps.high
            follow(positions, inverse, first, places, moved, weights, everything.types, *seen, sums[k])
            for name, indices in self._indices.items():
                take(moved, indices, fractions[name][k])
        if boxed:
            jumps.refuse_wrapped()
        return fractions, first, sums, cells, times


def _grid_of(n_frames: int) -> Integers:
    return np.unique(np.geomspace(1, n_frames - 1, _GRID_LAGS).round().astype(np.int64))


def _stop(frames: range) -> int:
    return frames[-1] + 1


def _chunks(n_atoms: int, bytes_per_atom: int) -> list[tuple[int, int]]:
    size = max(1, _CHUNK_BYTES // bytes_per_atom)
    return [(start, min(start + size, n_atoms)) for start in range(0, n_atoms, size)]


def _multi_origin(tracks: Tracks, grid: Integers) -> tuple[Floats, NDArray[np.float32]]:
    """Mean-square displacement of the species at all lags, and of each atom at the lags of `grid`."""
    from scipy import fft

    n_frames, _, n_atoms = tracks.fractions.shape
    size = fft.next_fast_len(2 * n_frames - 1, real=True)
    workers = len(os.sched_getaffinity(0))
    centred, power, finish = compiled(loops.centred), compiled(loops.power), compiled(loops.finish)
    total = np.zeros(n_frames)
    per_atom = np.empty((n_atoms, len(grid)), dtype=np.float32)
    for start, stop in _chunks(n_atoms, 3 * 8 * size):
        paths, squares = np.empty((stop - start, 3, n_frames)), np.empty((stop - start, n_frames))
        centred(tracks.fractions[:, :, start:stop], tracks.cell, paths, squares)
        spectrum = fft.rfft(paths, size, axis=2, workers=workers, overwrite_x=True)
        summed = np.empty((stop - start, spectrum.shape[2]))
        power(spectrum, summed)
        products = fft.irfft(summed, size, axis=1, workers=workers, overwrite_x=True)
        finish(squares, products, grid, total, per_atom[start:stop])
    return total / n_atoms, per_atom
