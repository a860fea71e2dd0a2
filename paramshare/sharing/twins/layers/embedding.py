"""The unshared twins of tables: an Embedding and an EmbeddingBag with a table for each position."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from paramshare.errors import SpecError
from paramshare.sharing.twins.layers.unshared import Unshared, replicated

__all__ = ["LocalEmbedding", "LocalEmbeddingBag"]


class _Tables(Unshared):
    """The base of tables for each position: `weight` is (*positions, num_embeddings, embedding_dim).

    Args:
        layer: the table to copy: options, dtype, device and requires_grad.
        input_shape: the positions of one sample.
        batch_axis: the axis of the batch. Defaults to 0.
    """

    num_embeddings: int
    embedding_dim: int
    padding_idx: int | None
    max_norm: float | None
    norm_type: float

    def __init__(self, layer: nn.Embedding | nn.EmbeddingBag, input_shape: Sequence[int], batch_axis: int = 0) -> None:
        super().__init__(layer, input_shape, batch_axis)
        self.register_copies("weight", layer.weight, replicated(layer.weight, self.input_shape))

    def rows(self, indices: Tensor) -> tuple[Tensor, Tensor | None]:
        """Look up rows, each in the table of its position.

        Args:
            indices: (..., *positions).

        Returns:
            The rows, (positions, samples, embedding_dim), and a mask of rows that are padding, (positions, samples, 1),
            or None without padding. Padding gets no gradient.
        """
        picks = indices.reshape(-1, prod(self.input_shape)).t().long()
        tables = self.weight.flatten(0, -3)
        if self.max_norm is not None:
            first_rows = torch.arange(len(tables), device=picks.device).unsqueeze(1) * self.num_embeddings
            with torch.no_grad():
                table = tables.detach().flatten(0, 1)
                torch.embedding_renorm_(table, (picks + first_rows).contiguous(), self.max_norm, self.norm_type)
        rows = tables.gather(1, picks.unsqueeze(-1).expand(*picks.shape, self.embedding_dim))
        if self.padding_idx is None:
            return rows, None
        padding = (picks == self.padding_idx).unsqueeze(-1)
        return torch.where(padding, rows.detach(), rows), padding


class LocalEmbedding(_Tables):
    """An Embedding with a table for each position.

    Tables with `sparse` or `scale_grad_by_freq` have no twin, since both act on the gradient of a shared table.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - named as torch's layers name it
        """Return the rows for indices of (..., *input_shape), or with the batch at `batch_axis`."""
        indices = input.movedim(self.batch_axis, 0)
        rows, _ = self.rows(indices)
        return rows.transpose(0, 1).reshape(*indices.shape, self.embedding_dim).movedim(0, self.batch_axis)


class LocalEmbeddingBag(_Tables):
    """An EmbeddingBag on (batch, indices) with a table for each place in the bag."""

    mode: str

    def forward(
        self,
        input: Tensor,  # noqa: A002 - named as torch's layers name it
        offsets: Tensor | None = None,
        per_sample_weights: Tensor | None = None,
    ) -> Tensor:
        """Return the bags for indices of (batch, *input_shape).

        Raises:
            SpecError: offsets are given, which make bags of different lengths.
        """
        if offsets is not None:
            raise SpecError(f"{type(self).__name__} does not support offsets; give the indices as (batch, indices)")
        rows, padding = self.rows(input)
        if self.mode == "max":
            return _largest(rows, padding)
        if padding is not None:
            rows = rows.masked_fill(padding, 0)
        if per_sample_weights is not None:
            rows = rows * per_sample_weights.t().unsqueeze(-1)
        total = rows.sum(0)
        if self.mode == "sum":
            return total
        return total / (len(rows) if padding is None else (~padding).sum(0).clamp(min=1))


def _largest(rows: Tensor, padding: Tensor | None) -> Tensor:
    """Return the maximum of each bag without padding; 0 for a bag of padding alone."""
    if padding is None:
        return rows.max(0).values
    largest = rows.masked_fill(padding, float("-inf")).max(0).values
    return largest.masked_fill(padding.all(0), 0)
