"""Mean-square displacement of 10,000 atoms x 5,000 frames beside bare FFTs, tidynamics, MDAnalysis and kinisi.

    python scripts/bench/bench_msd.py [--atoms N] [--frames T]

Ours reads the trajectory once, for the displacement of each ion and for that of the charge. "Bare FFT" is what any
such algorithm must do: numpy's transform of all coordinates, padded to twice the frames, its square, and one transform
back for each atom, from memory. Peers run on fewer atoms and their times are scaled up, since they take time in
proportion to the number of atoms; kinisi is left out where it is not installed. All are timed in turn, best of three;
on a busy machine trust the processor time (all threads), not the wall time. Memory is that of a process which only
does ours, with the trajectory streamed from a DCD file as a deck leaves it.
"""

import argparse
import os
import struct
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

TIDYNAMICS_ATOMS, EINSTEIN_ATOMS = 1000, 40


def write_walk(path: Path, n_atoms: int, n_frames: int) -> None:
    """Random walkers in a DCD file laid out as LAMMPS does."""
    rng = np.random.default_rng(1)
    positions = rng.uniform(0, 50, size=(n_atoms, 3))
    with path.open("wb") as stream:
        control = [n_frames, 0, 1, n_frames, *[0] * 5, struct.unpack("<i", struct.pack("<f", 1.0))[0], 1, *[0] * 8, 24]
        stream.write(struct.pack("<i4s20ii", 84, b"CORD", *control, 84))
        stream.write(struct.pack("<ii", 4, 0) + struct.pack("<i", 4))
        stream.write(struct.pack("<iii", 4, n_atoms, 4))
        for _ in range(n_frames):
            stream.write(struct.pack("<i6di", 48, 50, 0, 50, 0, 0, 50, 48))
            for axis in positions.T.astype("<f4"):
                stream.write(struct.pack("<i", 4 * n_atoms) + axis.tobytes() + struct.pack("<i", 4 * n_atoms))
            positions += rng.normal(scale=0.2, size=positions.shape)


def open_walk(path: Path) -> Any:
    import MDAnalysis

    from napos_lmp.dcd import scan_dcd
    from napos_lmp.segment_reader import SegmentReader

    segment = scan_dcd(path)
    assert segment is not None
    frames = np.arange(segment.n_frames, dtype=np.int64)
    universe = MDAnalysis.Universe.empty(segment.n_atoms, trajectory=False)
    universe.add_TopologyAttr("elements", ["Na"] * segment.n_atoms)
    universe.add_TopologyAttr("names", ["Na"] * segment.n_atoms)
    universe.add_TopologyAttr("types", ["Na"] * segment.n_atoms)
    universe.trajectory = SegmentReader([segment], np.zeros_like(frames), frames, frames, 1, 1.0)
    return universe


def clock() -> np.ndarray:
    """Wall and processor time in s."""
    return np.array([time.perf_counter(), time.process_time()])


def ours(path: Path) -> tuple[np.ndarray, np.ndarray]:
    from napos_lmp.analysis.transport.msd import MeanSquareDisplacement

    start = clock()
    result = MeanSquareDisplacement(open_walk(path), reference="none").run()
    return clock() - start, result.msd["Na"]


def reading_time(path: Path) -> np.ndarray:
    universe = open_walk(path)
    start = clock()
    positions = np.empty((len(universe.trajectory), len(universe.atoms), 3), dtype=np.float32)
    for k, ts in enumerate(universe.trajectory):
        positions[k] = ts.positions
    return clock() - start


def bare_fft_time(positions: np.ndarray) -> np.ndarray:
    n_frames, n_atoms, _ = positions.shape
    start = clock()
    for first in range(0, n_atoms, 100):
        block = np.ascontiguousarray(positions[:, first : first + 100].transpose(1, 2, 0))
        spectrum = np.fft.rfft(block, 2 * n_frames, axis=2)
        np.fft.irfft((np.abs(spectrum) ** 2).sum(axis=1), axis=1)
    return clock() - start


def kinisi_time(path: Path, frames: int) -> np.ndarray | None:
    """Displacements and Bayesian regression of kinisi, by its defaults otherwise; None if it is missing."""
    try:
        import scipp
        from kinisi.analyze import DiffusionAnalyzer
    except ImportError:
        return None
    universe = open_walk(path)
    start = clock()
    unit = scipp.Unit("ps")
    lags = scipp.array(dims=["time interval"], values=np.unique(np.geomspace(1, frames // 2, 64).round()), unit=unit)
    step = {"time_step": 1.0 * unit, "step_skip": 1 * scipp.Unit("dimensionless")}
    analysis = DiffusionAnalyzer.from_universe(universe, specie="Na", dt=lags, progress=False, **step)
    analysis.diffusion(1.0 * unit, progress=False)
    return clock() - start


def tidynamics_time(positions: np.ndarray) -> np.ndarray:
    import tidynamics

    start = clock()
    np.mean([tidynamics.msd(positions[:, i]) for i in range(positions.shape[1])], axis=0)
    return clock() - start


def einstein(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import MDAnalysis
    from MDAnalysis.analysis.msd import EinsteinMSD
    from MDAnalysis.coordinates.memory import MemoryReader

    universe = MDAnalysis.Universe.empty(positions.shape[1], trajectory=False)
    universe.trajectory = MemoryReader(positions.astype(np.float32), order="fac")
    start = clock()
    analysis = EinsteinMSD(universe, select="all", fft=False).run()
    return clock() - start, analysis.results.timeseries


def peak_gib() -> float:
    """Largest memory of this process; /proc, since `ru_maxrss` starts from that of the parent."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**20


def peak_memory(path: Path) -> str:
    command = [sys.executable, __file__, "--only-ours", str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--atoms", type=int, default=10_000)
    parser.add_argument("--frames", type=int, default=5_000)
    parser.add_argument("--only-ours", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    np.set_printoptions(precision=2)
    if arguments.only_ours:
        before = peak_gib()
        ours(arguments.only_ours)
        print(f"{peak_gib():.2f} GiB, of which {before:.2f} before the first import")
        return
    with tempfile.TemporaryDirectory() as folder:
        path, small = Path(folder) / "walk.dcd", Path(folder) / "small.dcd"
        write_walk(path, arguments.atoms, arguments.frames)
        write_walk(small, EINSTEIN_ATOMS, arguments.frames)
        universe = open_walk(path)
        some = np.array([ts.positions[:TIDYNAMICS_ATOMS] for ts in universe.trajectory]).astype(np.float64)
        few = np.array([ts.positions.copy() for ts in open_walk(small).trajectory])
        ours(small)
        scale = {"tidynamics": arguments.atoms / some.shape[1], "MDAnalysis": arguments.atoms / EINSTEIN_ATOMS}
        times: dict[str, list[np.ndarray]] = {"ours": [], "bare FFT": [], "tidynamics": [], "MDAnalysis": []}
        for _ in range(3):
            times["bare FFT"].append(bare_fft_time(some) * scale["tidynamics"])
            times["tidynamics"].append(tidynamics_time(some) * scale["tidynamics"])
            times["ours"].append(ours(path)[0])
            seconds, theirs = einstein(few)
            times["MDAnalysis"].append(seconds * scale["MDAnalysis"])
        reading = np.min([reading_time(path) for _ in range(3)], axis=0)
        mine, bare, walk, direct = (np.min(spent, axis=0) for spent in times.values())
        print(f"{arguments.atoms} atoms x {arguments.frames} frames, {len(os.sched_getaffinity(0))} cores")
        print("                              wall (s)  processor (s)")
        print(f"ours, reading included        {mine[0]:8.1f}  {mine[1]:8.1f}")
        print(f"bare FFT, from memory         {bare[0]:8.1f}  {bare[1]:8.1f}   ours / theirs {mine / bare}")
        bare += reading
        print(f"reading and bare FFT          {bare[0]:8.1f}  {bare[1]:8.1f}   ours / theirs {mine / bare}")
        print(f"tidynamics, from memory       {walk[0]:8.1f}  {walk[1]:8.1f}   ours / theirs {mine / walk}")
        print(f"EinsteinMSD(fft=False)        {direct[0]:8.1f}  {direct[1]:8.1f}   theirs / ours {direct / mine}")
        bayesian = kinisi_time(small, arguments.frames)
        if bayesian is not None:
            bayesian = bayesian * (arguments.atoms / EINSTEIN_ATOMS)
            print(f"kinisi, 64 lags, and D        {bayesian[0]:8.1f}  {bayesian[1]:8.1f}   by ours {bayesian / mine}")
        else:
            print("kinisi is not installed")
        print(
            f"largest difference to EinsteinMSD {np.abs(ours(small)[1] / np.maximum(theirs, 1e-9) - 1)[1:].max():.1e}"
        )
        print(f"peak memory of a process with ours only: {peak_memory(path)}")


if __name__ == "__main__":
    main()
