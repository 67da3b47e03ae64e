"""Total pair distribution functions as neutrons and X-rays see them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.base import Floats, Result
from napos_lmp.analysis.pairs.peaks import Peak, pair_peaks
from napos_lmp.analysis.pairs.rdf import PartialRDF, PartialRDFResult
from napos_lmp.analysis.pairs.scattering import LABELS, RADIATIONS, charge_weights, faber_ziman_weights
from napos_lmp.errors import AnalysisError


@dataclass(frozen=True)
class TotalRDFResult(Result):
    """Total g(r) and T(r) of a trajectory, for `neutron` and `xray`.

    Attributes
    ----------
    r
        Shape (B,): centres of the bins, A.
    g
        Total g(r) of each radiation, shape (B,): 1 far out, 0 within the closest distance of any two atoms.
    total
        T(r) = 4 pi r rho g(r) of each, shape (B,), 1/A^2.
    weights
        Share of each pair's g(r) in each total; they sum to 1.
    peaks
        Peaks of each total g(r), without areas, as pairs overlap in them.
    refusals
        Totals that cannot be made, and why.
    density
        Mean number density rho, atoms/A^3.
    n_frames
        Frames averaged over.
    """

    r: Floats
    g: dict[str, Floats]
    total: dict[str, Floats]
    weights: dict[str, dict[str, float]]
    peaks: dict[str, tuple[Peak, ...]]
    refusals: dict[str, str]
    density: float
    n_frames: int

    def columns(self) -> Mapping[str, ArrayLike]:
        """Distances, then g(r) and T(r) of each radiation."""
        table: dict[str, ArrayLike] = {"r_A": self.r}
        for radiation, values in self.g.items():
            table.update({f"g_{radiation}": values, f"T_{radiation}_1/A2": self.total[radiation]})
        return table

    def plot(self, ax: Any) -> Any:
        """Draw T(r) of each radiation on a matplotlib axis; returns the axis."""
        for radiation, values in self.total.items():
            ax.plot(self.r, values, label=LABELS[radiation], linewidth=1.2)
        ax.plot(self.r, 4 * math.pi * self.r * self.density, color="0.7", linewidth=0.8, zorder=0)
        ax.set(xlabel="r (Å)", ylabel="T(r) (1/Å²)", xlim=(0, float(self.r[-1])))
        ax.legend(frameon=False)
        return ax


class TotalRDF:
    """Total g(r) = sum_ab w_ab g_ab(r), and T(r) = 4 pi r rho g(r).

    For neutrons w_ab holds the coherent scattering lengths and the total is exact. For X-rays it holds the atomic
    number Z in place of the form factor f(q): all elements are taken to lose intensity with q alike. To compare with
    an X-ray measurement without that approximation use S(q), whose weights depend on q.

    Parameters
    ----------
    source
        MDAnalysis Universe or AtomGroup with elements, or a PartialRDFResult of one.
    r_max, bin_width
        As for :class:`~napos_lmp.analysis.pairs.rdf.PartialRDF`; for a Universe or AtomGroup only.

    Raises
    ------
    AnalysisError
        As for :class:`~napos_lmp.analysis.pairs.rdf.PartialRDF`.
    """

    def __init__(self, source: Any, *, r_max: float | None = None, bin_width: float = 0.02) -> None:
        self._pairs = source if isinstance(source, PartialRDFResult) else None
        self._measurement = None if self._pairs else PartialRDF(source, r_max=r_max, bin_width=bin_width)

    def run(
        self, start: int | None = None, stop: int | None = None, step: int | None = None, workers: int | None = None
    ) -> TotalRDFResult:
        """Sum the partial g(r), measured on the frames `start:stop:step` unless they were given."""
        pairs = self._pairs
        if pairs is None:
            assert self._measurement is not None
            pairs = self._measurement.run(start, stop, step, workers)
        return total_rdf(pairs)


def total_rdf(pairs: PartialRDFResult) -> TotalRDFResult:
    """The totals of measured partial g(r)."""
    weights: dict[str, dict[str, float]] = {}
    refusals: dict[str, str] = {}
    for radiation in RADIATIONS:
        try:
            weights[radiation] = _weights(radiation, pairs.counts)
        except AnalysisError as error:
            refusals[radiation] = str(error)
    curves = {radiation: pairs.mixed(weight) for radiation, weight in weights.items()}
    return TotalRDFResult(
        r=pairs.r,
        g={radiation: curve.g for radiation, curve in curves.items()},
        total={name: 4 * math.pi * pairs.density * pairs.r * curve.g for name, curve in curves.items()},
        weights=weights,
        peaks={name: tuple(peak for _, peak in pair_peaks(curve)) for name, curve in curves.items()},
        refusals=refusals,
        density=pairs.density,
        n_frames=pairs.n_frames,
    )


def _weights(radiation: str, counts: Mapping[str, int]) -> dict[str, float]:
    if radiation == "xray":
        return charge_weights(counts)
    return {name: float(values[0]) for name, values in faber_ziman_weights(radiation, counts, np.zeros(1)).items()}
