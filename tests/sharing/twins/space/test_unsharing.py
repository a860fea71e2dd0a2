"""The axes `space` and `dense` replace layers by equal unshared layers, and keep ties."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from paramshare.errors import SpecError
from paramshare.sharing.twins.layers.convolution import LocalConv
from paramshare.sharing.twins.layers.dense import Dense
from paramshare.sharing.twins.layers.linear import LocalLinear
from paramshare.sharing.twins.untie import UntieWarning, untie
from support.models.twin_models import Call, TiedHead, assert_same, net, parameter_count


@pytest.mark.parametrize(("axes", "kind"), [({"space"}, LocalConv), ({"dense"}, Dense)])
def test_untied_convolutions_compute_the_same_function(axes: set[str], kind: type[nn.Module]) -> None:
    model, x = net(), torch.randn(3, 2, 8, 8, dtype=torch.float64)
    twin = untie(model, axes, (2, 8, 8))
    assert not any(layer.training for layer in untie(model.eval(), axes, (2, 8, 8)).modules())
    assert [type(layer) for layer in twin] == [kind, nn.ReLU, kind, nn.Flatten, nn.Linear]
    assert_same(twin(x), model(x))


def test_linear_layers_are_untied_over_extra_axes_only() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Flatten(), nn.Linear(20, 2)).double()
    x = torch.randn(6, 5, 3, dtype=torch.float64)
    local, dense = untie(model, {"space"}, (5, 3)), untie(model, {"dense"}, (5, 3))
    assert parameter_count(local) == 5 * (3 * 4 + 4) + 42
    assert parameter_count(dense) == 15 * 20 + 20 + 42
    assert type(local[3]) is type(dense[3]) is nn.Linear
    assert_same(local(x), model(x))
    assert_same(dense(x), model(x))


def test_model_that_is_a_single_layer_is_replaced() -> None:
    conv, x = nn.Conv1d(2, 3, 3), torch.randn(4, 2, 9)
    twin = untie(conv, {"space"}, (2, 9))
    assert isinstance(twin, LocalConv)
    torch.testing.assert_close(twin(x), conv(x))


def test_gradients_of_a_twin_sum_to_the_gradients_of_the_model() -> None:
    model, x = net(), torch.randn(3, 2, 8, 8, dtype=torch.float64)
    twin = untie(model, {"space"}, (2, 8, 8))
    for module in (model, twin):
        module(x).square().sum().backward()
    for index in (0, 2):
        assert_same(twin[index].weight.grad.sum((0, 1)), model[index].weight.grad)
        assert_same(twin[index].bias.grad.sum((0, 1)), model[index].bias.grad)


def test_fused_path_does_not_read_the_weights_of_unshared_layers() -> None:
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dtype=torch.float64).eval()
    twin = untie(model, {"space"}, (5, 8))
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    assert isinstance(twin.linear1, LocalLinear)
    with torch.no_grad():
        assert_same(twin(x), model(x))


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
    assert parameter_count(twin) == 9 * parameter_count(model)
    torch.testing.assert_close(twin(x), model(x))


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
