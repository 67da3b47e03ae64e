"""How near atoms come to each other, on a scale on which all pairs of elements compare."""

from __future__ import annotations

from typing import Any

import numpy as np

LARGEST_RADIUS_A = 1.2
"""Radius at which that of a large atom is cut: sodium is an ion here, far smaller than its covalent radius."""


def closest_pair(frame: Any) -> tuple[float, int, int, float] | None:
    """The pair of atoms that is nearest for its elements, periodic images included.

    Returns
    -------
    tuple or None
        Distance over the sum of the covalent radii (each at most `LARGEST_RADIUS_A`), the two atoms, and the distance
        in A; None where no two atoms are within 2.5 A.
    """
    from ase.data import covalent_radii
    from ase.neighborlist import neighbor_list

    radii = np.minimum(covalent_radii[frame.numbers], LARGEST_RADIUS_A)
    first, second, distance = neighbor_list("ijd", frame, 2.5)
    if not len(distance):
        return None
    ratio = distance / (radii[first] + radii[second])
    worst = int(ratio.argmin())
    return float(ratio[worst]), int(first[worst]), int(second[worst]), float(distance[worst])
