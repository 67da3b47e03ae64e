"""A MACE model made faster on a CPU while it is loaded, with results that are equal to round-off.

Three of its parts are replaced: convolutions (:mod:`napos_lmp.backends.mace_convolution`), symmetric contractions
(:mod:`napos_lmp.backends.mace_contraction`), and the radial networks, whose constant factors are multiplied into their
weights. MACE's interaction blocks take a convolution through their own door for fused ones (`conv_fusion`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from napos_lmp.backends.mace_contraction import FusedContraction
from napos_lmp.backends.mace_convolution import FusedConvolution

_TOLERANCE = {torch.float32: 5e-5, torch.float64: 1e-12}
_N_ATOMS, _N_PAIRS = 5, 60

Operation = Callable[..., torch.Tensor]


def hasten(unified: Any) -> int:
    """Replace the slow parts of the MACE model in an exported object; the number of parts that were replaced.

    A part is left as it is when it is of another kind, or when its replacement, tried on random numbers, differs in
    value or gradient by more than round-off. Other objects are left alone.
    """
    model: Any = getattr(getattr(unified, "model", None), "model", None)
    if not isinstance(model, torch.nn.Module):
        return 0
    dtype = next((parameter.dtype for parameter in model.parameters()), None)
    if dtype not in _TOLERANCE:
        return 0
    interactions = [block for block in getattr(model, "interactions", ()) if not hasattr(block, "conv_fusion")]
    products = getattr(model, "products", ())
    random = _Random(dtype)
    return sum(
        (
            sum(_hasten_convolution(block, random) for block in interactions),
            sum(_hasten_network(block, random) for block in interactions),
            sum(_hasten_contractions(block, random) for block in products),
        )
    )


class FoldedNetwork(torch.nn.Module):  # type: ignore[misc]  # torch is not followed by mypy
    """An e3nn network without biases, its constant factors multiplied into the weights.

    Parameters
    ----------
    network : e3nn.nn.FullyConnectedNet
        With one activation function for all layers but the last.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        layers = list(network.children())
        self._activation = layers[0].act.f
        self._weights, factor = [], 1.0
        for layer in layers:
            factor *= (layer.h_in * layer.var_in) ** -0.5
            if layer.act is None:
                factor *= layer.var_out**0.5
            self._weights.append(layer.weight.detach() * factor)
            factor = 1.0 if layer.act is None else layer.act.cst * layer.var_out**0.5
        self.hs = network.hs

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """The network's output."""
        *inner, last = self._weights
        for weights in inner:
            values = self._activation(values @ weights)
        return values @ last


class _Random:
    """Numbers to try things with; the same ones each time."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._generator = torch.Generator().manual_seed(1)

    def numbers(self, *shape: int) -> torch.Tensor:
        """Normally distributed."""
        return torch.randn(*shape, dtype=self.dtype, generator=self._generator)

    def indices(self, limit: int, *shape: int) -> torch.Tensor:
        """Whole numbers below `limit`."""
        return torch.randint(limit, shape, generator=self._generator)


def _hasten_convolution(block: Any, random: _Random) -> bool:
    product: Any = getattr(block, "conv_tp", None)
    try:
        fused = FusedConvolution(product)
    except (ValueError, AttributeError):
        return False
    index = random.indices(_N_ATOMS, 2, _N_PAIRS)
    features = random.numbers(_N_ATOMS, product.irreps_in1.dim)
    harmonics = random.numbers(_N_PAIRS, product.irreps_in2.dim)
    weights = random.numbers(_N_PAIRS, product.weight_numel)

    def summed(features: torch.Tensor, harmonics: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        messages = product(features[index[0]], harmonics, weights)
        return messages.new_zeros(_N_ATOMS, messages.shape[1]).index_add(0, index[1], messages)

    agreed = _agree(summed, lambda *values: fused(*values, index), [features, harmonics, weights])
    if agreed:
        block.conv_tp, block.conv_fusion = fused, True
    return agreed


def _hasten_network(block: Any, random: _Random) -> bool:
    network: Any = getattr(block, "conv_tp_weights", None)
    try:
        folded = FoldedNetwork(network)
        values = random.numbers(_N_PAIRS, network.hs[0])
    except (AttributeError, IndexError, TypeError):
        return False
    agreed = _agree(network, folded, [values])
    if agreed:
        block.conv_tp_weights = folded
    return agreed


def _hasten_contractions(block: Any, random: _Random) -> int:
    contractions: Any = getattr(getattr(block, "symmetric_contractions", None), "contractions", ())
    replaced = 0
    for number, contraction in enumerate(contractions):
        if (fused := _fused_contraction(contraction, random)) is not None:
            contractions[number] = fused
            replaced += 1
    return replaced


def _fused_contraction(contraction: Any, random: _Random) -> FusedContraction | None:
    try:
        fused = FusedContraction(contraction)
    except (ValueError, AttributeError):
        return None
    n_elements, _, channels = contraction.weights_max.shape
    elements = torch.nn.functional.one_hot(random.indices(n_elements, _N_ATOMS), n_elements).to(random.dtype)
    features = random.numbers(_N_ATOMS, channels, fused.size)
    agreed = _agree(lambda x: contraction(x, elements), lambda x: fused(x, elements), [features])
    return fused if agreed else None


def _agree(old: Operation, new: Operation, inputs: Sequence[torch.Tensor]) -> bool:
    """Whether two operations have the same value, and the same gradient of a sum over it."""
    results = []
    for operation in (old, new):
        given = [values.clone().requires_grad_(True) for values in inputs]
        try:
            value = operation(*given)
            weights = torch.linspace(0.5, 1.5, value.numel(), dtype=value.dtype).view_as(value)
            results.append([value.detach(), *torch.autograd.grad((weights * value).sum(), given)])
        except (RuntimeError, TypeError, AttributeError):
            return False
    tolerance = _TOLERANCE[inputs[0].dtype]
    return all(
        one.shape == two.shape and bool((one - two).abs().max() <= tolerance * one.abs().max())
        for one, two in zip(*results, strict=True)
    )
