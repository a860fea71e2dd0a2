"""Refuse a model whose twin would compute with the model's own weights, captured in a function."""

from torch import nn

from paramshare.errors import SpecError
from paramshare.sharing.tensors.copies import stray_parameters
from paramshare.sharing.tensors.regions import storage_of
from paramshare.sharing.twins.depth.unrolled import COPY_NAME
from paramshare.sharing.twins.observed_pass import ObservedPass

__all__ = ["check_captured_weights"]


def check_captured_weights(model: nn.Module, observed: ObservedPass) -> None:
    """Check that no function of the twin holds the model, as `model.forward = lambda x: 2 * old(x)` does.

    A copy of the model has the same function object, and that function still refers to the model's weights: training
    the copy would train the model, or nothing.

    Args:
        model: the original.
        observed: a pass over the twin.

    Raises:
        SpecError: the pass used weights of the original.
    """
    strays = (parameter for _, parameter in stray_parameters(model))
    own = set(map(storage_of, (*model.parameters(), *strays)))
    for place in observed.trace.uses:
        if place.storage in own:
            layer = COPY_NAME.sub("", place.layer)
            raise SpecError(
                f"{layer} runs a function that holds the model's own weights (a patched forward, a closure or a hook), "
                "so a twin would not use its own weights; write the function as a method of the module"
            )
