"""What LAMMPS, its plugins and MPI print when something is wrong, turned into one sentence with a cure."""

from __future__ import annotations

import re
import signal

# what stands before a sentence of the CPU bridge that is ready for the user
BRIDGE_ERROR = "NAPOS-LMP BRIDGE: "

_EXPLANATIONS: tuple[tuple[str, str], ...] = (
    (
        r"Unrecognized pair style '?deepmd",
        "this LAMMPS has no pair style deepmd: its plugin was not loaded; use the `lmp` of napos-lmp's own "
        "environment, or set LAMMPS_PLUGIN_PATH to the folder that holds libdeepmd_lmpplugin.so",
    ),
    (
        r"has no attribute '?(?:forward_exchange|reverse_exchange)",
        "ML-IAP exchanges atoms between ranks in its KOKKOS form alone: start LAMMPS, of 2025 or later, with the "
        "switches in potential.lammps, `-k on ... -sf kk -pk kokkos newton on neigh half`",
    ),
    (
        r"Cannot use -kokkos on without KOKKOS installed|[Pp]ackage kokkos command without KOKKOS",
        "this LAMMPS was built without KOKKOS; ask for one with the packages that potential.lammps names",
    ),
    (
        r"GPU requested but tensor is on CPU",
        "the model was exported for GPUs alone; export it again with `napos-lmp export`, which permits CPUs",
    ),
    (
        r"[Mm]odule(?:NotFoundError: No module)? named '?(mace|cuequivariance\w*|e3nn|torch|cupy|lammps)\b",
        "the Python inside LAMMPS did not find {0}; start LAMMPS in the environment that it was built with, with that "
        "environment's site-packages on PYTHONPATH and {0} installed in it",
    ),
    (
        r"object has no attribute 'interface'",
        "the model file is no exported object but a model as trained; make the deck again, or use `napos-lmp export`",
    ),
    (
        r"Weights only load failed",
        "this LAMMPS is older than the torch in it, which refuses the model; use a LAMMPS of 2025 or later, or set "
        "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 for it",
    ),
    (
        r"(?:Unrecognized|Unknown) pair style '?mliap|mliap (?:unified|model mliappy) requires ML-IAP with python",
        "this LAMMPS has no pair style mliap with Python; ask for one with the packages KOKKOS, ML-IAP "
        "(MLIAP_ENABLE_PYTHON=on) and PYTHON",
    ),
    (
        r"(?:Unrecognized|Unknown) pair style '?symmetrix/mace",
        "this LAMMPS has no pair style symmetrix/mace; ask for one with KOKKOS that was built with Symmetrix",
    ),
    (
        r"(?:Unrecognized|Unknown) pair style '?mace",
        "this LAMMPS has no pair style mace; ask for one with the package ML-MACE, or use pair_style mliap",
    ),
    (
        r"(?:Unrecognized|Unknown) (\w+) style '?([\w/]+)",
        "this LAMMPS has no {0} style {1}; use one that was built with the package that brings it",
    ),
    (
        r"implib-gen: (\S+?):? failed to load",
        "the library {0}, which the potential needs even without a GPU, was not found; install "
        "`nvidia-cuda-runtime-cu12` or put its folder on LD_LIBRARY_PATH",
    ),
    (
        r"Unable to load PyTorch backend plugin",
        "DeePMD did not find PyTorch's libraries; put torch's lib folder on LD_LIBRARY_PATH, or use the `lmp` of "
        "napos-lmp's own environment",
    ),
    (
        r"(?:error while loading shared libraries: )?(lib[\w.+-]+): cannot open shared object file",
        "the library {0} was not found; put its folder on LD_LIBRARY_PATH",
    ),
    (
        r"undefined symbol: (\S+)",
        "two libraries do not fit each other (symbol {0} is missing); the versions of torch and deepmd-kit must be the "
        "ones in constraints.txt",
    ),
    (
        r"CUDA out of memory|CUDA error: out of memory",
        "the GPU has not enough memory; run on more GPUs, with fewer ranks a GPU, or with a smaller cell",
    ),
    (
        r"CUDA error: (.+)|(no kernel image is available.*)",
        "the GPU failed ({0}); check the driver with nvidia-smi, or set CUDA_VISIBLE_DEVICES= to run on the CPU",
    ),
    (
        r"std::bad_alloc|Cannot allocate memory|can't allocate memory|Failed to allocate",
        "there was not enough memory; use fewer ranks or a smaller cell",
    ),
    (
        r"No space left on device|Disk quota exceeded|I/O error (?:while|writing)",
        "the disk is full; make room and run the deck again: it goes on from its last restart file",
    ),
    (
        r"Fix halt condition for fix-id disk met",
        "the disk is nearly full, so the run was stopped cleanly; make room and run the deck again: it goes on from "
        "there",
    ),
    (
        r"File too large|File size limit exceeded|signal 25",
        "a file grew past the limit on file size; raise it (ulimit -f) and run the deck again",
    ),
    (
        r"Lost atoms: original (\d+) current (\d+)",
        "atoms were lost ({1} of {0} are left): forces were so large that atoms left the box within a few steps; check "
        "the start structure, shorten the time step, or use a potential that knows these temperatures",
    ),
    (
        r"Non-numeric (atom coords|pressure|box dimensions|positions)|Out of range atoms",
        "the simulation blew up (a coordinate is no longer a number); check the start structure, shorten the time "
        "step, or use a potential that knows these temperatures",
    ),
    (
        r"element (\S+) not found in the model",
        "the potential does not know the element {0}; choose one whose card lists it",
    ),
    (
        r"Failed to open file: (\S+)|Cannot open file (\S+?):?\s",
        "the file {0} is missing or cannot be read; make the deck again",
    ),
    (
        r"PytorchStreamReader failed|failed reading zip archive",
        "the potential's file is damaged; make the deck again",
    ),
    (
        r"(?:Incomplete or corrupted|Invalid) LAMMPS restart file|Did not assign all restart atoms|Cannot open restart",
        "the restart file is damaged; run the deck again: an older one is taken",
    ),
    (
        r"Neighbor list overflow|Too many neighbors",
        "an atom has more neighbours than LAMMPS makes room for: the cell is far too dense or has collapsed",
    ),
    (
        r"Box flipped|Domain too (?:small|large)|Fix npt/nph has tilted box too far|Too many neighbor bins",
        "the cell changed its shape or size beyond all bounds: the barostat does not get on with this structure; "
        "equilibrate at constant volume first or damp the barostat more",
    ),
    (
        r"All pair coeffs are not set|Incorrect args for pair coefficients",
        "the potential's elements and the atom types of the data file do not match; make the deck again",
    ),
    (rf"(?m)^{BRIDGE_ERROR}(.+)$", "{0}"),
)

_SIGNALS = {
    signal.SIGKILL: "most often for using too much memory or for reaching the end of its time",
    signal.SIGSEGV: "a crash inside LAMMPS or a plugin; a plugin built for another version is the usual cause",
    signal.SIGBUS: "most often because a disk or /dev/shm is full",
    signal.SIGXFSZ: "because a file grew past the limit on file size (ulimit -f)",
    signal.SIGTERM: "by another process or the batch system",
    signal.SIGABRT: "it gave up by itself",
    signal.SIGILL: "it was built for another kind of processor",
}


def explain(text: str, exit_status: int | None = None) -> str:
    """One sentence for what ended LAMMPS.

    Parameters
    ----------
    text : str
        What it printed last.
    exit_status : int, optional
        Of the process; negative for the signal that killed it.
    """
    for pattern, sentence in _EXPLANATIONS:
        if match := re.search(pattern, text):
            return sentence.format(*[group for group in match.groups() if group is not None] or ["?"])
    error = re.search(r"^ERROR(?: on proc \d+)?: (.+?)(?: \(\S+:\d+\))?$", text, re.MULTILINE)
    if error:
        last_line = re.search(r"^Last (?:input line|command): (.+)$", text, re.MULTILINE)
        at = f" at the input line {last_line[1].strip()!r}" if last_line else ""
        return f"LAMMPS stopped with: {error[1].strip()}{at}"
    if number := _signal_number(text, exit_status):
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        why = _SIGNALS.get(signal.Signals(number)) if number in set(signal.Signals) else None
        return f"LAMMPS was killed by {name}" + (f", {why}" if why else "")
    return f"LAMMPS ended with exit status {exit_status} and no message"


def _signal_number(text: str, exit_status: int | None) -> int | None:
    """The signal that killed a process or, as the MPI launcher tells it, one of its ranks."""
    if match := re.search(r"EXIT STRING: .*\(signal (\d+)\)", text):
        return int(match[1])
    if exit_status is not None and exit_status < 0:
        return -exit_status
    return None
