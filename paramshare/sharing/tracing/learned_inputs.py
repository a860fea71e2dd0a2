"""Layers that are given weights or constants in place of data: learned queries, tables of positions, prompts.

Such a layer has sites as any other: a linear layer that is called with 6 learned queries has 6. A product of weights
can also be the derivation of a weight (`B @ A` of a LoRA), which has no sites of its own. The call of a module tells
them apart: in the first case the module's own weights are multiplied with what comes from outside of it. What a
parametrization is given is a weight.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import ParametrizationList
from torch.utils._pytree import tree_leaves

from paramshare.sharing.tensors.regions import storage_of
from paramshare.sharing.tracing.module_stack import Call
from paramshare.sharing.tracing.operations.op_accounting import Operand
from paramshare.sharing.tracing.operations.op_rules import Rule
from paramshare.sharing.tracing.weights.origins import shares_of
from paramshare.sharing.tracing.weights.weight_shares import Share

__all__ = ["Signals"]


class Signals:
    """Finds the operands that take the place of data."""

    def __init__(self) -> None:
        self._weights: dict[int, frozenset[int]] = {}

    def among(self, operands: Sequence[Operand], rule: Rule, calls: Sequence[Call]) -> list[Operand]:
        """Return the operands that the layer which is being called is given in place of data.

        Args:
            operands, rule: of the operation.
            calls: that the pass is in the middle of, the innermost last.
        """
        call = calls[-1]
        candidates = _candidates(operands, rule, call)
        if call.module is None or len(candidates) < 2 or any(operand.of_data for operand in operands):
            return []
        if not any(operand.of_weights for operand in candidates):
            return []
        if any(isinstance(outer.module, ParametrizationList) for outer in calls):
            return []
        own, given = self._own(call.module), _storages(call.inputs)
        signals, weights = [], []
        for operand in candidates:
            storages = {share.storage for share in shares_of(operand.tensor, operand.origin)}
            if storages and storages <= own:
                weights.append(operand)
            elif storages or storage_of(operand.tensor) in given:
                signals.append(operand)
        return signals if weights else []

    def new_shares(self, signal: Operand, calls: Sequence[Call]) -> tuple[Share, ...]:
        """Return what a signal has of each weight that the call which it was given to has not used before.

        A call uses a learned constant that it is given once, whatever it does with it.

        Args:
            signal: one of those that `among` returns.
            calls: that the pass is in the middle of, the innermost last.
        """
        shares = []
        for share in shares_of(signal.tensor, signal.origin):
            outside = (
                call for call in calls if call.module is not None and share.storage not in self._own(call.module)
            )
            call = next(outside, calls[-1])
            weight = (share.storage, share.regions)
            if weight not in call.given:
                call.given.add(weight)
                shares.append(replace(share, owner=share.owner or call.layer))
        return tuple(shares)

    def _own(self, module: nn.Module | None) -> frozenset[int]:
        """Return the storages of a module's parameters, and of those within it."""
        if module is None:
            return frozenset()
        if id(module) not in self._weights:
            weights = (storage_of(parameter) for parameter in module.parameters() if not is_lazy(parameter))
            self._weights[id(module)] = frozenset(weights)
        return self._weights[id(module)]


def _candidates(operands: Sequence[Operand], rule: Rule, call: Call) -> list[Operand]:
    """Return the operands one of which can be data to another."""
    if rule.product is not None:
        return [operand for operand in operands if operand.place in rule.product.factors]
    written_out = rule.kind == "spread" and type(call.module).__name__.endswith(("RMSNorm", "LayerNorm"))
    return list(operands) if rule.norm or written_out else []


def _storages(values: Iterable[object]) -> set[int]:
    return {storage_of(leaf) for leaf in tree_leaves(tuple(values)) if isinstance(leaf, Tensor) and not is_lazy(leaf)}
