"""DigitsNet: a small convolutional net for digits."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from paramshare.recipes.digits.dataset import CLASSES

__all__ = ["DigitsNet", "initial_net"]


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
        """Return the scores (batch, 10) of images (batch, 1, height, width)."""
        hidden = max_pool2d(self.first(x), 2).relu()
        hidden = self.second(hidden).amax(dim=(2, 3)).relu()
        return self.last(hidden)  # type: ignore[no-any-return]


def initial_net(channels: int, generator: torch.Generator) -> DigitsNet:
    """Return a net with initial weights as torch's layers have: uniform up to 1 / √inputs, weights before biases."""
    with torch.device("meta"):  # nothing is drawn there
        net = DigitsNet(channels)
    net.to_empty(device="cpu")
    for layer in (net.first, net.second, net.last):
        bound = 1 / math.sqrt(layer.weight[0].numel())
        for parameter in layer.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return net
