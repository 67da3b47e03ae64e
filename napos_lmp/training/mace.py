"""Training a MACE potential: data, atomic energies, `mace_run_train`, test, and the folder with its card."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from napos_lmp.backends.mace import choose_head, mace_elements, mace_heads
from napos_lmp.backends.mliap import load_model
from napos_lmp.card import SetErrors
from napos_lmp.errors import TrainingError
from napos_lmp.files import sha256_of, whole_folder
from napos_lmp.pickled import pickle_contents
from napos_lmp.potential import Offer, read_potential
from napos_lmp.training.atomic_energies import AtomicEnergies, fit_atomic_energies
from napos_lmp.training.config import read_config
from napos_lmp.training.dataset import Frame, FrameSet, write_extxyz
from napos_lmp.training.foundation import check_foundation, foundation_file, look_into
from napos_lmp.training.mace_config import MaceConfig, Model
from napos_lmp.training.mace_run import (
    epochs_done,
    final_model,
    is_trained,
    last_checkpoint,
    mace_arguments,
    run_mace,
)
from napos_lmp.training.outcome import TrainedModel, TrainingResult, read_parts, write_potential
from napos_lmp.training.peers import peer_errors
from napos_lmp.training.prediction import predict_mace
from napos_lmp.training.process import begun_here, claimed, note_begun, recorded_fingerprint
from napos_lmp.training.progress import ProgressCallback, TrainingProgress
from napos_lmp.trust import accepting, is_trusted

MODEL_NAME = "mace.model"
_FOUNDATION_COPY = "foundation.model"

Message = Callable[[str], None]


def train_mace(
    config_path: Path,
    progress: ProgressCallback | None = None,
    *,
    foundation: Path | None = None,
    trust: bool = False,
    message: Message | None = None,
) -> TrainingResult:
    """Train a MACE potential as a training file says; an interrupted training goes on from its last checkpoint.

    The potential is written to `output`/`name`: `card.yaml`, `mace.model`, `config.yaml` (the training file) and
    `errors.csv` (errors by composition, phase and temperature). An `output` in which `mace_run_train` itself has
    trained under this name and seed is taken over with `trust`; its model, if finished, is tested and gets its card.

    Parameters
    ----------
    config_path
        The training file, see :class:`napos_lmp.training.mace_config.MaceConfig`.
    progress
        Called about twice a second.
    foundation
        File or name of a MACE model to start from, in the place of `foundation` in the training file.
    trust
        Accept the files that this training would load and that were never accepted: a foundation model, or a run that
        this program did not start. They are Python pickles, which run code when they are loaded.
    message
        Told what is known of a file that was never accepted, read without loading it.

    Raises
    ------
    TrainingError
        If MACE is not installed, the file or the data are wrong, a foundation model does not fit or was not accepted,
        `output` holds a different training, another process is at it, MACE fails or the training diverges or is
        interrupted (the same call goes on).
    """
    if find_spec("mace") is None:
        raise TrainingError("MACE is not installed here: `pip install 'napos-lmp[mace]'`")
    config = _with_foundation(read_config(config_path, MaceConfig), foundation)
    show = progress or (lambda state: None)
    show(TrainingProgress("reading data", 0, config.epochs))
    frames, parts = read_parts(config)
    _check_frames(config, parts)
    peers = peer_errors(config, parts)
    energies = _atomic_energies(config, frames, parts["train"])
    fingerprint, digest = config.fingerprint(), sha256_of(config.foundation) if config.foundation else ""
    adopted = False
    if recorded_fingerprint(config.output) != fingerprint or not begun_here(config.output, fingerprint):
        adopted = _accept(config, energies, fingerprint, digest, trust, message or (lambda sentence: None))
    with claimed(config.output, fingerprint, has_checkpoint=last_checkpoint(config) is not None, adopt=adopted):
        note_begun(config.output, fingerprint)
        target = config.output / config.name
        resumed_from = None
        if not target.is_dir():
            if not is_trained(config):
                resumed_from = _train(config, energies, digest, parts, show)
            show(TrainingProgress("testing", config.epochs, config.epochs))
            _finish(config, config_path, energies, parts, target, peers)
    return TrainingResult(read_potential(target), resumed_from, frames.dropped)


def _with_foundation(config: MaceConfig, foundation: Path | None) -> MaceConfig:
    """The training file with its foundation found, and with settings that fit to whether there is one."""
    source = foundation or config.foundation
    if source is None:
        if isinstance(config.atomic_energies_eV, str):
            raise TrainingError(f"atomic_energies_eV: {config.atomic_energies_eV!r} needs a foundation")
        if config.foundation_head is not None:
            raise TrainingError("foundation_head: there is no foundation")
        return config.model_copy(update={"model": config.model or Model()})
    if config.model is not None:
        raise TrainingError("model: leave it out, as the architecture of the foundation is kept")
    return config.model_copy(update={"foundation": foundation_file(source).absolute()})


def _check_frames(config: MaceConfig, parts: Mapping[str, Sequence[Frame]]) -> None:
    present = {symbol for frame in parts["train"] for symbol in frame.symbols}
    if missing := [element for element in config.elements if element not in present]:
        raise TrainingError(f"elements: {', '.join(missing)} is in no training frame")
    if len(parts["train"]) < config.batch:
        raise TrainingError(f"batch: {config.batch} is more than the {len(parts['train'])} training frames")


def _atomic_energies(config: MaceConfig, frames: FrameSet, train: Sequence[Frame]) -> AtomicEnergies:
    """Energies of free atoms, given, isolated or fitted; without values where MACE takes them from the foundation."""
    given = config.atomic_energies_eV
    if given == "foundation":
        return AtomicEnergies({})
    known = frames.isolated | (given if isinstance(given, dict) else {})
    energies = fit_atomic_energies(train, config.elements, known)
    if config.foundation is not None and not isinstance(given, dict):
        energies = AtomicEnergies({}, fit_atomic_energies(train, config.elements, {}).relations)
    for sentence in energies.warnings():
        warnings.warn(sentence, stacklevel=3)
    return energies


def _accept(
    config: MaceConfig, energies: AtomicEnergies, fingerprint: str, digest: str, trust: bool, message: Message
) -> bool:
    """Accept what a new training would load, if it is trusted and fits; whether a foreign run is to be taken over."""
    last = last_checkpoint(config)
    of_others = recorded_fingerprint(config.output) not in (None, fingerprint)
    foreign = not of_others and (is_trained(config) or last is not None)
    if foreign:
        file = final_model(config) if is_trained(config) or last is None else last.file
        run_digest = sha256_of(file)
        what = "output: a run of mace_run_train that this command did not start; its model"
        _require_trust(what, file, run_digest, trust, message)
        if is_trained(config):
            with accepting(run_digest):
                _check_adopted(config, load_model(file), energies)
    if config.foundation is not None:
        _require_trust("foundation:", config.foundation, digest, trust, message)
        check_foundation(config, look_into(config.foundation, digest))
    return foreign


def _require_trust(what: str, file: Path, digest: str, trust: bool, message: Message) -> None:
    if is_trusted(digest):
        return
    for sentence in Offer(file, file.stat().st_size, digest, None, "mliap", pickle_contents(file)).sentences:
        message(sentence)
    if not trust:
        raise TrainingError(
            f"{what} {file} (SHA-256 {digest}) runs code when it is loaded: if you know where it comes from, "
            "accept it with --trust"
        )
    message(f"accepting {file} with SHA-256 {digest}")


def _train(
    config: MaceConfig,
    energies: AtomicEnergies,
    digest: str,
    parts: Mapping[str, Sequence[Frame]],
    show: ProgressCallback,
) -> int | None:
    show(TrainingProgress("preparing", 0, config.epochs))
    data = config.output / "data"
    if not data.is_dir():
        with whole_folder(data) as folder:
            for part in ("train", "validation"):
                write_extxyz(parts[part], folder / f"{part}.xyz")
    foundation = None
    if config.foundation is not None:
        foundation = config.output / _FOUNDATION_COPY
        shutil.copyfile(config.foundation, foundation)
        if sha256_of(foundation) != digest:
            raise TrainingError(f"foundation: {config.foundation} was changed just now")
    if energies.values:
        given = str(_by_atomic_number(energies.values))
    else:
        given = "foundation" if config.atomic_energies_eV == "foundation" else "estimated"
    return run_mace(config, mace_arguments(config, given, foundation), len(parts["train"]), show)


def _finish(
    config: MaceConfig,
    config_path: Path,
    energies: AtomicEnergies,
    parts: Mapping[str, Sequence[Frame]],
    target: Path,
    peers: Mapping[str, tuple[SetErrors, ...]],
) -> None:
    file = final_model(config)
    with accepting(sha256_of(file)):
        model = load_model(file)
        trained = TrainedModel(
            file=file,
            name_in_folder=MODEL_NAME,
            backend="mliap",
            elements=mace_elements(model),
            cutoff=float(f"{float(model.r_max):.6g}"),
            remake=_remake(config),
            packages=("mace-torch", "e3nn", "torch"),
            predictor=predict_mace,
            details={
                "head": choose_head(mace_heads(model), None, file.name),
                "precision": str(next(model.parameters()).dtype).removeprefix("torch."),
                "atomic_energies_eV": _energies_of(model),
            },
        )
        write_potential(target, config, config_path, trained, parts, peer_errors=peers, limits=energies.warnings())


def _energies_of(model: Any) -> dict[str, float]:
    """Energies of free atoms in a model with one head, eV."""
    values = model.atomic_energies_fn.atomic_energies.detach().cpu().double().numpy().ravel()
    return {element: round(float(value), 6) for element, value in zip(mace_elements(model), values, strict=True)}


def _check_adopted(config: MaceConfig, model: Any, energies: AtomicEnergies) -> None:
    """Refuse a run of `mace_run_train` that is not what the training file says, as far as its files tell."""
    begin = f"output: the run in {config.output} is not the one of the training file"
    if set(mace_elements(model)) != set(config.elements):
        raise TrainingError(f"{begin}: its elements are {', '.join(mace_elements(model))}")
    if (done := epochs_done(config)) != config.epochs:
        raise TrainingError(f"{begin}: it had {done} epochs, not {config.epochs}")
    if config.model is not None:
        numbers = config.model.numbers()
        own = {
            "cutoff_A": float(f"{float(model.r_max):.6g}"),
            "interactions": int(model.num_interactions),
            "channels": model.node_embedding.linear.irreps_out.count("0e"),
            # a single layer keeps invariants alone, whatever was asked for
            "max_L": model.products[0].linear.irreps_out.lmax if len(model.products) > 1 else numbers["max_L"],
            "correlation": len(model.products[0].symmetric_contractions.contractions[0].weights) + 1,
            "max_ell": model.spherical_harmonics.irreps_out.lmax,
        }
        for key, value in own.items():
            if value != numbers[key]:
                raise TrainingError(f"{begin}: its {key} is {value:g}, not {numbers[key]:g}")
    found = _energies_of(model)
    for element, energy in energies.values.items():
        if abs(found[element] - energy) > 1e-4:
            raise TrainingError(
                f"{begin}: its atomic energy of {element} is {found[element]:g} eV, that of these frames {energy:g} eV"
            )


def _remake(config: MaceConfig) -> str:
    command = "napos-lmp train mace config.yaml, with the data files where config.yaml looks for them"
    if config.foundation is None:
        return command
    digest = sha256_of(config.foundation)
    return f"{command} and the foundation model {config.foundation.name} (SHA-256 {digest}) as --foundation"


def _by_atomic_number(energies: Mapping[str, float]) -> dict[int, float]:
    from ase.data import atomic_numbers

    return {number: energies[element] for number, element in sorted((atomic_numbers[e], e) for e in energies)}
