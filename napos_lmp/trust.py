"""Which model files may be loaded: those on an accepted card, and what was exported from them.

A Python pickle runs code while it is read. Nothing here reads one; :func:`trusted_bytes` hands out the content of a
file only when its SHA-256 was accepted, so that what is checked is what is loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napos_lmp.card import accepted_folders, read_card
from napos_lmp.errors import PotentialError
from napos_lmp.records import Record, read_record, write_record
from napos_lmp.resources import home_folder

_accepted_now: list[str] = []


class ExportRecord(Record):
    """That a file was exported from an accepted model; both are known by their SHA-256."""

    schema_version: int = 1
    source_sha256: str
    made_by: str


def is_trusted(sha256: str) -> bool:
    """Whether a file of this SHA-256 may be loaded: it is on a card shipped or added, or an export of such a model."""
    accepted = _accepted_digests()
    if sha256 in accepted:
        return True
    record = _record_file(sha256)
    return record.is_file() and read_record(record, ExportRecord, PotentialError).source_sha256 in accepted


def trusted_bytes(file: Path) -> bytes:
    """Content of a model file that may be loaded.

    Raises
    ------
    PotentialError
        If it does not exist or its SHA-256 was never accepted.
    """
    if not file.is_file():
        raise PotentialError(f"model file {file} does not exist")
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if not is_trusted(digest):
        raise PotentialError(
            f"model file {file} (SHA-256 {digest[:12]}...) has not been accepted here and is not opened, as loading it "
            "would run code from it: look at where it comes from, then use `napos-lmp potentials add ... --trust`"
        )
    return content


@contextmanager
def accepting(*digests: str) -> Iterator[None]:
    """Trust files inside the block, in this process: such that are being added, or that this program has just made."""
    _accepted_now.extend(digests)
    try:
        yield
    finally:
        for digest in digests:
            _accepted_now.remove(digest)


def record_export(sha256: str, source_sha256: str, made_by: str) -> None:
    """Remember that a file was exported from a model, to be trusted as long as the model is."""
    write_record(_record_file(sha256), ExportRecord(source_sha256=source_sha256, made_by=made_by))


def _record_file(sha256: str) -> Path:
    return home_folder() / "exports" / f"{sha256}.json"


def _accepted_digests() -> set[str]:
    digests = set(_accepted_now)
    for folder in accepted_folders():
        try:
            digests.update(read_card(folder).models.values())
        except PotentialError:
            continue
    return digests
