"""Models made from a function on named weights, for the tests of the tracer."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from paramshare import SharingReport, analyze
from paramshare.errors import SpecError


class Function(nn.Module):
    """A function of the input and of named parameters."""

    def __init__(self, function: Callable[..., Tensor], **weights: Tensor) -> None:
        super().__init__()
        self.function = function
        for name, weight in weights.items():
            self.register_parameter(name, nn.Parameter(weight))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, **dict(self.named_parameters()))


def counted(function: Callable[..., Tensor], size: tuple[int, ...], **weights: Tensor) -> SharingReport:
    report = analyze(Function(function, **weights), size)
    assert report.warnings == ()
    return report


def refusal(function: Callable[..., Tensor]) -> str:
    with pytest.raises(SpecError) as error:
        analyze(Function(function, w=torch.randn(4)), (4,))
    assert "\n" not in str(error.value)
    return str(error.value)
