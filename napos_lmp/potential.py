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
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from napos_lmp.backends import Backend, get_backend
from napos_lmp.backends.deepmd import is_torchscript
from napos_lmp.card import (
    CARD_NAME,
    NAME_PATTERN,
    Domain,
    Element,
    ErrorPair,
    Name,
    Potential,
    PotentialCard,
    SetErrors,
    Tabulation,
    TrainingData,
    accepted_folders,
    home_potentials,
    read_card,
    write_card,
)
from napos_lmp.errors import PotentialError
from napos_lmp.files import sha256_of, whole_folder
from napos_lmp.pickled import PickleContents, pickle_contents
from napos_lmp.trust import accepting, is_trusted

__all__ = [
    "Domain",
    "Element",
    "ErrorPair",
    "Name",
    "Offer",
    "Potential",
    "PotentialCard",
    "SetErrors",
    "Tabulation",
    "TrainingData",
    "add_model_file",
    "add_potential",
    "available_potentials",
    "backend_of",
    "card_of_model",
    "is_trusted",
    "load_potential",
    "look_at",
    "read_potential",
    "write_card",
]


def read_potential(folder: Path) -> Potential:
    """Read a potential's folder and check the SHA-256 of its models; none is loaded.

    Raises
    ------
    PotentialError
        If the card is missing or wrong, or the model file is missing or not the one on the card.
    """
    potential = read_card(folder)
    for file, known in potential.models.items():
        if not file.is_file():
            raise PotentialError(f"{folder / CARD_NAME}: file: {file.name} is not in the folder")
        if (digest := sha256_of(file)) != known:
            raise PotentialError(
                f"{file} is not the file on its card: its SHA-256 begins {digest[:12]}, the card says {known[:12]}"
            )
    return potential


def available_potentials() -> list[Potential]:
    """All potentials shipped and added, by name; the model files are not checked.

    A card that cannot be read is left out with a warning.
    """
    found: dict[str, Potential] = {}
    for folder in accepted_folders():
        try:
            potential = read_card(folder)
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
    if not all(is_trusted(digest) for digest in potential.models.values()):
        raise PotentialError(
            f"potential {text!r} has not been accepted: a model file can run code, so look at where it comes from, "
            f"then `napos-lmp potentials add {folder}{' --trust' if get_backend(potential.backend).runs_code else ''}`"
        )
    return potential


@dataclass(frozen=True)
class Offer:
    """What would be accepted: one model file, the card that comes with it, and what it would do when loaded.

    `contents` are the names in the pickle of a back-end whose models run code; None for other models. `others` are the
    further models of a committee.
    """

    file: Path
    size: int
    sha256: str
    card: PotentialCard | None
    backend: str
    contents: PickleContents | None
    others: tuple[Offer, ...] = ()

    @property
    def runs_code(self) -> bool:
        """Whether loading the model runs code from its file."""
        return get_backend(self.backend).runs_code

    @property
    def sentences(self) -> list[str]:
        """What a person should read before accepting it."""
        lines = [f"{self.file}, {self.size / 1e6:.2f} MB, SHA-256 {self.sha256}"]
        if self.card:
            lines += [self.card.description, *self.card.limits]
        if self.runs_code:
            lines.append("it is a Python pickle: loading it runs the code that it names; nothing of it was run so far")
        if self.contents:
            lines.append(
                f"it imports {', '.join(self.contents.modules) or 'nothing'} ({len(self.contents.names)} names)"
            )
            unusual = ", ".join(self.contents.unusual)
            lines.append(
                f"it names what a model has no need of: {unusual}"
                if unusual
                else "none of its names is unusual in such a model, which is no proof that it is harmless"
            )
            if not self.contents.complete:
                lines.append("its pickle could not be read to the end: more may be in it")
        return lines + [sentence for other in self.others for sentence in other.sentences]


def look_at(source: Path) -> Offer:
    """What :func:`add_potential` or :func:`add_model_file` would accept; nothing is loaded.

    Raises
    ------
    PotentialError
        If there is no such folder or file, or its card is wrong.
    """
    if source.is_dir():
        potential = read_potential(source)
        first, *others = (_offer(file, potential.backend) for file in potential.models)
        return replace(first, card=potential.card, others=tuple(others))
    if not source.is_file():
        raise PotentialError(f"model file {source} does not exist")
    return _offer(source, backend_of(source))


def _offer(file: Path, backend: str) -> Offer:
    contents = pickle_contents(file) if get_backend(backend).runs_code else None
    return Offer(file, file.stat().st_size, sha256_of(file), None, backend, contents)


def backend_of(file: Path) -> str:
    """Back-end of a bare model file, by its form: `mliap` for a Python pickle, else `deepmd`."""
    return "mliap" if pickle_contents(file) and not is_torchscript(file) else "deepmd"


def add_potential(folder: Path, *, trust: bool = False) -> Potential:
    """Accept a potential: copy its folder to the user's own potentials.

    This is the act of trust: the model is loaded here for the first time, to compare its elements and cutoff with the
    card's. Show :func:`look_at` of the folder before.

    Parameters
    ----------
    folder
        With card and model file.
    trust
        Needed for a model file that is a pickle.

    Raises
    ------
    PotentialError
        If the name is taken, the hash is wrong, the card disagrees with the model or `trust` is missing.
    """
    potential = read_potential(folder)
    _require_trust(potential.file, potential.backend, trust)
    with _new_home(potential.name) as target, accepting(*potential.models.values()):
        for item in sorted(folder.iterdir()):
            if item.is_file() and not item.name.startswith("."):
                shutil.copyfile(item, target / item.name)
        copy = read_potential(target)
        _compare_with_model(copy, get_backend(copy.backend))
    return read_potential(home_potentials() / potential.name)


def add_model_file(file: Path, name: str, *, trust: bool = False) -> Potential:
    """Accept a bare model file under `name`, with a card that says honestly what is not known.

    Raises
    ------
    PotentialError
        If the name is taken or not allowed, the back-end cannot read the file, or it is a pickle without `trust`.
    """
    if not file.is_file():
        raise PotentialError(f"model file {file} does not exist")
    backend = backend_of(file)
    _require_trust(file, backend, trust)
    with _new_home(name) as target:
        model = target / file.name
        shutil.copyfile(file, model)
        with accepting(sha256_of(model)):
            write_card(target, card_of_model(model, name, backend))
    return read_potential(home_potentials() / name)


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


def _require_trust(file: Path, backend: str, trust: bool) -> None:
    if get_backend(backend).runs_code and not trust:
        raise PotentialError(
            f"{file} is a Python pickle, which runs code when it is loaded, and was not added: look at where it comes "
            "from, then add it with --trust"
        )


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
    if taken or (home_potentials() / name).exists():
        where = taken[0] if taken else home_potentials() / name
        raise PotentialError(f"a potential called {name!r} is there already, in {where}; choose another name")
    with whole_folder(home_potentials() / name) as target:
        yield target


def _compare_with_model(potential: Potential, backend: Backend) -> None:
    """Refuse a card that says something else of its models than they do."""
    for file in potential.models:
        elements, cutoff = backend.model_elements(file), backend.model_cutoff(file)
        if elements != potential.elements:
            listed = ", ".join(potential.elements)
            raise PotentialError(
                f"{CARD_NAME}: elements: {listed} differ from those of {file.name}, {', '.join(elements)}"
            )
        if abs(cutoff - potential.cutoff) > 1e-6:
            raise PotentialError(
                f"{CARD_NAME}: cutoff_A: {potential.cutoff:g} differs from that of {file.name}, {cutoff:g}"
            )
