"""Loops over ions and frames that numba compiles for the mechanism of ion motion, as those of `compiled` are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napos_lmp.analysis.base import Floats, Integers

Singles = NDArray[np.float32]


def longest_move(fractions: Singles, cell: Floats, lag: int, step: int) -> float:
    """Longest distance in A that any atom moves in `lag` frames, from every `step`-th frame on; as `count_self`."""
    n_frames, _, n_atoms = fractions.shape
    longest = 0.0
    for k in range(0, n_frames - lag, step):
        for n in range(n_atoms):
            a = fractions[k + lag, 0, n] - fractions[k, 0, n]
            b = fractions[k + lag, 1, n] - fractions[k, 1, n]
            c = fractions[k + lag, 2, n] - fractions[k, 2, n]
            x = a * cell[0, 0] + b * cell[1, 0] + c * cell[2, 0]
            y = a * cell[0, 1] + b * cell[1, 1] + c * cell[2, 1]
            z = a * cell[0, 2] + b * cell[1, 2] + c * cell[2, 2]
            longest = max(longest, x * x + y * y + z * z)
    return float(np.sqrt(longest))


def count_self(
    fractions: Singles, cell: Floats, lag: int, step: int, width: float, counts: Integers, moments: Floats
) -> None:
    """Histogram of the distances that atoms move in `lag` frames, from every `step`-th frame on.

    Parameters
    ----------
    fractions
        Shape (frames, 3, n): displacements in fractions of the cell.
    cell
        Rows in A, shape (3, 3).
    lag, step
        In frames.
    width
        Of a bin, A.
    counts
        Shape (blocks, bins + 1), added to: blocks of consecutive origins; the last bin holds all that is farther.
    moments
        Shape (2,), added to: sums of the second and fourth power of the distance.
    """
    n_frames, _, n_atoms = fractions.shape
    n_blocks, n_bins = len(counts), counts.shape[1] - 1
    origins = n_frames - lag
    for k in range(0, origins, step):
        block = k * n_blocks // origins
        for n in range(n_atoms):
            a = fractions[k + lag, 0, n] - fractions[k, 0, n]
            b = fractions[k + lag, 1, n] - fractions[k, 1, n]
            c = fractions[k + lag, 2, n] - fractions[k, 2, n]
            x = a * cell[0, 0] + b * cell[1, 0] + c * cell[2, 0]
            y = a * cell[0, 1] + b * cell[1, 1] + c * cell[2, 1]
            z = a * cell[0, 2] + b * cell[1, 2] + c * cell[2, 2]
            squared = x * x + y * y + z * z
            moments[0] += squared
            moments[1] += squared * squared
            counts[block, min(int(np.sqrt(squared) / width), n_bins)] += 1


def count_distinct(
    first: Floats, fractions: Singles, cell: Floats, lag: int, step: int, width: float, counts: Integers
) -> None:
    """Histogram of the distances from where atoms were to where the others of their kind are `lag` frames later.

    Parameters
    ----------
    first
        Shape (3, n): places in the first frame, in fractions of the cell.
    fractions, cell, lag, step, width
        As for :func:`count_self`.
    counts
        Shape (blocks, bins), added to; the bins reach no farther than half the smallest height of the cell.
    """
    n_frames, _, n_atoms = fractions.shape
    n_blocks, n_bins = counts.shape
    origins = n_frames - lag
    longest = (n_bins * width) ** 2
    for k in range(0, origins, step):
        block = k * n_blocks // origins
        for n in range(n_atoms):
            u = first[0, n] + fractions[k, 0, n]
            v = first[1, n] + fractions[k, 1, n]
            w = first[2, n] + fractions[k, 2, n]
            for q in range(n_atoms):
                if q == n:
                    continue
                a = first[0, q] + fractions[k + lag, 0, q] - u
                b = first[1, q] + fractions[k + lag, 1, q] - v
                c = first[2, q] + fractions[k + lag, 2, q] - w
                a -= np.floor(a + 0.5)
                b -= np.floor(b + 0.5)
                c -= np.floor(c + 0.5)
                x = a * cell[0, 0] + b * cell[1, 0] + c * cell[2, 0]
                y = a * cell[0, 1] + b * cell[1, 1] + c * cell[2, 1]
                z = a * cell[0, 2] + b * cell[1, 2] + c * cell[2, 2]
                squared = x * x + y * y + z * z
                if squared < longest:
                    counts[block, min(int(np.sqrt(squared) / width), n_bins - 1)] += 1


def find_cages(path: Floats, squared: float, fewest: int, starts: Integers) -> int:
    """Cut the path of one ion wherever it leaves a cage.

    An ion has left its cage when it is farther from the cage's centre than a threshold for `fewest` frames on end. The
    centre is the mean over those of the cage's frames so far that lie within the threshold.

    Parameters
    ----------
    path
        Shape (frames, 3), A.
    squared
        Square of the threshold, A^2.
    fewest
        Least frames of a cage.
    starts
        Filled: first frame of each cage; room for as many as there are frames.

    Returns
    -------
    count
        Number of cages.
    """
    n_frames = len(path)
    starts[0] = 0
    count, frame = 1, min(fewest, n_frames)
    x, y, z = np.mean(path[:frame, 0]), np.mean(path[:frame, 1]), np.mean(path[:frame, 2])
    inside = frame
    while frame < n_frames:
        stop, k = min(frame + fewest, n_frames), frame
        while k < stop and (path[k, 0] - x) ** 2 + (path[k, 1] - y) ** 2 + (path[k, 2] - z) ** 2 > squared:
            k += 1
        if k == frame:
            inside += 1
            x += (path[frame, 0] - x) / inside
            y += (path[frame, 1] - y) / inside
            z += (path[frame, 2] - z) / inside
            frame += 1
        elif k < frame + fewest:
            frame = k
        else:
            starts[count] = frame
            count += 1
            x, y, z = np.mean(path[frame:k, 0]), np.mean(path[frame:k, 1]), np.mean(path[frame:k, 2])
            inside = fewest
            frame = k
    return count


def place_centres(path: Floats, starts: Integers, centres: Floats) -> None:
    """Fill `centres`, shape (cages, 3), with the mean places of the cages."""
    for i in range(len(starts)):
        end = starts[i + 1] if i + 1 < len(starts) else len(path)
        for axis in range(3):
            centres[i, axis] = np.mean(path[starts[i] : end, axis])


def settle_boundaries(path: Floats, starts: Integers, centres: Floats, fewest: int) -> None:
    """Move each boundary of cages to where frames stop being nearer to the old centre than to the new one."""
    for i in range(1, len(starts)):
        least = starts[i - 1] + fewest
        most = (starts[i + 1] if i + 1 < len(starts) else len(path)) - fewest
        boundary, turned = starts[i], False
        while least <= boundary <= most:
            frame = boundary if turned else boundary - 1
            excess = 0.0
            for axis in range(3):
                excess += (path[frame, axis] - centres[i - 1, axis]) ** 2 - (path[frame, axis] - centres[i, axis]) ** 2
            if turned and excess < 0 and boundary < most:
                boundary += 1
            elif not turned and excess > 0 and boundary > least:
                boundary -= 1
            elif not turned and boundary == starts[i]:
                turned = True
            else:
                break
        starts[i] = boundary


def merge_cages(n_frames: int, starts: Integers, centres: Floats, squared: float) -> int:
    """Make one of neighbouring cages whose centres are no farther apart than the threshold; returns how many remain."""
    count, changed = len(starts), True
    weights = np.empty(count)
    for i in range(count):
        weights[i] = (starts[i + 1] if i + 1 < count else n_frames) - starts[i]
    while changed:
        changed = False
        kept = 1
        for i in range(1, count):
            apart = 0.0
            for axis in range(3):
                apart += (centres[i, axis] - centres[kept - 1, axis]) ** 2
            if apart > squared:
                starts[kept], weights[kept] = starts[i], weights[i]
                centres[kept] = centres[i]
                kept += 1
                continue
            changed = True
            both = weights[kept - 1] + weights[i]
            centres[kept - 1] = (weights[kept - 1] * centres[kept - 1] + weights[i] * centres[i]) / both
            weights[kept - 1] = both
        count = kept
    return count


def spread_in_cages(path: Floats, starts: Integers, centres: Floats) -> tuple[float, float, float]:
    """Sums over the frames of one ion: squared distance from the centres of cages, and how far cages wander.

    Returns
    -------
    squares
        Sum over all frames of the squared distance from the centre, A^2.
    wander, frames
        Sum of the squared distance between the means over the first and second half of each cage of at least 4 frames,
        A^2, times its frames, and the number of those frames.
    """
    squares = wander = frames = 0.0
    for i in range(len(starts)):
        end = starts[i + 1] if i + 1 < len(starts) else len(path)
        middle = (starts[i] + end) // 2
        for axis in range(3):
            squares += np.sum((path[starts[i] : end, axis] - centres[i, axis]) ** 2)
            if end - starts[i] >= 4:
                apart = np.mean(path[starts[i] : middle, axis]) - np.mean(path[middle:end, axis])
                wander += (end - starts[i]) * apart**2
        if end - starts[i] >= 4:
            frames += end - starts[i]
    return squares, wander, frames
