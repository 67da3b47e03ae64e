"""What a trajectory must be for displacements: positions that are unwrapped, frames that are uniform in time."""

from __future__ import annotations

import numpy as np

from napos_lmp.analysis.base import Floats
from napos_lmp.errors import AnalysisError


class BoxJumps:
    """Moves between neighbouring frames, in fractions of the box, that tell wrapped from unwrapped positions.

    An atom put back into the box moves by nearly a whole box length. Real motion over so long a way would show even
    more moves of about half a box length, and would in time leave the box.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(3, dtype=np.int64)
        self.low, self.high = np.full(3, np.inf), np.full(3, -np.inf)

    def refuse_wrapped(self) -> None:
        """Refuse wrapped positions.

        Raises
        ------
        AnalysisError
            If the moves seen are those of atoms put back into the box.
        """
        whole, half, far = self.counts.tolist()
        stays_inside = far > 0 and bool(np.all(self.high - self.low < 1.02))
        if whole > half or stays_inside:
            raise AnalysisError(
                f"positions are wrapped: {far} moves between neighbouring frames are about a box length; "
                "write them unwrapped ('dump_modify ID unwrap yes' for a LAMMPS dcd dump, columns xu yu zu for a text "
                "dump), or add the transformation NoJump of MDAnalysis to the trajectory"
            )


def uniform_interval(times: Floats) -> float:
    """Time between frames, in the unit of `times`, shape (frames,).

    Raises
    ------
    AnalysisError
        If times do not rise, or not evenly.
    """
    intervals = np.diff(times)
    interval = float(np.median(intervals))
    if interval <= 0:
        raise AnalysisError(f"the times of the frames do not rise: the first are {times[:3].tolist()} ps")
    uneven = np.flatnonzero(np.abs(intervals - interval) > 1e-3 * interval)
    if len(uneven):
        k = int(uneven[0])
        raise AnalysisError(
            f"frames are not uniform in time: {interval:g} ps apart, but {intervals[k]:g} ps between frames {k} and "
            f"{k + 1} of those used; choose a stretch without a hole"
        )
    return float((times[-1] - times[0]) / (len(times) - 1))


def volume_drift_of(volumes: Floats) -> float:
    """Change of the volume over the frames by a straight line through it, over its mean."""
    time = np.linspace(-0.5, 0.5, len(volumes))
    return abs(float(time @ volumes / (time @ time))) / float(volumes.mean())
