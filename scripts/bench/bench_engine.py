"""`napos-lmp run DECK` beside bare `lmp -in in.lammps` on the same deck: at most 1.02 times as long.

    python scripts/bench/bench_engine.py [--seconds 60] [--pairs 3]

Runs last as long as asked for in processor time. Both start from nothing each time, one thread, in turn (ours first in
every second pair); the ratio is of the best wall times. On a busy machine trust the processor time (all processes).
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from napos_lmp.composition import Composition
from napos_lmp.deck import present_elements, render_deck
from napos_lmp.potential import load_potential
from napos_lmp.protocol import Melt, Protocol
from napos_lmp.structure import estimate_density, pack

LIMIT = 1.02
ATOMS = 65
SCRIPTS = Path(sys.executable).parent
BARE = [str(SCRIPTS / "lmp"), "-in", "in.lammps"]


def make_deck(folder: Path, duration_ps: float) -> Path:
    composition, potential = Composition.parse("Na4P2S5O2"), load_potential("napos-deepmd")
    counts = composition.cell(ATOMS).counts
    elements = present_elements(potential, counts)
    structure = pack(counts, 0.9 * estimate_density(composition).value, 1, elements)
    stage = Melt(temperature_K=1200, duration_ps=duration_ps, dump_ps=0.05)
    protocol = Protocol(name="bench", stages=(stage,), timestep_fs=1.0, thermo_ps=0.01)
    render_deck(folder, composition=composition, potential=potential, protocol=protocol, seed=1, structure=structure)
    return folder


def timed(command: list[str], deck: Path, place: Path) -> tuple[float, float]:
    """Wall and processor seconds of a command in a fresh copy of a deck."""
    copy = shutil.copytree(deck, place / "copy")
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "DP_INTRA_OP_PARALLELISM_THREADS": "1",
        "DP_INTER_OP_PARALLELISM_THREADS": "1",
    }
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=copy, env=environment, check=True, capture_output=True)
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    shutil.rmtree(copy)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    commands = {"lmp -in in.lammps": BARE, "napos-lmp run": [str(SCRIPTS / "napos-lmp"), "run", "."]}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        trial = make_deck(place / "trial", 0.2)
        start = timed(BARE, trial, place)[1]
        longer = make_deck(place / "longer", 1.2)
        deck = make_deck(place / "deck", round(options.seconds / (timed(BARE, longer, place)[1] - start), 2))
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for pair in range(options.pairs):
            for name in sorted(commands, reverse=bool(pair % 2)):
                times[name].append(timed(commands[name], deck, place))
                print(f"{name:20s} {times[name][-1][0]:8.2f} s wall {times[name][-1][1]:8.2f} s processor", flush=True)
    bare, ours = (tuple(min(column) for column in zip(*times[name], strict=True)) for name in commands)
    ratio = ours[0] / bare[0]
    print(f"napos-lmp run / lmp: {ratio:.4f} wall, {ours[1] / bare[1]:.4f} processor (at most {LIMIT})")
    return int(ratio > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
