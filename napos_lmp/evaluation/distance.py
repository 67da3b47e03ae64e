"""How far the atoms of frames are from those that a potential was trained on, as a DeePMD model sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napos_lmp.backends.deepmd import import_deepmd
from napos_lmp.training.dataset import Array, Frame

_DIMENSIONS = 16
_MOST_ATOMS = 40_000
_SEED = 11


class AtomDescriptors:
    """Descriptors of atoms from a DeePMD model.

    Parameters
    ----------
    model
        Frozen model, of a potential that was accepted.
    """

    def __init__(self, model: Path) -> None:
        import_deepmd()
        from deepmd.infer import DeepPot

        self._model = DeepPot(str(model), auto_batch_size=False)
        self.elements: tuple[str, ...] = tuple(self._model.get_type_map())

    def of(self, frames: Sequence[Frame]) -> list[dict[str, Array]]:
        """Descriptors of the atoms of each frame, by element, each of shape (atoms, dimensions)."""
        found = []
        for frame in frames:
            symbols = np.array(frame.symbols)
            types = np.array([self.elements.index(symbol) for symbol in frame.symbols])
            rows = self._model.eval_descriptor(frame.positions[None], frame.cell.reshape(1, 9), types)[0]
            found.append({element: rows[symbols == element] for element in dict.fromkeys(frame.symbols)})
        return found


@dataclass(frozen=True)
class _Known:
    """Atoms of one element in the training set: how to bring descriptors onto their axes, and where they lie there."""

    mean: Array
    axes: Array
    tree: Any
    unit: float

    def distances(self, rows: Array) -> Array:
        return np.asarray(self.tree.query((rows - self.mean) @ self.axes)[0]) / self.unit


class TrainingSet:
    """The training frames of a potential, to measure how far other frames are from them.

    Descriptors of each element are brought onto their principal axes in the training set, each scaled to unit spread,
    the 16 widest kept. The distance of an atom is that to the nearest training atom of its element, in units of what is
    usual: the median of the atoms of the validation frames. The distance of a frame is the mean over its atoms, so that
    1 is a frame of a kind that was trained on; it is infinite where an element was not trained on.

    Parameters
    ----------
    descriptors
        What the atoms are described by.
    train, validation
        Frames of the two parts; of more than 40,000 training atoms of an element so many are drawn.
    """

    def __init__(self, descriptors: AtomDescriptors, train: Sequence[Frame], validation: Sequence[Frame]) -> None:
        self._descriptors = descriptors
        known, near = _gathered(descriptors.of(train)), _gathered(descriptors.of(validation))
        self._known = {element: _axes(rows, near.get(element)) for element, rows in known.items()}

    def distances(self, frames: Sequence[Frame]) -> Array:
        """Distance of each frame, shape (frames,)."""
        found = []
        for atoms in self._descriptors.of(frames):
            if set(atoms) - set(self._known):
                found.append(np.inf)
                continue
            found.append(np.concatenate([self._known[e].distances(rows) for e, rows in atoms.items()]).mean())
        return np.array(found, dtype=np.float64)


def _gathered(frames: Sequence[dict[str, Array]]) -> dict[str, Array]:
    elements = dict.fromkeys(element for frame in frames for element in frame)
    return {element: np.concatenate([frame[element] for frame in frames if element in frame]) for element in elements}


def _axes(rows: Array, near: Array | None) -> _Known:
    from scipy.spatial import cKDTree

    if len(rows) > _MOST_ATOMS:
        rows = rows[np.random.default_rng(_SEED).choice(len(rows), _MOST_ATOMS, replace=False)]
    mean = rows.mean(axis=0)
    _, widths, directions = np.linalg.svd(rows - mean, full_matrices=False)
    spread = widths / np.sqrt(len(rows))
    kept = (spread > 1e-6 * max(float(spread[0]), 1e-12)) & (np.arange(len(spread)) < _DIMENSIONS)
    axes = directions[kept].T / spread[kept]
    tree = cKDTree((rows - mean) @ axes)
    usual = tree.query((near - mean) @ axes)[0] if near is not None and len(near) else np.ones(1)
    return _Known(mean, axes, tree, max(float(np.median(usual)), 1e-12))
