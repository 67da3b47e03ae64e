"""How a deck is started: ranks, threads, and what Slurm is asked for."""

from __future__ import annotations

import re
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/@+-]*$", max_length=200)]

_WALL_TIME = r"^(?:(\d{1,2})-)?(\d{1,3}):([0-5]\d):([0-5]\d)$"


class SlurmSettings(BaseModel):
    """What the Slurm script asks for.

    `time` is written ``HH:MM:SS`` or ``D-HH:MM:SS``; LAMMPS stops itself some minutes before. `modules` are loaded in
    order before the run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    partition: Word | None = None
    account: Word | None = None
    time: str = Field(default="24:00:00", pattern=_WALL_TIME)
    nodes: int = Field(default=1, ge=1, le=10_000)
    memory: Annotated[str, Field(pattern=r"^\d+[KMGT]?$")] | None = None
    modules: tuple[Word, ...] = ()

    @property
    def seconds(self) -> int:
        """The time limit in seconds."""
        match = re.match(_WALL_TIME, self.time)
        assert match is not None
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds

    @property
    def lammps_seconds(self) -> int:
        """Time after which LAMMPS is to stop: five minutes before the limit, or at two thirds of a short one."""
        return max(self.seconds - 300, 2 * self.seconds // 3)

    @model_validator(mode="after")
    def _check_time(self) -> Self:
        if self.seconds < 60:
            raise ValueError(f"time is {self.time}: a job needs at least one minute")
        return self


class JobSettings(BaseModel):
    """How a deck is started, on this machine and under Slurm.

    `ranks` counts those of one deck on all nodes, `threads` those of each rank. `gpus` is per node, and each GPU gets
    one rank: with it, `ranks` is not used. `gpu_aware` says that MPI passes memory of GPUs on by itself; with several
    GPUs and an MPI that does not, LAMMPS crashes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ranks: int = Field(default=1, ge=1, le=100_000)
    threads: int = Field(default=1, ge=1, le=1024)
    gpus: int = Field(default=0, ge=0, le=64)
    gpu_aware: bool = True
    slurm: SlurmSettings = SlurmSettings()

    @model_validator(mode="before")
    @classmethod
    def _gpus_belong_to_the_job(cls, settings: Any) -> Any:
        slurm = settings.get("slurm") if isinstance(settings, dict) else None
        if isinstance(slurm, dict) and "gpus" in slurm:
            raise ValueError("slurm.gpus stands beside slurm now, as job.gpus, and is per node as before")
        return settings

    @property
    def local_ranks(self) -> int:
        """Ranks on this machine: one for each GPU, else `ranks`."""
        return self.gpus or self.ranks

    @property
    def slurm_ranks_per_node(self) -> int:
        """Ranks on each node under Slurm: one for each GPU, else `ranks` spread evenly."""
        return self.gpus or -(-self.ranks // self.slurm.nodes)


def clock(seconds: int) -> str:
    """Seconds as ``HH:MM:SS``, hours counting on past 24."""
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
