"""Observe one pass over a model on the meta device: the shapes of each call, and the trace of the weights."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from paramshare.sharing.inputs.sample import Sample
from paramshare.sharing.tracing.trace import Trace, trace

__all__ = ["CallShapes", "ObservedPass", "Shape"]

Shape = tuple[int, ...]


@dataclass(slots=True)
class CallShapes:
    """The shapes of the arguments and of the result of one call of a module.

    Args:
        args, kwargs: the shape of each argument; None for an argument that is not a tensor.
        out: the shape of the result; None if the result is not a tensor.
    """

    args: tuple[Shape | None, ...]
    kwargs: Mapping[str, Shape | None]
    out: Shape | None = None

    @property
    def first(self) -> Shape:
        """Return the shape of the first tensor; empty without tensors."""
        return next((shape for shape in (*self.args, *self.kwargs.values()) if shape is not None), ())

    def shape(self, place: int, name: str) -> Shape | None:
        """Return the shape of an argument.

        Args:
            place: the number of the argument if it is positional.
            name: the name of the argument.
        """
        return self.kwargs[name] if name in self.kwargs else (*self.args, *[None] * (place + 1))[place]


@dataclass(frozen=True, slots=True)
class ObservedPass:
    """One pass over a model on the meta device.

    Args:
        model: the model that was called.
        calls: the shapes of each call, by the first name of the module.
        recursive: the names of modules that called themselves.
        hooked: the names of modules that have hooks of their own, other than those of torch that compute weights.
        trace: the uses of each weight.
    """

    model: nn.Module
    calls: Mapping[str, Sequence[CallShapes]]
    recursive: Collection[str]
    hooked: Collection[str]
    trace: Trace

    @classmethod
    def of(cls, model: nn.Module, sample: Sample) -> "ObservedPass":
        """Call a model and return the observed pass.

        Args:
            model: a copy on the meta device that no one else uses: hooks are registered on it and not removed.
            sample: the arguments of the call.
        """
        model.eval()
        calls: defaultdict[str, list[CallShapes]] = defaultdict(list)
        active: list[tuple[str, CallShapes]] = []
        recursive: set[str] = set()

        def enter(_: nn.Module, args: tuple[object, ...], kwargs: dict[str, object], name: str) -> None:
            call = CallShapes(tuple(map(_shape_of, args)), {key: _shape_of(value) for key, value in kwargs.items()})
            calls[name].append(call)
            if any(name == other for other, _ in active):
                recursive.add(name)
            active.append((name, call))

        def leave(_: nn.Module, _args: object, out: object) -> None:
            active.pop()[1].out = _shape_of(out)

        hooked = {name for name, module in model.named_modules() if _has_own_hooks(module)}
        for name, module in model.named_modules():
            module.register_forward_pre_hook(partial(enter, name=name), with_kwargs=True)
            module.register_forward_hook(leave)
        return cls(model, calls, recursive, hooked, trace(model, sample))


def _has_own_hooks(module: nn.Module) -> bool:
    """Return whether a module has hooks, other than those of torch that compute its weights."""
    hooks = module._forward_pre_hooks.values()
    return bool(module._forward_hooks) or not all(isinstance(hook, WeightNorm | SpectralNorm) for hook in hooks)


def _shape_of(value: object) -> Shape | None:
    """Return the shape of a tensor, or of the data of a PackedSequence: (steps, features) for one sample."""
    tensor = value.data if isinstance(value, PackedSequence) else value
    return tuple(tensor.shape) if isinstance(tensor, Tensor) else None
