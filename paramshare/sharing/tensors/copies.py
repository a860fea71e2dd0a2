"""Copy a model and keep every tie between its tensors, in new memory or on the meta device.

`deepcopy` keeps one Parameter under two names, but separates two Parameters on one storage; `.to("meta")` makes a new
tensor for each name.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from paramshare.errors import SpecError
from paramshare.sharing.tensors.object_copies import ObjectCopier
from paramshare.sharing.tensors.quantised_layers import float_layer, is_quantised_layer
from paramshare.sharing.tensors.regions import storage_of
from paramshare.sharing.tensors.wrapper_subclasses import is_irregular, is_wrapper, rewrapped

__all__ = ["Copier", "held_tensors", "is_non_leaf", "known_values", "meta_clone", "parameter_like", "stray_parameters"]

_SMALL: Final = 1 << 18
"""The maximum number of bytes of a storage on another device whose values are copied: masks, tables, flags."""

_NOT_CONTAINERS: Final = (type(None), bool, int, float, str, nn.Module)
"""The most common types of attributes, none of them a mapping; `isinstance(value, Mapping)` is slow."""

_OF_EVERY_MODULE: Final = frozenset(nn.Module().__dict__) - {"_buffers"}

_VALUES: Final = "_paramshare_values"
_NON_LEAF: Final = "_paramshare_non_leaf"


def meta_clone(model: nn.Module) -> nn.Module:
    """Return a copy of `model` on the meta device with the same ties.

    Raises:
        SpecError: the model cannot be copied, as in `Copier`.
    """
    return Copier(on_meta=True)(model)


class Copier:
    """A copier of modules. The copies of one copier are tied like their originals, storage by storage.

    Args:
        on_meta: True for copies on the meta device, without values. Defaults to False.
    """

    def __init__(self, on_meta: bool = False) -> None:
        self._on_meta = on_meta
        self._objects = ObjectCopier(self._copied)
        self._storages: dict[int, torch.UntypedStorage] = {}
        self._of_parameters: set[int] = set()
        self._values: dict[int, torch.UntypedStorage] = {}

    @property
    def stand_ins(self) -> Mapping[int, torch.UntypedStorage]:
        """Return the new storages, by the address of the original storage."""
        return self._storages

    def __call__(self, model: nn.Module) -> nn.Module:
        """Return the copy of a model. A compiled module is replaced by a copy of its original module.

        On the meta device, a quantised layer is replaced by a float layer with as many weights.

        Raises:
            SpecError: the model has a TorchScript module, whose code cannot be traced, a tensor without a storage, or
                a module that cannot be copied.
        """
        modules = dict(model.named_modules())
        tensors = [tensor for module in modules.values() for tensor in _tensors(module.__dict__)]
        self._objects.own(*modules.values(), *tensors)
        for name, module in modules.items():
            if isinstance(module, torch.jit.ScriptModule):
                place = f"{name or 'the model'} ({type(module).__name__})"
                raise SpecError(f"{place} is a TorchScript module, whose code cannot be traced; give the Python module")
        for tensor in tensors:
            if isinstance(tensor, nn.Parameter) and not is_lazy(tensor) and is_irregular(tensor):
                raise SpecError(_refusal(tensor))
        self._of_parameters |= {storage_of(tensor) for tensor in tensors if _is_weight(tensor)}
        for tensor in tensors:  # before any `__deepcopy__` copies them
            self._objects(tensor)
        for module in reversed(modules.values()):  # the innermost modules first
            if isinstance(original := module._modules.get("_orig_mod"), nn.Module):
                self._objects.memo[id(module)] = self._objects(original)
            elif self._on_meta and is_quantised_layer(module):
                self._objects.memo[id(module)] = self._objects(float_layer(module))
        return self._objects(model)

    def _copied(self, tensor: Tensor) -> Tensor:
        """Return a tensor of the same kind and layout in the new storage that replaces the storage of `tensor`."""
        device = torch.device("meta") if self._on_meta else tensor.device
        if is_lazy(tensor):
            kind: Any = type(tensor)
            lazy: Tensor = kind(requires_grad=tensor.requires_grad, device=device, dtype=tensor.dtype)
            return lazy
        if is_wrapper(tensor):
            return self._of_kind(tensor, rewrapped(tensor, self._objects))
        if is_irregular(tensor):
            return tensor.detach().clone()  # on its own device, with its values
        source = tensor.detach().as_subclass(Tensor)
        storage = storage_of(source)
        if storage not in self._storages:
            self._storages[storage] = self._new(source.untyped_storage())
        data = torch.empty(0, dtype=source.dtype, device=device)
        data.set_(self._storages[storage], source.storage_offset(), source.size(), source.stride())
        return self._of_kind(tensor, data)

    def _of_kind(self, tensor: Tensor, data: Tensor) -> Tensor:
        """Return `data` as a tensor of the class of `tensor`, with the attributes and the known values of `tensor`."""
        if isinstance(tensor, nn.Parameter):
            data = _as_parameter(tensor, data)
        elif type(data) is not type(tensor):
            data = data.as_subclass(type(tensor))
        if self._on_meta and not isinstance(tensor, nn.Parameter) and not is_wrapper(tensor):
            data.__dict__[_VALUES] = self._values_of(tensor)
        if self._on_meta and tensor.grad_fn is not None:
            data.__dict__[_NON_LEAF] = True
        for name, value in tensor.__dict__.items():
            data.__dict__.setdefault(name, value if name == _VALUES else self._objects(value))
        return data

    def _values_of(self, tensor: Tensor) -> torch.UntypedStorage | None:
        """Return the values of a storage, on the CPU and only to be read; None for a large storage on another device.

        A tensor on the meta device has the values that it had before it was copied there.
        """
        source = tensor.detach().as_subclass(Tensor)
        if storage_of(source) in self._of_parameters:
            return None
        storage = source.untyped_storage()
        if source.is_meta or (source.device.type != "cpu" and storage.nbytes() > _SMALL):
            return known_values(tensor)
        if storage_of(source) not in self._values:
            self._values[storage_of(source)] = storage.cpu()  # type: ignore[no-untyped-call]
        return self._values[storage_of(source)]

    def _new(self, storage: torch.UntypedStorage) -> torch.UntypedStorage:
        if self._on_meta:
            return torch.UntypedStorage(storage.nbytes(), device="meta")  # type: ignore[no-untyped-call]
        return storage.clone()  # type: ignore[no-untyped-call, no-any-return]


def _refusal(parameter: nn.Parameter) -> str:
    names = {"nested": parameter.is_nested, "quantised": parameter.is_quantized}
    layout = str(parameter.layout).removeprefix("torch.").strip("_")
    kind = next((name for name, applies in names.items() if applies), layout)
    return (
        f"a parameter of the model is {kind}, which cannot be traced; give the model with dense weights (`to_dense()`)"
    )


def known_values(tensor: Tensor) -> torch.UntypedStorage | None:
    """Return the values of a storage before it was copied to the meta device, on the CPU; None if unknown."""
    values: torch.UntypedStorage | None = tensor.__dict__.get(_VALUES)
    return values


def is_non_leaf(tensor: Tensor) -> bool:
    """Return whether a tensor was computed with gradients before it was copied to the meta device."""
    return _NON_LEAF in tensor.__dict__


def held_tensors(model: nn.Module) -> Iterator[Tensor]:
    """Yield the tensors that the modules of `model` hold, also in containers, except registered parameters."""
    for module in model.modules():
        for name, value in module.__dict__.items():
            if name not in _OF_EVERY_MODULE and not isinstance(value, _NOT_CONTAINERS):
                yield from _tensors(value)


def _is_weight(tensor: Tensor) -> bool:
    return isinstance(tensor, nn.Parameter) and not is_lazy(tensor) and not is_wrapper(tensor)


def parameter_like(parameter: nn.Parameter, data: Tensor) -> nn.Parameter:
    """Return a Parameter over `data` with the class, the attributes and `requires_grad` of `parameter`.

    Args:
        parameter: the parameter to imitate.
        data: the elements; the result shares the storage of `data`.
    """
    own = _as_parameter(parameter, data)
    own.__dict__.update(parameter.__dict__)
    return own


def _as_parameter(parameter: nn.Parameter, data: Tensor) -> nn.Parameter:
    """Return a Parameter over `data`, of the class of `parameter`."""
    if is_wrapper(data):
        return nn.Parameter(data, requires_grad=parameter.requires_grad)  # of the class of `data`
    own: nn.Parameter = torch.Tensor._make_subclass(type(parameter), data.detach(), parameter.requires_grad)
    return own


def stray_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield each Parameter that `model.parameters()` omits, for example in a list, with the path of its holder."""
    registered = {id(parameter) for parameter in model.parameters()}
    for path, module in model.named_modules():
        for name, value in module.__dict__.items():
            if not name.startswith("_"):
                for stray in _tensors(value):
                    if isinstance(stray, nn.Parameter) and id(stray) not in registered:
                        yield f"{path}.{name}" if path else name, stray


def _tensors(value: object) -> Iterator[Tensor]:
    """Yield the tensors in an attribute of a module, also in containers, but not in other modules."""
    pending, seen = [value], set()
    while pending:
        item = pending.pop()
        if isinstance(item, Tensor):
            yield item
            continue
        if isinstance(item, list | tuple | set):
            inside: Iterable[Any] = item
        elif isinstance(item, dict) or (not isinstance(item, _NOT_CONTAINERS) and isinstance(item, Mapping)):
            inside = item.values()
        else:
            continue
        if id(item) not in seen:  # a container can hold itself
            seen.add(id(item))
            pending += reversed(list(inside))
