"""Measured properties of glasses and how far a simulation is from them.

The values that come with the package are in `data/experiment.yaml`, densities in `data/glass_densities.csv`, each with
its source; users add their own in a file of the same form. docs/experiment.md says what is compared with what.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from napos_lmp.composition import Composition
from napos_lmp.errors import AnalysisError
from napos_lmp.formula import ELEMENT_SYMBOLS
from napos_lmp.structure.density import GLASS_DENSITIES
from napos_lmp.yamlfile import read_yaml_model

SHIPPED = Path(__file__).resolve().parent / "data" / "experiment.yaml"
USER_FILE = "experiment.yaml"
"""Name of the file with a user's own values, in the folder of a study."""

SAME_GLASS = 0.015
"""Largest difference in any mole fraction between a simulated and a measured glass."""
SAME_TEMPERATURE = 15.0
"""Largest difference in K between the temperatures of simulation and measurement, for all but conductivities."""
ROOM_TEMPERATURE = 293.15

NORMAL_95 = 1.959963984540054
_TEMPERATURE_FREE = ("glass_transition", "activation_energy")
_ELEMENT = "(?:" + "|".join(sorted(ELEMENT_SYMBOLS, key=len, reverse=True)) + ")"
_KINDS: dict[str, tuple[str, str]] = {
    "density": ("", "g/cm^3"),
    "glass_transition": ("", "K"),
    "conductivity": ("", "S/cm"),
    "activation_energy": ("", "eV"),
    "mean_n": ("", "anions"),
    "unit": (rf"\.{_ELEMENT}\.n\d", "%"),
    "shell": (rf"\.{_ELEMENT}\.\w+", "%"),
    "anion": (rf"\.{_ELEMENT}\.(?:isolated|terminal|bridging|tricluster)", "%"),
    "bridge_share": (rf"\.{_ELEMENT}", "%"),
    "four_coordinate": (rf"\.{_ELEMENT}", "%"),
    "mean_coordination": (rf"\.{_ELEMENT}", "anions"),
    "coordination": (rf"\.{_ELEMENT}\.{_ELEMENT}", "atoms"),
    "peak": (rf"\.{_ELEMENT}-{_ELEMENT}", "Å"),
}
"""What can be compared: the kind of quantity, what its key goes on with, and its unit."""

_EXAMPLES = "density, glass_transition, unit.P.n1, peak.P-S, coordination.S.P, conductivity, activation_energy"

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Default(_Part):
    """Standard uncertainty of values that come without one: in their unit, as a share, or in decades; and why."""

    absolute: Positive | None = None
    relative: Positive | None = None
    decades: Positive | None = None
    why: str

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(entry is not None for entry in (self.absolute, self.relative, self.decades)) != 1:
            raise ValueError("one of absolute, relative and decades is needed")
        return self


class Entry(_Part):
    """One measured value: `value` or its decimal logarithm, or a range of either.

    `uncertainty` is one standard deviation, in decades for a conductivity.
    """

    value: Finite | None = None
    log10: Finite | None = None
    range: tuple[Finite, Finite] | None = None
    log10_range: tuple[Finite, Finite] | None = None
    uncertainty: Positive | None = None
    temperature_K: Positive | None = None
    source: str = ""
    note: str = ""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(entry is not None for entry in (self.value, self.log10, self.range, self.log10_range)) != 1:
            raise ValueError("one of value, log10, range and log10_range is needed")
        for ends in (self.range, self.log10_range):
            if ends is not None and not ends[0] < ends[1]:
                raise ValueError(f"range {list(ends)} must rise")
        return self


class MeasuredGlass(_Part):
    """One glass with its values by key; a plain number stands for its `value`."""

    composition: str
    source: str = Field(min_length=1)
    temperature_K: Positive | None = None
    values: dict[str, Entry] = Field(min_length=1)

    @field_validator("composition")
    @classmethod
    def _readable(cls, composition: str) -> str:
        Composition.parse(composition)
        return composition

    @field_validator("values", mode="before")
    @classmethod
    def _plain_numbers(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {key: {"value": entry} if isinstance(entry, int | float) else entry for key, entry in values.items()}

    @field_validator("values")
    @classmethod
    def _known_keys(cls, values: dict[str, Entry], info: ValidationInfo) -> dict[str, Entry]:
        for key, entry in values.items():
            kind = key.partition(".")[0]
            if kind not in _KINDS or not re.fullmatch(_KINDS[kind][0], key[len(kind) :]):
                raise ValueError(f"{key!r} is no quantity that can be compared, such as {_EXAMPLES}")
            if kind not in _TEMPERATURE_FREE and entry.temperature_K is None and info.data.get("temperature_K") is None:
                raise ValueError(f"{key} has no temperature_K, nor has its glass")
            logarithms = entry.log10 is not None or entry.log10_range is not None
            if logarithms and kind != "conductivity":
                raise ValueError(f"{key} is given as a logarithm; only a conductivity can be")
            lowest = entry.range[0] if entry.range else entry.value
            if kind == "conductivity" and lowest is not None and lowest <= 0:
                raise ValueError(f"{key} must be above 0")
        return values


class ExperimentFile(_Part):
    """A file of measured values."""

    defaults: dict[str, Default] = Field(default_factory=dict)
    glasses: tuple[MeasuredGlass, ...] = Field(min_length=1)

    @field_validator("defaults")
    @classmethod
    def _known_kinds(cls, defaults: dict[str, Default]) -> dict[str, Default]:
        for kind, default in defaults.items():
            if kind not in _KINDS:
                raise ValueError(f"{kind!r} is none of {', '.join(_KINDS)}")
            if (default.decades is not None) != (kind == "conductivity"):
                raise ValueError(f"{kind}: decades are for conductivity, and conductivity needs them")
        return defaults


@dataclass(frozen=True)
class Reference:
    """A measured value of one glass.

    Attributes
    ----------
    key
        Of the quantity, as in `analysis.json`.
    composition
        Of the glass that was measured.
    glass
        The same as its source writes it.
    value
        The value in `unit`.
    uncertainty
        One standard deviation in `unit`; in decades for a conductivity.
    temperature
        In K; None for what has none.
    source
        Where it is from.
    uncertainty_from
        What the uncertainty rests on.
    note
        What else is to be known.
    """

    key: str
    composition: Composition
    glass: str
    value: float
    uncertainty: float
    temperature: float | None
    source: str
    uncertainty_from: str
    note: str = ""

    @property
    def unit(self) -> str:
        """Unit of the value."""
        return _KINDS[self.kind][1]

    @property
    def kind(self) -> str:
        """First word of the key."""
        return self.key.partition(".")[0]

    @property
    def logarithmic(self) -> bool:
        """Whether it is compared in its decimal logarithm."""
        return self.kind == "conductivity"

    @property
    def ends(self) -> tuple[float, float]:
        """95 % interval."""
        half = NORMAL_95 * self.uncertainty
        if self.logarithmic:
            return self.value / 10**half, self.value * 10**half
        return self.value - half, self.value + half

    def offset(self, composition: Composition) -> float:
        """Largest difference in any mole fraction from another composition."""
        own, other = self.composition.mole_fractions, composition.mole_fractions
        return max(abs(float(own.get(e, 0) - other.get(e, 0))) for e in {*own, *other})

    def z_score(self, value: float, low: float, high: float) -> float:
        """Deviation of a simulated value with its 95 % interval, in standard deviations of the difference.

        z = (simulated - measured) / sqrt(u_s^2 + u_m^2), u_s being half the interval over 1.96; conductivities are
        compared in their logarithms. (JCGM 100:2008, GUM: both uncertainties as standard deviations.)

        Raises
        ------
        AnalysisError
            If the interval is none, or a conductivity is not positive.
        """
        if not (math.isfinite(value) and math.isfinite(low) and math.isfinite(high) and low <= high):
            raise AnalysisError(f"{self.key} of the simulation has no interval, so that no z-score can be given")
        measured = self.value
        if self.logarithmic:
            if low <= 0:
                raise AnalysisError(f"interval of the simulated {self.key} begins at {low:g}; it must be above 0")
            value, low, high, measured = (math.log10(number) for number in (value, low, high, measured))
        spread = (high - low) / 2 / NORMAL_95
        return (value - measured) / math.hypot(spread, self.uncertainty)


def references_for(composition: Composition, references: Sequence[Reference]) -> list[Reference]:
    """The measured values of a glass, those of the nearest compositions first for each key."""
    near = [r for r in references if r.offset(composition) <= SAME_GLASS]
    return sorted(near, key=lambda r: (list(_KINDS).index(r.kind), r.key, r.offset(composition)))


def experiment_values(user_file: Path | None = None) -> tuple[Reference, ...]:
    """Measured values that come with the package, and those of a user's file after them.

    Raises
    ------
    AnalysisError
        If the user's file is missing or unfit: the file, the field, its value and what is allowed.
    """
    shipped = _shipped()
    if user_file is None:
        return shipped
    content = read_yaml_model(user_file, ExperimentFile, AnalysisError)
    defaults = {**_shipped_file().defaults, **content.defaults}
    return (*shipped, *_references(content, defaults, str(user_file)))


@cache
def _shipped_file() -> ExperimentFile:
    return read_yaml_model(SHIPPED, ExperimentFile, AnalysisError)


@cache
def _shipped() -> tuple[Reference, ...]:
    content = _shipped_file()
    return (*_densities(content.defaults["density"]), *_references(content, content.defaults, str(SHIPPED)))


def _densities(default: Default) -> Iterator[Reference]:
    with GLASS_DENSITIES.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            value = float(row["density_g_cm3"])
            yield Reference(
                key="density",
                composition=Composition.parse(row["composition"]),
                glass=row["composition"],
                value=value,
                uncertainty=_default_uncertainty(default, value),
                temperature=ROOM_TEMPERATURE,
                source=row["source"],
                uncertainty_from=default.why,
            )


def _references(content: ExperimentFile, defaults: dict[str, Default], where: str) -> Iterator[Reference]:
    for glass in content.glasses:
        for key, entry in glass.values.items():
            value, uncertainty, origin = _valued(entry)
            if uncertainty is None:
                kind = key.partition(".")[0]
                if kind not in defaults:
                    raise AnalysisError(
                        f"{where}: {key} of {glass.composition} has no uncertainty and there is no default for {kind}"
                    )
                uncertainty, origin = _default_uncertainty(defaults[kind], value), defaults[kind].why
            yield Reference(
                key=key,
                composition=Composition.parse(glass.composition),
                glass=glass.composition,
                value=value,
                uncertainty=uncertainty,
                temperature=None if key in _TEMPERATURE_FREE else entry.temperature_K or glass.temperature_K,
                source=entry.source or glass.source,
                uncertainty_from=origin,
                note=entry.note,
            )


def _valued(entry: Entry) -> tuple[float, float | None, str]:
    """Value, standard uncertainty where the entry tells it, and what that rests on."""
    given = "as given with the value"
    if entry.value is not None:
        return entry.value, entry.uncertainty, given
    if entry.log10 is not None:
        return 10**entry.log10, entry.uncertainty, given
    low, high = entry.range or entry.log10_range or (math.nan, math.nan)
    flat = f"flat between {low:g} and {high:g}"
    middle, spread = (low + high) / 2, (high - low) / 2 / math.sqrt(3)
    value = 10**middle if entry.log10_range else middle
    return (value, spread, flat) if entry.uncertainty is None else (value, entry.uncertainty, given)


def _default_uncertainty(default: Default, value: float) -> float:
    if default.relative is not None:
        return default.relative * abs(value)
    return default.absolute or default.decades or math.nan
