"""Presets: the protocols that most studies need, each of their numbers open to the study's own value.

A preset names its stages as keys; what is given there replaces that number of the default and leaves the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from napos_lmp.errors import ProtocolError
from napos_lmp.protocol import (
    Anneal,
    Equilibrate,
    Hold,
    Melt,
    Minimise,
    Name,
    Produce,
    Protocol,
    Quench,
    Relax,
    RunSettings,
    Stage,
    Strain,
    Temperature,
    Vibrate,
)
from napos_lmp.yamlfile import check_model


class _Preset(RunSettings):
    """A protocol in which each kind of stage stands at most once, under its own name."""

    DEFAULTS: ClassVar[dict[str, dict[str, Any]]]
    LEFT_OUT: ClassVar[frozenset[str]] = frozenset()

    start: Name | None = None

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        filled = dict(data)
        for stage, defaults in cls.DEFAULTS.items():
            given = data.get(stage, None if stage in cls.LEFT_OUT else {})
            if isinstance(given, dict):
                kept = {k: v for k, v in defaults.items() if not (k == "dump_ps" and "dump_steps" in given)}
                filled[stage] = {**kept, **given}
            else:
                filled[stage] = given
        return filled

    def _protocol(self, name: str, stages: Sequence[Stage | None]) -> Protocol:
        settings = {field: getattr(self, field) for field in RunSettings.model_fields}
        present = [stage.model_dump(exclude_unset=True) | {"kind": _kind(stage)} for stage in stages if stage]
        data = {**settings, "name": name, "start": self.start, "stages": present}
        return check_model(data, Protocol, ProtocolError, f"protocol {name}")


def _at(temperature: float, stage: Hold | None) -> Hold | None:
    """A stage at a temperature, unless it has one of its own."""
    if stage is None or stage.temperature_K is not None:
        return stage
    return stage.model_copy(update={"temperature_K": temperature})


def _kind(stage: Stage) -> str:
    return str(type(stage).model_fields["kind"].default)


class MeltQuench(_Preset):
    """Minimise, melt, quench, let the density of the glass relax, then measure its structure.

    The quench keeps the volume of the estimated density; `equilibrate` (npt) then lets the potential choose its own.
    `anneal` (left out unless given), `equilibrate` and `produce` stand at the temperature where the quench ends, unless
    one is given. `vibrate` (left out unless given) goes on from the stage before. Any stage but melt and quench is left
    out by `null`.
    """

    DEFAULTS: ClassVar[dict[str, dict[str, Any]]] = {
        "minimise": {},
        "melt": {"temperature_K": 1500.0, "duration_ps": 50.0},
        "quench": {"end_temperature_K": 300.0, "rate_K_per_ps": 5.0},
        "anneal": {"duration_ps": 50.0},
        "equilibrate": {"duration_ps": 50.0},
        "produce": {"duration_ps": 50.0, "dump_ps": 0.1},
        "vibrate": {},
    }
    LEFT_OUT: ClassVar[frozenset[str]] = frozenset({"anneal", "vibrate"})

    preset: Literal["melt-quench"] = "melt-quench"
    name: Name = "melt-quench"
    minimise: Minimise | None
    melt: Melt
    quench: Quench
    anneal: Anneal | None
    equilibrate: Equilibrate | None
    produce: Produce | None
    vibrate: Vibrate | None

    def protocols(self) -> list[Protocol]:
        """The one protocol of this preset.

        Raises
        ------
        ProtocolError
            If the stages do not fit together.
        """
        after = [_at(self.quench.end_temperature_K, stage) for stage in (self.anneal, self.equilibrate, self.produce)]
        stages = [self.minimise, self.melt, self.quench, *after, self.vibrate]
        return [self._protocol(self.name, stages)]


class Diffusion(_Preset):
    """Equilibrate and measure at each of several temperatures, every one a deck of its own.

    Velocities are drawn anew at each temperature, and `velocities` times there: replicas of one glass. Glasses that are
    independent come from the seeds of the study. `equilibrate` finds the volume, `produce` keeps it, and so does
    `vibrate` (left out unless given), which comes last.
    """

    DEFAULTS: ClassVar[dict[str, dict[str, Any]]] = {
        "minimise": {},
        "equilibrate": {"duration_ps": 50.0},
        "produce": {"duration_ps": 500.0, "dump_ps": 0.1, "currents_ps": 0.01},
        "vibrate": {},
    }
    LEFT_OUT: ClassVar[frozenset[str]] = frozenset({"vibrate"})

    preset: Literal["diffusion"] = "diffusion"
    name: Name = "diffusion"
    temperatures_K: tuple[Temperature, ...] = Field(default=(600.0, 700.0, 800.0, 900.0), min_length=1, max_length=50)
    velocities: int = Field(default=1, ge=1, le=99)
    minimise: Minimise | None
    equilibrate: Equilibrate | None
    produce: Produce
    vibrate: Vibrate | None

    @field_validator("temperatures_K")
    @classmethod
    def _each_once(cls, temperatures: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(temperatures)) != len(temperatures):
            raise ValueError("names a temperature twice")
        return temperatures

    @field_validator("equilibrate", "produce", "vibrate")
    @classmethod
    def _without_temperature(cls, stage: Hold | None) -> Hold | None:
        if stage is not None and stage.temperature_K is not None:
            raise ValueError("temperature_K is not for this stage: temperatures_K of the preset gives it")
        return stage

    def protocols(self) -> list[Protocol]:
        """One protocol for each temperature and set of velocities, named such as ``diffusion-0800K``, ``...-v2``.

        Raises
        ------
        ProtocolError
            If the stages do not fit together.
        """
        made = []
        for temperature in self.temperatures_K:
            stages = [self.minimise, _at(temperature, self.equilibrate), _at(temperature, self.produce), self.vibrate]
            for number in range(1, self.velocities + 1):
                which = f"-v{number}" if number > 1 else ""
                made.append(self._protocol(f"{self.name}-{_padded(temperature)}K{which}", stages))
        return made


class Cooling(_Preset):
    """Equilibrate the liquid and cool it slowly in steps at constant pressure: density, expansion and Tg.

    Each step holds the temperature that it has reached for (width of a step) / rate. No frames are written unless
    asked for. `minimise` (left out unless given) is for a start that is not a glass.
    """

    DEFAULTS: ClassVar[dict[str, dict[str, Any]]] = {
        "minimise": {},
        "equilibrate": {"temperature_K": 1000.0, "duration_ps": 100.0, "dump_ps": None},
        "cool": {"end_temperature_K": 200.0, "rate_K_per_ps": 0.5, "steps": 40, "ensemble": "npt", "dump_ps": None},
    }
    LEFT_OUT: ClassVar[frozenset[str]] = frozenset({"minimise"})

    preset: Literal["cooling"] = "cooling"
    name: Name = "cooling"
    minimise: Minimise | None
    equilibrate: Equilibrate
    cool: Quench

    @field_validator("equilibrate", "cool")
    @classmethod
    def _at_constant_pressure(cls, stage: Equilibrate | Quench) -> Equilibrate | Quench:
        if stage.ensemble != "npt":
            raise ValueError(f"ensemble is {stage.ensemble!r}; the volume can follow the temperature in 'npt' alone")
        return stage

    def protocols(self) -> list[Protocol]:
        """The one protocol of this preset.

        Raises
        ------
        ProtocolError
            If the stages do not fit together.
        """
        return [self._protocol(self.name, [self.minimise, self.equilibrate, self.cool])]


class Elastic(_Preset):
    """Relax atoms and cell to zero pressure, then strain the cell in six ways, both ways: the elastic constants.

    There is no dynamics: the constants are those of the structure at 0 K.
    """

    DEFAULTS: ClassVar[dict[str, dict[str, Any]]] = {"relax": {}, "strain": {}}

    preset: Literal["elastic"] = "elastic"
    name: Name = "elastic"
    relax: Relax
    strain: Strain

    def protocols(self) -> list[Protocol]:
        """The one protocol of this preset.

        Raises
        ------
        ProtocolError
            If the stages do not fit together.
        """
        return [self._protocol(self.name, [self.relax, self.strain])]


PRESETS = {preset.model_fields["preset"].default: preset for preset in (MeltQuench, Diffusion, Cooling, Elastic)}
"""The presets by the name that a study gives."""


def _padded(temperature: float) -> str:
    whole, point, rest = f"{temperature:.10g}".partition(".")
    return whole.zfill(4) + point + rest


def _which(data: Any) -> str:
    if isinstance(data, Protocol | _Preset):
        return type(data).__name__
    preset = data.get("preset") if isinstance(data, dict) else None
    if preset is None:
        return "Protocol"
    return PRESETS[preset].__name__ if preset in PRESETS else "unknown"


Preset = MeltQuench | Diffusion | Cooling | Elastic

ProtocolSpec = Annotated[
    Annotated[MeltQuench, Tag("MeltQuench")]
    | Annotated[Diffusion, Tag("Diffusion")]
    | Annotated[Cooling, Tag("Cooling")]
    | Annotated[Elastic, Tag("Elastic")]
    | Annotated[Protocol, Tag("Protocol")],
    Discriminator(
        _which,
        custom_error_type="unknown_preset",
        custom_error_message=(
            "preset must be melt-quench, diffusion, cooling or elastic, or be left out where stages are given"
        ),
    ),
]


def protocols_of(spec: Preset | Protocol) -> list[Protocol]:
    """The protocols that one entry of a study stands for: one for each deck."""
    return [spec] if isinstance(spec, Protocol) else spec.protocols()
