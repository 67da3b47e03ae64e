"""Data sets in and out: other codes' outputs and other programs' formats, by ASE and dpdata."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from napos_lmp.errors import ReferenceDataError
from napos_lmp.reference.cp2k_output import read_cp2k_output
from napos_lmp.reference.frames import frame_id, labelled, read_frames, write_frames
from napos_lmp.reference.vasp_output import read_outcar, read_vasprun

InputFormat = Literal["vasp-outcar", "vasp-xml", "cp2k", "qe", "deepmd-npy", "deepmd-raw", "extxyz"]
EnergyKind = Literal["energy", "free_energy"]

_ENERGY_KEYS = ("energy", "REF_energy", "dft_energy", "DFT_energy", "Energy", "free_energy")
_FORCE_KEYS = ("forces", "REF_forces", "dft_forces", "DFT_forces", "force")
_STRESS_KEYS = ("stress", "REF_stress", "dft_stress", "DFT_stress")
_VIRIAL_KEYS = ("virial", "virials", "REF_virials", "REF_virial", "dft_virial", "DFT_virial")


def import_files(
    paths: Iterable[Path], kind: InputFormat | None = None, describe: Mapping[str, Any] | None = None
) -> list[Any]:
    """Read labelled frames that another program wrote.

    Every frame gets an `id`, its `file`, a `trajectory` (the file, unless it names one) and, where its file says so,
    the `code` and `converged`. Unconverged calculations are kept, marked as such, for `check_frames` to name.

    Parameters
    ----------
    paths
        Files, or folders of the DeePMD formats.
    kind
        Their format; guessed from the name of each if not given.
    describe
        What to write into every frame that does not say it itself, such as ``{"composition": "Na4P2S7"}``.

    Raises
    ------
    ReferenceDataError
        If a format is not known, or a file cannot be read.
    """
    frames: list[Any] = []
    for path in paths:
        read = _READERS[kind or guess_format(path)](path)
        for number, frame in enumerate(read):
            frame.info = {**(describe or {}), "trajectory": str(path), **frame.info, "file": str(path)}
            frame.info.setdefault("composition", frame.get_chemical_formula())
            frame.info.setdefault("id", frame_id(frame, f"{path.stem.split('.')[0]}-{number}"))
        frames += read
    return frames


def guess_format(path: Path) -> InputFormat:
    """Format of a file or folder by its name and its first lines.

    Raises
    ------
    ReferenceDataError
        If it is none that is known.
    """
    if path.is_dir():
        if (path / "type.raw").is_file():
            return "deepmd-npy" if list(path.glob("set.*/coord.npy")) else "deepmd-raw"
    elif path.is_file():
        name = path.name.lower()
        if name.endswith((".xyz", ".extxyz", ".xyz.gz", ".extxyz.gz")):
            return "extxyz"
        if name.endswith(".xml"):
            return "vasp-xml"
        with path.open(errors="replace") as stream:
            head = stream.read(20_000)
        for mark, kind in (("vasp.", "vasp-outcar"), ("CP2K|", "cp2k"), ("Program PWSCF", "qe")):
            if mark in head:
                return kind  # type: ignore[return-value]
    else:
        raise ReferenceDataError(f"{path} does not exist")
    raise ReferenceDataError(f"format of {path} is not known; give one of {', '.join(get_args(InputFormat))}")


def export_deepmd(
    frames: Sequence[Any], folder: Path, elements: Sequence[str], energy: EnergyKind = "energy"
) -> list[Path]:
    """Write frames as DeePMD-kit systems (npy), one folder for each formula; frames without a stress apart.

    Raises
    ------
    ReferenceDataError
        If `folder` holds something already, a frame has an element that is not in `elements`, or has no labels.
    """
    import dpdata

    if folder.exists() and any(folder.iterdir()):
        raise ReferenceDataError(f"{folder} is not empty; export into a new folder")
    written: list[Path] = []
    for has_stress, name in ((True, ""), (False, "no-virial")):
        systems = dpdata.MultiSystems(type_map=list(elements))
        chosen = [frame for frame in frames if ("stress" in _results(frame)) == has_stress]
        for frame in chosen:
            systems.append(_to_dpdata(frame, elements, energy))
        if chosen:
            target = folder / name
            systems.to("deepmd/npy", str(target))
            written += sorted(path.parent for path in target.glob("*/type.raw"))
    return written


def export_mace(frames: Sequence[Any], path: Path, energy: EnergyKind = "energy") -> None:
    """Write frames as extended XYZ with the keys that `mace_run_train` reads: REF_energy, REF_forces and REF_stress.

    Raises
    ------
    ReferenceDataError
        If a frame has no labels.
    """
    exported = []
    for frame in frames:
        results = _results(frame)
        copy = frame.copy()
        copy.calc = None
        copy.info["REF_energy"] = _energy_of(frame, energy)
        copy.arrays["REF_forces"] = np.array(results["forces"])
        if "stress" in results:
            copy.info["REF_stress"] = frame.get_stress()
        exported.append(copy)
    write_frames(path, exported)


def _read_vasp(reader: Callable[[Path], list[tuple[Any, bool, int]]]) -> Callable[[Path], list[Any]]:
    def read(path: Path) -> list[Any]:
        frames = []
        for frame, converged, _ in reader(path):
            frame.info["converged"] = converged
            frames.append(_only_labels(frame))
        return frames

    return read


def _read_cp2k(path: Path) -> list[Any]:
    frame, converged, _ = read_cp2k_output(path)
    if not converged:
        raise ReferenceDataError(f"{path}: its SCF run did not converge, so it holds no label")
    frame.info["converged"] = True
    return [frame]


def _read_qe(path: Path) -> list[Any]:
    import ase.io

    text = path.read_text(errors="replace")
    try:
        frames = ase.io.read(path, index=":", format="espresso-out")
    except Exception as error:
        raise ReferenceDataError(
            f"{path} cannot be read as the output of pw.x: {error or type(error).__name__}"
        ) from None
    kept = [frame for frame in frames if frame.calc is not None and "forces" in frame.calc.results]
    for frame in kept:
        frame.info["converged"] = "convergence NOT achieved" not in text
        frame.set_constraint()
    return [_only_labels(frame) for frame in kept]


def _only_labels(frame: Any) -> Any:
    """The frame without further results, such as Born charges, that no training reads and not every file can hold."""
    results = _results(frame)
    more = {name: float(results[name]) for name in ("free_energy",) if name in results}
    return labelled(frame, float(results["energy"]), np.array(results["forces"]), results.get("stress"), **more)


def _read_deepmd(kind: str) -> Callable[[Path], list[Any]]:
    def read(path: Path) -> list[Any]:
        import dpdata

        if not (path / "type_map.raw").is_file():
            raise ReferenceDataError(f"{path} has no type_map.raw, so nothing says which element its types are")
        try:
            system = dpdata.LabeledSystem(str(path), fmt=kind)
        except (OSError, ValueError, KeyError, IndexError, RuntimeError) as error:
            raise ReferenceDataError(f"{path} cannot be read as {kind}: {error or type(error).__name__}") from None
        return _from_dpdata(system.data)

    return read


def _from_dpdata(data: Mapping[str, Any]) -> list[Any]:
    from ase import Atoms

    symbols = [data["atom_names"][kind] for kind in data["atom_types"]]
    frames = []
    for number, energy in enumerate(data["energies"]):
        frame = Atoms(symbols, positions=data["coords"][number], cell=data["cells"][number], pbc=True)
        virial = data["virials"][number] if "virials" in data else None
        stress = None if virial is None else -virial / frame.get_volume()
        frames.append(labelled(frame, float(energy), data["forces"][number], stress))
    return frames


def _to_dpdata(frame: Any, elements: Sequence[str], energy: EnergyKind) -> Any:
    import dpdata

    symbols = frame.get_chemical_symbols()
    if unknown := sorted(set(symbols) - set(elements)):
        raise ReferenceDataError(f"frame {frame.info.get('id')}: holds {', '.join(unknown)}, not among the elements")
    results = _results(frame)
    data = {
        "atom_names": list(elements),
        "atom_numbs": [symbols.count(element) for element in elements],
        "atom_types": np.array([elements.index(symbol) for symbol in symbols]),
        "cells": frame.cell.array[None],
        "coords": frame.positions[None],
        "orig": np.zeros(3),
        "energies": np.array([_energy_of(frame, energy)]),
        "forces": np.array(results["forces"])[None],
    }
    if "stress" in results:
        data["virials"] = -frame.get_stress(voigt=False)[None] * frame.get_volume()
    return dpdata.LabeledSystem(data=data)


def _read_extxyz(path: Path) -> list[Any]:
    """Extended XYZ with ASE's keys, MACE's or others' in use; virials become stresses."""
    frames = []
    for number, frame in enumerate(read_frames(path)):
        found = {**(frame.calc.results if frame.calc is not None else {}), **frame.info, **frame.arrays}
        energy, forces = _first(found, _ENERGY_KEYS), _first(found, _FORCE_KEYS)
        if energy is None or forces is None:
            raise ReferenceDataError(f"{path}, frame {number}: has no energy or no forces under a name that is known")
        stress, virial = _first(found, _STRESS_KEYS), _first(found, _VIRIAL_KEYS)
        if stress is None and virial is not None:
            stress = -np.reshape(virial, (3, 3)) / frame.get_volume()
        elif stress is not None and np.size(stress) == 9:
            stress = np.reshape(stress, (3, 3))
        more = {"free_energy": float(found["free_energy"])} if "free_energy" in found else {}
        copy = labelled(frame, float(energy), np.array(forces), stress, **more)
        for key in (*_ENERGY_KEYS, *_STRESS_KEYS, *_VIRIAL_KEYS):
            copy.info.pop(key, None)
        for key in _FORCE_KEYS:
            copy.arrays.pop(key, None)
        frames.append(copy)
    return frames


def _first(found: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((found[key] for key in keys if found.get(key) is not None), None)


def _results(frame: Any) -> Mapping[str, Any]:
    results: Mapping[str, Any] = frame.calc.results if frame.calc is not None else {}
    if missing := [name for name in ("energy", "forces") if name not in results]:
        raise ReferenceDataError(f"frame {frame.info.get('id')}: has no {' and no '.join(missing)}")
    return results


def _energy_of(frame: Any, kind: EnergyKind) -> float:
    results = _results(frame)
    if kind not in results:
        raise ReferenceDataError(f"frame {frame.info.get('id')}: has no {kind}")
    return float(results[kind])


_READERS: dict[InputFormat, Callable[[Path], list[Any]]] = {
    "vasp-outcar": _read_vasp(read_outcar),
    "vasp-xml": _read_vasp(read_vasprun),
    "cp2k": _read_cp2k,
    "qe": _read_qe,
    "deepmd-npy": _read_deepmd("deepmd/npy"),
    "deepmd-raw": _read_deepmd("deepmd/raw"),
    "extxyz": _read_extxyz,
}
