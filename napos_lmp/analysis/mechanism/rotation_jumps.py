"""Do anion groups turn where an ion jumps? The rotation of groups near jumps against the same groups at other times."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napos_lmp.analysis.base import Estimate, Floats, Integers, Result
from napos_lmp.analysis.jackknife import jackknife_estimate, ratio
from napos_lmp.analysis.mechanism.rotation import frames_apart, rotation_angles
from napos_lmp.analysis.mechanism.stretches import GroupHistory, Stretch
from napos_lmp.errors import AnalysisError

NEAR = 5.0
"""Distance in A from the middle of a jump within which a group is near: the former of a group that the ion touches."""
WINDOW = 2.0
"""Time in ps over which rotations are taken, the jump in its middle."""

_MOST_WINDOWS = 500
_FEWEST = 10
_SHUFFLES = 4
_SEED = 1


@dataclass(frozen=True)
class RotationNearJumpsResult(Result):
    """Rotation of groups near jumps, and of the same groups at other times.

    Attributes
    ----------
    ratio
        Mean angle near jumps over that of the same groups at other times; 1 where jumps and rotations do not know of
        each other. The interval is the jackknife over ions.
    shuffled
        The same ratio with the times of the jumps dealt anew among them, mean of four deals: what the places of the
        jumps and the choice of windows make of it without any coupling. A ratio within its interval says nothing.
    near, elsewhere
        The two mean angles, degrees.
    window, radius
        In ps and A.
    n_jumps, n_pairs
        Jumps that had a group near them, and pairs of a jump and a group.
    """

    ratio: Estimate
    shuffled: Estimate
    near: Estimate
    elsewhere: Estimate
    window: float
    radius: float
    n_jumps: int
    n_pairs: int

    def columns(self) -> Mapping[str, ArrayLike]:
        """One row a number."""
        rows = {"ratio": self.ratio, "ratio_shuffled": self.shuffled, "near_deg": self.near}
        rows["elsewhere_deg"] = self.elsewhere
        return {
            "quantity": list(rows),
            "value": [estimate.value for estimate in rows.values()],
            "low": [estimate.low for estimate in rows.values()],
            "high": [estimate.high for estimate in rows.values()],
        }


def rotation_near_jumps(
    history: GroupHistory,
    ions: ArrayLike,
    frames: ArrayLike,
    origins: ArrayLike,
    destinations: ArrayLike,
    *,
    window: float = WINDOW,
    radius: float = NEAR,
) -> RotationNearJumpsResult:
    r"""Compare the rotation of groups while an ion jumps near them with that at other times.

    A jump's groups are those whose former is within `radius` of the middle of its origin and destination. Their angle
    (Kabsch) is taken from half a window before to half a window after the jump, and compared with the mean over
    windows of the same group, with the same bonds, in which no ion jumps near it:

    .. math:: R = \frac{\sum_{j,g} \theta_g(t_j)}{\sum_{j,g} \langle \theta_g \rangle_{no\ jump}}

    Parameters
    ----------
    history
        The groups.
    ions
        Shape (n,): any number of the ion that jumps; ions are the independent parts of the interval.
    frames
        Shape (n,): frame of the trajectory in which it is in its new place.
    origins, destinations
        Shape (n, 3): where it jumps from and to, A, wrapped or not.
    window
        Length of the windows, ps.
    radius
        In A.

    Raises
    ------
    AnalysisError
        If the arrays do not fit each other, the window is shorter than two frames or longer than half the run, or
        fewer than 10 pairs of a jump and a group can be followed through the window.
    """
    ion, frame = np.asarray(ions, dtype=np.int64), np.asarray(frames, dtype=np.int64)
    middle = (np.asarray(origins, dtype=np.float64) + np.asarray(destinations, dtype=np.float64)) / 2
    if not (ion.shape == frame.shape == middle.shape[:1] and middle.shape[1:] == (3,)):
        raise AnalysisError(
            f"the arrays of the jumps have shapes {ion.shape}, {frame.shape} and {middle.shape}; they must be (n,), "
            "(n,) and (n, 3)"
        )
    steps = round(window / history.frame_interval)
    if not 2 <= steps <= history.n_frames // 2:
        raise AnalysisError(
            f"window is {window:g} ps; it must be from {2 * history.frame_interval:g} to "
            f"{history.n_frames // 2 * history.frame_interval:g} ps, half of the run"
        )
    places = (frame - history.frames.start) // history.frames.step
    inside = (places >= 0) & (places < history.n_frames)
    ion, places, middle = ion[inside], places[inside], middle[inside]
    n_jumps, n_pairs, sums = _sums_of_ions(history, ion, places, middle, radius, steps)
    if n_pairs < _FEWEST:
        raise AnalysisError(
            f"{n_pairs} pairs of a jump and a group within {radius:g} A can be followed through a window of "
            f"{window:g} ps; {_FEWEST} are the least"
        )
    rng = np.random.default_rng(_SEED)
    dealt = [_sums_of_ions(history, ion, rng.permutation(places), middle, radius, steps)[2] for _ in range(_SHUFFLES)]
    return RotationNearJumpsResult(
        ratio=jackknife_estimate(sums[:, :2], ratio, "", limits=(0.0, math.inf)),
        shuffled=jackknife_estimate(np.sum(dealt, axis=0)[:, :2], ratio, "", limits=(0.0, math.inf)),
        near=jackknife_estimate(sums[:, [0, 2]], ratio, "deg", limits=(0.0, 180.0)),
        elsewhere=jackknife_estimate(sums[:, [1, 2]], ratio, "deg", limits=(0.0, 180.0)),
        window=steps * history.frame_interval,
        radius=radius,
        n_jumps=n_jumps,
        n_pairs=n_pairs,
    )


def _sums_of_ions(
    history: GroupHistory, ion: Integers, places: Integers, middle: Floats, radius: float, steps: int
) -> tuple[int, int, Floats]:
    """Jumps and pairs that count; sums of the angles at jumps and at rest, and pairs, shape (ions, 3)."""
    found = _compare(history, _near(history, places, middle, radius), places, steps)
    jumps = found[:, 0].astype(np.int64)
    ions, part = np.unique(ion, return_inverse=True)
    sums = np.zeros((len(ions), 3))
    np.add.at(sums, part[jumps], np.column_stack([found[:, 1:], np.ones(len(found))]))
    return len(np.unique(jumps)), len(found), sums


def _near(history: GroupHistory, places: Integers, middle: Floats, radius: float) -> NDArray[np.bool_]:
    """Whether each former is near the middle of each jump in its frame, shape (jumps, formers)."""
    boxes = history.boxes[places]
    difference = history.centres[places].astype(np.float64) - middle[:, None]
    fractions = np.einsum("jfa,jab->jfb", difference, np.linalg.inv(boxes))
    shortest = np.einsum("jfa,jab->jfb", fractions - np.round(fractions), boxes)
    return np.asarray(np.linalg.norm(shortest, axis=2) < radius)


def _compare(history: GroupHistory, near: NDArray[np.bool_], places: Integers, steps: int) -> Floats:
    """Rows of a jump's number, the angle of a group near it and the mean angle of that group without jumps."""
    rows: list[tuple[float, float, float]] = []
    for stretch in history.stretches:
        if stretch.vectors.shape[1] < 2:
            continue
        own = np.flatnonzero(near[:, stretch.former])
        starts = places[own] - steps // 2
        lived = (starts >= stretch.places[0]) & (starts + steps <= stretch.places[-1])
        own, starts = own[lived], starts[lived]
        before, after = frames_apart(stretch.places, steps)
        if len(own) == 0 or len(before) == 0:
            continue
        first = stretch.places[before]
        index = np.searchsorted(first, starts)
        there = (index < len(first)) & (first[np.minimum(index, len(first) - 1)] == starts)
        quiet = _quiet(first, places[near[:, stretch.former]], steps)
        if not there.any() or not quiet.any():
            continue
        chosen = np.flatnonzero(quiet)[:: -(-int(quiet.sum()) // _MOST_WINDOWS)]
        at_rest = float(_angles(stretch, before[chosen], after[chosen]).mean())
        at_jump = _angles(stretch, before[index[there]], after[index[there]])
        rows += [(jump, angle, at_rest) for jump, angle in zip(own[there].tolist(), at_jump.tolist(), strict=True)]
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def _quiet(starts: Integers, jumps: Integers, steps: int) -> NDArray[np.bool_]:
    """Windows that no jump near the group falls into."""
    times = np.sort(jumps)
    return np.asarray(np.searchsorted(times, starts) == np.searchsorted(times, starts + steps, side="right"))


def _angles(stretch: Stretch, before: Integers, after: Integers) -> Floats:
    return rotation_angles(stretch.vectors[before], stretch.vectors[after])
