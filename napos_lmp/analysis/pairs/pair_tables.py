"""What each pair of elements tells in a g(r): the shells and peaks, and tables of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from numpy.typing import ArrayLike

from napos_lmp.analysis.base import Estimate, Floats, Result
from napos_lmp.analysis.pairs.cutoffs import Cutoff
from napos_lmp.analysis.pairs.peaks import Peak


@dataclass(frozen=True)
class PairCorrelation:
    """What one pair of elements tells.

    Attributes
    ----------
    pair
        The two elements, in the order of the system's.
    g
        Shape (B,): g(r); NaN where there are no two atoms to make a pair.
    running
        Running coordination number n(r), shape (B,), at the outer edge of each bin, by direction such as "S around P".
    peak, peak_height
        Position in A and height of the first shell's peak (of the highest, where it is split); NaN if there is none.
    first_shell
        That peak with its intervals, width and area; None if there is none.
    peaks
        The first six peaks at most that stand out of the noise, with those before the first shell, such as a few
        homopolar bonds.
    cutoff
        End of the first shell and where it is from.
    coordination
        Neighbours within the cutoff, by direction.
    tail
        Mean g(r) over the outermost fifth of the range: 1 up to the liquid's oscillations and terms of order 1/N.
    beyond
        Mean g(r) over the rest of the box, which `r_max` does not reach. As the number of atoms is fixed, it makes up
        for what g(r) is above or below 1 within r_max; NaN where there are no two atoms to make a pair.
    """

    pair: tuple[str, str]
    g: Floats
    running: dict[str, Floats]
    peak: float
    peak_height: float
    first_shell: Peak | None
    peaks: tuple[Peak, ...]
    cutoff: Cutoff
    coordination: dict[str, Estimate]
    tail: Estimate
    beyond: float

    @property
    def name(self) -> str:
        """Such as "P-S"."""
        return "-".join(self.pair)


@dataclass(frozen=True)
class ShellTable(Result):
    """First shells of all pairs as one table; made by :meth:`PartialRDFResult.shells`."""

    pairs: tuple[PairCorrelation, ...]

    def columns(self) -> Mapping[str, ArrayLike]:
        """One row for each direction of each pair."""
        rows = [(pair, label, number) for pair in self.pairs for label, number in pair.coordination.items()]
        return {
            "neighbours": [label for _, label, _ in rows],
            "first_peak_A": [pair.peak for pair, _, _ in rows],
            "first_peak_height": [pair.peak_height for pair, _, _ in rows],
            "cutoff_A": [pair.cutoff.value for pair, _, _ in rows],
            "cutoff_source": [pair.cutoff.source for pair, _, _ in rows],
            "coordination": [number.value for _, _, number in rows],
            "coordination_low": [number.low for _, _, number in rows],
            "coordination_high": [number.high for _, _, number in rows],
            "note": ["; ".join(filter(None, (pair.cutoff.note, number.note))) for pair, _, number in rows],
        }


@dataclass(frozen=True)
class PeakTable(Result):
    """Peaks of all pairs as one table; made by :meth:`PartialRDFResult.peak_table`."""

    pairs: tuple[PairCorrelation, ...]

    def columns(self) -> Mapping[str, ArrayLike]:
        """One row for each peak in each direction of each pair."""
        rows = [
            (label, number, peak, area)
            for pair in self.pairs
            for number, peak in enumerate(pair.peaks, start=1)
            for label, area in peak.area.items()
        ]
        table: dict[str, ArrayLike] = {"neighbours": [row[0] for row in rows], "peak": [row[1] for row in rows]}
        for name, unit in (("position", "_A"), ("height", ""), ("width", "_A"), ("minimum", "_A")):
            table.update(_estimate_columns(name, unit, [getattr(row[2], name) for row in rows]))
        table.update(_estimate_columns("area", "", [row[3] for row in rows]))
        return table


def _estimate_columns(name: str, unit: str, estimates: list[Estimate]) -> dict[str, ArrayLike]:
    return {
        f"{name}{unit}": [estimate.value for estimate in estimates],
        f"{name}_low{unit}": [estimate.low for estimate in estimates],
        f"{name}_high{unit}": [estimate.high for estimate in estimates],
        f"{name}_note": [estimate.note for estimate in estimates],
    }
