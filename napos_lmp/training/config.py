"""The training file: the keys that all families of models share, and how it is read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from napos_lmp.card import Element, Name
from napos_lmp.errors import TrainingError
from napos_lmp.files import sha256_of
from napos_lmp.yamlfile import read_yaml_model

Fraction = Annotated[float, Field(ge=0, lt=1)]
Groups = Fraction | tuple[str, ...]


class ConfigPart(BaseModel):
    """Base of all parts of the training file: frozen, and no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Split(ConfigPart):
    """How frames are divided; neighbouring frames of one trajectory never stand on both sides.

    `by` names the property of a frame that says which trajectory it comes from. `validation` and `test` are fractions
    of the frames (`validation`: of those that are not held out), reached with whole trajectories drawn by `seed`, or
    the trajectories by name (``melt-*``: all whose names begin so). Frames of a composition in `test_compositions` or a
    phase in `test_phases`, hotter than `test_above_K`, colder than `test_below_K`, denser than `test_above_g_cm3` or
    thinner than `test_below_g_cm3` go to the test set, whatever their trajectory: so a potential is tested on what it
    has never seen the like of. Of what is left to train on, at most `train_frames` are taken, drawn by `seed`; a
    smaller number takes a part of what a larger one does, for a learning curve.
    """

    by: str = "trajectory"
    validation: Groups = 0.1
    test: Groups = 0.0
    test_compositions: tuple[str, ...] = ()
    test_phases: tuple[str, ...] = ()
    test_above_K: float | None = None
    test_below_K: float | None = None
    test_above_g_cm3: float | None = None
    test_below_g_cm3: float | None = None
    train_frames: int | None = Field(default=None, ge=1)
    seed: int = 1


class TrainingConfig(ConfigPart):
    """One training; paths are relative to the file that holds it.

    `data` is divided by `split`; `test` files are only tested on. All labels of one training must be of the one
    `level_of_theory`: absolute energies of different codes have different zeros. Frames with a force above
    `force_cap_eV_A` are left out, and counted. `threads` defaults to the processor's. `compare_with` names potentials
    that were tested on the same data with the same split; their errors go on the card beside its own.
    """

    words: ClassVar[frozenset[str]] = frozenset(
        {"threads", "output", "description", "version", "limits", "licence", "compare_with"}
    )
    files: ClassVar[tuple[str, ...]] = ()

    name: Name
    description: str
    version: str | None = None
    level_of_theory: str
    elements: tuple[Element, ...] = Field(min_length=1)
    data: tuple[Path, ...] = Field(min_length=1)
    test: tuple[Path, ...] = ()
    split: Split = Split()
    precision: Literal["float32", "float64"] = "float32"
    seed: int = Field(default=1, ge=0, lt=2**31)
    force_cap_eV_A: float = Field(default=40.0, gt=0)
    threads: int | None = Field(default=None, gt=0)
    output: Path
    compare_with: tuple[Name, ...] = ()
    limits: tuple[str, ...] = ()
    licence: str = "unknown"

    @field_validator("elements")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("names an element twice")
        return value

    def fingerprint(self) -> str:
        """SHA-256 of all that decides the outcome: the settings and the content of the data files.

        What is only words or speed (`words`) does not count, and files count by their content, not by their names.
        """
        settings = self.model_dump(mode="json", exclude={*self.words, *self.files, "data", "test"})
        further = [path for field in self.files if isinstance(path := getattr(self, field), Path)]
        content: list[Any] = [
            settings,
            [len(self.data), len(self.test)],
            [sha256_of(path) for path in (*self.data, *self.test, *further)],
        ]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def located(self, base: Path) -> Self:
        """The same with the paths made absolute: those given are relative to `base`.

        Raises
        ------
        TrainingError
            If a file does not exist.
        """
        update: dict[str, Any] = {"output": base / self.output}
        for field in ("data", "test", *self.files):
            value = getattr(self, field)
            if value is None:
                continue
            paths = value if isinstance(value, tuple) else (value,)
            for path in paths:
                if not (base / path).is_file():
                    raise TrainingError(f"{field}: {base / path} does not exist")
            update[field] = tuple(base / path for path in paths) if isinstance(value, tuple) else base / value
        return self.model_copy(update=update)


Config = TypeVar("Config", bound=TrainingConfig)


def read_config(path: Path, family: type[Config]) -> Config:
    """Read a training file of one family of models; the paths in the result are absolute.

    Raises
    ------
    TrainingError
        If it is wrong, or a file it names does not exist.
    """
    config = read_yaml_model(path, family, TrainingError)
    try:
        return config.located(path.resolve().parent)
    except TrainingError as error:
        raise TrainingError(f"{path}: {error}") from None
