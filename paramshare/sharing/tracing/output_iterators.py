"""Outputs that are still to be computed: the iterator of a `forward` with `yield`, a coroutine."""

from collections.abc import Iterator
from inspect import iscoroutine
from io import IOBase
from itertools import islice
from typing import Final

from paramshare.errors import SpecError

__all__ = ["MOST_ITEMS", "run_to_end"]

MOST_ITEMS: Final = 10_000
"""The maximum number of items of an output."""


def run_to_end(out: object) -> object:
    """Return what a model gives, with each iterator in it as the list of its items.

    Args:
        out: the output of a pass. Iterators within tuples, lists and dicts are run too.

    Raises:
        SpecError: `out` is a coroutine, or an iterator that has more than `MOST_ITEMS` items.
    """
    if iscoroutine(out) or hasattr(out, "__anext__"):
        if iscoroutine(out):
            out.close()
        raise SpecError(
            "the model's forward is asynchronous and computes nothing when it is called; give one that is not"
        )
    if isinstance(out, Iterator) and not isinstance(out, IOBase):
        items = list(islice(out, MOST_ITEMS + 1))
        if len(items) > MOST_ITEMS:
            raise SpecError(
                f"the model's output has more than {MOST_ITEMS:,} items and may never end; bound their number"
            )
        return list(map(run_to_end, items))
    if type(out) in (list, tuple):
        return [run_to_end(item) for item in out]  # type: ignore[attr-defined]
    if type(out) is dict:
        return {name: run_to_end(item) for name, item in out.items()}
    return out
