"""Density of a glass from partial molar volumes, fitted to the glasses tabulated in `data/glass_densities.csv`.

The volume of a glass is the sum over its cations k of ``N_k [(1 - f) v(k, S) + f v(k, O)]``, f being the oxygen share
of the anions, so that an oxysulfide lies on the straight line between sulfide and oxide. Borophosphates contract by
forming BPO4 units: a term ``f w N_B N_P / (N_B + N_P)`` is fitted beside the volumes v. docs/structure.md gives the
numbers and the reasons.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napos_lmp.composition import NETWORK_FORMERS, Composition
from napos_lmp.errors import StructureError
from napos_lmp.structure.atoms import atomic_mass

GLASS_DENSITIES = Path(__file__).resolve().parent.parent / "data" / "glass_densities.csv"
OXYSULFIDE_UNCERTAINTY = 0.05
UNTABULATED_UNCERTAINTY = 0.10

_BOROPHOSPHATE = ("BP", "O")
_SOLE_SUPPORT = 0.9
_EXTRAPOLATION = 1.0

Term = tuple[str, str]


@dataclass(frozen=True)
class DensityEstimate:
    """Estimated density of a glass at room temperature.

    Attributes
    ----------
    value
        Density, g/cm3.
    uncertainty
        One standard deviation, g/cm3.
    note
        What the estimate rests on, and what to distrust.
    """

    value: float
    uncertainty: float
    note: str


@dataclass(frozen=True)
class FittedGlass:
    """A tabulated glass beside the model.

    `left_out` is the density that the model gives when fitted without this glass; None where it alone supports one of
    the volumes. Densities in g/cm3.
    """

    composition: Composition
    measured: float
    fitted: float
    left_out: float | None
    source: str


@dataclass(frozen=True)
class _Model:
    terms: tuple[Term, ...]
    volumes: NDArray[np.float64]
    covariance: NDArray[np.float64]
    spread: float
    glasses: tuple[FittedGlass, ...]

    @property
    def sulfide_to_oxide(self) -> float:
        """Mean ratio of v(k, S) to v(k, O) over the formers that are tabulated with both anions."""
        volume = dict(zip(self.terms, self.volumes, strict=True))
        both = [volume[k, "S"] / volume[k, "O"] for k in NETWORK_FORMERS if (k, "S") in volume and (k, "O") in volume]
        return float(np.mean(both))


def estimate_density(composition: Composition) -> DensityEstimate:
    """Estimate the room-temperature density of a glass from its composition.

    The uncertainty is the leave-one-out error of the fit, widened by the leverage of the composition; 5 % more for an
    oxysulfide (none is tabulated), and 10 % more for a former that is tabulated with the other anion only.

    Raises
    ------
    StructureError
        If the composition is not neutral, an element has no tabulated glass at all, or an anion is neither S nor O.
    """
    if composition.net_charge:
        raise StructureError(f"density of {composition.formula} cannot be estimated: it is not neutral")
    model = _model()
    terms, missing = _known_terms(composition, model)
    row = np.array([terms.get(term, 0.0) for term in model.terms])
    volume = float(row @ model.volumes)
    leverage = float(row @ model.covariance @ row) / volume**2
    value = _molar_mass(composition) / volume
    variance = model.spread**2 * (1 + leverage)
    notes = []
    if missing:
        variance += UNTABULATED_UNCERTAINTY**2
        pairs = ", ".join(f"{cation}-{anion}" for cation, anion in missing)
        notes.append(f"no tabulated glass holds {pairs}: volume taken from the other anion")
    if {"S", "O"} <= set(composition.amounts):
        variance += OXYSULFIDE_UNCERTAINTY**2
        notes.append("no oxysulfide is tabulated: volumes mixed in proportion to O and S")
    if leverage > _EXTRAPOLATION:
        notes.append("extrapolated beyond the tabulated compositions")
    note = "; ".join(notes) or "within the tabulated compositions"
    return DensityEstimate(value, value * float(np.sqrt(variance)), note)


def fitted_glasses() -> tuple[FittedGlass, ...]:
    """Every tabulated glass with its measured, fitted and left-out density."""
    return _model().glasses


def molar_volumes() -> dict[Term, float]:
    """Fitted volume per mole of cation by (cation, anion), cm3/mol; ("BP", "O") is the borophosphate term."""
    model = _model()
    return {term: float(v) for term, v in zip(model.terms, model.volumes, strict=True)}


def leave_one_out_error() -> float:
    """Root mean square relative error of glasses predicted by a fit without them."""
    return _model().spread


@cache
def _model() -> _Model:
    with GLASS_DENSITIES.open(encoding="utf-8", newline="") as stream:
        table = list(csv.DictReader(stream))
    compositions = [Composition.parse(line["composition"]) for line in table]
    measured = np.array([float(line["density_g_cm3"]) for line in table])
    volumes = np.array([_molar_mass(c) for c in compositions]) / measured
    rows = [_volume_terms(c) for c in compositions]
    terms = tuple(sorted({term for row in rows for term in row}))
    scaled = np.array([[row.get(term, 0.0) for term in terms] for row in rows]) / volumes[:, None]
    solution = np.linalg.lstsq(scaled, np.ones(len(rows)), rcond=None)[0]
    ratio = scaled @ solution
    leverage = np.diag(scaled @ np.linalg.pinv(scaled))
    supported = leverage < _SOLE_SUPPORT
    left_out_ratio = 1 + (ratio - 1) / np.where(supported, 1 - leverage, 1.0)
    glasses = tuple(
        FittedGlass(c, float(d), float(d / r), float(d / q) if known else None, line["source"])
        for c, d, r, q, known, line in zip(compositions, measured, ratio, left_out_ratio, supported, table, strict=True)
    )
    spread = float(np.sqrt(np.mean((left_out_ratio[supported] - 1) ** 2)))
    return _Model(terms, solution, np.linalg.inv(scaled.T @ scaled), spread, glasses)


def _volume_terms(composition: Composition) -> dict[Term, float]:
    amounts = {element: float(amount) for element, amount in composition.amounts.items()}
    anions = {element: amount for element, amount in amounts.items() if composition.charges[element] < 0}
    shares = {anion: amount / sum(anions.values()) for anion, amount in anions.items()}
    cations = {element: amount for element, amount in amounts.items() if element not in anions}
    terms = {(k, anion): amount * share for k, amount in cations.items() for anion, share in shares.items()}
    if {"B", "P"} <= set(cations) and "O" in shares:
        boron, phosphorus = cations["B"], cations["P"]
        terms[_BOROPHOSPHATE] = shares["O"] * boron * phosphorus / (boron + phosphorus)
    return terms


def _known_terms(composition: Composition, model: _Model) -> tuple[dict[Term, float], list[Term]]:
    """Volume terms with those that are not tabulated expressed by the same cation with the other anion."""
    known: dict[Term, float] = {}
    missing: list[Term] = []
    for (cation, anion), amount in _volume_terms(composition).items():
        term, factor = (cation, anion), 1.0
        if term not in model.terms:
            other = (cation, {"S": "O", "O": "S"}.get(anion, ""))
            if other not in model.terms:
                element = cation if anion in ("S", "O") else anion
                raise StructureError(
                    f"density of {composition.formula} cannot be estimated: no glass with {element} is tabulated; "
                    "give the density in g/cm3"
                )
            factor = model.sulfide_to_oxide if anion == "S" else 1 / model.sulfide_to_oxide
            missing.append(term)
            term = other
        known[term] = known.get(term, 0.0) + factor * amount
    return known, missing


def _molar_mass(composition: Composition) -> float:
    return sum(atomic_mass(element) * float(amount) for element, amount in composition.amounts.items())
