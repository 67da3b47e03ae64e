"""What a potential itself sees of a frame, as one point in space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napos_lmp.errors import ReferenceDataError

if TYPE_CHECKING:
    from napos_lmp.card import Potential


def check_descriptor(potential: Potential) -> None:
    """Raise ReferenceDataError unless the potential gives descriptors, which DeePMD ones do."""
    if potential.backend != "deepmd":
        raise ReferenceDataError(
            f"potential {potential.name!r} ({potential.backend}) gives no descriptors to choose frames by; "
            "name a DeePMD potential in descriptor"
        )


def mean_descriptors(potential: Potential, frames: Sequence[Any]) -> NDArray[np.float64]:
    """The potential's atomic descriptors, averaged over the atoms of each element, of many frames.

    Parameters
    ----------
    potential
        A DeePMD potential.
    frames
        `ase.Atoms` with a periodic cell.

    Returns
    -------
    ndarray
        Shape (frames, elements x descriptor), each column of unit spread over the frames; the part of an element that
        a frame lacks is zero before scaling.

    Raises
    ------
    ReferenceDataError
        If the potential gives no descriptors.
    """
    check_descriptor(potential)
    from napos_lmp.backends.deepmd import import_deepmd

    import_deepmd()
    from deepmd.infer import DeepPot

    model = DeepPot(str(potential.file))
    order = {element: index for index, element in enumerate(model.get_type_map())}
    rows = []
    for frame in frames:
        types = np.array([order[symbol] for symbol in frame.get_chemical_symbols()])
        atomic = model.eval_descriptor(frame.positions[None], frame.cell.array.reshape(1, 9), types)[0]
        rows.append(np.concatenate([_mean(atomic[types == index]) for index in range(len(order))]))
    points = np.array(rows, dtype=np.float64)
    spread = points.std(axis=0)
    return np.asarray((points - points.mean(axis=0)) / np.where(spread > 1e-12, spread, 1.0))


def _mean(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return rows.mean(axis=0) if len(rows) else np.zeros(rows.shape[1])
