"""Checks before the first step, so that a run that cannot succeed is not started."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napos_lmp.engine.command import Lammps, available_cores, default_threads, find_lammps, find_mpirun
from napos_lmp.engine.launch import Launch, plan_deck_launch
from napos_lmp.engine.probes import POTENTIAL_INCLUDE, load_potential_in_lammps, missing_styles
from napos_lmp.errors import EngineError, PreflightError, StructureError
from napos_lmp.files import sha256_of
from napos_lmp.manifest import Manifest, changed_files, read_manifest

if TYPE_CHECKING:
    from napos_lmp.structure import Structure

Status = Literal["ok", "warn", "fail"]

# Bytes: a binary restart holds about 11 doubles an atom; a line of thermodynamic output is written to log and screen.
_RESTART_BYTES_PER_ATOM = 100
_THERMO_LINE_BYTES = 2 * 300
_CURRENT_COLUMN_BYTES = 14
_DEVIATION_LINE_BYTES = 127
_FRAME_BYTES_PER_ATOM = 12
_FRAME_HEAD_BYTES = 100
_SPARE_BYTES = 210_000_000  # decks halt at 200 MB

# Fractions of the sum of covalent radii (Cordero et al., Dalton Trans. 2008, 2832), for P-O 0.69 and 0.95 A.
_IMPOSSIBLE_CONTACT = 0.40
_CLOSE_CONTACT = 0.55

# Time step in fs for the lightest atom of mass m: a tenth of a vibration period is about 0.5 sqrt(m / u) fs
# (P-O stretch at 1200 cm-1: 28 fs). Up to twice that Verlet integration still holds on.
_TIMESTEP_PER_ROOT_MASS = 0.5

_LAMMPS_SKIN_A = 1.0


@dataclass(frozen=True)
class Check:
    """One check: its name, how it went and a sentence that says so with numbers."""

    name: str
    status: Status
    sentence: str


def check_deck(
    deck: str | Path,
    *,
    lammps: str | Path | Lammps | None = None,
    ranks: int = 1,
    threads: int | None = None,
    force: bool = False,
) -> list[Check]:
    """All checks of a deck in a fixed order, failed ones included.

    Parameters
    ----------
    deck : path
        The deck's folder.
    lammps : path or Lammps, optional
        See :func:`napos_lmp.engine.find_lammps`.
    ranks, threads : int
        As for :func:`napos_lmp.engine.run_deck`.
    force : bool
        Files that were changed by hand and a charged cell are warned of, not refused.

    Raises
    ------
    DeckError
        If the folder is no deck.
    """
    folder = Path(deck)
    manifest = read_manifest(folder)
    return list(_checks(folder, manifest, lammps, ranks, threads, force))


def preflight(
    deck: str | Path,
    *,
    lammps: str | Path | Lammps | None = None,
    ranks: int = 1,
    threads: int | None = None,
    force: bool = False,
) -> list[Check]:
    """The same checks as :func:`check_deck`; none of them failed.

    Raises
    ------
    DeckError
        If the folder is no deck.
    PreflightError
        If a check failed; the message holds the sentence of each.
    """
    checks = check_deck(deck, lammps=lammps, ranks=ranks, threads=threads, force=force)
    failed = [check.sentence for check in checks if check.status == "fail"]
    if failed:
        raise PreflightError(f"{deck}: " + "; ".join(failed))
    return checks


def _checks(
    deck: Path, manifest: Manifest, lammps: str | Path | Lammps | None, ranks: int, threads: int | None, force: bool
) -> Iterator[Check]:
    yield _check_files(deck, manifest, force)
    yield _check_potential_file(deck, manifest)
    yield _check_element_names(deck, manifest)
    try:
        program = lammps if isinstance(lammps, Lammps) else find_lammps(lammps)
    except EngineError as error:
        yield Check("LAMMPS", "fail", str(error))
    else:
        yield Check("LAMMPS", "ok", f"{program.program}, version {program.version}")
        yield from _check_lammps(program, deck, manifest, ranks, threads)
    yield _check_timestep(manifest)
    yield _check_disk(deck, manifest)
    yield from _check_structure(deck, manifest, ranks, force)


def _check_lammps(program: Lammps, deck: Path, manifest: Manifest, ranks: int, threads: int | None) -> Iterator[Check]:
    try:
        launch = plan_deck_launch(program, manifest, ranks, threads)
    except PreflightError as error:
        yield Check("packages", "fail", str(error))
    else:
        yield _check_packages(launch, manifest)
        yield _check_styles(program, manifest)
        yield _check_potential_loads(launch, deck, manifest)
    yield _check_ranks(program, ranks, threads)


def _check_packages(launch: Launch, manifest: Manifest) -> Check:
    if launch.warnings:
        return Check("packages", "warn", "; ".join(launch.warnings))
    if launch.lammps.bridge:
        return Check("packages", "ok", f"without {', '.join(manifest.lammps_packages)}: through the CPU bridge")
    needed = ", ".join(manifest.lammps_packages)
    return Check("packages", "ok", f"{needed} are there" if needed else "none are needed for the potential")


def _check_files(deck: Path, manifest: Manifest, force: bool) -> Check:
    changed = changed_files(deck, manifest)
    missing = [name for name in changed if not (deck / name).is_file()]
    if missing:
        return Check("deck files", "fail", f"the deck lacks {', '.join(missing)}; make it again")
    if changed:
        names = ", ".join(changed)
        if force:
            return Check("deck files", "warn", f"changed since the deck was made: {names}; run all the same")
        return Check("deck files", "fail", f"changed since the deck was made: {names}; --force runs it all the same")
    return Check("deck files", "ok", f"all {len(manifest.files)} files are as they were made")


def _check_potential_file(deck: Path, manifest: Manifest) -> Check:
    potential = manifest.potential
    path = deck / potential.file
    if not path.is_file():
        return Check("potential", "fail", f"the potential's file {potential.file} is missing; make the deck again")
    if (digest := sha256_of(path)) != potential.sha256:
        return Check(
            "potential",
            "fail",
            f"{potential.file} is not the potential {potential.name} this deck was made with "
            f"(SHA-256 {digest[:12]}, not {potential.sha256[:12]}); make the deck again",
        )
    for other in potential.committee:
        if not (deck / other.file).is_file() or sha256_of(deck / other.file) != other.sha256:
            return Check(
                "potential",
                "fail",
                f"{other.file} is missing or not the model of the committee of {potential.name} this deck was made "
                f"with (SHA-256 {other.sha256[:12]}); make the deck again",
            )
    unknown = [element for element in manifest.elements if element not in potential.elements]
    if unknown:
        return Check(
            "potential",
            "fail",
            f"the potential {potential.name} does not know {', '.join(unknown)}; "
            f"it knows {' '.join(potential.elements)}",
        )
    return Check("potential", "ok", f"{potential.name}, SHA-256 {digest[:12]}, knows {' '.join(manifest.elements)}")


def _check_element_names(deck: Path, manifest: Manifest) -> Check:
    """`pair_coeff` must name each type: deepmd takes a short list without a word and computes something else."""
    path = deck / POTENTIAL_INCLUDE
    lines = re.findall(r"^\s*pair_coeff\s+\*\s+\*\s+(.*)$", path.read_text(), re.MULTILINE) if path.is_file() else []
    for line in lines:
        words = line.split("#")[0].split()
        if words[-len(manifest.elements) :] != list(manifest.elements):
            expected = " ".join(manifest.elements)
            return Check(
                "element names", "fail", f"pair_coeff in {POTENTIAL_INCLUDE} names {line.strip()!r}, not {expected}"
            )
    if not lines:
        return Check("element names", "fail", f"{POTENTIAL_INCLUDE} has no line `pair_coeff * * ELEMENTS`")
    return Check("element names", "ok", f"types 1 to {len(manifest.elements)} are {' '.join(manifest.elements)}")


def _check_styles(lammps: Lammps, manifest: Manifest) -> Check:
    missing = missing_styles(lammps, manifest.lammps_styles)
    if "pair deepmd" in missing:
        return Check("styles", "fail", explain_missing_deepmd(lammps))
    if missing:
        return Check("styles", "fail", f"{lammps.program} lacks {', '.join(missing)}; use a LAMMPS built with them")
    return Check("styles", "ok", f"all {len(manifest.lammps_styles)} styles of the deck are there")


def explain_missing_deepmd(lammps: Lammps) -> str:
    """The sentence for the commonest complaint about DeePMD: its plugin is not loaded."""
    from napos_lmp.engine.messages import explain

    return f"{lammps.program}: " + explain("Unrecognized pair style 'deepmd'")


def _check_potential_loads(launch: Launch, deck: Path, manifest: Manifest) -> Check:
    if not (deck / POTENTIAL_INCLUDE).is_file() or not (deck / manifest.potential.file).is_file():
        return Check("potential in LAMMPS", "fail", "the deck has no potential that LAMMPS could load")
    reason = load_potential_in_lammps(launch, deck, manifest)
    if reason:
        return Check("potential in LAMMPS", "fail", reason)
    return Check("potential in LAMMPS", "ok", "LAMMPS loads the potential and knows its elements")


def _check_ranks(lammps: Lammps, ranks: int, threads: int | None) -> Check:
    if ranks < 1 or (threads is not None and threads < 1):
        return Check("cores", "fail", f"ranks and threads must be 1 or more, not {ranks} and {threads}")
    if ranks > 1:
        try:
            find_mpirun(lammps)
        except EngineError as error:
            return Check("cores", "fail", str(error))
    cores = available_cores()
    each = threads or default_threads(ranks)
    sentence = f"{ranks} ranks x {each} threads on {cores} cores"
    if ranks * each > cores:
        return Check("cores", "warn", f"{sentence}: they will slow each other down")
    return Check("cores", "ok", sentence)


def _check_timestep(manifest: Manifest) -> Check:
    from ase.data import atomic_masses, atomic_numbers

    masses = {element: float(atomic_masses[atomic_numbers[element]]) for element in manifest.elements}
    lightest = min(masses, key=lambda element: masses[element])
    good = round(_TIMESTEP_PER_ROOT_MASS * masses[lightest] ** 0.5, 1)
    sentence = f"{manifest.timestep_fs:g} fs with {lightest} as the lightest element (good up to {good} fs)"
    if manifest.timestep_fs > 2 * good:
        return Check("time step", "fail", f"the time step is too long: {sentence}")
    return Check("time step", "warn" if manifest.timestep_fs > good else "ok", sentence)


def expected_bytes(manifest: Manifest) -> int:
    """Bytes that a deck writes from its first to its last step: frames, restart files and logs."""
    atoms = manifest.structure.n_atoms
    frame = atoms * _FRAME_BYTES_PER_ATOM + _FRAME_HEAD_BYTES
    frames = sum(
        (stage.last_step - stage.first_step) // stage.dump.stride + 1 for stage in manifest.stages if stage.dump
    )
    lines = manifest.last_step // manifest.thermo_stride + 1
    columns = sum(
        ((stage.last_step - stage.first_step) // stage.currents.stride + 1) * len(stage.currents.columns)
        for stage in manifest.stages
        if stage.currents
    )
    rows = manifest.last_step // manifest.deviation.stride + 1 if manifest.deviation else 0
    return (
        frames * frame
        + 4 * atoms * _RESTART_BYTES_PER_ATOM
        + lines * _THERMO_LINE_BYTES
        + columns * _CURRENT_COLUMN_BYTES
        + rows * _DEVIATION_LINE_BYTES
    )


def _check_disk(deck: Path, manifest: Manifest) -> Check:
    written = sum(path.stat().st_size for folder in ("trajectory", "log") for path in deck.glob(f"{folder}/*"))
    needed = max(0, expected_bytes(manifest) - written)
    free = shutil.disk_usage(deck).free
    sentence = f"{needed / 1e6:.1f} MB still to be written, {free / 1e6:.0f} MB free"
    if free < needed + _SPARE_BYTES:
        return Check("disk space", "fail", f"the disk is too full: {sentence}")
    return Check("disk space", "warn" if free < 2 * needed + _SPARE_BYTES else "ok", sentence)


def _check_structure(deck: Path, manifest: Manifest, ranks: int, force: bool) -> Iterator[Check]:
    from napos_lmp.structure import read_data

    path = deck / manifest.structure.file
    if not path.is_file():
        source = manifest.structure.source_deck
        if source is None:
            yield Check("structure", "fail", f"the start structure {manifest.structure.file} is missing")
        else:
            yield Check("structure", "ok", f"comes from {source} when that has finished")
        return
    try:
        structure = read_data(path, manifest.elements)
    except (StructureError, OSError, ValueError) as error:
        yield Check("structure", "fail", f"the start structure {manifest.structure.file} cannot be read: {error}")
        return
    tests: tuple[Callable[[], Check], ...] = (
        lambda: _check_counts(structure, manifest),
        lambda: _check_charge(structure, manifest, force),
        lambda: _check_box(structure, manifest, ranks),
        lambda: _check_distances(structure),
    )
    for test in tests:
        yield test()


def _check_counts(structure: Structure, manifest: Manifest) -> Check:
    found = {element: count for element, count in structure.counts.items() if count}
    expected = {element: count for element, count in manifest.structure.counts.items() if count}
    if found != expected:
        return Check(
            "atoms", "fail", f"{manifest.structure.file} holds {_list(found)}, the deck is for {_list(expected)}"
        )
    return Check("atoms", "ok", f"{_list(found)}, {structure.density:.3f} g/cm3")


def _check_charge(structure: Structure, manifest: Manifest, force: bool) -> Check:
    charges = manifest.structure.charges
    total = sum(charges[element] * count for element, count in structure.counts.items() if count)
    if abs(total) > 1e-6:
        sentence = f"the cell's formal charges add up to {total:+g}, not 0"
        return Check("charge", "warn" if force else "fail", sentence)
    return Check("charge", "ok", "the formal charges add up to 0")


def _check_box(structure: Structure, manifest: Manifest, ranks: int) -> Check:
    """Compare the widths of the cell with the cutoff.

    LAMMPS lays as many images as the cutoff asks for: energy per atom, pressure and forces of a cell of 2.5 A at a
    cutoff of 6 A equal those of its replicas, on one and on more ranks (tests/test_engine_preflight.py). So a small
    cell is no error, it is a small model: warned of below twice the cutoff. What fails is a cell thinner than the
    neighbour skin on a rank, through which an atom can pass unseen.
    """
    import numpy as np

    heights = structure.volume / np.linalg.norm(
        np.cross(np.roll(structure.cell, -1, 0), np.roll(structure.cell, -2, 0)), axis=1
    )
    thinnest, cutoff = float(heights.min()), manifest.potential.cutoff_A
    if thinnest / max(1.0, ranks ** (1 / 3)) < _LAMMPS_SKIN_A:
        return Check("box", "fail", f"the cell is only {thinnest:.2f} A wide, too thin for {ranks} ranks")
    sentence = f"the cell is {thinnest:.2f} A wide at its thinnest, the cutoff {cutoff:g} A"
    if thinnest < 2 * cutoff:
        return Check("box", "warn", f"{sentence}: atoms see their own images, so expect effects of the cell's size")
    return Check("box", "ok", sentence)


def _check_distances(structure: Structure) -> Check:
    import numpy as np
    from ase.data import atomic_numbers, covalent_radii
    from ase.neighborlist import primitive_neighbor_list

    radii = np.array([covalent_radii[atomic_numbers[element]] for element in structure.elements])
    reach = radii[structure.types] * _CLOSE_CONTACT
    first, second, distance = primitive_neighbor_list(
        "ijd", (True, True, True), structure.cell, structure.positions, reach, self_interaction=False
    )
    if len(distance) == 0:
        return Check("distances", "ok", "no two atoms are closer than they can be")
    sums = radii[structure.types[first]] + radii[structure.types[second]]
    worst = int(np.argmin(distance / sums))
    pair = "-".join(sorted((structure.symbols[first[worst]], structure.symbols[second[worst]])))
    sentence = f"the closest contact is {pair} at {distance[worst]:.2f} A"
    if distance[worst] < _IMPOSSIBLE_CONTACT * sums[worst]:
        return Check("distances", "fail", f"atoms lie on top of each other: {sentence}")
    return Check("distances", "warn", f"{sentence}, closer than atoms come at melt temperatures")


def _list(counts: dict[str, int]) -> str:
    return " ".join(f"{element}{count}" for element, count in counts.items())
