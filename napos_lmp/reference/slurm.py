"""The same queue on a cluster: a Slurm array whose tasks share it."""

from __future__ import annotations

import re
from pathlib import Path

from napos_lmp.errors import LabelError
from napos_lmp.files import write_text
from napos_lmp.reference.queue import Queue
from napos_lmp.templates import shipped_templates

_FRAMES_PER_WORKER = 8


def write_array_job(queue: Queue, path: Path) -> Path:
    """Write a Slurm array job that works through a queue; what it asks for stands under `slurm` in `queue.yaml`.

    There are as many tasks as are useful: one for every eight waiting frames of a worker, up to `slurm.tasks`.

    Raises
    ------
    LabelError
        If nothing waits.
    """
    waiting = len(queue.waiting())
    if not waiting:
        raise LabelError(f"no frame of {queue.folder} waits: there is nothing to submit")
    settings = queue.settings
    useful = -(-waiting // (_FRAMES_PER_WORKER * settings.slurm.workers))
    values = {
        "queue": queue.folder,
        "frames": waiting,
        "tasks": min(settings.slurm.tasks, useful),
        "workers": settings.slurm.workers,
        "threads": settings.threads,
        "slurm": settings.slurm,
        "job_name": re.sub(r"[^A-Za-z0-9_.-]+", "-", f"label-{queue.folder.name}")[:60],
    }
    write_text(path, shipped_templates().render("reference/slurm.sh.j2", values))
    path.chmod(0o755)
    return path
