"""The card of a data set: what its labels are, and which file they lie in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from napos_lmp.errors import ReferenceDataError
from napos_lmp.files import sha256_of, write_text
from napos_lmp.yamlfile import read_yaml_model


class CardPart(BaseModel):
    """Base of all parts of the card: frozen, and no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Units(CardPart):
    """Units of the labels; the stress has ASE's sign (tension is positive), so virial = -stress x volume."""

    energy: Literal["eV"] = "eV"
    forces: Literal["eV/A"] = "eV/A"
    stress: Literal["eV/A^3, tension positive"] = "eV/A^3, tension positive"
    length: Literal["A"] = "A"


class Rejected(CardPart):
    """One frame that got no label, and why."""

    id: str
    reason: str


class DataCard(CardPart):
    """What a data set is.

    `level` is the short name of the level of theory that its frames carry, `settings` spells it out, `code` names the
    programs and versions. `energy` says which energy the frames hold. `frames` counts all, `groups`, `compositions` and
    `phases` their parts. `file` lies beside the card and has the SHA-256 `sha256`.
    """

    name: str
    description: str
    file: str
    sha256: str
    licence: str
    level_of_theory: str
    level: str
    settings: dict[str, Any]
    code: tuple[str, ...]
    energy: str
    dispersion: str
    units: Units = Units()
    elements: tuple[str, ...]
    frames: int
    atoms: tuple[int, int]
    with_stress: int
    groups: dict[str, int]
    compositions: dict[str, int]
    phases: dict[str, int]
    rejected: tuple[Rejected, ...] = ()


def card_path(data: Path) -> Path:
    """Where the card of a data file lies: `set.extxyz.gz` has `set.yaml`."""
    return data.with_name(f"{data.name.split('.')[0]}.yaml")


def dispersion_note(functional: str | None) -> str:
    """What a card says of dispersion terms."""
    if functional is None:
        return "none"
    return f"D3(BJ) of {functional} apart, in d3bj_energy, d3bj_forces and d3bj_stress; not in the labels"


def describe(frames: Sequence[Any]) -> dict[str, Any]:
    """The numbers on a card that follow from the frames."""
    elements = {symbol: int(number) for frame in frames for symbol, number in _numbers(frame)}
    sizes = [len(frame) for frame in frames]
    labels = [frame.calc.results if frame.calc is not None else {} for frame in frames]

    def counted(key: str) -> dict[str, int]:
        return dict(sorted(Counter(str(frame.info.get(key, "unknown")) for frame in frames).items()))

    return {
        "elements": tuple(sorted(elements, key=lambda symbol: elements[symbol])),
        "frames": len(frames),
        "atoms": (min(sizes), max(sizes)),
        "with_stress": sum("stress" in results for results in labels),
        "groups": counted("group"),
        "compositions": counted("composition"),
        "phases": counted("phase"),
    }


def write_data_card(data: Path, card: DataCard) -> Path:
    """Write the card of a data file beside it."""
    import yaml

    path = card_path(data)
    write_text(path, yaml.safe_dump(card.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=118))
    return path


def read_data_card(data: Path) -> DataCard:
    """Read the card of a data file and check that it is the file on the card.

    Raises
    ------
    ReferenceDataError
        If there is no card, it is wrong, or the file was changed.
    """
    card = read_yaml_model(card_path(data), DataCard, ReferenceDataError)
    if not data.is_file():
        raise ReferenceDataError(f"{data} does not exist, but its card {card_path(data)} does")
    if (digest := sha256_of(data)) != card.sha256:
        raise ReferenceDataError(
            f"{data} is not the file on its card: its SHA-256 begins {digest[:12]}, the card says {card.sha256[:12]}"
        )
    return card


def _numbers(frame: Any) -> list[tuple[str, int]]:
    return list(zip(frame.get_chemical_symbols(), frame.numbers, strict=True))
