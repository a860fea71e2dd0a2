"""Iterators in a model's output are consumed, and endless or asynchronous outputs are refused."""

from collections.abc import Iterator
from typing import Any

import pytest
from torch import Tensor, nn

from paramshare import analyze
from paramshare.errors import SpecError


class Yields(nn.Module):
    """A layer whose results are given one by one."""

    def __init__(self, times: int = 3) -> None:
        super().__init__()
        self.layer, self.times = nn.Linear(4, 4, bias=False), times

    def forward(self, x: Tensor) -> Any:
        for _ in range(self.times):
            x = self.layer(x)
            yield x


class Maps(Yields):
    def forward(self, x: Tensor) -> Any:
        return map(self.layer, [x, x])


class Within(Yields):
    def forward(self, x: Tensor) -> Any:
        return x, {"later": super().forward(x)}


class Consumes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Yields()

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = sum(self.inner(x))  # type: ignore[assignment]
        return total


@pytest.mark.parametrize(("kind", "calls"), [(Yields, 3), (Maps, 2), (Within, 3), (Consumes, 3)])
def test_output_computed_item_by_item_is_counted(kind: type[nn.Module], calls: int) -> None:
    totals = analyze(kind(), (4,)).totals
    assert (totals.per_use, totals.macs, totals.unused) == (calls * 16, calls * 16, 0)


def test_endless_output_and_asynchronous_forward_are_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Waits(Yields):
        async def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.layer(x)
            return result

    class Endless(Yields):
        def forward(self, x: Tensor) -> Iterator[Tensor]:
            while True:
                yield self.layer(x)

    monkeypatch.setattr("paramshare.sharing.tracing.output_iterators.MAX_ITEMS", 20)
    with pytest.raises(SpecError, match=r"more than 20 items and may never end; limit the number of items$"):
        analyze(Endless(), (4,))
    with pytest.raises(SpecError, match=r"forward is asynchronous and computes nothing when it is called; give a"):
        analyze(Waits(), (4,))
