"""`deck.json`: what a deck is, what it will write and how to read it.

Analysis reads a deck only through this file, so nothing about units, time steps, elements or image flags is ever
guessed. Every file name is relative to the deck's folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from napos_lmp.errors import DeckError
from napos_lmp.files import sha256_of
from napos_lmp.records import Record, read_record, write_record

MANIFEST_NAME = "deck.json"


class Dump(Record):
    """One trajectory output of a stage, one file per segment.

    `pattern` holds `*` where the three-digit segment number stands, as in `trajectory/01-melt.*.dcd`.
    """

    pattern: str
    format: Literal["dcd"] = "dcd"
    stride: int
    columns: tuple[str, ...] = ("x", "y", "z")
    unwrapped: bool = True


class Currents(Record):
    """Sums of the velocities of each species, which LAMMPS takes while it runs; one text file per segment.

    `pattern` is that of a `Dump`. `columns` names all of the file's: the step, then vx, vy and vz of each of `species`.
    """

    pattern: str
    format: Literal["ave/time"] = "ave/time"
    stride: int
    species: tuple[str, ...]
    columns: tuple[str, ...]
    unit: Literal["A/ps"] = "A/ps"


class Deviation(Record):
    """How far the models of a committee are from one another, written while LAMMPS runs; one text file per segment.

    `pattern` is that of a `Dump`. Forces are in eV/A, virials in eV for each atom.
    """

    pattern: str = "trajectory/deviation.*.txt"
    stride: int
    columns: tuple[str, ...] = (
        "step", "max_devi_v", "min_devi_v", "avg_devi_v", "max_devi_f", "min_devi_f", "avg_devi_f",
    )  # fmt: skip


class StrainRecord(Record):
    """The strain of the reference cell in one stage: a component in Voigt's notation; a shear is twice the tensor's."""

    component: Literal["xx", "yy", "zz", "yz", "xz", "xy"]
    amount: float


class StageRecord(Record):
    """One stage as rendered; steps are LAMMPS steps, `last_step` included. A minimisation stands at step 0.

    A stage without dynamics has no ensemble. `table` is the file of cells and stresses that a relaxation or a strain
    writes, which is there when the stage is done.
    """

    name: str
    kind: Literal["minimise", "melt", "quench", "anneal", "equilibrate", "produce", "vibrate", "relax", "strain"]
    ensemble: Literal["nvt", "npt", "nve"] | None
    first_step: int
    last_step: int
    temperature_start_K: float | None
    temperature_stop_K: float | None
    pressure_bar: float | None
    dump: Dump | None
    currents: Currents | None = None
    table: str | None = None
    strain: StrainRecord | None = None

    @property
    def is_dynamics(self) -> bool:
        """Whether it is molecular dynamics, with a temperature and a log of its own."""
        return self.ensemble is not None


class Restart(Record):
    """Restart files: two written in turn every `stride` steps, and one written on a clean stop."""

    stride: int
    files: tuple[str, str] = ("restart/a.restart", "restart/b.restart")
    stop_file: str = "restart/stop.restart"
    stop_request: str = "STOP"


class StructureRecord(Record):
    """The starting structure.

    `source_deck` names the deck (a path relative to this one) whose final structure is copied to `file` before the
    run; it is None when `file` is part of the deck.
    """

    file: str
    source_deck: str | None
    source_file: str | None
    n_atoms: int
    counts: dict[str, int]
    composition_error: float
    density_g_cm3: float
    charges: dict[str, float]


class CommitteeFile(Record):
    """A further model of a committee, as copied into the deck."""

    file: str
    sha256: str


class PotentialRecord(Record):
    """The potential as copied into the deck; `sha256` is of `file`, `card` the card it came with.

    `pair_style` is None for the usual one of the back-end. `committee` are the further models that the deck holds.
    """

    name: str
    backend: str
    pair_style: str | None = None
    file: str
    sha256: str
    elements: tuple[str, ...]
    cutoff_A: float
    card: dict[str, Any]
    committee: tuple[CommitteeFile, ...] = ()


class Extension(Record):
    """The last stage was made longer: the deck's last step before and after, and how long the stage was before."""

    from_step: int
    to_step: int
    duration_ps_before: float


class Manifest(Record):
    """Everything a reader of the deck needs to know.

    `gpus` are those of each node that the deck was made for, `gpu_aware` says that MPI passes their memory on by
    itself. `deviation` is there where the deck asks a committee. `extensions` tells how the last stage grew after the
    deck was made; `protocol` and `stages` are new.
    """

    schema_version: Literal[1] = 1
    program_version: str
    label: str
    formula: str
    seed: int
    units: Literal["metal"] = "metal"
    timestep_fs: float
    elements: tuple[str, ...]
    structure: StructureRecord
    potential: PotentialRecord
    stages: tuple[StageRecord, ...]
    deviation: Deviation | None = None
    restart: Restart
    thermo_stride: int
    thermo_pattern: str = "log/thermo.*.log"
    input_file: str = "in.lammps"
    final_structure: str = "final.data"
    lammps_styles: tuple[str, ...]
    lammps_packages: tuple[str, ...] = ()
    gpus: int = 0
    gpu_aware: bool = True
    protocol: dict[str, Any]
    templates: dict[str, str]
    files: dict[str, str]
    extensions: tuple[Extension, ...] = ()

    @property
    def timestep_ps(self) -> float:
        """Time step in ps, the time unit of LAMMPS `metal`."""
        return self.timestep_fs / 1000

    @property
    def last_step(self) -> int:
        """The step at which the deck is complete."""
        return self.stages[-1].last_step

    @property
    def first_protocol(self) -> dict[str, Any]:
        """The protocol as the deck was made, before any extension."""
        if not self.extensions:
            return self.protocol
        stages = self.protocol["stages"]
        last = {**stages[-1], "duration_ps": self.extensions[0].duration_ps_before}
        return {**self.protocol, "stages": [*stages[:-1], last]}

    def stage(self, name: str) -> StageRecord:
        """The stage called `name`.

        Raises
        ------
        DeckError
            If there is none; the message lists the names.
        """
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise DeckError(f"stage {name!r} is not in this deck; it has {', '.join(s.name for s in self.stages)}")


def segment_file(pattern: str, segment: int) -> str:
    """File name of one segment of a pattern that holds one `*`."""
    return pattern.replace("*", f"{segment:03d}")


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `deck.json` into a deck's folder."""
    write_record(folder / MANIFEST_NAME, manifest)


def read_manifest(folder: Path) -> Manifest:
    """Read and check `deck.json` of a deck.

    Raises
    ------
    DeckError
        If the folder is no deck or its manifest is damaged.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise DeckError(f"{folder} is no deck: it has no {MANIFEST_NAME}")
    return read_record(path, Manifest, DeckError)


def changed_files(folder: Path, manifest: Manifest) -> list[str]:
    """Names of the deck's files that are missing or differ from what was rendered."""
    return [
        name
        for name, digest in manifest.files.items()
        if not (folder / name).is_file() or sha256_of(folder / name) != digest
    ]
