"""Time to render 500 decks with their data files, packing and tabulating excluded; at most 60 s."""

import sys
import tempfile
import time
from pathlib import Path

from napos_lmp.backends import get_backend
from napos_lmp.composition import Composition
from napos_lmp.deck import present_elements, render_deck
from napos_lmp.potential import load_potential
from napos_lmp.presets import MeltQuench
from napos_lmp.structure import estimate_density, pack

DECKS = 500
ATOMS = 1000
LIMIT_SECONDS = 60


def main() -> int:
    composition, potential = Composition.parse("Na4P2S5O2"), load_potential("napos-deepmd")
    get_backend(potential.backend).deck_file(potential)
    counts = composition.cell(ATOMS).counts
    structure = pack(counts, estimate_density(composition).value, 1, present_elements(potential, counts))
    (protocol,) = MeltQuench().protocols()
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        for seed in range(DECKS):
            render_deck(
                Path(folder) / f"{seed}",
                composition=composition,
                potential=potential,
                protocol=protocol,
                seed=seed,
                structure=structure,
            )
        seconds = time.perf_counter() - begin
    print(f"{DECKS} decks of {len(structure.positions)} atoms: {seconds:.1f} s (at most {LIMIT_SECONDS} s)")
    return int(seconds > LIMIT_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
