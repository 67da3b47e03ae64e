"""All partial g(r) of a four-element system: one pass of PartialRDF against MDAnalysis InterRDF pair by pair.

Both read the same DCD file with the same bins: random points at a glass's density that keep 1.5 A apart, moved to the
nearest point of a fine lattice so that no distance lies within rounding of a bin's edge. (Elsewhere InterRDF, which
rounds to single precision, puts a few pairs in a million into the next bin.) Printed are the times, their ratio and
the largest difference of any g(r); then how PartialRDF's time and peak memory grow with the number of atoms, and its
peak memory with the number of frames. Run it on a quiet machine:

    python scripts/bench/bench_rdf.py --atoms 3000 --frames 10 --r-max 8 10 12
    python scripts/bench/bench_rdf.py --r-max --scaling 10000 100000 1000000 --memory 20 200 2000
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
import warnings
from collections.abc import Callable
from itertools import combinations_with_replacement
from pathlib import Path

import MDAnalysis
import numpy as np
from MDAnalysis.analysis.rdf import InterRDF
from scipy.spatial import cKDTree

from napos_lmp.analysis.pairs.rdf import PartialRDF

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


def random_universe(n_atoms: int) -> MDAnalysis.Universe:
    """One frame of random points at the same density and composition."""
    length = (n_atoms / DENSITY) ** (1 / 3)
    universe = MDAnalysis.Universe.empty(n_atoms, trajectory=True)
    shares = np.cumsum(list(COMPOSITION.values())) / sum(COMPOSITION.values())
    places = np.searchsorted(shares, np.linspace(0, 1, n_atoms, endpoint=False), side="right")
    universe.add_TopologyAttr("elements", np.array(list(COMPOSITION))[places])
    universe.dimensions = [length, length, length, 90, 90, 90]
    universe.atoms.positions = np.random.default_rng(0).random((n_atoms, 3)) * length
    return universe


def measure_one_size(n_atoms: int, r_max: float) -> None:
    """One frame; run in a process of its own for its peak memory."""
    universe = random_universe(n_atoms)
    PartialRDF(universe, r_max=3.0).run()
    before = peak_memory()
    begin = time.perf_counter()
    PartialRDF(universe, r_max=r_max).run(workers=1)
    spent = time.perf_counter() - begin
    print(
        f"{n_atoms:8d} atoms to {r_max:g} A: {spent:7.2f} s/frame, {spent / n_atoms * 1e6:5.2f} us/atom, "
        f"peak {peak_memory():.0f} MiB ({before:.0f} MiB before)",
        flush=True,
    )


def measure_one_length(path: str, n_frames: int) -> None:
    """Many frames; run in a process of its own for its peak memory."""
    universe = write_frames(Path(path), 500, n_frames, 1)
    begin = time.perf_counter()
    PartialRDF(universe, r_max=8.0).run()
    spent = time.perf_counter() - begin
    print(f"{n_frames:6d} frames of 500 atoms: {spent:6.2f} s, peak {peak_memory():.0f} MiB", flush=True)


def peak_memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def alone(target: Callable[..., None], *arguments: object) -> None:
    child = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
    child.start()
    child.join()


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
    parser.add_argument("--r-max", type=float, nargs="*", default=[8.0, 10.0, 12.0, 15.0])
    parser.add_argument("--bin-width", type=float, default=0.02)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--scaling", type=int, nargs="*", default=[])
    parser.add_argument("--memory", type=int, nargs="*", default=[])
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as folder:
        universe = write_frames(Path(folder) / "frames.dcd", arguments.atoms, arguments.frames, arguments.seed)
        print(f"{arguments.atoms} atoms, {arguments.frames} frames, bins of {arguments.bin_width} A")
        PartialRDF(universe, r_max=3.0).run(stop=1)
        for r_max in arguments.r_max:
            compare(universe, r_max, arguments.bin_width, arguments.repeats)
        for n_frames in arguments.memory:
            alone(measure_one_length, str(Path(folder) / "many.dcd"), n_frames)
    for n_atoms in arguments.scaling:
        for r_max in (5.0, 10.0, 15.0):
            alone(measure_one_size, n_atoms, r_max)


if __name__ == "__main__":
    main()
