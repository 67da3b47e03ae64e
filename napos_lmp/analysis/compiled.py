"""Loops that numba compiles: bonds, links and groups of a network, and their angles.

Each function is plain Python that :func:`compiled` translates to machine code at its first call; numba keeps the result
on disk for later processes. They call nothing but numpy, hold no state, and trust their arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import ParamSpec, TypeVar

import numpy as np

from napos_lmp.analysis.base import Floats, Integers

P = ParamSpec("P")
R = TypeVar("R")


@cache
def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """The machine-code form of one of the functions of this module."""
    import numba

    translated: Callable[P, R] = numba.njit(cache=True, error_model="numpy")(function)
    return translated


def find_bonds(
    fractional: Floats, box: Floats, types: Integers, squared: Floats, cells: Integers, room: int
) -> tuple[int, Integers, Integers, Integers, Floats]:
    """All bonds, each once.

    No bond may be longer than half the smallest height of the box; then the nearest image of an atom is found by
    rounding the difference of fractional coordinates, in boxes of any angles.

    Parameters
    ----------
    fractional
        Shape (N, 3): coordinates in box vectors, wrapped or not.
    box
        Shape (3, 3): box vectors as rows, A.
    types
        Shape (N,): kind of each atom.
    squared
        Shape (K, K): square of the longest bond of two kinds, A^2; -1 where they do not bond.
    cells
        Shape (3,): cells along each box vector, none thinner than the longest bond; 1 or at least 3.
    room
        Most bonds to return.

    Returns
    -------
    found
        Number of bonds, of which no more than `room` are returned.
    first, second, images, vectors
        Atoms, shape (E,) each, first < second; the image of the second that the bond leads to, as the coordinates are
        given, shape (E, 3); and the vector to it, shape (E, 3), A.
    """
    n = len(fractional)
    n_x, n_y, n_z = cells[0], cells[1], cells[2]
    whole = np.floor(fractional)
    place = np.empty((n, 3), dtype=np.int64)
    start = np.zeros(n_x * n_y * n_z + 1, dtype=np.int64)
    for i in range(n):
        for k in range(3):
            place[i, k] = min(int((fractional[i, k] - whole[i, k]) * cells[k]), cells[k] - 1)
        start[(place[i, 0] * n_y + place[i, 1]) * n_z + place[i, 2] + 1] += 1
    for home in range(len(start) - 1):
        start[home + 1] += start[home]
    filled = start[:-1].copy()
    members = np.empty(n, dtype=np.int64)
    site, kind = np.empty((n, 3)), np.empty(n, dtype=np.int64)
    for i in range(n):
        home = (place[i, 0] * n_y + place[i, 1]) * n_z + place[i, 2]
        members[filled[home]] = i
        for k in range(3):
            site[filled[home], k] = fractional[i, k] - whole[i, k]
        kind[filled[home]] = types[i]
        filled[home] += 1
    reach_x, reach_y = int(n_x > 1), int(n_y > 1)
    first, second = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.int64)
    images, vectors = np.empty((room, 3), dtype=np.int64), np.empty((room, 3))
    found = 0
    for m in range(n):
        i = members[m]
        z = place[i, 2]
        for dx in range(-reach_x, reach_x + 1):
            x = place[i, 0] + dx
            x += n_x if x < 0 else (-n_x if x >= n_x else 0)
            for dy in range(-reach_y, reach_y + 1):
                y = place[i, 1] + dy
                y += n_y if y < 0 else (-n_y if y >= n_y else 0)
                column = (x * n_y + y) * n_z
                # the cells z - 1, z, z + 1 are one run of sites, or two where they wrap around the box
                for part in range(2):
                    if part == 1 and (n_z == 1 or 0 < z < n_z - 1):
                        continue
                    if n_z == 1:
                        low, high = 0, 0
                    elif part == 0:
                        low, high = max(z - 1, 0), min(z + 1, n_z - 1)
                    elif z == 0:
                        low, high = n_z - 1, n_z - 1
                    else:
                        low, high = 0, 0
                    for o in range(max(start[column + low], m + 1), start[column + high + 1]):
                        a, b, c = site[o, 0] - site[m, 0], site[o, 1] - site[m, 1], site[o, 2] - site[m, 2]
                        p, q, r = math.floor(a + 0.5), math.floor(b + 0.5), math.floor(c + 0.5)
                        a, b, c = a - p, b - q, c - r
                        v_x = a * box[0, 0] + b * box[1, 0] + c * box[2, 0]
                        v_y = a * box[0, 1] + b * box[1, 1] + c * box[2, 1]
                        v_z = a * box[0, 2] + b * box[1, 2] + c * box[2, 2]
                        if v_x * v_x + v_y * v_y + v_z * v_z > squared[kind[m], kind[o]]:
                            continue
                        if found < room:
                            j = members[o]
                            sign = 1 if i < j else -1
                            first[found], second[found] = min(i, j), max(i, j)
                            images[found, 0] = sign * int(whole[i, 0] - whole[j, 0] - p)
                            images[found, 1] = sign * int(whole[i, 1] - whole[j, 1] - q)
                            images[found, 2] = sign * int(whole[i, 2] - whole[j, 2] - r)
                            vectors[found, 0], vectors[found, 1], vectors[found, 2] = sign * v_x, sign * v_y, sign * v_z
                        found += 1
    kept = min(found, room)
    return found, first[:kept], second[:kept], images[:kept], vectors[:kept]


def bonds_at(centre: Integers, n: int) -> tuple[Integers, Integers]:
    """Bonds by the atom at one end: those of atom i are `order[start[i] : start[i + 1]]`; `centre` (E,) is that end."""
    start = np.zeros(n + 1, dtype=np.int64)
    for e in range(len(centre)):
        start[centre[e] + 1] += 1
    for i in range(n):
        start[i + 1] += start[i]
    filled = start[:-1].copy()
    order = np.empty(len(centre), dtype=np.int64)
    for e in range(len(centre)):
        order[filled[centre[e]]] = e
        filled[centre[e]] += 1
    return start, order


def bridges_of(former: Integers, images: Integers, start: Integers, order: Integers) -> tuple[Integers, Integers]:
    """Pairs of formers at each anion.

    Parameters
    ----------
    former, images
        Shape (E,) and (E, 3): former of each bond, and the image of its anion.
    start, order
        Bonds by anion, as :func:`bonds_at` gives them.

    Returns
    -------
    links, anions
        Shape (M, 5): two formers and the image of the second, with the smaller number first, or with the first
        component of the image that is not 0 positive where both are the same; and shape (M,), the anion.
    """
    total = 0
    for x in range(len(start) - 1):
        around = start[x + 1] - start[x]
        total += around * (around - 1) // 2
    links = np.empty((total, 5), dtype=np.int64)
    anions = np.empty(total, dtype=np.int64)
    m = 0
    for x in range(len(start) - 1):
        for i in range(start[x], start[x + 1]):
            for j in range(i + 1, start[x + 1]):
                a, b = order[i], order[j]
                sign = 1
                if former[a] > former[b]:
                    sign = -1
                elif former[a] == former[b]:
                    for k in range(3):
                        step = images[a, k] - images[b, k]
                        if step != 0:
                            sign = 1 if step > 0 else -1
                            break
                links[m, 0] = former[a] if sign > 0 else former[b]
                links[m, 1] = former[b] if sign > 0 else former[a]
                for k in range(3):
                    links[m, 2 + k] = sign * (images[a, k] - images[b, k])
                anions[m] = x
                m += 1
    return links, anions


def joined_groups(first: Integers, second: Integers, images: Integers, n: int) -> tuple[Integers, Integers]:
    """Groups of atoms that edges join, and the images that lead through each along a tree of edges.

    Each atom knows its parent in a tree and its own image seen from there; the smaller tree is hung below the larger.

    Parameters
    ----------
    first, second, images
        Shape (E,), (E,) and (E, 3): the ends of each edge and the image of the second end.
    n
        Number of atoms.

    Returns
    -------
    group, offset
        Number of the group of each atom, shape (n,), and its image seen from one atom of its group, shape (n, 3).
    """
    parent = np.arange(n)
    size = np.ones(n, dtype=np.int64)
    offset = np.zeros((n, 3), dtype=np.int64)
    for e in range(len(first)):
        a, b = first[e], second[e]
        x, y, z = images[e, 0], images[e, 1], images[e, 2]
        while parent[a] != a:
            x, y, z = x + offset[a, 0], y + offset[a, 1], z + offset[a, 2]
            a = parent[a]
        while parent[b] != b:
            x, y, z = x - offset[b, 0], y - offset[b, 1], z - offset[b, 2]
            b = parent[b]
        if a == b:
            continue
        if size[a] < size[b]:
            a, b = b, a
            x, y, z = -x, -y, -z
        parent[b] = a
        offset[b, 0], offset[b, 1], offset[b, 2] = x, y, z
        size[a] += size[b]
    number = np.full(n, -1, dtype=np.int64)
    group = np.empty(n, dtype=np.int64)
    total = np.empty((n, 3), dtype=np.int64)
    groups = 0
    for i in range(n):
        root = i
        x, y, z = 0, 0, 0
        while parent[root] != root:
            x, y, z = x + offset[root, 0], y + offset[root, 1], z + offset[root, 2]
            root = parent[root]
        total[i, 0], total[i, 1], total[i, 2] = x, y, z
        if number[root] < 0:
            number[root] = groups
            groups += 1
        group[i] = number[root]
    return group, total


def angle_histogram(
    vectors: Floats,
    start: Integers,
    order: Integers,
    centre_types: Integers,
    end_types: Integers,
    n_ends: int,
    n_kinds: int,
) -> tuple[Floats, Floats]:
    """Histogram of the angles between all pairs of bonds at each centre, and the tetrahedral deviation of each centre.

    Parameters
    ----------
    vectors
        Shape (E, 3), A, of any length and all inwards or all outwards.
    start, order
        Bonds by centre, as :func:`bonds_at` gives them.
    centre_types, end_types
        Element of each centre, and of the other end of each bond, shape (E,).
    n_ends, n_kinds
        Number of elements at the ends; number of kinds, which are ordered by centre, then by the pair of ends.

    Returns
    -------
    histogram, deviation
        Shape (n_kinds, 182): counts a degree, the sum of angles and that of their squares; and for each centre the sum
        of (cos + 1/3)^2 over its pairs.
    """
    histogram = np.zeros((n_kinds, 182))
    deviation = np.zeros(len(centre_types))
    per_centre = n_ends * (n_ends + 1) // 2
    for c in range(len(centre_types)):
        for i in range(start[c], start[c + 1]):
            a = order[i]
            for j in range(i + 1, start[c + 1]):
                b = order[j]
                dot, aa, bb = 0.0, 0.0, 0.0
                for k in range(3):
                    dot += vectors[a, k] * vectors[b, k]
                    aa += vectors[a, k] * vectors[a, k]
                    bb += vectors[b, k] * vectors[b, k]
                cosine = min(1.0, max(-1.0, dot / math.sqrt(aa * bb)))
                angle = math.degrees(math.acos(cosine))
                low, high = min(end_types[a], end_types[b]), max(end_types[a], end_types[b])
                kind = centre_types[c] * per_centre + low * n_ends - low * (low - 1) // 2 + high - low
                histogram[kind, min(int(angle), 179)] += 1
                histogram[kind, 180] += angle
                histogram[kind, 181] += angle * angle
                deviation[c] += (cosine + 1 / 3) ** 2
    return histogram, deviation
