"""Loops over atoms and frames that numba compiles for mean-square displacements, as those of `compiled` are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napos_lmp.analysis.base import Floats, Integers

Singles = NDArray[np.float32]


def follow(
    positions: Singles,
    inverse: Floats,
    first: Floats,
    previous: Floats,
    moved: Floats,
    weights: Floats,
    types: Integers,
    counts: Integers,
    low: Floats,
    high: Floats,
    sums: Floats,
) -> None:
    """Add one frame to the path of every atom, in fractions of the cell.

    Parameters
    ----------
    positions
        Shape (N, 3), A.
    inverse
        Inverse of the cell, shape (3, 3).
    first, previous
        Shape (3, N): places in the first frame and in that before; `previous` holds those of this frame afterwards.
    moved
        Filled: displacements since the first frame, drift removed, shape (3, N).
    weights
        Shape (N,): share of each atom in what is held still; all 0 for nothing.
    types
        Shape (N,).
    counts
        Moves since the frame before of 0.75 to 1.25, of 0.25 to 0.75 and of more than 0.5, added to.
    low, high
        Shape (3,): ends of all places, made wider.
    sums
        Shape (types, 3): sums of the displacements of each type.
    """
    sums[:] = 0.0
    for axis in range(3):
        x, y, z = inverse[0, axis], inverse[1, axis], inverse[2, axis]
        least, most, drift = low[axis], high[axis], 0.0
        for i in range(len(positions)):
            place = positions[i, 0] * x + positions[i, 1] * y + positions[i, 2] * z
            move = abs(place - previous[axis, i])
            if move > 0.25:
                counts[0] += 0.75 < move < 1.25
                counts[1] += move <= 0.75
                counts[2] += move > 0.5
            least, most = min(least, place), max(most, place)
            previous[axis, i] = place
            moved[axis, i] = place - first[axis, i]
            drift += weights[i] * moved[axis, i]
        low[axis], high[axis] = least, most
        for i in range(len(positions)):
            moved[axis, i] -= drift
            sums[types[i], axis] += moved[axis, i]


def take(moved: Floats, indices: Integers, fractions: Singles) -> None:
    """Store the displacements, shape (3, N), of some atoms in an array of shape (3, n)."""
    for axis in range(3):
        for n in range(len(indices)):
            fractions[axis, n] = moved[axis, indices[n]]


def centred(fractions: Singles, cell: Floats, paths: Floats, squares: Floats) -> None:
    """Paths of some atoms in A about their mean, and the squares of their lengths.

    Parameters
    ----------
    fractions
        Shape (frames, 3, n): displacements in fractions of the cell.
    cell
        Rows in A, shape (3, 3).
    paths, squares
        Filled: shapes (n, 3, frames) and (n, frames).
    """
    n_frames, _, n_atoms = fractions.shape
    for n in range(n_atoms):
        mean_x = mean_y = mean_z = 0.0
        for k in range(n_frames):
            x, y, z = fractions[k, 0, n], fractions[k, 1, n], fractions[k, 2, n]
            paths[n, 0, k] = x * cell[0, 0] + y * cell[1, 0] + z * cell[2, 0]
            paths[n, 1, k] = x * cell[0, 1] + y * cell[1, 1] + z * cell[2, 1]
            paths[n, 2, k] = x * cell[0, 2] + y * cell[1, 2] + z * cell[2, 2]
            mean_x += paths[n, 0, k]
            mean_y += paths[n, 1, k]
            mean_z += paths[n, 2, k]
        for k in range(n_frames):
            x = paths[n, 0, k] - mean_x / n_frames
            y = paths[n, 1, k] - mean_y / n_frames
            z = paths[n, 2, k] - mean_z / n_frames
            paths[n, 0, k], paths[n, 1, k], paths[n, 2, k] = x, y, z
            squares[n, k] = x * x + y * y + z * z


def power(spectrum: NDArray[np.complex128], summed: Floats) -> None:
    """Power spectra, shape (n, frequencies), of spectra of shape (n, 3, frequencies), summed over the directions."""
    for n in range(spectrum.shape[0]):
        for f in range(spectrum.shape[2]):
            total = 0.0
            for axis in range(3):
                value = spectrum[n, axis, f]
                total += value.real**2 + value.imag**2
            summed[n, f] = total


def finish(squares: Floats, products: Floats, grid: Integers, total: Floats, per_atom: Singles) -> None:
    """Mean-square displacements from squares, shape (n, frames), and correlations, of at least as many columns.

    Parameters
    ----------
    squares, products
        Of each path: its squares, and its correlation with itself, summed over all origins.
    grid
        Lags to keep.
    total
        Shape (frames,): sum over the atoms, added to.
    per_atom
        Filled: shape (n, lags).
    """
    n_atoms, n_frames = squares.shape
    curve = np.empty(n_frames)
    for n in range(n_atoms):
        ends = 0.0
        for k in range(n_frames):
            ends += 2 * squares[n, k]
        curve[0] = 0.0
        for lag in range(1, n_frames):
            ends -= squares[n, lag - 1] + squares[n, n_frames - lag]
            curve[lag] = max(0.0, ends - 2 * products[n, lag]) / (n_frames - lag)
            total[lag] += curve[lag]
        for i in range(len(grid)):
            per_atom[n, i] = curve[grid[i]]
