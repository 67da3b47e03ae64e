"""How strongly elements scatter neutrons and X-rays, and what that makes of partial functions.

Neutron lengths are the bound coherent ones (V. F. Sears, Neutron News 3 (3), 26 (1992), with later corrections) and
X-ray form factors those of neutral free atoms (D. Waasmaier and A. Kirfel, Acta Cryst. A 51, 416 (1995)), both as the
`periodictable` package ships them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement

import numpy as np

from napos_lmp.analysis.base import Floats
from napos_lmp.errors import AnalysisError

RADIATIONS = ("neutron", "xray")
LABELS = {"neutron": "neutrons", "xray": "X-rays"}

_CANCELLED = 0.02


def neutron_lengths(elements: Sequence[str]) -> Floats:
    """Coherent scattering lengths b of the natural elements, shape (E,), in fm (real part).

    Raises
    ------
    AnalysisError
        If no length is known for an element.
    """
    import periodictable

    lengths = [getattr(periodictable, element).neutron.b_c for element in elements]
    for element, length in zip(elements, lengths, strict=True):
        if length is None:
            raise AnalysisError(f"element {element} has no tabulated neutron scattering length; measure without it")
    return np.array(lengths, dtype=np.float64)


def xray_form_factors(elements: Sequence[str], q: Floats) -> Floats:
    """Form factors f(q) of neutral atoms in electrons, shape (E, Q); `q` (Q,) in 1/A, tabulated up to 75.

    Raises
    ------
    AnalysisError
        If no form factor is known for an element.
    """
    import periodictable

    factors = []
    for element in elements:
        try:
            factors.append(np.asarray(getattr(periodictable, element).xray.f0(q), dtype=np.float64))
        except KeyError:
            raise AnalysisError(f"element {element} has no tabulated X-ray form factor; measure without it") from None
    return np.array(factors)


def scattering_factors(radiation: str, elements: Sequence[str], q: Floats) -> Floats:
    """Scattering length (fm) or form factor (electrons) of each element at each `q`, shape (E, Q).

    At q = 0 the form factor of X-rays is the atomic number.
    """
    if radiation == "neutron":
        return np.repeat(neutron_lengths(elements)[:, None], len(q), axis=1)
    return xray_form_factors(elements, q)


def faber_ziman_weights(radiation: str, counts: Mapping[str, int], q: Floats) -> dict[str, Floats]:
    """Weights w_ab(q) of the partial functions in a total, which sum to 1 at each q.

    w_ab = (2 - delta_ab) c_a c_b f_a f_b / (sum_a c_a f_a)^2 (Faber and Ziman, Philos. Mag. 11, 153 (1965)).

    Parameters
    ----------
    radiation
        `neutron` or `xray`.
    counts
        Atoms of each element.
    q
        Shape (Q,), 1/A.

    Returns
    -------
    dict
        An array (Q,) for each unordered pair, by name such as "P-S", in the order of `counts`.

    Raises
    ------
    AnalysisError
        If an element's factor is not tabulated, or the mean factor vanishes (a null-scattering mixture).
    """
    elements = list(counts)
    shares = np.array(list(counts.values()), dtype=np.float64) / sum(counts.values())
    parts = shares[:, None] * scattering_factors(radiation, elements, q)
    mean = parts.sum(axis=0)
    if np.any(np.abs(mean) < _CANCELLED * np.abs(parts).sum(axis=0)):
        raise AnalysisError(
            f"the scattering lengths of {', '.join(elements)} for {LABELS[radiation]} cancel in the mean; "
            "a total normalised by it has no meaning"
        )
    return {
        f"{elements[a]}-{elements[b]}": (1 if a == b else 2) * parts[a] * parts[b] / mean**2
        for a, b in combinations_with_replacement(range(len(elements)), 2)
    }


def charge_weights(counts: Mapping[str, int]) -> dict[str, float]:
    """Faber-Ziman weights with the atomic number Z in place of the X-ray form factor."""
    from ase.data import atomic_numbers

    electrons = {element: count * int(atomic_numbers[element]) for element, count in counts.items()}
    total = math.fsum(electrons.values())
    return {
        f"{a}-{b}": (1 if a == b else 2) * electrons[a] * electrons[b] / total**2
        for a, b in combinations_with_replacement(counts, 2)
    }
