"""What a potential says of labelled frames, many frames at a time; each family of models has a function for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napos_lmp.backends.deepmd import import_deepmd
from napos_lmp.backends.mace import choose_head, contained_imports, is_mace, mace_elements, mace_heads
from napos_lmp.backends.mliap import load_model
from napos_lmp.card import Potential
from napos_lmp.errors import EvaluationError
from napos_lmp.training.dataset import Array, Frame, type_order, virial_of_stress

_FRAMES_AT_ONCE = 16
_ATOMS_AT_ONCE = 500


@dataclass(frozen=True)
class Prediction:
    """What a model says of one frame: `energy` eV, `forces` (N, 3) eV/A, `virial` (3, 3) eV."""

    energy: float
    forces: Array
    virial: Array


Predictor = Callable[[Path, Sequence[Frame]], list[Prediction]]


def predictions(potential: Potential, frames: Sequence[Frame]) -> list[Prediction]:
    """What the model that simulations run with says of frames, in their order; the potential must be accepted."""
    return _predictor(potential)(potential.file, frames)


def committee_predictions(potential: Potential, frames: Sequence[Frame]) -> list[list[Prediction]]:
    """What each model of a committee says of frames: models first, the one that simulations run with at the head.

    Raises
    ------
    EvaluationError
        If the potential is one model.
    """
    if len(potential.models) < 2:
        raise EvaluationError(
            f"potential {potential.name!r} is one model, and a deviation takes a committee of at least two"
        )
    predict = _predictor(potential)
    return [predict(file, frames) for file in potential.models]


def _predictor(potential: Potential) -> Predictor:
    if potential.backend not in _PREDICTORS:
        raise EvaluationError(f"potential {potential.name!r}: models of {potential.backend} cannot be evaluated here")
    return _PREDICTORS[potential.backend]


def predict_deepmd(model: Path, frames: Sequence[Frame]) -> list[Prediction]:
    """Energies, forces and virials of frames from a frozen or tabulated DeePMD model, in the order given."""
    import_deepmd()
    from deepmd.infer import DeepPot

    potential = DeepPot(str(model), auto_batch_size=False)
    elements = potential.get_type_map()
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    orders = [type_order(frame.symbols, elements) for frame in frames]
    for index, frame in enumerate(frames):
        groups[tuple(frame.symbols.count(element) for element in elements)].append(index)
    found: dict[int, Prediction] = {}
    for members in groups.values():
        for start in range(0, len(members), _FRAMES_AT_ONCE):
            batch = members[start : start + _FRAMES_AT_ONCE]
            first = frames[batch[0]]
            types = [elements.index(first.symbols[atom]) for atom in orders[batch[0]]]
            energies, forces, virials = potential.eval(
                np.stack([frames[index].positions[orders[index]] for index in batch]),
                np.stack([frames[index].cell for index in batch]),
                types,
            )[:3]
            for row, index in enumerate(batch):
                unsorted = np.empty_like(frames[index].positions)
                unsorted[orders[index]] = forces[row].reshape(-1, 3)
                found[index] = Prediction(float(energies[row].item()), unsorted, virials[row].reshape(3, 3))
    return [found[index] for index in range(len(frames))]


def predict_mace(model: Path, frames: Sequence[Frame]) -> list[Prediction]:
    """Energies, forces and virials of frames from a MACE model with one head, in the order given.

    The model's own precision is used, on a GPU where there is one.

    Raises
    ------
    PotentialError
        If the file may not be loaded (:mod:`napos_lmp.trust`), is no model, or has several heads.
    EvaluationError
        If it is no MACE model.
    """
    import torch

    network = load_model(model)
    if not is_mace(network):
        raise EvaluationError(f"{model} is an exported object; a MACE model as trained is needed to evaluate frames")
    head = choose_head(mace_heads(network), None, model.name)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = network.to(device).eval()
    for parameter in network.parameters():
        parameter.requires_grad = False
    found: list[Prediction] = []
    with _default_dtype(next(network.parameters()).dtype):
        graphs = _graphs(frames, mace_elements(network), float(network.r_max), head)
        for batch in graphs:
            batch = batch.to(device)
            output = network(batch.to_dict(), training=False, compute_force=True, compute_stress=True)
            energies, stresses = (output[name].detach().cpu().double().numpy() for name in ("energy", "stress"))
            forces = np.split(output["forces"].detach().cpu().double().numpy(), batch.ptr[1:-1].cpu().numpy())
            for energy, force, stress in zip(energies, forces, stresses, strict=True):
                volume = abs(float(np.linalg.det(frames[len(found)].cell)))
                found.append(Prediction(float(energy), force, virial_of_stress(stress, volume)))
    return found


def _graphs(frames: Sequence[Frame], elements: Sequence[str], cutoff: float, head: str) -> Iterator[Any]:
    """Batches of frames as MACE reads them, made one at a time."""
    with contained_imports():
        from mace.data import AtomicData, Configuration
        from mace.tools import AtomicNumberTable
        from mace.tools.torch_geometric import Batch
    from ase.data import atomic_numbers

    table = AtomicNumberTable([atomic_numbers[element] for element in elements])
    for some in _by_size(frames):
        configurations = [
            Configuration(
                atomic_numbers=np.array([atomic_numbers[symbol] for symbol in frame.symbols]),
                positions=frame.positions,
                properties={},
                property_weights={},
                cell=frame.cell,
                pbc=(True, True, True),
                head=head,
            )
            for frame in some
        ]
        yield Batch.from_data_list(
            [AtomicData.from_config(item, z_table=table, cutoff=cutoff, heads=[head]) for item in configurations]
        )


def _by_size(frames: Sequence[Frame]) -> Iterator[list[Frame]]:
    """Frames in their order, as many at once as stay near a number of atoms that fits in memory."""
    some: list[Frame] = []
    for frame in frames:
        some.append(frame)
        if sum(len(other.symbols) for other in some) >= _ATOMS_AT_ONCE:
            yield some
            some = []
    if some:
        yield some


_PREDICTORS: dict[str, Predictor] = {"deepmd": predict_deepmd, "mliap": predict_mace}


@contextmanager
def _default_dtype(dtype: Any) -> Iterator[None]:
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
