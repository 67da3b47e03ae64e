"""Sample configurations by short runs of a DeePMD model itself: soft-packed cells, molten, cooled, sometimes strained.

    python sample.py MODEL.pth OUT --round 2 --seed 3 --number 40

Every run leaves OUT/<run>/todo.xyz, which label.py labels. MODEL is a frozen or tabulated model of Na, P, S and O.
"""

import argparse
import os
import random
import subprocess
from pathlib import Path

import ase
import ase.io
import numpy as np

ELEMENTS = ("Na", "P", "S", "O")

# (Na, P, S, O) of the formula unit, and how often it is drawn
COMPOSITIONS = {
    "Na4P2S7": ((4, 2, 7, 0), 3),
    "Na4P2S6O": ((4, 2, 6, 1), 2),
    "Na4P2S5O2": ((4, 2, 5, 2), 3),
    "Na4P2S4O3": ((4, 2, 4, 3), 1.5),
    "Na4P2S3.5O3.5": ((8, 4, 7, 7), 1.5),
    "Na4P2S2O5": ((4, 2, 2, 5), 1.5),
    "Na4P2O7": ((4, 2, 0, 7), 1.5),
    "NaPS3": ((1, 1, 3, 0), 2),
    "NaPO3": ((1, 1, 0, 3), 1.5),
    "NaPS2O": ((1, 1, 2, 1), 1),
    "NaPSO2": ((1, 1, 1, 2), 1),
    "Na3PS4": ((3, 1, 4, 0), 1.5),
    "Na3PO4": ((3, 1, 0, 4), 1),
    "Na3PS3O": ((3, 1, 3, 1), 1),
    "Na3PS2O2": ((3, 1, 2, 2), 1),
    "Na5P3S10": ((5, 3, 10, 0), 1),
    "Na5P3S8O2": ((5, 3, 8, 2), 1),
    "Na10P4S15": ((10, 4, 15, 0), 1),
}
VOLUME_A3 = np.array([20.5, 14.0, 23.0, 11.6])  # per atom, from the densities of Na4P2S7, NaPS3 and NaPO3
SCHEDULES = {  # temperature in K, steps of 2 fs
    "cool": [(2800, 400), (2000, 600), (1500, 800), (1100, 800), (800, 600), (450, 500)],
    "glass": [(2500, 400), (1400, 800), (900, 1000), (600, 600), (300, 400)],
}
SETUP = """units metal
atom_style atomic
atom_modify map yes
read_data x.data
mass 1 22.99
mass 2 30.974
mass 3 32.06
mass 4 15.999
pair_style soft 2.6
pair_coeff * * 20.0 2.6
pair_coeff 2 3 20.0 2.1
pair_coeff 2 4 20.0 1.6
pair_coeff 4 4 20.0 2.3
pair_coeff 2 2 20.0 3.3
pair_coeff 1 4 20.0 2.3
pair_coeff 3 3 20.0 3.2
pair_coeff 1 1 20.0 3.0
minimize 0 1e-3 400 1000
pair_style deepmd {model}
pair_coeff * * Na P S O
neigh_modify every 1 delay 0 check yes
minimize 0 0.5 40 80
velocity all create 2500 {seed}
timestep 0.002
thermo 100
thermo_modify lost error
fix push all nve/limit 0.05
fix cool all temp/rescale 10 2500 2500 50 1
run 150
unfix push
unfix cool
dump 1 all custom 50 frames.lammpstrj id type x y z
dump_modify 1 sort id
variable hot equal temp
fix halt all halt 20 v_hot > 12000 error soft
"""
STAGE = "fix 1 all nvt temp {0} {0} 0.05\nrun {1}\nunfix 1\n"


def build(counts: np.ndarray, scale: float, draw: random.Random, seed: int) -> ase.Atoms:
    """Random positions in an orthogonal cell of `scale` times the usual volume."""
    edge = (float(counts @ VOLUME_A3) * scale) ** (1 / 3)
    a, b = draw.uniform(0.85, 1.18), draw.uniform(0.85, 1.18)
    cell = np.array([a, b, 1 / (a * b)]) * edge
    if cell.min() < 8.2:
        cell = np.full(3, edge)
    symbols = [element for element, n in zip(ELEMENTS, counts, strict=True) for _ in range(n)]
    positions = np.random.default_rng(seed).random((len(symbols), 3)) * cell
    return ase.Atoms(symbols, positions=positions, cell=cell, pbc=True)


def schedule(draw: random.Random) -> tuple[list[int], str]:
    """Temperatures of the frames in K (0 where strained), and the LAMMPS text."""
    stages = SCHEDULES[draw.choice(["cool", "cool", "cool", "glass"])]
    text = "".join(STAGE.format(*stage) for stage in stages)
    temperatures = [temperature for temperature, steps in stages for _ in range(steps // 50)]
    if draw.random() < 0.3:
        x, y, z = (draw.uniform(0.94, 1.07) for _ in range(3))
        text += f"change_box all x scale {x} y scale {y} z scale {z} remap\n" + STAGE.format(700, 300)
    return temperatures, text


def sample(folder: Path, model: Path, name: str, turn: int, draw: random.Random, seed: int) -> int:
    """One run; returns the number of frames kept."""
    unit = np.array(COMPOSITIONS[name][0])
    counts = unit * max(1, round(draw.choice([52, 65, 65, 78]) / unit.sum()))
    atoms = build(counts, draw.choice([0.9, 0.95, 1, 1, 1, 1, 1.05, 1.12, 1.25]), draw, seed)
    temperatures, stages = schedule(draw)
    folder.mkdir(parents=True)
    ase.io.write(folder / "x.data", atoms, format="lammps-data", specorder=list(ELEMENTS))
    (folder / "in.lammps").write_text(SETUP.format(model=model.resolve(), seed=seed) + stages)
    with (folder / "screen.txt").open("w") as screen:
        subprocess.run(["lmp", "-in", "in.lammps"], cwd=folder, stdout=screen, stderr=screen, check=False)
    kept = []
    frames = ase.io.read(folder / "frames.lammpstrj", ":", format="lammps-dump-text", specorder=list(ELEMENTS))
    for number, frame in enumerate(frames[1:]):
        frame.wrap()
        if frame.get_all_distances(mic=True)[np.triu_indices(len(frame), 1)].min() < 0.85:
            break
        strained = number >= len(temperatures)
        temperature = 700 if strained else temperatures[number]
        kept.append(ase.Atoms(frame.symbols, positions=frame.positions, cell=frame.cell, pbc=True))
        kept[-1].info = {
            "composition": name,
            "temperature_K": temperature,
            "phase": "strained" if strained else "melt" if temperature >= 1000 else "glass",
            "sampled": f"run by the potential itself, round {turn}",
            "trajectory": f"round {turn}:{name}:{seed}",
        }
    if kept:
        ase.io.write(folder / "todo.tmp", kept, format="extxyz")
        (folder / "todo.tmp").rename(folder / "todo.xyz")
    return len(kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--round", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--number", type=int, default=10)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    draw = random.Random(given.seed)
    weights = [weight for _, weight in COMPOSITIONS.values()]
    for number in range(given.number):
        name = draw.choices(list(COMPOSITIONS), weights)[0]
        folder = given.out / f"r{given.round}_{given.seed}_{number:04d}"
        kept = sample(folder, given.model, name, given.round, draw, 1000 * given.seed + number + 1)
        print(folder.name, name, kept, flush=True)


if __name__ == "__main__":
    main()
