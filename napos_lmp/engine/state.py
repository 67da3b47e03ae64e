"""What the files of a deck say about how far it is, and the structure it takes over from another deck."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from napos_lmp.engine.progress import ScreenFollower
from napos_lmp.engine.record import RunRecord, SourceRecord, screen_file
from napos_lmp.errors import DeckError
from napos_lmp.files import sha256_of, whole_file
from napos_lmp.manifest import Manifest, read_manifest


def is_complete(deck: Path, manifest: Manifest | None = None) -> bool:
    """Whether a deck has reached its last step: its final structure is there and of that step."""
    manifest = manifest or read_manifest(deck)
    path = deck / manifest.final_structure
    if not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as stream:
        head = re.search(r"timestep = (\d+)", stream.readline())
    return head is not None and int(head[1]) >= manifest.last_step


def source_folder(deck: Path, manifest: Manifest) -> Path | None:
    """The deck that another deck starts from; None where it brings its own structure."""
    source = manifest.structure.source_deck
    return None if source is None else (deck / source).resolve()


def bring_source(deck: Path, manifest: Manifest, record: RunRecord) -> RunRecord:
    """Copy in the final structure of the deck that this deck starts from, once, and note its SHA-256.

    A deck that was moved away from the other one with the structure already in it keeps that.

    Raises
    ------
    DeckError
        If that deck has not finished, or the copy was changed since.
    """
    structure = manifest.structure
    folder = source_folder(deck, manifest)
    if folder is None or structure.source_deck is None:
        return record
    target = deck / structure.file
    name = structure.source_file or "final.data"
    if target.is_file() and (record.segments or not folder.is_dir()):
        digest = sha256_of(target)
        if record.source and record.source.sha256 != digest:
            raise DeckError(f"{target} was changed since {deck} started from it; delete {deck} and make it again")
    else:
        _require_finished(deck, folder)
        with whole_file(target) as temporary:
            shutil.copyfile(folder / name, temporary)
        digest = sha256_of(target)
    return record.model_copy(update={"source": SourceRecord(deck=structure.source_deck, file=name, sha256=digest)})


def close_killed(deck: Path, record: RunRecord) -> RunRecord:
    """Segments that still count as running belong to an engine that was killed: say so, with the last step seen."""
    manifest = read_manifest(deck)
    for segment in record.segments:
        if segment.outcome == "running":
            follower = ScreenFollower(screen_file(deck, segment.number), manifest, segment.start_step, str(deck))
            follower.read()
            record = record.with_segment(
                segment.model_copy(
                    update={"outcome": "killed", "last_step": follower.step, "message": "its end was not recorded"}
                )
            )
    return record


def _require_finished(deck: Path, source: Path) -> None:
    if not source.is_dir():
        raise DeckError(f"deck {deck} starts from deck {source}, which is not there")
    if not is_complete(source):
        raise DeckError(f"deck {deck} starts from deck {source}, which has not finished: run that first")
