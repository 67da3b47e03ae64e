"""The training file of `napos-lmp train deepmd`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from napos_lmp.training.config import ConfigPart, TrainingConfig

Prefactors = tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]]
Widths = Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)]


class Model(ConfigPart):
    """Size of the network; numbers given replace those of the preset `size`.

    The descriptor `dpa1` is DPA-1 without attention, one embedding network for all pairs of elements with the type
    embedding stripped from it, so that it can be tabulated (D. Zhang et al., npj Comput. Mater. 10, 94, 2024); `se_a`
    is DeepPot-SE with one network for each neighbour's element (L. Zhang et al., NeurIPS 2018). `neighbours` is the
    largest number of neighbours kept, in total for `dpa1` and for each element for `se_a`; None takes it from the data
    with a fifth to spare.
    """

    size: Literal["small", "standard"] = "standard"
    descriptor: Literal["dpa1", "se_a"] = "dpa1"
    cutoff_A: float = Field(default=6.0, gt=0)
    smooth_from_A: float = Field(default=2.0, gt=0)
    embedding: Widths | None = None
    axis: int | None = Field(default=None, gt=0)
    fitting: Widths | None = None
    neighbours: Annotated[int, Field(gt=0)] | tuple[Annotated[int, Field(gt=0)], ...] | None = None

    @model_validator(mode="after")
    def _smooth_inside(self) -> Model:
        if self.smooth_from_A >= self.cutoff_A:
            raise ValueError(f"smooth_from_A ({self.smooth_from_A:g}) must be below cutoff_A ({self.cutoff_A:g})")
        if isinstance(self.neighbours, tuple) != (self.descriptor == "se_a") and self.neighbours is not None:
            raise ValueError("neighbours is one number for dpa1, one for each element for se_a")
        return self


class LearningRate(ConfigPart):
    """Exponential decay from `start` to `stop` over all steps."""

    start: float = Field(default=2e-3, gt=0)
    stop: float = Field(default=1e-5, gt=0)


class Loss(ConfigPart):
    """Prefactors of energy, force and virial in the loss, at the start and at the end of training."""

    energy: Prefactors = (0.02, 1.0)
    force: Prefactors = (1000.0, 10.0)
    virial: Prefactors = (0.02, 0.5)


class DeepmdConfig(TrainingConfig):
    """Training of a DeePMD model, on top of what every training file has.

    `init_model` starts from the weights of a checkpoint (`.pt`) or frozen model (`.pth`) of the same architecture and
    level of theory. `finetune` starts from one that was trained on other labels: its architecture is kept, whatever
    `model` says, and the energies of its elements are shifted to those of the new frames first.
    """

    files: ClassVar[tuple[str, ...]] = ("init_model", "finetune")

    model: Model = Model()
    steps: int = Field(gt=0)
    batch: int = Field(default=1, gt=0)
    learning_rate: LearningRate = LearningRate()
    loss: Loss = Loss()
    init_model: Path | None = None
    finetune: Path | None = None

    @field_validator("finetune")
    @classmethod
    def _checkpoint(cls, value: Path | None) -> Path | None:
        if value is not None and value.suffix not in (".pt", ".pth"):
            raise ValueError("must be a checkpoint (.pt) or a frozen model (.pth)")
        return value

    @model_validator(mode="after")
    def _one_start(self) -> DeepmdConfig:
        if self.init_model and self.finetune:
            raise ValueError("a training starts from init_model or from finetune, not from both")
        return self

    @model_validator(mode="after")
    def _neighbours_for_each(self) -> DeepmdConfig:
        neighbours = self.model.neighbours
        if isinstance(neighbours, tuple) and len(neighbours) != len(self.elements):
            raise ValueError(
                f"model.neighbours has {len(neighbours)} numbers for {len(self.elements)} elements; give one for each"
            )
        return self
