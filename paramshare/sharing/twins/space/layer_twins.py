"""The table of layer types that have an unshared twin, with the inputs that the twin supports."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, Final, NamedTuple

from torch import nn

from paramshare.sharing.twins.layers.attention import LocalAttention
from paramshare.sharing.twins.layers.convolution import LocalConv
from paramshare.sharing.twins.layers.dense import Dense
from paramshare.sharing.twins.layers.elementwise import CHANNEL_NORMS, TRAILING_NORMS, LocalNorm, LocalPReLU
from paramshare.sharing.twins.layers.embedding import LocalEmbedding, LocalEmbeddingBag
from paramshare.sharing.twins.layers.linear import LocalBilinear, LocalLinear
from paramshare.sharing.twins.layers.recurrent import LocalRecurrent
from paramshare.sharing.twins.layers.transposed import DenseConvTranspose, LocalConvTranspose
from paramshare.sharing.twins.observed_pass import Shape
from paramshare.sharing.twins.space.batch_axis import BatchAxes, InputShape
from paramshare.sharing.twins.space.parametrized import class_of, is_computed, with_originals

__all__ = ["Positions", "has_dense", "positions_of", "twin_of"]

_CONVS: Final = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED: Final = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_RECURRENT: Final = (nn.RNN, nn.GRU, nn.LSTM)
_LEADING: Final = (nn.Linear, nn.Bilinear, nn.Embedding, nn.EmbeddingBag, *_CONVS)
_UNBATCHED: Final = {nn.InstanceNorm1d: 2, nn.InstanceNorm2d: 3, nn.InstanceNorm3d: 4}
"""The number of axes of an input without a batch, for norms that accept such an input."""


@dataclass(frozen=True, slots=True)
class Positions:
    """The positions of one sample in the input of a layer.

    Args:
        shapes: the shapes that the twin is made for: of one sample, without the batch.
        batch: the batch axis.
    """

    shapes: tuple[Shape, ...]
    batch: int = 0


_Locate = Callable[[int, str], InputShape | None]
"""A function that returns the shape of an argument by its number and its name."""


def positions_of(module: nn.Module, batch_axes: BatchAxes, name: str, call: int, out: Shape | None) -> Positions | None:
    """Return the positions in the input of one call; None for a single position, or without a twin for the input.

    Layers of a subclass, or with a replaced forward (`layer.forward = ...`), have no twin, since their function is
    unknown.

    Args:
        module: the layer.
        batch_axes: the batch axis of each input.
        name, call: the layer's name, and the number of the call.
        out: the shape of the result of the call.
    """
    kind = _kind_of(module)
    if kind is None or "forward" in vars(module):
        return None
    return kind.find(module, lambda place, argument: batch_axes.input_shape(name, call, place, argument), out)


def twin_of(layer: Any, positions: Positions, dense: bool) -> nn.Module:
    """Return the unshared or dense twin of a layer."""
    kind = _kind_of(layer)
    make = kind and (kind.dense if dense else kind.local)
    assert make is not None
    if is_computed(layer):
        return with_originals(layer, lambda plain: make(plain, positions))
    return make(layer, positions)


def has_dense(module: nn.Module) -> bool:
    """Return whether a layer has a dense twin; tables and Bilinear layers have none."""
    kind = _kind_of(module)
    return kind is not None and kind.dense is not None and not is_computed(module)


def _kind_of(module: nn.Module) -> "_Kind | None":
    """Return the type of a layer that has a twin; None for any other layer."""
    kind = _KINDS.get(class_of(module))
    return None if kind is None or (is_computed(module) and not _has_leading_positions(module)) else kind


def _has_leading_positions(layer: Any) -> bool:
    """Return whether each parameter of a layer's twin is (*positions, *shape), and no call changes the weights."""
    if isinstance(layer, _TRANSPOSED):
        return layer.bias is None or "bias" in layer._parameters
    return isinstance(layer, _LEADING) and getattr(layer, "max_norm", None) is None


def _convolution(conv: Any, locate: _Locate, _out: Shape | None) -> Positions | None:
    input_shape = locate(0, "input")
    if input_shape is None or input_shape.batch not in (0, None):
        return None
    return Positions((input_shape.shape[-1 - len(conv.kernel_size) :],))


def _transposed(conv: Any, locate: _Locate, out: Shape | None) -> Positions | None:
    positions = _convolution(conv, locate, out)
    dims = 1 + len(conv.kernel_size)
    return (positions and out and Positions((positions.shapes[0], out[-dims:]))) or None


def _anywhere(input_shape: InputShape | None, features: int) -> Positions | None:
    """Return the positions of a tensor whose last axes are features and whose batch can be any other axis."""
    if input_shape is None or len(input_shape.shape) < features:
        return None
    batch = input_shape.batch or 0
    if (input_shape.merged and batch) or batch >= len(input_shape.shape) - features > 0:
        return None
    shape = input_shape.sample_shape
    return Positions((shape,), batch) if prod(shape[: len(shape) - features]) > 1 else None


def _linear(_: Any, locate: _Locate, _out: Shape | None) -> Positions | None:
    return _anywhere(locate(0, "input"), 1)


def _bilinear(_: Any, locate: _Locate, _out: Shape | None) -> Positions | None:
    first, second = locate(0, "input1"), locate(1, "input2")
    if first is None or second is None or first.batch != second.batch:
        return None
    return _anywhere(first, 1)


def _trailing(norm: Any, locate: _Locate, _out: Shape | None) -> Positions | None:
    return _anywhere(locate(0, "input"), len(norm.normalized_shape)) if norm.weight is not None else None


def _by_channel(norm: Any, locate: _Locate, _out: Shape | None) -> Positions | None:
    input_shape = locate(0, "input")
    if norm.weight is None or input_shape is None or input_shape.batch not in (0, None):
        return None
    single = _UNBATCHED.get(type(norm)) == len(input_shape.shape)
    shape = input_shape.shape if single else input_shape.shape[1:]
    return Positions((shape,)) if prod(shape[1:]) > 1 else None


def _prelu(prelu: Any, locate: _Locate, _out: Shape | None) -> Positions | None:
    input_shape = locate(0, "input")
    if input_shape is None or (input_shape.merged and input_shape.batch):
        return None
    if prelu.num_parameters > 1:  # the channels are the second axis
        return (
            Positions((input_shape.shape[1:],))
            if input_shape.batch in (0, None) and prod(input_shape.shape[2:]) > 1
            else None
        )
    return (
        Positions((input_shape.sample_shape,), input_shape.batch or 0) if prod(input_shape.sample_shape) > 1 else None
    )


def _embedding(table: Any, locate: _Locate, _out: Shape | None) -> Positions | None:
    if table.sparse or table.scale_grad_by_freq:
        return None
    return _anywhere(locate(0, "input"), 0)


def _bag(table: Any, locate: _Locate, _out: Shape | None) -> Positions | None:
    input_shape = locate(0, "input")
    if table.sparse or table.scale_grad_by_freq or input_shape is None or len(input_shape.shape) != 2:
        return None
    return Positions((input_shape.shape[1:],)) if input_shape.batch in (0, None) and input_shape.shape[1] > 1 else None


def _recurrent(rnn: Any, locate: _Locate, _out: Shape | None) -> Positions | None:
    input_shape = locate(0, "input")
    sequence = None if input_shape is None else _sequence(input_shape, rnn.batch_first)
    return Positions((sequence,)) if sequence is not None and sequence[0] > 1 else None


def _attention(layer: Any, locate: _Locate, _out: Shape | None) -> Positions | None:
    inputs = [locate(place, argument) for place, argument in enumerate(("query", "key", "value"))]
    shapes = [None if input_shape is None else _sequence(input_shape, layer.batch_first) for input_shape in inputs]
    if any(shape is None for shape in shapes) or max(shape[0] for shape in shapes if shape) < 2:
        return None
    return Positions(tuple(shape for shape in shapes if shape))


def _sequence(input_shape: InputShape, batch_first: bool) -> Shape | None:
    """Return (steps, features) of an input with or without a batch; None if the batch is another axis."""
    if len(input_shape.shape) == 2:
        return input_shape.shape
    axis = 0 if batch_first else 1
    return input_shape.shape[:axis] + input_shape.shape[axis + 1 :] if input_shape.batch in (axis, None) else None


_Find = Callable[[Any, _Locate, Shape | None], Positions | None]
_Make = Callable[[Any, Positions], nn.Module]


class _Kind(NamedTuple):
    """A type of layers that has a twin.

    Args:
        find: returns the positions in the input of a call, as `positions_of` does.
        local: makes the unshared twin.
        dense: makes the dense twin; None without one. Elementwise and recurrent layers are already dense.
    """

    find: _Find
    local: _Make
    dense: _Make | None


def _at(make: Callable[..., nn.Module]) -> _Make:
    """Return a maker of twins whose batch can be any axis."""
    return lambda layer, positions: make(layer, positions.shapes[0], positions.batch)


def _of(make: Callable[..., nn.Module], **options: Any) -> _Make:
    """Return a maker of twins from the shapes alone."""
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
