"""Which module an operation of a pass belongs to, and which of them refused its input."""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from torch import nn
from torch.nn.parameter import is_lazy

from paramshare.sharing.inputs.sample import Sample
from paramshare.sharing.inputs.validation import described
from paramshare.sharing.tensors.regions import Region

__all__ = ["ROOT", "Call", "Calls"]

ROOT: Final = "(model)"
"""What the model itself is called, whose own name is empty."""


_NO_META_KERNEL: Final = re.compile(r"(aten::[\w.]+|[\w:.]+): attempted to run this operator with Meta tensors")
"""Torch's word on an operation that has no kernel for the meta device."""


@dataclass(frozen=True, slots=True)
class Call:
    """A module that is being called.

    Args:
        layer: its name.
        module: the module; None for the caller of the model.
        inputs: what it was called with.
        steps: where repeated uses of a weight within a call are time steps of one use: how many elements of each were
            used so far. Else None.
        given: the weights that it was given in place of data and has used.
    """

    layer: str
    module: nn.Module | None
    inputs: tuple[object, ...]
    steps: dict[tuple[int, Region], int] | None = None
    given: set[tuple[int, tuple[Region, ...]]] = field(default_factory=set)

    def __str__(self) -> str:
        return f"{self.layer} ({type(self.module).__name__})" if self.module is not None else self.layer


class Calls:
    """The calls that a pass is in the middle of.

    Args:
        model: hooks are put on its modules and stay there.
        sample: what it will be called with.
    """

    def __init__(self, model: nn.Module, sample: Sample) -> None:
        self._sample = sample
        self._stack = [Call(ROOT, None, sample.args)]
        self._failed: tuple[BaseException | None, Call] = (None, self.current)
        for name, module in model.named_modules():
            module.register_forward_pre_hook(self._entering(name or ROOT), prepend=True, with_kwargs=True)
            module.register_forward_hook(self._leaving(), always_call=True)

    @property
    def current(self) -> Call:
        """The innermost."""
        return self._stack[-1]

    @property
    def stack(self) -> Sequence[Call]:
        """Return all running calls, the innermost last."""
        return self._stack

    def refusal(self, error: Exception) -> str:
        """One line for an error that has ended the pass: which layer refused what, and why."""
        call = self._failed[1] if error is self._failed[0] else self.current
        lines = (line.strip() for line in str(error).splitlines())
        reason = next((line for line in lines if line), type(error).__name__)
        if unknown := _NO_META_KERNEL.match(reason):
            reason = f"torch cannot run {unknown[1]} without values; count the part of the model that does without it"
        follow = isinstance(error, NotImplementedError) or re.search(r"\b(meta|storage)\b", reason)
        what = "cannot be followed without values" if follow else "refuses its input"
        given = ", ".join(map(described, call.inputs)) or "nothing"
        own = call.module.named_parameters(recurse=False) if call.module is not None else ()
        has = "".join(f", {name} {described(parameter)}" for name, parameter in own if not is_lazy(parameter))
        return f"given one sample of {self._sample}, {call} {what} (input {given}{has}): {reason}"

    # Functions and no methods: a module that the pass itself copies would copy all that a method is bound to.

    def _entering(self, layer: str) -> Callable[[nn.Module, tuple[object, ...], dict[str, object]], None]:
        def enter(module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
            steps: dict[tuple[int, Region], int] | None = {} if isinstance(module, nn.RNNBase) else None
            self._stack.append(Call(layer, module, (*args, *kwargs.values()), steps))

        return enter

    def _leaving(self) -> Callable[[nn.Module, object, object], None]:
        def leave(_module: nn.Module, _args: object, _out: object) -> None:
            call, error = self._stack.pop(), sys.exc_info()[1]
            if error is not None and error is not self._failed[0]:  # the innermost call that it leaves, or has left
                self._failed = (error, call)

        return leave
