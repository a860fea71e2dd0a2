"""Observe the batches that layers receive, and detect sequences whose batch is another axis than the layer expects."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from torch import Tensor, nn

from paramshare.sharing.inputs.validation import described

__all__ = ["BatchLayout"]

_FIRST_INPUT: Final = {nn.RNNBase: "input", nn.MultiheadAttention: "query"}
"""The layers whose batch is the second axis by default, with the name of their first argument."""

_BATCHES: Final = (nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.RNNCellBase)
"""Further layers whose batch axis torch defines: the first."""


class BatchLayout:
    """The batches that the layers of one pass receive, and the layers that interpret steps of one sample as a batch.

    Args:
        model: the model; hooks are registered on its modules and not removed.
        root: the name of the model itself.
    """

    def __init__(self, model: nn.Module, root: str) -> None:
        self._swapped: dict[str, tuple[nn.Module, Tensor]] = {}
        self.lengths: list[int] = []
        """The length of the batch for each call of a layer whose batch axis torch defines; 1 without a batch axis."""
        for path, module in model.named_modules():
            argument = next((name for kind, name in _FIRST_INPUT.items() if isinstance(module, kind)), None)
            if argument is not None and not module.batch_first:
                hook = _recording(self._swapped, path or root, argument)
                module.register_forward_pre_hook(hook, with_kwargs=True)
            if argument is not None or isinstance(module, _BATCHES):
                module.register_forward_pre_hook(_measuring(self.lengths, argument or "input"), with_kwargs=True)

    def warnings(self) -> Iterator[str]:
        """Yield a sentence about all layers that were called with one step of a batch."""
        if not self._swapped:
            return
        layer, (module, given) = next(iter(self._swapped.items()))
        others = len(self._swapped) - 1
        more = f", as {others} more layers," if others else ""
        length = given.shape[1]
        yield (
            f"{layer} ({type(module).__name__}){more} has batch_first=False and was given {described(given)}: one step "
            f"of a batch of {length}, each counted as a position; if one sample of {length} steps is intended, use "
            "batch_first=True, or give the input with the batch as the second axis: "
            f'args=(torch.empty({length}, 1, ...),), or a "shape" in kwargs'
        )


def _recording(
    swapped: dict[str, tuple[nn.Module, Tensor]], layer: str, argument: str
) -> Callable[[nn.Module, tuple[object, ...], Mapping[str, object]], None]:
    """Return a hook that records layers. A method would be copied with its object if the pass copies a module."""

    def record(module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
        first = args[0] if args else kwargs.get(argument)
        if isinstance(first, Tensor) and first.dim() == 3 and first.shape[0] == 1 < first.shape[1]:
            swapped.setdefault(layer, (module, first))

    return record


def _measuring(
    lengths: list[int], argument: str
) -> Callable[[nn.Module, tuple[object, ...], Mapping[str, object]], None]:
    """Return a hook that records the length of a layer's batch."""

    def measure(module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
        first = args[0] if args else kwargs.get(argument)
        if isinstance(first, Tensor) and not first.is_nested:
            lengths.append(_batch_length(module, first))

    return measure


def _batch_length(module: nn.Module, given: Tensor) -> int:
    """Return the length of the batch in the input of a layer; 1 for an input without a batch axis."""
    if isinstance(module, tuple(_FIRST_INPUT)):
        return int(given.shape[0 if module.batch_first else 1]) if given.dim() == 3 else 1
    fewest = len(module.kernel_size) + 2 if isinstance(module, nn.modules.conv._ConvNd) else 2
    return int(given.shape[0]) if given.dim() >= fewest else 1
