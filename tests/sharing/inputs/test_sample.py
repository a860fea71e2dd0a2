"""An input which cannot be traced is refused in one line with advice."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from paramshare import analyze
from paramshare.errors import SpecError

X = torch.zeros(1, 4)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda: {"args": X}, "args is a tensor of 1×4; expected a tuple such as args=(x,)"),
        (lambda: {"args": "x"}, "args is 'x'; expected a tuple"),
        (lambda: {"args": {"input": X}}, "args is {input: 1×4}; expected a tuple"),
        (lambda: {"kwargs": X}, "kwargs is 1×4; expected a dict of names such as kwargs={"),
        (lambda: {"kwargs": [("input", X)]}, "kwargs is (('input', 1×4)); expected a dict of names"),
        (lambda: {"kwargs": {0: X}}, "kwargs is {0: 1×4}; expected a dict of names"),
        (
            lambda: {"input_size": (4,), "dtypes": "long"},
            "dtypes is 'long'; expected dtypes of torch such as torch.long",
        ),
        (lambda: {"input_size": (4,), "dtypes": ["long"]}, "dtypes is ('long'); expected dtypes of torch"),
        (
            lambda: {"args": (X.to_sparse_csc(),)},
            "the input has a sparse_csc tensor, which cannot be traced without values",
        ),
        (lambda: {"kwargs": {"input": [X.to_sparse_csc()]}}, "the input has a sparse_csc tensor"),
        (lambda: {"args": (X.to_mkldnn(),)}, "the input has a mkldnn tensor"),
        (lambda: {"args": (torch.nested.nested_tensor([torch.zeros(2, 4)]),)}, "the input has a nested tensor"),
    ],
)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore:Sparse CS. tensor support")
def test_inputs_of_a_wrong_kind_are_refused_in_one_line(given: Callable[[], dict[str, Any]], said: str) -> None:
    with pytest.raises(SpecError) as error:
        analyze(nn.Linear(4, 4), **given())
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


def test_a_class_instead_of_a_model_is_refused_in_one_line() -> None:
    with pytest.raises(SpecError, match=r"^Linear is a class; give an instance: Linear\(\.\.\.\)$"):
        analyze(nn.Linear, (4,))  # type: ignore[arg-type]


def test_a_tensor_that_is_not_a_leaf_is_a_valid_input() -> None:
    totals = analyze(nn.Linear(4, 4), args=(torch.zeros(1, 4, requires_grad=True) * 2,)).totals
    assert (totals.per_use, totals.macs) == (20, 16)


def test_rows_of_a_jagged_tensor_are_sites() -> None:
    jagged = torch.nested.nested_tensor([torch.zeros(2, 4), torch.zeros(3, 4)], layout=torch.jagged)
    totals = analyze(nn.Linear(4, 4), args=(jagged,)).totals
    assert (totals.per_use, totals.unshared, totals.macs, totals.unused) == (20, 5 * 20, 5 * 16, 0)


def test_an_operation_without_a_meta_kernel_is_named_in_one_short_line() -> None:
    class Compressed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.as_tensor(self.inner(x).to_sparse())

    with pytest.raises(SpecError) as error:
        analyze(Compressed(), (5, 3))
    said = "torch cannot run aten::_to_sparse without values; count a part of the model without this operation"
    assert str(error.value).endswith(said)
