"""What happens to a structure: stages of minimisation and molecular dynamics, and presets that make them.

Times are in ps, temperatures in K, pressures in bar. A protocol is what the user writes; :meth:`Protocol.schedule`
turns it into LAMMPS steps, where a quench lasts as long as its rate says.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from napos_lmp.errors import ProtocolError

StageKind = Literal["minimise", "melt", "quench", "anneal", "equilibrate", "produce", "vibrate", "relax", "strain"]
Ensemble = Literal["nvt", "npt", "nve"]

Temperature = Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)]
Duration = Annotated[float, Field(gt=0, le=1e7, allow_inf_nan=False)]
Pressure = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]

DEFAULT_PRESSURE = 1.0

StrainComponent = Literal["xx", "yy", "zz", "yz", "xz", "xy"]
STRAIN_COMPONENTS: tuple[StrainComponent, ...] = ("xx", "yy", "zz", "yz", "xz", "xy")
"""The six strains in Voigt's order."""


class Stage(BaseModel):
    """Base of all stages: frozen, and no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Minimise(Stage):
    """Take out the worst overlaps by conjugate gradients, until every force is below the tolerance."""

    kind: Literal["minimise"] = "minimise"
    force_tolerance_eV_A: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    max_iterations: int = Field(default=300, ge=1, le=1_000_000)


class Dynamics(Stage):
    """What all stages of molecular dynamics share.

    `dump_ps` (or, counted in steps, `dump_steps`) is the time between frames; `dump_ps: null` writes none.
    `pressure_bar` belongs to `npt` alone and is 1 bar unless given.
    """

    ensemble: Ensemble = "nvt"
    pressure_bar: Pressure | None = None
    dump_ps: Duration | None = 1.0
    dump_steps: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _check_dynamics(self) -> Self:
        if self.pressure_bar is not None and self.ensemble != "npt":
            raise ValueError(f"pressure_bar belongs to ensemble npt, not {self.ensemble}")
        if self.dump_steps is not None and "dump_ps" in self.model_fields_set and self.dump_ps is not None:
            raise ValueError("give dump_ps or dump_steps, not both")
        return self

    @property
    def pressure(self) -> float | None:
        """Target pressure in bar; None unless the ensemble is npt."""
        if self.ensemble != "npt":
            return None
        return DEFAULT_PRESSURE if self.pressure_bar is None else self.pressure_bar


class Hold(Dynamics):
    """A stage at one temperature: that of the stage before, unless `temperature_K` is given."""

    temperature_K: Temperature | None = None
    duration_ps: Duration


class Melt(Hold):
    """Melt the packed structure and let it forget how it was made."""

    kind: Literal["melt"] = "melt"
    ensemble: Literal["nvt", "npt"] = "nvt"


class Quench(Dynamics):
    """Cool at `rate_K_per_ps`, linearly or in `steps` equal steps; how long that takes follows from the rate.

    It begins at the temperature of the stage before, unless `start_temperature_K` is given.
    """

    kind: Literal["quench"] = "quench"
    ensemble: Literal["nvt", "npt"] = "nvt"
    start_temperature_K: Temperature | None = None
    end_temperature_K: Temperature = 300.0
    rate_K_per_ps: float = Field(gt=0, le=1e5, allow_inf_nan=False)
    steps: int | None = Field(default=None, ge=1, le=90)


class Anneal(Hold):
    """Hold below melting so that the glass relaxes."""

    kind: Literal["anneal"] = "anneal"
    ensemble: Literal["nvt", "npt"] = "nvt"


class Equilibrate(Hold):
    """Reach equilibrium at the temperature, and the density, of the production that follows."""

    kind: Literal["equilibrate"] = "equilibrate"
    ensemble: Literal["nvt", "npt"] = "npt"


class Produce(Hold):
    """The stage that is measured.

    `currents_ps` is the time between rows of the sums of each species' velocities, for Green-Kubo; None writes none.
    """

    kind: Literal["produce"] = "produce"
    ensemble: Ensemble = "nvt"
    currents_ps: Duration | None = None


class Vibrate(Hold):
    """A short stage with frames a few steps apart, which the spectrum of the velocities is taken from.

    No thermostat touches the velocities (`nve`), so it goes on at the temperature of the stage before. Frames every
    4 fs resolve vibrations up to 125 THz, three times those of P-O and B-O bonds.
    """

    kind: Literal["vibrate"] = "vibrate"
    ensemble: Literal["nve", "nvt"] = "nve"
    duration_ps: Duration = 10.0
    dump_ps: Duration = 0.004


class Relax(Stage):
    """Relax the atoms, and the cell to a pressure, to a minimum of the energy: the reference of a `strain`.

    `cell` says what of the cell gives way: all of its edges and angles, its size alone, or nothing.
    """

    kind: Literal["relax"] = "relax"
    cell: Literal["full", "isotropic", "fixed"] = "full"
    pressure_bar: Pressure = 0.0
    force_tolerance_eV_A: float = Field(default=5e-4, gt=0, allow_inf_nan=False)
    stress_tolerance_bar: float = Field(default=50.0, gt=0, allow_inf_nan=False)
    max_iterations: int = Field(default=5000, ge=1, le=1_000_000)
    max_rounds: int = Field(default=30, ge=1, le=100)


class Strain(Stage):
    """Strain the relaxed cell by each Voigt component, both ways, and relax the atoms: the elastic constants.

    A shear strain is the engineering strain, twice the entry of the tensor.
    """

    kind: Literal["strain"] = "strain"
    strain: float = Field(default=0.005, ge=1e-5, le=0.05, allow_inf_nan=False)
    force_tolerance_eV_A: float = Field(default=5e-4, gt=0, allow_inf_nan=False)
    max_iterations: int = Field(default=5000, ge=1, le=1_000_000)


AnyStage = Annotated[
    Minimise | Melt | Quench | Anneal | Equilibrate | Produce | Vibrate | Relax | Strain, Field(discriminator="kind")
]


@dataclass(frozen=True)
class ScheduledStage:
    """A stage in LAMMPS steps; temperatures in K, pressure in bar, rate in K/ps, `dump_stride` in steps.

    `settings` are those of a stage without dynamics; a relaxation, and each of the strains, counts as one step.
    `strained` is the component of the strain and its amount, `current_stride` the steps between rows of the currents.
    """

    name: str
    kind: StageKind
    ensemble: Ensemble | None
    first_step: int
    last_step: int
    temperature_start: float | None
    temperature_stop: float | None
    pressure: float | None
    dump_stride: int | None
    rate: float | None = None
    settings: Minimise | Relax | Strain | None = None
    strained: tuple[StrainComponent, float] | None = None
    current_stride: int | None = None


class RunSettings(BaseModel):
    """Numbers that hold for all stages: time step, damping times, and how often things are written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timestep_fs: float = Field(default=1.0, gt=0, le=10, allow_inf_nan=False)
    thermostat_damping_ps: float = Field(default=0.1, gt=0, le=1000, allow_inf_nan=False)
    barostat_damping_ps: float = Field(default=1.0, gt=0, le=1000, allow_inf_nan=False)
    thermo_ps: Duration = 0.1
    restart_ps: Duration = 5.0

    def steps(self, time_ps: float) -> int:
        """Whole number of steps nearest to a time."""
        return round(time_ps * 1000 / self.timestep_fs)


class Protocol(RunSettings):
    """Named stages in order, and the settings they share.

    `start` names the protocol whose final structure this one begins from, in a study; None is the study's own
    starting structure.
    """

    name: Name
    start: Name | None = None
    stages: tuple[AnyStage, ...] = Field(min_length=1, max_length=99)

    @model_validator(mode="after")
    def _check_stages(self) -> Self:
        if any(stage.kind == "minimise" for stage in self.stages[1:]):
            raise ValueError("minimise may only be the first stage")
        kinds = [stage.kind for stage in self.stages]
        if set(kinds) == {"minimise"}:
            raise ValueError("a protocol needs at least one stage of dynamics, or a relax")
        if "relax" in kinds and kinds[kinds.index("relax") :] not in (["relax"], ["relax", "strain"]):
            raise ValueError("after a relax only one strain may follow, as the last stage")
        if "strain" in kinds and "relax" not in kinds:
            raise ValueError("a strain needs a relax before it, which gives the reference cell")
        try:
            self.schedule()
        except ProtocolError as error:
            raise ValueError(str(error)) from None
        return self

    @property
    def thermo_stride(self) -> int:
        """Steps between lines of the thermodynamic log."""
        return max(1, self.steps(self.thermo_ps))

    @property
    def restart_stride(self) -> int:
        """Steps between restart files."""
        return max(1, self.steps(self.restart_ps))

    def schedule(self) -> tuple[ScheduledStage, ...]:
        """The stages in steps, numbered in their names; a quench in steps becomes one stage for each step.

        Raises
        ------
        ProtocolError
            If a temperature is not known, a quench would heat, or a stage is shorter than a step or its dump stride.
        """
        scheduled: list[ScheduledStage] = []
        step, temperature = 0, None
        for number, stage in enumerate(self.stages, start=1):
            if isinstance(stage, Minimise):
                name = f"{number:02d}-minimise"
                scheduled.append(ScheduledStage(name, "minimise", None, 0, 0, None, None, None, None, settings=stage))
                continue
            if isinstance(stage, Relax | Strain):
                scheduled += _static_stages(stage, step, len(scheduled))
                step = scheduled[-1].last_step
                continue
            for start, stop, time_ps in self._legs(f"stages.{number - 1} ({stage.kind})", stage, temperature):
                length = self.steps(time_ps)
                name = f"{len(scheduled) + 1:02d}-{stage.kind}"
                stride = self._dump_stride(name, stage, length)
                scheduled.append(
                    ScheduledStage(
                        name=name,
                        kind=stage.kind,
                        ensemble=stage.ensemble,
                        first_step=step,
                        last_step=step + length,
                        temperature_start=start,
                        temperature_stop=stop,
                        pressure=stage.pressure,
                        dump_stride=stride,
                        rate=stage.rate_K_per_ps if isinstance(stage, Quench) else None,
                        current_stride=self._current_stride(name, stage, length),
                    )
                )
                step, temperature = step + length, stop
        if len(scheduled) > 99:
            raise ProtocolError(f"the protocol has {len(scheduled)} stages, quench steps included; at most 99 fit")
        return tuple(scheduled)

    def _legs(self, place: str, stage: Dynamics, before: float | None) -> list[tuple[float, float, float]]:
        """Start temperature, stop temperature and time in ps of each run that a stage consists of."""
        if isinstance(stage, Hold):
            temperature = before if stage.temperature_K is None else stage.temperature_K
            if temperature is None:
                raise ProtocolError(f"{place}.temperature_K is missing, and no stage before gives a temperature")
            if isinstance(stage, Vibrate) and stage.ensemble == "nve" and temperature != before:
                found = "there is no dynamics before it" if before is None else f"the stage before ends at {before:g} K"
                raise ProtocolError(
                    f"{place}.temperature_K is {temperature:g}, and {found}: at constant energy (nve) the atoms "
                    "keep the temperature they come with"
                )
            return [(temperature, temperature, stage.duration_ps)]
        assert isinstance(stage, Quench)
        start = before if stage.start_temperature_K is None else stage.start_temperature_K
        end = stage.end_temperature_K
        if start is None:
            raise ProtocolError(f"{place}.start_temperature_K is missing, and no stage before gives a temperature")
        if end >= start:
            raise ProtocolError(f"{place}.end_temperature_K is {end:g}: a quench must end below its start, {start:g} K")
        time_ps = (start - end) / stage.rate_K_per_ps
        if stage.steps is None:
            return [(start, end, time_ps)]
        targets = [start + (end - start) * i / stage.steps for i in range(1, stage.steps + 1)]
        return [(target, target, time_ps / stage.steps) for target in targets]

    def _dump_stride(self, name: str, stage: Dynamics, length: int) -> int | None:
        if length < 1:
            raise ProtocolError(f"stage {name} lasts less than one step of {self.timestep_fs:g} fs")
        if stage.dump_steps is not None:
            stride = stage.dump_steps
        elif stage.dump_ps is not None:
            stride = max(1, self.steps(stage.dump_ps))
        else:
            return None
        if stride > length:
            raise ProtocolError(
                f"stage {name} lasts {length} steps, less than its {stride} steps between frames; shorten dump_ps"
            )
        return stride

    def _current_stride(self, name: str, stage: Dynamics, length: int) -> int | None:
        if not isinstance(stage, Produce) or stage.currents_ps is None:
            return None
        stride = max(1, self.steps(stage.currents_ps))
        if stride > length:
            raise ProtocolError(
                f"stage {name} lasts {length} steps, less than its {stride} steps between rows of currents; shorten "
                "currents_ps"
            )
        return stride


def _static_stages(stage: Relax | Strain, step: int, before: int) -> list[ScheduledStage]:
    """One stage for a relaxation, one for each strain; `before` stages stand before them."""
    strains: list[tuple[StrainComponent, float] | None] = [None]
    if isinstance(stage, Strain):
        strains = [(component, sign * stage.strain) for component in STRAIN_COMPONENTS for sign in (1, -1)]
    return [
        ScheduledStage(
            name=f"{before + number:02d}-{stage.kind}",
            kind=stage.kind,
            ensemble=None,
            first_step=step + number - 1,
            last_step=step + number,
            temperature_start=None,
            temperature_stop=None,
            pressure=stage.pressure_bar if isinstance(stage, Relax) else None,
            dump_stride=None,
            settings=stage,
            strained=strained,
        )
        for number, strained in enumerate(strains, start=1)
    ]


def derived_seed(seed: int, *purpose: str) -> int:
    """Seed for one use, such as the velocities of one deck: the same for the same study seed and purpose.

    Returns
    -------
    int
        From 1 to 899 999 999, what every random number generator of LAMMPS accepts.
    """
    digest = hashlib.sha256("\n".join((str(seed), *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "big") % 899_999_999 + 1
