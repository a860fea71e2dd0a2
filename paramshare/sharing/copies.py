"""Copies of a model with every tie between its tensors kept: in memory of their own, or on the meta device, without.

(`deepcopy` keeps one Parameter under two names, but takes two Parameters on one storage apart; `.to("meta")` makes a
tensor of its own for each name.)
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from paramshare.errors import SpecError
from paramshare.sharing.regions import storage_of

__all__ = ["Copier", "meta_clone", "parameter_like", "stray_parameters"]


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

    def __call__(self, model: nn.Module) -> nn.Module:
        """The copy. Compiled modules become what they were compiled from.

        Raises:
            SpecError: for a TorchScript module, whose code cannot be followed, or a tensor that is not strided.
        """
        compiled = []
        for name, module in model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                what = f"{name or 'the model'} ({type(module).__name__})"
                raise SpecError(
                    f"{what} is a TorchScript module, whose code cannot be followed; give the Python module"
                )
            if isinstance(original := module._modules.get("_orig_mod"), nn.Module):
                compiled.append((module, original))
            for tensor in _tensors(module.__dict__):
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
        return parameter_like(tensor, data) if isinstance(tensor, nn.Parameter) else data

    def _new(self, storage: torch.UntypedStorage) -> torch.UntypedStorage:
        if self._on_meta:
            return torch.UntypedStorage(storage.nbytes(), device="meta")  # type: ignore[no-untyped-call]
        return storage.clone()  # type: ignore[no-untyped-call, no-any-return]


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
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _tensors(one)
    elif isinstance(value, list | tuple | set):
        for one in value:
            yield from _tensors(one)
