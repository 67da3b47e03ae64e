"""Reorientation of anion groups on the frames of one stage as quantities with keys, for `analysis.json`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.base import Estimate, checked_frames
from napos_lmp.analysis.findings import Findings
from napos_lmp.analysis.mechanism.rotation import GroupRotation, GroupRotationResult, KindRotation
from napos_lmp.analysis.mechanism.rotation_jumps import rotation_near_jumps
from napos_lmp.analysis.mechanism.stretches import GroupHistories
from napos_lmp.analysis.network.network import Network
from napos_lmp.analysis.quantities.shared import refused
from napos_lmp.analysis.results import Quantity
from napos_lmp.errors import AnalysisError

REFERENCE_TIME = 5.0
"""Lag in ps at which correlations and angles are told, so that glasses compare; the longest lag where it is shorter."""
MOST_FRAMES = 2500
"""Longer trajectories are read in steps of several frames."""

NEAR_JUMPS = (
    "rotation.near_jumps",
    "rotation of groups while an ion leaves near them, over that at other times",
)

_ALL_FRAMES = slice(None)
_FEWEST_GROUPS = 3
_LEAST_SHARE = 0.02

Jumps = tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike]
"""Of every jump: number of the ion, frame of the trajectory, origin and destination in A."""


def measure_rotation(
    source: Any,
    *,
    jumps: Jumps | None = None,
    frames: slice = _ALL_FRAMES,
    cutoffs: Mapping[str, float] | None = None,
    workers: int | None = None,
) -> Findings:
    """Reorientation of all kinds of groups and bonds, and of groups near jumps.

    Parameters
    ----------
    source
        MDAnalysis Universe with elements, or the :class:`~napos_lmp.analysis.network.network.Network` that the
        structure was measured with.
    jumps
        Of the mobile ion, if they were found.
    frames
        Those to use.
    cutoffs
        Longest bonds in A by pair; not with a Network, which has its own.
    workers
        Most processes.
    """
    found = Findings()
    options: dict[str, Any] = {"cutoffs": cutoffs} if cutoffs is not None else {}
    try:
        universe = source.atoms.atoms.universe if isinstance(source, Network) else source.atoms.universe
        chosen = checked_frames(universe.trajectory, frames.start, frames.stop, frames.step)
        step = chosen.step * -(-len(chosen) // MOST_FRAMES)
        history = GroupHistories(source, **options).run(chosen.start, chosen[-1] + 1, step, workers)
        result = GroupRotation(history).run()
    except AnalysisError as error:
        found.refusals["rotation"] = str(error)
        return found
    found.tables["rotation"] = result
    found.quantities.extend(_rotation(result))
    if jumps is not None:
        try:
            near = rotation_near_jumps(history, *jumps)
        except AnalysisError as error:
            found.quantities.append(refused(*NEAR_JUMPS, "", str(error)))
        else:
            found.tables["rotation_jumps"] = near
            note = f"{near.n_jumps} departures; within {near.radius:g} A and over {near.window:g} ps"
            for key, label, estimate in (
                (*NEAR_JUMPS, near.ratio),
                (
                    f"{NEAR_JUMPS[0]}_shuffled",
                    "the same ratio with departures at times dealt anew",
                    near.shuffled,
                ),
                ("rotation.angle_near_jumps", "rotation of groups while an ion leaves near them", near.near),
                ("rotation.angle_elsewhere", "rotation of the same groups at other times", near.elsewhere),
            ):
                found.quantities.append(_noted(Quantity.of_estimate(key, label, estimate), note))
    return found


def _rotation(result: GroupRotationResult) -> Iterator[Quantity]:
    at = min(int(np.searchsorted(result.times, REFERENCE_TIME)), len(result.times) - 1)
    time = result.times[at]
    most = max(kind.pairs[0] for kind in result.kinds.values())
    for name, kind in result.kinds.items():
        if kind.n_groups < _FEWEST_GROUPS or kind.pairs[0] < _LEAST_SHARE * most:
            continue
        for rank, relaxation in ((1, kind.first_time), (2, kind.second_time)):
            label = f"relaxation time of the orientation of {name}, rank {rank}"
            yield Quantity.of_estimate(f"rotation.C{rank}.{name}", label, relaxation)
        yield Quantity.of_estimate(
            f"rotation.order.{name}", f"C2 of {name} after {time:.3g} ps", _order(kind, at, float(time))
        )
        if math.isfinite(kind.angle[at]):
            yield Quantity(
                key=f"rotation.angle.{name}",
                label=f"mean rotation of {name} in {time:.3g} ps",
                unit="deg",
                value=float(kind.angle[at]),
                note=f"mean over {kind.n_groups} groups and all times",
            )
    if math.isfinite(result.broken):
        yield Quantity(
            key="rotation.broken",
            label="groups that lose or change an anion within the run",
            unit="%",
            value=100 * result.broken,
            note="counted between the first and the last tenth of the run",
        )


def _order(kind: KindRotation, at: int, time: float) -> Estimate:
    value, error = float(kind.second[at]), float(kind.second_errors[at])
    if not math.isfinite(value):
        return Estimate(math.nan, math.nan, math.nan, "", note=f"too few groups stay the same for {time:.3g} ps")
    return Estimate(value, max(-0.5, value - 2 * error), min(1.0, value + 2 * error), "")


def _noted(quantity: Quantity, note: str) -> Quantity:
    return quantity.model_copy(update={"note": "; ".join(filter(None, (quantity.note, note)))})
