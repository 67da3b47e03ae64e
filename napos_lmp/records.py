"""JSON files that the package writes for itself to read again: frozen models, no unknown keys, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from napos_lmp.errors import NaposError
from napos_lmp.files import write_text

Content = TypeVar("Content")


class Record(BaseModel):
    """Base of all records and their parts."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def read_record(path: Path, model: type[Content], error: type[NaposError], cure: str = "") -> Content:
    """Read a record and check it.

    Raises
    ------
    NaposError
        Of the class `error`, if the file is damaged: the file, the field, what is wrong with it, and the `cure`.
    """
    try:
        return TypeAdapter(model).validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as invalid:
        first = invalid.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise error(f"{path}: {where}: {first['msg']}{cure}") from None


def write_record(path: Path, record: Record) -> None:
    """Write a record."""
    write_text(path, json.dumps(record.model_dump(mode="json"), indent=1) + "\n")
