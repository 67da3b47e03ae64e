"""The training file: what a user writes for `napos-lmp train deepmd`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from napos_lmp.errors import TrainingError
from napos_lmp.files import sha256_of
from napos_lmp.potential import Element, Name
from napos_lmp.yamlfile import read_yaml_model

Fraction = Annotated[float, Field(ge=0, lt=1)]
Groups = Fraction | tuple[str, ...]
Prefactors = tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]]
Widths = Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)]


class ConfigPart(BaseModel):
    """Base of all parts of the training file: frozen, and no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Split(ConfigPart):
    """How frames are divided; neighbouring frames of one trajectory never stand on both sides.

    `by` names the property of a frame that says which trajectory it comes from. `validation` and `test` are fractions
    of the frames, reached with whole trajectories drawn by `seed`, or the trajectories by name. Frames of a composition
    in `test_compositions` go to the test set, whatever their trajectory.
    """

    by: str = "trajectory"
    validation: Groups = 0.1
    test: Groups = 0.0
    test_compositions: tuple[str, ...] = ()
    seed: int = 1


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


class TrainingConfig(ConfigPart):
    """One training; paths are relative to the file that holds it.

    `data` is divided by `split`; `test` files are only tested on. All labels of one training must be of the one
    `level_of_theory`: absolute energies of different codes have different zeros. Frames with a force above
    `force_cap_eV_A` are left out, and counted. `init_model` starts from the weights of a checkpoint (`.pt`) or frozen
    model (`.pth`) of the same architecture. `threads` defaults to the processor's.
    """

    name: Name
    description: str
    level_of_theory: str
    elements: tuple[Element, ...] = Field(min_length=1)
    data: tuple[Path, ...] = Field(min_length=1)
    test: tuple[Path, ...] = ()
    split: Split = Split()
    model: Model = Model()
    steps: int = Field(gt=0)
    batch: int = Field(default=1, gt=0)
    learning_rate: LearningRate = LearningRate()
    loss: Loss = Loss()
    precision: Literal["float32", "float64"] = "float32"
    seed: int = Field(default=1, ge=0, lt=2**31)
    force_cap_eV_A: float = Field(default=40.0, gt=0)
    init_model: Path | None = None
    threads: int | None = Field(default=None, gt=0)
    output: Path
    limits: tuple[str, ...] = ()
    licence: str = "unknown"

    @field_validator("elements")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("names an element twice")
        return value

    @model_validator(mode="after")
    def _neighbours_for_each(self) -> TrainingConfig:
        neighbours = self.model.neighbours
        if isinstance(neighbours, tuple) and len(neighbours) != len(self.elements):
            raise ValueError(
                f"model.neighbours has {len(neighbours)} numbers for {len(self.elements)} elements; give one for each"
            )
        return self

    def fingerprint(self) -> str:
        """SHA-256 of all that decides the outcome: the settings and the content of the data files."""
        settings = self.model_dump(
            mode="json", exclude={"threads", "output", "description", "limits", "licence", "data", "test", "init_model"}
        )
        inputs = [*self.data, *self.test, *([self.init_model] if self.init_model else [])]
        content: list[Any] = [settings, [len(self.data), len(self.test)], [sha256_of(path) for path in inputs]]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_config(path: Path) -> TrainingConfig:
    """Read a training file; the paths in the result are absolute.

    Raises
    ------
    TrainingError
        If it is wrong, or a file it names does not exist.
    """
    config = read_yaml_model(path, TrainingConfig, TrainingError)
    base = path.resolve().parent
    absolute = {
        "data": tuple(base / item for item in config.data),
        "test": tuple(base / item for item in config.test),
        "init_model": base / config.init_model if config.init_model else None,
        "output": base / config.output,
    }
    config = config.model_copy(update=absolute)
    for field, paths in (("data", config.data), ("test", config.test), ("init_model", (config.init_model,))):
        for item in paths:
            if item is not None and not item.is_file():
                raise TrainingError(f"{path}: {field}: {item} does not exist")
    return config
