"""The motion of the atoms of one trajectory: every measurement of it, with its quantities and tables.

This is the one place where the measurements of motion are listed; decks and bare trajectories are measured alike. A
measurement that the data do not support is refused, with the reason, and does not stop the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from napos_lmp.analysis.msd import MeanSquareDisplacement
from napos_lmp.analysis.quantities_transport import TransportMeasurement, measure_transport
from napos_lmp.analysis.run_length import RunLengthConvergence
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
    currents: VelocitySums | None = None,
    frames: slice = ALL_FRAMES,
    progress: Progress | None = None,
) -> TransportMeasurement:
    """Measure diffusion and conductivity on a trajectory.

    Parameters
    ----------
    source
        MDAnalysis Universe with elements, unwrapped positions and frames that are uniform in time.
    temperature
        Mean of the trajectory, in K.
    charges
        Charge number of every species; they must sum to zero.
    currents
        Sums of velocities of the same run, if there are any.
    frames
        Those to use.
    progress
        Is told in a few words what is being measured.

    Raises
    ------
    AnalysisError
        If the charges do not sum to zero. All else that the data do not support is in the refusals, under "transport"
        where nothing could be measured.
    """
    tell = progress or (lambda _: None)
    tell("mean-square displacements")
    try:
        displacements = MeanSquareDisplacement(source, start=frames.start, stop=frames.stop, step=frames.step).run()
    except AnalysisError as error:
        return TransportMeasurement(refusals={"transport": str(error)})
    found = measure_transport(displacements, temperature, charges, mobile=MOBILE, currents=currents)
    if any(window.species == MOBILE for window in found.windows):
        tell("diffusion against run length")
        found.tables["run_length"] = RunLengthConvergence(displacements, MOBILE).run()
    return found
