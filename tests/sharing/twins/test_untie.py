"""`untie` returns a twin that computes the same function and leaves the original unchanged."""

import copy
import random

import pytest
import torch
from torch import Tensor, nn

from paramshare.errors import SpecError
from paramshare.recipes.dynamicnet.net import DynamicNet
from paramshare.sharing.inputs.sample import example_inputs
from paramshare.sharing.tensors.copies import meta_clone
from paramshare.sharing.tracing.trace import trace
from paramshare.sharing.twins.layers.convolution import LocalConv
from paramshare.sharing.twins.untie import UntieWarning, untie
from support.models.twin_models import Call, Loop, net, one_storage, parameter_count


def test_a_twin_can_be_copied_and_saved() -> None:
    twin, other, x = untie(Loop(), {"depth"}, (4,)), untie(Loop(), {"depth"}, (4,)), torch.randn(5, 4)
    clone = copy.deepcopy(twin)
    expected = twin(x)
    assert twin.cell.calls == 3
    assert clone.cell.calls == 0  # counts by itself
    assert clone(x).equal(expected)
    other.load_state_dict(twin.state_dict())
    assert other(x).equal(expected)


def test_training_makes_the_copies_of_a_twin_different() -> None:
    model = Call(lambda self, x: self.head(self.conv(self.conv(x)).flatten(1)), conv=nn.Conv1d(2, 2, 3, padding=1),
                 head=nn.Linear(12, 1))  # fmt: skip
    twin = untie(model, input_size=(2, 6))
    twin(torch.randn(8, 2, 6)).square().mean().backward()
    torch.optim.SGD(twin.parameters(), lr=0.1).step()
    kernels = torch.cat([copy_.weight.detach() for copy_ in twin.conv.copies]).flatten(1)
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
    assert [parameter.requires_grad for parameter in twin.parameters()] == [
        parameter.requires_grad for parameter in model.parameters()
    ]


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
    assert parameter_count(twin) == 24
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
    assert parameter_count(untie(model, axes, size)) == sum(getattr(use, regime) for use in seen.uses.values())


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"time", "tie"}, "axes has 'time'; expected some of tie, depth, space, dense"),
        ((), "axes is empty; expected some of tie, depth, space, dense"),
        ({"space", "dense"}, "axes has both 'space' and 'dense'; give one"),
    ],
)
def test_untie_refuses_unknown_or_conflicting_axes(axes: set[str], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        untie(net(), axes, (2, 8, 8))


def test_untie_accepts_a_single_axis_as_a_string() -> None:
    assert isinstance(untie(net(), "space", (2, 8, 8))[0], LocalConv)


def test_untie_refuses_a_wrong_input_with_the_layer() -> None:
    with pytest.raises(SpecError, match=r"0 \(Conv2d\) refuses its input"):
        untie(net(), {"space"}, (3, 8, 8))
    with pytest.raises(SpecError, match="no input was given"):
        untie(net(), {"space"})


def test_untie_refuses_lazy_layers() -> None:
    with pytest.raises(SpecError, match="lazy layers without a size; call the model once, then untie it"):
        untie(nn.LazyLinear(3), {"space"}, (2, 8))


def test_untie_reports_a_branch_on_the_device() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.on_cpu, self.elsewhere = nn.Conv1d(1, 2, 3), nn.Conv1d(1, 2, 5, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.on_cpu(x) if x.device.type == "cpu" else self.elsewhere(x)
            return out

    with pytest.warns(UntieWarning, match="branches on the device of a tensor: the counts hold on cpu, not on cuda"):
        twin = untie(Branching(), {"space"}, input_size=(1, 8))
    assert twin.on_cpu.weight.numel() == 6 * 6
