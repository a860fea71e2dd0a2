"""Consume the iterators in a model's output, such as the generator of a `forward` with `yield`."""

from collections.abc import Iterator
from inspect import iscoroutine
from io import IOBase
from itertools import islice
from typing import Final

from paramshare.errors import SpecError

__all__ = ["MAX_ITEMS", "with_lists"]

MAX_ITEMS: Final = 10_000
"""The maximum number of items of an iterator."""


def with_lists(out: object) -> object:
    """Return the output of a model with each iterator replaced by the list of its items.

    Args:
        out: the output of a pass. Iterators within tuples, lists and dicts are also replaced.

    Raises:
        SpecError: `out` is a coroutine, or an iterator that has more than `MAX_ITEMS` items.
    """
    if iscoroutine(out) or hasattr(out, "__anext__"):
        if iscoroutine(out):
            out.close()
        raise SpecError(
            "the model's forward is asynchronous and computes nothing when it is called; give a synchronous forward"
        )
    if isinstance(out, Iterator) and not isinstance(out, IOBase):
        items = list(islice(out, MAX_ITEMS + 1))
        if len(items) > MAX_ITEMS:
            raise SpecError(
                f"the model's output has more than {MAX_ITEMS:,} items and may never end; limit the number of items"
            )
        return list(map(with_lists, items))
    if type(out) in (list, tuple):
        return [with_lists(item) for item in out]  # type: ignore[attr-defined]
    if type(out) is dict:
        return {name: with_lists(item) for name, item in out.items()}
    return out
