"""The unshared twin of multi-head attention: projections for each position."""

from collections.abc import Callable, Sequence
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional

from paramshare.errors import SpecError
from paramshare.sharing.tensors.copies import parameter_like
from paramshare.sharing.twins.layers.dense import Dense
from paramshare.sharing.twins.layers.linear import LocalLinear
from paramshare.sharing.twins.layers.unshared import copy_options

__all__ = ["LocalAttention"]

_Projection = Callable[[nn.Linear, Sequence[int]], nn.Module]


class LocalAttention(nn.Module):
    """A MultiheadAttention that projects queries, keys, values and outputs by a matrix for each position.

    `queries` and `outputs` are layers on (length, features), `keys` and `values` on (source_length, features).

    Args:
        layer: the attention to copy: options, dtype, device and requires_grad.
        query, key, value: (positions, features) of one sample.
        dense: True for projections of class `Dense`, False for `LocalLinear`. Defaults to False.
    """

    embed_dim: int
    num_heads: int
    head_dim: int
    dropout: float
    batch_first: bool
    add_zero_attn: bool
    in_proj_weight: None = None
    in_proj_bias: None = None  # None makes nn.TransformerEncoderLayer avoid its fused path
    _qkv_same_embed_dim = False
    bias_k: nn.Parameter | None
    bias_v: nn.Parameter | None

    def __init__(
        self,
        layer: nn.MultiheadAttention,
        query: Sequence[int],
        key: Sequence[int],
        value: Sequence[int],
        *,
        dense: bool = False,
    ) -> None:
        super().__init__()
        copy_options(layer, self, without=("bias_k", "bias_v"))
        project: _Projection = Dense if dense else LocalLinear
        queries, keys, values = _projections(layer)
        self.queries, self.keys, self.values = project(queries, query), project(keys, key), project(values, value)
        self.outputs = project(layer.out_proj, (query[0], layer.embed_dim))
        for name, parameter in (("bias_k", layer.bias_k), ("bias_v", layer.bias_v)):
            self.register_parameter(
                name,
                parameter_like(parameter, parameter.detach().clone()) if isinstance(parameter, nn.Parameter) else None,
            )

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the outputs and attention weights, for the arguments of `nn.MultiheadAttention`.

        Raises:
            SpecError: `is_causal`, which only describes the mask, is given without `attn_mask`.
        """
        if is_causal and attn_mask is None:
            raise SpecError("LocalAttention was given is_causal without attn_mask; give the causal mask too")
        batched = query.dim() == 3
        if not batched:
            query, key, value = query.unsqueeze(0), key.unsqueeze(0), value.unsqueeze(0)
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            query, key, value = query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1)
        q, k, v = self.queries(query), self.keys(key), self.values(value)
        if self.bias_k is not None and self.bias_v is not None:
            k = torch.cat([k, self.bias_k.expand(len(k), 1, -1)], 1)
            v = torch.cat([v, self.bias_v.expand(len(v), 1, -1)], 1)
        if self.add_zero_attn:
            k, v = functional.pad(k, (0, 0, 0, 1)), functional.pad(v, (0, 0, 0, 1))
        q, k, v = self._heads(q), self._heads(k), self._heads(v)
        mask = self._mask(q, k, attn_mask, key_padding_mask)
        heads, weights = self._attend(q, k, v, mask, need_weights)
        out: Tensor = self.outputs(heads.transpose(1, 2).flatten(2))
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if not batched:
            return out.squeeze(0), None if weights is None else weights.squeeze(0)
        return out if self.batch_first else out.transpose(0, 1), weights

    def _heads(self, x: Tensor) -> Tensor:
        """Split (batch, positions, embed_dim) into (batch, heads, positions, head_dim)."""
        return x.view(*x.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)

    def _mask(self, q: Tensor, k: Tensor, attn_mask: Tensor | None, key_padding_mask: Tensor | None) -> Tensor | None:
        """Return the sum of both masks, to be added to the scores; keys that the layer appends are not masked."""
        mask: Tensor | None = None
        if attn_mask is not None:
            added = _added(attn_mask, q.dtype)
            mask = added if added.dim() == 2 else added.view(*q.shape[:2], *added.shape[1:])
            mask = functional.pad(mask, (0, k.shape[2] - mask.shape[-1]))
        if key_padding_mask is not None:
            padding = _added(key_padding_mask, q.dtype)[:, None, None]
            padding = functional.pad(padding, (0, k.shape[2] - padding.shape[-1]))
            mask = padding if mask is None else mask + padding
        return mask

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        dropout = self.dropout if self.training else 0.0
        if not need_weights:
            return functional.scaled_dot_product_attention(q, k, v, mask, dropout), None
        scores = (q * sqrt(1 / self.head_dim)) @ k.mT
        weights = functional.dropout((scores if mask is None else scores + mask).softmax(-1), dropout)
        return weights @ v, weights


def _projections(layer: nn.MultiheadAttention) -> list[nn.Linear]:
    """Return the projections of queries, keys and values as three layers on the memory of `layer`."""
    if layer._qkv_same_embed_dim:
        weights = list(layer.in_proj_weight.chunk(3))
        trained = [layer.in_proj_weight.requires_grad] * 3
    else:
        parameters = (layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight)
        weights, trained = list(parameters), [parameter.requires_grad for parameter in parameters]
    biases: Sequence[Tensor | None] = (None,) * 3 if layer.in_proj_bias is None else layer.in_proj_bias.chunk(3)
    linears = []
    for weight, bias, trains in zip(weights, biases, trained, strict=True):
        outs, ins = weight.shape
        linear = nn.Linear(ins, outs, bias=False, device="meta")
        linear.weight = nn.Parameter(weight.detach(), requires_grad=trains)
        if bias is not None:
            trains = layer.in_proj_bias.requires_grad
            linear.bias = nn.Parameter(bias.detach(), requires_grad=trains)
        linears.append(linear)
    return linears


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a mask to be added to scores: a boolean mask becomes minus infinity at True."""
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, float("-inf")) if mask.dtype is torch.bool else mask
