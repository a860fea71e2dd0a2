"""Copy the objects that a model holds beside tensors: functions with closures, weak references, containers.

`copy.deepcopy` does not copy functions and weak references, so a copied model would still use the original's tensors
through them; and `copy.deepcopy` fails for objects that cannot be copied, such as a lock.
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
    """A copier of objects like `copy.deepcopy`, and of functions whose closures hold copied objects.

    Args:
        copy_tensor: returns the copy of a tensor.
    """

    def __init__(self, copy_tensor: Callable[[Tensor], Tensor]) -> None:
        self.memo: dict[int, Any] = {}
        """The copies by the `id` of the original, in the form of `copy.deepcopy`."""
        self._copy_tensor = copy_tensor
        self._owned: set[int] = set()
        self._alive: list[object] = []  # keeps the ids unique

    def own(self, *values: object) -> None:
        """Register modules and tensors to copy; functions and weak references that reach none are not copied."""
        self._owned.update(map(id, values))
        self._alive.extend(values)

    def __call__(self, value: _Value) -> _Value:
        """Return the copy of `value`; every call returns the same copy.

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
        """Return a new copy of a value."""
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
        except Exception as error:  # an object that cannot be copied may raise anything
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
        """Rebuild an object from the result of `__reduce_ex__`, by the pickle protocol."""
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
        return self.memo.get(id(value), result)  # an item may hold the tuple itself

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
        """Copy a function whose closure or defaults reach a registered object; return any other function unchanged."""
        if (original := getattr(value, "_torchdynamo_orig_callable", None)) is not None:
            return self(original)  # a compiled function is replaced by its original
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

    def _reaches(self, value: object, visited: set[int]) -> bool:
        """Return whether functions, methods and containers lead from `value` to a registered object."""
        if id(value) in self._owned:
            return True
        if id(value) in visited:
            return False
        visited.add(id(value))
        return any(self._reaches(part, visited) for part in _parts(value))

    def _generator(self, value: torch.Generator) -> torch.Generator:
        """Return a generator in the same state; the state is a tensor, but not one of the model."""
        return torch.Generator(value.device).set_state(value.get_state())


def _parts(value: object) -> Iterator[object]:
    """Yield the contents of a function, a method, a reference or a container."""
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
    """A substitute for an iterator that cannot be copied, whose items are unknown."""

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
    """Return a substitute for an object that cannot be copied: a new lock for a lock, else the object itself.

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
