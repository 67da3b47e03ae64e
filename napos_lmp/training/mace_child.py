"""`mace_run_train` as the child process runs it: MACE's own program, with one fault of MACE 0.3.16 kept from it.

When a foundation has just the elements that are trained, MACE copies the foundation's energies of free atoms over those
it was told to use or has just estimated; labels of another zero would have to be learned by the network.
"""

from __future__ import annotations

from typing import Any


def keep_atomic_energies() -> None:
    """Let a model keep the energies of free atoms that it was built with when it gets the weights of its foundation."""
    from mace.tools import model_script_utils

    load = model_script_utils.load_foundations_elements

    def load_all_else(model: Any, *arguments: Any, **options: Any) -> Any:
        own = model.atomic_energies_fn.atomic_energies.clone()
        loaded = load(model, *arguments, **options)
        loaded.atomic_energies_fn.atomic_energies.copy_(own)
        return loaded

    model_script_utils.load_foundations_elements = load_all_else


def main() -> None:
    """Run `mace_run_train` with the arguments of the command line."""
    from mace.cli.run_train import main as run_train

    keep_atomic_energies()
    run_train()


if __name__ == "__main__":
    main()
