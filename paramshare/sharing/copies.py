"""Copies of a model with every tie between its tensors kept: in memory of their own, or on the meta device, without.

(`deepcopy` keeps one Parameter under two names, but takes two Parameters on one storage apart; `.to("meta")` makes a
tensor of its own for each name.)
"""

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from paramshare.errors import SpecError
from paramshare.sharing.regions import storage_of

__all__ = ["Copier", "held_tensors", "known_values", "meta_clone", "parameter_like", "stray_parameters"]

_SMALL: Final = 1 << 18
"""The bytes of the largest storage whose values are kept: masks, tables of indices, flags, but no weights."""

_NO_CONTAINER: Final = (type(None), bool, int, float, str, nn.Module)
"""The commonest attributes of modules that are no mappings; asking a type whether it is one takes long."""

_OF_EVERY_MODULE: Final = frozenset(nn.Module().__dict__) - {"_buffers"}

_VALUES: Final = "_paramshare_values"


def meta_clone(model: nn.Module) -> nn.Module:
    """A copy of `model` on the meta device that shares nothing with it and is tied as it is.

    Raises:
        SpecError: as `Copier`.
    """
    return Copier(on_meta=True)(model)


class Copier:
    """Copies modules. All that one copier copies is tied as the originals are: a new storage stands for each storage.

    Args:
        on_meta: whether the copies lie on the meta device, without values.
    """

    def __init__(self, on_meta: bool = False) -> None:
        self._on_meta = on_meta
        self._memo: dict[int, Any] = {}
        self._storages: dict[int, torch.UntypedStorage] = {}
        self._of_parameters: set[int] = set()
        self._values: dict[int, torch.UntypedStorage] = {}

    def __call__(self, model: nn.Module) -> nn.Module:
        """The copy. Compiled modules become what they were compiled from.

        Raises:
            SpecError: for a TorchScript module, whose code cannot be followed, or a tensor that is not strided.
        """
        compiled = []
        held: list[Tensor] = []
        for name, module in model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                what = f"{name or 'the model'} ({type(module).__name__})"
                raise SpecError(
                    f"{what} is a TorchScript module, whose code cannot be followed; give the Python module"
                )
            if isinstance(original := module._modules.get("_orig_mod"), nn.Module):
                compiled.append((module, original))
            held += _tensors(module.__dict__)
        self._of_parameters |= {storage_of(tensor) for tensor in held if _is_weight(tensor)}
        for tensor in held:
            if id(tensor) not in self._memo:
                self._memo[id(tensor)] = self._copied(tensor)
        for module, original in reversed(compiled):  # the innermost first
            self._memo[id(module)] = copy.deepcopy(original, self._memo)
        return copy.deepcopy(model, self._memo)

    def _copied(self, tensor: Tensor) -> Tensor:
        """The tensor that lies in its storage as `tensor` does in its own, and of the same kind."""
        device = torch.device("meta") if self._on_meta else tensor.device
        if is_lazy(tensor):
            kind: Any = type(tensor)
            lazy: Tensor = kind(requires_grad=tensor.requires_grad, device=device, dtype=tensor.dtype)
            return lazy
        if tensor.layout != torch.strided:
            raise SpecError(f"a {tensor.layout} tensor has no storage to follow; give the model with dense weights")
        source = tensor.detach()
        storage = storage_of(source)
        if storage not in self._storages:
            self._storages[storage] = self._new(source.untyped_storage())
        data = torch.empty(0, dtype=source.dtype, device=device)
        data.set_(self._storages[storage], source.storage_offset(), source.size(), source.stride())
        if isinstance(tensor, nn.Parameter):
            return parameter_like(tensor, data)
        if self._on_meta and storage not in self._of_parameters:
            data.__dict__[_VALUES] = self._values_of(source, known_values(tensor))
        return data

    def _values_of(self, source: Tensor, known: torch.UntypedStorage | None) -> torch.UntypedStorage | None:
        """Return a small storage on the CPU, which nobody writes to; on the meta device, what is known of it."""
        storage = source.untyped_storage()
        if source.is_meta or storage.nbytes() > _SMALL:
            return known
        if storage_of(source) not in self._values:
            self._values[storage_of(source)] = storage.cpu()  # type: ignore[no-untyped-call]
        return self._values[storage_of(source)]

    def _new(self, storage: torch.UntypedStorage) -> torch.UntypedStorage:
        if self._on_meta:
            return torch.UntypedStorage(storage.nbytes(), device="meta")  # type: ignore[no-untyped-call]
        return storage.clone()  # type: ignore[no-untyped-call, no-any-return]


def known_values(tensor: Tensor) -> torch.UntypedStorage | None:
    """Return what the storage of a tensor that was copied to the meta device held, on the CPU; None if not known."""
    values: torch.UntypedStorage | None = tensor.__dict__.get(_VALUES)
    return values


def held_tensors(model: nn.Module) -> Iterator[Tensor]:
    """Yield the tensors that the modules of `model` hold beside registered parameters, in containers too."""
    for module in model.modules():
        for name, value in module.__dict__.items():
            if name not in _OF_EVERY_MODULE and not isinstance(value, _NO_CONTAINER):
                yield from _tensors(value)


def _is_weight(tensor: Tensor) -> bool:
    return isinstance(tensor, nn.Parameter) and not is_lazy(tensor)


def parameter_like(parameter: nn.Parameter, data: Tensor) -> nn.Parameter:
    """A Parameter over `data` that requires a gradient, and carries attributes, as `parameter` does."""
    own = nn.Parameter(data, requires_grad=parameter.requires_grad)
    own.__dict__.update(parameter.__dict__)
    return own


def stray_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The Parameters that `model.parameters()` does not give, in lists for example, and what holds each."""
    registered = {id(parameter) for parameter in model.parameters()}
    for path, module in model.named_modules():
        for name, value in module.__dict__.items():
            if not name.startswith("_"):
                for stray in _tensors(value):
                    if isinstance(stray, nn.Parameter) and id(stray) not in registered:
                        yield f"{path}.{name}" if path else name, stray


def _tensors(value: object) -> Iterator[Tensor]:
    """The tensors in a module's attributes, in containers too, but not in other modules."""
    pending, seen = [value], set()
    while pending:
        item = pending.pop()
        if isinstance(item, Tensor):
            yield item
            continue
        if isinstance(item, list | tuple | set):
            inside: Iterable[Any] = item
        elif isinstance(item, dict) or (not isinstance(item, _NO_CONTAINER) and isinstance(item, Mapping)):
            inside = item.values()
        else:
            continue
        if id(item) not in seen:  # a container can hold itself
            seen.add(id(item))
            pending += reversed(list(inside))
