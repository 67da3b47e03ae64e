"""Energy drift of a potential at constant energy, as decks run it: below 1 meV/atom over 20 ps at 600 K with 1 fs.

    python scripts/checks/nve_drift.py napos-mace [--atoms 52] [--duration 20] [--temperature 600] [--threads 1]
    python scripts/checks/nve_drift.py --model trained.model --trust

A packed Na4P2S5O2 cell is melted at 1500 K and brought to the temperature (2 + 2 ps), then runs without a thermostat.
The drift is the slope of a straight line through the total energy times the duration; the largest distance of the
energy from its start is given too. A model file is used without being accepted for anything else.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from napos_lmp.card import Potential
from napos_lmp.composition import Composition
from napos_lmp.deck import present_elements, render_deck
from napos_lmp.engine import run_deck
from napos_lmp.potential import add_model_file, load_potential
from napos_lmp.protocol import Equilibrate, Melt, Produce, Protocol
from napos_lmp.structure import estimate_density, pack
from napos_lmp.trajectory import DeckTrajectory

LIMIT_MEV_PER_ATOM = 1.0


def total_energy(potential: Potential, folder: Path, options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Time in ps and total energy in meV/atom of the constant-energy stage."""
    composition = Composition.parse("Na4P2S5O2")
    counts = composition.cell(options.atoms).counts
    elements = present_elements(potential, counts)
    protocol = Protocol(
        name="drift",
        stages=(
            Melt(temperature_K=1500, duration_ps=2),
            Equilibrate(ensemble="nvt", temperature_K=options.temperature, duration_ps=2),
            Produce(ensemble="nve", temperature_K=options.temperature, duration_ps=options.duration),
        ),
        timestep_fs=1.0,
        thermo_ps=0.01,
    )
    render_deck(
        folder,
        composition=composition,
        potential=potential,
        protocol=protocol,
        seed=1,
        structure=pack(counts, 0.95 * estimate_density(composition).value, 1, elements),
    )
    run_deck(folder, threads=options.threads)
    thermo = DeckTrajectory(folder).thermo("03-produce")
    temperature = float(np.mean(thermo["Temp"]))
    print(f"{options.atoms} atoms, {potential.name}, {temperature:.0f} K on average", flush=True)
    return np.asarray(thermo["Time"]), 1000 * np.asarray(thermo["TotEng"]) / options.atoms


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("potential", nargs="?", default="napos-mace")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--trust", action="store_true")
    parser.add_argument("--atoms", type=int, default=52)
    parser.add_argument("--duration", type=float, default=20.0)
    parser.add_argument("--temperature", type=float, default=600.0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.model:
            os.environ["NAPOS_LMP_HOME"] = str(folder / "home")
            potential = add_model_file(options.model, "under-test", trust=options.trust)
        else:
            potential = load_potential(options.potential)
        time, energy = total_energy(potential, folder / "deck", options)
    slope = float(np.polyfit(time - time[0], energy, 1)[0])
    drift = slope * float(time[-1] - time[0])
    farthest = float(np.abs(energy - energy[0]).max())
    print(
        f"drift {drift:+.4f} meV/atom over {time[-1] - time[0]:g} ps (below {LIMIT_MEV_PER_ATOM:g}), "
        f"energy within {farthest:.4f} meV/atom of its start"
    )
    return int(abs(drift) >= LIMIT_MEV_PER_ATOM)


if __name__ == "__main__":
    sys.exit(main())
