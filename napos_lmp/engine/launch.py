"""How LAMMPS is started on a deck: as it is, with the switches that its packages need, or through the CPU bridge."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

from napos_lmp.engine.command import Lammps, default_threads
from napos_lmp.errors import PreflightError

if TYPE_CHECKING:
    from napos_lmp.backends import Backend
    from napos_lmp.manifest import Manifest

# The exchange between ranks that message-passing models need in ML-IAP came with lammps/lammps pull request 4463 of
# 5 February 2025; request 4744 of October 2025 broke it without a word and 4808 of 15 December 2025 repaired it.
_EXCHANGE_SINCE = date(2025, 4, 2)
_EXCHANGE_BROKEN_FROM, _EXCHANGE_REPAIRED = date(2025, 10, 21), date(2025, 12, 15)
_LAST_RELEASE_BEFORE = date(2025, 9, 10)

_BUILD = (
    "a LAMMPS of 2 Apr 2025 or later, but not of 10 Dec 2025, configured with -D PKG_KOKKOS=on "
    "-D Kokkos_ENABLE_CUDA=on -D PKG_ML-IAP=on -D MLIAP_ENABLE_PYTHON=on -D PKG_PYTHON=on"
)


@dataclass(frozen=True)
class Launch:
    """How LAMMPS is started.

    Attributes
    ----------
    lammps : Lammps
        What was found, or the same through the bridge.
    switches : tuple of str
        Command-line switches that the potential needs.
    warnings : tuple of str
        One sentence for each doubt.
    """

    lammps: Lammps
    switches: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def plan_launch(
    lammps: Lammps,
    backend: Backend,
    *,
    packages: Collection[str] | None = None,
    ranks: int = 1,
    threads: int = 1,
    gpus: int = 0,
    gpu_aware: bool = True,
) -> Launch:
    """Decide how to start LAMMPS for a potential.

    A LAMMPS with the packages runs it by itself. The one of this environment, which has no KOKKOS and no PYTHON, runs
    it through the bridge where the back-end allows that.

    Parameters
    ----------
    lammps : Lammps
        The program that was found.
    backend : Backend
        Of the potential.
    packages : collection of str, optional
        Packages that LAMMPS needs, as the deck says; by default as the back-end says.
    ranks, threads, gpus : int
        MPI ranks on this machine, threads of each, and GPUs that the deck was made for.
    gpu_aware : bool
        Whether MPI passes memory of GPUs on by itself.

    Raises
    ------
    PreflightError
        If LAMMPS lacks a package or is too old, or the bridge is asked for more than one rank.
    """
    needed = backend.lammps_packages if packages is None else tuple(packages)
    missing = [package for package in needed if package not in lammps.packages]
    if not missing:
        switches = backend.launch_arguments(gpus=min(gpus, ranks), threads=threads, gpu_aware=gpu_aware)
        return Launch(lammps, switches, _doubts(lammps) if "ML-IAP" in needed else ())
    if not (backend.bridged and lammps.library):
        raise PreflightError(explain_missing_packages(lammps, missing, backend))
    if ranks > 1:
        raise PreflightError(
            f"this LAMMPS runs pair_style {backend.pair_style} through the CPU bridge, on one rank and not on {ranks}: "
            "use --threads in the place of --ranks"
        )
    warnings = (f"the deck was made for {gpus} GPUs and runs on the CPU, through the bridge",) if gpus else ()
    return Launch(dataclasses.replace(lammps, bridge=True), (), warnings)


def plan_deck_launch(lammps: Lammps, manifest: Manifest, ranks: int, threads: int | None) -> Launch:
    """Decide how to start LAMMPS on a deck; see :func:`plan_launch`."""
    from napos_lmp.backends import get_backend

    potential = manifest.potential
    return plan_launch(
        lammps,
        get_backend(potential.backend, potential.pair_style),
        packages=manifest.lammps_packages,
        ranks=ranks,
        threads=threads or default_threads(ranks),
        gpus=manifest.gpus,
        gpu_aware=manifest.gpu_aware,
    )


def explain_missing_packages(lammps: Lammps, missing: Collection[str], backend: Backend) -> str:
    """The sentence for a LAMMPS that was built without packages: what is missing and what to ask for."""
    lacks = f"{lammps.program} ({lammps.version}) was built without {', '.join(missing)}"
    if backend.pair_style != "mliap":
        return f"{lacks}, which pair_style {backend.pair_style} needs: ask for a LAMMPS with {', '.join(missing)}"
    return (
        f"{lacks}, which pair_style mliap needs: ask for {_BUILD}, or use the `lmp` of this environment, which runs it "
        "on the CPU"
    )


def release_date(version: str) -> date | None:
    """Date of a LAMMPS version such as "22 Jul 2025 - Update 2"; None if it holds none."""
    match = re.match(r"(\d{1,2}) ?([A-Z][a-z]{2}) ?(\d{4})", version)
    return datetime.strptime("-".join(match.groups()), "%d-%b-%Y").date() if match else None


def _doubts(lammps: Lammps) -> tuple[str, ...]:
    """What the version says of the exchange in ML-IAP."""
    released = release_date(lammps.version)
    if released is None:
        return (f"the version {lammps.version!r} of {lammps.program} holds no date: it must be {_BUILD}",)
    if released < _EXCHANGE_SINCE:
        raise PreflightError(
            f"{lammps.program} is of {lammps.version}, and before 2 Apr 2025 pair_style mliap had no exchange between "
            f"ranks, which message-passing models need: ask for {_BUILD}"
        )
    if _EXCHANGE_BROKEN_FROM <= released < _EXCHANGE_REPAIRED:
        raise PreflightError(
            f"{lammps.program} is of {lammps.version}, whose pair_style mliap gives wrong forces for message-passing "
            f"models (lammps/lammps pull request 4808): ask for {_BUILD}"
        )
    if "Development" in lammps.version and _LAST_RELEASE_BEFORE <= released < _EXCHANGE_REPAIRED:
        return (
            f"{lammps.program} is a development version after {lammps.version.split(' - ')[0]}; those of October to "
            "December 2025 give wrong forces with pair_style mliap (lammps/lammps pull request 4808)",
        )
    return ()
