"""What a LAMMPS can do, found by asking it: styles by name, and the deck's own potential by loading it."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from napos_lmp.engine.command import Lammps
from napos_lmp.engine.launch import Launch
from napos_lmp.engine.messages import explain
from napos_lmp.manifest import Manifest

_POTENTIAL_PROBE = """
units metal
atom_style atomic
boundary p p p
atom_modify map yes
newton on
region box block 0 20 0 20 0 20
create_box {types} box
mass * 20.0
variable segment3 index 000
variable deviation_file index /dev/null
include {file}
print "NAPOS-LMP POTENTIAL LOADED"
"""

POTENTIAL_INCLUDE = "potential.lammps"


def missing_styles(lammps: Lammps, styles: tuple[str, ...]) -> list[str]:
    """Those of `styles`, each like "pair deepmd" or "fix nvt", that LAMMPS with its plugins does not have."""
    return [style for style in styles if style not in _known_styles(lammps, styles)]


def load_potential_in_lammps(launch: Launch, deck: Path, manifest: Manifest) -> str | None:
    """Have LAMMPS run the potential's lines of a deck; what is wrong with them, or None."""
    return _load_potential(_PotentialProbe(launch, deck, manifest))


@lru_cache(maxsize=64)
def _known_styles(lammps: Lammps, styles: tuple[str, ...]) -> frozenset[str]:
    """Ask for all styles in one run; LAMMPS stops at one it lacks, so ask again for those behind it."""
    known: set[str] = set()
    left = list(styles)
    while left:
        lines = [f'print "NAPOS-LMP STYLE {style} $(is_available({style.replace(" ", ",")}))"' for style in left]
        answer = lammps.probe([], lammps.binary.parent, "\n".join(lines) + "\n").stdout
        answered = dict(re.findall(r"^NAPOS-LMP STYLE (\S+ \S+) (\d)", answer, re.MULTILINE))
        known.update(style for style, there in answered.items() if there == "1")
        left = left[len(answered) + 1 :]
    return frozenset(known)


class _PotentialProbe:
    """The question whether a potential loads; equal questions about the same file are asked once a process."""

    def __init__(self, launch: Launch, deck: Path, manifest: Manifest) -> None:
        self.launch, self.deck, self.types = launch, deck, len(manifest.elements)
        start = (*launch.lammps.start, *launch.switches)
        models = (manifest.potential.sha256, *(other.sha256 for other in manifest.potential.committee))
        self._key = (start, models, (deck / POTENTIAL_INCLUDE).read_text(), self.types)

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _PotentialProbe) and self._key == other._key


@lru_cache(maxsize=64)
def _load_potential(probe: _PotentialProbe) -> str | None:
    script = _POTENTIAL_PROBE.format(types=probe.types, file=POTENTIAL_INCLUDE)
    answer = probe.launch.lammps.probe(list(probe.launch.switches), probe.deck, script)
    if "NAPOS-LMP POTENTIAL LOADED" in answer.stdout:
        return None
    return explain(answer.stdout, answer.returncode)
