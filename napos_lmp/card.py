"""The card of a potential: what a model is worth, in the file `card.yaml` beside it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from napos_lmp.errors import PotentialError
from napos_lmp.files import write_text
from napos_lmp.resources import home_folder, shipped_folder
from napos_lmp.yamlfile import read_yaml_model

CARD_NAME = "card.yaml"
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Element = Annotated[str, StringConstraints(pattern=r"^[A-Z][a-z]?$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Range = tuple[float, float]
Precision = Literal["float32", "float64"]


def _file_name(value: str) -> str:
    if Path(value).name != value or value in {"", ".", ".."}:
        raise ValueError("must be the name of a file beside the card, without a folder")
    return value


class CardPart(BaseModel):
    """Base of all parts of a card: frozen, and no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ErrorPair(CardPart):
    """Root mean square and mean absolute error of one quantity."""

    rmse: float
    mae: float


class SetErrors(CardPart):
    """Errors of the model on one set of labelled frames; a quantity without labels is None."""

    set: str
    frames: int
    energy_meV_per_atom: ErrorPair
    force_meV_per_A: ErrorPair
    virial_meV_per_atom: ErrorPair | None = None


class TrainingData(CardPart):
    """What the model was trained on; `files` gives the SHA-256 of each data file."""

    level_of_theory: str
    files: dict[str, Digest] = {}
    frames: int | None = None
    compositions: tuple[str, ...] = ()


class Domain(CardPart):
    """Where the training data lie: outside of it the model extrapolates."""

    temperature_K: Range | None = None
    density_g_cm3: Range | None = None
    compositions: tuple[str, ...] = ()


class Tabulation(CardPart):
    """Largest differences between the tabulated form that LAMMPS runs and the model as trained."""

    energy_meV_per_atom: float
    force_meV_per_A: float
    size_MB: float


class CommitteeMember(CardPart):
    """A further model of a committee: the name of its file beside the card, and its SHA-256."""

    file: str
    sha256: Digest

    @field_validator("file")
    @classmethod
    def _beside_the_card(cls, value: str) -> str:
        return _file_name(value)


class UsualDeviation(CardPart):
    """How far the models of a committee are from one another on the validation frames.

    `largest_atom_eV_A` is the largest deviation of the force on any atom, `frame_mean_eV_A` what the mean over a frame
    stays below in 99 % of the frames; see :mod:`napos_lmp.training.deviation`.
    """

    largest_atom_eV_A: float = Field(gt=0)
    frame_mean_eV_A: float = Field(gt=0)
    frames: int = Field(gt=0)
    atoms: int = Field(gt=0)


class PotentialCard(CardPart):
    """`card.yaml`: what a potential is, what it was made from and how far it can be trusted.

    `version` tells potentials of one name apart. `elements` is in the model's own order, `cutoff_A` in A, `file` the
    name of the model file beside the card. Of a MACE model, `head` is the one to use where it has several, `precision`
    the one to run it in, and `atomic_energies_eV` the energies of the free atoms (E0) that were taken off before
    training. `peer_errors` holds the errors of other potentials, by name, on the same sets of frames. `committee` are
    further models of the same training that differ by their seeds: simulations run with `file`, and the spread of all
    says how far to trust it; `usual_deviation` is that spread where the potential is at home.
    """

    schema_version: Literal[1] = 1
    name: Name
    backend: str
    elements: tuple[Element, ...] = Field(min_length=1)
    cutoff_A: float = Field(gt=0)
    file: str
    sha256: Digest
    description: str
    version: str | None = None
    head: str | None = None
    precision: Precision | None = None
    atomic_energies_eV: dict[Element, float] = {}
    training_data: TrainingData
    errors: tuple[SetErrors, ...] = ()
    peer_errors: dict[Name, tuple[SetErrors, ...]] = {}
    committee: tuple[CommitteeMember, ...] = ()
    usual_deviation: UsualDeviation | None = None
    tabulation: Tabulation | None = None
    domain: Domain = Domain()
    limits: tuple[str, ...] = ()
    licence: str = "unknown"
    remake: str = "unknown"
    made_with: dict[str, str] = {}

    @field_validator("file")
    @classmethod
    def _beside_the_card(cls, value: str) -> str:
        return _file_name(value)

    @field_validator("elements")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("names an element twice")
        return value

    @model_validator(mode="after")
    def _energies_of_its_elements(self) -> Self:
        if foreign := [element for element in self.atomic_energies_eV if element not in self.elements]:
            raise ValueError(f"atomic_energies_eV: {foreign[0]} is not among its elements, {', '.join(self.elements)}")
        return self

    @model_validator(mode="after")
    def _different_models(self) -> Self:
        for values in (
            [self.file, *(m.file for m in self.committee)],
            [self.sha256, *(m.sha256 for m in self.committee)],
        ):
            if twice := [value for value in values if values.count(value) > 1]:
                raise ValueError(f"committee: {twice[0]} stands there twice; a committee is of models that differ")
        return self


@dataclass(frozen=True)
class Potential:
    """A potential whose card was read; `folder` holds the card and the model file."""

    card: PotentialCard
    folder: Path

    @property
    def name(self) -> str:
        """Name under which studies refer to it."""
        return self.card.name

    @property
    def backend(self) -> str:
        """Name of the back-end that runs it, for :func:`napos_lmp.backends.get_backend`."""
        return self.card.backend

    @property
    def elements(self) -> tuple[str, ...]:
        """Elements in the model's order."""
        return self.card.elements

    @property
    def cutoff(self) -> float:
        """Cutoff in A."""
        return self.card.cutoff_A

    @property
    def file(self) -> Path:
        """The model file as shipped (what LAMMPS reads is the back-end's `deck_file`)."""
        return self.folder / self.card.file

    @property
    def sha256(self) -> str:
        """SHA-256 of :attr:`file`."""
        return self.card.sha256

    @property
    def models(self) -> dict[Path, str]:
        """All model files with their SHA-256: :attr:`file`, then the others of the committee."""
        others = {self.folder / member.file: member.sha256 for member in self.card.committee}
        return {self.file: self.sha256, **others}

    @property
    def others(self) -> tuple[Potential, ...]:
        """The further models of the committee, each as a potential of its own."""
        alone = {"committee": (), "usual_deviation": None}
        return tuple(
            Potential(self.card.model_copy(update={**alone, "file": member.file, "sha256": member.sha256}), self.folder)
            for member in self.card.committee
        )

    def check_elements(self, elements: Iterable[str]) -> None:
        """Refuse elements that the potential does not know.

        Raises
        ------
        PotentialError
            If one of `elements` is not covered.
        """
        if missing := [element for element in dict.fromkeys(elements) if element not in self.elements]:
            raise PotentialError(
                f"potential {self.name!r} does not know {', '.join(missing)}; it covers {', '.join(self.elements)}"
            )


def error_table(card: PotentialCard) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows of the errors of a potential and its peers, side by side: RMSE, with MAE in brackets."""
    by_name = {card.name: card.errors, **card.peer_errors}
    sets = {errors.set: errors.frames for all_errors in reversed(by_name.values()) for errors in all_errors}
    found = {(name, errors.set): errors for name, all_errors in by_name.items() for errors in all_errors}
    rows = []
    for set_name in dict.fromkeys([*(errors.set for errors in card.errors), *sets]):
        for field, label in _ERROR_LABELS.items():
            pairs = [getattr(found.get((name, set_name)), field, None) for name in by_name]
            if any(pairs):
                cells = (f"{pair.rmse:.4g} ({pair.mae:.4g})" if pair else "not measured" for pair in pairs)
                rows.append((set_name, str(sets[set_name]), label, *cells))
    return ("set", "frames", "error", *by_name), rows


_ERROR_LABELS = {
    "energy_meV_per_atom": "energy (meV/atom)",
    "force_meV_per_A": "force (meV/A)",
    "virial_meV_per_atom": "virial (meV/atom)",
}


def read_card(folder: Path) -> Potential:
    """Read the card of a potential's folder; the model file is not looked at.

    Raises
    ------
    PotentialError
        If the card is missing or wrong.
    """
    if not (folder / CARD_NAME).is_file():
        raise PotentialError(f"{folder} is no potential: it has no {CARD_NAME}")
    return Potential(read_yaml_model(folder / CARD_NAME, PotentialCard, PotentialError), folder.resolve())


def write_card(folder: Path, card: PotentialCard) -> Path:
    """Write `card.yaml` into a folder, in the place of one that is there."""
    import yaml

    path = folder / CARD_NAME
    text = yaml.safe_dump(
        card.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True, width=118
    )
    write_text(path, text)
    return path


def accepted_folders() -> list[Path]:
    """Folders with a card that came with the package or that the user accepted; nothing in them is checked."""
    roots = shipped_folder("potentials"), home_potentials()
    return [card.parent for root in roots for card in sorted(root.glob(f"*/{CARD_NAME}")) if card.parent.name[0] != "."]


def home_potentials() -> Path:
    """The folder of the user's own potentials."""
    return home_folder() / "potentials"
