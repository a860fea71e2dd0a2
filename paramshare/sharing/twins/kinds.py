"""The table of layers that have an unshared twin: for which inputs, and which twin."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, Final, NamedTuple

from torch import nn

from paramshare.sharing.local import Dense, LocalConv, LocalLinear
from paramshare.sharing.rehearsal import Shape
from paramshare.sharing.twins.attention import LocalAttention
from paramshare.sharing.twins.batch import Batches, Extent
from paramshare.sharing.twins.bilinear import LocalBilinear
from paramshare.sharing.twins.elementwise import CHANNEL_NORMS, TRAILING_NORMS, LocalNorm, LocalPReLU
from paramshare.sharing.twins.embedding import LocalEmbedding, LocalEmbeddingBag
from paramshare.sharing.twins.recurrent import LocalRecurrent
from paramshare.sharing.twins.transposed import DenseConvTranspose, LocalConvTranspose

__all__ = ["Positions", "has_dense", "positions_of", "twin_of"]

_CONVS: Final = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED: Final = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_RECURRENT: Final = (nn.RNN, nn.GRU, nn.LSTM)
_UNBATCHED: Final = {nn.InstanceNorm1d: 2, nn.InstanceNorm2d: 3, nn.InstanceNorm3d: 4}
"""The number of axes of an input without a batch, for norms that take such an input."""


@dataclass(frozen=True, slots=True)
class Positions:
    """The positions of one sample, as a layer is given them.

    Args:
        shapes: what the twin is made for: the shapes of one sample, without the batch.
        batch: the axis of the batch.
    """

    shapes: tuple[Shape, ...]
    batch: int = 0


Locate = Callable[[int, str], Extent | None]
"""A function that returns the extent of an argument by its place and its name."""


def positions_of(module: nn.Module, batches: Batches, name: str, call: int, out: Shape | None) -> Positions | None:
    """Return the positions that a layer was called with; None if it has one only, or no twin for them.

    Layers of a subclass, or with a forward of their own (`layer.forward = ...`), have no twin: what they compute is
    not known.

    Args:
        module: the layer.
        batches: where the batch stands.
        name, call: the layer's name, and the number of the call.
        out: the shape of what the call gave.
    """
    kind = _KINDS.get(type(module))
    if kind is None or "forward" in vars(module):
        return None
    return kind.find(module, lambda place, argument: batches.extent(name, call, place, argument), out)


def twin_of(layer: Any, positions: Positions, dense: bool) -> nn.Module:
    """Return the unshared or dense twin of a layer."""
    kind = _KINDS[type(layer)]
    make = kind.dense if dense else kind.local
    assert make is not None
    return make(layer, positions)


def has_dense(module: nn.Module) -> bool:
    """Return whether a layer has a dense twin; of tables and Bilinear layers there is none."""
    kind = _KINDS.get(type(module))
    return kind is not None and kind.dense is not None


def _convolution(conv: Any, locate: Locate, _out: Shape | None) -> Positions | None:
    extent = locate(0, "input")
    if extent is None or extent.batch not in (0, None):
        return None
    return Positions((extent.shape[-1 - len(conv.kernel_size) :],))


def _transposed(conv: Any, locate: Locate, out: Shape | None) -> Positions | None:
    found = _convolution(conv, locate, out)
    dims = 1 + len(conv.kernel_size)
    return (found and out and Positions((found.shapes[0], out[-dims:]))) or None


def _anywhere(extent: Extent | None, features: int) -> Positions | None:
    """Return the positions of a tensor whose last axes are features and whose batch can stand anywhere else."""
    if extent is None or len(extent.shape) < features:
        return None
    batch = extent.batch or 0
    if (extent.merged and batch) or batch >= len(extent.shape) - features > 0:
        return None
    shape = extent.of_one
    return Positions((shape,), batch) if prod(shape[: len(shape) - features]) > 1 else None


def _linear(_: Any, locate: Locate, _out: Shape | None) -> Positions | None:
    return _anywhere(locate(0, "input"), 1)


def _bilinear(_: Any, locate: Locate, _out: Shape | None) -> Positions | None:
    first, second = locate(0, "input1"), locate(1, "input2")
    if first is None or second is None or first.batch != second.batch:
        return None
    return _anywhere(first, 1)


def _trailing(norm: Any, locate: Locate, _out: Shape | None) -> Positions | None:
    return _anywhere(locate(0, "input"), len(norm.normalized_shape)) if norm.weight is not None else None


def _by_channel(norm: Any, locate: Locate, _out: Shape | None) -> Positions | None:
    extent = locate(0, "input")
    if norm.weight is None or extent is None or extent.batch not in (0, None):
        return None
    single = _UNBATCHED.get(type(norm)) == len(extent.shape)
    shape = extent.shape if single else extent.shape[1:]
    return Positions((shape,)) if prod(shape[1:]) > 1 else None


def _prelu(prelu: Any, locate: Locate, _out: Shape | None) -> Positions | None:
    extent = locate(0, "input")
    if extent is None or (extent.merged and extent.batch):
        return None
    if prelu.num_parameters > 1:  # the channels are the second axis
        return Positions((extent.shape[1:],)) if extent.batch in (0, None) and prod(extent.shape[2:]) > 1 else None
    return Positions((extent.of_one,), extent.batch or 0) if prod(extent.of_one) > 1 else None


def _embedding(table: Any, locate: Locate, _out: Shape | None) -> Positions | None:
    if table.sparse or table.scale_grad_by_freq:
        return None
    return _anywhere(locate(0, "input"), 0)


def _bag(table: Any, locate: Locate, _out: Shape | None) -> Positions | None:
    extent = locate(0, "input")
    if table.sparse or table.scale_grad_by_freq or extent is None or len(extent.shape) != 2:
        return None
    return Positions((extent.shape[1:],)) if extent.batch in (0, None) and extent.shape[1] > 1 else None


def _recurrent(rnn: Any, locate: Locate, _out: Shape | None) -> Positions | None:
    extent = locate(0, "input")
    sequence = None if extent is None else _sequence(extent, rnn.batch_first)
    return Positions((sequence,)) if sequence is not None and sequence[0] > 1 else None


def _attention(layer: Any, locate: Locate, _out: Shape | None) -> Positions | None:
    extents = [locate(place, argument) for place, argument in enumerate(("query", "key", "value"))]
    shapes = [None if extent is None else _sequence(extent, layer.batch_first) for extent in extents]
    if any(shape is None for shape in shapes) or max(shape[0] for shape in shapes if shape) < 2:
        return None
    return Positions(tuple(shape for shape in shapes if shape))


def _sequence(extent: Extent, batch_first: bool) -> Shape | None:
    """Return (steps, features) of what was given with a batch or without; None if the batch stands elsewhere."""
    if len(extent.shape) == 2:
        return extent.shape
    axis = 0 if batch_first else 1
    return extent.shape[:axis] + extent.shape[axis + 1 :] if extent.batch in (axis, None) else None


Find = Callable[[Any, Locate, Shape | None], Positions | None]
Make = Callable[[Any, Positions], nn.Module]


class _Kind(NamedTuple):
    """A type of layers that has a twin.

    Args:
        find: returns the positions that a layer was called with; None if it has one only, or no twin for them.
        local: makes the unshared twin.
        dense: makes the dense twin; None if there is none. Elementwise and recurrent layers are dense already.
    """

    find: Find
    local: Make
    dense: Make | None


def _at(make: Callable[..., nn.Module]) -> Make:
    """Return how a twin is made whose batch can stand between the positions."""
    return lambda layer, positions: make(layer, positions.shapes[0], positions.batch)


def _of(make: Callable[..., nn.Module], **options: Any) -> Make:
    """Return how a twin is made from the shapes alone."""
    return lambda layer, positions: make(layer, *positions.shapes, **options)


def _unfolded(layer: Any, positions: Positions) -> nn.Module:
    return LocalRecurrent(layer, positions.shapes[0][0])


_KINDS: Final[dict[type[nn.Module], _Kind]] = {
    nn.Linear: _Kind(_linear, _at(LocalLinear), _at(Dense)),
    nn.Bilinear: _Kind(_bilinear, _at(LocalBilinear), None),
    nn.PReLU: _Kind(_prelu, _at(LocalPReLU), _at(LocalPReLU)),
    nn.Embedding: _Kind(_embedding, _at(LocalEmbedding), None),
    nn.EmbeddingBag: _Kind(_bag, _at(LocalEmbeddingBag), None),
    nn.MultiheadAttention: _Kind(_attention, _of(LocalAttention), _of(LocalAttention, dense=True)),
    **dict.fromkeys(_CONVS, _Kind(_convolution, _of(LocalConv), _of(Dense))),
    **dict.fromkeys(_TRANSPOSED, _Kind(_transposed, _of(LocalConvTranspose), _of(DenseConvTranspose))),
    **dict.fromkeys(_RECURRENT, _Kind(_recurrent, _unfolded, _unfolded)),
    **dict.fromkeys(CHANNEL_NORMS, _Kind(_by_channel, _at(LocalNorm), _at(LocalNorm))),
    **dict.fromkeys(TRAILING_NORMS, _Kind(_trailing, _at(LocalNorm), _at(LocalNorm))),
}
