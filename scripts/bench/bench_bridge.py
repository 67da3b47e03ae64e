"""A MACE deck through the CPU bridge beside ASE's molecular dynamics with MACE's own calculator: at least 1.3x as fast.

    python scripts/bench/bench_bridge.py [MODEL] [--atoms 208 416] [--steps 20] [--pairs 4] [--threads 1] [--core 1]

MODEL is a MACE model as trained; without it one of random weights is made (16 channels, max_L 1, cutoff 5 A). Both
sides use the same model, float type, threads and start, and run NVE with 1 fs. They take turns in processes of their
own that are kept waiting in between; each turn is a run of `steps` steps. On a busy machine trust the processor time.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

LIMIT = 1.3

ASE_SIDE = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import torch
from ase import units
from ase.io import read
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from mace.calculators import MACECalculator
import numpy as np

model, start, dtype, steps = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
atoms = read(start)
atoms.calc = MACECalculator(model_paths=model, device="cpu", default_dtype=dtype)
MaxwellBoltzmannDistribution(atoms, temperature_K=600, rng=np.random.default_rng(1))
dynamics = VelocityVerlet(atoms, 1.0 * units.fs)
dynamics.run(5)
energies = [float(atoms.get_potential_energy())]
print("ready", flush=True)
for line in sys.stdin:
    wall, processor = time.perf_counter(), time.process_time()
    dynamics.run(steps)
    print(json.dumps([time.perf_counter() - wall, time.process_time() - processor]), flush=True)
"""

BRIDGE_SIDE = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import torch
import napos_lmp.backends.mliap as mliap
mliap.load_unified = lambda file: torch.load(file, weights_only=False)  # made by this script a moment ago
from napos_lmp.engine.bridge import Bridge

exported, start, elements, steps = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
bridge = Bridge(["-log", "none", "-screen", "none", "-nocite"])
bridge.run(f'''units metal
atom_style atomic
boundary p p p
atom_modify map yes
newton on
read_data {start}
pair_style mliap unified {exported} 0
pair_coeff * * {elements}
neighbor 2.0 bin
neigh_modify every 1 delay 0 check yes
timestep 0.001
thermo_style custom step temp pe etotal press vol
thermo 10
velocity all create 600 1 mom yes rot no dist gaussian
fix 1 all nve
run 5'''.splitlines())
print("ready", flush=True)
for line in sys.stdin:
    wall, processor = time.perf_counter(), time.process_time()
    bridge.run([f"run {steps} pre no post no"])
    print(json.dumps([time.perf_counter() - wall, time.process_time() - processor]), flush=True)
"""


def make_model(folder: Path, precision: str) -> Path:
    """A MACE model of random weights."""
    import numpy as np
    import torch
    from e3nn import o3
    from mace import modules

    torch.manual_seed(1)
    torch.set_default_dtype(getattr(torch, precision))
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    model = modules.ScaleShiftMACE(
        r_max=5.0,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=2,
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=2,
        num_elements=4,
        hidden_irreps=o3.Irreps("16x0e+16x1o"),
        MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=np.zeros(4),
        avg_num_neighbors=25.0,
        atomic_numbers=[8, 11, 15, 16],
        correlation=2,
        gate=torch.nn.functional.silu,
        radial_MLP=[32, 32, 32],
        radial_type="bessel",
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )
    torch.save(model, folder / "random.model")
    return folder / "random.model"


def export(file: Path, folder: Path) -> tuple[Path, str, float]:
    """The exported object around a model, its precision and cutoff."""
    os.environ["MACE_ALLOW_CPU"] = "true"
    import mace.modules  # noqa: F401
    import torch
    from mace.calculators.lammps_mliap_mace import LAMMPS_MLIAP_MACE

    model = torch.load(file, map_location="cpu", weights_only=False)
    precision = str(next(model.parameters()).dtype).removeprefix("torch.")
    torch.set_default_dtype(getattr(torch, precision))
    torch.save(LAMMPS_MLIAP_MACE(model), folder / "exported.pt")
    return folder / "exported.pt", precision, float(model.r_max)


def make_start(folder: Path, n_atoms: int) -> tuple[Path, Path, str]:
    """A packed Na4P2S5O2 melt as LAMMPS data file and for ASE, and its elements."""
    from ase import Atoms

    from napos_lmp.composition import Composition
    from napos_lmp.structure import estimate_density, pack, write_data

    composition = Composition.parse("Na4P2S5O2")
    elements = ("O", "Na", "P", "S")
    structure = pack(composition.cell(n_atoms).counts, estimate_density(composition).value, 1, elements)
    write_data(folder / f"{n_atoms}.data", structure)
    atoms = Atoms(structure.symbols, positions=structure.positions, cell=structure.cell, pbc=True)
    atoms.write(folder / f"{n_atoms}.xyz", format="extxyz")
    return folder / f"{n_atoms}.data", folder / f"{n_atoms}.xyz", " ".join(elements)


def started(code: str, arguments: list[str], options: argparse.Namespace) -> subprocess.Popen:
    """One side, ready and waiting for a line on its standard input."""
    from napos_lmp.engine import find_lammps

    threads = {name: str(options.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    environment = {**os.environ, **threads, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1", **find_lammps().environment}
    pinned = ["taskset", "-c", options.core] if options.core else []
    process = subprocess.Popen(
        [*pinned, sys.executable, "-c", code, *arguments],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == "ready":
            return process
    raise SystemExit("one side did not start")


def turn(process: subprocess.Popen) -> tuple[float, float]:
    """Wall and processor seconds of one run."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    for line in process.stdout:
        if line.startswith("["):
            wall, processor = json.loads(line)
            return wall, processor
    raise SystemExit("one side stopped")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--atoms", type=int, nargs="+", default=[208, 416])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=["float32", "float64"], default="float32")
    parser.add_argument("--core", default="")
    options = parser.parse_args()
    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
    worst = float("inf")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = options.model or make_model(folder, options.precision)
        exported, precision, cutoff = export(model, folder)
        print(f"{model.name}, {precision}, cutoff {cutoff:g} A, {options.threads} threads", flush=True)
        for n_atoms in options.atoms:
            data, frame, elements = make_start(folder, n_atoms)
            steps = str(options.steps)
            sides = {
                "ASE": started(ASE_SIDE, [str(model), str(frame), precision, steps], options),
                "bridge": started(BRIDGE_SIDE, [str(exported), str(data), elements, steps], options),
            }
            times: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
            for pair in range(options.pairs):
                for side in sorted(sides, reverse=bool(pair % 2)):
                    times[side].append(turn(sides[side]))
            for process in sides.values():
                process.communicate()
            ratios = []
            for column, kind in enumerate(("wall", "processor")):
                ase, ours = ([one[column] / options.steps * 1e3 for one in times[side]] for side in ("ASE", "bridge"))
                ratios.append(statistics.median(a / b for a, b in zip(ase, ours, strict=True)))
                print(
                    f"{n_atoms:5d} atoms, {kind:9s}: ASE {min(ase):7.1f} ms/step, bridge {min(ours):7.1f} ms/step, "
                    f"median ratio {ratios[-1]:.2f}",
                    flush=True,
                )
            worst = min(worst, ratios[1])
    print(f"least ratio in processor time: {worst:.2f} (at least {LIMIT})")
    return int(worst < LIMIT)


if __name__ == "__main__":
    sys.exit(main())
