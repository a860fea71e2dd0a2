"""Answer a model's questions about the device of a tensor as the user's device would, not as the meta device.

Model code asks `x.device.type == "cpu"` or `x.is_cuda` to select a branch. Code of torch sees the meta device. A device
that model code read from a tensor stands for the meta device wherever it is an argument, so new tensors have no memory.
"""

import dis
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from types import CodeType, FrameType
from typing import Any, Final

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map_only

from paramshare.sharing.tracing.operations.quantised_operations import float_operation
from paramshare.sharing.tracing.operations.tangents import Tangents
from paramshare.sharing.tracing.values.constant_propagation import ConstantPropagation
from paramshare.sharing.tracing.values.loop_limit import is_model_code

__all__ = ["UserDevice", "other_device"]

_META: Final = torch.device("meta")

_DEVICE: Final = "device"
_INDEX: Final = "index"

_READS: Final[Mapping[object, str]] = {
    Tensor.device.__get__: _DEVICE,
    Tensor.get_device: _INDEX,
} | {
    getattr(Tensor, f"is_{kind}").__get__: kind
    for kind in ("cpu", "cuda", "ipu", "maia", "meta", "mps", "mtia", "vulkan", "xla", "xpu")
    if hasattr(Tensor, f"is_{kind}")
}
"""The reads of a tensor's device; a property that compares the type of the device has that type as its value."""

_MAKE_DUAL: Final = torch._VF._make_dual

_QUESTIONS: Final = {"LOAD_ATTR", "LOAD_METHOD", "COMPARE_OP", "CONTAINS_OP", "IS_OP", "FORMAT_VALUE", "FORMAT_SIMPLE"}
"""Instructions that examine a device; the others pass the device on."""

_LEAVE_OUT: Final = "count a part of the model without this operation"

_NEAR: Final = 8
"""The number of instructions after the read of a device within which a comparison is about the device."""


def other_device(device: torch.device) -> torch.device:
    """Return a device of another type, to test whether a model branches on the type."""
    return torch.device("cpu") if device.type == "cuda" else torch.device("cuda", 0)


class UserDevice(TorchFunctionMode):
    """A mode in which model code sees the user's device.

    Args:
        device: the user's device.
        constants: the known values of the pass.
        tangents: the tangents of the pass, of which this mode sees the first and the last.
        place: returns the running module, in words.
    """

    def __init__(
        self, device: torch.device, constants: ConstantPropagation, tangents: Tangents, place: Callable[[], str]
    ) -> None:
        super().__init__()
        self._device = torch.device(str(device))  # an object that no other code has
        self._answered = False
        self._constants = constants
        self._tangents = tangents
        self._place = place
        self.asked: dict[str, None] = {}
        """The modules whose code examines the type of a device, in words, in order."""

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> object:
        """Answer a question about a device, or run a function of torch."""
        kwargs = kwargs or {}
        if func in _READS:
            caller = sys._getframe(1)
            if is_model_code(caller.f_code) and isinstance(args[0], Tensor):
                return self._answer(_READS[func], caller)
        elif func in _SPECIAL:
            return _SPECIAL[func](self, func, args, kwargs)
        if self._answered and (len(args) > 1 or kwargs):
            args, kwargs = self._on_meta_device(args, kwargs)
        return self._run(func, args, kwargs)

    def _run(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> object:
        """Run a function of torch, on the meta device if its tensors are on several devices."""
        try:
            return func(*args, **kwargs)
        except RuntimeError as error:
            if (on_floats := float_operation(str(func))) is not None:  # a scale was a tensor without values
                return on_floats(*args, **kwargs)
            if "data is not allocated" in str(error):
                name = getattr(func, "__name__", "this function")
                raise NotImplementedError(f"torch.{name} reads values; {_LEAVE_OUT}") from error
            if "device" not in str(error) or not _are_mixed((args, kwargs)):
                raise
        args, kwargs = tree_map_only(Tensor, self._constants.on_meta, (tuple(args), kwargs))
        return func(*args, **kwargs)

    def _on_meta_device(self, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments with the meta device in place of the user's device."""
        named = {name: _META if arg is self._device else arg for name, arg in kwargs.items()}
        return [_META if arg is self._device else arg for arg in args], named

    def _dual(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> object:
        """Make a value with a tangent, or return both."""
        if func == _MAKE_DUAL:
            tangent = args[1].clone()  # the caller can give a value as its own tangent
            self._tangents.begin(tangent)
            return func(args[0], tangent, *args[2:], **kwargs)
        value, tangent = func(*args, **kwargs)
        self._tangents.end(tangent)
        return value, tangent

    def _answer(self, read: str, caller: FrameType) -> object:
        if read == _DEVICE:
            self._answered = True
            if _examines(caller):
                self.asked[self._place()] = None
            return self._device
        self.asked[self._place()] = None
        if read == _INDEX:
            return -1 if self._device.index is None else self._device.index
        return read == self._device.type

    def _array(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> object:
        """Return a tensor as an array of numpy."""
        if not args[0].is_meta:
            return func(*args, **kwargs)
        with _disable_current_modes():
            return func(self._values(args[0]), *args[1:], **kwargs)

    def _item(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> object:
        """Return a part of a tensor."""
        return self._run(func, (args[0], _with_values(args[1])), kwargs)

    def _values(self, tensor: Tensor) -> Tensor:
        """Return the values of a tensor for numpy.

        Raises:
            NotImplementedError: the values are unknown.
        """
        if not self._constants.are_known(tensor):
            raise NotImplementedError(f"numpy needs the values of a tensor; {_LEAVE_OUT}")
        return self._constants.values_of(tensor).clone()


_SPECIAL: Final[dict[object, Callable[[UserDevice, Any, Sequence[Any], dict[str, Any]], object]]] = {
    Tensor.numpy: UserDevice._array,
    Tensor.__array__: UserDevice._array,
    Tensor.__getitem__: UserDevice._item,
    _MAKE_DUAL: UserDevice._dual,
    torch._VF._unpack_dual: UserDevice._dual,
}
"""Functions that need values, or that only this mode sees."""


def _with_values(index: object) -> object:
    """Return an index with every list of numbers as a tensor that keeps its values; torch makes one without values."""
    if type(index) is tuple:
        return tuple(map(_with_values, index))
    if type(index) is list and all(type(each) in (int, bool) for each in index):
        return torch.tensor(index, dtype=None if index else torch.long, device="cpu")
    if type(index).__name__ == "ndarray" and index.size:  # type: ignore[attr-defined]
        return torch.as_tensor(index, device="cpu")
    return index


def _are_mixed(values: object) -> bool:
    """Return whether some of the tensors are on the meta device and some are not."""
    return len({leaf.is_meta for leaf in tree_leaves(values) if isinstance(leaf, Tensor)}) == 2


def _examines(reader: FrameType) -> bool:
    """Return whether the code that reads a device examines it, and does not only pass it on.

    Args:
        reader: the frame that reads the device of a tensor.
    """
    frame: FrameType | None = reader
    while frame is not None:
        examined = _after(frame.f_code, frame.f_lasti)
        if examined is not None:
            return examined
        frame = frame.f_back  # a property or a function that returns the device
    return False


@lru_cache(maxsize=1024)
def _after(code: CodeType, last: int) -> bool | None:
    """Return whether code examines a device that its instruction at `last` reads; None if it returns the device."""
    instructions = [instruction for instruction in dis.get_instructions(code) if instruction.opname != "CACHE"]
    number = next(number for number, each in enumerate(instructions) if each.offset >= last) + 1
    following = instructions[number : number + _NEAR]
    first = following[0].opname if following else "RETURN_VALUE"
    if first in ("RETURN_VALUE", "YIELD_VALUE"):
        return None
    if first.startswith("STORE_FAST"):
        variable = following[0].argval
        return any(
            _is_a_question(instructions[place + 1 : place + _NEAR])
            for place, each in enumerate(instructions)
            if each.opname.startswith("LOAD_FAST") and each.argval == variable
        )
    return _is_a_question(following)


def _is_a_question(following: Sequence[dis.Instruction]) -> bool:
    return any(each.opname in _QUESTIONS for each in _until_passed_on(following))


def _until_passed_on(following: Sequence[dis.Instruction]) -> Iterator[dis.Instruction]:
    """Yield the instructions before a call that passes the device on."""
    for number, each in enumerate(following):
        if number and each.opname in ("LOAD_ATTR", "LOAD_METHOD"):  # of another object
            continue
        if each.opname.startswith(("CALL_FUNCTION_EX", "STORE", "RETURN", "KW_NAMES")):
            return
        yield each
