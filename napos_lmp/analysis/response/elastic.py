"""Elastic constants from the stresses of strained cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napos_lmp.analysis.base import Estimate, Floats, Result, plot_axes
from napos_lmp.analysis.response.strained import State, StrainedCells, read_strained_cells
from napos_lmp.errors import AnalysisError

LABELS = ("xx", "yy", "zz", "yz", "xz", "xy")
SPREAD_LEVEL = 0.5
"""Level of the intervals: two independent values hold the median between them half of the time."""

_NOTE = "spread of the two signs of strain, and of C_ij and C_ji, in this one structure; replicas are not in it"
_STRESS_GPA = 0.1
_LARGE_SPREAD = 0.2


@dataclass(frozen=True)
class ElasticResult(Result):
    """Stiffness of one structure and the moduli of an isotropic body made of it.

    Attributes
    ----------
    state
        "relaxed" or "clamped": whether the atoms were relaxed in the strained cells.
    stiffness
        Shape (6, 6): symmetrised elastic constants in GPa, in Voigt's order xx, yy, zz, yz, xz, xy.
    low, high
        Shape (6, 6): ends of their intervals, GPa; see `bulk`.
    measured
        Shape (6, 6): stress i on strain j as fitted, before it was made symmetric, GPa.
    compliance
        Shape (6, 6): inverse of `stiffness`, 1/GPa.
    bulk, shear, young, poisson
        Averages of Voigt and Reuss (Hill) in GPa; Poisson's ratio has no unit. The intervals (of level 0.5) are the
        spread between stretching and compressing and between C_ij and C_ji.
    bulk_bounds, shear_bounds
        The averages of Reuss and of Voigt, GPa.
    anisotropy
        Universal index 5 G_V/G_R + K_V/K_R - 6; 0 for an isotropic body.
    asymmetry
        Root mean square of (C_ij - C_ji) / 2 over that of the constants.
    eigenvalues
        Of the stiffness, GPa, in rising order; all positive.
    reference_stress
        Shape (6,): stress before any strain, GPa, positive under tension.
    notes
        What speaks against the numbers, one sentence each.
    """

    state: State
    stiffness: Floats
    low: Floats
    high: Floats
    measured: Floats
    compliance: Floats
    bulk: Estimate
    shear: Estimate
    young: Estimate
    poisson: Estimate
    bulk_bounds: tuple[float, float]
    shear_bounds: tuple[float, float]
    anisotropy: float
    asymmetry: float
    eigenvalues: Floats
    reference_stress: Floats
    notes: tuple[str, ...]

    def columns(self) -> Mapping[str, ArrayLike]:
        """The 21 constants with their intervals, and both measured values."""
        i, j = np.triu_indices(6)
        return {
            "stress": [LABELS[k] for k in i],
            "strain": [LABELS[k] for k in j],
            "stiffness_GPa": self.stiffness[i, j],
            "low_GPa": self.low[i, j],
            "high_GPa": self.high[i, j],
            "measured_ij_GPa": self.measured[i, j],
            "measured_ji_GPa": self.measured[j, i],
            "compliance_per_GPa": self.compliance[i, j],
        }

    def plot(self, ax: Any = None) -> Any:
        """Draw the stiffness as a table in colours; returns the axes."""
        ax = plot_axes(ax)
        limit = float(np.abs(self.stiffness).max())
        ax.imshow(self.stiffness, cmap="RdBu_r", vmin=-limit, vmax=limit)
        for i, j in np.ndindex(6, 6):
            value = self.stiffness[i, j]
            colour = "white" if abs(value) > 0.6 * limit else "black"
            ax.text(j, i, f"{value:.3g}", ha="center", va="center", color=colour)
        ax.set_xticks(range(6), LABELS)
        ax.set_yticks(range(6), LABELS)
        ax.set_xlabel("strain")
        ax.set_ylabel("stress")
        ax.set_title(f"elastic constants (GPa), {self.state}")
        return ax


class ElasticConstants:
    r"""Elastic constants by least squares through stresses and small strains of both signs.

    .. math:: \sigma_i = \sigma_i^0 + \sum_j C_{ij} \epsilon_j

    Strains of both signs cancel what is quadratic in the strain. The 6 x 6 matrix is fitted without any symmetry; then
    C_ij and C_ji are averaged and their difference reported. The isotropic moduli are Hill's averages (Proc. Phys. Soc.
    A 65, 349 (1952)) of Voigt's and Reuss's.

    Parameters
    ----------
    source
        An elastic deck's folder, or the strained cells themselves: :class:`StrainedCells`.
    state
        For a deck: "relaxed" (what an experiment measures), or "clamped" for atoms that move along with the cell.

    Raises
    ------
    DeckError
        If the folder is no deck.
    AnalysisError
        If the deck strains nothing or has not finished, or strains and stresses do not fit together.
    """

    def __init__(self, source: str | Path | StrainedCells, state: State = "relaxed") -> None:
        self._cells = source if isinstance(source, StrainedCells) else read_strained_cells(source, state)
        self._state = state
        _check(self._cells)

    def run(self) -> ElasticResult:
        """Fit the constants.

        Raises
        ------
        AnalysisError
            If the strains do not span all six, or the structure is unstable: it gives way to some strain.
        """
        cells = self._cells
        measured = _fit(cells.strains, cells.stresses)
        stiffness = (measured + measured.T) / 2
        eigenvalues = np.linalg.eigvalsh(stiffness).astype(np.float64)
        if eigenvalues[0] <= 0:
            raise AnalysisError(
                f"the stiffness has the eigenvalue {eigenvalues[0]:.3g} GPa, so the structure gives way to a strain "
                "(Born's criterion); it is not in a minimum of the energy, or the strain moved atoms to other places"
            )
        variants = _variants(cells, measured)
        spread = _spread(lambda c: c, variants)
        bulk, shear = voigt_reuss_hill(stiffness)
        return ElasticResult(
            state=self._state,
            stiffness=stiffness,
            low=stiffness - spread,
            high=stiffness + spread,
            measured=measured,
            compliance=np.linalg.inv(stiffness).astype(np.float64),
            bulk=_estimate(_bulk, stiffness, variants, "GPa"),
            shear=_estimate(_shear, stiffness, variants, "GPa"),
            young=_estimate(_young, stiffness, variants, "GPa"),
            poisson=_estimate(_poisson, stiffness, variants, ""),
            bulk_bounds=bulk,
            shear_bounds=shear,
            anisotropy=5 * shear[1] / shear[0] + bulk[1] / bulk[0] - 6,
            asymmetry=float(np.linalg.norm(measured - measured.T) / 2 / np.linalg.norm(stiffness)),
            eigenvalues=eigenvalues,
            reference_stress=cells.reference,
            notes=tuple(_notes(cells, stiffness, spread, self._state)),
        )


def voigt_reuss_hill(stiffness: Floats) -> tuple[tuple[float, float], tuple[float, float]]:
    """Bulk and shear modulus of an isotropic body of randomly turned grains, each as (Reuss, Voigt), unit as given."""
    c, s = stiffness, np.linalg.inv(stiffness)
    bulk_voigt = c[:3, :3].sum() / 9
    bulk_reuss = 1 / s[:3, :3].sum()
    trace, off = np.trace(c[:3, :3]), c[0, 1] + c[0, 2] + c[1, 2]
    shear_voigt = (trace - off + 3 * np.trace(c[3:, 3:])) / 15
    trace, off = np.trace(s[:3, :3]), s[0, 1] + s[0, 2] + s[1, 2]
    shear_reuss = 15 / (4 * (trace - off) + 3 * np.trace(s[3:, 3:]))
    return (float(bulk_reuss), float(bulk_voigt)), (float(shear_reuss), float(shear_voigt))


def _bulk(stiffness: Floats) -> float:
    return sum(voigt_reuss_hill(stiffness)[0]) / 2


def _shear(stiffness: Floats) -> float:
    return sum(voigt_reuss_hill(stiffness)[1]) / 2


def _young(stiffness: Floats) -> float:
    bulk, shear = _bulk(stiffness), _shear(stiffness)
    return 9 * bulk * shear / (3 * bulk + shear)


def _poisson(stiffness: Floats) -> float:
    bulk, shear = _bulk(stiffness), _shear(stiffness)
    return (3 * bulk - 2 * shear) / (2 * (3 * bulk + shear))


def _check(cells: StrainedCells) -> None:
    strains, stresses = np.asarray(cells.strains), np.asarray(cells.stresses)
    if strains.ndim != 2 or strains.shape[1:] != (6,) or strains.shape != stresses.shape:
        raise AnalysisError(f"strains {strains.shape} and stresses {stresses.shape} do not fit; both must be (n, 6)")
    if np.shape(cells.reference) != (6,):
        raise AnalysisError(f"the reference stress has the shape {np.shape(cells.reference)}; it must be (6,)")
    if not (np.isfinite(strains).all() and np.isfinite(stresses).all()):
        raise AnalysisError("strains or stresses hold a number that is not finite")


def _fit(strains: Floats, stresses: Floats) -> Floats:
    """Slopes of the stresses, shape (6 stresses, 6 strains), with a free stress at no strain."""
    design = np.column_stack([np.ones(len(strains)), strains])
    scale = np.abs(design).max(axis=0)
    rank = int(np.linalg.matrix_rank(design / np.where(scale > 0, scale, 1.0), tol=1e-6))
    if rank < 7:
        raise AnalysisError(
            f"{len(strains)} strains fix {max(0, rank - 1)} of the 6 directions; strain each component both ways"
        )
    solution = np.asarray(np.linalg.lstsq(design, stresses, rcond=None)[0], dtype=np.float64)
    return solution[1:].T


def _variants(cells: StrainedCells, measured: Floats) -> list[tuple[Floats, Floats]]:
    """Pairs of symmetric stiffnesses whose difference is an error: C_ij against C_ji, and plus against minus."""
    lower, upper = np.tril(measured), np.triu(measured)
    pairs = [(lower + np.tril(measured, -1).T, upper + np.triu(measured, 1).T)]
    rows = np.arange(len(cells.strains))
    sign = np.sign(cells.strains[rows, np.abs(cells.strains).argmax(axis=1)])
    sides = []
    for side in (1, -1):
        strains, stresses = cells.strains[sign == side], cells.stresses[sign == side]
        if len(strains) < 6 or np.linalg.matrix_rank(strains, tol=1e-6 * np.abs(strains).max()) < 6:
            return pairs
        slope = np.linalg.lstsq(strains, stresses - cells.reference, rcond=None)[0].T
        sides.append((slope + slope.T) / 2)
    return [*pairs, (sides[0], sides[1])]


def _spread(quantity: Callable[[Floats], Any], variants: list[tuple[Floats, Floats]]) -> Any:
    """Half the differences of a quantity in the pairs, added in quadrature."""
    halves = [(np.asarray(quantity(a)) - np.asarray(quantity(b))) / 2 for a, b in variants]
    return np.sqrt(np.sum(np.square(halves), axis=0))


def _estimate(
    quantity: Callable[[Floats], float], stiffness: Floats, variants: list[tuple[Floats, Floats]], unit: str
) -> Estimate:
    value = quantity(stiffness)
    if len(variants) < 2:
        note = "strains of one sign only give no interval"
        return Estimate(value, math.nan, math.nan, unit, SPREAD_LEVEL, note)
    half = float(_spread(quantity, variants))
    return Estimate(value, value - half, value + half, unit, SPREAD_LEVEL, _NOTE)


def _notes(cells: StrainedCells, stiffness: Floats, spread: Floats, state: State) -> list[str]:
    said = []
    largest = float(np.abs(cells.reference).max())
    if largest > _STRESS_GPA:
        said.append(f"the cell without strain has a stress of {largest:.2g} GPa; the constants are those under it")
    if state == "relaxed" and cells.largest_force > cells.force_tolerance:
        said.append(
            f"a relaxation ended with a force of {cells.largest_force:.2g} eV/A, above its tolerance of "
            f"{cells.force_tolerance:.2g} eV/A"
        )
    diagonal = np.diag(spread) / np.diag(stiffness)
    if diagonal.max() > _LARGE_SPREAD:
        worst = LABELS[int(diagonal.argmax())]
        said.append(
            f"the constant of strain {worst} differs by {100 * diagonal.max():.0f} % between the signs of strain: "
            "atoms moved to other places; a smaller strain, or a larger cell, is needed"
        )
    return said
