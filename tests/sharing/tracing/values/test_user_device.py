"""Proves that model code sees the user's device, and that its answers move no tensor off the meta device."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from paramshare import analyze
from paramshare.errors import SpecError
from paramshare.sharing.inputs.sample import example_inputs
from paramshare.sharing.tensors.copies import meta_clone
from paramshare.sharing.tracing.trace import trace


class Branching(nn.Module):
    """Two layers of which a question about the input selects one: 16 multiply-accumulates if it holds, else 32."""

    def __init__(self, holds: Callable[[nn.Module, Tensor], bool]) -> None:
        super().__init__()
        self.narrow, self.wide = nn.Linear(4, 4, bias=False), nn.Linear(4, 8, bias=False)
        self.holds = holds

    @property
    def device(self) -> torch.device:
        return next(parameter.device for parameter in self.parameters())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.narrow(x) if self.holds(self, x) else self.wide(x)
        return out


def by_a_variable(_: nn.Module, x: Tensor) -> bool:
    device = x.device
    return device.type == "cpu"


ON_CPU = [
    lambda _, x: x.device.type == "cpu",
    lambda _, x: x.device == torch.device("cpu"),
    lambda _, x: "cpu" in str(x.device),
    lambda _, x: x.is_cpu,
    lambda _, x: not x.is_cuda,
    lambda _, x: x.get_device() == -1,
    lambda model, _: model.narrow.weight.device.type == "cpu",
    lambda model, _: model.device.type == "cpu",
    by_a_variable,
]


@pytest.mark.parametrize("holds", ON_CPU)
def test_branch_on_the_device_is_that_of_the_users_device_and_is_reported(
    holds: Callable[[nn.Module, Tensor], bool],
) -> None:
    report = analyze(Branching(holds), (4,))
    assert report.totals.macs == 16
    assert report.warnings == (
        "(model) (Branching) branches on the device of a tensor: the counts hold on cpu, not on cuda",
    )


def test_meta_device_is_never_visible_to_model_code() -> None:
    report = analyze(Branching(lambda _, x: not x.is_meta), (4,))
    assert (report.totals.macs, report.warnings) == (16, ())


def test_question_about_the_device_without_a_branch_is_not_reported() -> None:
    def casts(_: nn.Module, x: Tensor) -> bool:
        kind = x.device.type if x.device.type != "mps" else "cpu"
        with torch.autocast(kind, enabled=False):
            return True

    assert analyze(Branching(casts), (4,)).warnings == ()


PASSED_ON = [
    lambda x: torch.zeros(x.shape, device=x.device),
    lambda x: x.new_ones(4).to(x.device, torch.float64),
    lambda x: x.to(x.device),
    lambda x: torch.as_tensor([1.0], device=x.device),
]


@pytest.mark.parametrize("make", PASSED_ON)
def test_tensor_made_on_the_devices_of_inputs_has_no_memory(make: Callable[[Tensor], Tensor]) -> None:
    made = []

    def holds(_: nn.Module, x: Tensor) -> bool:
        made.append(make(x).untyped_storage().device.type)
        return True

    assert analyze(Branching(holds), (4,)).warnings == ()
    assert set(made) == {"meta"}


def test_device_of_the_input_is_used_if_the_model_has_no_device() -> None:
    model = Branching(lambda _, x: x.is_cuda)
    sample = example_inputs(meta_clone(model), args=(torch.empty(1, 4),))
    assert sample.device == torch.device("cpu")
    assert trace(meta_clone(model), sample).asks_device == ("(model) (Branching)",)


def test_known_values_become_an_array_of_numpy_and_unknown_ones_are_refused() -> None:
    class Repeated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4, bias=False)
            self.register_buffer("times", torch.tensor([1, 2]))

        def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
            for _ in range(int((self.times if source is None else source).numpy().sum())):
                x = self.layer(x)
            return x

    assert analyze(Repeated(), (4,)).totals.macs == 48
    with pytest.raises(SpecError, match="numpy needs the values of a tensor; count a part of the model without"):
        analyze(Repeated(), ((4,), (4,)))


def test_window_on_the_cpu_is_moved_to_the_spectrum() -> None:
    class Mask(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(9, 9)

        def forward(self, x: Tensor) -> Tensor:
            spectrum = torch.stft(x, 16, window=torch.hann_window(16), return_complex=True)
            mask = self.layer(spectrum.abs().transpose(1, 2)).transpose(1, 2)
            return torch.istft(spectrum * mask, 16, window=torch.hann_window(16))

    report = analyze(Mask(), (64,))
    assert report.totals.unshared == 17 * 90
    assert report.totals.unused == 0
