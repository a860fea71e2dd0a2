"""Layers as they were written: nothing compiled or packed by a fast path."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

__all__ = ["as_written"]


@contextmanager
def as_written() -> Iterator[None]:
    """Run layers as they were written in the block: nothing compiled, no encoder packed by its mask's values."""
    eager: AbstractContextManager[object] = nullcontext()
    if "torch._dynamo" in sys.modules:  # else nothing can have been compiled
        eager = torch.compiler.set_stance("force_eager")
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with eager:
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
