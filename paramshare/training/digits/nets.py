"""DigitsNet, its twins that share less, and what they cost."""

from functools import lru_cache
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from paramshare.sharing.analyze import analyze
from paramshare.sharing.twins.untie import untie
from paramshare.training.digits.spec import CLASSES, DigitsSpec, DigitsVariant, Placement
from paramshare.training.torch_defaults import torch_defaults

__all__ = ["DigitsNet", "digits_program", "macs", "twin"]

_UNTIED: Final[dict[DigitsVariant, str]] = {"local": "space", "dense": "dense"}


class DigitsNet(nn.Module):
    """Two 3×3 convolutions that keep the size, each with max-pooling and ReLU, and a Linear.

    The first pools 2×2, the second over the whole image: where a digit lies is forgotten, up to what the borders tell.
    On 12×12 pixels and with 16 channels it has 5,130 parameters; its locally connected twin has 190,410, its dense
    twin 999,114. (ReLU comes after pooling: the same function as before it, on fewer numbers.)

    Args:
        channels: of the first convolution; the second has twice as many.
    """

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, channels, kernel_size=3, padding=1)
        self.second = nn.Conv2d(channels, 2 * channels, kernel_size=3, padding=1)
        self.last = nn.Linear(2 * channels, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """The scores (batch, 10) of images (batch, 1, height, width)."""
        hidden = max_pool2d(self.first(x), 2).relu()
        hidden = self.second(hidden).amax(dim=(2, 3)).relu()
        return self.last(hidden)  # type: ignore[no-any-return]


def twin(net: DigitsNet, spec: DigitsSpec) -> nn.Module:
    """The net of the spec's variant that starts as the same function as `net`, which is itself the twin called conv."""
    return net if spec.variant == "conv" else untie(net, {_UNTIED[spec.variant]}, spec.input_shape)


def macs(spec: DigitsSpec) -> int:
    """Multiply-accumulates of the spec's net for one image, forward."""
    return _macs(spec.variant, spec.placement, spec.channels)


def digits_program(spec: DigitsSpec) -> torch.export.ExportedProgram:
    """The graph for nets of this spec, to be called as `(x)`, x float32 (any batch, *input_shape).

    Its weights mean nothing. They have the names that they have in the `state_dict` of the spec's net.
    """
    net = _on_meta(spec).to_empty(device="cpu").eval()
    example = torch.zeros(2, *spec.input_shape)
    return torch.export.export(net, (example,), dynamic_shapes={"x": {0: torch.export.Dim("batch")}})


@lru_cache
def _macs(variant: DigitsVariant, placement: Placement, channels: int) -> int:
    spec = DigitsSpec(seed=0, variant=variant, placement=placement, channels=channels)
    with torch_defaults():
        return analyze(_on_meta(spec), spec.input_shape).totals.macs


def _on_meta(spec: DigitsSpec) -> nn.Module:
    with torch.device("meta"):  # draws nothing from the global generator
        net = DigitsNet(spec.channels)
    return twin(net, spec)
