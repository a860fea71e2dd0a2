"""The axis `depth` gives each call of a pass its own copy."""

import pytest
import torch
from torch import nn

from paramshare.errors import SpecError
from paramshare.recipes.dynamicnet.net import DynamicNet
from paramshare.sharing.twins.depth.unrolled import Unrolled
from paramshare.sharing.twins.untie import untie
from support.models.twin_models import Call, Loop, assert_same, parameter_count


def test_untied_dynamic_net_has_the_published_number_of_parameters() -> None:
    model, x = DynamicNet().double(), torch.randn(4, 1000, dtype=torch.float64)
    twin = untie(model, {"depth"}, args=(torch.zeros(1, 1000, dtype=torch.float64),), kwargs={"depth": 3})
    assert parameter_count(twin) == 131_410
    for depth in range(4):
        assert twin(x, depth).equal(model(x, depth))


def test_gradients_of_unrolled_copies_sum_to_the_shared_gradient() -> None:
    model, x = Loop().double(), torch.randn(5, 4, dtype=torch.float64)
    twin = untie(model, {"depth"}, (4,))
    for module in (model, twin):
        module(x).square().sum().backward()
    blocks = twin.cell.copies
    assert_same(sum(block.outer.weight.grad for block in blocks), model.cell.outer.weight.grad)
    inner = [layer.bias.grad for block in blocks for layer in block.inner.copies]
    assert len(inner) == 6
    assert_same(sum(inner), model.cell.inner.bias.grad)


def test_nested_repetition_is_unrolled_for_each_outer_call() -> None:
    model, x = Loop(), torch.randn(5, 4)
    twin = untie(model, {"depth"}, (4,))
    assert parameter_count(twin) == 3 * (2 + 1) * 20
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
    assert [type(module) for module in by_tie] == [nn.Linear, nn.Tanh, nn.Linear]
    assert parameter_count(by_depth) == parameter_count(by_tie) == 24
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


def test_modules_without_weights_are_not_copied() -> None:
    model = Call(lambda self, x: self.act(self.a(self.act(x))), a=nn.Linear(3, 3), act=nn.ReLU())
    assert isinstance(untie(model, {"depth"}, (3,)).act, nn.ReLU)


def test_untie_refuses_a_model_that_calls_itself() -> None:
    model = Call(lambda self, x: self(self.a(x)[:1]) if len(x) > 1 else x, a=nn.Linear(3, 3))
    with pytest.raises(SpecError, match="the model calls itself"):
        untie(model, {"depth"}, args=(torch.zeros(2, 3),))
