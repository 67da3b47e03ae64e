"""A study written out as decks, at ``OUT/<composition>/<potential>/seed-<n>/<protocol>``.

``OUT/study.json`` lists them in the order in which they can be run.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import napos_lmp
from napos_lmp.backends import get_backend
from napos_lmp.composition import Composition, expand_series
from napos_lmp.deck import present_elements, render_deck
from napos_lmp.errors import StudyError
from napos_lmp.files import write_text
from napos_lmp.manifest import MANIFEST_NAME, Manifest, read_manifest
from napos_lmp.potential import Potential, PotentialCard, load_potential
from napos_lmp.presets import MeltQuench, protocols_of
from napos_lmp.protocol import Protocol, derived_seed
from napos_lmp.records import read_record
from napos_lmp.structure import Structure, crystal, estimate_density, pack
from napos_lmp.study_file import Crystal, Glass, Study, example_study, read_study
from napos_lmp.templates import Templates

__all__ = [
    "Study",
    "StudyDeck",
    "StudyIndex",
    "example_study",
    "has_run",
    "read_study",
    "read_study_index",
    "write_decks",
]

INDEX_NAME = "study.json"
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class StudyDeck:
    """One deck of a study; `path` and `source` are relative to the study's folder."""

    path: str
    label: str
    formula: str
    potential: str
    seed: int
    protocol: str
    source: str | None


@dataclass(frozen=True)
class StudyIndex:
    """`study.json`: the decks of a study, each after the one it starts from."""

    name: str
    program_version: str
    study: dict[str, Any]
    decks: tuple[StudyDeck, ...]


def write_decks(study: Study, out: Path, progress: Progress | None = None) -> list[Path]:
    """Write all decks of a study and its index; return the decks in the order in which they can be run.

    A deck that is there and has not run is written anew. One that has run is kept if the study still asks for the same,
    so a study can be extended. After an error the folder is as it was.

    Parameters
    ----------
    study
        What to write.
    out
        The study's folder, made if need be.
    progress
        Called with the number of decks done, their total and the label of the next.

    Raises
    ------
    StudyError
        If a deck that has run would be changed, or the folder holds another study.
    NaposError
        If a composition, potential, structure or template is unfit; see the modules concerned.
    """
    templates = Templates(study.templates)
    planned = list(_plan(study))
    _refuse_foreign(study, out)
    kept = {deck.path for deck in planned if _is_kept(deck, out / deck.path, study, templates)}
    structures = _pack_all([deck for deck in planned if deck.path not in kept], progress)
    with _undone_on_error() as write_anew:
        for done, deck in enumerate(planned):
            if progress:
                progress(done, len(planned), deck.label)
            if deck.path in kept:
                continue
            write_anew(out / deck.path)
            render_deck(
                out / deck.path,
                composition=deck.composition,
                potential=deck.potential,
                protocol=deck.protocol,
                seed=deck.seed,
                structure=None if deck.source else structures[deck.structure_key],
                source_deck=out / deck.source if deck.source else None,
                label=deck.label,
                templates=templates,
                job=study.job,
                pair_style=deck.pair_style,
            )
        _write_index(out, study, planned)
    if progress:
        progress(len(planned), len(planned), "done")
    return [out / deck.path for deck in planned]


def read_study_index(out: Path) -> StudyIndex:
    """Read `study.json` of a study's folder.

    Raises
    ------
    StudyError
        If the folder holds no study, or its index is damaged.
    """
    path = out / INDEX_NAME
    if not path.is_file():
        raise StudyError(f"{out} holds no study: it has no {INDEX_NAME}")
    return read_record(path, StudyIndex, StudyError)


def deck_folders(folders: Iterable[Path]) -> list[Path]:
    """Decks named one by one, by the folders of their studies or by folders that hold decks, each once.

    Decks of a study come in its order, those of another folder behind the decks that they start from.

    Raises
    ------
    StudyError
        If a folder is neither a deck nor a study and holds none.
    """
    found: dict[Path, None] = {}
    for folder in folders:
        if (folder / MANIFEST_NAME).is_file():
            found[folder] = None
        elif (folder / INDEX_NAME).is_file():
            found.update((folder / deck.path, None) for deck in read_study_index(folder).decks)
        elif below := decks_below(folder):
            found.update(dict.fromkeys(below))
        else:
            raise StudyError(
                f"{folder} is neither a deck nor a study, and holds none: no {MANIFEST_NAME} or {INDEX_NAME} is in it"
            )
    return list(found)


def decks_below(folder: Path) -> list[Path]:
    """Decks somewhere in a folder, each behind the deck that it starts from; folders with a leading dot are left out.

    Raises
    ------
    DeckError
        If a manifest is damaged.
    """
    waiting = {
        path.parent.resolve(): path.parent
        for path in sorted(folder.rglob(MANIFEST_NAME))
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }
    ordered: list[Path] = []

    def place(deck: Path) -> None:
        if (shown := waiting.pop(deck, None)) is None:
            return
        if (source := read_manifest(deck).structure.source_deck) is not None:
            place((deck / source).resolve())
        ordered.append(shown)

    for deck in list(waiting):
        place(deck)
    return ordered


@dataclass(frozen=True)
class _PlannedDeck:
    """A deck to be written, with what its atoms are made from."""

    path: str
    label: str
    composition: Composition
    potential: Potential
    pair_style: str | None
    protocol: Protocol
    seed: int
    source: str | None
    counts: tuple[tuple[str, int], ...]
    density: float | None
    crystal: Crystal | None

    @property
    def elements(self) -> tuple[str, ...]:
        return present_elements(self.potential, dict(self.counts))

    @property
    def structure_key(self) -> tuple[Any, ...]:
        return (self.counts, self.density, self.crystal, None if self.crystal else self.seed, self.elements)


@dataclass(frozen=True)
class _Material:
    """One composition or crystal of a study."""

    folder: str
    composition: Composition
    counts: dict[str, int]
    density: float | None
    crystal: Crystal | None


def _materials(study: Study) -> Iterator[_Material]:
    for entry in study.compositions:
        if isinstance(entry, Crystal):
            counts = crystal(entry.crystal, entry.repeat).counts
            composition = Composition.parse("".join(f"{e}{n}" for e, n in crystal(entry.crystal).counts.items()))
            yield _Material(f"{entry.crystal}-crystal", composition, counts, None, entry)
            continue
        if isinstance(entry, Glass):
            compositions, densities = [Composition.parse(entry.formula)], [entry.density_g_cm3]
        else:
            compositions = expand_series(entry.series, entry.x)
            given = entry.density_g_cm3
            densities = list(given) if isinstance(given, tuple) else [given] * len(compositions)
        for composition, density in zip(compositions, densities, strict=True):
            value = estimate_density(composition).value if density is None else density
            for atoms in study.atoms:
                counts = composition.cell(atoms).counts
                size = f"-{sum(counts.values())}-atoms" if len(study.atoms) > 1 else ""
                yield _Material(composition.formula.replace("/", "_") + size, composition, counts, value, None)


def _plan(study: Study) -> Iterator[_PlannedDeck]:
    """All decks, sources before those that start from them."""
    potentials = [load_potential(name) for name in study.potential]
    pair_styles = _pair_styles(study, potentials)
    folders: set[str] = set()
    for material in _materials(study):
        if material.folder in folders:
            raise StudyError(f"compositions: {material.folder} is there twice")
        folders.add(material.folder)
        for potential in potentials:
            present_elements(potential, material.counts)
            for seed in study.seeds:
                yield from _plan_replica(study, material, potential, pair_styles[potential.name], seed)


def _pair_styles(study: Study, potentials: list[Potential]) -> dict[str, str | None]:
    """The study's pair style for each potential that it can run, None for the others."""
    offered = {potential.name: get_backend(potential.backend).pair_styles for potential in potentials}
    if study.pair_style and not any(study.pair_style in styles for styles in offered.values()):
        raise StudyError(
            f"pair_style is {study.pair_style!r}, which runs none of the potentials {', '.join(offered)}; leave it out"
        )
    return {name: study.pair_style if study.pair_style in styles else None for name, styles in offered.items()}


def _plan_replica(
    study: Study, material: _Material, potential: Potential, pair_style: str | None, seed: int
) -> Iterator[_PlannedDeck]:
    """The decks of one structure: other presets start from the melt-quench before them, a crystal is not melted."""
    group = f"{material.folder}/{potential.name}/seed-{seed}"
    quenched: str | None = None
    for spec in study.protocols:
        if material.crystal and isinstance(spec, MeltQuench):
            continue
        start = spec.start or (quenched if not isinstance(spec, MeltQuench | Protocol) else None)
        for protocol in protocols_of(spec):
            yield _PlannedDeck(
                path=f"{group}/{protocol.name}",
                label=f"{material.folder}, {potential.name}, {protocol.name}, seed {seed}",
                composition=material.composition,
                potential=potential,
                pair_style=pair_style,
                protocol=protocol,
                seed=seed,
                source=f"{group}/{start}" if start else None,
                counts=tuple(material.counts.items()),
                density=material.density,
                crystal=material.crystal,
            )
        if isinstance(spec, MeltQuench):
            quenched = spec.name


def _pack_all(planned: list[_PlannedDeck], progress: Progress | None) -> dict[tuple[Any, ...], Structure]:
    """The starting structures, before anything is written; replicas differ, potentials share them."""
    structures: dict[tuple[Any, ...], Structure] = {}
    wanted = {deck.structure_key: deck for deck in planned if not deck.source}
    for done, (key, deck) in enumerate(wanted.items()):
        if progress:
            progress(done, len(wanted), f"packing {deck.label}")
        if deck.crystal:
            structures[key] = crystal(deck.crystal.crystal, deck.crystal.repeat, deck.elements)
        else:
            assert deck.density is not None
            seed = derived_seed(deck.seed, "packing", deck.composition.formula)
            structures[key] = pack(dict(deck.counts), deck.density, seed, deck.elements)
    return structures


def _refuse_foreign(study: Study, out: Path) -> None:
    if (out / INDEX_NAME).is_file() and (found := read_study_index(out).name) != study.name:
        raise StudyError(f"{out} holds the study {found!r}; write {study.name!r} into a folder of its own")


def _is_kept(deck: _PlannedDeck, folder: Path, study: Study, templates: Templates) -> bool:
    """Whether a deck has run and is what the study still asks for; False if it may be written anew."""
    if not folder.exists():
        return False
    manifest = read_manifest(folder)
    if not has_run(folder, manifest):
        return False
    if difference := _difference(deck, manifest, templates):
        raise StudyError(f"{folder} has run and would be changed ({difference}); move it away or use another folder")
    return True


def has_run(folder: Path, manifest: Manifest) -> bool:
    """Whether a deck has been started: it has a log, a restart file or a final structure."""
    patterns = (manifest.thermo_pattern, "restart/*", manifest.final_structure, "run.json")
    return any(any(folder.glob(pattern)) for pattern in patterns)


def _difference(deck: _PlannedDeck, manifest: Manifest, templates: Templates) -> str | None:
    """The first thing in which a planned deck differs from one that is there."""
    source = f"../{Path(deck.source).name}" if deck.source else None
    protocol = deck.protocol.model_dump(mode="json")
    found = manifest.first_protocol if protocol == manifest.first_protocol else manifest.protocol
    pairs = {
        "protocol": (protocol, found),
        "formula": (deck.composition.formula, manifest.formula),
        "atoms": (dict(deck.counts), manifest.structure.counts),
        "seed": (deck.seed, manifest.seed),
        "potential": (deck.potential.card, PotentialCard.model_validate(manifest.potential.card)),
        "pair_style": (deck.pair_style, manifest.potential.pair_style),
        "start": (source, manifest.structure.source_deck),
    }
    if deck.density is not None and abs(deck.density - manifest.structure.density_g_cm3) > 1e-3 * deck.density:
        return "density"
    if any(templates.digest(name) != digest for name, digest in manifest.templates.items()):
        return "templates"
    return next((name for name, (planned, there) in pairs.items() if planned != there), None)


def _write_index(out: Path, study: Study, planned: list[_PlannedDeck]) -> None:
    decks = tuple(
        StudyDeck(d.path, d.label, d.composition.formula, d.potential.name, d.seed, d.protocol.name, d.source)
        for d in planned
    )
    index = StudyIndex(study.name, napos_lmp.__version__, study.model_dump(mode="json"), decks)
    write_text(out / INDEX_NAME, json.dumps(dataclasses.asdict(index), indent=1) + "\n")


@contextmanager
def _undone_on_error() -> Iterator[Callable[[Path], None]]:
    """Yield a function that makes room for a new folder; after an error, all such folders are as they were."""
    moved: dict[Path, Path | None] = {}

    def make_room(folder: Path) -> None:
        moved[folder] = None
        if folder.exists():
            aside = folder.with_name(f".{folder.name}.before")
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
            moved[folder] = aside

    try:
        yield make_room
    except BaseException:
        for folder, aside in moved.items():
            shutil.rmtree(folder, ignore_errors=True)
            if aside:
                aside.rename(folder)
        raise
    for aside in moved.values():
        if aside:
            shutil.rmtree(aside)
