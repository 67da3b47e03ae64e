"""The motion of the atoms of one trajectory: every measurement of it, with its quantities and tables.

This is the one place where the measurements of motion are listed; decks and bare trajectories are measured alike. A
measurement that the data do not support is refused, with the reason, and does not stop the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from napos_lmp.analysis.findings import Findings
from napos_lmp.analysis.mechanism.jumps import JumpResult
from napos_lmp.analysis.mechanism.velocities import highest_frequency
from napos_lmp.analysis.network.network import Network
from napos_lmp.analysis.quantities.jumps import measure_mechanism
from napos_lmp.analysis.quantities.rotation import Jumps as JumpArrays
from napos_lmp.analysis.quantities.rotation import measure_rotation
from napos_lmp.analysis.quantities.transport import measure_transport
from napos_lmp.analysis.quantities.vibrations import measure_vibrations
from napos_lmp.analysis.transport.msd import MeanSquareDisplacement
from napos_lmp.analysis.transport.run_length import RunLengthConvergence
from napos_lmp.currents import VelocitySums
from napos_lmp.errors import AnalysisError

MOBILE = "Na"
"""The ion whose conductivity is measured; the framework is taken to stand still."""

ALL_FRAMES = slice(None)

Progress = Callable[[str], None]


def measure_motion(
    source: Any,
    temperature: float,
    charges: Mapping[str, float],
    *,
    network: Network | None = None,
    currents: VelocitySums | None = None,
    frames: slice = ALL_FRAMES,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Findings:
    """Measure diffusion, conductivity and the way of the mobile ion on a trajectory.

    Parameters
    ----------
    source
        MDAnalysis Universe with elements, unwrapped positions and frames that are uniform in time.
    temperature
        Mean of the trajectory, in K.
    charges
        Charge number of every species; they must sum to zero.
    network
        That the structure was measured with; one with the bonds of the frames used where it is None.
    currents
        Sums of velocities of the same run, if there are any.
    frames
        Those to use.
    workers
        Most processes to use; None takes every core.
    progress
        Is told in a few words what is being measured.

    Raises
    ------
    AnalysisError
        If the charges do not sum to zero. All else that the data do not support is in the refusals, under "transport"
        where nothing could be measured.
    """
    tell = progress or (lambda _: None)
    found = Findings()
    tell("mean-square displacements")
    try:
        displacements = MeanSquareDisplacement(source, start=frames.start, stop=frames.stop, step=frames.step).run()
    except AnalysisError as error:
        found.refusals["transport"] = str(error)
        return found
    found.include(measure_transport(displacements, temperature, charges, mobile=MOBILE, currents=currents))
    if any(window.species == MOBILE for window in found.windows):
        tell("diffusion against run length")
        found.add("run_length", RunLengthConvergence(displacements, MOBILE).run())
    bonds = network or source
    found.include(measure_mechanism(bonds, displacements, mobile=MOBILE, workers=workers, progress=tell))
    tell("rotation of groups")
    found.include(measure_rotation(bonds, jumps=_jumps(found), frames=frames, workers=workers))
    if displacements.frame_interval <= 0.5 / highest_frequency(displacements.species):
        tell("vibrations")
        found.include(measure_vibrations(source, mobile=MOBILE, frames=frames))
    return found


def _jumps(found: Findings) -> JumpArrays | None:
    jumps = found.tables.get("jumps")
    return (jumps.atom, jumps.frame, jumps.origins, jumps.destinations) if isinstance(jumps, JumpResult) else None
