"""Refuse a model whose twin would compute with the model's own weights."""

from torch import nn

from paramshare.errors import SpecError
from paramshare.sharing.copies import stray_parameters
from paramshare.sharing.regions import storage_of
from paramshare.sharing.rehearsal import COPY_NAME, Pass

__all__ = ["refuse_weights_of"]


def refuse_weights_of(model: nn.Module, seen: Pass) -> None:
    """Refuse a model one of whose functions holds it, as `model.forward = lambda x: 2 * old(x)` does.

    A copy of the model has the same function, and a function has the weights that it was written with: training the
    copy would train the model, or nothing.

    Args:
        model: the original.
        seen: a pass over its twin.

    Raises:
        SpecError: the pass used weights of the original.
    """
    strays = (parameter for _, parameter in stray_parameters(model))
    own = set(map(storage_of, (*model.parameters(), *strays)))
    for place in seen.trace.uses:
        if place.storage in own:
            layer = COPY_NAME.sub("", place.layer)
            raise SpecError(
                f"{layer} runs a function that holds the model's own weights (a patched forward, a closure or a hook), "
                "so a twin would not use its own; write the function as a method of the module"
            )
