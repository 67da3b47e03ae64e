"""A MACE layer's convolution as batched matrix products, equal to round-off.

e3nn forms for every pair of atoms the whole product of features and spherical harmonics and only then sums over pairs.
Here the sum over the pairs of an atom is the inner dimension of a matrix product. With w the radial weights, x the
features of the second atom, Y the spherical harmonics and C the coupling coefficients of a path, an atom's message is

    m[u, k] = sum_pairs,a  (w[pair, u] x[pair, a, u])  (sum_b C[a, b, k] Y[pair, b])
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class _Path:
    """One instruction of the tensor product: the numbers of its parts and its coefficients C[a, b, k]."""

    features: int
    harmonics: int
    weights: int
    coefficients: torch.Tensor


class FusedConvolution(torch.nn.Module):  # type: ignore[misc]  # torch is not followed by mypy
    """Does what an e3nn channel-wise tensor product followed by a sum over pairs does.

    Parameters
    ----------
    product : e3nn.o3.TensorProduct
        With "uvu" instructions, weights given from outside and one channel of spherical harmonics.

    Raises
    ------
    ValueError
        If it is another kind of product.
    """

    def __init__(self, product: Any) -> None:
        super().__init__()
        self._paths = _read_paths(product)
        self._dimensions = [part.dim for part in product.irreps_in1]
        self._sizes_of_features = [part.ir.dim for part in product.irreps_in1]
        self._sizes_of_harmonics = [part.ir.dim for part in product.irreps_in2]
        self._channels_of_weights = [product.irreps_in1[ins.i_in1].mul for ins in product.instructions]
        self.weight_numel = product.weight_numel

    def forward(
        self, node_feats: torch.Tensor, edge_attrs: torch.Tensor, tp_weights: torch.Tensor, edge_index: torch.Tensor
    ) -> torch.Tensor:
        """Messages (n_atoms, dimension of the product) from features of atoms, and harmonics and weights of pairs."""
        n_atoms = node_feats.shape[0]
        slots, width = _slots(edge_index[1], n_atoms)
        senders = edge_index.new_zeros(n_atoms * width)
        senders[slots] = edge_index[0]
        weights = _spread(tp_weights, slots, n_atoms * width).split(self._channels_of_weights, 1)
        harmonics = _spread(edge_attrs, slots, n_atoms * width).split(self._sizes_of_harmonics, 1)
        features = [
            part.view(n_atoms, -1, size).transpose(1, 2).reshape(n_atoms, -1).index_select(0, senders)
            for part, size in zip(node_feats.split(self._dimensions, 1), self._sizes_of_features, strict=True)
        ]
        messages = []
        for path in self._paths:
            size_in, size_harmonics, size_out = path.coefficients.shape
            weighted = features[path.features].view(n_atoms * width, size_in, -1) * weights[path.weights].unsqueeze(1)
            mixing = path.coefficients.transpose(0, 1).reshape(size_harmonics, size_in * size_out)
            coupling = harmonics[path.harmonics] @ mixing
            message = torch.bmm(
                weighted.view(n_atoms, width * size_in, -1).transpose(1, 2),
                coupling.view(n_atoms, width * size_in, size_out),
            )
            messages.append(message.reshape(n_atoms, -1))
        return torch.cat(messages, dim=1)


def _read_paths(product: Any) -> list[_Path]:
    """Paths in the order of the output; coefficients are read off by multiplying unit vectors."""
    simple = product.shared_weights is False and all(
        ins.connection_mode == "uvu" and ins.has_weight and product.irreps_in2[ins.i_in2].mul == 1
        for ins in product.instructions
    )
    outputs = [ins.i_out for ins in product.instructions]
    if not simple or sorted(outputs) != list(range(len(product.irreps_out))):
        raise ValueError("not a channel-wise product with outer weights")
    couplings = _couplings(product)
    paths = {}
    for number, ins in enumerate(product.instructions):
        features = product.irreps_in1.slices()[ins.i_in1].start
        harmonics = product.irreps_in2.slices()[ins.i_in2]
        result = product.irreps_out.slices()[ins.i_out].start
        # of channel 0 of the features and channel 0 of the result
        coefficients = couplings[
            features : features + product.irreps_in1[ins.i_in1].ir.dim,
            harmonics,
            result : result + product.irreps_out[ins.i_out].ir.dim,
        ]
        paths[ins.i_out] = _Path(ins.i_in1, ins.i_in2, number, coefficients.contiguous())
    return [paths[number] for number in sorted(paths)]


def _couplings(product: Any) -> torch.Tensor:
    """The product of each pair of unit vectors, all weights being 1: (dim 1, dim 2, dim out)."""
    dtype = _dtype(product)
    size_1, size_2 = product.irreps_in1.dim, product.irreps_in2.dim
    left = torch.eye(size_1, dtype=dtype).repeat_interleave(size_2, 0)
    right = torch.eye(size_2, dtype=dtype).repeat(size_1, 1)
    with torch.no_grad():
        result: torch.Tensor = product(left, right, torch.ones(len(left), product.weight_numel, dtype=dtype))
    return result.view(size_1, size_2, -1)


def _spread(values: torch.Tensor, slots: torch.Tensor, n_slots: int) -> torch.Tensor:
    """Rows of `values` at their places in a table that is zero elsewhere."""
    return values.new_zeros(n_slots, values.shape[1]).index_copy(0, slots, values)


def _slots(receivers: torch.Tensor, n_atoms: int) -> tuple[torch.Tensor, int]:
    """A place for each pair in a table of `width` places for each receiving atom."""
    counts = torch.bincount(receivers, minlength=n_atoms)
    width = int(counts.max())
    starts = counts.cumsum(0) - counts
    if bool((receivers[1:] < receivers[:-1]).any()):
        order = torch.argsort(receivers, stable=True)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order))
    else:
        rank = torch.arange(len(receivers))
    return receivers * width + rank - starts[receivers], width


def _dtype(product: Any) -> torch.dtype:
    """Type of the numbers of a product, taken from its coupling coefficients."""
    return next((b.dtype for b in product.buffers() if b.is_floating_point() and b.numel()), torch.get_default_dtype())
