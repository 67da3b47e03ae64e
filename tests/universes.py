"""In-memory trajectories, crystals and molecules with known answers, for the tests of the structure analysis."""

import MDAnalysis
import numpy as np
from ase.geometry import cellpar_to_cell
from ase.spacegroup import crystal
from MDAnalysis.coordinates.memory import MemoryReader


def universe_of(symbols, frames, box):
    """A Universe of `frames` (F, N, 3) or (N, 3) in one box or one box a frame, six numbers each."""
    frames = np.asarray(frames, dtype=np.float32)
    frames = frames[None] if frames.ndim == 2 else frames
    universe = MDAnalysis.Universe.empty(len(symbols), trajectory=False)
    universe.add_TopologyAttr("elements", list(symbols))
    dimensions = None if box is None else np.asarray(box, dtype=np.float32)
    universe.trajectory = MemoryReader(frames, order="fac", dimensions=dimensions)
    return universe


def universe_of_atoms(atoms, frames=None):
    """A Universe of ASE atoms, with other positions where `frames` (F, N, 3) are given (upright boxes only)."""
    box = atoms.cell.cellpar()
    if frames is None:
        frames = atoms.get_scaled_positions() @ cellpar_to_cell(box)
    return universe_of(atoms.get_chemical_symbols(), frames, box)


def sodium_thiophosphate(repeat=(3, 3, 3)):
    """Tetragonal Na3PS4, P-42_1c."""
    sites = [(0, 0.5, 0.426), (0, 0, 0), (0, 0, 0.5), (0.315, 0.345, 0.167)]
    cell = [6.956, 6.956, 7.088, 90, 90, 90]
    return crystal(["Na", "Na", "P", "S"], sites, spacegroup=114, cellpar=cell).repeat(repeat)


def cristobalite(repeat=(3, 3, 2)):
    """Alpha-cristobalite SiO2."""
    sites = [(0.3003, 0.3003, 0), (0.2392, 0.1044, 0.1787)]
    return crystal(["Si", "O"], sites, spacegroup=92, cellpar=[4.978, 4.978, 6.948, 90, 90, 90]).repeat(repeat)


def quartz(repeat=(3, 3, 3)):
    """Alpha-quartz SiO2 in its hexagonal cell."""
    sites = [(0.4697, 0, 2 / 3), (0.4133, 0.2672, 0.7855)]
    return crystal(["Si", "O"], sites, spacegroup=154, cellpar=[4.916, 4.916, 5.405, 90, 90, 120]).repeat(repeat)


TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)


def tetrahedron(anions=("S", "S", "S", "S")):
    """One P with four terminal anions."""
    lengths = {"S": 2.05, "O": 1.52}
    arms = np.array([lengths[a] * v for a, v in zip(anions, TETRAHEDRON, strict=True)])
    return ["P", *anions], np.vstack([[0, 0, 0], arms])


def pyro():
    """P2S7: two tetrahedra that share a corner."""
    _, positions = tetrahedron()
    other = 2 * positions[1] - positions[[0, 2, 3, 4]]
    return ["P", "S", "S", "S", "S", "P", "S", "S", "S"], np.vstack([positions, other])


def edge_sharing():
    """P2S6 whose two P share two S."""
    points = [(1.4, 0, 0), (0, 1.57, 0), (0, -1.57, 0), (2.5, 0, 1.7), (2.5, 0, -1.7)]
    points += [(-1.4, 0, 0), (-2.5, 0, 1.7), (-2.5, 0, -1.7)]
    return ["P", "S", "S", "S", "S", "P", "S", "S"], np.array(points)


def hypodiphosphate():
    """P2S6(4-): two PS3 joined by a P-P bond."""
    angles = np.radians([0, 120, 240])
    ring = np.column_stack([np.full(3, 1.825), 1.9 * np.cos(angles), 1.9 * np.sin(angles)])
    half = np.vstack([[1.125, 0, 0], ring])
    return ["P", "S", "S", "S"] * 2, np.vstack([half, -half])


def cage():
    """P4S10: each P with three bridging S and a terminal one."""
    corners = 1.2 * np.sqrt(3) * TETRAHEDRON
    bridges = 2.6 * np.vstack([np.eye(3), -np.eye(3)])
    terminal = corners + 2.0 * TETRAHEDRON
    return ["P"] * 4 + ["S"] * 10, np.vstack([corners, bridges, terminal])


def disulfide():
    """S3P-S-S-PS3."""
    turn = np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]]) / np.sqrt([[3], [2], [6]])
    arms = 2.05 * TETRAHEDRON @ turn.T
    half = np.vstack([[0, 0, 0], arms])
    far = np.array([6.15, 0, 0]) - half
    return ["P", "S", "S", "S", "S"] * 2, np.vstack([half, far])


def tricluster():
    """One O bonded to three P, each with three terminal O."""
    angles = np.radians([0, 120, 240])
    symbols, positions = ["O"], [np.zeros(3)]
    for angle in angles:
        out = np.array([np.cos(angle), np.sin(angle), 0])
        side = np.array([-np.sin(angle), np.cos(angle), 0])
        centre = 1.65 * out
        symbols += ["P", "O", "O", "O"]
        positions += [centre, centre + 0.6 * out + 1.4 * side * 0.95]
        positions += [centre + 0.6 * out - 0.7 * side + 1.2 * np.array([0, 0, s]) for s in (1, -1)]
    return symbols, np.array(positions)


def chain():
    """Two PS2 units of an infinite chain P-S-P-S along x; returns symbols, positions and the box."""
    points = [(0, 0, 0), (1.6, 1.3, 0), (0, -0.9, 1.85), (0, -0.9, -1.85)]
    points += [(3.2, 0, 0), (4.8, 1.3, 0), (3.2, -0.9, 1.85), (3.2, -0.9, -1.85)]
    return ["P", "S", "S", "S"] * 2, np.array(points) + 8, [6.4, 20, 20, 90, 90, 90]
