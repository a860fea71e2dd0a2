"""Notice sequences whose batch lies on another axis than the layer takes it to: the pass is then not of one sample."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from torch import Tensor, nn

from paramshare.sharing.inputs.validation import described

__all__ = ["Layouts"]

_FIRST_INPUT: Final = {nn.RNNBase: "input", nn.MultiheadAttention: "query"}
"""The layers that take the batch as the second axis by default, and what their first argument is called."""


class Layouts:
    """The layers of one pass that were given a batch where one sample was meant.

    Args:
        model: hooks are put on its modules and stay there.
        root: the name of the model itself.
    """

    def __init__(self, model: nn.Module, root: str) -> None:
        self._swapped: dict[str, tuple[nn.Module, Tensor]] = {}
        for path, module in model.named_modules():
            argument = next((name for kind, name in _FIRST_INPUT.items() if isinstance(module, kind)), None)
            if argument is not None and not module.batch_first:
                hook = _noticing(self._swapped, path or root, argument)
                module.register_forward_pre_hook(hook, with_kwargs=True)

    def warnings(self) -> Iterator[str]:
        """Yield a sentence for all layers that were called for one step of a batch."""
        if not self._swapped:
            return
        layer, (module, given) = next(iter(self._swapped.items()))
        others = len(self._swapped) - 1
        more = f", as {others} more layers," if others else ""
        length = given.shape[1]
        yield (
            f"{layer} ({type(module).__name__}){more} has batch_first=False and was given {described(given)}: one step "
            f"of a batch of {length}, each counted as a position; if one sample of {length} steps is meant, use "
            "batch_first=True, or give the input with the batch as the second axis: "
            f'args=(torch.empty({length}, 1, ...),), or a "shape" in kwargs'
        )


def _noticing(
    swapped: dict[str, tuple[nn.Module, Tensor]], layer: str, argument: str
) -> Callable[[nn.Module, tuple[object, ...], Mapping[str, object]], None]:
    """Return a hook. A function and no method: a module that the pass itself copies would copy what it is bound to."""

    def notice(module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
        given = args[0] if args else kwargs.get(argument)
        if isinstance(given, Tensor) and given.dim() == 3 and given.shape[0] == 1 < given.shape[1]:
            swapped.setdefault(layer, (module, given))

    return notice
