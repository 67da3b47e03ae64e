"""Where ions rest: the path of each ion cut into cages, without a lattice to name them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napos_lmp.analysis.base import Floats, Integers
from napos_lmp.analysis.compiled import compiled
from napos_lmp.analysis.mechanism import mechanism_loops as loops
from napos_lmp.analysis.transport.msd import Tracks

_CHUNK_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Cages:
    """Cages of all ions, in the order of the ions and of time.

    Attributes
    ----------
    ion
        Shape (C,): number of the ion among those of its species.
    start, stop
        Shape (C,): first frame of the cage, and the first after it, counted from 0 in the frames used.
    centre
        Shape (C, 3): mean place, A, unwrapped, drift removed.
    fewest
        Least frames of a cage.
    n_ions
        Number of ions.
    spread
        Shape (ions, 4): sums over the frames of each ion of the squared distance from the centres of its cages, A^2,
        and of 1; and over the cages of at least 4 frames, of their frames times the squared distance between the means
        over their first and second half, A^2, and of their frames.
    """

    ion: Integers
    start: Integers
    stop: Integers
    centre: Floats
    fewest: int
    n_ions: int
    spread: Floats

    @property
    def left(self) -> Integers:
        """Numbers of the cages that their ion left by a jump; the next number is the cage that it came to."""
        return np.flatnonzero(self.ion[:-1] == self.ion[1:]).astype(np.int64)

    def exposure(self) -> Floats:
        """Shape (ions, 2): jumps, and the frames in which each ion could have made one that would have been seen.

        A rest shorter than the least is not seen as one, so that only frames after the least of each cage count. The
        ratio is then the maximum-likelihood estimate of the probability of a jump in a frame, for an exponential law
        that is cut off at its left, and at its right by the end of the run.
        """
        counts = np.zeros((self.n_ions, 2))
        np.add.at(counts[:, 0], self.ion[self.left], 1)
        np.add.at(counts[:, 1], self.ion, self.stop - self.start - self.fewest)
        counts[:, 1] += counts[:, 0]
        return counts


def find_cages(tracks: Tracks, threshold: float, fewest: int) -> Cages:
    """Cut the paths of all atoms of a species wherever they leave a cage for good.

    An ion has left its cage when it is farther than `threshold` from the cage's centre, the mean of its places there so
    far, for `fewest` frames on end. The cut is then put where the ion stops being nearer to the old centre than to the
    new one, and neighbouring cages whose centres are within `threshold` are made one.

    Parameters
    ----------
    tracks
        Displacements of the species.
    threshold
        In A.
    fewest
        Least frames of a cage; no more than there are frames.
    """
    n_frames, _, n_ions = tracks.fractions.shape
    places = tracks.first.T @ tracks.cell
    ions, starts, stops, centres, spreads = [], [], [], [], []
    size = max(1, _CHUNK_BYTES // (24 * n_frames))
    for begin in range(0, n_ions, size):
        end = min(begin + size, n_ions)
        paths = np.ascontiguousarray(tracks.of_atoms(begin, end).transpose(0, 2, 1)) + places[begin:end, None]
        for ion, path in enumerate(paths, begin):
            start, centre = _cages_of(path, threshold**2, fewest)
            squares, wander, long = compiled(loops.spread_in_cages)(path, start, centre)
            ions.append(np.full(len(start), ion, dtype=np.int64))
            starts.append(start)
            stops.append(np.append(start[1:], n_frames))
            centres.append(centre)
            spreads.append((squares, n_frames, wander, long))
    return Cages(
        ion=np.concatenate(ions),
        start=np.concatenate(starts),
        stop=np.concatenate(stops),
        centre=np.concatenate(centres),
        fewest=fewest,
        n_ions=n_ions,
        spread=np.array(spreads),
    )


def _cages_of(path: Floats, squared: float, fewest: int) -> tuple[Integers, Floats]:
    """First frames and centres of the cages of one ion."""
    room = np.zeros(len(path) // fewest + 1, dtype=np.int64)
    starts = room[: compiled(loops.find_cages)(path, squared, fewest, room)]
    centres = np.empty((len(starts), 3))
    place = compiled(loops.place_centres)
    place(path, starts, centres)
    compiled(loops.settle_boundaries)(path, starts, centres, fewest)
    place(path, starts, centres)
    kept = compiled(loops.merge_cages)(len(path), starts, centres, squared)
    return starts[:kept].copy(), centres[:kept].copy()
