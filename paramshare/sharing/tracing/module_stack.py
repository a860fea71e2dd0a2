"""Track the stack of running modules during a pass, to attribute operations and errors to modules."""

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

__all__ = ["ROOT", "ModuleCall", "ModuleStack"]

ROOT: Final = "(model)"
"""The name of the model itself in a report; its name in `named_modules()` is empty."""


_NO_META_KERNEL: Final = re.compile(r"(aten::[\w.]+|[\w:.]+): attempted to run this operator with Meta tensors")
"""Torch's message for an operation without a kernel for the meta device."""


@dataclass(frozen=True, slots=True)
class ModuleCall:
    """A running call of a module.

    Args:
        layer: the name of the module.
        module: the module; None for the caller of the model.
        inputs: the arguments of the call.
        steps: for a recurrent layer, the number of elements of each weight used so far, since its time steps are one
            use. None for other layers.
        learned_inputs: the weights among the inputs that the call has used.
    """

    layer: str
    module: nn.Module | None
    inputs: tuple[object, ...]
    steps: dict[tuple[int, Region], int] | None = None
    learned_inputs: set[tuple[int, tuple[Region, ...]]] = field(default_factory=set)

    def __str__(self) -> str:
        return f"{self.layer} ({type(self.module).__name__})" if self.module is not None else self.layer


class ModuleStack:
    """The running calls of a pass.

    Args:
        model: the model; hooks are registered on its modules and not removed.
        sample: the arguments of the pass.
    """

    def __init__(self, model: nn.Module, sample: Sample) -> None:
        self._sample = sample
        self._stack = [ModuleCall(ROOT, None, sample.args)]
        self._failed: tuple[BaseException | None, ModuleCall] = (None, self.current)
        for name, module in model.named_modules():
            module.register_forward_pre_hook(self._entering(name or ROOT), prepend=True, with_kwargs=True)
            module.register_forward_hook(self._leaving(), always_call=True)

    @property
    def current(self) -> ModuleCall:
        """Return the innermost call."""
        return self._stack[-1]

    @property
    def calls(self) -> Sequence[ModuleCall]:
        """Return all running calls, the innermost last."""
        return self._stack

    def refusal(self, error: Exception) -> str:
        """Return one line for an error that ended the pass, with the layer, its input and the reason."""
        call = self._failed[1] if error is self._failed[0] else self.current
        lines = (line.strip() for line in str(error).splitlines())
        reason = next((line for line in lines if line), type(error).__name__)
        if unknown := _NO_META_KERNEL.match(reason):
            reason = f"torch cannot run {unknown[1]} without values; count a part of the model without this operation"
        untraceable = isinstance(error, NotImplementedError) or re.search(r"\b(meta|storage)\b", reason)
        problem = "cannot be traced without values" if untraceable else "refuses its input"
        inputs = ", ".join(map(described, call.inputs)) or "nothing"
        own = call.module.named_parameters(recurse=False) if call.module is not None else ()
        parameters = "".join(f", {name} {described(parameter)}" for name, parameter in own if not is_lazy(parameter))
        return f"given one sample of {self._sample}, {call} {problem} (input {inputs}{parameters}): {reason}"

    # The hooks are functions, not methods: if the pass copies a module, it would also copy the object of a method.

    def _entering(self, layer: str) -> Callable[[nn.Module, tuple[object, ...], dict[str, object]], None]:
        def enter(module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
            steps: dict[tuple[int, Region], int] | None = {} if isinstance(module, nn.RNNBase) else None
            self._stack.append(ModuleCall(layer, module, (*args, *kwargs.values()), steps))

        return enter

    def _leaving(self) -> Callable[[nn.Module, object, object], None]:
        def leave(_module: nn.Module, _args: object, _out: object) -> None:
            call, error = self._stack.pop(), sys.exc_info()[1]
            if error is not None and error is not self._failed[0]:  # only the innermost call that the error leaves
                self._failed = (error, call)

        return leave
