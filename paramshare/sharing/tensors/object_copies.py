"""Copies of whatever a model holds beside tensors: objects, functions with closures, weak references.

(`copy.deepcopy` keeps a function and a weak reference as they are: what they hold is then the original's. It ends at
what cannot be copied, such as a lock.)
"""

import copyreg
import functools
import io
import threading
import types
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NoReturn, TypeVar

import torch
from torch import Tensor, nn

from paramshare.errors import SpecError, in_a_line
from paramshare.sharing.tensors.object_tensors import cell_contents

__all__ = ["ObjectCopier"]

_Value = TypeVar("_Value")

_ATOMIC: Final = (
    type(None), bool, int, float, complex, str, bytes, type, range, property, types.BuiltinFunctionType, types.CodeType,
    types.ModuleType, type(Ellipsis), type(NotImplemented), torch.dtype, torch.device, torch.layout,
    torch.memory_format, torch.Size,
)  # fmt: skip
"""Types whose values are the same in a copy."""

_MISSING: Final = object()


class ObjectCopier:
    """Copies objects as `copy.deepcopy` does, and functions whose closures hold what is copied.

    Args:
        copy_tensor: returns the copy of a tensor.
    """

    def __init__(self, copy_tensor: Callable[[Tensor], Tensor]) -> None:
        self.memo: dict[int, Any] = {}
        """The copies by the `id` of the original, as `copy.deepcopy` takes them."""
        self._copy_tensor = copy_tensor
        self._owned: set[int] = set()
        self._alive: list[object] = []  # an object that ended would give its id to another

    def own(self, *values: object) -> None:
        """Note modules and tensors to be copied: a function or a weak reference that reaches none of them is kept."""
        self._owned.update(map(id, values))
        self._alive.extend(values)

    def __call__(self, value: _Value) -> _Value:
        """Return the copy of `value`, the same for each call.

        Raises:
            SpecError: `value` is or holds a module or a tensor that cannot be copied.
        """
        if type(value) in _ATOMIC or isinstance(value, type):
            return value
        result: Any = self.memo.get(id(value), _MISSING)
        if result is _MISSING:
            result = self._new(value)
            self._remember(value, result)
        return result  # type: ignore[no-any-return]

    def _remember(self, value: object, result: object) -> None:
        self.memo[id(value)] = result
        self._alive.append(value)

    def _new(self, value: Any) -> Any:
        """Return a copy of a value that has none yet."""
        if isinstance(value, Tensor):
            return self._copy_tensor(value)
        if special := _SPECIAL.get(type(value)):
            return special(self, value)
        try:
            if deep := getattr(value, "__deepcopy__", None):
                return deep(self.memo)
            reduce = copyreg.dispatch_table.get(type(value))
            reduced = reduce(value) if reduce else value.__reduce_ex__(4)
        except SpecError:
            raise
        except Exception as error:  # whatever an object raises that is not made to be copied
            return _without_copy(value, error)
        return value if isinstance(reduced, str) else self._rebuilt(value, *reduced)

    def _rebuilt(
        self,
        value: object,
        make: Callable[..., Any],
        args: tuple[object, ...],
        state: Any = None,
        items: Iterator[object] | None = None,
        pairs: Iterator[tuple[object, object]] | None = None,
        *_: object,
    ) -> object:
        """Rebuild an object from what `__reduce_ex__` gives, as the pickle protocol says."""
        result = make(*map(self, args))
        self._remember(value, result)
        if state is not None:
            _set_state(result, self(state))
        for item in items or ():
            result.append(self(item))
        for key, item in pairs or ():
            result[self(key)] = self(item)
        return result

    # Containers.

    def _list(self, value: list[object]) -> list[object]:
        result: list[object] = []
        self._remember(value, result)
        result.extend(map(self, value))
        return result

    def _dict(self, value: dict[object, object]) -> dict[object, object]:
        result: dict[object, object] = {}
        self._remember(value, result)
        for key, item in list(value.items()):
            result[self(key)] = self(item)
        return result

    def _tuple(self, value: tuple[object, ...]) -> object:
        result = tuple(map(self, value))
        return self.memo.get(id(value), result)  # its own items may hold it

    def _weak_mapping(self, value: Any) -> object:
        result = type(value)()
        self._remember(value, result)
        for key, item in list(value.items()):
            result[self._if_owned(key)] = self._if_owned(item)
        return result

    # Functions and references.

    def _method(self, value: types.MethodType) -> types.MethodType:
        return types.MethodType(self(value.__func__), self(value.__self__))

    def _function(self, value: types.FunctionType) -> object:
        """Copy a function whose closure or defaults reach what is copied; return any other as it is."""
        if (original := getattr(value, "_torchdynamo_orig_callable", None)) is not None:
            return self(original)  # as a compiled module becomes what it was compiled from
        if not self._reaches(value, set()):
            return value
        cells = tuple(types.CellType() for _ in value.__closure__ or ())
        result = types.FunctionType(value.__code__, value.__globals__, value.__name__, None, cells or None)
        self._remember(value, result)
        functools.update_wrapper(result, value, updated=())
        del result.__dict__["__wrapped__"]
        for cell, own in zip(value.__closure__ or (), cells, strict=True):
            for content in cell_contents(cell):
                own.cell_contents = self._if_reaching(content)
        result.__defaults__ = self._if_reaching(value.__defaults__)
        result.__kwdefaults__ = self._if_reaching(value.__kwdefaults__)
        result.__dict__.update({name: self._if_reaching(item) for name, item in value.__dict__.items()})
        return result

    def _reference(self, value: weakref.ref[Any]) -> object:
        target = value()
        if id(target) not in self._owned:
            return value
        return weakref.ref(self(target))

    def _weak_method(self, value: weakref.WeakMethod[Any]) -> object:
        method = value()
        return value if method is None or id(method.__self__) not in self._owned else weakref.WeakMethod(self(method))

    def _proxy(self, value: Any) -> object:
        try:
            target = value.__init__.__self__
        except ReferenceError:
            return value
        return weakref.proxy(self(target)) if id(target) in self._owned else value

    def _if_owned(self, value: _Value) -> _Value:
        return self(value) if id(value) in self._owned else value

    def _if_reaching(self, value: _Value) -> _Value:
        return self(value) if self._reaches(value, set()) else value

    def _reaches(self, value: object, met: set[int]) -> bool:
        """Return whether functions, methods and containers lead from `value` to what is copied."""
        if id(value) in self._owned:
            return True
        if id(value) in met:
            return False
        met.add(id(value))
        return any(self._reaches(part, met) for part in _parts(value))

    def _generator(self, value: torch.Generator) -> torch.Generator:
        """Return a generator in the same state (which is no tensor of the model's)."""
        return torch.Generator(value.device).set_state(value.get_state())


def _parts(value: object) -> Iterator[object]:
    """Yield what a function, a method, a reference or a container holds."""
    if isinstance(value, types.FunctionType):
        for cell in value.__closure__ or ():
            yield from cell_contents(cell)
        yield from (value.__defaults__, value.__kwdefaults__, value.__dict__)
    elif isinstance(value, types.MethodType):
        yield from (value.__self__, value.__func__)
    elif isinstance(value, functools.partial):
        yield from (value.func, value.args, value.keywords)
    elif type(value) in (weakref.ref, weakref.WeakMethod):
        yield value()  # type: ignore[operator]
    elif type(value) in (weakref.ProxyType, weakref.CallableProxyType):
        try:
            yield value.__init__.__self__  # type: ignore[misc]
        except ReferenceError:
            return
    elif isinstance(value, Mapping):
        yield from list(value.values())
    elif isinstance(value, list | tuple | set | frozenset):
        yield from list(value)


def _set_state(result: Any, state: Any) -> None:
    if hasattr(result, "__setstate__"):
        result.__setstate__(state)
        return
    attributes, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
    if attributes:
        result.__dict__.update(attributes)
    for name, item in (slots or {}).items():
        setattr(result, name, item)


class _Iterated:
    """The place of an iterator that cannot be copied: what it would give is not known."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __iter__(self) -> "_Iterated":
        return self

    def __next__(self) -> NoReturn:
        raise TypeError(
            f"the model holds a {self._kind}, which cannot be copied, and reading it would change the model; hold a "
            "list, or make it in forward"
        )


def _without_copy(value: object, error: Exception) -> object:
    """Return what stands for an object that cannot be copied: a new lock, or the object itself, shared.

    Raises:
        SpecError: `value` is a module, whose copy would use the original's weights.
    """
    if isinstance(value, nn.Module):
        raise SpecError(
            f"a {type(value).__name__} cannot be copied ({in_a_line(error)}); give a model that `copy.deepcopy` copies"
        ) from error
    if type(value) is type(threading.Lock()):
        return threading.Lock()
    if type(value) is type(threading.RLock()):
        return threading.RLock()
    if isinstance(value, Iterator) and not isinstance(value, io.IOBase):
        return _Iterated(type(value).__name__)
    return value


_SPECIAL: Final[dict[type, Callable[[ObjectCopier, Any], object]]] = {
    list: ObjectCopier._list,
    dict: ObjectCopier._dict,
    tuple: ObjectCopier._tuple,
    torch.Generator: ObjectCopier._generator,
    types.MethodType: ObjectCopier._method,
    types.FunctionType: ObjectCopier._function,
    weakref.ref: ObjectCopier._reference,
    weakref.WeakMethod: ObjectCopier._weak_method,
    weakref.ProxyType: ObjectCopier._proxy,
    weakref.CallableProxyType: ObjectCopier._proxy,
    weakref.WeakKeyDictionary: ObjectCopier._weak_mapping,
    weakref.WeakValueDictionary: ObjectCopier._weak_mapping,
}
