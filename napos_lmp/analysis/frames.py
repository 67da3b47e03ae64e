"""Frames of a trajectory, one at a time, measured on all cores: the one loop that every measurement of structure uses.

The trajectory is read here, in order; the work on a frame is done in worker processes where it is long enough to pay.
Results come back in the order of the frames, so that they do not depend on the number of workers, and no more frames
are in memory than there are workers to keep busy.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from napos_lmp.analysis.base import AtomSet, Floats, checked_box
from napos_lmp.errors import AnalysisError

T = TypeVar("T")

_WORTH_WORKERS_S = 3.0
_CHUNK_S = 0.5
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Frame:
    """One frame: its number in the trajectory, positions (N, 3) and box vectors as rows (3, 3), A."""

    number: int
    positions: Floats
    box: Floats


def measure_frames(
    atoms: AtomSet, frames: range, measure: Callable[[Frame], T], workers: int | None = None
) -> Iterator[T]:
    """Yield `measure(frame)` for each frame, in order.

    Parameters
    ----------
    atoms
        The atoms to look at.
    frames
        Numbers of the frames in the trajectory.
    measure
        What to do with a frame. It runs in other processes as well, so it holds arrays only, no Universe, and returns
        what it found rather than keeping it.
    workers
        Most processes to use; None takes every core this process may run on, 1 none but this.

    Raises
    ------
    AnalysisError
        If a frame has no box, `workers` is below 1, or all of several frames are identical.
    """
    workers = checked_workers(workers)
    reading = _read(atoms, frames)
    began = time.perf_counter()
    yield measure(next(reading))
    each = time.perf_counter() - began
    if workers == 1 or len(frames) < 3 or each * (len(frames) - 1) < _WORTH_WORKERS_S:
        yield from map(measure, reading)
    else:
        chunk = max(1, min(math.floor(_CHUNK_S / each), -(-len(frames) // (4 * workers))))
        yield from _measured_elsewhere(reading, measure, workers, chunk)


def checked_workers(workers: int | None) -> int:
    """Number of processes; None becomes the number of cores that this process may run on.

    Raises
    ------
    AnalysisError
        If it is below 1.
    """
    if workers is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers < 1:
        raise AnalysisError(f"workers is {workers}; it must be at least 1")
    return workers


def _read(atoms: AtomSet, frames: range) -> Iterator[Frame]:
    trajectory = atoms.atoms.universe.trajectory
    first: Frame | None = None
    differs = False
    for number in frames:
        box = checked_box(trajectory[number])
        frame = Frame(number, atoms.atoms.positions.astype(np.float64), box)
        if first is None:
            first = frame
        elif not differs:
            differs = not (np.array_equal(frame.positions, first.positions) and np.array_equal(box, first.box))
        yield frame
    if len(frames) > 1 and not differs:
        raise AnalysisError(
            f"all {len(frames)} frames are identical; a trajectory must move, or give one frame only (stop=1)"
        )


def _measured_elsewhere(
    reading: Iterator[Frame], measure: Callable[[Frame], T], workers: int, chunk: int
) -> Iterator[T]:
    from loky import get_reusable_executor

    executor = get_reusable_executor(max_workers=workers, timeout=60, env=dict.fromkeys(_THREADS, "1"))
    waiting: deque[Any] = deque()
    finished = False
    try:
        for frames in _chunks(reading, chunk):
            waiting.append(executor.submit(_measure_all, measure, frames))
            if len(waiting) > workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
        finished = True
    finally:
        if not finished:
            executor.shutdown(wait=False, kill_workers=True)


def _measure_all(measure: Callable[[Frame], T], frames: Sequence[Frame]) -> list[T]:
    return [measure(frame) for frame in frames]


def _chunks(reading: Iterator[Frame], size: int) -> Iterator[list[Frame]]:
    chunk: list[Frame] = []
    for frame in reading:
        chunk.append(frame)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
