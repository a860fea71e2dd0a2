"""Tracers, inference mode and modes that see every operation, which a caller has put around a call of ours."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import torch
from torch.utils import _python_dispatch

from paramshare.errors import UsageError

__all__ = ["outside_modes"]

_TORCH: Final[Any] = torch._C  # most of what follows is in no stub
_pre_dispatch_modes: Final[Any] = torch._ops._len_torch_dispatch_stack_pre_dispatch


@contextmanager
def outside_modes(what: str) -> Iterator[None]:
    """Run the block outside the caller's inference mode, grad mode and modes that see every operation.

    Args:
        what: the block's work in words, for the error.

    Raises:
        UsageError: torch traces or transforms the caller's code.
    """
    _refuse_tracing(what)
    with ExitStack() as stack:
        # `torch.compile` compiles whatever function begins while its callback is set.
        stack.callback(_TORCH._dynamo.eval_frame.set_eval_frame, _TORCH._dynamo.eval_frame.set_eval_frame(None))
        if _TORCH._len_torch_dispatch_stack() or _pre_dispatch_modes():
            stack.enter_context(_python_dispatch._disable_current_modes())
        stack.enter_context(torch.inference_mode(False))
        yield


def _refuse_tracing(what: str) -> None:
    if _TORCH._functorch.peek_interpreter_stack() is not None:
        how = "a function that torch.func transforms"
    elif torch.compiler.is_compiling() or _TORCH._is_tracing():
        how = "code that torch compiles, exports or traces"
    else:
        return
    raise UsageError(f"{what} cannot run inside {how}; call it outside")
