"""The study file: compositions, seeds, potentials and protocols, as a user writes them in YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from napos_lmp.composition import Composition, expand_series
from napos_lmp.errors import NaposError, StudyError
from napos_lmp.job import JobSettings
from napos_lmp.presets import Preset, ProtocolSpec, protocols_of
from napos_lmp.protocol import Name, Protocol
from napos_lmp.resources import shipped_folder
from napos_lmp.structure import CRYSTALS
from napos_lmp.yamlfile import read_yaml_model

Density = Annotated[float, Field(gt=0, le=25, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Glass(_Part):
    """One composition that is packed at random; without `density_g_cm3` its density is estimated."""

    formula: str
    density_g_cm3: Density | None = None

    @field_validator("formula")
    @classmethod
    def _readable(cls, formula: str) -> str:
        Composition.parse(formula)
        return formula


class Series(_Part):
    """Compositions along x, such as ``Na4P2S{7-x}O{x}``; `density_g_cm3` holds for all or gives one for each x."""

    series: str
    x: tuple[float, ...] = Field(min_length=1)
    density_g_cm3: Density | tuple[Density, ...] | None = None

    @model_validator(mode="after")
    def _readable(self) -> Self:
        expand_series(self.series, self.x)
        if isinstance(self.density_g_cm3, tuple) and len(self.density_g_cm3) != len(self.x):
            raise ValueError(f"density_g_cm3 has {len(self.density_g_cm3)} values for {len(self.x)} values of x")
        return self


class Crystal(_Part):
    """A crystal that the package knows, repeated along its axes."""

    crystal: str
    repeat: tuple[int, int, int] = (1, 1, 1)

    @field_validator("crystal")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in CRYSTALS:
            raise ValueError(f"it is not one of the crystals known: {', '.join(CRYSTALS)}")
        return name


def _which(entry: Any) -> str:
    if isinstance(entry, _Part):
        return type(entry).__name__
    keys = entry if isinstance(entry, dict) else {}
    return next((name for key, name in _ENTRY_KEYS.items() if key in keys), "unknown")


_ENTRY_KEYS = {"formula": "Glass", "series": "Series", "crystal": "Crystal"}
Entry = Annotated[
    Annotated[Glass, Tag("Glass")] | Annotated[Series, Tag("Series")] | Annotated[Crystal, Tag("Crystal")],
    Discriminator(
        _which,
        custom_error_type="unknown_entry",
        custom_error_message="an entry is a formula, or has one of the keys formula, series and crystal",
    ),
]


class Study(_Part):
    """What a user writes: every number of every deck follows from it.

    `atoms` is the size of each packed cell, or several sizes for a study of convergence; `seeds` a number of replicas
    or their seeds; `potential` one name or several; `pair_style` the LAMMPS pair style that runs the MACE models among
    them; `templates` a folder of the user's own templates.
    """

    name: Name
    compositions: tuple[Entry, ...] = Field(min_length=1)
    atoms: tuple[Annotated[int, Field(ge=10, le=10_000_000)], ...] = Field(default=(400,), min_length=1)
    seeds: tuple[int, ...] = Field(default=(1, 2, 3), min_length=1)
    potential: tuple[str, ...] = Field(min_length=1)
    pair_style: Literal["mliap", "symmetrix/mace", "mace"] | None = None
    protocols: tuple[ProtocolSpec, ...] = Field(min_length=1)
    job: JobSettings = JobSettings()
    templates: Path | None = None

    @field_validator("compositions", mode="before")
    @classmethod
    def _plain_formulas(cls, entries: Any) -> Any:
        if not isinstance(entries, list | tuple):
            return entries
        return [{"formula": entry} if isinstance(entry, str) else entry for entry in entries]

    @field_validator("potential", mode="before")
    @classmethod
    def _one_or_several(cls, names: Any) -> Any:
        return [names] if isinstance(names, str) else names

    @field_validator("atoms", mode="before")
    @classmethod
    def _one_or_several_sizes(cls, atoms: Any) -> Any:
        return [atoms] if isinstance(atoms, int | float) and not isinstance(atoms, bool) else atoms

    @field_validator("seeds", mode="before")
    @classmethod
    def _count_or_list(cls, seeds: Any) -> Any:
        if isinstance(seeds, int) and not isinstance(seeds, bool):
            if not 1 <= seeds <= 1000:
                raise ValueError("a number of seeds is from 1 to 1000")
            return list(range(1, seeds + 1))
        return seeds

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if bad := [seed for seed in self.seeds if not 0 <= seed < 2**31]:
            raise ValueError(f"seeds: {bad[0]} is not from 0 to {2**31 - 1}")
        for field in ("seeds", "potential", "atoms"):
            values = getattr(self, field)
            if len(set(values)) != len(values):
                raise ValueError(f"{field} names one of them twice")
        names: list[str] = []
        for spec in self.protocols:
            if spec.start is not None and spec.start not in names:
                raise ValueError(
                    f"protocol {spec.name} starts from {spec.start!r}, which no protocol before it is called"
                )
            names += [protocol.name for protocol in _named(spec)]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two protocols are called {repeated[0]!r}; give one of them another name")
        return self


def read_study(path: Path) -> Study:
    """Read a study file; a relative `templates` folder is taken from where the file lies.

    Raises
    ------
    StudyError
        With one sentence that names the file, the field, its value and what is allowed.
    """
    study = read_yaml_model(path, Study, StudyError)
    if study.templates is not None:
        study = study.model_copy(update={"templates": path.parent / study.templates})
    return study


def example_study(preset: Literal["study", "size-convergence"] = "study") -> str:
    """A commented study file to begin with: of compositions, or of cell sizes and run lengths of one composition."""
    return (shipped_folder("lammps_templates") / f"{preset}.yaml").read_text(encoding="utf-8")


def _named(spec: Preset | Protocol) -> list[Protocol]:
    try:
        return protocols_of(spec)
    except NaposError as error:
        raise ValueError(str(error)) from None
