"""Unshared twins of layers whose weights are computed from other parameters: weight norm and other parametrizations.

The twin has every original parameter for each position, and computes the weight of each position from its own
originals. For weight norm these are a direction and a length for each position. The originals have their names in the
layer: `parametrizations.weight.original0` is (*positions, *shape).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.utils.parametrize import (
    ParametrizationList,
    is_parametrized,
    register_parametrization,
    type_before_parametrizations,
)
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from paramshare.sharing.tensors.copies import Copier
from paramshare.sharing.twins.layers.unshared import replicated

__all__ = ["class_of", "is_computed", "with_originals"]


def is_computed(layer: nn.Module) -> bool:
    """Return whether a weight of a layer is computed by a parametrization, or by a hook of `torch.nn.utils`."""
    return is_parametrized(layer) or next(_hooks(layer), None) is not None


def class_of(layer: nn.Module) -> type[nn.Module]:
    """Return the class of a layer before it was parametrized."""
    kind: type[nn.Module] = type_before_parametrizations(layer)
    return kind


def with_originals(layer: nn.Module, make: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """Return the twin of a layer with computed weights, whose weights are computed for each position.

    Args:
        layer: the layer.
        make: returns the twin of the layer with parameters in place of the computed weights; a parameter of the twin
            is (*positions, *shape).
    """
    sources = dict(_sources(layer))
    with _evaluating(layer):  # in training, reading a weight moves the vectors of its power iteration
        twin = make(_with_parameters(layer, sources))
        for name, source in sources.items():
            weight = getattr(twin, name)
            positions = weight.shape[: weight.dim() - getattr(layer, name).dim()]
            register_parametrization(twin, name, _PerPosition(source, positions), unsafe=True)
            parametrizations: Any = twin.parametrizations
            originals = parametrizations[name].parameters(recurse=False)
            for own, original in zip(originals, source.parameters(), strict=True):
                own.requires_grad_(original.requires_grad)
    return twin


@contextmanager
def _evaluating(layer: nn.Module) -> Iterator[None]:
    """Set a layer and its parametrizations to evaluation in the block, and each back to its mode afterwards."""
    modes = {module: module.training for module in layer.modules()}
    layer.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


class _PerPosition(nn.Module):
    """A parametrization that computes the weight of each position from the originals of this position.

    Args:
        source: a module that computes the weight of the layer from its own parameters and buffers.
        positions: the lengths of the axes of positions.
    """

    def __init__(self, source: nn.Module, positions: Sequence[int]) -> None:
        super().__init__()
        self.positions = tuple(positions)
        self._names = [name for name, _ in source.named_parameters()]
        self._buffer_names = [name for name, _ in source.named_buffers()]
        self._source: nn.Module
        self.__dict__["_source"] = Copier()(source)  # no submodule, since its parameters are replaced in every call
        for number, buffer in enumerate(source.buffers()):
            self.register_buffer(f"buffer{number}", replicated(buffer, self.positions))

    def right_inverse(self, _weight: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the originals of each position, equal to those of the layer."""
        originals = tuple(replicated(each, self.positions) for each in self._source.parameters())
        return originals[0] if len(originals) == 1 else originals

    def forward(self, *originals: Tensor) -> Tensor:
        """Return the weights, (*positions, *shape)."""
        if (dim := _norm_dim(self._source)) is not None:
            lengths, directions = originals
            return _normalised(lengths, directions, dim, len(self.positions))
        self._source.train(self.training)
        state = dict(zip((*self._names, *self._buffer_names), (*originals, *self.buffers()), strict=True))
        axes = len(self.positions)
        flat = {name: tensor.flatten(0, axes - 1) for name, tensor in state.items()}
        if self._buffer_names:  # a call can write into buffers, such as the vectors of a power iteration
            parts = ({name: each[number] for name, each in flat.items()} for number in range(prod(self.positions)))
            weights: Tensor = torch.stack([self._weight(part) for part in parts])
        else:
            weights = vmap(self._weight, randomness="different")(flat)
        return weights.view(*self.positions, *weights.shape[1:])

    def _weight(self, state: dict[str, Tensor]) -> Tensor:
        weight: Tensor = functional_call(self._source, state, ())
        return weight


def _norm_dim(source: nn.Module) -> int | None:
    """Return the axis that weight norm leaves out, -1 for none; None for other sources of a weight."""
    norm: Any = source.hook if isinstance(source, _HookedWeight) else None
    if isinstance(source, ParametrizationList) and len(source) == 1:
        norm = source[0]
    return int(norm.dim) if type(norm).__name__ in ("WeightNorm", "_WeightNorm") else None


def _normalised(lengths: Tensor, directions: Tensor, dim: int, axes: int) -> Tensor:
    """Return v · g / ‖v‖ for each position (Salimans and Kingma, "Weight normalization", 2016).

    Args:
        lengths, directions: g and v of each position.
        dim: the axis of a weight with a length for each index; -1 for one length.
        axes: the number of axes of positions.
    """
    others = [axis for axis in range(axes, directions.dim()) if axis - axes != dim]
    norms = torch.linalg.vector_norm(directions, dim=others, keepdim=True) if others else directions.abs()
    weights: Tensor = directions * (lengths.view(norms.shape) / norms)
    return weights


class _HookedWeight(nn.Module):
    """A weight that a hook of `torch.nn.utils` computes before each call of a layer.

    Args:
        layer: the layer, with the parameters and buffers that the weight is computed from.
        hook: the hook.
    """

    def __init__(self, layer: nn.Module, hook: WeightNorm | SpectralNorm) -> None:
        super().__init__()
        self.hook = hook
        self._parameters = {name: each for name, each in layer._parameters.items() if name in _parts(hook)}
        self._buffers = {name: each for name, each in layer._buffers.items() if name in _parts(hook)}

    def forward(self) -> Any:
        if isinstance(self.hook, SpectralNorm):
            return self.hook.compute_weight(self, do_power_iteration=self.training)
        return self.hook.compute_weight(self)


def _hooks(layer: nn.Module) -> Iterator[WeightNorm | SpectralNorm]:
    return (hook for hook in layer._forward_pre_hooks.values() if isinstance(hook, WeightNorm | SpectralNorm))


def _parts(hook: WeightNorm | SpectralNorm) -> set[str]:
    """Return the names of the tensors that a hook computes a weight from."""
    return {f"{hook.name}_{part}" for part in ("g", "v", "orig", "u")}


def _sources(layer: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the name of each computed weight, and a module that computes the weight from its own parameters."""
    if is_parametrized(layer):
        parametrizations: Any = layer.parametrizations
        for name, source in parametrizations.items():
            assert isinstance(source, ParametrizationList)
            yield name, source
    for hook in _hooks(layer):
        yield hook.name, _HookedWeight(layer, hook)


def _with_parameters(layer: nn.Module, computed: Iterable[str]) -> nn.Module:
    """Return the layer with a parameter in place of each computed weight."""
    kind = class_of(layer)
    plain: nn.Module = kind.__new__(kind)
    plain.__dict__.update(layer.__dict__)
    parts = {name for hook in _hooks(layer) for name in _parts(hook)}
    plain._parameters = {name: each for name, each in layer._parameters.items() if name not in parts}
    plain._buffers = {name: each for name, each in layer._buffers.items() if name not in parts}
    plain._modules, plain._forward_pre_hooks = {}, type(layer._forward_pre_hooks)()
    for name in computed:
        plain.__dict__.pop(name, None)
        plain._parameters[name] = nn.Parameter(getattr(layer, name).detach())
    return plain
