"""The training file of `napos-lmp train mace`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from napos_lmp.card import Element
from napos_lmp.training.config import ConfigPart, TrainingConfig

Weight = Annotated[float, Field(ge=0)]

_PLATEAU_FACTOR = 0.9
_FALL = 0.1  # of an exponential learning rate, from its start to the end of the first stage

_SIZES: dict[str, dict[str, Any]] = {
    "small": {"channels": 32, "max_L": 0, "max_ell": 2, "correlation": 3, "interactions": 2, "cutoff_A": 4.5},
    "medium": {"channels": 64, "max_L": 0, "max_ell": 3, "correlation": 3, "interactions": 2, "cutoff_A": 5.0},
    "large": {"channels": 128, "max_L": 1, "max_ell": 3, "correlation": 3, "interactions": 2, "cutoff_A": 6.0},
}


class Model(ConfigPart):
    """Size of the model; numbers given replace those of the preset `size`.

    `channels` is the number of features of each atom and order; `max_L` the highest order of the messages (0 is
    invariant), `max_ell` that of the spherical harmonics of neighbours, `correlation` the number of neighbours that one
    layer couples at a time, `interactions` the number of layers (I. Batatia et al., NeurIPS 2022). An atom feels
    `interactions` x `cutoff_A` far.
    """

    size: Literal["small", "medium", "large"] = "small"
    channels: int | None = Field(default=None, gt=0)
    max_L: int | None = Field(default=None, ge=0, le=3)
    max_ell: int | None = Field(default=None, ge=0, le=4)
    correlation: int | None = Field(default=None, ge=1, le=4)
    interactions: int | None = Field(default=None, ge=1, le=4)
    cutoff_A: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _messages_of_harmonics(self) -> Model:
        numbers = self.numbers()
        if numbers["max_L"] > numbers["max_ell"]:
            raise ValueError(f"max_L ({numbers['max_L']}) must not be above max_ell ({numbers['max_ell']})")
        return self

    def numbers(self) -> dict[str, Any]:
        """All numbers, those given in place of the preset's."""
        return _SIZES[self.size] | self.model_dump(exclude={"size"}, exclude_none=True)


class LearningRate(ConfigPart):
    """Learning rate of the first stage.

    `exponential` multiplies it by `factor` after every epoch, `plateau` after `patience` epochs in which the validation
    loss did not fall. None is 0.9 for `plateau`, and for `exponential` what lets it fall tenfold over the first stage.
    """

    start: float = Field(default=0.01, gt=0)
    schedule: Literal["exponential", "plateau"] = "exponential"
    factor: float | None = Field(default=None, gt=0, le=1)
    patience: int = Field(default=5, gt=0)


class Loss(ConfigPart):
    """Kind of loss and the weights of energies, forces and stresses in it.

    `universal` is linear in large errors (Huber), `squares` is the weighted mean of their squares. Frames without a
    stress weigh nothing in the stress of either; MACE's `huber` would learn zeros from them, so it is not offered.
    """

    kind: Literal["universal", "squares"] = "universal"
    energy: Weight = 1.0
    force: Weight = 10.0
    stress: Weight = 10.0


class StageTwo(ConfigPart):
    """Second stage: other weights and a small, constant learning rate, from the epoch `start` on.

    None begins after three quarters of the epochs.
    """

    start: int | None = Field(default=None, gt=0)
    learning_rate: float = Field(default=5e-4, gt=0)
    energy: Weight = 100.0
    force: Weight = 100.0
    stress: Weight = 100.0


class MaceConfig(TrainingConfig):
    """Training of a MACE model, on top of what every training file has.

    `ema` is the decay of the moving average of the weights, which is what is validated and kept; None does without.
    `stage_two: null` does without a second stage. `atomic_energies_eV` are the energies of free atoms (E0): a mapping
    gives them by element; elements it leaves out stand at the energy of their isolated-atom frame in the data, where
    there is one, and are fitted by least squares over the training frames otherwise.

    `foundation` is a MACE model to start from: a file, or a name that MACE can download. Its architecture is kept, so
    `model` must not be given. Of a model with several heads `foundation_head` says which. `atomic_energies_eV` may then
    be `estimate`, the default (the foundation's, corrected by least squares of its errors on the training frames), or
    `foundation` (the foundation's own, right if the labels are of its level of theory).
    """

    files: ClassVar[tuple[str, ...]] = ("foundation",)

    model: Model | None = None
    epochs: int = Field(gt=0)
    batch: int = Field(default=4, gt=0)
    learning_rate: LearningRate = LearningRate()
    loss: Loss = Loss()
    stage_two: StageTwo | None = StageTwo()
    ema: float | None = Field(default=0.99, gt=0, lt=1)
    atomic_energies_eV: dict[Element, float] | Literal["estimate", "foundation"] | None = None
    foundation: Path | None = None
    foundation_head: str | None = None

    @model_validator(mode="after")
    def _stages_within_epochs(self) -> MaceConfig:
        if self.stage_two and self.stage_two.start and self.stage_two.start >= self.epochs:
            raise ValueError(f"stage_two.start ({self.stage_two.start}) must be below epochs ({self.epochs})")
        return self

    @model_validator(mode="after")
    def _energies_of_its_elements(self) -> MaceConfig:
        given = self.atomic_energies_eV if isinstance(self.atomic_energies_eV, dict) else {}
        if foreign := [element for element in given if element not in self.elements]:
            raise ValueError(f"atomic_energies_eV: {foreign[0]} is not among elements ({', '.join(self.elements)})")
        return self

    def located(self, base: Path) -> Self:
        """The same with the paths made absolute; a `foundation` that is no file stays as it is, a name."""
        if self.foundation is None or (base / self.foundation).is_file():
            return super().located(base)
        name = self.foundation
        return TrainingConfig.located(self.model_copy(update={"foundation": None}), base).model_copy(
            update={"foundation": name}
        )

    @property
    def second_stage_start(self) -> int | None:
        """Epoch with which the second stage begins; None where there is none."""
        if self.stage_two is None or self.epochs == 1:
            return None
        return self.stage_two.start or max(1, 3 * self.epochs // 4)

    @property
    def rate_factor(self) -> float:
        """What the learning rate is multiplied by at a time, see :class:`LearningRate`."""
        if self.learning_rate.factor is not None:
            return self.learning_rate.factor
        if self.learning_rate.schedule == "plateau":
            return _PLATEAU_FACTOR
        return float(_FALL ** (1 / (self.second_stage_start or self.epochs)))
