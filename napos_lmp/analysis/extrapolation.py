"""Whether a simulation extrapolates: the deviation of its committee, against what is usual on validation frames.

The deviation is that of :mod:`napos_lmp.training.deviation`. It comes from the file that LAMMPS wrote on the way or,
for a deck that could not ask its committee, from some of its stored frames.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napos_lmp.analysis.base import Result, checked_box
from napos_lmp.card import UsualDeviation
from napos_lmp.errors import AnalysisError
from napos_lmp.potential import load_potential

if TYPE_CHECKING:
    from napos_lmp.card import Potential
    from napos_lmp.manifest import Manifest
    from napos_lmp.training.dataset import Frame
    from napos_lmp.trajectory import DeckTrajectory

Floats = NDArray[np.float64]
Source = Literal["run", "frames"]

MOST_FRAMES = 20
"""Most stored frames of a stage that are given to the committee where LAMMPS did not ask it."""

_ATOMS_AT_ONCE = 4000
_MEAN_BEYOND = 0.01
_FAR = 2.0


@dataclass(frozen=True)
class ExtrapolationResult(Result):
    """Deviation of a committee in one stage.

    Attributes
    ----------
    times
        Of the looks at the committee, in ps since step 0, shape (looks,).
    largest, mean
        Largest and mean deviation over the atoms in each look, eV/A.
    n_atoms
        Atoms of the cell.
    usual
        What is usual in the validation frames; None where the card does not say.
    source
        "run" where LAMMPS asked the committee, "frames" where stored frames were given to it afterwards.
    potential
        Name of the potential.
    """

    times: Floats
    largest: Floats
    mean: Floats
    n_atoms: int
    usual: UsualDeviation | None
    source: Source
    potential: str

    @property
    def beyond(self) -> NDArray[np.bool_] | None:
        """Which looks are unlike the validation frames, shape (looks,); a simulation that blew up is."""
        if self.usual is None:
            return None
        from napos_lmp.training.deviation import extrapolates

        return extrapolates(self.usual, self.largest, self.mean) | ~self._finite

    @property
    def share(self) -> float | None:
        """Share of the looks that are unlike the validation frames."""
        return None if self.beyond is None else float(self.beyond.mean())

    @property
    def chance(self) -> float | None:
        """Share to be expected of frames like the validation frames, at most.

        A new atom deviates more than the M atoms of the validation frames with a probability of 1 / (M + 1), so one of
        n does with 1 - (1 - 1 / (M + 1))^n; and one frame in a hundred has a larger mean, as that limit is defined.
        """
        return None if self.usual is None else min(1.0, self._atom_chance + _MEAN_BEYOND)

    @property
    def worst(self) -> int:
        """Place of the look with the largest deviation."""
        return int(np.argmax(np.where(self._finite, self.largest, np.inf)))

    @property
    def extrapolating(self) -> bool | None:
        """Whether the stage extrapolates; None where the card does not say what is usual.

        It does where more looks are beyond a limit than chance explains (two standard deviations of their number above
        it), or an atom deviates more than twice as far as any of the validation frames did.
        """
        if self.usual is None:
            return None
        atoms = np.sum(~(self.largest <= self.usual.largest_atom_eV_A))
        means = np.sum(~(self.mean <= self.usual.frame_mean_eV_A))
        n = len(self.times)
        counts = ((int(atoms), self._atom_chance), (int(means), _MEAN_BEYOND))
        many = (count > n * p + 2 * math.sqrt(n * p * (1 - p)) for count, p in counts)
        return any(many) or not self.largest.max() <= _FAR * self.usual.largest_atom_eV_A

    @property
    def verdict(self) -> str:
        """All of it in one sentence."""
        largest, when = float(self.largest[self.worst]), float(self.times[self.worst])
        seen = f"{len(self.times)} {'looks on the way' if self.source == 'run' else 'stored frames'}"
        at = f"the largest deviation of an atom, {largest:.3g} eV/A at {when:.6g} ps,"
        if self.usual is None or self.share is None or self.chance is None:
            return f"no verdict: {at} in {seen} cannot be judged, as the card of {self.potential} gives no limit"
        times = f"{at} is {largest / self.usual.largest_atom_eV_A:.2g} x the largest of the validation frames"
        share, chance = f"{100 * self.share:.3g} % of {seen}", f"{100 * self.chance:.2g} %"
        if not self.extrapolating:
            return f"at home: {share} are beyond the limits, where chance gives up to {chance}; {times}"
        return (
            f"extrapolating: {share} are beyond the limits, where chance gives up to {chance}; {times}; do not trust "
            "what was measured here before the potential was trained on such configurations"
        )

    def columns(self) -> Mapping[str, ArrayLike]:
        """Deviation against time."""
        return {"time_ps": self.times, "largest_eV_A": self.largest, "mean_eV_A": self.mean}

    def plot(self, ax: Any = None) -> Any:
        """Deviation against time with its two limits."""
        from napos_lmp.analysis.base import plot_axes

        ax = plot_axes(ax)
        for label, values, limit in (
            ("largest", self.largest, self.usual and self.usual.largest_atom_eV_A),
            ("mean", self.mean, self.usual and self.usual.frame_mean_eV_A),
        ):
            (line,) = ax.plot(self.times, values, label=label)
            if limit:
                ax.axhline(limit, color=line.get_color(), linestyle="--")
        ax.set(xlabel="time (ps)", ylabel="deviation of forces (eV/Å)")
        ax.legend()
        return ax

    @property
    def _finite(self) -> NDArray[np.bool_]:
        return np.isfinite(self.largest) & np.isfinite(self.mean)

    @property
    def _atom_chance(self) -> float:
        assert self.usual is not None
        return 1 - (1 - 1 / (self.usual.atoms + 1)) ** self.n_atoms


class Extrapolation:
    """Deviation of a deck's committee in one stage.

    Parameters
    ----------
    trajectory
        The deck.
    stage
        Name of a stage of dynamics.
    """

    def __init__(self, trajectory: DeckTrajectory, stage: str) -> None:
        self._trajectory, self._stage = trajectory, stage

    def run(self, *, stored_frames: bool = True) -> ExtrapolationResult:
        """Read what LAMMPS wrote, or else ask the committee about at most `MOST_FRAMES` stored frames.

        Parameters
        ----------
        stored_frames
            Whether stored frames may be used.

        Raises
        ------
        TrajectoryError
            If LAMMPS wrote nothing and stored frames may not be used, or a file contradicts the manifest.
        AnalysisError
            If the potential of the deck is one model, or was not accepted here as it was in the deck.
        """
        manifest = self._trajectory.manifest
        card = manifest.potential.card
        if not card.get("committee"):
            raise AnalysisError(
                f"potential {manifest.potential.name!r} of {self._trajectory.folder} is one model, and a deviation "
                "takes a committee of at least two"
            )
        usual = UsualDeviation.model_validate(card["usual_deviation"]) if card.get("usual_deviation") else None
        source: Source = "run" if self._written or not stored_frames else "frames"
        times, largest, mean = self._rows() if source == "run" else self._ask(manifest)
        return ExtrapolationResult(
            times, largest, mean, manifest.structure.n_atoms, usual, source, manifest.potential.name
        )

    @property
    def _written(self) -> bool:
        deviation = self._trajectory.manifest.deviation
        return deviation is not None and any(self._trajectory.folder.glob(deviation.pattern))

    def _rows(self) -> tuple[Floats, Floats, Floats]:
        rows = self._trajectory.deviation(self._stage)
        return rows.times, rows.largest, rows.mean

    def _ask(self, manifest: Manifest) -> tuple[Floats, Floats, Floats]:
        from napos_lmp.training.deviation import force_deviations
        from napos_lmp.training.prediction import committee_predictions

        potential = _accepted(manifest)
        times, frames = self._frames()
        at_once = max(1, _ATOMS_AT_ONCE // manifest.structure.n_atoms)
        deviations = [
            deviation
            for start in range(0, len(frames), at_once)
            for deviation in force_deviations(committee_predictions(potential, frames[start : start + at_once]))
        ]
        largest, mean = (np.array([kind(deviation) for deviation in deviations]) for kind in (np.max, np.mean))
        return times, largest, mean

    def _frames(self) -> tuple[Floats, list[Frame]]:
        """Stored frames, evenly spaced over the stage, and their times; they have no labels."""
        from ase import Atoms

        from napos_lmp.training.dataset import unlabelled

        universe = self._trajectory.universe(self._stage, across_holes=True)
        last = len(universe.trajectory) - 1
        times, frames = [], []
        for place in np.unique(np.linspace(0, last, min(MOST_FRAMES, last + 1)).round().astype(int)):
            step = universe.trajectory[int(place)]
            atoms = universe.atoms
            times.append(float(step.time))
            frames.append(
                unlabelled(Atoms(atoms.elements, positions=atoms.positions, cell=checked_box(step), pbc=True))
            )
        return np.array(times), frames


def _accepted(manifest: Manifest) -> Potential:
    """The potential of a deck as it was accepted here; it must be the same models."""
    name, card = manifest.potential.name, manifest.potential.card
    potential = load_potential(name)
    if list(potential.models.values()) != [card["sha256"], *(member["sha256"] for member in card["committee"])]:
        raise AnalysisError(f"potential {name!r} is accepted here with other models than those of the deck")
    return potential
