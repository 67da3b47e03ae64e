"""All partial S(q) of a four-element system: StructureFactor against dynasor on the same frames and vectors.

Both take the same reciprocal vectors (those that StructureFactor chooses, so q and -q once), in double precision, on
the same number of threads; both sum over the pairs of elements. dynasor gives S at each vector, which is then averaged
in bins here. Printed are times a frame (of all frames less one, so that what both do once, such as dynasor's check of
the vectors, is left out), their ratio and the largest difference of any partial S(q) in any bin; then
how StructureFactor's time and peak memory grow with the number of atoms. Run it on a quiet machine; the variables hold
both to one thread:

    export OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1
    python scripts/bench/bench_structure_factor.py --atoms 1000 3000 10000 --frames 9 --scaling 10000 100000
"""

import argparse
import logging
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from bench_rdf import COMPOSITION, alone, peak_memory, random_universe, write_frames
from MDAnalysis.lib.mdamath import triclinic_vectors

from napos_lmp.analysis.pairs.reciprocal import VectorSample, complete_up_to
from napos_lmp.analysis.pairs.structure_factor import StructureFactor

BINS = 0.05


def compare(folder: Path, n_atoms: int, n_frames: int, q_max: float, per_bin: int, seed: int) -> None:
    from dynasor import Trajectory, compute_static_structure_factors

    universe = write_frames(folder / "frames.dcd", n_atoms, n_frames, seed)
    elements = universe.atoms.elements
    cell = triclinic_vectors(universe.dimensions).astype(float)
    sample = VectorSample.of_box(cell, q_max, complete_up_to(np.linalg.det(cell), BINS, per_bin))
    indices = {element: np.flatnonzero(elements == element).tolist() for element in COMPOSITION}

    def theirs(stop: int) -> tuple[float, object]:
        begin = time.perf_counter()
        trajectory = Trajectory(
            str(folder / "frames.dcd"),
            trajectory_format="dcd",
            atomic_indices=indices,
            frame_stop=stop,
        )
        found = compute_static_structure_factors(trajectory, sample.vectors(), logging_interval=0)
        return time.perf_counter() - begin, found

    def ours(stop: int) -> tuple[float, object]:
        begin = time.perf_counter()
        measurement = StructureFactor(universe, q_max=q_max, bin_width=BINS, vectors_per_bin=per_bin)
        found = measurement.run(stop=stop, workers=1)
        return time.perf_counter() - begin, found

    spent, found = [], []
    for measure in (ours, theirs):
        measure(1)
        once, (all_of_them, last) = measure(1)[0], measure(n_frames)
        spent.append((all_of_them - once) / (n_frames - 1))
        found.append(last)
    (our_time, their_time), (result, reference) = spent, found
    place = np.minimum((sample.lengths() / q_max * round(q_max / BINS)).astype(int), round(q_max / BINS) - 1)
    held = np.bincount(place)
    worst = 0.0
    counts = {element: len(index) for element, index in indices.items()}
    for name, values in result.partial.items():
        a, b = name.split("-")
        key = f"Sq_{a}_{b}" if f"Sq_{a}_{b}" in reference.available_correlation_functions else f"Sq_{b}_{a}"
        mean = np.bincount(place, np.ravel(reference[key]))[held > 0] / held[held > 0]
        mean *= n_atoms / (1 if a == b else 2)
        expected = 1 + n_atoms / (counts[a] * counts[b]) * mean - (n_atoms / counts[a] if a == b else 0)
        worst = max(worst, float(np.abs(values - expected).max()))
    print(
        f"{n_atoms} atoms, {sample.n_vectors} vectors to {q_max:g} 1/A: StructureFactor {our_time * 1e3:.0f}"
        f" ms/frame, dynasor {their_time * 1e3:.0f} ms/frame, ratio {their_time / our_time:.1f}, largest "
        f"|difference of S| {worst:.1e}",
        flush=True,
    )


def measure_one_size(n_atoms: int, q_max: float, per_bin: int) -> None:
    """One frame of random points; run in a process of its own for its peak memory."""
    universe = random_universe(n_atoms)
    begin = time.perf_counter()
    StructureFactor(universe, q_max=q_max, bin_width=BINS, vectors_per_bin=per_bin).run(workers=1)
    spent = time.perf_counter() - begin
    print(
        f"{n_atoms:8d} atoms: {spent:7.2f} s/frame, {spent / n_atoms * 1e6:6.1f} us/atom, peak {peak_memory():.0f} MiB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", type=int, nargs="*", default=[1000, 3000])
    parser.add_argument("--frames", type=int, default=9)
    parser.add_argument("--q-max", type=float, default=20.0)
    parser.add_argument("--per-bin", type=int, default=300)
    parser.add_argument("--scaling", type=int, nargs="*", default=[])
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable()
    with tempfile.TemporaryDirectory() as folder:
        for n_atoms in arguments.atoms:
            compare(Path(folder), n_atoms, arguments.frames, arguments.q_max, arguments.per_bin, arguments.seed)
    for n_atoms in arguments.scaling:
        alone(measure_one_size, n_atoms, arguments.q_max, arguments.per_bin)


if __name__ == "__main__":
    main()
