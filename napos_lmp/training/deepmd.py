"""Training a DeePMD potential: data, `dp train`, freeze, tabulate, test, and the folder with its card."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napos_lmp.backends.deepmd import DeepmdBackend, dp_command, dp_environment, last_line, write_checkpoint
from napos_lmp.card import Tabulation
from napos_lmp.errors import TrainingError
from napos_lmp.files import is_whole_archive, sha256_of, whole_folder, write_text
from napos_lmp.potential import read_potential
from napos_lmp.training.config import read_config
from napos_lmp.training.dataset import Frame, write_systems
from napos_lmp.training.deepmd_config import DeepmdConfig
from napos_lmp.training.evaluate import largest_difference
from napos_lmp.training.outcome import TrainedModel, TrainingResult, read_parts, write_potential
from napos_lmp.training.peers import peer_errors
from napos_lmp.training.prediction import predict_deepmd
from napos_lmp.training.process import POLL_SECONDS, child, claimed, usable_threads
from napos_lmp.training.progress import ProgressCallback, TrainingProgress

_SIZES: dict[str, dict[str, Any]] = {
    "small": {"embedding": (8, 16), "axis": 4, "fitting": (32, 32, 32)},
    "standard": {"embedding": (16, 32, 64), "axis": 8, "fitting": (96, 96, 96)},
}
_LOG = "dp.log"


def train_deepmd(config_path: Path, progress: ProgressCallback | None = None) -> TrainingResult:
    """Train a DeePMD potential as a training file says; an interrupted training goes on from its last checkpoint.

    The potential is written to `output`/`name`: `card.yaml`, `model.pth`, `config.yaml` (the training file) and
    `errors.csv` (errors by composition, phase and temperature).

    Parameters
    ----------
    config_path
        The training file, see :class:`napos_lmp.training.deepmd_config.DeepmdConfig`.
    progress
        Called about twice a second.

    Raises
    ------
    TrainingError
        If the file or the data are wrong, `output` holds a different training, another process is at it, `dp` fails or
        the training diverges or is interrupted (the same call goes on).
    """
    config = read_config(config_path, DeepmdConfig)
    show = progress or (lambda state: None)
    show(TrainingProgress("reading data", 0, config.steps))
    frames, parts = read_parts(config)
    peers = peer_errors(config, parts)
    with claimed(config.output, config.fingerprint(), has_checkpoint=_last_checkpoint(config.output) is not None):
        target = config.output / config.name
        resumed_from = None
        if not target.is_dir():
            _prepare(config, parts)
            resumed_from = _train(config, show)
            show(TrainingProgress("freezing and testing", config.steps, config.steps))
            _freeze(config)
            write_potential(target, config, config_path, _trained(config, parts), parts, peer_errors=peers)
    return TrainingResult(read_potential(target), resumed_from, frames.dropped)


def deepmd_input(config: DeepmdConfig, train: Sequence[str], validation: Sequence[str]) -> dict[str, Any]:
    """Content of DeePMD-kit's `input.json` for systems in the given folders."""
    size = _SIZES[config.model.size]
    descriptor: dict[str, Any] = {
        "rcut": config.model.cutoff_A,
        "rcut_smth": config.model.smooth_from_A,
        "neuron": list(config.model.embedding or size["embedding"]),
        "axis_neuron": config.model.axis or size["axis"],
        "sel": config.model.neighbours or "auto:1.2",
        "seed": config.seed,
        "precision": config.precision,
    }
    if config.model.descriptor == "dpa1":
        descriptor |= {"type": "se_atten", "attn_layer": 0, "tebd_input_mode": "strip", "tebd_dim": 8}
        descriptor |= {"smooth_type_embedding": True, "type_one_side": False}
    else:
        descriptor |= {"type": "se_e2_a", "type_one_side": True}
    fitting = {
        "neuron": list(config.model.fitting or size["fitting"]),
        "resnet_dt": True,
        "seed": config.seed,
        "precision": config.precision,
    }
    loss: dict[str, Any] = {"type": "ener"}
    for letter, (start, stop) in zip("efv", (config.loss.energy, config.loss.force, config.loss.virial), strict=True):
        loss |= {f"start_pref_{letter}": start, f"limit_pref_{letter}": stop}
    return {
        "model": {"type_map": list(config.elements), "descriptor": descriptor, "fitting_net": fitting},
        "learning_rate": {
            "type": "exp",
            "start_lr": config.learning_rate.start,
            "stop_lr": config.learning_rate.stop,
            "decay_steps": max(config.steps // 200, 1),
        },
        "loss": loss,
        "training": {
            "training_data": {"systems": list(train), "batch_size": config.batch, "auto_prob": "prob_sys_size"},
            "validation_data": {"systems": list(validation), "batch_size": 1, "numb_btch": 6},
            "numb_steps": config.steps,
            "seed": config.seed,
            "disp_file": "lcurve.out",
            "disp_freq": max(config.steps // 100, 1),
            "save_freq": min(1000, max(config.steps // 20, 1)),
            "max_ckpt_keep": 3,
        },
    }


def _prepare(config: DeepmdConfig, parts: dict[str, list[Frame]]) -> None:
    data = config.output / "data"
    if not data.is_dir():
        with whole_folder(data) as folder:
            for part in ("train", "validation"):
                write_systems(parts[part], folder / part, config.elements)
    train, validation = (
        [f"data/{part}/{path.name}" for path in sorted((data / part).iterdir())] for part in ("train", "validation")
    )
    write_text(config.output / "input.json", json.dumps(deepmd_input(config, train, validation), indent=1) + "\n")


def _train(config: DeepmdConfig, show: ProgressCallback) -> int | None:
    """Run `dp train` to its end; returns the step it was resumed from."""
    checkpoint = _last_checkpoint(config.output)
    if checkpoint and checkpoint[0] >= config.steps:
        return checkpoint[0]
    arguments = ["train", "input.json"]
    if checkpoint:
        arguments += ["--restart", checkpoint[1].name]
    elif config.init_model:
        arguments += [
            "--init-frz-model" if config.init_model.suffix == ".pth" else "--init-model",
            str(config.init_model),
        ]
    elif config.finetune:
        arguments += ["--finetune", str(_start(config.finetune, config.output)), "--use-pretrain-script"]
    resumed_from = checkpoint[0] if checkpoint else None
    environment = dp_environment(usable_threads(config.threads))
    try:
        with child(config.output, dp_command(*arguments), environment, _LOG) as process:
            while process.poll() is None:
                show(_state(config, resumed_from or 0))
                time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        checkpoint = _last_checkpoint(config.output)
        where = f"goes on from step {checkpoint[0]}" if checkpoint else "starts again, as no checkpoint was written"
        raise TrainingError(f"training stopped; the same command {where}") from None
    last = _last_checkpoint(config.output)
    if process.returncode != 0 or last is None or last[0] < config.steps:
        log = config.output / _LOG
        reason = last_line(log.read_text(encoding="utf-8"))
        if "NaN detected" in reason:
            raise TrainingError(f"the training diverged: lower learning_rate.start (all of it in {log})")
        raise TrainingError(f"`dp train` failed: {reason} (all of it in {log})")
    show(_state(config, config.steps))
    return resumed_from


def _start(given: Path, folder: Path) -> Path:
    """The checkpoint to start from: what is given, or made of a frozen model."""
    if given.suffix == ".pt":
        return given
    checkpoint = folder / "start.pt"
    write_checkpoint(given, checkpoint)
    return checkpoint


def _last_checkpoint(folder: Path) -> tuple[int, Path] | None:
    """Newest checkpoint that was written whole, with its step."""
    found = []
    for path in folder.glob("model.ckpt-*.pt"):
        match = re.fullmatch(r"model\.ckpt-(\d+)\.pt", path.name)
        if match and is_whole_archive(path):
            found.append((int(match[1]), path))
    return max(found, default=None)


def _state(config: DeepmdConfig, resumed_from: int) -> TrainingProgress:
    """Read how far `dp train` is from its learning curve."""
    curve = config.output / "lcurve.out"
    names: list[str] = []
    row: list[str] = []
    for line in curve.read_text(encoding="utf-8").splitlines() if curve.is_file() else ():
        fields = line.split()
        if fields[:2] == ["#", "step"]:
            names = fields[1:]
        elif names and len(fields) == len(names) and not line.startswith("#"):
            row = fields
    values = dict(zip(names, row, strict=False))
    step = int(values.get("step", 0))
    if step <= resumed_from < config.steps or not row:
        return TrainingProgress("preparing", resumed_from, config.steps)
    return TrainingProgress(
        "training", step, config.steps, float(values["rmse_f_trn"]), float(values.get("rmse_f_val", "nan"))
    )


def _freeze(config: DeepmdConfig) -> None:
    last = _last_checkpoint(config.output)
    assert last is not None
    done = subprocess.run(
        dp_command("freeze", "-c", last[1].name, "-o", "model.pth"),
        cwd=config.output,
        env=dp_environment(1),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise TrainingError(f"`dp freeze` failed: {last_line(done.stderr + done.stdout)}")


def _trained(config: DeepmdConfig, parts: dict[str, list[Frame]]) -> TrainedModel:
    model = config.output / "model.pth"
    return TrainedModel(
        file=model,
        name_in_folder="model.pth",
        backend="deepmd",
        elements=config.elements,
        cutoff=DeepmdBackend().model_cutoff(model),
        remake="napos-lmp train deepmd config.yaml, with the data files where config.yaml looks for them",
        packages=("deepmd-kit", "torch"),
        predictor=predict_deepmd,
        details={"tabulation": _tabulation(model, parts["validation"][:8])},
    )


def _tabulation(model: Path, frames: Sequence[Frame]) -> Tabulation | None:
    """Tabulate the model and compare the two forms on frames."""
    tabulated = DeepmdBackend().tabulate(model, sha256_of(model))
    if tabulated == model:
        return None
    energy, force = largest_difference(frames, predict_deepmd(model, frames), predict_deepmd(tabulated, frames))
    size = tabulated.stat().st_size / 1e6
    return Tabulation(
        energy_meV_per_atom=float(f"{1000 * energy:.2g}"),
        force_meV_per_A=float(f"{1000 * force:.2g}"),
        size_MB=round(size, 1),
    )
