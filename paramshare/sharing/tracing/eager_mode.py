"""Run layers eagerly: without compiled code and without fused fast paths."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

__all__ = ["eager_mode"]


@contextmanager
def eager_mode() -> Iterator[None]:
    """Disable compiled code, and the fast path of encoders that packs sequences by the mask's values, in the block."""
    eager: AbstractContextManager[object] = nullcontext()
    if "torch._dynamo" in sys.modules:  # without it nothing is compiled
        eager = torch.compiler.set_stance("force_eager")
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with eager:
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
