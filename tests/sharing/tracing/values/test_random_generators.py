"""A depth drawn from a generator of the model is counted for the next draw, with a warning."""

import copy
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from paramshare import analyze


def draw(generator: Any) -> int:
    if isinstance(generator, random.Random):
        return generator.randint(1, 9)
    if isinstance(generator, torch.Generator):
        return int(torch.randint(1, 9, (), generator=generator))
    return int(generator.integers(1, 9) if isinstance(generator, np.random.Generator) else generator.randint(1, 9))


class Draws(nn.Module):
    def __init__(self, generator: Any) -> None:
        super().__init__()
        self.layer, self.generator = nn.Linear(4, 4, bias=False), generator

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(draw(self.generator)):
            x = self.layer(x)
        return x


@pytest.mark.parametrize(
    "generator",
    [random.Random(3), torch.Generator().manual_seed(3), np.random.default_rng(3), np.random.RandomState(3)],
    ids=lambda generator: type(generator).__module__,
)
def test_draw_from_a_generator_of_the_model_is_reported_and_the_generator_is_restored(generator: Any) -> None:
    expected = draw(copy.deepcopy(generator))
    for _ in range(2):
        report = analyze(nn.Sequential(Draws(generator)), (4,))
        assert report.totals.macs == expected * 16
        (line,) = report.warnings
        assert line.startswith("the pass drew from 0.generator of the model: if its structure depends on that")
    assert draw(generator) == expected


def test_unused_generator_of_the_model_is_not_reported() -> None:
    model = nn.Linear(4, 4)
    model.generator = random.Random(3)
    assert analyze(model, (4,)).warnings == ()
