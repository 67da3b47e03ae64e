"""The structure factor once more, from g(r), to check the one summed in q-space."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.base import Floats, Result
from napos_lmp.analysis.pairs.rdf import PartialRDFResult
from napos_lmp.analysis.pairs.scattering import LABELS, faber_ziman_weights
from napos_lmp.analysis.pairs.structure_factor import StructureFactorResult
from napos_lmp.errors import AnalysisError

_MARGIN_PERIODS = 3.0


@dataclass(frozen=True)
class StructureFactorCheck(Result):
    """S(q) from g(r) with a Lorch window, beside the direct one smeared by the same window.

    Attributes
    ----------
    q
        Shape (Q,), 1/A, evenly spaced.
    r_max
        Where g(r) ends, A; the window smears S(q) with a full width of about 5.4 / r_max.
    from_pairs
        Partial S(q) by pair and totals by radiation from g(r), shape (Q,) each.
    direct
        The same from the sums over reciprocal vectors, smeared.
    deviation
        Root mean square difference of the two, by pair and radiation.
    """

    q: Floats
    r_max: float
    from_pairs: dict[str, Floats]
    direct: dict[str, Floats]
    deviation: dict[str, float]

    def columns(self) -> Mapping[str, ArrayLike]:
        """Wave numbers and both versions of each curve."""
        table: dict[str, ArrayLike] = {"q_1/A": self.q}
        for name, values in self.from_pairs.items():
            table.update({f"S_{name}_from_pairs": values, f"S_{name}_direct": self.direct[name]})
        return table

    def plot(self, ax: Any) -> Any:
        """Draw both versions of the totals on a matplotlib axis; returns the axis."""
        for name in [name for name in self.from_pairs if name in LABELS]:
            (line,) = ax.plot(self.q, self.direct[name], label=f"{LABELS[name]}, direct, smeared", linewidth=1.2)
            ax.plot(self.q, self.from_pairs[name], "--", color=line.get_color(), label="from g(r), Lorch", alpha=0.6)
        ax.set(xlabel="q (1/Å)", ylabel="S(q)")
        ax.legend(frameon=False)
        return ax


def check_structure_factor(direct: StructureFactorResult, pairs: PartialRDFResult) -> StructureFactorCheck:
    """Transform g(r) to S(q) and compare with the direct one, on the same frames.

    S_ab(q) = 1 + rho int_0^R 4 pi r^2 (g_ab(r) - 1) sin(qr)/(qr) M(r) dr with M(r) = sin(pi r/R) / (pi r/R), R the end
    of g(r) (E. Lorch, J. Phys. C 2, 229 (1969)), and a factor 1 - 1/N_a for like atoms, whose g(r) is normalised by
    N_a (N_a - 1). Multiplying g(r) - 1 by M(r) is folding q (S(q) - 1) with M's cosine transform, so that the direct
    S(q) is smeared that way before the two are compared.

    Raises
    ------
    AnalysisError
        If `q_max` is too short for the smeared curve to be known anywhere.
    """
    r_max = float(pairs.edges[-1])
    margin = _MARGIN_PERIODS * 2 * math.pi / r_max
    step = direct.bin_width / 2
    grid = step * np.arange(1, round(direct.q_max / step) + 1, dtype=np.float64)
    shown = (grid >= direct.q_smallest) & (grid <= direct.q_max - margin)
    if not shown.any():
        raise AnalysisError(
            f"q_max is {direct.q_max:g} 1/A; to check S(q) with g(r) up to {r_max:g} A it must exceed {margin:.2f} 1/A"
        )
    q = grid[shown]
    known = [name for name, pair in pairs.pairs.items() if np.isfinite(pair.g).all()]
    transform = _transform(pairs, q)
    found = {name: 1 + pairs.density * (_inner(pairs, name) @ transform) for name in known}
    kernel = _kernel(grid[-1], step, r_max)
    smeared = {name: _smeared(direct.q, direct.partial[name], grid, kernel, step)[shown] for name in known}
    if len(known) == len(pairs.pairs):
        for radiation in direct.total:
            weights = faber_ziman_weights(radiation, direct.counts, q)
            for curves in (found, smeared):
                curves[radiation] = np.sum([weights[name] * curves[name] for name in known], axis=0)
    deviation = {name: math.sqrt(float(np.mean((found[name] - smeared[name]) ** 2))) for name in found}
    return StructureFactorCheck(q, r_max, found, smeared, deviation)


def _inner(pairs: PartialRDFResult, name: str) -> Floats:
    first, second = pairs.pairs[name].pair
    inner: Floats = pairs.pairs[name].g - 1
    return inner * (1 - 1 / pairs.counts[first]) if first == second else inner


def _transform(pairs: PartialRDFResult, q: Floats) -> Floats:
    """4 pi r^2 dr sin(qr)/(qr) M(r) for each bin, shape (B, Q), the shell's volume taken exactly."""
    shells = 4 / 3 * math.pi * np.diff(pairs.edges**3)
    window = np.sinc(pairs.r / pairs.edges[-1])
    transform: Floats = (shells * window)[:, None] * np.sinc(np.outer(pairs.r, q) / math.pi)
    return transform


def _kernel(longest: float, step: float, r_max: float) -> Floats:
    """Cosine transform of the window, (1/pi) int_0^R M(r) cos(qr) dr, at q = -longest ... longest."""
    from scipy.special import sici

    lags = np.arange(-round(longest / step), round(longest / step) + 1) * step
    above, below = sici(math.pi + lags * r_max)[0], sici(math.pi - lags * r_max)[0]
    kernel: Floats = (above + below) * r_max / (2 * math.pi**2)
    return kernel


def _smeared(q: Floats, curve: Floats, grid: Floats, kernel: Floats, step: float) -> Floats:
    """S(q) folded with the window, where q (S(q) - 1) is odd and 0 at q = 0."""
    inner = grid * (np.interp(grid, q, curve) - 1)
    odd = np.concatenate([-inner[::-1], [0.0], inner])
    folded = np.convolve(odd, kernel, mode="same") * step
    smeared: Floats = 1 + folded[len(grid) + 1 :] / grid
    return smeared
