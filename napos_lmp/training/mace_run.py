"""`mace_run_train` in a child process: its arguments, its checkpoints, how far it is, and going on after an end."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napos_lmp.backends.deepmd import last_line
from napos_lmp.errors import TrainingError
from napos_lmp.files import is_whole_archive, write_text
from napos_lmp.training.mace_config import MaceConfig
from napos_lmp.training.process import POLL_SECONDS, child, usable_threads
from napos_lmp.training.progress import ProgressCallback, TrainingProgress

ARGUMENTS_NAME = "mace.yaml"
_LOG = "mace.log"
_HEAD = "Default"
_KEPT = ".kept"
_CHECKPOINTS_KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was written whole; `second` says whether it is of the second stage."""

    second: bool
    epoch: int
    file: Path


def mace_arguments(config: MaceConfig, atomic_energies: str, foundation: Path | None) -> dict[str, Any]:
    """Arguments of `mace_run_train`, by name; it runs in the output folder and reads `data/*.xyz` there.

    Parameters
    ----------
    config
        The training file.
    atomic_energies
        As MACE takes them: a dictionary by atomic number, or `foundation`, or `estimated`.
    foundation
        Model to start from.
    """
    from ase.data import atomic_numbers

    arguments: dict[str, Any] = {
        "name": config.name,
        "seed": config.seed,
        "train_file": "data/train.xyz",
        "valid_file": "data/validation.xyz",
        "energy_key": "REF_energy",
        "forces_key": "REF_forces",
        "stress_key": "REF_stress",
        "atomic_numbers": str(sorted(atomic_numbers[element] for element in config.elements)),
        "E0s": atomic_energies,
        "default_dtype": config.precision,
        "device": _device(),
        "batch_size": config.batch,
        "valid_batch_size": 2 * config.batch,
        "max_num_epochs": config.epochs,
        "eval_interval": 1,
        "compute_stress": True,
        "amsgrad": True,
        "error_table": "PerAtomRMSE",
    }
    arguments |= _model_arguments(config, foundation) | _loss_arguments(config)
    arguments["lr"] = config.learning_rate.start
    if config.learning_rate.schedule == "exponential":
        arguments |= {"scheduler": "ExponentialLR", "lr_scheduler_gamma": config.rate_factor}
    else:
        arguments |= {
            "scheduler": "ReduceLROnPlateau",
            "lr_factor": config.rate_factor,
            "scheduler_patience": config.learning_rate.patience,
        }
    if config.ema is not None:
        arguments |= {"ema": True, "ema_decay": config.ema}
    # the folder is kept fit to go on from; errors and plots at the end are our own work
    arguments |= {"restart_latest": True, "keep_checkpoints": True, "save_cpu": True}
    return arguments | {"plot": False, "skip_evaluate_heads": _HEAD}


def final_model(config: MaceConfig) -> Path:
    """File in which MACE leaves the model of the last stage."""
    suffix = "" if config.second_stage_start is None else "_stagetwo"
    return config.output / f"{config.name}{suffix}.model"


def is_trained(config: MaceConfig) -> bool:
    """Whether the last model was written, and written whole."""
    return is_whole_archive(final_model(config))


def last_checkpoint(config: MaceConfig) -> Checkpoint | None:
    """Checkpoint from which MACE would go on."""
    return max(_checkpoints(config), key=lambda item: (item.second, item.epoch), default=None)


def epochs_done(config: MaceConfig) -> int:
    """Number of epochs that MACE has ever validated in this folder, counted from its first."""
    results = _Results(config)
    results.read()
    return results.epoch + 1 if results.epoch is not None else 0


def run_mace(config: MaceConfig, arguments: Mapping[str, Any], frames: int, show: ProgressCallback) -> int | None:
    """Run `mace_run_train` to its end, from its last checkpoint if there is one.

    Parameters
    ----------
    config
        The training file.
    arguments
        From :func:`mace_arguments`; written to `mace.yaml`, which the child reads.
    frames
        Number of training frames, for the progress.
    show
        Called about twice a second.

    Returns
    -------
    int or None
        Epoch of the checkpoint that it went on from.

    Raises
    ------
    TrainingError
        If MACE fails, the training diverges or is interrupted.
    """
    import yaml

    write_text(config.output / ARGUMENTS_NAME, yaml.safe_dump(dict(arguments), sort_keys=False))
    _restore_kept(config)
    _remove_torn(config)
    checkpoint = last_checkpoint(config)
    if checkpoint:
        shutil.copy2(checkpoint.file, f"{checkpoint.file}{_KEPT}")
    results = _Results(config)
    results.skip()
    command = [sys.executable, "-m", "napos_lmp.training.mace_child", "--config", ARGUMENTS_NAME]
    log = config.output / _LOG
    begun = log.stat().st_size if log.is_file() else 0
    try:
        with child(config.output, command, _environment(usable_threads(config.threads)), _LOG) as process:
            # once the last model is whole there is nothing to wait for
            while process.poll() is None and not is_trained(config):
                results.read()
                _refuse_divergence(results, log)
                _prune(config)
                show(results.progress(frames // config.batch, checkpoint.epoch if checkpoint else 0))
                time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        _restore_kept(config)
        last = last_checkpoint(config)
        where = f"goes on from epoch {last.epoch + 1}" if last else "starts again, as no checkpoint was written"
        raise TrainingError(f"training stopped; the same command {where}") from None
    _restore_kept(config)
    results.read()
    _refuse_divergence(results, log)
    if not is_trained(config):
        reason = last_line(log.read_bytes()[begun:].decode("utf-8", "replace"))
        raise TrainingError(f"`mace_run_train` failed: {reason} (all of it in {log})")
    return checkpoint.epoch if checkpoint else None


def _model_arguments(config: MaceConfig, foundation: Path | None) -> dict[str, Any]:
    if foundation is not None:
        given = {"foundation_model": foundation.name, "multiheads_finetuning": False, "model": "ScaleShiftMACE"}
        return given | ({"foundation_head": config.foundation_head} if config.foundation_head else {})
    assert config.model is not None
    numbers = config.model.numbers()
    return {
        "model": "ScaleShiftMACE",
        "num_channels": numbers["channels"],
        "max_L": numbers["max_L"],
        "max_ell": numbers["max_ell"],
        "correlation": numbers["correlation"],
        "num_interactions": numbers["interactions"],
        "r_max": numbers["cutoff_A"],
    }


def _loss_arguments(config: MaceConfig) -> dict[str, Any]:
    loss, second = config.loss, config.stage_two
    arguments: dict[str, Any] = {
        "loss": {"universal": "universal", "squares": "stress"}[loss.kind],
        "energy_weight": loss.energy,
        "forces_weight": loss.force,
        "stress_weight": loss.stress,
    }
    if second is not None and config.second_stage_start is not None:
        arguments |= {
            "swa": True,
            "start_swa": config.second_stage_start,
            "swa_lr": second.learning_rate,
            "swa_energy_weight": second.energy,
            "swa_forces_weight": second.force,
            "swa_stress_weight": second.stress,
        }
    return arguments


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _environment(threads: int) -> dict[str, str]:
    """Environment of the child: e3nn 0.4 and MACE's checkpoints need torch's old way of loading, in the child only."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _tag(config: MaceConfig) -> str:
    return f"{config.name}_run-{config.seed}"


def _checkpoint_files(config: MaceConfig) -> list[Checkpoint]:
    pattern = re.compile(rf"{re.escape(_tag(config))}_epoch-(\d+)(_swa)?\.pt")
    return [
        Checkpoint(match[2] is not None, int(match[1]), path)
        for path in (config.output / "checkpoints").glob("*.pt")
        if (match := pattern.fullmatch(path.name))
    ]


def _checkpoints(config: MaceConfig) -> list[Checkpoint]:
    return [item for item in _checkpoint_files(config) if is_whole_archive(item.file)]


def _restore_kept(config: MaceConfig) -> None:
    """Put back the checkpoint that MACE went on from, if it tore that one and has no other.

    MACE repeats the epoch it goes on from, and writes its checkpoint anew.
    """
    for kept in (config.output / "checkpoints").glob(f"*.pt{_KEPT}"):
        if is_whole_archive(kept) and not _checkpoints(config):
            kept.replace(kept.with_suffix(""))
        else:
            kept.unlink()


def _remove_torn(config: MaceConfig) -> None:
    """Remove files that were cut short: MACE would stumble over them, and begin again without a word."""
    models = [config.output / f"{config.name}{suffix}.model" for suffix in ("", "_stagetwo")]
    for file in (*models, *(item.file for item in _checkpoint_files(config))):
        if file.is_file() and not is_whole_archive(file):
            file.unlink()


def _prune(config: MaceConfig) -> None:
    """Keep the newest checkpoints of each stage: MACE's own way removes the old one before the new one is written."""
    for second in (False, True):
        stage = sorted((item for item in _checkpoints(config) if item.second is second), key=lambda item: item.epoch)
        for item in stage[:-_CHECKPOINTS_KEPT]:
            item.file.unlink(missing_ok=True)


def _refuse_divergence(results: _Results, log: Path) -> None:
    if results.diverged:
        raise TrainingError(f"the training diverged: lower learning_rate.start (all of it in {log})")


class _Results:
    """MACE's file of results, one JSON object a line, read as it grows."""

    def __init__(self, config: MaceConfig) -> None:
        self._file = config.output / "results" / f"{_tag(config)}_train.txt"
        self._epochs = config.epochs
        self._second = config.second_stage_start
        self._position = 0
        self._batches = 0
        self._running: int | None = None
        self._force = self._energy = math.nan
        self.epoch: int | None = None
        self.diverged = False

    def skip(self) -> None:
        """Leave out what earlier runs wrote."""
        self._position = self._file.stat().st_size if self._file.is_file() else 0

    def read(self) -> None:
        """Take in the whole lines that were added."""
        if not self._file.is_file():
            return
        with self._file.open("rb") as stream:
            stream.seek(self._position)
            content = stream.read()
        whole = content.rfind(b"\n") + 1
        self._position += whole
        for line in content[:whole].splitlines():
            self._take(json.loads(line))

    def progress(self, batches: int, resumed_from: int) -> TrainingProgress:
        """State in batches of all epochs; `batches` is their number in one epoch."""
        total = batches * self._epochs
        if self._running is None:
            return TrainingProgress("preparing", batches * resumed_from, total)
        stage = ", second stage" if self._second is not None and self._running >= self._second else ""
        known = not math.isnan(self._force)
        return TrainingProgress(
            f"epoch {self._running + 1} of {self._epochs}{stage}",
            batches * self._running + min(self._batches, batches),
            total,
            force_rmse_validation=self._force if known else None,
            energy_rmse_validation=self._energy if known else None,
        )

    def _take(self, line: dict[str, Any]) -> None:
        self.diverged = self.diverged or (line.get("loss") is not None and not math.isfinite(line["loss"]))
        if line["mode"] == "opt":
            self._batches = self._batches + 1 if line["epoch"] == self._running else 1
            self._running = line["epoch"]
        elif line["epoch"] is not None:
            self._force, self._energy = line["rmse_f"], line["rmse_e_per_atom"]
            self.epoch = max(line["epoch"], self.epoch or 0)
