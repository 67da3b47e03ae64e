"""MACE models with random weights, small enough to be made in a test."""

from pathlib import Path
from typing import Any

from napos_lmp.backends.mace import contained_imports

ELEMENTS = ("O", "Na", "P", "S")


def tiny_mace(
    *, heads: tuple[str, ...] = ("Default",), precision: str = "float64", cutoff: float = 4.0, seed: int = 0
) -> Any:
    """A MACE model for O, Na, P and S (in MACE's order) with 8 channels and two layers."""
    with contained_imports():
        import numpy as np
        import torch
        from e3nn import o3
        from mace import modules

    torch.manual_seed(seed)
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, precision))
    try:
        return modules.ScaleShiftMACE(
            r_max=cutoff,
            num_bessel=4,
            num_polynomial_cutoff=5,
            max_ell=2,
            interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
            interaction_cls_first=modules.interaction_classes["RealAgnosticInteractionBlock"],
            num_interactions=2,
            num_elements=4,
            hidden_irreps=o3.Irreps("8x0e+8x1o"),
            MLP_irreps=o3.Irreps(f"{4 * len(heads)}x0e"),
            atomic_energies=np.tile([[-1.0, -2.0, -3.0, -4.0]], (len(heads), 1)),
            avg_num_neighbors=8.0,
            atomic_numbers=[8, 11, 15, 16],
            correlation=2,
            gate=torch.nn.functional.silu,
            radial_MLP=[8],
            radial_type="bessel",
            atomic_inter_scale=[1.0] * len(heads),
            atomic_inter_shift=[0.0] * len(heads),
            heads=list(heads),
        )
    finally:
        torch.set_default_dtype(before)


def save_tiny_mace(file: Path, **options: Any) -> Path:
    """Write such a model as MACE's training writes it."""
    import torch

    torch.save(tiny_mace(**options), file)
    return file
