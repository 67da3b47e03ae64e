"""The deviation of a committee as quantities and as the record of a stage."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from napos_lmp.analysis.averages import mean_estimate
from napos_lmp.analysis.extrapolation import ExtrapolationResult
from napos_lmp.analysis.quantities.shared import refused
from napos_lmp.analysis.results import ExtrapolationRecord, Quantity


def extrapolation_quantities(found: ExtrapolationResult) -> Iterator[Quantity]:
    """Share of looks that are unlike the validation frames, and the largest and the mean deviation."""
    key, label = "extrapolation.frames", "frames unlike those that the potential was tested on"
    if found.beyond is None:
        yield refused(key, label, "%", f"the card of {found.potential} does not say what is usual")
    else:
        share = mean_estimate(100.0 * found.beyond, "%", limits=(0.0, 100.0))
        yield Quantity.of_estimate(key, label, share)
    largest = float(found.largest[found.worst])
    label, looks = "largest deviation of an atom in the committee", len(found.times)
    if np.isfinite(largest):
        yield Quantity(
            key="extrapolation.largest", label=label, unit="eV/Å", value=largest, note=f"the largest of {looks} looks"
        )
    else:
        yield refused("extrapolation.largest", label, "eV/Å", "the simulation blew up")
    mean = mean_estimate(found.mean, "eV/Å")
    yield Quantity.of_estimate("extrapolation.mean", "mean deviation of the atoms in the committee", mean)


def extrapolation_record(found: ExtrapolationResult) -> ExtrapolationRecord:
    """What is kept of a stage's deviation, with the verdict."""
    largest = float(found.largest[found.worst])
    return ExtrapolationRecord(
        source=found.source,
        looks=len(found.times),
        share=found.share,
        share_by_chance=found.chance,
        largest_eV_A=largest if np.isfinite(largest) else None,
        largest_at_ps=float(found.times[found.worst]),
        usual_largest_eV_A=found.usual.largest_atom_eV_A if found.usual else None,
        usual_mean_eV_A=found.usual.frame_mean_eV_A if found.usual else None,
        extrapolating=found.extrapolating,
        verdict=found.verdict,
    )
