"""DeePMD models: frozen `.pth` files, run by `pair_style deepmd` in tabulated form."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napos_lmp.backends import Message
from napos_lmp.errors import PotentialError
from napos_lmp.files import locked, whole_folder
from napos_lmp.resources import cache_folder

if TYPE_CHECKING:
    from napos_lmp.card import Potential

TABULATED_NAME = "model-tabulated.pth"
_REASON_NAME = "not-tabulated.txt"


class DeepmdBackend:
    """DeePMD-kit's PyTorch models."""

    name = "deepmd"
    template = "potentials/deepmd.lmp.j2"
    pair_style = "deepmd"
    pair_styles: tuple[str, ...] = ("deepmd",)
    lammps_packages: tuple[str, ...] = ()
    bridged = False
    single_rank = False
    runs_code = False

    def committee_template(self, *, gpu: bool = False) -> str | None:
        """The pair style itself asks a committee."""
        return "potentials/deepmd_committee.lmp.j2"

    def lammps_styles(self, potential: Potential) -> tuple[str, ...]:
        """The plugin's pair style."""
        return ("pair deepmd",)

    def launch_arguments(self, *, gpus: int, threads: int, gpu_aware: bool = True) -> tuple[str, ...]:
        """None: the plugin takes the GPU of its rank, and its threads from the environment."""
        return ()

    def deck_file(self, potential: Potential, *, gpu: bool = False, message: Message | None = None) -> Path:
        """Tabulated form of the model, the same for CPU and GPU, made by `dp compress` on first use.

        It is cached under the hash of the frozen model and the version of deepmd-kit. A model that is tabulated already
        is used as it is; so is one that cannot be (its kind has no tabulated form), with a warning.
        """
        return self.tabulate(potential.file, potential.sha256, message)

    def tabulate(self, file: Path, sha256: str, message: Message | None = None) -> Path:
        """Tabulated form of the frozen model `file`, or `file` itself if it has none."""
        name = f"{sha256[:24]}-{version('deepmd-kit')}"
        folder = cache_folder() / "deepmd" / name
        tabulated, reason = folder / TABULATED_NAME, folder / _REASON_NAME
        try:
            with locked(folder.with_name(f"{name}.lock")):
                if not (tabulated.is_file() or reason.is_file()):
                    if message:
                        message(f"tabulating {file.name} for LAMMPS (once, about 20 s)")
                    shutil.rmtree(folder, ignore_errors=True)
                    with whole_folder(folder) as temporary:
                        _compress(file.resolve(), temporary)
        except OSError as error:
            raise PotentialError(f"{file} could not be tabulated into {folder}: {error.strerror or error}") from None
        if tabulated.is_file():
            return tabulated
        if text := reason.read_text(encoding="utf-8"):
            warnings.warn(f"{file.name} runs slower than it could, as it has no tabulated form: {text}", stacklevel=3)
        return file

    def environment(self, threads: int) -> dict[str, str]:
        """Threads of one LAMMPS process; without these each rank takes every core."""
        return {
            "OMP_NUM_THREADS": str(threads),
            "DP_INTRA_OP_PARALLELISM_THREADS": str(threads),
            "DP_INTER_OP_PARALLELISM_THREADS": "1",
        }

    def model_elements(self, file: Path) -> tuple[str, ...]:
        """Type map of the model, in its order."""
        return tuple(str(element) for element in load_frozen(file).get_type_map())

    def model_cutoff(self, file: Path) -> float:
        """Cutoff in A."""
        return float(load_frozen(file).get_rcut())

    def calculator(self, potential: Potential) -> Any:
        """DeePMD-kit's own ASE calculator on the model as trained."""
        _require_frozen(potential.file)
        import_deepmd()
        from deepmd.calculator import DP

        return DP(str(potential.file))


def dp_command(*arguments: str) -> list[str]:
    """Command line of DeePMD-kit's `dp` with PyTorch, for this interpreter."""
    return [sys.executable, "-m", "deepmd", "--pt", *arguments]


def dp_environment(threads: int) -> dict[str, str]:
    """Environment of a child process that runs `dp`.

    e3nn 0.4 keeps its constants in a pickle that torch >= 2.6 refuses, and deepmd imports it; the variable below allows
    that in the child only. Frames are read by the process that trains, unless `NUM_WORKERS` is set: DeePMD-kit would
    start workers anew for each pass over the frames, which took a quarter of the time with 36 of them.
    """
    return {
        "NUM_WORKERS": "0",
        **os.environ,
        **DeepmdBackend().environment(threads),
        "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",
        "PYTHONUNBUFFERED": "1",
    }


def import_deepmd() -> None:
    """Import what `deepmd.infer` needs, with e3nn's pickled constants allowed (they hold a `slice`, no code)."""
    from importlib import import_module

    import torch

    with torch.serialization.safe_globals([slice]):
        import_module("e3nn.o3")


def last_line(output: str) -> str:
    """The line in which a failed `dp` says why: its last error, else its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return (errors or lines or ["no message"])[-1]


def _compress(file: Path, folder: Path) -> None:
    """Write the tabulated form of a model into a folder, or the reason why it has none (nothing if it is one)."""
    state = load_frozen(file).state_dict()
    if _is_tabulated(state):
        (folder / _REASON_NAME).write_text("", encoding="utf-8")
        return
    # rounding errors of a float32 table grow as its steps shrink: measured best near 0.05; 0.01 is for float64
    single = any("descriptor" in key and str(value.dtype) == "torch.float32" for key, value in state.items())
    done = subprocess.run(
        dp_command("compress", "-i", str(file), "-o", TABULATED_NAME, "--step", "0.05" if single else "0.01"),
        cwd=folder,
        env=dp_environment(1),
        capture_output=True,
        text=True,
        check=False,
    )
    tabulated = folder / TABULATED_NAME
    if done.returncode == 0 and tabulated.is_file():
        return
    reason = last_line(done.stderr + done.stdout)
    if done.returncode < 0 or "OSError" in reason or "No space left" in reason:
        raise PotentialError(f"{file} could not be tabulated by `dp compress`: {reason}")
    tabulated.unlink(missing_ok=True)
    (folder / _REASON_NAME).write_text(f"`dp compress` refused it ({reason})", encoding="utf-8")


def load_frozen(file: Path) -> Any:
    """TorchScript module of a frozen model, on the CPU.

    Raises
    ------
    PotentialError
        If the file is missing or no DeePMD model.
    """
    _require_frozen(file)
    import torch
    from deepmd.pt import cxx_op

    assert cxx_op.ENABLE_CUSTOMIZED_OP
    try:
        model = torch.jit.load(str(file), map_location="cpu")
    except RuntimeError as error:
        raise PotentialError(f"{file} cannot be loaded: {str(error).strip().splitlines()[0]}") from None
    if not hasattr(model, "get_type_map"):
        raise PotentialError(f"{file} is a TorchScript file but no DeePMD model: it has no type map")
    return model


def write_checkpoint(frozen: Path, checkpoint: Path) -> None:
    """Write a frozen model as a checkpoint that `dp train --finetune` starts from.

    A frozen model holds all weights and the numbers of its network, and lacks only the state of an optimiser, which a
    training on other labels does not take over.

    Raises
    ------
    PotentialError
        If the file is missing, no DeePMD model, or a tabulated one, which has no weights any more.
    """
    import torch

    model = load_frozen(frozen)
    state = model.state_dict()
    if _is_tabulated(state):
        raise PotentialError(f"{frozen} is a tabulated model, which cannot be trained: give the model it was made from")
    weights = {f"model.Default.{key}": value for key, value in state.items()}
    extra = {"model_params": json.loads(model.get_model_def_script()), "train_infos": {"lr": 0, "step": 0}}
    torch.save({"model": {**weights, "_extra_state": extra}}, checkpoint)


def _is_tabulated(state: Mapping[str, Any]) -> bool:
    return any(".compress_data." in key and value.numel() for key, value in state.items())


def _require_frozen(file: Path) -> None:
    """Refuse what is no TorchScript archive: DeePMD-kit itself would unpickle some of it."""
    if not file.is_file():
        raise PotentialError(f"model file {file} does not exist")
    if not is_torchscript(file):
        raise PotentialError(f"{file} is no frozen DeePMD model: expected the .pth file that `dp --pt freeze` writes")


def is_torchscript(file: Path) -> bool:
    """Whether a file is a TorchScript archive, which torch loads without Python's pickle."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
    return any(name.endswith("/constants.pkl") for name in names) and any("/code/" in name for name in names)
