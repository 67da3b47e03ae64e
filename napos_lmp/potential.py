"""Potentials: a model file, the card that says what it is worth, and the two folders they are looked up in.

A model file is treated as a program. It is loaded only when its SHA-256 stands on a card in the folder that comes with
the package or in the user's own (:func:`add_potential` puts it there); a folder elsewhere can be read, not used.
"""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from napos_lmp.backends import Backend, get_backend
from napos_lmp.errors import PotentialError
from napos_lmp.files import sha256_of, whole_folder
from napos_lmp.resources import home_folder, shipped_folder
from napos_lmp.yamlfile import read_yaml_model

CARD_NAME = "card.yaml"
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Element = Annotated[str, StringConstraints(pattern=r"^[A-Z][a-z]?$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Range = tuple[float, float]


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


class PotentialCard(CardPart):
    """`card.yaml`: what a potential is, what it was made from and how far it can be trusted.

    `elements` is in the model's own order, `cutoff_A` in A, `file` the name of the model file beside the card.
    """

    schema_version: Literal[1] = 1
    name: Name
    backend: str
    elements: tuple[Element, ...] = Field(min_length=1)
    cutoff_A: float = Field(gt=0)
    file: str
    sha256: Digest
    description: str
    training_data: TrainingData
    errors: tuple[SetErrors, ...] = ()
    tabulation: Tabulation | None = None
    domain: Domain = Domain()
    limits: tuple[str, ...] = ()
    licence: str = "unknown"
    remake: str = "unknown"
    made_with: dict[str, str] = {}

    @field_validator("file")
    @classmethod
    def _beside_the_card(cls, value: str) -> str:
        if Path(value).name != value or value in {"", ".", ".."}:
            raise ValueError("must be the name of a file beside the card, without a folder")
        return value

    @field_validator("elements")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("names an element twice")
        return value


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


def read_potential(folder: Path) -> Potential:
    """Read a potential's folder and check its file's SHA-256; the model is not loaded.

    Raises
    ------
    PotentialError
        If the card is missing or wrong, or the model file is missing or not the one on the card.
    """
    potential = _read_card(folder)
    if not potential.file.is_file():
        raise PotentialError(f"{folder / CARD_NAME}: file: {potential.card.file} is not in the folder")
    if (digest := sha256_of(potential.file)) != potential.sha256:
        raise PotentialError(
            f"{potential.file} is not the file on its card: its SHA-256 begins {digest[:12]}, "
            f"the card says {potential.sha256[:12]}"
        )
    return potential


def available_potentials() -> list[Potential]:
    """All potentials shipped and added, by name; the model files are not checked.

    A card that cannot be read is left out with a warning.
    """
    found: dict[str, Potential] = {}
    for root in _roots():
        for card in sorted(root.glob(f"*/{CARD_NAME}")):
            try:
                potential = _read_card(card.parent)
                get_backend(potential.backend)
            except PotentialError as error:
                warnings.warn(f"potential left out: {error}", stacklevel=2)
                continue
            found.setdefault(potential.name, potential)
    return [found[name] for name in sorted(found)]


def load_potential(name_or_path: str | Path) -> Potential:
    """Find a potential by name, or by the folder that holds its card, and check that its file may be used.

    Raises
    ------
    PotentialError
        If there is none (the nearest name is given), its file was changed, or it was never accepted with
        :func:`add_potential`.
    """
    known = {potential.name: potential for potential in available_potentials()}
    text = str(name_or_path)
    if text in known:
        return read_potential(known[text].folder)
    path = Path(name_or_path)
    folder = path.parent if path.name == CARD_NAME else path
    if not (folder / CARD_NAME).is_file():
        raise PotentialError(f"potential {text!r} is not known{_nearest(text, known)}")
    potential = read_potential(folder)
    get_backend(potential.backend)
    if potential.sha256 not in {accepted.sha256 for accepted in known.values()}:
        raise PotentialError(
            f"potential {text!r} has not been accepted: a model file can run code, so look at where it comes from, "
            f"then `napos-lmp potentials add {folder}`"
        )
    return potential


def add_potential(folder: Path) -> Potential:
    """Accept a potential: copy its folder to the user's own potentials.

    This is the act of trust: the model is loaded here for the first time, to compare its elements and cutoff with the
    card's. Show :func:`read_potential` of the folder before.

    Raises
    ------
    PotentialError
        If the name is taken, the hash is wrong or the card disagrees with the model.
    """
    potential = read_potential(folder)
    with _new_home(potential.name) as target:
        for item in sorted(folder.iterdir()):
            if item.is_file() and not item.name.startswith("."):
                shutil.copyfile(item, target / item.name)
        copy = read_potential(target)
        _compare_with_model(copy, get_backend(copy.backend))
    return read_potential(_home() / potential.name)


def add_model_file(file: Path, name: str, backend: str = "deepmd") -> Potential:
    """Accept a bare model file under `name`, with a card that says honestly what is not known.

    Raises
    ------
    PotentialError
        If the name is taken or not allowed, or the back-end cannot read the file.
    """
    if not file.is_file():
        raise PotentialError(f"model file {file} does not exist")
    with _new_home(name) as target:
        model = target / file.name
        shutil.copyfile(file, model)
        write_card(target, card_of_model(model, name, backend))
    return read_potential(_home() / name)


def card_of_model(file: Path, name: str, backend: str = "deepmd") -> PotentialCard:
    """Card of a model file of which nothing is known but what it says itself; loads the model."""
    engine = get_backend(backend)
    return PotentialCard(
        name=name,
        backend=backend,
        elements=engine.model_elements(file),
        cutoff_A=engine.model_cutoff(file),
        file=file.name,
        sha256=sha256_of(file),
        description=f"made from the bare model file {file.name}",
        training_data=TrainingData(level_of_theory="unknown"),
        limits=("Nothing is known of its training data and errors: test it before use.",),
    )


def write_card(folder: Path, card: PotentialCard) -> Path:
    """Write `card.yaml` into a folder."""
    import yaml

    path = folder / CARD_NAME
    text = yaml.safe_dump(
        card.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True, width=118
    )
    path.write_text(text, encoding="utf-8")
    return path


def _roots() -> tuple[Path, Path]:
    return shipped_folder("potentials"), _home()


def _home() -> Path:
    return home_folder() / "potentials"


def _read_card(folder: Path) -> Potential:
    if not (folder / CARD_NAME).is_file():
        raise PotentialError(f"{folder} is no potential: it has no {CARD_NAME}")
    return Potential(read_yaml_model(folder / CARD_NAME, PotentialCard, PotentialError), folder.resolve())


def _nearest(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    listed = ", ".join(names) if names else "none"
    return f" (did you mean {near[0]!r}?); available: {listed}" if near else f"; available: {listed}"


@contextmanager
def _new_home(name: str) -> Iterator[Path]:
    """Yield the folder that becomes the user's potential `name` when the block succeeds."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise PotentialError(f"potential name {name!r} may hold letters, digits and . _ - only")
    taken = [potential.folder for potential in available_potentials() if potential.name == name]
    if taken or (_home() / name).exists():
        where = taken[0] if taken else _home() / name
        raise PotentialError(f"a potential called {name!r} is there already, in {where}; choose another name")
    with whole_folder(_home() / name) as target:
        yield target


def _compare_with_model(potential: Potential, backend: Backend) -> None:
    elements, cutoff = backend.model_elements(potential.file), backend.model_cutoff(potential.file)
    if elements != potential.elements:
        raise PotentialError(
            f"{CARD_NAME}: elements: {', '.join(potential.elements)} differ from the model's own, {', '.join(elements)}"
        )
    if abs(cutoff - potential.cutoff) > 1e-6:
        raise PotentialError(f"{CARD_NAME}: cutoff_A: {potential.cutoff:g} differs from the model's own, {cutoff:g}")
