"""The numbers in g(r) and S(q) as quantities with keys, for `analysis.json`."""

from __future__ import annotations

import math
from collections.abc import Iterator

from napos_lmp.analysis.base import Estimate
from napos_lmp.analysis.pairs.lorch import StructureFactorCheck
from napos_lmp.analysis.pairs.pair_tables import PairCorrelation
from napos_lmp.analysis.pairs.rdf import PartialRDFResult
from napos_lmp.analysis.pairs.scattering import LABELS
from napos_lmp.analysis.pairs.structure_factor import StructureFactorResult
from napos_lmp.analysis.pairs.total_rdf import TotalRDFResult
from napos_lmp.analysis.quantities.shared import refused
from napos_lmp.analysis.results import Quantity

_MOST_TOTAL_PEAKS = 3


def pair_structure_quantities(pairs: PartialRDFResult) -> Iterator[Quantity]:
    """Width of the first shell's peak of each pair that has one, and the level of g(r) far out."""
    for name, pair in pairs.pairs.items():
        if (first := pair.first_shell) is not None:
            yield Quantity.of_estimate(f"peak_width.{name}", f"width of the first peak of g(r), {name}", first.width)
    levels = [pair for pair in pairs.pairs.values() if math.isfinite(pair.tail.value)]
    if levels:
        farthest = max(levels, key=lambda pair: abs(pair.tail.value - 1))
        yield Quantity.of_estimate("tail", _tail_label(farthest, pairs), farthest.tail)
    yield Quantity(key="r_max", label="farthest distance of g(r)", unit="Å", value=float(pairs.edges[-1]))
    yield Quantity(
        key="r_limit", label="half the smallest height of the box, the limit of g(r)", unit="Å", value=pairs.r_limit
    )


def total_rdf_quantities(totals: TotalRDFResult) -> Iterator[Quantity]:
    """Positions of the first three peaks of the total g(r) for neutrons and X-rays."""
    for radiation, peaks in totals.peaks.items():
        for number, peak in enumerate(peaks[:_MOST_TOTAL_PEAKS], start=1):
            label = f"peak {number} of the total g(r) for {LABELS[radiation]}"
            yield Quantity.of_estimate(f"total_peak.{radiation}.{number}", label, peak.position)
    for radiation, reason in totals.refusals.items():
        yield refused(f"total_peak.{radiation}", f"total g(r) for {LABELS[radiation]}", "Å", reason)


def structure_factor_quantities(factors: StructureFactorResult) -> Iterator[Quantity]:
    """First sharp diffraction peaks, and the wave numbers that the box allows."""
    for radiation, peak in factors.sharp_peak.items():
        for part, unit in (("position", "1/Å"), ("height", ""), ("width", "1/Å")):
            key = f"fsdp.{radiation}.{part}"
            label = f"first sharp diffraction peak for {LABELS[radiation]}, {part}"
            number: Estimate = getattr(peak, part)
            yield refused(key, label, unit, peak.refused) if peak.refused else Quantity.of_estimate(key, label, number)
    for radiation, reason in factors.refusals.items():
        yield refused(f"fsdp.{radiation}.position", f"structure factor for {LABELS[radiation]}", "1/Å", reason)
    for key, label, value in (
        ("q_smallest", "smallest wave number of the box", factors.q_smallest),
        ("q_complete", "wave number up to which S(q) counts every reciprocal vector", factors.q_complete),
        ("q_max", "largest wave number of S(q)", factors.q_max),
    ):
        yield Quantity(key=key, label=label, unit="1/Å", value=value)


def structure_factor_check_quantities(check: StructureFactorCheck) -> Iterator[Quantity]:
    """Root mean square difference of the total S(q) summed in q-space and transformed from g(r)."""
    for radiation, label in LABELS.items():
        if radiation in check.deviation:
            yield Quantity(
                key=f"structure_factor_check.{radiation}",
                label=f"S(q) for {label}, direct against from g(r), root mean square difference",
                unit="",
                value=check.deviation[radiation],
            )


def _tail_label(pair: PairCorrelation, pairs: PartialRDFResult) -> str:
    start = 0.8 * float(pairs.edges[-1])
    return f"mean g(r) beyond {start:.2g} Å of {pair.name}, the pair farthest from 1"
