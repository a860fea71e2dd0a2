"""Test the closed formulas by torch's own modules, torch's FLOP counter, and Jacobians.

The live count equals the non-zeros of a Jacobian. A linear layer or convolution is a linear map, so its values on the
basis are its Jacobian with respect to the input; no two taps join the same input to the same output, so each non-zero
is one link. No output of a bilinear or elementwise layer meets a weight twice, so there the non-zeros with respect to
the weights are the links. All in float64.
"""

from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from paramshare.errors import SpecError
from paramshare.sharing.formulas import (
    Regimes,
    attention,
    bilinear,
    conv,
    conv_transpose,
    embedding,
    linear,
    norm,
    prelu,
    rnn,
)
from support.models.layer_cases import (
    Case,
    bilinears,
    convs,
    few,
    layers,
    linears,
    multiplying,
    norms,
    same_padding,
    transposed_convs,
)
from support.specs import replace


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Layers this small gain nothing from threads, and lose much where others want the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@same_padding
@settings(few, max_examples=100)
@given(layers)
def test_formula_of_shared_parameters_equals_the_number_in_torchs_module(layer: Case) -> None:
    assert layer.regimes.shared == sum(parameter.numel() for parameter in layer.module.parameters())


@same_padding
@settings(few, max_examples=100)
@given(multiplying)
def test_formula_macs_are_half_the_flops_that_torch_counts(layer: Case) -> None:
    with FlopCounterMode(display=False) as flops:  # on the meta device RNNs and attention are matrix products
        layer.module.to("meta")(*(tensor.to("meta") for tensor in layer.inputs))
    assert 2 * layer.regimes.macs == flops.get_total_flops()


@same_padding
@settings(few, max_examples=50)
@given(st.one_of(linears(), convs(), transposed_convs()))
def test_formula_of_dense_connects_all_outputs_to_all_inputs_and_unshared_has_a_bias_at_each_output(
    layer: Case,
) -> None:
    outputs, inputs = layer.out.numel(), layer.inputs[0].numel()
    biases = 0 if layer.module.bias is None else outputs
    assert layer.regimes.dense_macs == inputs * outputs
    assert layer.regimes.dense == inputs * outputs + biases
    assert layer.regimes.unshared == layer.regimes.macs + biases


@same_padding
@settings(few, max_examples=100)
@given(layers)
def test_live_copies_are_at_most_the_unshared_and_the_dense_copies(layer: Case) -> None:
    assert 0 <= layer.regimes.unshared_live <= min(layer.regimes.unshared, layer.regimes.dense)


@same_padding
@settings(few, max_examples=200)
@given(st.one_of(linears(), convs(), transposed_convs()))
def test_live_links_of_a_linear_map_equal_the_non_zeros_of_its_jacobian(layer: Case) -> None:
    (x,) = layer.inputs
    basis = torch.eye(x.numel(), dtype=x.dtype).view(-1, *x.shape)
    if x.dim() > 2:
        basis = basis.flatten(0, 1)  # a convolution's input has a batch of one
    columns = layer.module(basis) - layer.module(torch.zeros_like(basis))
    biases = 0 if layer.module.bias is None else layer.out.numel()
    assert layer.regimes.unshared_live == int(columns.count_nonzero()) + biases


def links(module: nn.Module, *inputs: Tensor) -> int:
    """The non-zeros of the Jacobian of the outputs with respect to the weights, where no output meets one twice."""
    names, weights = zip(*module.named_parameters(), strict=True)

    def out(*values: Tensor) -> Tensor:
        result = functional_call(module, dict(zip(names, values, strict=True)), inputs)
        assert isinstance(result, Tensor)
        return result

    jacobians = torch.autograd.functional.jacobian(out, weights)  # type: ignore[no-untyped-call]
    return sum(int(jacobian.count_nonzero()) for jacobian in jacobians)


@few
@given(bilinears())
def test_live_links_of_a_bilinear_layer_equal_the_non_zeros_of_its_jacobian(layer: Case) -> None:
    in1, in2 = layer.inputs
    assert layer.regimes.unshared == layer.regimes.unshared_live == links(layer.module, in1, in2)
    biases = 0 if layer.module.bias is None else layer.out.numel()
    assert layer.regimes.macs == layer.regimes.unshared - biases
    assert layer.regimes.dense_macs == layer.out.numel() * in1.numel() * in2.numel()
    assert layer.regimes.dense == layer.regimes.dense_macs + biases


@pytest.mark.parametrize("layer", norms(), ids=lambda layer: str(layer.module))
def test_live_links_of_an_elementwise_layer_equal_the_non_zeros_of_its_jacobian(layer: Case) -> None:
    negative = -layer.inputs[0].abs() - torch.rand_like(layer.inputs[0])  # where PReLU has its weights
    live = links(layer.module, negative)
    assert layer.regimes == Regimes(layer.regimes.shared, live, live, live, 0, 0)


def test_live_links_of_an_embedding_equal_the_non_zeros_of_its_jacobians_over_all_inputs() -> None:
    table, positions = nn.Embedding(5, 3), 4
    live = sum(links(table, torch.full((positions,), row)) for row in range(5))
    assert embedding(5, 3, positions).unshared == embedding(5, 3, positions).unshared_live == live


def test_embedding_formula_equals_a_linear_layer_on_one_hot_rows_without_macs() -> None:
    assert embedding(5, 3, 4) == replace(linear(5, 3, bias=False, positions=4), macs=0, dense_macs=0)


@pytest.mark.parametrize(
    ("regimes", "by_hand"),
    [
        (linear(3, 2, positions=4), Regimes(8, 32, 32, 104, 24, 96)),
        (conv(1, 1, 3, 4, padding=1, bias=False), Regimes(3, 12, 10, 16, 12, 16)),
        (conv(2, 4, (1, 2), (2, 2), groups=2), Regimes(12, 24, 24, 72, 16, 64)),
        (conv_transpose(1, 1, 3, 2, stride=2, padding=1, bias=False), Regimes(3, 6, 4, 6, 6, 6)),
        (embedding(5, 2, 3), Regimes(10, 30, 30, 90, 0, 0)),
        (rnn("lstm", 2, 3, 4), Regimes(84, 336, 300, 336, 240, 240)),
        (attention(4, 2, 3, bias=False), Regimes(64, 192, 192, 576, 264, 648)),
        (norm(4, 10), Regimes(4, 20, 20, 20, 0, 0)),
        (prelu(1, 7), Regimes(1, 7, 7, 7, 0, 0)),
        (bilinear(2, 3, 1, positions=2), Regimes(7, 14, 14, 50, 12, 48)),
    ],
)
def test_formulas_of_small_layers_equal_a_count_by_hand(regimes: Regimes, by_hand: Regimes) -> None:
    assert regimes == by_hand


def test_formulas_of_the_articles_layer_and_the_inception_stem_give_the_known_numbers() -> None:
    article = conv(1, 32, 3, (192, 192), padding="same", bias=False)
    assert article == Regimes(288, 10_616_832, 10_543_232, 43_486_543_872, 10_616_832, 43_486_543_872)
    assert article.factor == 36_864
    stem = conv(3, 32, 3, (299, 299), stride=2, bias=False)
    assert stem == Regimes(864, 19_181_664, 19_181_664, 190_539_993_696, 19_181_664, 190_539_993_696)
    assert stem.factor == 22_201


def test_sum_of_two_regimes_adds_every_number_and_takes_the_factor_of_the_sums() -> None:
    both = linear(3, 2, positions=4) + norm(4, 10)
    assert both == Regimes(12, 52, 52, 124, 24, 96)
    assert both.factor == 52 / 12


def test_one_size_for_all_dimensions_equals_a_size_for_each_dimension() -> None:
    assert conv(2, 4, 3, (9, 9), 2, 1, 2) == conv(2, 4, (3, 3), [9, 9], (2, 2), (1, 1), (2, 2))
    assert conv(2, 4, (3, 3), 9) == conv(2, 4, 3, (9, 9))
    assert conv(2, 4, 3, 9) == conv(2, 4, (3,), (9,))


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        (lambda: linear(0, 2), "in_features is 0; expected a whole number of at least 1"),
        (lambda: linear(3, -2), "out_features is -2; expected "),
        (lambda: linear(3, 2, positions=2.5), "positions is 2.5; expected "),  # type: ignore[arg-type]
        (lambda: embedding(True, 2), "num_embeddings is True; expected "),
        (lambda: conv(3, 4, 3, 8, groups=2), "in_channels is 3; expected a multiple of groups, which is 2"),
        (lambda: conv(2, 3, 3, 8, groups=2), "out_channels is 3; expected a multiple of groups"),
        (lambda: conv(1, 1, 5, 2, padding=1), "the kernel spans 5; expected no more than the padded input, which is 4"),
        (lambda: conv(1, 1, 3, (4, 0)), "size is 0; expected "),
        (lambda: conv(1, 1, (3, 3, 3), (8, 8)), r"size is \(8, 8\); expected one number, or one for each of 3 "),
        (lambda: conv(1, 1, 3, (8, 8, 8, 8)), "the convolution has 4 dimensions; expected 1 to 3"),
        (lambda: conv(1, 1, 3, ()), "the convolution has 0 dimensions"),
        (lambda: conv(1, 1, 3, 8, padding=-1), "padding is -1; expected a whole number of at least 0"),
        (lambda: conv(1, 1, 3, 8, padding="full"), "padding is 'full'; expected whole numbers, 'same' or 'valid'"),
        (lambda: conv(1, 1, 3, 8, stride=2, padding="same"), "padding is 'same' with stride 2; expected stride 1"),
        (lambda: conv_transpose(1, 1, 3, 8, padding="same"), "padding is 'same'; expected "),  # type: ignore[arg-type]
        (lambda: conv_transpose(1, 1, 3, 1, padding=2), "the output would have size -1; expected at least 1"),
        (lambda: conv_transpose(1, 1, 3, 8, output_padding=1), "output_padding is 1; expected less than stride or "),
        (lambda: rnn("mamba", 1, 1, 1), "mode is 'mamba'; expected rnn, lstm, gru"),  # type: ignore[arg-type]
        (lambda: rnn("gru", 4, 4, 1, proj_size=2), "proj_size is 2; expected 0, or for an lstm less than "),
        (lambda: rnn("lstm", 4, 4, 1, proj_size=4), "proj_size is 4; expected 0, or for an lstm less than "),
        (lambda: attention(4, 3, 5), "embed_dim is 4; expected a multiple of num_heads, which is 3"),
        (lambda: attention(4, 2, 5, 0), "source_length is 0; expected "),
        (lambda: norm(5, 10), "weights is 5; expected as many scales as biases, or bias=False"),
        (lambda: norm(6, 10), "elements is 10; expected a multiple of the scales, which are 3"),
        (lambda: prelu(3, 10), "elements is 10; expected a multiple of num_parameters, which is 3"),
        (lambda: bilinear(1, 0, 1), "in2_features is 0; expected "),
    ],
)
def test_formulas_refuse_impossible_sizes_in_one_line(formula: Callable[[], Regimes], message: str) -> None:
    with pytest.raises(SpecError, match=rf"^{message}") as refusal:
        formula()
    assert "\n" not in str(refusal.value)


def test_formula_of_a_convolution_is_fast_for_a_huge_input() -> None:
    size = 10**15
    assert conv(1, 1, 3, (size, size), padding=1, bias=False).unshared_live == (3 * size - 2) ** 2
