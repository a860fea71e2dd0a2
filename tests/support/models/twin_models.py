"""Small models with ties, repeated calls and layers over positions, for the tests of twins."""

import torch
from torch import Tensor, nn


class Loop(nn.Module):
    """A cell that is called several times; each call applies the inner layer of the cell twice."""

    def __init__(self, times: int = 3) -> None:
        super().__init__()
        self.cell = Block()
        self.times = times

    def forward(self, x: Tensor, times: int | None = None) -> Tensor:
        for _ in range(self.times if times is None else times):
            x = self.cell(x)
        return x


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(self.inner(x).tanh()).tanh())


class TiedHead(nn.Module):
    """A small language model whose head has the matrix of the embedding, tied by attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.body, self.head = nn.Embedding(7, 4), nn.Linear(4, 4), nn.Linear(4, 7, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.body(self.embedding(tokens)).tanh())


class Call(nn.Module):
    """A module made from a function of x and named layers."""

    def __init__(self, function: object, **layers: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)  # type: ignore[operator]


class OwnNorm(nn.BatchNorm1d):
    """A subclass, whose forward is unknown to `untie`."""


def parameter_count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def assert_same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def net() -> nn.Sequential:
    """Return a net whose layers all have unshared twins."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, stride=2, groups=2), nn.Flatten(), nn.Linear(54, 5)
    ).double()


def one_storage() -> nn.ModuleList:
    """Return two layers whose Parameters are different objects over the same elements."""
    first, second = nn.Linear(3, 3).double(), nn.Linear(3, 3).double()
    second.weight = nn.Parameter(first.weight.detach().T)
    return nn.ModuleList([first, second])
