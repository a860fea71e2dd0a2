"""A warning names every layer that stays shared, and every assumption."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from paramshare.sharing.twins.untie import UntieWarning, untie
from support.models.twin_models import Call, OwnNorm, assert_same, net, parameter_count


@pytest.mark.parametrize(
    ("model", "size", "message"),
    [
        (OwnNorm(2), (2, 6), r"without an unshared module: \(model\) \(OwnNorm\)"),
        (parametrizations.weight_norm(nn.LayerNorm(3), dim=None), (2, 3), r"\(model\) \(ParametrizedLayerNorm\)"),
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
    assert_same(*(net(x)[0] for net in (twin, model)))
    assert parameter_count(twin) == parameter_count(model)


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


def test_untie_reports_an_assumed_value() -> None:
    model = Call(lambda self, x: self.a(x) if x.sum().item() > 0 else x, a=nn.Linear(3, 3))
    with pytest.warns(UntieWarning, match=r"made for the structure of one pass: \(model\) \(Call\) reads a"):
        untie(model, {"depth"}, (3,))
