"""The folder and the child process of a training: one at a time, killed with its parent, found again afterwards."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from napos_lmp import __version__
from napos_lmp.errors import TrainingError
from napos_lmp.records import Record, write_record
from napos_lmp.resources import home_folder

STATE_NAME = "training.json"
POLL_SECONDS = 0.5


def recorded_fingerprint(output: Path) -> str | None:
    """Fingerprint of the training that an output folder belongs to; None where it belongs to none yet."""
    state = output / STATE_NAME
    text = state.read_text(encoding="utf-8") if state.is_file() else ""
    return str(json.loads(text)["fingerprint"]) if text else None


def begun_here(output: Path, fingerprint: str) -> bool:
    """Whether this user began this training in this folder, or accepted what was in it, so that it may be loaded."""
    return _own_record(output, fingerprint).is_file()


def note_begun(output: Path, fingerprint: str) -> None:
    """Remember among the user's own files that a training was begun in a folder."""
    write_record(_own_record(output, fingerprint), _Begun(output=str(output.resolve()), fingerprint=fingerprint))


@contextmanager
def claimed(output: Path, fingerprint: str, *, has_checkpoint: bool, adopt: bool = False) -> Iterator[None]:
    """Hold an output folder for one training alone, after checking that it is this training's.

    Parameters
    ----------
    output
        The folder; it is made if it does not exist.
    fingerprint
        Of the training that wants it.
    has_checkpoint
        Whether there is a checkpoint in it to go on from.
    adopt
        Take over what lies in a folder that belongs to no training.

    Raises
    ------
    TrainingError
        If the folder holds something else or a training of other settings, or another process is training in it.
    """
    if _holds_anything(output) and not adopt:
        raise TrainingError(f"output: {output} exists and holds no training; choose an empty folder")
    output.mkdir(parents=True, exist_ok=True)
    with (output / STATE_NAME).open("a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainingError(f"output: another process is training in {output}") from None
        stream.seek(0)
        text = stream.read()
        if not text or json.loads(text)["fingerprint"] != fingerprint:
            if has_checkpoint and not adopt:
                raise TrainingError(
                    f"output: {output} holds a training with other settings or data; choose another folder"
                )
            shutil.rmtree(output / "data", ignore_errors=True)
            stream.truncate(0)
            stream.write(json.dumps({"fingerprint": fingerprint, "program_version": __version__}) + "\n")
            stream.flush()
        yield


@contextmanager
def child(
    folder: Path, command: Sequence[str], environment: Mapping[str, str], log_name: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a child in its own session that ends with this process, however this process ends.

    Its output is appended to a log in `folder`, which is also where it runs.
    """
    with (folder / log_name).open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
        try:
            yield process
        finally:
            # the session holds helpers of torch too, which outlive a child that failed
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def usable_threads(wanted: int | None) -> int:
    """Threads of a training: those wanted, else one for each core that this process may use."""
    return wanted or len(os.sched_getaffinity(0))


def _holds_anything(output: Path) -> bool:
    """Whether a path is a file, or a folder that is not empty and belongs to no training."""
    return output.exists() and not (output / STATE_NAME).is_file() and (not output.is_dir() or any(output.iterdir()))


class _Begun(Record):
    output: str
    fingerprint: str


def _own_record(output: Path, fingerprint: str) -> Path:
    name = hashlib.sha256(f"{output.resolve()}\n{fingerprint}".encode()).hexdigest()
    return home_folder() / "trainings" / f"{name}.json"


def _end_with_parent() -> None:
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
