"""What a Python pickle would use if it were loaded, read from its opcodes; nothing of it is executed."""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_USUAL = {"torch", "mace", "e3nn", "cuequivariance", "cuequivariance_torch", "numpy", "collections", "_codecs"}
_HARMLESS_BUILTINS = {"set", "frozenset", "list", "dict", "tuple", "slice", "complex", "bytearray", "object"}


@dataclass(frozen=True)
class PickleContents:
    """Names that a pickle asks Python for, as ``module.name`` in order of appearance.

    `root` is the first, the class of what was stored in most files; `complete` is False where the opcodes could not be
    read to the end.
    """

    names: tuple[str, ...]
    complete: bool

    @property
    def root(self) -> str:
        """The first name, empty if there is none."""
        return self.names[0] if self.names else ""

    @property
    def modules(self) -> tuple[str, ...]:
        """Packages that would be imported, each once."""
        return tuple(dict.fromkeys(name.split(".")[0] for name in self.names))

    @property
    def unusual(self) -> tuple[str, ...]:
        """Names that a model of this kind has no need of; that there are none is no proof of harmlessness."""
        return tuple(name for name in self.names if not _is_usual(name))


def pickle_contents(file: Path) -> PickleContents | None:
    """Read the names in a pickle, bare or in the archive that `torch.save` writes; None if the file is neither."""
    names: dict[str, None] = {}
    complete = True
    streams = list(_streams(file))
    if not streams:
        return None
    for stream in streams:
        found, whole = _names(stream)
        names.update(dict.fromkeys(found))
        complete = complete and whole
    return PickleContents(tuple(names), complete)


def _streams(file: Path) -> Iterator[bytes]:
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            for entry in archive.namelist():
                if entry.endswith(".pkl"):
                    yield archive.read(entry)
        return
    content = file.read_bytes()
    if content[:1] in (b"\x80", b"(", b"c", b"}", b"]"):
        yield content


def _names(stream: bytes) -> tuple[list[str], bool]:
    """Names in one pickle, and whether it was read to its end.

    A name built by STACK_GLOBAL is the two strings before it, which may come out of the pickle's memo.
    """
    names: list[str] = []
    pushed: list[str | None] = []
    memo: dict[Any, str | None] = {}
    try:
        for operation, argument, _ in pickletools.genops(stream):
            match operation.name:
                case "GLOBAL" | "INST":
                    names.append(str(argument).replace(" ", "."))
                    pushed.append(None)
                case "STACK_GLOBAL":
                    names.append(".".join(part or "?" for part in (["?", "?", *pushed])[-2:]))
                    pushed.append(None)
                case "MEMOIZE":
                    memo[len(memo)] = pushed[-1] if pushed else None
                case "PUT" | "BINPUT" | "LONG_BINPUT":
                    memo[argument] = pushed[-1] if pushed else None
                case "GET" | "BINGET" | "LONG_BINGET":
                    pushed.append(memo.get(argument))
                case "PROTO" | "FRAME":
                    pass
                case _:
                    pushed.append(argument if isinstance(argument, str) else None)
    except Exception:
        return names, False
    return names, True


def _is_usual(name: str) -> bool:
    module, _, last = name.rpartition(".")
    if module in ("builtins", "__builtin__"):
        return last in _HARMLESS_BUILTINS
    return module.split(".")[0] in _USUAL
