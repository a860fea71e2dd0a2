"""Test how nested tensors are compared: by every bit, by size, and by their largest difference."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from paramshare.recipes.checking.contents import hash_of, largest_difference, same_function_limit, tensor_bytes

ONE = torch.tensor([1.0, -2.0])


@pytest.mark.parametrize(
    "other",
    [
        torch.tensor([1.0, -2.0 + 2**-22]),
        ONE.double(),
        ONE[None],
        [ONE, torch.empty(0)],
        torch.tensor([1.0, -2.0], dtype=torch.bfloat16),
    ],
    ids=["a bit", "a type", "a shape", "a part", "a small type"],
)
def test_a_hash_depends_on_every_bit_type_and_shape(other: Any) -> None:
    assert hash_of(ONE) == hash_of({"x": ONE.clone()}) != hash_of(other)


@pytest.mark.parametrize("content", [torch.tensor(3), torch.tensor([True]), torch.empty(0, 3), ONE[::2], "text", None])
def test_everything_that_a_recipe_may_return_has_a_hash(content: Any) -> None:
    assert len(hash_of(content)) == 64


def test_bytes_are_those_of_all_tensors() -> None:
    assert tensor_bytes([ONE, {"x": (ONE.double(), None, 3)}]) == 8 + 16


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        (ONE, ONE, 0),
        (ONE, ONE * 1.5, 1 / 3),
        ((ONE, {"y": ONE}), (ONE, {"y": ONE + 2}), 2 / 3),
        (ONE, ONE[:1], math.inf),
        ((ONE, ONE), ONE, math.inf),
        (torch.zeros(2), torch.zeros(2), 0),
        (torch.empty(0), torch.empty(0), 0),
    ],
)
def test_a_difference_is_relative_to_the_largest_element(one: Any, other: Any, difference: float) -> None:
    assert largest_difference(one, other) == pytest.approx(difference)


def test_the_limit_is_that_of_the_coarsest_type_of_the_parameters() -> None:
    assert same_function_limit(nn.Linear(2, 2).double()) < same_function_limit(nn.Linear(2, 2)) < 1e-3
    assert same_function_limit(nn.Sequential(nn.Linear(2, 2).double(), nn.Linear(2, 2).bfloat16())) > 1e-2
