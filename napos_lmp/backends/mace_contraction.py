"""MACE's symmetric contractions as polynomials whose gradient comes with their value, equal to round-off.

A contraction is, for each channel of each atom, a polynomial of at most third degree in its 9 (or so) features,

    p(x) = a_i x_i + b_ij x_i x_j + c_ijk x_i x_j x_k,

with coefficients that depend on element and channel only. MACE multiplies them out anew for every atom and step. Here
they are kept, made symmetric in their indices. Then value and gradient follow from the same two products,

    p = x_i (a_i + B_i + C_i),  dp/dx_i = a_i + 2 B_i + 3 C_i,  B_i = b_ij x_j,  C_i = c_ijk x_j x_k.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch

_LARGEST = 3


class FusedContraction(torch.nn.Module):  # type: ignore[misc]  # torch is not followed by mypy
    """Does what one of MACE's contractions does, for first derivatives.

    Parameters
    ----------
    contraction : mace.modules.symmetric_contraction.Contraction
        Of correlation 3 at most.

    Raises
    ------
    ValueError
        If its correlation is larger.
    """

    def __init__(self, contraction: Any) -> None:
        super().__init__()
        if contraction.correlation > _LARGEST:
            raise ValueError(f"correlation {contraction.correlation} is not known")
        self._degrees = contraction.correlation
        self._tensors = [contraction.U_tensors(degree).detach() for degree in range(1, self._degrees + 1)]
        by_falling_degree = [contraction.weights_max, *contraction.weights]
        self._weights = [weight.detach() for weight in reversed(by_falling_degree)]
        self.size = self._tensors[0].shape[-2]
        self._pairs = torch.triu_indices(self.size, self.size)
        self._coefficients: dict[int, tuple[torch.Tensor, ...]] = {}

    def forward(self, features: torch.Tensor, elements: torch.Tensor) -> torch.Tensor:
        """Values (n_atoms, channels x components) from features (n_atoms, channels, size) and one-hot elements."""
        numbers = elements.argmax(dim=1)
        order = torch.argsort(numbers, stable=True)
        present, counts = torch.unique_consecutive(numbers[order], return_counts=True)
        groups = [
            (self._of_element(element), count) for element, count in zip(present.tolist(), counts.tolist(), strict=True)
        ]
        values: torch.Tensor = _Polynomial.apply(features, order, groups, self._pairs)
        return values.reshape(len(features), -1)

    def _of_element(self, element: int) -> tuple[torch.Tensor, ...]:
        """Symmetric coefficients of each degree: (channels, products of the other features, components x size)."""
        if element not in self._coefficients:
            known = zip(self._tensors, self._weights, strict=True)
            self._coefficients[element] = tuple(
                self._symmetric(tensor, weight[element], degree) for degree, (tensor, weight) in enumerate(known, 1)
            )
        return self._coefficients[element]

    def _symmetric(self, tensor: torch.Tensor, weight: torch.Tensor, degree: int) -> torch.Tensor:
        size, channels = self.size, weight.shape[1]
        full = tensor.reshape(-1, size**degree, weight.shape[0]) @ weight
        full = full.permute(2, 0, 1).reshape(channels, -1, *[size] * degree)
        orders = list(itertools.permutations(range(2, 2 + degree)))
        symmetric = torch.stack([full.permute(0, 1, *order) for order in orders]).mean(0)
        if degree == _LARGEST:
            first, second = self._pairs
            twice = torch.where(first == second, 1.0, 2.0).to(full.dtype)
            symmetric = symmetric[..., first, second] * twice
        return symmetric.reshape(channels, -1, size, symmetric[0, 0, 0].numel()).permute(0, 3, 1, 2).flatten(2)


class _Polynomial(torch.autograd.Function):  # type: ignore[misc]
    """Values of the polynomials; their gradient is formed on the way."""

    @staticmethod
    def forward(
        ctx: Any,
        features: torch.Tensor,
        order: torch.Tensor,
        groups: list[tuple[tuple[torch.Tensor, ...], int]],
        pairs: torch.Tensor,
    ) -> torch.Tensor:
        sorted_features = features.index_select(0, order).transpose(0, 1).contiguous()
        values, slopes, start = [], [], 0
        for coefficients, count in groups:
            value, slope = _value_and_slope(sorted_features[:, start : start + count], coefficients, pairs)
            values.append(value)
            slopes.append(slope)
            start += count
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order))
        ctx.save_for_backward(torch.cat(slopes, 1).transpose(0, 1).index_select(0, back))
        return torch.cat(values, 1).transpose(0, 1).index_select(0, back)

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grown: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (slopes,) = ctx.saved_tensors
        return (grown.unsqueeze(-1) * slopes).sum(2), None, None, None


def _value_and_slope(
    features: torch.Tensor, coefficients: tuple[torch.Tensor, ...], pairs: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Value (channels, n, components) and gradient (channels, n, components, size) for atoms of one element."""
    channels, count, size = features.shape
    terms = [coefficients[0].view(channels, 1, -1, size)]
    if len(coefficients) > 1:
        terms.append(torch.bmm(features, coefficients[1]).view(channels, count, -1, size))
    if len(coefficients) > 2:
        products = features.index_select(2, pairs[0]) * features.index_select(2, pairs[1])
        terms.append(torch.bmm(products, coefficients[2]).view(channels, count, -1, size))
    total, slope = terms[0], terms[0]
    for degree, term in enumerate(terms[1:], 2):
        total, slope = total + term, torch.add(slope, term, alpha=degree)
    return (total * features.unsqueeze(2)).sum(-1), slope.expand(channels, count, -1, size)
