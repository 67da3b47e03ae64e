"""Errors of other potentials on the very frames that a new one is tested on, from their cards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from napos_lmp.card import Potential, PotentialCard, SetErrors, accepted_folders, read_card
from napos_lmp.errors import PotentialError, TrainingError
from napos_lmp.files import sha256_of
from napos_lmp.training.config import Split, TrainingConfig
from napos_lmp.training.dataset import Frame
from napos_lmp.yamlfile import check_model, read_yaml

_SETS = ("validation", "test")


def peer_errors(config: TrainingConfig, parts: Mapping[str, Sequence[Frame]]) -> dict[str, tuple[SetErrors, ...]]:
    """Errors on validation and test set of the potentials in `compare_with`, from their cards.

    They are comparable only if those frames are the same: the same data files by their hashes, the same `split` and
    `force_cap_eV_A` in the training file beside the card, as many frames in each set. Nothing of a model is loaded.

    Raises
    ------
    TrainingError
        If a potential is not there or was tested on other frames.
    """
    return {name: _comparable(_find(name), config, parts) for name in config.compare_with}


def errors_of_sets(card: PotentialCard) -> tuple[SetErrors, ...]:
    """Errors of a potential on its validation and test set."""
    return tuple(row for row in card.errors if row.set in _SETS)


def _find(name: str) -> Potential:
    names = []
    for folder in accepted_folders():
        try:
            potential = read_card(folder)
        except PotentialError:
            continue
        if potential.name == name:
            return potential
        names.append(potential.name)
    raise TrainingError(f"compare_with: potential {name!r} is not known; available: {', '.join(sorted(set(names)))}")


def _comparable(peer: Potential, config: TrainingConfig, parts: Mapping[str, Sequence[Frame]]) -> tuple[SetErrors, ...]:
    begin = f"compare_with: {peer.name} was not tested on the same frames"
    if set(peer.card.training_data.files.values()) != {sha256_of(path) for path in config.data}:
        raise TrainingError(f"{begin}: its data files differ")
    beside = peer.folder / "config.yaml"
    if not beside.is_file():
        raise TrainingError(
            f"compare_with: no config.yaml beside the card of {peer.name} says how its frames were split"
        )
    for key, own in (("split", config.split), ("force_cap_eV_A", config.force_cap_eV_A)):
        if (theirs := _setting(beside, key)) != own:
            raise TrainingError(f"{begin}: its {key} is {_text(theirs)}, here it is {_text(own)}")
    rows = errors_of_sets(peer.card)
    for row in rows:
        if row.frames != len(parts[row.set]):
            raise TrainingError(f"{begin}: its set {row.set!r} has {row.frames}, here it has {len(parts[row.set])}")
    if not rows:
        raise TrainingError(f"compare_with: the card of {peer.name} gives no errors for {' and '.join(_SETS)}")
    return rows


def _setting(config: Path, key: str) -> object:
    """Split or force cap of any family's training file, or their default."""
    content = read_yaml(config, TrainingError)
    given = content.get(key) if isinstance(content, dict) else None
    if key == "split":
        return check_model(given or {}, Split, TrainingError, f"{config}: split")
    return TrainingConfig.model_fields[key].default if given is None else given


def _text(setting: object) -> str:
    return str(setting.model_dump(mode="json")) if isinstance(setting, Split) else f"{setting}"
