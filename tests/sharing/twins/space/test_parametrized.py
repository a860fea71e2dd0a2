"""Proves that layers whose weights are computed from other parameters have twins, with these for each position."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from paramshare import analyze, untie
from paramshare.sharing.twins.untie import UntieWarning


class Squashed(nn.Module):
    """A parametrization by a function."""

    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight.tanh()


class LowRank(nn.Module):
    """A parametrization with parameters of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Parameter(torch.rand(3, 2)), nn.Parameter(torch.rand(2, 4))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.up @ self.down


def with_functions(layer: nn.Module, *functions: nn.Module) -> nn.Module:
    for function in functions:
        parametrize.register_parametrization(layer, "weight", function)
    return layer


def twin_of(model: nn.Module, size: tuple[int, ...], kind: torch.dtype = torch.float32) -> nn.Module:
    """Return the twin, after the check that it has the counted parameters, is the same function and trains alike."""
    model.eval()
    report, twin = analyze(model, size, dtypes=kind), untie(model, input_size=size, dtypes=kind)
    assert sum(parameter.numel() for parameter in twin.parameters()) == report.totals.unshared
    x = torch.randint(0, 4, (3, *size)) if kind is torch.long else torch.rand(3, *size)
    torch.testing.assert_close(twin(x), model(x))
    again = analyze(twin, size, dtypes=kind)
    assert (again.totals.shared, again.totals.unshared) == (report.totals.unshared, report.totals.unshared)
    twin(x).square().sum().backward()
    assert all(parameter.grad is not None for parameter in twin.parameters() if parameter.requires_grad)
    return twin


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: parametrizations.weight_norm(nn.Linear(4, 3)), (5, 4)),
    "one length": (lambda: parametrizations.weight_norm(nn.Linear(4, 3), dim=None), (5, 4)),
    "a length for each column": (lambda: parametrizations.weight_norm(nn.Linear(4, 3), dim=1), (2, 5, 4)),
    "bias": (lambda: parametrizations.weight_norm(parametrizations.weight_norm(nn.Linear(4, 3)), "bias"), (5, 4)),
    "kernel of a function": (lambda: with_functions(nn.Conv1d(2, 3, 2), Squashed()), (2, 7)),
    "conv": (lambda: parametrizations.weight_norm(nn.Conv2d(2, 4, 3, padding=1, groups=2, bias=False)), (2, 5, 5)),
    "transposed": (lambda: parametrizations.weight_norm(nn.ConvTranspose1d(2, 3, 4, 2)), (2, 8)),
    "spectral": (lambda: parametrizations.spectral_norm(nn.Conv1d(2, 3, 3)), (2, 6)),
    "orthogonal": (lambda: parametrizations.orthogonal(nn.Linear(4, 4), orthogonal_map="cayley"), (5, 4)),
    "function": (lambda: with_functions(nn.Linear(4, 3), Squashed()), (5, 4)),
    "two functions": (lambda: with_functions(nn.Linear(4, 3), Squashed(), LowRank()), (5, 4)),
    "hook": (lambda: nn.utils.weight_norm(nn.Conv1d(2, 3, 3)), (2, 8)),
    "hook with one length": (lambda: nn.utils.weight_norm(nn.Linear(4, 3), dim=None), (5, 4)),
    "hook of the spectral norm": (lambda: nn.utils.spectral_norm(nn.Linear(4, 3)), (5, 4)),
}


@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")
@pytest.mark.parametrize("case", CASES)
def test_layers_with_computed_weights_have_the_counted_twin(case: str) -> None:
    make, size = CASES[case]
    twin_of(nn.Sequential(make()), size)


def test_tables_with_weight_norm_have_a_table_for_each_position() -> None:
    twin_of(nn.Sequential(parametrizations.weight_norm(nn.Embedding(4, 3))), (5,), torch.long)


def test_each_call_and_each_place_has_its_own_originals() -> None:
    layer = parametrizations.weight_norm(nn.Linear(4, 4))
    twin_of(nn.Sequential(layer, nn.Tanh(), layer), (5, 4))
    other = nn.Linear(4, 4)
    other.weight = layer.parametrizations.weight.original1  # type: ignore[union-attr, assignment]
    twin_of(nn.Sequential(layer, other), (5, 4))


def test_the_originals_of_a_twin_keep_their_names_and_frozen_ones_stay_frozen() -> None:
    layer = parametrizations.weight_norm(nn.Linear(4, 3))
    layer.parametrizations.weight.original0.requires_grad_(False)  # type: ignore[union-attr, operator]
    twin = twin_of(nn.Sequential(layer), (5, 4))
    expected = {
        "0.bias": ((5, 3), True),
        "0.parametrizations.weight.original0": ((5, 3, 1), False),
        "0.parametrizations.weight.original1": ((5, 3, 4), True),
    }
    assert {name: (tuple(each.shape), each.requires_grad) for name, each in twin.named_parameters()} == expected


def test_the_gradients_of_the_copies_add_up_to_the_gradient_of_the_original() -> None:
    model = nn.Sequential(parametrizations.weight_norm(nn.Conv1d(2, 3, 3)))
    twin, x = untie(model, input_size=(2, 8)), torch.rand(4, 2, 8)
    for each in (model, twin):
        each(x).square().sum().backward()
    for name, parameter in model.named_parameters():
        copies = twin.get_parameter(name).grad
        assert copies is not None
        assert parameter.grad is not None
        torch.testing.assert_close(copies.sum(0), parameter.grad)


@pytest.mark.parametrize("training", [True, False])
def test_a_twin_starts_with_the_vectors_of_a_power_iteration_that_has_not_converged(training: bool) -> None:
    model = nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 3)))
    with torch.no_grad():  # far from the vectors that the layer was made with
        model[0].parametrizations.weight.original.copy_(torch.eye(3, 4))  # type: ignore[union-attr, operator]
    twin = untie(model.train(training), input_size=(5, 4))
    assert twin.training == twin[0].training == training  # type: ignore[index]
    source = model[0].parametrizations.weight[0]  # type: ignore[union-attr, index]
    for number, vector in enumerate((source._u, source._v)):
        assert torch.equal(twin.get_buffer(f"0.parametrizations.weight.0.buffer{number}"), vector.expand(5, -1))
    x = torch.rand(2, 5, 4)
    for mode in (False, True):
        torch.testing.assert_close(twin.train(mode)(x), model.train(mode)(x))


def test_a_power_iteration_in_training_moves_the_vectors_of_each_position() -> None:
    model = nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 3)))
    twin, x = untie(model, input_size=(5, 4)), torch.rand(2, 5, 4)
    torch.testing.assert_close(twin.train()(x), model.train()(x))
    with torch.no_grad():
        twin.get_parameter("0.parametrizations.weight.original")[1].copy_(torch.eye(3, 4).flip(1))
    twin(x), model(x)
    vectors = twin.get_buffer("0.parametrizations.weight.0.buffer0")
    expected = model[0].parametrizations.weight[0]._u  # type: ignore[union-attr, index]
    torch.testing.assert_close(vectors[[0, 2, 3, 4]], expected.expand(4, -1))
    assert (vectors[1] - expected).abs().max() > 0.01


def test_layers_without_such_a_twin_stay_shared_with_a_warning() -> None:
    layer = nn.LSTM(4, 3, batch_first=True)
    parametrizations.weight_norm(layer, "weight_hh_l0")
    with pytest.warns(UntieWarning, match=r"shared between positions.*\(ParametrizedLSTM\)"):
        twin = untie(layer, input_size=(5, 4))
    assert sum(each.numel() for each in twin.parameters()) == sum(each.numel() for each in layer.parameters())
    with pytest.warns(UntieWarning, match=r"without a dense module: 0 \(ParametrizedLinear\)"):
        untie(nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 3))), {"dense"}, input_size=(5, 4))
