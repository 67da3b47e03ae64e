"""All partial g(r) of a four-element system: one pass of PartialRDF against MDAnalysis InterRDF pair by pair.

Both read the same DCD file with the same bins: random points at a glass's density that keep 1.5 A apart, moved to the
nearest point of a fine lattice so that no distance lies within rounding of a bin's edge. (Elsewhere InterRDF, which
rounds to single precision, puts a few pairs in a million into the next bin.) Printed are the times, their ratio and
the largest difference of any g(r). Run it on a quiet machine:

    python scripts/bench/bench_rdf.py --atoms 3000 --frames 10 --r-max 8 10 12
"""

import argparse
import tempfile
import time
import warnings
from itertools import combinations_with_replacement
from pathlib import Path

import MDAnalysis
import numpy as np
from MDAnalysis.analysis.rdf import InterRDF
from scipy.spatial import cKDTree

from napos_lmp.analysis.rdf import PartialRDF

COMPOSITION = {"Na": 4, "P": 2, "S": 5, "O": 2}
DENSITY = 0.0415
LATTICE = 64


def write_frames(path: Path, n_atoms: int, n_frames: int, seed: int) -> MDAnalysis.Universe:
    """Frames of points that keep 1.5 A apart, in a cube of Na4P2S5O2's number density."""
    generator = np.random.default_rng(seed)
    shares = np.array(list(COMPOSITION.values())) / sum(COMPOSITION.values())
    counts = np.floor(shares * n_atoms).astype(int)
    counts[0] += n_atoms - counts.sum()
    length = (n_atoms / DENSITY) ** (1 / 3)
    universe = MDAnalysis.Universe.empty(n_atoms, trajectory=True)
    universe.add_TopologyAttr("elements", np.repeat(list(COMPOSITION), counts))
    universe.dimensions = [length, length, length, 90, 90, 90]
    with MDAnalysis.Writer(str(path), n_atoms) as writer:
        for _ in range(n_frames):
            universe.atoms.positions = spread(generator, n_atoms, length)
            writer.write(universe.atoms)
    return MDAnalysis.Universe(universe._topology, str(path))


def spread(generator: np.random.Generator, n_atoms: int, length: float) -> np.ndarray:
    points = generator.random((n_atoms, 3)) * length
    while True:
        close = cKDTree(points, boxsize=length).query_pairs(1.5, output_type="ndarray")
        if len(close) == 0:
            return np.round(points / length * LATTICE) / LATTICE * length
        moved = np.unique(close[:, 0])
        points[moved] = generator.random((len(moved), 3)) * length


def compare(universe: MDAnalysis.Universe, r_max: float, bin_width: float, repeats: int) -> None:
    bins = round(r_max / bin_width)
    ours, theirs = [], []
    for _ in range(repeats):
        begin = time.perf_counter()
        result = PartialRDF(universe, r_max=r_max, bin_width=bin_width).run()
        ours.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        reference = {}
        for a, b in combinations_with_replacement(COMPOSITION, 2):
            block = (1, 1) if a == b else None
            groups = (universe.select_atoms(f"element {e}") for e in (a, b))
            run = InterRDF(*groups, nbins=bins, range=(0, r_max), exclusion_block=block).run()
            reference[f"{a}-{b}"] = run.results.rdf
        theirs.append(time.perf_counter() - begin)
    worst = max(float(np.abs(result.pairs[name].g - g).max()) for name, g in reference.items())
    n = len(universe.trajectory)
    print(
        f"r_max {r_max:5.1f} A: PartialRDF {min(ours) / n * 1e3:7.1f} ms/frame, InterRDF {min(theirs) / n * 1e3:7.1f} "
        f"ms/frame, ratio {min(theirs) / min(ours):5.1f}, largest |difference of g| {worst:.1e}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", type=int, default=3000)
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--r-max", type=float, nargs="+", default=[8.0, 10.0, 12.0, 15.0])
    parser.add_argument("--bin-width", type=float, default=0.02)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as folder:
        universe = write_frames(Path(folder) / "frames.dcd", arguments.atoms, arguments.frames, arguments.seed)
        print(f"{arguments.atoms} atoms, {arguments.frames} frames, bins of {arguments.bin_width} A")
        PartialRDF(universe, r_max=3.0).run(stop=1)
        for r_max in arguments.r_max:
            compare(universe, r_max, arguments.bin_width, arguments.repeats)


if __name__ == "__main__":
    main()
