"""From other people's files to a checked set with its card, and from sets to what trainers read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from napos_lmp.errors import ReferenceDataError
from napos_lmp.files import sha256_of
from napos_lmp.reference.card import (
    DataCard,
    card_path,
    describe,
    dispersion_note,
    read_data_card,
    write_data_card,
)
from napos_lmp.reference.checks import Finding, check_frames
from napos_lmp.reference.dispersion import add_dispersion, with_dispersion
from napos_lmp.reference.exchange import EnergyKind, InputFormat, export_deepmd, export_mace, import_files
from napos_lmp.reference.frames import read_frames, write_frames


@dataclass(frozen=True)
class Imported:
    """What an import gave: frames kept and left out, and all findings."""

    kept: int
    left_out: int
    findings: tuple[Finding, ...]


def import_set(
    paths: Sequence[Path],
    out: Path,
    level: str,
    kind: str | None = None,
    described: Mapping[str, Any] | None = None,
    licence: str = "unknown",
    keep: bool = False,
) -> Imported:
    """Read files of one level of theory, check them, and write a set and its card.

    Parameters
    ----------
    paths, kind, described
        See :func:`napos_lmp.reference.exchange.import_files`.
    out
        The set to write, extended XYZ.
    level
        Level of theory in words; every frame carries a fingerprint of it.
    licence
        Licence of the data, for the card.
    keep
        Keep frames with serious findings, which are left out otherwise.

    Raises
    ------
    ReferenceDataError
        If a file cannot be read, a format is not known, `out` exists, or no frame is left.
    """
    if out.exists():
        raise ReferenceDataError(f"{out} exists already and is not overwritten")
    if kind is not None and kind not in get_args(InputFormat):
        raise ReferenceDataError(f"format is {kind!r}; allowed are {', '.join(get_args(InputFormat))}")
    frames = import_files(paths, kind, described)  # type: ignore[arg-type]
    fingerprint = hashlib.sha256(level.encode()).hexdigest()[:12]
    for frame in frames:
        frame.info.setdefault("level", fingerprint)
    counts: dict[str, int] = {}
    places = []
    for frame in frames:
        file = str(frame.info["file"])
        places.append((file, counts.get(file, 0)))
        counts[file] = counts.get(file, 0) + 1
    findings = check_frames(frames, places)
    spoiled = {(finding.file, finding.frame) for finding in findings if finding.serious}
    kept = [
        frame for frame, (file, number) in zip(frames, places, strict=True)
        if keep or not ({(file, number), (file, None)} & spoiled)
    ]  # fmt: skip
    if not kept:
        raise ReferenceDataError(f"no frame is left: {findings[0].sentence}")
    for frame in kept:
        frame.info.pop("converged", None)
    write_frames(out, kept)
    free = all("free_energy" in frame.calc.results for frame in kept)
    card = DataCard(
        name=out.name.split(".")[0],
        description=f"imported from {len(paths)} files",
        file=out.name,
        sha256=sha256_of(out),
        licence=licence,
        level_of_theory=level,
        level=fingerprint,
        settings={},
        code=tuple(sorted({str(frame.info["code"]) for frame in kept if "code" in frame.info})),
        energy="energy: extrapolated to zero smearing; free_energy beside it" if free else "as imported",
        dispersion="as imported",
        **describe(kept),
    )
    write_data_card(out, card)
    return Imported(len(kept), len(frames) - len(kept), tuple(findings))


def add_dispersion_to(path: Path, functional: str) -> int:
    """Add D3(BJ) terms to the frames of a set that lack them, and note it on its card; the number of frames.

    Raises
    ------
    ReferenceDataError
        See :func:`napos_lmp.reference.dispersion.add_dispersion`, and if the set is not the one on its card.
    """
    card = read_data_card(path) if card_path(path).is_file() else None
    frames = read_frames(path)
    number = add_dispersion(frames, functional)
    if number:
        write_frames(path, frames)
        if card is not None:
            note = dispersion_note(functional)
            write_data_card(path, card.model_copy(update={"sha256": sha256_of(path), "dispersion": note}))
    return number


def export_set(
    paths: Iterable[Path],
    out: Path,
    kind: str,
    elements: str,
    energy: EnergyKind = "energy",
    group: str | None = None,
    dispersion: bool = False,
) -> list[Path]:
    """Write sets as `kind` "deepmd" or "mace"; the paths written. With `dispersion`, labels hold the D3(BJ) terms.

    Raises
    ------
    ReferenceDataError
        If the kind is not known, elements are missing for DeePMD-kit, or no frame is of the group.
    """
    frames = [frame for path in paths for frame in read_frames(path)]
    if group is not None:
        frames = [frame for frame in frames if frame.info.get("group") == group]
    if not frames:
        raise ReferenceDataError(f"group is {group!r}: no frame belongs to it")
    if dispersion:
        frames = [with_dispersion(frame) for frame in frames]
    if kind == "mace":
        export_mace(frames, out, energy)
        return [out]
    if kind == "deepmd":
        if not elements:
            raise ReferenceDataError("elements is empty: DeePMD-kit needs their order, such as Na,P,S,O")
        return export_deepmd(frames, out, elements.split(","), energy)
    raise ReferenceDataError(f"format is {kind!r}; allowed are deepmd and mace")
