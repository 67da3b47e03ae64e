"""How the ions of one stage move, as quantities with keys, for `analysis.json`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

from napos_lmp.analysis.findings import Findings
from napos_lmp.analysis.mechanism.jump_distributions import jump_lengths, residence
from napos_lmp.analysis.mechanism.jump_environment import JumpEnvironment, JumpEnvironmentResult
from napos_lmp.analysis.mechanism.jumps import THRESHOLD, JumpResult, Jumps
from napos_lmp.analysis.mechanism.van_hove import MOVED_BEYOND, VanHove, VanHoveResult
from napos_lmp.analysis.quantities.shared import refused
from napos_lmp.analysis.results import Quantity
from napos_lmp.analysis.transport.msd import MeanSquareDisplacementResult
from napos_lmp.errors import AnalysisError

Progress = Callable[[str], None]


def measure_mechanism(
    source: Any,
    displacements: MeanSquareDisplacementResult,
    *,
    mobile: str = "Na",
    workers: int | None = None,
    progress: Progress | None = None,
) -> Findings:
    """Van Hove's functions and the jumps of the mobile ion.

    Parameters
    ----------
    source
        MDAnalysis Universe that the displacements are of, or the :class:`~napos_lmp.analysis.network.network.Network`
        that the structure was measured with.
    displacements
        Of all species of the stage.
    mobile
        The ion.
    workers
        Most processes to use; None takes every core.
    progress
        Is told in a few words what is being measured.
    """
    tell = progress or (lambda _: None)
    found = Findings()
    if mobile not in displacements.species:
        return found
    tell("van Hove's functions")
    van_hove = VanHove(displacements, mobile).run()
    found.tables["van_hove"] = van_hove
    found.quantities.extend(_van_hove(van_hove))
    tell("jumps between cages")
    try:
        jumps = Jumps(displacements, mobile).run(in_cages=False)
    except AnalysisError as error:
        found.refusals["jumps"] = str(error)
        found.quantities.extend(_no_jumps(mobile, str(error)))
        found.quantities.append(refused(f"exit.time.{mobile}", _exit_label(mobile, THRESHOLD), "ps", str(error)))
        return found
    found.tables.update(jumps=jumps, jump_lengths=jump_lengths(jumps), residence=residence(jumps))
    found.quantities.extend(_departures(jumps))
    if jumps.continuous:
        found.refusals["jumps"] = jumps.continuous
        found.quantities.extend(_no_jumps(mobile, jumps.continuous))
    else:
        found.quantities.extend(_jumps(jumps))
    tell("surroundings of jumps")
    try:
        around = JumpEnvironment(source, jumps).run(workers)
    except AnalysisError as error:
        found.refusals["jump_environment"] = str(error)
        return found
    found.tables["jump_environment"] = around
    found.quantities.extend(_surroundings(around))
    return found


def _exit_label(ion: str, threshold: float) -> str:
    return f"mean time until {ion} stays farther than {threshold:g} Å from where it was"


def _departures(result: JumpResult) -> Iterator[Quantity]:
    ion = result.species
    for name, label, estimate in (
        ("time", _exit_label(ion, result.threshold), result.residence_time),
        ("diffusion", f"diffusion coefficient of {ion} that follows from how it leaves its places", result.diffusion),
        ("exponent", f"power of the distance with which the rate of {ion} leaving falls", result.exponent),
    ):
        yield Quantity.of_estimate(f"exit.{name}.{ion}", label, estimate)


def _no_jumps(ion: str, reason: str) -> Iterator[Quantity]:
    yield refused(f"jump.rate.{ion}", f"jumps of a {ion}", "1/ns", reason)
    yield refused(f"jump.length.{ion}", f"mean length of a jump of {ion}", "Å", reason)


def _van_hove(result: VanHoveResult) -> Iterator[Quantity]:
    ion = result.species
    for name, label, estimates in (
        ("moved", f"{ion} that have moved by more than {MOVED_BEYOND:g} Å", [e.scaled(100, "%") for e in result.moved]),
        ("refilled", f"other {ion} where one had been, over the average", result.refilled),
    ):
        last = next((k for k in reversed(range(len(estimates))) if math.isfinite(estimates[k].value)), None)
        if last is None:
            continue
        found = Quantity.of_estimate(f"van_hove.{name}.{ion}", label, estimates[last])
        note = "; ".join(filter(None, (f"after {result.times[last]:.3g} ps", found.note)))
        yield found.model_copy(update={"note": note})


def _jumps(result: JumpResult) -> Iterator[Quantity]:
    ion = result.species
    run = f"in {result.n_frames * result.frame_interval:.6g} ps"
    for name, label, estimate in (
        ("rate", f"jumps of a {ion}", result.rate),
        ("residence", f"mean time of {ion} in a cage", result.residence_time),
        ("length", f"mean length of a jump of {ion}", result.mean_length),
        ("moving", f"{ion} that jump during the run", dataclasses.replace(result.moving.scaled(100, "%"), note=run)),
        (
            "displaced",
            f"{ion} that end farther than {result.threshold:g} Å from where they began",
            dataclasses.replace(result.displaced.scaled(100, "%"), note=run),
        ),
        ("return", f"jumps of {ion} that undo the one before", result.returns.scaled(100, "%")),
        ("correlation", f"correlation factor of the jumps of {ion}", result.correlation),
        ("vibration", f"vibration of {ion} in its cage along an axis", result.vibration),
    ):
        yield Quantity.of_estimate(f"jump.{name}.{ion}", label, estimate)


def _surroundings(result: JumpEnvironmentResult) -> Iterator[Quantity]:
    ion = result.species
    for (anion, role), estimate in result.change_before.items():
        label = f"{role} {anion} around {ion} before it leaves, more than usual"
        yield Quantity.of_estimate(f"exit.before.{ion}.{anion}.{role}", label, estimate)
    for name, estimate in result.rate_ratios.items():
        anions = "bridging anions" if name == "bridging" else name
        label = f"rate of {ion} leaving sites rich in {anions} over that of others"
        yield Quantity.of_estimate(f"exit.rate_ratio.{ion}.{name}", label, estimate)
