"""Recognise forward-mode derivatives: `torch.func.jvp`, `jacfwd` and `hessian`, and dual numbers.

A derivative computes a tangent beside each value. The products of tangents are multiply-accumulates, which count for
the layer that began the derivative; they are not other uses of the weights, like the products of a backward pass.
"""

from collections.abc import Callable, Iterable

from torch import Tensor

from paramshare.sharing.tensors.regions import storage_of
from paramshare.sharing.tensors.wrapper_subclasses import unwrapped
from paramshare.sharing.tracing.operations.op_accounting import Operation
from paramshare.sharing.tracing.weights.origins import Constant

__all__ = ["Tangents"]


class Tangents:
    """The tangents of one pass.

    Args:
        place: returns the name of the running layer.
    """

    def __init__(self, place: Callable[[], str]) -> None:
        self._place = place
        self._storages: set[int] = set()
        self.layer: str | None = None
        """The layer that began the last derivative; None before the first."""

    def begin(self, tangent: Tensor) -> None:
        """Record the tangent that an input of a derivative has."""
        self.layer = self._place()
        self._storages.add(storage_of(unwrapped(tangent)))

    def end(self, tangent: object) -> None:
        """Record that a tangent is the result of a derivative, and a value like others from now on."""
        if isinstance(tangent, Tensor):
            self._storages.discard(storage_of(unwrapped(tangent)))

    def among(self, operation: Operation) -> bool:
        """Return whether an operation computes with a tangent."""
        return self.layer is not None and any(storage_of(each.tensor) in self._storages for each in operation.operands)

    def add(self, outputs: Iterable[Tensor]) -> None:
        """Record the results of an operation on a tangent."""
        self._storages.update(map(storage_of, outputs))

    def are_skipped(self, operation: Operation) -> bool:
        """Return whether an operation multiplies with the tangent of a value without one: torch leaves it out."""
        zeros = (isinstance(each.origin, Constant) and each.origin.zero for each in operation.factors)
        return self.layer is not None and any(zeros)
