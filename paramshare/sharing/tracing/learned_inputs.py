"""Recognise weights or constants that are the input of a layer: learned queries, tables of positions, prompts.

A layer with such an input has sites like any other: a linear layer that is called with 6 learned queries has 6 sites. A
product of weights can also derive a weight (`B @ A` of a LoRA), which has no sites. The call of a module distinguishes
the two: for an input, the module multiplies its own weights with a tensor from outside of the module. The argument of a
parametrization is a weight, not an input.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import ParametrizationList
from torch.utils._pytree import tree_leaves

from paramshare.sharing.tensors.regions import storage_of
from paramshare.sharing.tensors.wrapper_subclasses import unwrapped
from paramshare.sharing.tracing.module_stack import ModuleCall
from paramshare.sharing.tracing.operations.op_accounting import Operand
from paramshare.sharing.tracing.operations.op_rules import Rule
from paramshare.sharing.tracing.weights.origins import shares_of
from paramshare.sharing.tracing.weights.weight_shares import Share

__all__ = ["LearnedInputs"]


class LearnedInputs:
    """The recogniser of learned inputs in one pass."""

    def __init__(self) -> None:
        self._weights: dict[int, frozenset[int]] = {}

    def among(self, operands: Sequence[Operand], rule: Rule, calls: Sequence[ModuleCall]) -> list[Operand]:
        """Return the operands of an operation that are learned inputs of the running layer.

        Args:
            operands, rule: the operands and the rule of the operation.
            calls: the running calls, the innermost last.
        """
        call = calls[-1]
        candidates = _candidates(operands, rule, call)
        if call.module is None or len(candidates) < 2 or any(operand.of_data for operand in operands):
            return []
        if not any(operand.of_weights for operand in candidates):
            return []
        if any(isinstance(outer.module, ParametrizationList) for outer in calls):
            return []
        own, inputs = self._own(call.module), _storages(call.inputs)
        learned, weights = [], []
        for operand in candidates:
            storages = {share.storage for share in shares_of(operand.tensor, operand.origin)}
            if storages and storages <= own:
                weights.append(operand)
            elif storages or storage_of(operand.tensor) in inputs or call.steps is not None:  # an initial state
                learned.append(operand)
        return learned if weights else []

    def new_shares(self, learned_input: Operand, calls: Sequence[ModuleCall]) -> tuple[Share, ...]:
        """Return the shares of weights in a learned input that the call has not used before.

        A call uses a learned input once, even if several operations read the input.

        Args:
            learned_input: an operand that `among` returned.
            calls: the running calls, the innermost last.
        """
        shares = []
        for share in shares_of(learned_input.tensor, learned_input.origin):
            outside = (
                call for call in calls if call.module is not None and share.storage not in self._own(call.module)
            )
            call = next(outside, calls[-1])
            weight = (share.storage, share.regions)
            if weight not in call.learned_inputs:
                call.learned_inputs.add(weight)
                shares.append(replace(share, owner=share.owner or call.layer))
        return tuple(shares)

    def _own(self, module: nn.Module | None) -> frozenset[int]:
        """Return the storages of the parameters of a module and its submodules."""
        if module is None:
            return frozenset()
        if id(module) not in self._weights:
            weights = (storage_of(parameter) for parameter in module.parameters() if not is_lazy(parameter))
            self._weights[id(module)] = frozenset(weights)
        return self._weights[id(module)]


def _candidates(operands: Sequence[Operand], rule: Rule, call: ModuleCall) -> list[Operand]:
    """Return the operands that can be the input for each other."""
    if rule.product is not None:
        return [operand for operand in operands if operand.place in rule.product.factors]
    norm_in_python = rule.kind == "spread" and type(call.module).__name__.endswith(("RMSNorm", "LayerNorm"))
    return list(operands) if rule.norm or norm_in_python else []


def _storages(values: Iterable[object]) -> set[int]:
    leaves = (leaf for leaf in tree_leaves(tuple(values)) if isinstance(leaf, Tensor) and not is_lazy(leaf))
    return {storage_of(unwrapped(leaf)) for leaf in leaves}
