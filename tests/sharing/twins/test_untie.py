"""Proves that `untie` gives a twin that starts as the same function, whose copies are free, and names what it left."""

import copy
import random
import re
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from paramshare.errors import SpecError
from paramshare.sharing.inputs.sample import example_inputs
from paramshare.sharing.tensors.copies import meta_clone
from paramshare.sharing.tracing.trace import trace
from paramshare.sharing.twins.depth.unrolled import Unrolled
from paramshare.sharing.twins.layers.convolution import LocalConv
from paramshare.sharing.twins.layers.dense import Dense
from paramshare.sharing.twins.layers.linear import LocalLinear
from paramshare.sharing.twins.untie import UntieWarning, untie
from paramshare.training.nets import DynamicNet


class Loop(nn.Module):
    """A cell that is applied several times; it is a block whose inner layer is applied twice by each call."""

    def __init__(self, times: int = 3) -> None:
        super().__init__()
        self.cell = Block()
        self.times = times

    def forward(self, x: Tensor, times: int | None = None) -> Tensor:
        for _ in range(self.times if times is None else times):
            x = self.cell(x)
        return x


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(self.inner(x).tanh()).tanh())


class TiedHead(nn.Module):
    """A language model's shape: the embedding's matrix is the head's, by attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.body, self.head = nn.Embedding(7, 4), nn.Linear(4, 4), nn.Linear(4, 7, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.body(self.embedding(tokens)).tanh())


class Call(nn.Module):
    """A module out of a function of x and named layers."""

    def __init__(self, function: object, **layers: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)  # type: ignore[operator]


class OwnNorm(nn.BatchNorm1d):
    """A class of its own, whose forward could be anything."""


def numbers(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def same(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def net() -> nn.Sequential:
    """Nothing here but what has an unshared module."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, stride=2, groups=2), nn.Flatten(), nn.Linear(54, 5)
    ).double()


def one_storage() -> nn.ModuleList:
    """Two layers whose Parameters are different objects over the same elements."""
    first, second = nn.Linear(3, 3).double(), nn.Linear(3, 3).double()
    second.weight = nn.Parameter(first.weight.detach().T)
    return nn.ModuleList([first, second])


# Space.


@pytest.mark.parametrize(("axes", "kind"), [({"space"}, LocalConv), ({"dense"}, Dense)])
def test_untied_convolutions_compute_the_same_function(axes: set[str], kind: type[nn.Module]) -> None:
    model, x = net(), torch.randn(3, 2, 8, 8, dtype=torch.float64)
    twin = untie(model, axes, (2, 8, 8))
    assert not any(layer.training for layer in untie(model.eval(), axes, (2, 8, 8)).modules())
    assert [type(layer) for layer in twin] == [kind, nn.ReLU, kind, nn.Flatten, nn.Linear]
    same(twin(x), model(x))


def test_linear_layers_are_untied_over_extra_axes_only() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Flatten(), nn.Linear(20, 2)).double()
    x = torch.randn(6, 5, 3, dtype=torch.float64)
    local, dense = untie(model, {"space"}, (5, 3)), untie(model, {"dense"}, (5, 3))
    assert numbers(local) == 5 * (3 * 4 + 4) + 42
    assert numbers(dense) == 15 * 20 + 20 + 42
    assert type(local[3]) is type(dense[3]) is nn.Linear
    same(local(x), model(x))
    same(dense(x), model(x))


def test_model_that_is_a_single_layer_is_replaced() -> None:
    conv, x = nn.Conv1d(2, 3, 3), torch.randn(4, 2, 9)
    twin = untie(conv, {"space"}, (2, 9))
    assert isinstance(twin, LocalConv)
    torch.testing.assert_close(twin(x), conv(x))


def test_gradients_of_a_twin_sum_to_the_gradients_of_the_model() -> None:
    model, x = net(), torch.randn(3, 2, 8, 8, dtype=torch.float64)
    twin = untie(model, {"space"}, (2, 8, 8))
    for one in (model, twin):
        one(x).square().sum().backward()
    for index in (0, 2):
        same(twin[index].weight.grad.sum((0, 1)), model[index].weight.grad)
        same(twin[index].bias.grad.sum((0, 1)), model[index].bias.grad)


def test_fused_path_does_not_read_the_weights_of_unshared_layers() -> None:
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dtype=torch.float64).eval()
    twin = untie(model, {"space"}, (5, 8))
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    assert isinstance(twin.linear1, LocalLinear)
    with torch.no_grad():
        same(twin(x), model(x))


def test_layer_with_several_sizes_is_refused_without_the_depth_axis() -> None:
    model = Call(lambda self, x: self.conv(self.conv(x)), conv=nn.Conv1d(2, 2, 3))
    message = r"conv \(Conv1d\) is called with \(1, 2, 7\) and \(1, 2, 9\) in one pass; .* add 'depth' to axes"
    with pytest.raises(SpecError, match=message):
        untie(model, {"space"}, (2, 9))
    twin, x = untie(model, {"space", "depth"}, (2, 9)), torch.randn(3, 2, 9)
    assert [copy.weight.shape[0] for copy in twin.conv.copies] == [7, 5]
    torch.testing.assert_close(twin(x), model(x))


def test_repeated_calls_share_the_weights_of_positions_without_the_depth_axis() -> None:
    model = Call(lambda self, x: self.conv(self.conv(x)), conv=nn.Conv1d(2, 2, 3, padding=1))
    twin, x = untie(model, {"space"}, (2, 9)), torch.randn(3, 2, 9)
    assert numbers(twin) == 9 * numbers(model)
    torch.testing.assert_close(twin(x), model(x))


# Ties.


def test_ties_by_attribute_are_untied() -> None:
    model, tokens = TiedHead().double(), torch.randint(7, (3, 5))
    twin = untie(model, {"tie"}, args=(torch.zeros(1, 5, dtype=torch.int64),))
    assert numbers(twin) == numbers(model) + 7 * 4
    assert twin(tokens).equal(model(tokens))
    for one in (model, twin):
        one(tokens).square().sum().backward()
    same(twin.embedding.weight.grad + twin.head.weight.grad, model.embedding.weight.grad)


def test_ties_by_views_of_one_storage_are_untied() -> None:
    layers = one_storage()
    model, x = nn.Sequential(*layers), torch.randn(2, 3, dtype=torch.float64)
    twin = untie(model, {"tie"}, (3,))
    assert twin[0].weight.untyped_storage().data_ptr() != twin[1].weight.untyped_storage().data_ptr()
    same(twin(x), model(x))
    with torch.no_grad():
        twin[0].weight.zero_()
    assert twin[1].weight.equal(model[1].weight)


def test_expanded_parameter_is_untied_from_itself() -> None:
    row = nn.Parameter(torch.randn(3).expand(4, 3))
    model = Call(lambda self, x: x @ self.weight.T, weight=row)
    twin = untie(model, {"tie"}, (3,))
    with torch.no_grad():
        twin.weight[0].zero_()
    assert twin.weight[1:].equal(row[1:])


def test_a_module_under_several_names_becomes_several_modules() -> None:
    layer = nn.Linear(3, 3).double()
    model, x = nn.Sequential(layer, nn.Tanh(), layer, nn.Sequential(layer)), torch.randn(2, 3, dtype=torch.float64)
    twin = untie(model, {"tie"}, (3,))
    assert numbers(twin) == 3 * numbers(model)
    assert twin(x).equal(model(x))


def test_ties_are_kept_without_the_tie_axis() -> None:
    tokens = torch.zeros(1, 5, dtype=torch.int64)
    twin = untie(TiedHead(), {"depth"}, args=(tokens,))
    assert twin.head.weight is twin.embedding.weight
    twin = untie(nn.Sequential(*one_storage()), {"depth"}, (3,))
    assert twin[0].weight.data_ptr() == twin[1].weight.data_ptr()
    assert twin[1].weight.stride() == (1, 3)


def test_identical_tied_convolutions_stay_tied_in_space() -> None:
    first, second = nn.Conv1d(2, 2, 3, padding=1), nn.Conv1d(2, 2, 3, padding=1)
    second.weight = first.weight
    model, x = nn.Sequential(first, second), torch.randn(4, 2, 6)
    twin = untie(model, {"space"}, (2, 6))
    assert isinstance(twin[1], LocalConv)
    assert twin[0].weight is twin[1].weight
    assert twin[0].bias is not twin[1].bias
    torch.testing.assert_close(twin(x), model(x))


def test_different_tied_convolutions_stay_shared_and_are_named() -> None:
    first, second = nn.Conv1d(2, 2, 3, padding=1), nn.Conv1d(2, 2, 3)
    second.weight = first.weight
    model, x = nn.Sequential(first, second), torch.randn(4, 2, 6)
    with pytest.warns(UntieWarning, match=r"0 \(Conv1d\), 1 \(Conv1d\)"):
        twin = untie(model, {"space"}, (2, 6))
    assert twin[0].weight is twin[1].weight
    assert twin(x).equal(model(x))
    assert isinstance(untie(model, {"tie", "space"}, (2, 6))[1], LocalConv)


def test_layer_whose_weight_a_function_uses_stays_shared_and_is_named() -> None:
    model = Call(lambda self, x: functional.conv1d(self.a(x), self.a.weight), a=nn.Conv1d(2, 2, 3))
    with pytest.warns(UntieWarning, match=r"a \(Conv1d\), \(model\) \(Call\)"):
        twin = untie(model, {"space"}, (2, 9))
    assert isinstance(twin.a, nn.Conv1d)


def test_layer_tied_to_a_layer_without_a_twin_stays_shared_and_is_named() -> None:
    model = TiedHead()
    with pytest.warns(UntieWarning, match=r"between positions, .*: embedding \(Embedding\), head \(Linear\)"):
        twin = untie(model, {"space"}, args=(torch.zeros(1, 5, dtype=torch.int64),))
    assert twin.head.weight is twin.embedding.weight
    assert isinstance(twin.body, LocalLinear)


# Depth.


def test_untied_dynamic_net_has_the_published_number_of_parameters() -> None:
    model, x = DynamicNet().double(), torch.randn(4, 1000, dtype=torch.float64)
    twin = untie(model, {"depth"}, args=(torch.zeros(1, 1000, dtype=torch.float64),), kwargs={"depth": 3})
    assert numbers(twin) == 131_410
    for depth in range(4):
        assert twin(x, depth).equal(model(x, depth))


def test_gradients_of_unrolled_copies_sum_to_the_shared_gradient() -> None:
    model, x = Loop().double(), torch.randn(5, 4, dtype=torch.float64)
    twin = untie(model, {"depth"}, (4,))
    for one in (model, twin):
        one(x).square().sum().backward()
    blocks = twin.cell.copies
    same(sum(block.outer.weight.grad for block in blocks), model.cell.outer.weight.grad)
    inner = [layer.bias.grad for block in blocks for layer in block.inner.copies]
    assert len(inner) == 6
    same(sum(inner), model.cell.inner.bias.grad)


def test_nested_repetition_is_unrolled_for_each_outer_call() -> None:
    model, x = Loop(), torch.randn(5, 4)
    twin = untie(model, {"depth"}, (4,))
    assert numbers(twin) == 3 * (2 + 1) * 20
    assert twin(x).equal(model(x))


def test_the_i_th_copies_of_tied_modules_stay_tied() -> None:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    model = Call(lambda self, x: self.b(self.a(self.b(self.a(x)))), a=first, b=second)
    twin, x = untie(model, {"depth"}, (3,)), torch.randn(2, 3)
    for index in range(2):
        assert twin.a.copies[index].weight is twin.b.copies[index].weight
    assert twin.a.copies[0].weight is not twin.a.copies[1].weight
    assert twin(x).equal(model(x))


def test_module_called_by_two_names_is_unrolled_without_tie_and_doubled_with_tie() -> None:
    layer, x = nn.Linear(3, 3), torch.randn(2, 3)
    model = nn.Sequential(layer, nn.Tanh(), layer)
    by_depth, by_tie = untie(model, {"depth"}, (3,)), untie(model, {"tie", "depth"}, (3,))
    assert by_depth[0] is by_depth[2]
    assert isinstance(by_depth[0], Unrolled)
    assert [type(one) for one in by_tie] == [nn.Linear, nn.Tanh, nn.Linear]
    assert numbers(by_depth) == numbers(by_tie) == 24
    assert by_depth(x).equal(by_tie(x))


def test_more_calls_than_copies_are_refused_and_the_next_pass_restarts() -> None:
    model, x = Loop(), torch.randn(5, 4)
    twin = untie(model, {"depth"}, (4,))
    with pytest.raises(SpecError, match="cell was called more than 3 times in one pass and has 3 copies"):
        twin(x, times=4)
    assert twin(x).equal(model(x))
    assert twin(x, times=1).equal(model(x, times=1))


def test_failed_pass_leaves_no_count_of_calls() -> None:
    model, x = Loop(), torch.randn(5, 4)
    twin = untie(model, {"depth"}, (4,))
    handle = twin.cell.copies[1].register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        twin(x)
    handle.remove()
    assert twin(x).equal(model(x))


def test_a_twin_can_be_copied_and_saved() -> None:
    twin, other, x = untie(Loop(), {"depth"}, (4,)), untie(Loop(), {"depth"}, (4,)), torch.randn(5, 4)
    clone = copy.deepcopy(twin)
    expected = twin(x)
    assert twin.cell.calls == 3
    assert clone.cell.calls == 0  # counts by itself
    assert clone(x).equal(expected)
    other.load_state_dict(twin.state_dict())
    assert other(x).equal(expected)


def test_modules_without_weights_are_not_copied() -> None:
    model = Call(lambda self, x: self.act(self.a(self.act(x))), a=nn.Linear(3, 3), act=nn.ReLU())
    assert isinstance(untie(model, {"depth"}, (3,)).act, nn.ReLU)


# All of it.


def test_training_makes_the_copies_of_a_twin_different() -> None:
    model = Call(lambda self, x: self.head(self.conv(self.conv(x)).flatten(1)), conv=nn.Conv1d(2, 2, 3, padding=1),
                 head=nn.Linear(12, 1))  # fmt: skip
    twin = untie(model, input_size=(2, 6))
    twin(torch.randn(8, 2, 6)).square().mean().backward()
    torch.optim.SGD(twin.parameters(), lr=0.1).step()
    kernels = torch.cat([one.weight.detach() for one in twin.conv.copies]).flatten(1)
    assert len(kernels.unique(dim=0)) == 12


def test_untie_does_not_change_the_original() -> None:
    model = nn.Sequential(net(), nn.Dropout())
    model[0][0].weight.requires_grad_(False)
    before, state = str(model), copy.deepcopy(model.state_dict())
    twin = untie(model, input_size=(2, 8, 8))
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert str(model) == before
    assert all(value.equal(state[name]) for name, value in model.state_dict().items())
    assert model.training
    assert twin.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert [one.requires_grad for one in twin.parameters()] == [one.requires_grad for one in model.parameters()]


def test_untie_restores_the_global_random_state_and_reports_a_draw() -> None:
    random.seed(5)
    torch.manual_seed(5)
    model, state, bits = DynamicNet(8, 6, 3), random.getstate(), torch.get_rng_state()
    with pytest.warns(UntieWarning, match="the pass drew from Python's random"):
        untie(model, {"depth"}, (8,))
    assert random.getstate() == state
    assert torch.get_rng_state().equal(bits)


def test_untie_replaces_compiled_modules_by_their_originals() -> None:
    model, x = Call(lambda self, x: self.a(self.a(x)), a=nn.Linear(3, 3)), torch.randn(2, 3)
    model.a = torch.compile(model.a, backend="eager")
    twin = untie(model, {"depth"}, (3,))
    assert numbers(twin) == 24
    assert twin(x).equal(model.a._orig_mod(model.a._orig_mod(x)))


@pytest.mark.parametrize(
    ("model", "axes", "size", "regime"),
    [
        (net(), {"space"}, (2, 8, 8), "unshared"),
        (net(), {"dense"}, (2, 8, 8), "dense"),
        (nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), {"space"}, (5, 6, 3), "unshared"),
        (Loop(), {"depth"}, (4,), "per_use"),
        (nn.Sequential(*one_storage()), {"tie"}, (3,), "per_use"),
        (Loop(), {"tie", "depth", "space"}, (6, 4), "unshared"),
    ],
)
def test_twin_has_as_many_parameters_as_the_trace_counts(
    model: nn.Module, axes: set[str], size: tuple[int, ...], regime: str
) -> None:
    seen = trace(meta_clone(model), example_inputs(model, size))
    assert numbers(untie(model, axes, size)) == sum(getattr(use, regime) for use in seen.uses.values())


# What cannot be untied.


@pytest.mark.parametrize(
    ("model", "size", "message"),
    [
        (OwnNorm(2), (2, 6), r"without an unshared module: \(model\) \(OwnNorm\)"),
        (parametrizations.weight_norm(nn.Conv1d(2, 3, 3)), (2, 6), r"\(model\) \(ParametrizedConv1d\)"),
        (Call(lambda self, x: functional.conv1d(x, self.a.weight), a=nn.Conv1d(2, 3, 3)), (2, 6), r"\(Call\); not us"),
        (Call(lambda self, x: x, a=nn.Conv1d(2, 3, 3)), (2, 6), r"not used in this pass: a \(Conv1d\)"),
    ],
    ids=["subclass", "parametrized", "function", "unused"],
)  # fmt: skip
def test_layers_that_stay_shared_in_space_are_named(model: nn.Module, size: tuple[int, ...], message: str) -> None:
    model = model.double()
    with pytest.warns(UntieWarning, match=message):
        twin = untie(model, {"space"}, size)
    x = torch.randn(2, *size, dtype=torch.float64)
    same(*(one(x)[0] for one in (twin, model)))
    assert numbers(twin) == numbers(model)


def test_layer_with_hooks_stays_shared_and_keeps_its_hooks() -> None:
    conv = nn.Conv1d(2, 3, 3)
    conv.register_forward_hook(lambda *_: None)
    with pytest.warns(UntieWarning, match=r"\(model\) \(Conv1d\)"):
        assert len(untie(conv, {"space"}, (2, 6))._forward_hooks) == 1


def test_weight_that_functions_use_in_several_layers_is_named() -> None:
    model = Call(lambda self, x: functional.linear(self.a(x), self.a.weight), a=nn.Linear(3, 3))
    with pytest.warns(UntieWarning, match=r"one weight used by several layers: a \(Linear\), \(model\) \(Call\)"):
        untie(model, {"tie"}, (3,))


def test_weight_that_a_function_uses_again_is_named() -> None:
    model = Call(lambda self, x: x @ self.w @ self.w, w=nn.Parameter(torch.randn(3, 3)))
    with pytest.warns(UntieWarning, match=r"weights used again within one call: \(model\) \(Call\)"):
        untie(model, {"depth"}, (3,))


def test_parameter_outside_of_the_model_is_named_and_a_parameter_in_a_list_is_copied() -> None:
    outside = nn.Parameter(torch.randn(3, 3))
    model = Call(lambda self, x: self.a(x) @ outside, a=nn.Linear(3, 3))
    with pytest.warns(UntieWarning, match=r"not hold, still those of the original: \(model\) \(Call\)$"):
        untie(model, {"tie"}, (3,))
    model = Call(lambda self, x: x @ self.hidden[0], a=nn.Linear(3, 3))
    model.hidden = [outside]  # type: ignore[assignment]
    twin = untie(model, {"tie"}, (3,))
    assert twin.hidden[0] is not outside  # type: ignore[index]


def test_long_list_of_layers_in_a_warning_is_cut_and_names_copies_once() -> None:
    model = nn.Sequential(*[OwnNorm(2) for _ in range(7)])
    with pytest.warns(UntieWarning, match=r"4 \(OwnNorm\) and 2 more$"):
        untie(model, {"space"}, (2, 6))
    norm = OwnNorm(2)
    with pytest.warns(UntieWarning, match=r"module: 0 \(OwnNorm\)$"):
        untie(nn.Sequential(norm, norm), {"space", "depth"}, (2, 6))


def test_complete_untying_has_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        untie(net(), {"tie", "depth", "space"}, (2, 8, 8))


# Refusals.


def test_twin_over_the_limit_is_refused_before_memory_is_allocated() -> None:
    model = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(64, 8, 1))
    message = (
        r"the twin would have 11,264,000,288,000,000 parameters in 40\.0 PiB, of which 29\.1 PiB in 1 \(Dense\); "
        r"the limit is [\d,.]+ GiB; give fewer axes, a smaller input, or a larger limit"
    )
    with pytest.raises(SpecError, match=message):
        untie(model, {"dense"}, (3, 2000, 2000))
    with pytest.raises(SpecError, match=re.escape("(model) cannot be untied for (3, 100000, 100000): ")):
        untie(model[0], {"dense"}, (3, 100_000, 100_000))


def test_twin_of_exactly_the_limit_in_bytes_is_made() -> None:
    conv = nn.Conv1d(1, 2, 3)
    assert numbers(untie(conv, {"space"}, (1, 6), limit=4 * 32)) == 32
    message = r"32 parameters in 128 B, of which 96 B in \(model\) \(LocalConv\); the limit is 127 B"
    with pytest.raises(SpecError, match=message):
        untie(conv, {"space"}, (1, 6), limit=4 * 32 - 1)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"time", "tie"}, "axes has 'time'; expected some of tie, depth, space, dense"),
        ((), "axes is empty; expected some of tie, depth, space, dense"),
        ({"space", "dense"}, "axes has both 'space' and 'dense'; give one"),
    ],
)
def test_unknown_or_conflicting_axes_are_refused(axes: set[str], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        untie(net(), axes, (2, 8, 8))


def test_a_single_axis_can_be_a_string() -> None:
    assert isinstance(untie(net(), "space", (2, 8, 8))[0], LocalConv)


def test_untie_refuses_a_wrong_input_with_the_layer() -> None:
    with pytest.raises(SpecError, match=r"0 \(Conv2d\) refuses its input"):
        untie(net(), {"space"}, (3, 8, 8))
    with pytest.raises(SpecError, match="no input was given"):
        untie(net(), {"space"})


def test_untie_refuses_lazy_layers() -> None:
    with pytest.raises(SpecError, match="lazy layers without a size; call the model once, then untie it"):
        untie(nn.LazyLinear(3), {"space"}, (2, 8))


def test_untie_refuses_a_model_that_calls_itself() -> None:
    model = Call(lambda self, x: self(self.a(x)[:1]) if len(x) > 1 else x, a=nn.Linear(3, 3))
    with pytest.raises(SpecError, match="the model calls itself"):
        untie(model, {"depth"}, args=(torch.zeros(2, 3),))


def test_untie_reports_an_assumed_value() -> None:
    model = Call(lambda self, x: self.a(x) if x.sum().item() > 0 else x, a=nn.Linear(3, 3))
    with pytest.warns(UntieWarning, match=r"made for the structure of one pass: \(model\) \(Call\) reads a"):
        untie(model, {"depth"}, (3,))
