"""Test for each type of layer that its twin has what the report counts, starts equal, and has gradients that add up.

The oracles are the report of the layer, the layer itself, and the gradient of its shared weight.
"""

import warnings
from collections import UserDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence
from torch.utils._pytree import tree_leaves

from paramshare import analyze, untie
from paramshare.errors import SpecError
from paramshare.sharing.twins.untie import UntieWarning

few = settings(max_examples=12, deadline=None)

Inputs = tuple[Tensor, ...]


def numbers(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def floats(value: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def backward(value: object) -> None:
    """Return the gradients of a loss that distinguishes all outputs."""
    outs = floats(value)
    sum((out * torch.linspace(1, 2, out.numel(), dtype=out.dtype).view(out.shape)).sum() for out in outs).backward()


def one_of(inputs: Inputs, axis: int) -> Inputs:
    return tuple(x.narrow(axis, 0, 1) for x in inputs)


def check(model: nn.Module, inputs: Inputs, axis: int = 0, training: bool = False) -> nn.Module:
    """Compare the twin of `model` with it; `axis` is that of the batch. Nothing may stay shared."""
    model.double().train(training)
    sample = one_of(inputs, axis)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UntieWarning)
        twin = untie(model, args=sample)
    assert numbers(twin) == analyze(model, args=sample).totals.unshared
    own = analyze(twin, args=sample).totals
    assert own.shared == own.unshared == numbers(twin)
    expected, given_by_twin = model(*inputs), twin(*inputs)
    for one, other in zip(floats(expected), floats(given_by_twin), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-12, atol=1e-12)
    backward(expected)
    backward(given_by_twin)
    return twin


def adds_up(twin: nn.Module, model: nn.Module, name: str, fold: Callable[[Tensor], Tensor]) -> None:
    copies, shared = getattr(twin, name), getattr(model, name)
    if shared is not None:
        torch.testing.assert_close(fold(copies.grad), shared.grad, rtol=1e-11, atol=1e-11)


def leading(count: int) -> Callable[[Tensor], Tensor]:
    return lambda grad: grad.sum(tuple(range(count))) if count else grad


def data(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


small = st.integers(1, 3)


@few
@given(
    kind=st.sampled_from([nn.RNN, nn.GRU, nn.LSTM]),
    sizes=st.tuples(small, small, st.integers(2, 4)),
    layers=st.integers(1, 2),
    bias=st.booleans(),
    batch_first=st.booleans(),
    bidirectional=st.booleans(),
    project=st.booleans(),
    training=st.booleans(),
)
def test_a_recurrent_layer_has_weights_for_each_time_step(
    kind: Any,
    sizes: tuple[int, int, int],
    layers: int,
    bias: bool,
    batch_first: bool,
    bidirectional: bool,
    project: bool,
    training: bool,
) -> None:
    features, hidden, steps = sizes
    more = {"proj_size": hidden} if project and kind is nn.LSTM else {}
    rnn = kind(features, hidden + 1, layers, bias=bias, batch_first=batch_first, bidirectional=bidirectional, **more)
    x = data(3, steps, features) if batch_first else data(steps, 3, features)
    twin = check(rnn, (x,), 0 if batch_first else 1, training)
    for name, _ in rnn.named_parameters():
        adds_up(twin, rnn, name, leading(1))


@few
@given(
    heads=st.integers(1, 2),
    lengths=st.tuples(st.integers(1, 4), st.integers(2, 4)),
    bias=st.booleans(),
    batch_first=st.booleans(),
    extra=st.booleans(),
    own_sizes=st.booleans(),
    alone=st.booleans(),
)
def test_attention_has_projections_for_each_position(
    heads: int, lengths: tuple[int, int], bias: bool, batch_first: bool, extra: bool, own_sizes: bool, alone: bool
) -> None:
    width, (length, source) = 4 * heads, lengths
    sizes = {"kdim": 3, "vdim": 2} if own_sizes else {}
    layer = nn.MultiheadAttention(
        width, heads, bias=bias, add_bias_kv=extra, add_zero_attn=extra, batch_first=batch_first, **sizes
    )
    shapes = [(length, width), (source, sizes.get("kdim", width)), (source, sizes.get("vdim", width))]
    inputs = tuple(data(3, *shape) if batch_first else data(shape[0], 3, shape[1]) for shape in shapes)
    twin = check(layer, inputs, 0 if batch_first else 1)
    adds_up(twin.outputs, layer.out_proj, "weight", leading(1))
    if not own_sizes:
        parts = [part.weight.grad.sum(0) for part in (twin.queries, twin.keys, twin.values)]
        torch.testing.assert_close(torch.cat(parts), layer.in_proj_weight.grad, rtol=1e-11, atol=1e-11)
    with torch.no_grad():  # unbatched, with masks of both kinds
        query, key, value = (x[0] if batch_first else x[:, 0] for x in inputs)
        masks = {"attn_mask": torch.rand(length, source) < 0.3, "key_padding_mask": torch.arange(source) == source - 1}
        masks["attn_mask"][:, 0] = False
        for one, other in zip(layer(query, key, value, **masks), twin(query, key, value, **masks), strict=True):
            torch.testing.assert_close(other, one, rtol=1e-12, atol=1e-12)
        out, none = twin(query, key, value, need_weights=alone)
        torch.testing.assert_close(out, layer(query, key, value)[0], rtol=1e-12, atol=1e-12)
        assert (none is None) is not alone


@few
@given(
    positions=st.lists(small, min_size=1, max_size=2).filter(lambda sizes: max(sizes) > 1),
    padding=st.none() | st.integers(0, 4),
    seq_first=st.booleans(),
    max_norm=st.none() | st.just(0.7),
)
def test_an_embedding_has_a_table_for_each_position(
    positions: list[int], padding: int | None, seq_first: bool, max_norm: float | None
) -> None:
    table = nn.Embedding(5, 3, padding_idx=padding, max_norm=max_norm)
    shape = [positions[0], 3, *positions[1:]] if seq_first and positions[0] > 1 else [3, *positions]
    twin = check(table, (torch.randint(5, shape),), 1 if shape[0] != 3 or (seq_first and positions[0] > 1) else 0)
    adds_up(twin, table, "weight", leading(len(positions)))


@few
@given(mode=st.sampled_from(["sum", "mean", "max"]), length=st.integers(2, 4), padding=st.none() | st.integers(0, 2))
def test_a_bag_has_a_table_for_each_place_in_it(mode: str, length: int, padding: int | None) -> None:
    bag = nn.EmbeddingBag(3, 4, mode=mode, padding_idx=padding)
    twin = check(bag, (torch.randint(3, (4, length)),))
    adds_up(twin, bag, "weight", leading(1))


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "SyncBatchNorm": lambda dims: nn.SyncBatchNorm(4),
    "BatchNorm": lambda dims: (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dims - 1](4),
    "GroupNorm": lambda _: nn.GroupNorm(2, 4),
    "InstanceNorm": lambda dims: (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)[dims - 1](4, affine=True),
    "PReLU": lambda _: nn.PReLU(4),
}


@pytest.mark.parametrize("kind", NORMS)
@few
@given(size=st.lists(st.integers(2, 3), min_size=1, max_size=3), training=st.booleans())
def test_layers_with_weights_by_channel_get_weights_for_each_element(
    kind: str, size: list[int], training: bool
) -> None:
    layer = NORMS[kind](len(size))
    twin = check(layer, (data(3, 4, *size),), training=training)
    for name in ("weight", "bias"):
        if hasattr(layer, name):
            adds_up(twin, layer, name, lambda grad: grad.flatten(1).sum(1))


@pytest.mark.parametrize("kind", [nn.LayerNorm, nn.RMSNorm])
@few
@given(positions=st.lists(st.integers(2, 3), min_size=1, max_size=2), shape=st.lists(small, min_size=1, max_size=2))
def test_layers_with_weights_by_feature_get_weights_for_each_element(
    kind: Any, positions: list[int], shape: list[int]
) -> None:
    layer = kind(shape)
    twin = check(layer, (data(positions[0], 3, *positions[1:], *shape),), axis=1)
    for name in ("weight", "bias"):
        if hasattr(layer, name):
            adds_up(twin, layer, name, leading(len(positions)))


@few
@given(
    dims=st.integers(1, 3),
    options=st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(0, 1), st.integers(1, 2)),
    groups=st.integers(1, 2),
    bias=st.booleans(),
    size=st.integers(2, 3),
)
def test_a_transposed_convolution_has_kernels_for_each_input(
    dims: int, options: tuple[int, int, int, int], groups: int, bias: bool, size: int
) -> None:
    kernel, stride, padding, dilation = options
    kind = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[dims - 1]
    more = 1 if max(stride, dilation) > 1 else 0
    conv = kind(2 * groups, groups, kernel + 1, stride, padding, more, groups, bias, dilation).double()
    x = data(3, 2 * groups, *[size] * dims)
    twin = check(conv, (x,))
    adds_up(twin, conv, "weight", leading(dims))
    adds_up(twin, conv, "bias", lambda grad: grad.flatten(1).sum(1))
    dense = untie(conv, {"dense"}, args=(x[:1],))
    assert numbers(dense) == analyze(conv, args=(x[:1],)).totals.dense
    torch.testing.assert_close(dense(x), conv(x), rtol=1e-12, atol=1e-12)


@few
@given(positions=st.lists(st.integers(2, 3), min_size=1, max_size=2), bias=st.booleans(), seq_first=st.booleans())
def test_linear_and_bilinear_layers_have_matrices_for_each_position(
    positions: list[int], bias: bool, seq_first: bool
) -> None:
    shape = [positions[0], 3, *positions[1:]] if seq_first else [3, *positions]
    linear, bilinear = nn.Linear(2, 3, bias), nn.Bilinear(2, 3, 4, bias)
    for layer, inputs in ((linear, (data(*shape, 2),)), (bilinear, (data(*shape, 2), data(*shape, 3)))):
        twin = check(layer, inputs, axis=int(seq_first))
        for name in ("weight", "bias"):
            adds_up(twin, layer, name, leading(len(positions)))


class Tagger(nn.Module):
    """Tags words: an embedding, two directions of an LSTM, and a layer over time."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.lstm = nn.Embedding(7, 3), nn.LSTM(3, 4, bidirectional=True, batch_first=True)
        self.tags = nn.Linear(8, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.tags(self.lstm(self.words(tokens))[0])


class Language(nn.Module):
    """A tied language model with learned positions, which do not depend on the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(7, 4), nn.Embedding(9, 4)
        self.body, self.norm = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True), nn.LayerNorm(4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.words.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.words(tokens) + self.places(torch.arange(tokens.shape[1]))
        return self.head(self.norm(self.body(x)))


def small_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.PReLU(), nn.Conv2d(4, 4, 3, groups=2), nn.GroupNorm(2, 4),
        nn.ConvTranspose2d(4, 2, 2, 2), nn.Flatten(), nn.Linear(128, 5),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (small_net(), (data(3, 2, 6, 6),)),
        (Tagger(), (torch.randint(7, (3, 5)),)),
        (Language(), (torch.randint(7, (3, 5)),)),
        (nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), (data(3, 5, 8),)),
        (nn.Transformer(8, 2, 1, 2, 16, dropout=0.0, batch_first=True), (data(3, 5, 8), data(3, 4, 8))),
    ],
    ids=["convolutions", "tagger", "language", "encoder", "transformer"],
)
@pytest.mark.parametrize("training", [False, True])
def test_whole_nets_are_untied_completely(model: nn.Module, inputs: Inputs, training: bool) -> None:
    check(model, inputs, training=training)


def test_a_seq_first_encoder_is_untied_by_position_and_not_by_sample() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0)
    twin = check(layer, (data(5, 3, 8),), axis=1)
    assert twin.linear1.weight.shape == (5, 16, 8)


def test_recurrent_twin_accepts_shorter_packed_sequences_and_refuses_longer() -> None:
    rnn = nn.GRU(3, 4, bidirectional=True).double()
    twin = untie(rnn, {"space"}, args=(torch.zeros(5, 1, 3, dtype=torch.float64),))
    packed = pack_sequence([data(2, 3), data(5, 3), data(4, 3)], enforce_sorted=False)
    for one, other in zip(floats(rnn(packed)), floats(twin(packed)), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-12, atol=1e-12)
    with pytest.raises(SpecError, match="got 6 time steps and has weights for 5"):
        twin(pack_sequence([data(6, 3)]))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")  # of the original's fused path
def test_twin_of_an_encoder_with_padding_does_not_use_the_fused_path() -> None:
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2).double().eval()
    twin, x = untie(model, {"space", "tie"}, (5, 8)), data(2, 5, 8)
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    with torch.no_grad():
        one, other = (net(x, src_key_padding_mask=padding)[~padding] for net in (model, twin))
    torch.testing.assert_close(other, one, rtol=1e-12, atol=1e-12)


def test_tables_with_sparse_or_scaled_gradients_stay_shared_and_are_named() -> None:
    with pytest.warns(UntieWarning, match=r"without an unshared module: \(model\) \(Embedding\)$"):
        untie(nn.Embedding(5, 2, sparse=True), {"space"}, args=(torch.zeros(1, 3, dtype=torch.int64),))


def test_layer_with_a_replaced_forward_stays_shared_and_is_named() -> None:
    model = nn.Sequential(nn.Linear(3, 3)).double()
    model[0].forward = abs
    with pytest.warns(UntieWarning, match=r"not used in this pass: 0 \(Linear\)"):
        twin = untie(model, {"space"}, (4, 3))
    x = data(2, 4, 3)
    assert twin(x).equal(x.abs())


@pytest.mark.parametrize("hold", [lambda x: {"x": x}, lambda x: UserDict(x=x)], ids=["dict", "UserDict"])
def test_twin_accepts_a_batch_in_the_object_of_its_sample(hold: Callable[[Tensor], Any]) -> None:
    class Held(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 2)

        def forward(self, batch: Any) -> Any:
            return self.inner(batch["x"])

    model, x = Held(), torch.randn(4, 5, 3)
    twin = untie(model, {"space"}, args=(hold(x[:1]),))
    assert numbers(twin) == 5 * 8
    torch.testing.assert_close(twin(hold(x)), model(hold(x)))
