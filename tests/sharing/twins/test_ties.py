"""The axis `tie` gives each name its own weights, and ties are kept without it."""

import torch
from torch import nn

from paramshare.sharing.twins.untie import untie
from support.models.twin_models import Call, TiedHead, assert_same, one_storage, parameter_count


def test_ties_by_attribute_are_untied() -> None:
    model, tokens = TiedHead().double(), torch.randint(7, (3, 5))
    twin = untie(model, {"tie"}, args=(torch.zeros(1, 5, dtype=torch.int64),))
    assert parameter_count(twin) == parameter_count(model) + 7 * 4
    assert twin(tokens).equal(model(tokens))
    for module in (model, twin):
        module(tokens).square().sum().backward()
    assert_same(twin.embedding.weight.grad + twin.head.weight.grad, model.embedding.weight.grad)


def test_ties_by_views_of_one_storage_are_untied() -> None:
    layers = one_storage()
    model, x = nn.Sequential(*layers), torch.randn(2, 3, dtype=torch.float64)
    twin = untie(model, {"tie"}, (3,))
    assert twin[0].weight.untyped_storage().data_ptr() != twin[1].weight.untyped_storage().data_ptr()
    assert_same(twin(x), model(x))
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
    assert parameter_count(twin) == 3 * parameter_count(model)
    assert twin(x).equal(model(x))


def test_ties_are_kept_without_the_tie_axis() -> None:
    tokens = torch.zeros(1, 5, dtype=torch.int64)
    twin = untie(TiedHead(), {"depth"}, args=(tokens,))
    assert twin.head.weight is twin.embedding.weight
    twin = untie(nn.Sequential(*one_storage()), {"depth"}, (3,))
    assert twin[0].weight.data_ptr() == twin[1].weight.data_ptr()
    assert twin[1].weight.stride() == (1, 3)
