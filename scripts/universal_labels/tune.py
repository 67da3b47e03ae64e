"""Tune SevenNet-0 on DFT, in an environment of its own: `pip install sevenn ase`.

    python tune.py TRAIN.xyz VALIDATION.xyz TUNED.pt [--epochs 12]

The files are those that `napos-lmp train models` writes for a MACE model (member-1/train/data/): the tuned model sees
what the shipped potentials see, and no more. One frame a step, Adam with a warm-up and a cosine decay, running
averages of the weights in TUNED.pt after each epoch. 10,900 atoms take 4 minutes an epoch on one core. It goes on where
it was stopped, from TUNED.pt.state.
"""

import argparse
import math
import random
from pathlib import Path

import ase
import ase.io
import numpy as np
import sevenn._keys as key
import torch
from sevenn.atom_graph_data import AtomGraphData
from sevenn.train.dataload import unlabeled_atoms_to_graph
from sevenn.util import load_checkpoint

ELEMENTS = ("Na", "P", "S", "O")
LEARNING_RATE, LAST_SHARE, WARM_UP = 5e-4, 0.02, 60
ENERGY, FORCE, VIRIAL = 20.0, 1.0, 5.0  # of squares of eV/atom, eV/A, eV/atom
AVERAGE = 0.99
LARGEST_GRADIENT = 3.0
VOIGT = ((0, 1, 2, 0, 1, 2), (0, 1, 2, 1, 2, 0))  # SevenNet's order of the stress


class Frame:
    """One cell as SevenNet's graph, with its labels: energy in eV, forces in eV/A, virial in eV."""

    def __init__(self, atoms: ase.Atoms, cutoff: float) -> None:
        self.graph = AtomGraphData.from_numpy_dict(unlabeled_atoms_to_graph(atoms, cutoff))
        self.n_atoms = len(atoms)
        self.counts = np.array([atoms.symbols.count(element) for element in ELEMENTS], float)
        self.energy = float(atoms.info["REF_energy"])
        self.forces = torch.tensor(atoms.arrays["REF_forces"], dtype=torch.float32)
        self.volume = float(atoms.get_volume())
        virial = -np.array(atoms.info["REF_stress"])[VOIGT] * self.volume
        self.virial = torch.tensor(virial, dtype=torch.float32)

    def errors(self, model: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of energy and virial in eV/atom, of forces (N, 3) in eV/A."""
        graph = self.graph.clone()
        graph[key.EDGE_VEC].requires_grad_(True)
        graph[key.BATCH] = torch.zeros(self.n_atoms, dtype=torch.long)
        found = model(graph)
        energy = (found[key.PRED_TOTAL_ENERGY].view(-1)[0] - self.energy) / self.n_atoms
        virial = (found[key.PRED_STRESS].view(-1) * self.volume - self.virial) / self.n_atoms
        return energy, found[key.PRED_FORCE] - self.forces, virial


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("validation", type=Path)
    parser.add_argument("tuned", type=Path)
    parser.add_argument("--epochs", type=int, default=12)
    arguments = parser.parse_args()
    checkpoint = load_checkpoint("7net-0")
    model = checkpoint.build_model()
    model.set_is_batch_data(True)
    cutoff = checkpoint.config["cutoff"]
    train, validation = (
        [Frame(atoms, cutoff) for atoms in ase.io.read(path, ":", format="extxyz")]
        for path in (arguments.train, arguments.validation)
    )
    constants = fitted_constants(model, train)
    for frame in (*train, *validation):
        frame.energy -= float(frame.counts @ constants)
    report("as it is", model, validation)
    named = dict(zip(ELEMENTS, constants.tolist(), strict=True))
    tune(model, train, validation, arguments.tuned, arguments.epochs, named)


def fitted_constants(model: torch.nn.Module, frames: list[Frame]) -> np.ndarray:
    """One energy for each element, in eV, by which the labels lie above the model's energies."""
    model.eval()
    n_atoms = np.array([frame.n_atoms for frame in frames])
    counts = np.array([frame.counts for frame in frames])
    above = -np.array([float(frame.errors(model)[0].detach()) for frame in frames])
    return np.linalg.lstsq(counts / n_atoms[:, None], above, rcond=None)[0]


def tune(
    model: torch.nn.Module,
    train: list[Frame],
    validation: list[Frame],
    tuned: Path,
    epochs: int,
    constants: dict[str, float],
) -> None:
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    averages = [weight.detach().clone() for weight in weights]
    optimiser = torch.optim.Adam(weights, lr=LEARNING_RATE)
    step = first = 0
    state = tuned.with_name(tuned.name + ".state")
    if state.exists():
        last = torch.load(state, weights_only=True)
        model.load_state_dict(last["model"])
        optimiser.load_state_dict(last["optimiser"])
        averages, first, step = last["averages"], last["epoch"], last["step"]
    for epoch in range(first, epochs):
        model.train()
        for frame in random.Random(epoch).sample(train, len(train)):
            step += 1
            decay = LAST_SHARE + (1 - LAST_SHARE) * 0.5 * (1 + math.cos(math.pi * step / (epochs * len(train))))
            for group in optimiser.param_groups:
                group["lr"] = LEARNING_RATE * min(1.0, step / WARM_UP) * decay
            energy, forces, virial = frame.errors(model)
            loss = ENERGY * energy**2 + FORCE * (forces**2).mean() + VIRIAL * (virial**2).mean()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, LARGEST_GRADIENT)
            optimiser.step()
            share = min(AVERAGE, step / (step + 9))
            with torch.no_grad():
                for average, weight in zip(averages, weights, strict=True):
                    average.lerp_(weight, 1 - share)
        exchange(weights, averages)
        report(f"epoch {epoch + 1}", model, validation)
        save({"model": model.state_dict(), "constants_eV": constants}, tuned)
        exchange(weights, averages)
        now = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "averages": averages}
        save({**now, "epoch": epoch + 1, "step": step}, state)


def exchange(weights: list[torch.Tensor], averages: list[torch.Tensor]) -> None:
    for weight, average in zip(weights, averages, strict=True):
        kept = weight.detach().clone()
        weight.data.copy_(average)
        average.copy_(kept)


def save(content: dict, path: Path) -> None:
    temporary = path.with_name("." + path.name)
    torch.save(content, temporary)
    temporary.replace(path)


def report(when: str, model: torch.nn.Module, frames: list[Frame]) -> None:
    model.eval()
    squares, n_atoms = np.zeros(3), 0
    for frame in frames:
        energy, forces, virial = (error.detach() for error in frame.errors(model))
        squares += [float(energy**2), float((forces**2).sum()) / 3, float((virial**2).mean())]
        n_atoms += frame.n_atoms
    energy, force, virial = 1000 * np.sqrt(squares / [len(frames), n_atoms, len(frames)])
    print(f"{when}: energy {energy:.1f} meV/atom, force {force:.0f} meV/A, virial {virial:.1f} meV/atom", flush=True)


if __name__ == "__main__":
    main()
