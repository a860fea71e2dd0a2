"""Networks whose papers print their size and that no library gives as printed, rebuilt as plain torch modules.

Written so that each connection a paper counts is one use of one weight: a bias of a unit's own is a parameter of the
map's full size, a map that sees some of the maps below is a convolution over those alone, and a coefficient that a
paper wires to each of four inputs multiplies each of the four. Nonlinearities have no weights and are tanh or ReLU.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "AlexNet2012", "DeepFace", "LeNet5", "MobileNetV1", "ZipCodeNet",
    "net1", "net2", "net3", "net4", "net5",
]  # fmt: skip


class UnitBias(nn.Module):
    """A bias for each unit of every map, not one a map.

    Args:
        maps, height, width: the size of what it is added to.
    """

    def __init__(self, maps: int, height: int, width: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(maps, height, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


class Local2d(nn.Module):
    """A convolution's wiring with weights of its own at each position, and a bias for each unit.

    Args:
        maps_in, maps_out: maps below and here.
        size: height and width of the maps below.
        kernel, stride, padding: as of a convolution; the padding is zero.
    """

    def __init__(self, maps_in: int, maps_out: int, size: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.window = {"kernel_size": kernel, "stride": stride, "padding": padding}
        self.size = (size + 2 * padding - kernel) // stride + 1
        self.weight = nn.Parameter(torch.zeros(self.size**2, maps_out, maps_in * kernel**2))
        self.bias = nn.Parameter(torch.zeros(maps_out, self.size, self.size))

    def forward(self, x: Tensor) -> Tensor:
        fields = F.unfold(x, **self.window)  # (batch, maps_in · kernel², positions)
        units = torch.einsum("bkp,pok->bop", fields, self.weight)
        return units.unflatten(2, (self.size, self.size)) + self.bias


def unit_conv(maps_in: int, maps_out: int, size: int, kernel: int, groups: int = 1) -> nn.Sequential:
    """A convolution of stride 2 that halves `size`, with shared weights and a bias for each unit."""
    conv = nn.Conv2d(maps_in, maps_out, kernel, stride=2, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, UnitBias(maps_out, size // 2, size // 2))


# Y. LeCun (1989), Generalization and network design strategies, University of Toronto, CRG-TR-89-4. Digits of 16 × 16
# pixels, ten outputs. The paper gives each net's connections ("links") and free parameters and says that units of a map
# share their weights but not their biases. Its fields reach over the border, and it counts them whole.


def net1() -> nn.Module:
    """No hidden layer. 256 · 10 + 10 = 2,570 free parameters and connections."""
    return nn.Sequential(nn.Flatten(), nn.Linear(256, 10))


def net2() -> nn.Module:
    """Twelve hidden units. 256 · 12 + 12 + 12 · 10 + 10 = 3,214 of both."""
    return nn.Sequential(nn.Flatten(), nn.Linear(256, 12), nn.Tanh(), nn.Linear(12, 10))


def net3() -> nn.Module:
    """Two locally connected layers. 64 · (9 + 1) + 16 · (25 + 1) + 16 · 10 + 10 = 1,226 of both."""
    return nn.Sequential(
        Local2d(1, 1, size=16, kernel=3, stride=2, padding=1), nn.Tanh(),
        Local2d(1, 1, size=8, kernel=5, stride=2, padding=2), nn.Tanh(),
        nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip


def net4() -> nn.Module:
    """Two maps with shared weights, then one locally connected.

    Free: (2 · 9 + 128) + 16 · (50 + 1) + 170 = 1,132. Connections: 128 · (9 + 1) + 16 · (50 + 1) + 170 = 2,266.
    """
    return nn.Sequential(
        unit_conv(1, 2, size=16, kernel=3), nn.Tanh(),
        Local2d(2, 1, size=8, kernel=5, stride=2, padding=2), nn.Tanh(),
        nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip


def net5() -> nn.Module:
    """Two maps, then four, all with shared weights.

    Free: (2 · 9 + 128) + (4 · 50 + 64) + 650 = 1,060. Connections: 128 · (9 + 1) + 64 · (50 + 1) + 650 = 5,194.
    """
    return nn.Sequential(
        unit_conv(1, 2, size=16, kernel=3), nn.Tanh(),
        unit_conv(2, 4, size=8, kernel=5), nn.Tanh(),
        nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


class ZipCodeNet(nn.Module):
    """Y. LeCun et al. (1989), Backpropagation applied to handwritten zip code recognition, Neural Computation 1(4).

    16 × 16 pixels. H1: 12 maps of 8 × 8, 5 × 5 weights a map, a bias a unit: 1,068 free, 19,968 connections. H2: 12
    maps of 4 × 4, each over 8 of H1's maps: 2,592 and 38,592. H3: 30 units, 5,790. Output: 310. In all 9,760 free
    parameters and 64,660 connections. Which eight maps the paper does not say; here they are eight in a row, going
    round.
    """

    def __init__(self) -> None:
        super().__init__()
        self.h1 = unit_conv(1, 12, size=16, kernel=5)
        self.seen = [(first + step) % 12 for first in range(12) for step in range(8)]
        self.h2 = unit_conv(12 * 8, 12, size=8, kernel=5, groups=12)
        self.h3 = nn.Linear(12 * 4 * 4, 30)
        self.output = nn.Linear(30, 10)

    def forward(self, x: Tensor) -> Tensor:
        h1 = self.h1(x).tanh()
        h2 = self.h2(h1[:, self.seen]).tanh()
        return self.output(self.h3(h2.flatten(1)).tanh()).tanh()


class Subsampling(nn.Module):
    """LeNet-5's: the sum of each 2 × 2 inputs, times a coefficient of the map, plus a bias of the map.

    The paper counts five connections a unit: the coefficient at each of the four inputs, and the bias.
    """

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.ones(maps, 1, 1))
        self.bias = nn.Parameter(torch.zeros(maps, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x * self.coefficient, 2, divisor_override=1) + self.bias


class LeNet5(nn.Module):
    """Y. LeCun, L. Bottou, Y. Bengio, P. Haffner (1998), Gradient-based learning applied to document recognition.

    Proc. IEEE 86(11), section II.B; C3's wiring is its table I. 32 × 32 pixels.

    Free: C1 156, S2 12, C3 1,516, S4 32, C5 48,120, F6 10,164: 60,000. Connections: 122,304, 5,880, 151,600, 2,000,
    48,120, 10,164 and the 840 of the output's radial basis functions, whose centres are drawn by hand and not trained:
    340,908.
    """

    SEEN = (
        *[[(first + step) % 6 for step in range(3)] for first in range(6)],
        *[[(first + step) % 6 for step in range(4)] for first in range(6)],
        *([0, 1, 3, 4], [1, 2, 4, 5], [0, 2, 3, 5]),
        [0, 1, 2, 3, 4, 5],
    )

    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(1, 6, 5)
        self.s2 = Subsampling(6)
        self.c3 = nn.ModuleList(nn.Conv2d(len(seen), 1, 5) for seen in self.SEEN)
        self.s4 = Subsampling(16)
        self.c5 = nn.Conv2d(16, 120, 5)
        self.f6 = nn.Linear(120, 84)
        self.centres = nn.Parameter(torch.ones(10, 84), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        s2 = self.s2(self.c1(x)).tanh()
        c3 = torch.cat([conv(s2[:, seen]) for conv, seen in zip(self.c3, self.SEEN, strict=True)], dim=1)
        c5 = self.c5(self.s4(c3).tanh()).tanh()
        f6 = self.f6(c5.flatten(1)).tanh()
        return (f6.unsqueeze(1) - self.centres).square().sum(dim=2)


class AlexNet2012(nn.Sequential):
    """A. Krizhevsky, I. Sutskever, G. Hinton (2012), ImageNet classification with deep convolutional networks.

    The second, fourth and fifth convolution see only the maps of their own GPU: two groups. The paper's 224 × 224 does
    not give its 55 × 55 units without padding; 227 does. 60,965,224 parameters (printed: 60 million) and, as V. Sze et
    al. (2017), Efficient processing of deep neural networks, table II, count it, 724 M MACs.
    """

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 96, 11, stride=4), nn.ReLU(), nn.LocalResponseNorm(5), nn.MaxPool2d(3, 2),
            nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(), nn.LocalResponseNorm(5), nn.MaxPool2d(3, 2),
            nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Flatten(), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(),
            nn.Linear(4096, 1000),
        )  # fmt: skip


class MobileNetV1(nn.Sequential):
    """A. Howard et al. (2017), MobileNets: efficient convolutional neural networks for mobile vision applications.

    Table 1, with batch norm after each convolution. 4,231,976 parameters and 568.7 M multiply-adds at 224 × 224.

    Args:
        width: the multiplier of every layer's maps (their table 6).
    """

    BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))

    def __init__(self, width: float = 1.0) -> None:
        maps = int(32 * width)
        layers = self._conv(3, maps, 3, stride=2)
        for wanted, stride in self.BLOCKS:
            below, maps = maps, int(wanted * width)
            layers += self._conv(below, below, 3, stride, groups=below) + self._conv(below, maps, 1)
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(maps, 1000))

    @staticmethod
    def _conv(below: int, maps: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
        conv = nn.Conv2d(below, maps, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
        return [conv, nn.BatchNorm2d(maps), nn.ReLU()]


class DeepFace(nn.Sequential):
    """Y. Taigman, M. Yang, M. Ranzato, L. Wolf (2014), DeepFace: closing the gap to human-level performance, figure 2.

    152 × 152 pixels in colour. Two convolutions, then L4 to L6 locally connected: 16 maps of 55², 25² and 21² units
    over 9², 7² (stride 2) and 5² of the 16 maps below, with a bias a unit. 118,923,774 parameters; the paper prints
    "more than 120 million".
    """

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 32, 11), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(32, 16, 9), nn.ReLU(),
            Local2d(16, 16, size=63, kernel=9), nn.ReLU(),
            Local2d(16, 16, size=55, kernel=7, stride=2), nn.ReLU(),
            Local2d(16, 16, size=25, kernel=5), nn.ReLU(),
            nn.Flatten(), nn.Linear(16 * 21 * 21, 4096), nn.ReLU(), nn.Linear(4096, 4030),
        )  # fmt: skip
