"""`analyze` and `untie` refuse invalid inputs in one line without the values of tensors."""

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from paramshare.errors import SpecError
from paramshare.sharing.analyze import analyze
from paramshare.sharing.twins.untie import untie

X = torch.full((1, 3, 8, 8), 0.123456)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"input_size": X}, "input_size is a tensor of 1×3×8×8; give a tensor as args=(x,), or a size such as"),
        ({"input_size": X.long()}, "input_size is a tensor of 1×3×8×8 int64; give a tensor as args=(x,)"),
        ({"input_size": nn.Parameter(X)}, "input_size is a tensor of 1×3×8×8; give a tensor as args=(x,)"),
        ({"input_size": (X, X)}, "input_size is a tuple with tensors, (1×3×8×8, 1×3×8×8); give tensors as args=(x, y)"),
        ({"input_size": [X, 3]}, "input_size is a list with tensors, (1×3×8×8, 3); give tensors as args=(x, y)"),
        ({"input_size": {"x": X}}, "input_size is a dict with tensors, {x: 1×3×8×8}; give tensors by name as kwargs={"),
        ({"input_size": X.numpy()}, "input_size is a ndarray of 1×3×8×8; give a tensor as args=(x,)"),
        ({"input_size": "3,8,8"}, "input_size is '3,8,8'; expected a tuple of integers like (3, 224, 224)"),
        ({"input_size": 3}, "input_size is 3; expected a tuple of integers"),
        ({"input_size": {3, 8}}, "expected a tuple of integers"),
        ({"input_size": iter((3, 8, 8))}, "input_size is a tuple_iterator; expected a tuple of integers"),
        ({"input_size": (3.0, 8, 8)}, "input_size is (3.0, 8, 8); expected positive integers, without the batch"),
        ({"input_size": (3, 0, 8)}, "input_size is (3, 0, 8); expected positive integers"),
        ({"input_size": (True, 8, 8)}, "input_size is (True, 8, 8); expected positive integers"),
        ({"input_size": ((3, 8, 8), 4)}, "input_size has 4 beside sizes; expected a tuple for each input like (7,)"),
        ({"args": X}, "args is a tensor of 1×3×8×8; expected a tuple such as args=(x,)"),
        ({"args": X.numpy()}, "args is a ndarray of 1×3×8×8; expected a tuple such as args=(x,)"),
        ({"args": {"x": X}}, "args is {x: 1×3×8×8}; expected a tuple such as args=(x,)"),
        ({"kwargs": X}, 'kwargs is 1×3×8×8; expected a dict of names such as kwargs={"x": x}'),
        ({"kwargs": [X]}, 'kwargs is (1×3×8×8); expected a dict of names such as kwargs={"x": x}'),
        ({"kwargs": {3: X}}, "kwargs is {3: 1×3×8×8}; expected a dict of names"),
        ({"input_size": (3, 8, 8), "dtypes": "long"}, "dtypes is 'long'; expected dtypes of torch such as torch.long"),
        ({"input_size": (3, 8, 8), "dtypes": [int]}, "expected dtypes of torch such as torch.long"),
        ({"input_size": (3, 8, 8), "dtypes": [None, None]}, "2 dtypes were given for 1 inputs"),
        (
            {"args": (X,), "dtypes": torch.long},
            "dtypes was given without input_size; leave it out, the tensors in args and kwargs have",
        ),
    ],
)
def test_objects_that_are_not_an_input_are_refused_in_one_line(given: dict[str, Any], said: str) -> None:
    for call in (analyze, untie):
        with pytest.raises(SpecError) as refused:
            call(nn.Conv2d(3, 4, 3), **given)
        assert said in str(refused.value)
        assert "\n" not in str(refused.value)
        assert "0.12" not in str(refused.value)


@pytest.mark.parametrize(
    "size",
    [[3, 8, 8], torch.Size((3, 8, 8)), tuple(np.array([3, 8, 8])), ((3, 8, 8),), [torch.Size((3, 8, 8))]],
)
def test_an_input_size_can_be_any_sequence_of_integers(size: Any) -> None:
    assert analyze(nn.Conv2d(3, 4, 3), size).totals.unshared == 4 * 6 * 6 * (3 * 9 + 1)


def test_an_empty_size_is_a_sample_of_one_number() -> None:
    assert analyze(nn.Embedding(5, 2), (), dtypes=torch.long).input == "1 int64"


def test_any_value_in_an_error_is_described_in_few_characters() -> None:
    class Batch:
        def __repr__(self) -> str:
            return "x" * 500

    wrong: Callable[..., Any] = analyze
    with pytest.raises(SpecError, match=r"^input_size is a Batch; expected"):
        wrong(nn.Linear(2, 2), Batch())


def test_model_whose_modules_torch_cannot_list_is_refused_in_one_line() -> None:
    class Child(nn.Module):
        def __init__(self, layer: nn.Module) -> None:
            super().__init__()
            self.kept = [layer]
            self.parent = weakref.proxy(layer)

    with pytest.raises(SpecError) as refused:
        analyze(Child(nn.Linear(4, 4)), (4,))
    assert str(refused.value).startswith("torch cannot list the modules of Child")
    assert "\n" not in str(refused.value)
