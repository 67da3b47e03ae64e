"""Labelled frames: read, checked, divided by trajectory and written the way DeePMD-kit and MACE read them."""

from __future__ import annotations

import fnmatch
import gzip
import io
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napos_lmp.errors import TrainingError
from napos_lmp.files import whole_file
from napos_lmp.training.config import Split

Array = NDArray[np.float64]

# unified atomic mass constant in g, over 1 A^3 in cm^3
_DENSITY_UNIT = 1.66053906892
_MOST_PAIRS = 3


@dataclass(frozen=True)
class Frame:
    """One labelled periodic cell.

    `cell` (3, 3) A with rows as vectors, `positions` (N, 3) A, `energy` eV, `forces` (N, 3) eV/A, `virial` (3, 3) eV or
    None where the labels have no stress. `density` in g/cm3. `energy` is the one that the forces are derivatives of:
    the free energy of the electrons where the labels have it (`smeared`). A frame of the `group` ``test`` is never
    trained on. `name` says where it was read.
    """

    symbols: tuple[str, ...]
    cell: Array
    positions: Array
    energy: float
    forces: Array
    virial: Array | None
    density: float
    trajectory: str
    composition: str
    phase: str
    temperature: float | None
    smeared: bool = False
    group: str = ""
    name: str = ""


@dataclass(frozen=True)
class FrameSet:
    """Frames of one or more files.

    `dropped` counts those left out for a force above the cap. `isolated` gives the energy in eV of each element of
    which there is a frame with one atom alone (`config_type=IsolatedAtom`); such frames are not in `frames`.
    """

    frames: tuple[Frame, ...]
    dropped: int
    isolated: dict[str, float]


def virial_of_stress(stress: Array, volume: float) -> Array:
    """Virial (3, 3) in eV of a stress (3, 3) in eV/A^3 with ASE's sign (tension is positive): -stress x volume."""
    return -stress * volume


def stress_of_virial(virial: Array, volume: float) -> Array:
    """Stress (3, 3) in eV/A^3, ASE's sign, of a virial (3, 3) in eV."""
    return -virial / volume


def read_frames(paths: Iterable[Path], elements: Sequence[str], by: str, force_cap: float) -> FrameSet:
    """Read extended XYZ files, plain or gzipped.

    Parameters
    ----------
    paths
        The files.
    elements
        Elements that may occur.
    by
        Property of a frame that names its trajectory.
    force_cap
        Frames in which the force on an atom is above it are left out, eV/A.

    Raises
    ------
    TrainingError
        If a file cannot be read, or a frame has an unknown element, no periodic cell, no trajectory or no whole labels,
        two isolated atoms of an element differ in energy, or some frames have a free energy and others do not.
    """
    frames: list[Frame] = []
    isolated: dict[str, float] = {}
    smeared: dict[bool, str] = {}
    dropped = 0
    for path in paths:
        for number, atoms in enumerate(_read_atoms(path)):
            where = f"{path.name}, frame {number}"
            if len(atoms) == 1 and atoms.info.get("config_type") == "IsolatedAtom":
                _note_isolated(atoms, where, elements, isolated)
                continue
            frame = _checked(atoms, where, elements, by)
            if smeared.setdefault(frame.smeared, where) == where and len(smeared) == 2:
                raise TrainingError(
                    f"{smeared[True]} has a free_energy, of which the forces are derivatives, and {smeared[False]} has "
                    "none; the frames of one training must all have it, or none of them"
                )
            if float(np.linalg.norm(frame.forces, axis=1).max()) > force_cap:
                dropped += 1
            else:
                frames.append(frame)
    if not frames:
        raise TrainingError(f"no frame is left after {dropped} with a force above {force_cap:g} eV/A were left out")
    return FrameSet(tuple(frames), dropped, isolated)


def split_frames(frames: Sequence[Frame], split: Split) -> dict[str, list[Frame]]:
    """Divide frames into `train`, `validation` and `test`, whole trajectories at a time.

    Frames of the group ``test`` go to the test set, whatever the split says.

    Raises
    ------
    TrainingError
        If a trajectory, composition or phase named in `split` is not in the data, a frame of the test set is also in
        another, or nothing is left to train or validate on.
    """
    for field, named, known in (
        ("test_compositions", split.test_compositions, {frame.composition for frame in frames}),
        ("test_phases", split.test_phases, {frame.phase for frame in frames}),
    ):
        for name in named:
            if name not in known:
                raise TrainingError(f"split.{field}: {name!r} is not in the data; it has {', '.join(sorted(known))}")
    held_out = [frame for frame in frames if is_held_out(frame, split)]
    rest = [frame for frame in frames if not is_held_out(frame, split)]
    sizes = Counter(frame.trajectory for frame in rest)
    order = sorted(sizes)
    random.Random(split.seed).shuffle(order)  # noqa: S311 - reproducible, not secret
    if isinstance(split.test, tuple):
        test = _named("test", split.test, order, taken=set())
        free = Counter({name: size for name, size in sizes.items() if name not in test})
    else:
        test, free = _drawn(split.test, order, sizes, taken=set()), sizes
    if isinstance(split.validation, tuple):
        validation = _named("validation", split.validation, order, taken=test)
    else:
        validation = _drawn(split.validation, order, free, taken=test)
    parts = {
        "train": [frame for frame in rest if frame.trajectory not in test | validation],
        "validation": [frame for frame in rest if frame.trajectory in validation],
        "test": held_out + [frame for frame in rest if frame.trajectory in test],
    }
    refuse_overlap(parts["test"], [*parts["train"], *parts["validation"]])
    parts["train"] = _at_most(split.train_frames, parts["train"], split.seed)
    for part in ("train", "validation"):
        if not parts[part]:
            raise TrainingError(
                f"split leaves no frame for {part}: the data hold {len(rest)} frames of {len(sizes)} trajectories"
            )
    return parts


def is_held_out(frame: Frame, split: Split) -> bool:
    """Whether a frame goes to the test set for what it is, whatever its trajectory."""
    return (
        frame.group == "test"
        or frame.composition in split.test_compositions
        or frame.phase in split.test_phases
        or _is_outside(frame.temperature, split.test_below_K, split.test_above_K)
        or _is_outside(frame.density, split.test_below_g_cm3, split.test_above_g_cm3)
    )


def is_named(trajectory: str, patterns: Iterable[str]) -> bool:
    """Whether a trajectory is among those named; ``melt-*`` names all whose names begin so."""
    return any(trajectory == pattern or fnmatch.fnmatchcase(trajectory, pattern) for pattern in patterns)


def refuse_overlap(tested: Sequence[Frame], others: Sequence[Frame]) -> None:
    """Refuse test frames whose atoms stand where those of a frame to train or validate on do.

    Raises
    ------
    TrainingError
        If there is such a pair.
    """
    known = {_places(frame): frame for frame in others}
    pairs = [(frame, known[places]) for frame in tested if (places := _places(frame)) in known]
    if pairs:
        listed = ", ".join(f"{one.name} and {other.name}" for one, other in pairs[:_MOST_PAIRS])
        more = f" and {len(pairs) - _MOST_PAIRS} more" if len(pairs) > _MOST_PAIRS else ""
        raise TrainingError(
            f"test and training data overlap: {listed}{more} are the same frames; leave them out of one of the two"
        )


def write_systems(frames: Sequence[Frame], folder: Path, elements: Sequence[str]) -> list[Path]:
    """Write frames as DeePMD-kit systems (`type.raw`, `set.000/*.npy`), one folder per number of atoms of each element.

    Atoms are sorted by element; frames without a stress go into systems of their own.
    """
    groups: dict[tuple[tuple[int, ...], bool], list[Frame]] = defaultdict(list)
    for frame in frames:
        counts = tuple(frame.symbols.count(element) for element in elements)
        groups[counts, frame.virial is not None].append(frame)
    folders = []
    for (counts, has_virial), members in sorted(groups.items()):
        name = "".join(f"{element}{count}" for element, count in zip(elements, counts, strict=True) if count)
        system = folder / (name if has_virial else f"{name}-no-virial")
        _write_system(members, system, elements, has_virial)
        folders.append(system)
    return folders


def write_extxyz(frames: Sequence[Frame], path: Path) -> None:
    """Write frames as extended XYZ with the labels `REF_energy`, `REF_forces` and `REF_stress`, as MACE reads them.

    A frame without a stress carries the weight 0 for it (`config_stress_weight`), so that MACE learns no zeros.
    """
    from ase import Atoms
    from ase.io.extxyz import write_xyz

    images = []
    for frame in frames:
        atoms = Atoms(frame.symbols, positions=frame.positions, cell=frame.cell, pbc=True)
        atoms.info["REF_energy"] = frame.energy
        atoms.arrays["REF_forces"] = frame.forces
        if frame.virial is None:
            atoms.info["config_stress_weight"] = 0.0
        else:
            atoms.info["REF_stress"] = stress_of_virial(frame.virial, atoms.get_volume())
        images.append(atoms)
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        write_xyz(stream, images)


def density_of(atoms: Any) -> float:
    """Density of `ase.Atoms` in g/cm3."""
    return float(atoms.get_masses().sum()) * _DENSITY_UNIT / float(atoms.cell.volume)


def unlabelled(atoms: Any) -> Frame:
    """`ase.Atoms` as a frame to predict, with no labels in it."""
    temperature = atoms.info.get("temperature_K")
    positions = np.array(atoms.positions, dtype=np.float64)
    return Frame(
        symbols=tuple(atoms.get_chemical_symbols()),
        cell=np.array(atoms.cell.array, dtype=np.float64),
        positions=positions,
        energy=np.nan,
        forces=np.full_like(positions, np.nan),
        virial=None,
        density=density_of(atoms),
        trajectory=str(atoms.info.get("trajectory", "")),
        composition=str(atoms.info.get("composition", "")),
        phase=str(atoms.info.get("phase", "")),
        temperature=None if temperature is None else float(temperature),
    )


def type_order(symbols: Sequence[str], elements: Sequence[str]) -> NDArray[np.intp]:
    """Indices that sort atoms by element, stable."""
    return np.argsort([elements.index(symbol) for symbol in symbols], kind="stable")


def _is_outside(value: float | None, low: float | None, high: float | None) -> bool:
    return value is not None and ((low is not None and value < low) or (high is not None and value > high))


def _at_most(most: int | None, frames: list[Frame], seed: int) -> list[Frame]:
    """So many frames in their order; fewer of them are a part of more."""
    if most is None or most >= len(frames):
        return frames
    order = list(range(len(frames)))
    random.Random(seed).shuffle(order)  # noqa: S311 - reproducible, not secret
    return [frames[index] for index in sorted(order[:most])]


def _places(frame: Frame) -> bytes:
    """The same for frames whose atoms stand in the same places to a thousandth of an A, in whatever order."""
    order = np.lexsort((*np.round(frame.positions.T, 3), np.array(frame.symbols)))
    numbers = np.round(np.concatenate([frame.cell, frame.positions[order]]), 3) + 0.0
    return " ".join(frame.symbols[k] for k in order).encode() + numbers.tobytes()


def _write_system(frames: Sequence[Frame], system: Path, elements: Sequence[str], has_virial: bool) -> None:
    (system / "set.000").mkdir(parents=True)
    orders = [type_order(frame.symbols, elements) for frame in frames]
    types = [elements.index(frames[0].symbols[index]) for index in orders[0]]
    (system / "type.raw").write_text("".join(f"{value}\n" for value in types), encoding="utf-8")
    (system / "type_map.raw").write_text("".join(f"{element}\n" for element in elements), encoding="utf-8")
    arrays = {
        "coord": [frame.positions[order].ravel() for frame, order in zip(frames, orders, strict=True)],
        "box": [frame.cell.ravel() for frame in frames],
        "energy": [frame.energy for frame in frames],
        "force": [frame.forces[order].ravel() for frame, order in zip(frames, orders, strict=True)],
    }
    if has_virial:
        arrays["virial"] = [frame.virial.ravel() for frame in frames if frame.virial is not None]
    for name, values in arrays.items():
        np.save(system / "set.000" / f"{name}.npy", np.array(values, dtype=np.float64))


def _named(part: str, patterns: Iterable[str], known: Iterable[str], taken: set[str]) -> set[str]:
    """Trajectories that are named for a part."""
    named: set[str] = set()
    for pattern in patterns:
        found = {name for name in known if is_named(name, (pattern,))}
        if not found:
            raise TrainingError(f"split.{part}: trajectory {pattern!r} is not in the data")
        if twice := sorted(found & taken):
            raise TrainingError(f"split.{part}: trajectory {twice[0]!r} is in split.test as well")
        named |= found
    return named


def _drawn(wanted: float, order: Sequence[str], sizes: Mapping[str, int], taken: set[str]) -> set[str]:
    """Trajectories drawn in `order` until they hold the fraction wanted of all frames in `sizes`."""
    target = wanted * sum(sizes.values())
    chosen: set[str] = set()
    free = [name for name in order if name not in taken]
    for name in free:
        if sum(sizes[other] for other in chosen) + sizes[name] <= target:
            chosen.add(name)
    if not chosen and wanted > 0 and free:
        chosen.add(min(free, key=lambda name: sizes[name]))
    return chosen


def _read_atoms(path: Path) -> list[Any]:
    from ase.io.extxyz import XYZError, read_xyz

    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        # ASE seeks back and forth, which is slow in a compressed stream
        frames = list(read_xyz(io.StringIO(content.decode("utf-8")), slice(None)))
    except (OSError, EOFError, UnicodeDecodeError, ValueError, KeyError, IndexError, XYZError) as error:
        raise TrainingError(f"{path} cannot be read as extended XYZ: {error or type(error).__name__}") from None
    if not frames:
        raise TrainingError(f"{path} holds no frame")
    return frames


def _note_isolated(atoms: Any, where: str, elements: Sequence[str], isolated: dict[str, float]) -> None:
    element = str(atoms.get_chemical_symbols()[0])
    _check_elements([element], where, elements)
    energy = atoms.calc.results.get("energy") if atoms.calc is not None else None
    if energy is None or not np.isfinite(energy):
        raise TrainingError(f"{where}: the isolated {element} has no finite energy")
    if abs(isolated.setdefault(element, float(energy)) - energy) > 1e-6:
        raise TrainingError(f"{where}: the isolated {element} has {energy:g} eV, another one {isolated[element]:g} eV")


def _check_elements(symbols: Iterable[str], where: str, elements: Sequence[str]) -> None:
    if unknown := sorted(set(symbols) - set(elements)):
        raise TrainingError(
            f"{where}: holds {', '.join(unknown)}, which elements ({', '.join(elements)}) does not name"
        )


def _checked(atoms: Any, where: str, elements: Sequence[str], by: str) -> Frame:
    symbols = tuple(atoms.get_chemical_symbols())
    _check_elements(symbols, where, elements)
    if not all(atoms.pbc) or atoms.cell.volume < 1e-3:
        raise TrainingError(f"{where}: has no cell that is periodic in all three directions")
    labels = atoms.calc.results if atoms.calc is not None else {}
    if missing := [name for name in ("energy", "forces") if name not in labels]:
        raise TrainingError(f"{where}: has no {' and no '.join(missing)}")
    if by not in atoms.info:
        raise TrainingError(f"{where}: has no property {by!r} that names its trajectory")
    for name in ("energy", "free_energy", "forces", "stress"):
        if name in labels and not np.all(np.isfinite(labels[name])):
            raise TrainingError(f"{where}: its {name} is not a finite number")
    volume = float(atoms.cell.volume)
    virial = virial_of_stress(atoms.get_stress(voigt=False), volume) if "stress" in labels else None
    return Frame(
        symbols=symbols,
        cell=np.array(atoms.cell[:], dtype=np.float64),
        positions=np.array(atoms.positions, dtype=np.float64),
        energy=float(labels.get("free_energy", labels["energy"])),
        forces=np.array(labels["forces"], dtype=np.float64),
        virial=virial,
        density=density_of(atoms),
        trajectory=str(atoms.info[by]),
        composition=str(atoms.info.get("composition", atoms.get_chemical_formula())),
        phase=str(atoms.info.get("phase", "unknown")),
        temperature=float(atoms.info["temperature_K"]) if "temperature_K" in atoms.info else None,
        smeared="free_energy" in labels,
        group=str(atoms.info.get("group", "")),
        name=where,
    )
