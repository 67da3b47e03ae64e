"""The sampling file: what a user writes for `napos-lmp sample`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from napos_lmp.errors import CompositionError, ReferenceDataError
from napos_lmp.protocol import Temperature
from napos_lmp.yamlfile import read_yaml_model

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Phase = Literal["melt", "glass", "crystal", "strained", "compressed", "surface", "cluster"]

MELT_FROM_K = 1000.0
"""A frame without a phase of its own is a melt from this temperature on, else a glass."""


class PlanPart(BaseModel):
    """Base of all parts of the sampling file: frozen, and no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(PlanPart):
    """One family of configurations, of which `select` frames are kept.

    It starts from random packings of `compositions` at `density_scale` times the glass density, or from `crystals` (by
    name, or a file that ASE reads, relative to the sampling file) repeated by `repeat`. Every start is run
    `replicas` times, each time on its own cell (stretched along random directions by up to `strain`), for `hold_ps` at
    each of `temperatures_K` in turn. A `slab` gets `vacuum_A` along its third vector, a `cluster` along all three.
    A `strained_copies` share of the frames appears a second time, strained by up to `strain` and with every atom moved
    at random by about `rattle_A`.
    """

    name: Name
    group: Literal["train", "test"] = "train"
    compositions: tuple[str, ...] = ()
    crystals: tuple[str, ...] = ()
    repeat: tuple[int, int, int] = (1, 1, 1)
    atoms: int | None = Field(default=None, ge=4, le=400)
    shape: Literal["bulk", "slab", "cluster"] = "bulk"
    vacuum_A: float = Field(default=8.0, gt=0, le=40)
    density_scale: tuple[Annotated[float, Field(gt=0.3, le=3)], ...] = (1.0,)
    temperatures_K: tuple[Temperature, ...] = Field(default=(2500, 1500, 1000, 600, 300), min_length=1)
    hold_ps: float = Field(default=1.0, gt=0, le=1000)
    replicas: int = Field(default=1, ge=1, le=100)
    strain: float = Field(default=0.0, ge=0, le=0.3)
    rattle_A: float = Field(default=0.05, ge=0, le=1)
    strained_copies: float = Field(default=0.0, ge=0, le=1)
    phase: Phase | None = None
    select: int = Field(ge=1)

    @field_validator("compositions")
    @classmethod
    def _readable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        from napos_lmp.composition import Composition

        for text in value:
            try:
                Composition.parse(text)
            except CompositionError as error:
                raise ValueError(str(error)) from None
        return value

    @model_validator(mode="after")
    def _one_kind_of_start(self) -> Self:
        if bool(self.compositions) == bool(self.crystals):
            raise ValueError("give compositions or crystals, one of the two")
        return self


class SamplingPlan(PlanPart):
    """A sampling; paths are relative to the file that holds it.

    Decks are run in `work` with `potential`; a frame is taken every `every_ps`. Frames are chosen by the descriptors of
    the DeePMD potential `descriptor`, by default `potential` itself. Cells hold about `atoms` atoms. Frames
    with two atoms nearer than `contact` times the sum of their covalent radii are left out. `output` is the pool.
    """

    potential: str
    descriptor: str | None = None
    output: Path
    work: Path
    seed: int = Field(default=1, ge=0, lt=2**31)
    atoms: int = Field(default=52, ge=4, le=400)
    timestep_fs: float = Field(default=2.0, gt=0, le=10)
    every_ps: float = Field(default=0.2, gt=0)
    contact: float = Field(default=0.65, gt=0, lt=1)
    sources: tuple[Source, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _own_names(self) -> Self:
        names = [source.name for source in self.sources]
        if double := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two sources have the name {double!r}")
        if short := next((source for source in self.sources if source.hold_ps < 2 * self.every_ps), None):
            raise ValueError(f"hold_ps of {short.name} must be at least twice every_ps ({self.every_ps:g})")
        return self


def read_plan(path: Path) -> SamplingPlan:
    """Read a sampling file; the paths in the result are absolute.

    Raises
    ------
    ReferenceDataError
        If it is wrong, or the file of a crystal does not exist.
    """
    from napos_lmp.structure import CRYSTALS

    plan = read_yaml_model(path, SamplingPlan, ReferenceDataError)
    base = path.resolve().parent
    sources = []
    for source in plan.sources:
        found = []
        for crystal in source.crystals:
            if crystal not in CRYSTALS and not (base / crystal).is_file():
                known = ", ".join(CRYSTALS)
                raise ReferenceDataError(
                    f"{path}: crystals of {source.name}: {crystal!r} is neither a file nor one of {known}"
                )
            found.append(crystal if crystal in CRYSTALS else str(base / crystal))
        sources.append(source.model_copy(update={"crystals": tuple(found)}))
    update = {"output": base / plan.output, "work": base / plan.work, "sources": tuple(sources)}
    return plan.model_copy(update=update)
