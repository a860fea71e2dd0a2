"""A module that holds a copy of another module for each of its calls in one pass."""

import re
from collections.abc import Iterable
from typing import Any, Final

from torch import nn

from paramshare.errors import SpecError
from paramshare.sharing.twins.depth.checkpoint_calls import next_call, restart_calls

__all__ = ["COPY_NAME", "Unrolled", "restart_unrolled"]

COPY_NAME: Final = re.compile(r"\.copies\.(\d+)")
"""The part that `Unrolled` adds to the name of a module within a copy."""


class Unrolled(nn.Module):
    """Copies of one module, one for each call of a pass: the i-th call uses the i-th copy.

    The count of calls restarts whenever the whole model is called, even if the previous pass failed. Attributes and
    methods other than a call are those of the first copy. A pass may make fewer calls than there are copies. If
    `torch.utils.checkpoint` repeats a call in the backward pass, the repeated call uses the same copy again.

    Args:
        copies: the copies, in the order of the calls.
        name: the module's name in the model, for messages.
    """

    def __init__(self, copies: Iterable[nn.Module], name: str) -> None:
        super().__init__()
        self.copies = nn.ModuleList(copies)
        self.name = name
        self.calls = 0

    def restart(self) -> None:
        """Begin a pass."""
        if not restart_calls(self):
            self.calls = 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the next copy and return its output.

        Raises:
            SpecError: the pass makes more calls than there are copies.
        """
        number, calls = next_call(self, self.calls, self.name)
        if number >= len(self.copies):
            raise SpecError(
                f"{self.name} was called more than {number} times in one pass and has {number} copies, one for each "
                "call of the pass that the twin was made from; make the twin from a pass with as many calls"
            )
        self.calls = calls
        return self.copies[number](*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "copies":  # before __init__ has set it
                raise
            return getattr(self.copies[0], name)


def restart_unrolled(model: nn.Module, _args: object) -> None:
    """Restart the count of calls of every `Unrolled` in a model; a forward pre-hook.

    The hook runs before a pass, not after it, so that a pass that failed leaves no count behind.
    """
    for module in model.modules():
        if isinstance(module, Unrolled):
            module.restart()
