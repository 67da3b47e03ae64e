"""The whole census of a network against amorphouspy's Q^n analysis of the same frames of an oxide glass.

Ours: speciation, linkages, anion groups and bond angles in one pass over a DCD file, read included. amorphouspy: Q^n
and the roles of the oxygens alone, of the same frames as ASE atoms in memory. Both use all cores as they do alone,
in turns in one run; the shortest time of each counts. The shares of Q^n must be equal. The glass is alpha-cristobalite
of which a quarter of the bridges was broken by Na2O, shaken by 0.08 A. Peer: pip install amorphouspy.

    python scripts/bench/bench_network.py --frames 200 --repeats 5
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import MDAnalysis
import numpy as np
from ase import Atoms
from ase.spacegroup import crystal

from napos_lmp.analysis.network.angles import BondAngles
from napos_lmp.analysis.network.groups import AnionGroups
from napos_lmp.analysis.network.linkages import Linkages
from napos_lmp.analysis.network.network import Network, measure_together
from napos_lmp.analysis.network.speciation import NetworkSpeciation

SILICON, OXYGEN = 14, 8
CUTOFF = 2.0
CUTOFFS = {"Si-O": CUTOFF, "Si-Si": 2.2, "O-O": 1.7}


def broken_silica(seed: int) -> Atoms:
    """About 3,000 atoms: cristobalite with bridges drawn apart, an O added at each and two Na far from the network."""
    generator = np.random.default_rng(seed)
    sites = [(0.3003, 0.3003, 0), (0.2392, 0.1044, 0.1787)]
    cell = [4.978, 4.978, 6.948, 90, 90, 90]
    atoms = crystal(["Si", "O"], sites, spacegroup=92, cellpar=cell).repeat((6, 6, 6))
    oxygens = np.flatnonzero(atoms.numbers == OXYGEN)
    chosen = generator.choice(oxygens, len(oxygens) // 8, replace=False)
    added = Atoms("O" * len(chosen), positions=atoms.positions[chosen])
    for k, atom in enumerate(chosen):
        bonded = atoms.get_distances(atom, np.flatnonzero(atoms.numbers == SILICON), mic=True, vector=True)
        first, second = np.argsort(np.linalg.norm(bonded, axis=1))[:2]
        axis = bonded[first] - bonded[second]
        axis /= np.linalg.norm(axis)
        aside = np.cross(axis, generator.normal(size=3))
        aside *= 1.1 / np.linalg.norm(aside)
        atoms.positions[atom] += 0.5 * axis + aside
        added.positions[k] += -0.5 * axis - aside
    sodium = Atoms("Na" * (2 * len(chosen)), positions=generator.random((2 * len(chosen), 3)) * atoms.cell.lengths())
    return atoms + added + sodium


def write_frames(path: Path, atoms: Atoms, n_frames: int, seed: int) -> tuple[MDAnalysis.Universe, list[Atoms]]:
    """The same shaken frames as a Universe that reads them from a DCD file, and as ASE atoms."""
    generator = np.random.default_rng(seed)
    universe = MDAnalysis.Universe.empty(len(atoms), trajectory=True)
    universe.add_TopologyAttr("elements", atoms.get_chemical_symbols())
    universe.dimensions = atoms.cell.cellpar()
    frames = []
    with MDAnalysis.Writer(str(path), len(atoms)) as writer:
        for _ in range(n_frames):
            frame = atoms.copy()
            frame.positions += generator.normal(0, 0.08, frame.positions.shape)
            frame.wrap()
            universe.atoms.positions = frame.positions
            writer.write(universe.atoms)
            frame.positions = universe.atoms.positions
            frames.append(frame)
    return MDAnalysis.Universe(universe._topology, str(path)), frames


def our_census(universe: MDAnalysis.Universe, workers: int | None) -> dict[int, float]:
    network = Network(universe, cutoffs=CUTOFFS)
    parts = [NetworkSpeciation(network), Linkages(network), AnionGroups(network), BondAngles(network)]
    speciation = measure_together(parts, workers=workers)[0]
    return {n: share.value for n, share in speciation.units["Si"].items()}


def their_units(frames: list[Atoms]) -> dict[int, float]:
    from amorphouspy.analysis.qn_network_connectivity import compute_qn_and_classify

    total = np.zeros(7)
    for frame in frames:
        counts, _, _ = compute_qn_and_classify(frame, CUTOFF, [SILICON], OXYGEN)
        total += [counts[n] for n in range(7)]
    return dict(enumerate(total / total.sum()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=None)
    chosen = parser.parse_args()
    try:
        import amorphouspy  # noqa: F401
    except ImportError:
        sys.exit("the peer is missing: pip install amorphouspy")
    with tempfile.TemporaryDirectory() as folder:
        atoms = broken_silica(1)
        universe, frames = write_frames(Path(folder) / "glass.dcd", atoms, chosen.frames, 2)
        our_census(universe, chosen.workers)
        their_units(frames[:2])
        ours, theirs = [], []
        for _ in range(chosen.repeats):
            begin = time.perf_counter()
            mine = our_census(universe, chosen.workers)
            middle = time.perf_counter()
            yours = their_units(frames)
            ours.append(middle - begin)
            theirs.append(time.perf_counter() - middle)
    worst = max(abs(mine.get(n, 0.0) - yours[n]) for n in yours)
    print("Q^n:", ", ".join(f"Q{n} {100 * share:.1f} %" for n, share in mine.items()))
    print(
        f"{len(atoms)} atoms, {chosen.frames} frames: census {min(ours) / chosen.frames * 1e3:.2f} ms/frame, "
        f"amorphouspy {min(theirs) / chosen.frames * 1e3:.2f} ms/frame, ratio {min(theirs) / min(ours):.1f}, "
        f"largest difference of a share {worst:.1e}"
    )


if __name__ == "__main__":
    main()
