"""Make a finished deck longer: its last stage, a production, goes on from where it ended.

The deck's own files are changed as little as can be: the last step in the main input, in the input of the stage and in
`deck.json`. The next `napos-lmp run` goes on from the newest restart file, and the reader joins what it writes.
"""

from __future__ import annotations

import re
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path

from napos_lmp.engine import is_complete
from napos_lmp.engine.lock import DeckLock
from napos_lmp.errors import DeckError
from napos_lmp.files import sha256_of, whole_folder
from napos_lmp.manifest import (
    MANIFEST_NAME,
    Extension,
    Manifest,
    StageRecord,
    changed_files,
    read_manifest,
    write_manifest,
)
from napos_lmp.templates import number

_PENDING = ".extension"
_PS_OF = {"ps": 1.0, "ns": 1000.0, "us": 1e6}
_MAGIC = b"LammpS RestartT\0"
_HEAD_BYTES = 1000


@dataclass(frozen=True)
class ExtendedDeck:
    """A deck that was made longer.

    Attributes
    ----------
    deck
        Its folder.
    stage
        Name of the stage that goes on.
    before_ps, after_ps
        Length of that stage before and now.
    last_step
        The deck's last step now.
    restart_step
        Step of the newest restart file; steps between it and the old end are run again.
    """

    deck: Path
    stage: str
    before_ps: float
    after_ps: float
    last_step: int
    restart_step: int


def parse_duration(text: str) -> float:
    """A time such as ``2ns``, ``1.5 ns`` or ``500ps`` in ps.

    Raises
    ------
    DeckError
        If it is none.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(ps|ns|us)\s*", text)
    if match is None or not float(match[1]) > 0:
        raise DeckError(f"{text!r} is no time; give a number with ps, ns or us, such as 2ns")
    return float(match[1]) * _PS_OF[match[2]]


def extend_decks(decks: list[Path], to_ps: float) -> list[ExtendedDeck]:
    """Make several decks longer; none is touched where one of them cannot be. See :func:`extend_deck`."""
    for deck in decks:
        with DeckLock(deck):
            _finish_pending(deck)
            _plan(deck, to_ps)
    return [extend_deck(deck, to_ps) for deck in decks]


def extend_deck(deck: str | Path, to_ps: float) -> ExtendedDeck:
    """Let the last stage of a finished deck go on until it lasts `to_ps` in all.

    The structure it had ended with is kept as ``final.<step>.data``; its analysis is out of date from now on. Inputs
    and manifest are changed all or not at all: what a kill leaves half done, the next call ends.

    Parameters
    ----------
    deck
        The deck's folder.
    to_ps
        Length of its last stage in ps, what has run included.

    Raises
    ------
    DeckError
        If the deck has not finished, its last stage is no production or not shorter than `to_ps`, its files were
        changed by hand, or no restart file of that stage is left.
    DeckBusyError
        If it is being run.
    """
    folder = Path(deck)
    read_manifest(folder)
    with DeckLock(folder):
        _finish_pending(folder)
        manifest, texts, extended = _plan(folder, to_ps)
        with whole_folder(folder / _PENDING) as pending:
            for name, text in texts.items():
                (pending / name).parent.mkdir(exist_ok=True)
                (pending / name).write_text(text, encoding="utf-8")
            hashes = {name: sha256_of(pending / name) for name in texts}
            write_manifest(pending, manifest.model_copy(update={"files": {**manifest.files, **hashes}}))
        _finish_pending(folder)
    return extended


def _plan(folder: Path, to_ps: float) -> tuple[Manifest, dict[str, str], ExtendedDeck]:
    """The new manifest, the new text of each input that changes, and what is to be told."""
    manifest = read_manifest(folder)
    stage = manifest.stages[-1]
    if stage.kind != "produce":
        raise DeckError(f"{folder} ends with stage {stage.name}; only a last stage of kind produce can be extended")
    if changed := changed_files(folder, manifest):
        raise DeckError(f"{folder} has files that were changed since it was made ({', '.join(changed)}); not extended")
    if not is_complete(folder, manifest):
        raise DeckError(f"{folder} has not finished: run it to its end before it is extended")
    before_ps = (stage.last_step - stage.first_step) * manifest.timestep_ps
    last_step = stage.first_step + round(to_ps / manifest.timestep_ps)
    if last_step <= stage.last_step:
        raise DeckError(f"stage {stage.name} of {folder} lasts {before_ps:g} ps already; {to_ps:g} ps is not longer")
    restart_step = newest_restart(folder, manifest)
    if restart_step is None or restart_step < stage.first_step:
        found = "none" if restart_step is None else f"the newest is of step {restart_step}"
        raise DeckError(f"{folder} keeps no restart file of its stage {stage.name} ({found}): it cannot go on")
    stages = manifest.protocol["stages"]
    duration_before = float(stages[-1]["duration_ps"])
    extension = Extension(from_step=stage.last_step, to_step=last_step, duration_ps_before=duration_before)
    longer = manifest.model_copy(
        update={
            "stages": (*manifest.stages[:-1], stage.model_copy(update={"last_step": last_step})),
            "protocol": {**manifest.protocol, "stages": [*stages[:-1], {**stages[-1], "duration_ps": to_ps}]},
            "extensions": (*manifest.extensions, extension),
        }
    )
    texts = _inputs(folder, manifest, stage, last_step)
    return longer, texts, ExtendedDeck(folder, stage.name, before_ps, to_ps, last_step, restart_step)


def _inputs(folder: Path, manifest: Manifest, stage: StageRecord, last_step: int) -> dict[str, str]:
    """Main input and input of the stage with the new last step; all else stays as it was rendered."""
    file = f"stages/{stage.name}.lammps"
    first, old = stage.first_step, stage.last_step
    length = number((last_step - first) * manifest.timestep_ps)
    changes = {
        manifest.input_file: [
            (rf'(?m)^if "\$\(step\) < {old}"( then "include {re.escape(file)}")$', rf'if "$(step) < {last_step}"\1')
        ],
        file: [
            (
                rf"(?m)^(run +){old} upto start {first} stop {old}$",
                rf"\g<1>{last_step} upto start {first} stop {last_step}",
            ),
            (rf'(?m)^if "\$\(step\) < {old}"( then "include stop.lammps")$', rf'if "$(step) < {last_step}"\1'),
            (rf"(?m)^# steps {first} to {old}, .*$", f"# steps {first} to {last_step}, {length} ps"),
        ],
    }
    texts = {}
    for name, replacements in changes.items():
        text = (folder / name).read_text(encoding="utf-8")
        for pattern, replacement in replacements:
            text, count = re.subn(pattern, replacement, text)
            if count != 1:
                raise DeckError(f"{folder / name} is not of the shipped templates: its last step {old} was not found")
        texts[name] = text
    return texts


def _finish_pending(folder: Path) -> None:
    """Put the files of a planned extension in place, `deck.json` last; nothing to do where there is none."""
    pending = folder / _PENDING
    if not pending.is_dir():
        return
    manifest = read_manifest(pending)
    final = folder / manifest.final_structure
    if final.is_file() and not is_complete(folder, manifest):
        final.replace(final.with_name(f"{final.stem}.{manifest.extensions[-1].from_step}{final.suffix}"))
    files = [path for path in sorted(pending.rglob("*")) if path.is_file()]
    for path in sorted(files, key=lambda path: path.name == MANIFEST_NAME):
        path.replace(folder / path.relative_to(pending))
    shutil.rmtree(pending)


def newest_restart(folder: Path, manifest: Manifest) -> int | None:
    """Highest step of the deck's whole restart files, from their headers; None without any."""
    names = (manifest.restart.stop_file, *manifest.restart.files)
    steps = [_restart_step(folder / name) for name in names if (folder / name).is_file()]
    known = [step for step in steps if step is not None and step <= manifest.last_step]
    return max(known, default=None)


def _restart_step(path: Path) -> int | None:
    """Step in the head of a LAMMPS restart file; None for one that is cut short or of another form.

    The file begins and ends with the same words. After two integers come entries, each a flag and a value: the texts of
    version (flag 0) and units (4), sizes of integers, and the step (5), 64 bits wide.
    """
    content = path.read_bytes()
    if not (content.startswith(_MAGIC) and content.endswith(_MAGIC)):
        return None
    place = len(_MAGIC) + 8
    try:
        while place < _HEAD_BYTES:
            (flag,) = struct.unpack_from("=i", content, place)
            place += 4
            if flag in (0, 4):
                place += 4 + int(struct.unpack_from("=i", content, place)[0])
            elif flag == 5:
                return int(struct.unpack_from("=q", content, place)[0])
            else:
                place += 4
    except struct.error:
        pass
    return None
