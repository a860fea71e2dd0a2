"""Number the calls of a pass, including calls that `torch.utils.checkpoint` repeats in the backward pass.

A checkpointed function runs in the forward pass and is recomputed in the backward pass, in any order. torch has no
public way to identify the run, so this module inspects the stack: checkpoint's own object for the function (a
`_CheckpointFrame`, or the context of a `CheckpointFunction`) is the same in both runs. An attribute of that object
stores the number of the first call within the function.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FrameType

import torch
from torch.utils import checkpoint as torch_checkpoint

from paramshare.errors import SpecError

__all__ = ["next_call", "restart_calls"]

_ATTRIBUTE = "_paramshare_calls"


@dataclass(slots=True)
class _Calls:
    """The calls of one module within one checkpointed function.

    Args:
        first: the number of the module's first call there.
        following: the number of the next call in the current recomputation.
        recomputation: identifies the current recomputation.
    """

    first: int
    following: int
    recomputation: tuple[int, int] | None = None


def next_call(module: object, calls: int, name: str) -> tuple[int, int]:
    """Return the number of the call that a module begins, and the number of calls in the pass including this call.

    Args:
        module: the module that is called.
        calls: the number of calls of the module in the pass so far.
        name: the module's name in the model, for messages.

    Raises:
        SpecError: a backward pass calls the module, and not by `torch.utils.checkpoint`.
    """
    begun: list[dict[object, _Calls]] = []
    number, recomputed = calls, False
    for region, recomputation in _regions():
        known = _calls_in(region)
        if recomputation is not None:
            own = _at(known, module, recomputation)
            number, recomputed = own.following, True
            own.following += 1
            break
        begun.append(known)
    if not recomputed and torch._C._current_graph_task_id() != -1:
        raise SpecError(
            f"{name} is called in a backward pass, by something other than torch.utils.checkpoint, so its call cannot "
            "be told from the others; use torch.utils.checkpoint"
        )
    for known in begun:
        known.setdefault(module, _Calls(number, number))
    return number, calls if recomputed else calls + 1


def restart_calls(module: object) -> bool:
    """Begin a pass within a recomputation; return False outside of a recomputation."""
    for region, recomputation in _regions():
        if recomputation is not None:
            _at(_calls_in(region), module, recomputation).following = 0
            return True
    return False


def _at(known: dict[object, _Calls], module: object, recomputation: tuple[int, int]) -> _Calls:
    """Return the calls of a module in a recomputation; a new recomputation starts at the first call."""
    own = known.setdefault(module, _Calls(0, 0))
    if own.recomputation != recomputation:
        own.recomputation, own.following = recomputation, own.first
    return own


def _calls_in(region: object) -> dict[object, _Calls]:
    known: dict[object, _Calls] | None = getattr(region, _ATTRIBUTE, None)
    if known is None:
        known = {}
        setattr(region, _ATTRIBUTE, known)
    return known


def _regions() -> Iterator[tuple[object, tuple[int, int] | None]]:
    """Yield the running checkpointed functions, the innermost first.

    Each is a pair: checkpoint's object for the function, and an identifier of the recomputation, or None in the
    forward pass.
    """
    if torch.compiler.is_compiling():
        return
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename == torch_checkpoint.__file__:
            region, again = _region(frame.f_code, frame)
            if region is not None:
                yield region, (torch._C._current_graph_task_id(), id(frame)) if again else None
        frame = frame.f_back


def _region(code: CodeType, frame: FrameType) -> tuple[object, bool]:
    """Return checkpoint's object for the function that a frame runs, and whether the frame recomputes the function.

    Args:
        code, frame: a frame of the module `torch.utils.checkpoint`, and its code.
    """
    names = frame.f_locals
    if code.co_name == "checkpoint" and getattr(names.get("gen"), "gi_frame", None) is not None:
        return names["gen"].gi_frame.f_locals.get("new_frame"), False
    if code.co_name == "unpack_hook":
        return names.get("frame"), True
    if code.co_name in ("forward", "backward"):
        return names.get("ctx"), code.co_name == "backward"
    return None, False
