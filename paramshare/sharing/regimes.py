"""The closed formulas: what a layer has when its weights are shared, unshared and dense, from its sizes alone.

Integers in, integers out: no torch, no model. `trace` counts the same by watching a model run, and the two agree.
The regimes are those of `report`, for one use of a layer on one sample, and hold for all layer types in this way:

shared
    The layer's parameters.
unshared
    A copy for every site. Of a matrix product or a convolution, as many as its multiply-accumulates ("links" in LeCun,
    "Generalization and network design strategies", 1989; "unshared convolution" in Goodfellow, Bengio and Courville,
    "Deep Learning", 2016, section 9.5). Of what meets its data elementwise (biases, norms, PReLU), one for every
    element that it meets.
unshared_live
    Those copies that meet data: not those of taps on padding, nor of recurrent weights on a zero initial state.
dense
    Of a product, its outputs times the elements of its input, over all positions: no local connectivity (Goodfellow
    et al., section 9.2). What is elementwise stays as unshared.
macs, dense_macs
    Multiply-accumulates of the products, as shared or unshared alike, and as dense. An elementwise operation or a
    lookup in a table has none.

Arguments have torch's names. Sizes that cannot be raise SpecError.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import prod
from typing import Final, Literal

from paramshare.errors import SpecError
from paramshare.sharing.sizes import Axis, Ints, check_groups, check_whole, conv_axes, conv_transpose_axes

__all__ = [
    "Regimes",
    "attention",
    "bilinear",
    "conv",
    "conv_transpose",
    "embedding",
    "linear",
    "norm",
    "prelu",
    "rnn",
]

_GATES: Final = {"rnn": 1, "lstm": 4, "gru": 3}


@dataclass(frozen=True, slots=True)
class Regimes:
    """The numbers of one layer for one sample; the sum of two is that of both layers.

    Args:
        shared, unshared, unshared_live, dense: parameters.
        macs: multiply-accumulates, shared and unshared alike.
        dense_macs: multiply-accumulates when dense.
    """

    shared: int
    unshared: int
    unshared_live: int
    dense: int
    macs: int
    dense_macs: int

    @property
    def factor(self) -> float:
        """The sharing factor: unshared / shared."""
        return self.unshared / self.shared

    def __add__(self, other: "Regimes") -> "Regimes":
        return Regimes(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(Regimes)))


_NOTHING: Final = Regimes(0, 0, 0, 0, 0, 0)


def linear(in_features: int, out_features: int, bias: bool = True, positions: int = 1) -> Regimes:
    """nn.Linear on (positions, in_features): y = x Wᵀ + b, the same W and b at every position.

    With T positions, D inputs and F outputs: shared D·F + F, unshared T·(D·F + F), dense (T·D)·(T·F) + T·F,
    MACs T·D·F and dense (T·D)·(T·F).

    Args:
        in_features, out_features: D, F.
        bias: whether there is b, of F.
        positions: T, the product of all dimensions between the batch and the features; 1 if there are none.

    Raises:
        SpecError: a size is not a whole number of at least 1.
    """
    check_whole(in_features=in_features, out_features=out_features, positions=positions)
    dense = (positions * in_features) * (positions * out_features)
    product = _product(in_features * out_features, positions, dense)
    return product + _bias(bias, out_features, positions)


def conv(
    in_channels: int,
    out_channels: int,
    kernel_size: Ints,
    size: Ints,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
    bias: bool = True,
) -> Regimes:
    """nn.Conv1d, 2d or 3d on (in_channels, *size), padded with zeros.

    With weights W = Co·(Ci/groups)·Πkernel and outputs of (Co, *out) (`sizes.conv_axes`): shared W + Co, unshared
    Πout·W + Πout·Co, dense (Ci·Πsize)·(Co·Πout) + Πout·Co, MACs Πout·W and dense (Ci·Πsize)·(Co·Πout). Live are
    Co·(Ci/groups)·Π_d #{(o, t): 0 ≤ o·stride - padding + t·dilation < size} + Πout·Co, the product over dimensions,
    o an output's position, t a tap; nominally taps on padding count too.

    Args:
        in_channels, out_channels: Ci, Co.
        kernel_size, size, stride, dilation: whole numbers, one for all dimensions or one for each; `size` is the
            input's. There are as many dimensions as numbers in the longest of these, so plain numbers mean one.
        padding: likewise, or `same` (with stride 1 only) or `valid`.
        groups: divides both channels; each output sees the Ci/groups inputs of its own group.
        bias: whether there is one, of Co.

    Raises:
        SpecError: a size that cannot be, or a kernel that is larger than the padded input.
    """
    check_groups(groups, in_channels, out_channels)
    axes = conv_axes(kernel_size, size, stride, padding, dilation)
    sites = prod(axis.outputs for axis in axes)
    return _convolution(in_channels, out_channels, groups, bias, axes, sites)


def conv_transpose(
    in_channels: int,
    out_channels: int,
    kernel_size: Ints,
    size: Ints,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    bias: bool = True,
    dilation: Ints = 1,
) -> Regimes:
    """nn.ConvTranspose1d, 2d or 3d on (in_channels, *size).

    Each input spreads its kernel over the output, so the sites of W = Ci·(Co/groups)·Πkernel are the inputs; those of
    the bias are still the outputs, (Co, *out) (`sizes.conv_transpose_axes`): shared W + Co, unshared
    Πsize·W + Πout·Co, dense (Ci·Πsize)·(Co·Πout) + Πout·Co, MACs Πsize·W and dense (Ci·Πsize)·(Co·Πout). Live are the
    taps that land in what padding leaves of the output:
    Ci·(Co/groups)·Π_d #{(i, t): 0 ≤ i·stride - padding + t·dilation < out} + Πout·Co, i an input's position.

    Args:
        in_channels, out_channels, kernel_size, size, stride, dilation, groups, bias: as of `conv`.
        padding: what is cut off from either side of the output, in numbers.
        output_padding: what is added to its right; below stride or dilation.

    Raises:
        SpecError: a size that cannot be, or an output of which nothing is left.
    """
    check_groups(groups, in_channels, out_channels)
    axes = conv_transpose_axes(kernel_size, size, stride, padding, output_padding, dilation)
    sites = prod(axis.inputs for axis in axes)
    return _convolution(in_channels, out_channels, groups, bias, axes, sites)


def embedding(num_embeddings: int, embedding_dim: int, positions: int = 1) -> Regimes:
    """nn.Embedding on (positions,) of indices: a product with one-hot rows that nobody multiplies.

    With T positions, V rows of D: shared V·D, unshared T·V·D, a table for every position, all of it live, for data
    may pick any row; dense (T·V)·(T·D); no MACs.

    Args:
        num_embeddings, embedding_dim: V, D.
        positions: T, the indices in a sample.

    Raises:
        SpecError: a size is not a whole number of at least 1.
    """
    check_whole(num_embeddings=num_embeddings, embedding_dim=embedding_dim, positions=positions)
    table = num_embeddings * embedding_dim
    copies = positions * table
    return Regimes(table, copies, copies, (positions * num_embeddings) * (positions * embedding_dim), 0, 0)


def rnn(
    mode: Literal["rnn", "lstm", "gru"],
    input_size: int,
    hidden_size: int,
    steps: int,
    num_layers: int = 1,
    bias: bool = True,
    bidirectional: bool = False,
    proj_size: int = 0,
) -> Regimes:
    """nn.RNN, LSTM or GRU on (steps, input_size), from an initial state of zeros.

    With G gates (RNN 1, GRU 3, LSTM 4), H = hidden_size and a state of R = proj_size or else H, each layer and
    direction has W_ih of G·H·I, W_hh of G·H·R, two biases of G·H each, and W_hr of R·H if it projects; I is input_size
    in the first layer and R times the number of directions above it. The sites are the T time steps: unshared is
    T·shared (Goodfellow et al., 2016, section 10.1, unfolds the graph) and MACs are T·(all matrices). A step's products
    are wired to all of that step's input already, so dense is as unshared. Live are all copies but those of W_hh at
    the first step, which meet the zero state.

    Live copies meet data, but an LSTM's forget gate still does nothing at the first step, for it is multiplied with the
    zero cell, nor does a GRU's reset gate without biases: H·I (+ 2·H with biases) copies of each layer and direction
    are live with a gradient of zero.

    Args:
        mode: `rnn`, `lstm` or `gru`.
        input_size, hidden_size: of one step, H.
        steps: T.
        num_layers, bias, bidirectional: as of torch's.
        proj_size: of an LSTM's projection, below hidden_size; 0 for none.

    Raises:
        SpecError: another mode, or a size that cannot be.
    """
    if mode not in _GATES:
        raise SpecError(f"mode is {mode!r}; expected {', '.join(_GATES)}")
    check_whole(input_size=input_size, hidden_size=hidden_size, steps=steps, num_layers=num_layers)
    check_whole(0, proj_size=proj_size)
    if proj_size and (mode != "lstm" or proj_size >= hidden_size):
        raise SpecError(f"proj_size is {proj_size}; expected 0, or for an lstm less than hidden_size, {hidden_size}")
    directions = 2 if bidirectional else 1
    cells = num_layers * directions
    gates, state = _GATES[mode] * hidden_size, proj_size or hidden_size
    recurrent = cells * gates * state
    inward = directions * gates * (input_size + (num_layers - 1) * directions * state)
    matrices = inward + recurrent + cells * proj_size * hidden_size
    shared = matrices + (2 * cells * gates if bias else 0)
    unshared, macs = steps * shared, steps * matrices
    return Regimes(shared, unshared, unshared - recurrent, unshared, macs, macs)


def attention(
    embed_dim: int,
    num_heads: int,
    length: int,
    source_length: int | None = None,
    kdim: int | None = None,
    vdim: int | None = None,
    bias: bool = True,
) -> Regimes:
    """nn.MultiheadAttention of (length, embed_dim) on (source_length, kdim) and (source_length, vdim).

    Four linear layers: the queries' E → E and the output's E → E at L positions, the keys' kdim → E and the values'
    vdim → E at S positions, and their sum in every regime; and data with data, 2·L·S·E MACs that have no weights: the
    scores and the weighted sums of Vaswani et al., "Attention is all you need" (2017), section 3.2, over all heads.

    Args:
        embed_dim, num_heads: E, and the heads that divide it.
        length: L, positions of the queries.
        source_length: S, positions of keys and values; L if None.
        kdim, vdim: features of keys and values; E if None.
        bias: whether the four have biases.

    Raises:
        SpecError: a size that cannot be.
    """
    source = length if source_length is None else source_length
    keys, values = (embed_dim if dim is None else dim for dim in (kdim, vdim))
    check_whole(embed_dim=embed_dim, num_heads=num_heads, length=length, source_length=source, kdim=keys, vdim=values)
    if embed_dim % num_heads:
        raise SpecError(f"embed_dim is {embed_dim}; expected a multiple of num_heads, which is {num_heads}")
    queries_and_output = linear(embed_dim, embed_dim, bias, length) + linear(embed_dim, embed_dim, bias, length)
    keys_and_values = linear(keys, embed_dim, bias, source) + linear(values, embed_dim, bias, source)
    macs = length * source * (embed_dim + embed_dim)
    return queries_and_output + keys_and_values + Regimes(0, 0, 0, 0, macs, macs)


def norm(weights: int, elements: int, bias: bool = True) -> Regimes:
    """The affine part of a batch, layer, group, instance or RMS norm: y = w·x + b.

    Shared `weights`; in every other regime a scale, and with it a bias, for each element: 2·elements. No MACs.

    Args:
        weights: all of its parameters: 2·C, or C without biases.
        elements: of its output; each of the C meets as many.
        bias: whether half of the weights are biases.

    Raises:
        SpecError: weights that are not two halves, or elements that they do not divide.
    """
    check_whole(weights=weights, elements=elements)
    kinds = 2 if bias else 1
    if weights % kinds:
        raise SpecError(f"weights is {weights}; expected as many scales as biases, or bias=False")
    if elements % (weights // kinds):
        raise SpecError(f"elements is {elements}; expected a multiple of the scales, which are {weights // kinds}")
    return _elementwise(weights, kinds * elements)


def prelu(num_parameters: int, elements: int) -> Regimes:
    """nn.PReLU: y = max(0, x) + a·min(0, x) (He et al., "Delving deep into rectifiers", 2015), one a or one a channel.

    Shared num_parameters; in every other regime an a for each element, all of them live, for any may be negative. No
    MACs.

    Args:
        num_parameters: 1, or the number of channels.
        elements: of its output.

    Raises:
        SpecError: elements that are no multiple of the parameters.
    """
    check_whole(num_parameters=num_parameters, elements=elements)
    if elements % num_parameters:
        raise SpecError(f"elements is {elements}; expected a multiple of num_parameters, which is {num_parameters}")
    return _elementwise(num_parameters, elements)


def bilinear(in1_features: int, in2_features: int, out_features: int, bias: bool = True, positions: int = 1) -> Regimes:
    """nn.Bilinear on (positions, in1_features) and (positions, in2_features): y = x1ᵀ A x2 + b.

    With T positions and A of (F, D1, D2): shared F·D1·D2 + F, unshared T·(F·D1·D2 + F), dense
    (T·F)·(T·D1)·(T·D2) + T·F, MACs T·F·D1·D2 (one for each element of A, the product of x1 and x2 taken as one) and
    dense (T·F)·(T·D1)·(T·D2).

    Args:
        in1_features, in2_features, out_features: D1, D2, F.
        bias: whether there is b, of F.
        positions: T, as of `linear`.

    Raises:
        SpecError: a size is not a whole number of at least 1.
    """
    check_whole(in1_features=in1_features, in2_features=in2_features, out_features=out_features, positions=positions)
    weights = in1_features * in2_features * out_features
    return _product(weights, positions, weights * positions**3) + _bias(bias, out_features, positions)


def _product(weights: int, sites: int, dense: int, live: int | None = None) -> Regimes:
    """Weights that multiply data at every site: a copy is a multiply-accumulate."""
    copies = sites * weights
    return Regimes(weights, copies, copies if live is None else live, dense, copies, dense)


def _elementwise(weights: int, elements: int) -> Regimes:
    """Weights that meet data element by element: a copy is an element."""
    return Regimes(weights, elements, elements, elements, 0, 0)


def _bias(bias: bool, weights: int, positions: int) -> Regimes:
    return _elementwise(weights, weights * positions) if bias else _NOTHING


def _convolution(
    in_channels: int, out_channels: int, groups: int, bias: bool, axes: Sequence[Axis], sites: int
) -> Regimes:
    kernels = in_channels * out_channels // groups
    inputs, outputs = prod(axis.inputs for axis in axes), prod(axis.outputs for axis in axes)
    weights, live = kernels * prod(axis.taps for axis in axes), kernels * prod(axis.live for axis in axes)
    dense = (in_channels * inputs) * (out_channels * outputs)
    return _product(weights, sites, dense, live) + _bias(bias, out_channels, outputs)
