"""Tensors are found in objects of any class: tensors of the input are data, tensors of the output are used.

The objects of the caller are not changed.
"""

import threading
from collections import UserDict, deque, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from paramshare import analyze
from paramshare.errors import SpecError
from paramshare.sharing.tensors.object_tensors import tensors_in, with_tensors


class Batch:
    """An object with attributes."""

    def __init__(self, x: object) -> None:
        self.x, self.lock, self.name = x, threading.Lock(), "first"


class Slots:
    """An object without a dictionary."""

    __slots__ = ("unset", "x")

    def __init__(self, x: object) -> None:
        self.x = x


@dataclass(frozen=True, slots=True)
class Record:
    """Frozen, with slots."""

    x: object


class Listed(list[object]):
    """A list of another class."""


class Named(dict[str, object]):
    """A dictionary of another class."""


Pair = namedtuple("Pair", "x y")


def first(held: Any) -> Tensor:
    """The first tensor in an object, by its own way."""
    if isinstance(held, Tensor):
        return held
    if isinstance(held, Batch | Slots | Record | Pair):
        return first(held.x)
    return first(held["x"] if hasattr(held, "keys") else next(iter(held)))


HOLDERS: list[Callable[[Tensor], object]] = [
    Batch,
    Slots,
    Record,
    lambda x: UserDict(x=x),
    lambda x: Named(x=x),
    lambda x: Listed([x]),
    lambda x: Pair(x, 1),
    lambda x: Batch([UserDict(x=Record((x, 2)))]),
    lambda x: {"x": Slots(Batch(x))},
    lambda x: {x},
]


class Reads(nn.Module):
    """A convolution of the first tensor in its input, a weight for each of its elements, and a branch on it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.scale = nn.Conv2d(3, 4, 3, padding=1), nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, held: object) -> Tensor:
        x = first(held)
        out: Tensor = self.conv(x * self.scale)
        return out * 2 if x.sum() > 0 else out


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("named", [False, True])
def test_tensors_within_an_input_object_are_data(holder: Callable[[Tensor], object], named: bool) -> None:
    x = torch.randn(1, 3, 6, 6)
    held = holder(x)
    report = analyze(Reads(), kwargs={"held": held}) if named else analyze(Reads(), args=[held])
    assert (report.totals.shared, report.totals.unshared) == (112 + 3, 36 * 112 + 108)
    (said,) = report.warnings
    assert "reads a number from the data" in said
    assert "1×3×6×6" in report.input
    assert " at 0x" not in report.input
    assert first(held) is x


def test_objects_of_other_libraries_are_valid_inputs() -> None:
    transformers = pytest.importorskip("transformers")

    class Embeds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(9, 4)

        def forward(self, encoding: Any) -> Tensor:
            out: Tensor = self.table(encoding["input_ids"])
            return out

    encoding = transformers.BatchEncoding({"input_ids": torch.arange(6)[None]})
    totals = analyze(Embeds(), args=[encoding]).totals
    assert (totals.unshared, totals.unshared_live) == (6 * 36, 6 * 36)


def test_a_cyclic_object_with_a_repeated_tensor_is_a_valid_input() -> None:
    held = Batch(torch.randn(1, 3, 6, 6))
    held.itself = held  # type: ignore[attr-defined]
    new = with_tensors(held, lambda tensor: tensor + 1)
    assert new.itself is new  # type: ignore[attr-defined]
    assert list(tensors_in((held, held.x))) == [held.x]
    assert analyze(Reads(), args=[held]).totals.unshared == 36 * 112 + 108


def test_tensor_in_a_closure_of_the_input_is_data_and_the_function_is_kept() -> None:
    class Calls(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(4))

        def forward(self, function: Callable[[], Tensor]) -> Tensor:
            return function() * self.scale

    x = torch.randn(1, 6, 4)

    def given() -> Tensor:
        return x

    given.also = x  # type: ignore[attr-defined]
    totals = analyze(Calls(), args=[given]).totals
    assert (totals.per_use, totals.unshared) == (4, 24)
    assert given.also is x  # type: ignore[attr-defined]


def test_input_object_that_cannot_be_copied_is_named_in_the_error() -> None:
    class Single(Batch):
        def __copy__(self) -> "Single":
            raise TypeError("there is one only")

    with pytest.raises(SpecError, match=r"^a Single in the input holds tensors and cannot be copied; give the tensors"):
        analyze(Reads(), args=[Single(torch.randn(1, 3, 6, 6))])


def test_input_stored_in_a_buffer_is_data() -> None:
    class Stores(nn.Module):
        def __init__(self, store: Callable[["Stores", Tensor], object]) -> None:
            super().__init__()
            self.store, self.scale = store, nn.Parameter(torch.ones(4))
            self.register_buffer("kept", torch.zeros(6, 4))

        def forward(self, x: Tensor) -> Tensor:
            self.store(self, x[0])
            return self.kept * self.scale

    stores: list[Callable[[Stores, Tensor], object]] = [
        lambda model, x: model.register_buffer("kept", x),
        lambda model, x: model.register_buffer("kept", x.detach().clone()),
        lambda model, x: setattr(model, "kept", nn.Buffer(x)),
        lambda model, x: setattr(model.kept, "data", x),
        lambda model, x: model.kept.copy_(x),
        lambda model, x: model.kept.set_(x),
        lambda model, x: model.kept.zero_().add_(x),
        lambda model, x: model.kept.index_copy_(0, torch.arange(6), x),
    ]
    for store in stores:
        totals = analyze(Stores(store), (6, 4)).totals
        assert (totals.per_use, totals.unshared) == (4, 24)


class Gives(nn.Module):
    """A linear layer, and a function of its output and of a parameter that nothing else uses."""

    def __init__(self, function: Callable[[nn.Module, Tensor, Tensor], object]) -> None:
        super().__init__()
        self.layer, self.spread, self.function = nn.Linear(4, 4), nn.Parameter(torch.zeros(4)), function

    def forward(self, x: Tensor) -> object:
        return self.function(self, self.layer(x), self.spread)


def normal(_: nn.Module, mean: Tensor, spread: Tensor) -> object:
    return torch.distributions.Normal(mean, spread.exp())


def stored(model: nn.Module, mean: Tensor, spread: Tensor) -> object:
    model.penalty = spread.square().sum()
    return mean


@pytest.mark.parametrize(
    "function",
    [
        normal,
        lambda *given: torch.distributions.Independent(normal(*given), 1),  # type: ignore[arg-type]
        lambda _, mean, spread: torch.distributions.MultivariateNormal(mean, scale_tril=torch.diag(spread.exp())),
        lambda _, mean, spread: Record((mean, spread.exp())),
        lambda _, mean, spread: Slots(Batch([mean, spread])),
        lambda _, mean, spread: UserDict(mean=mean, spread=spread * 2),
        lambda _, mean, spread: deque([mean, spread * 2]),
        lambda _, mean, spread: lambda: (mean, spread),
        lambda _, mean, spread: partial(torch.add, spread, other=mean),
        stored,
    ],
)
def test_weight_in_any_output_object_is_used(
    function: Callable[[nn.Module, Tensor, Tensor], object],
) -> None:
    totals = analyze(Gives(function), (4,)).totals
    assert (totals.used, totals.per_use, totals.unshared, totals.unused) == (24, 24, 24, 0)
