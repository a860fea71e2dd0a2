"""Trace one forward pass on the meta device: the uses of each weight by layer, with their sites and MACs.

The tracer keeps the origin of each storage; `op_accounting` computes the origin of a result from those of the operands.
Small values that depend neither on the input nor on weights are computed (`constant_propagation`), so that constants
can be read; other values are assumed (`assumptions`).
"""

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from paramshare.errors import SpecError
from paramshare.sharing.inputs.sample import Sample
from paramshare.sharing.tensors.copies import held_tensors, is_non_leaf
from paramshare.sharing.tensors.object_tensors import tensors_in
from paramshare.sharing.tensors.regions import Region, covered, region_of, storage_of
from paramshare.sharing.tensors.wrapper_subclasses import is_irregular, is_plain, stored
from paramshare.sharing.tracing.batch_layout import BatchLayout
from paramshare.sharing.tracing.eager_mode import eager_mode
from paramshare.sharing.tracing.learned_inputs import LearnedInputs
from paramshare.sharing.tracing.module_stack import ROOT, ModuleStack
from paramshare.sharing.tracing.operations.op_accounting import Operand, Operation, Sites
from paramshare.sharing.tracing.operations.op_rules import Rule, operands_of, rule_of
from paramshare.sharing.tracing.operations.quantised_operations import float_operation
from paramshare.sharing.tracing.operations.refusals import check_operation
from paramshare.sharing.tracing.operations.tangents import Tangents
from paramshare.sharing.tracing.original_tensors import OriginalTensors
from paramshare.sharing.tracing.output_iterators import with_lists
from paramshare.sharing.tracing.values.assumptions import Assumptions
from paramshare.sharing.tracing.values.constant_propagation import ConstantPropagation
from paramshare.sharing.tracing.values.loop_limit import EndlessLoopError
from paramshare.sharing.tracing.values.sparse_tensors import DenseCall, SparseTensors, makes_sparse
from paramshare.sharing.tracing.values.user_device import UserDevice
from paramshare.sharing.tracing.weights.origins import Constant, Data, Derived, Origin, Patch, Root, shares_of
from paramshare.sharing.tracing.weights.use_notes import UseNotes, is_quantised
from paramshare.sharing.tracing.weights.uses import Place, Trace, Use
from paramshare.sharing.tracing.weights.weight_shares import Share

__all__ = ["Trace", "trace"]

_aten = torch.ops.aten


def trace(model: nn.Module, sample: Sample, stand_ins: Mapping[int, torch.UntypedStorage] | None = None) -> Trace:
    """Trace one forward pass of `model`.

    Args:
        model: a copy on the meta device that no one else uses: hooks are registered on it and not removed.
        sample: the arguments of the call.
        stand_ins: the storages of `model` by the address of the original storage, so that original tensors which the
            pass finds by a global name are replaced by their copies. Defaults to none.

    Raises:
        SpecError: the model refuses the sample, or cannot run without values; the message names the layer.
    """
    tracer, layout = _Tracer(model, sample, stand_ins or {}), BatchLayout(model, ROOT)
    with sample.recording(), warnings.catch_warnings(), eager_mode(), tracer.assumptions.watching_draws(model):
        warnings.simplefilter("ignore")  # the model's own warnings are about values
        try:
            with tracer, tracer.user_device:
                out = with_lists(model(*sample.args, **sample.kwargs))
        except EndlessLoopError:
            raise
        except Exception as error:  # the model's code may raise anything
            raise SpecError(tracer.refusal(error)) from error
    tracer.record_outputs(out, model)
    sentences = (*layout.warnings(), *tracer.assumptions.warnings(), *tracer.notes.sentences())
    drawn, lengths = tuple(tracer.assumptions.drawn), tuple(layout.lengths)
    asks = tuple(tracer.user_device.asked)
    return Trace(tracer.uses, tracer.macs, tracer.dense_macs, tracer.encountered, sentences, drawn, lengths, asks)


class _Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A dispatch mode that accounts for every operation of a pass below autograd."""

    supports_higher_order_operators = True  # to name the operator in the error

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: torch's guard against torch.compile imports `torch._dynamo` (a second); see `eager_mode`."""
        return False

    def __init__(self, model: nn.Module, sample: Sample, stand_ins: Mapping[int, torch.UntypedStorage]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.uses: defaultdict[Place, Use] = defaultdict(Use)
        self.macs: Counter[str] = Counter()
        self.dense_macs: Counter[str] = Counter()
        self.encountered: dict[int, tuple[str, nn.Parameter]] = {}
        self.assumptions = Assumptions()
        self._originals = OriginalTensors(stand_ins)
        self._held_before = list(held_tensors(model))
        self._constants = ConstantPropagation(self._held_before, self.assumptions)
        self._learned_inputs = LearnedInputs()
        self.notes = UseNotes()
        self._computed_before = set(map(storage_of, filter(is_non_leaf, self._held_before)))
        self._outer_node = torch._C._current_autograd_node()  # not None if the caller runs in a backward pass
        self._stack = ModuleStack(model, sample)
        self._tangents = Tangents(lambda: self._stack.current.layer)
        self.user_device = UserDevice(sample.device, self._constants, self._tangents, lambda: str(self._stack.current))
        self._origins: dict[int, Origin] = {}
        self._alive: list[torch.UntypedStorage] = []  # keeps the addresses unique
        inputs = [tensor for given in tensors_in((sample.args, dict(sample.kwargs))) for tensor in stored(given)]
        self._sparse = SparseTensors(inputs)
        for tensor in inputs:
            if not is_irregular(tensor):
                self._remember(tensor, Data(tensor.numel()))
        for parameter in model.parameters():
            if not is_lazy(parameter):
                for tensor in stored(parameter):
                    self._root(tensor)

    def refusal(self, error: Exception) -> str:
        """Return one line with the layer that refused its input, and the reason."""
        assumption = next(self.assumptions.warnings(), "").partition(": ")[0]
        return self._stack.refusal(error) + (f"; an assumption may be the cause: {assumption}" if assumption else "")

    # Running an operation.

    def __torch_dispatch__(
        self,
        func: OpOverload[Any, Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        """Run one operation and account for it."""
        if not isinstance(func, OpOverload):
            raise NotImplementedError(f"the functions in the arguments of {func.name()} are not traced")
        if not all(map(is_plain, types)):  # a wrapper subclass first replaces the operation
            return NotImplemented
        kwargs, rule = kwargs or {}, rule_of(func)
        args, kwargs = self._originals.replaced(args, kwargs)
        operands = list(operands_of(rule, args, kwargs))
        if makes_sparse(func) or any(is_irregular(tensor) for _, tensor in operands):
            return self._run_sparse(func, args, kwargs)
        if (on_floats := float_operation(rule.name)) is not None:
            with self:
                return on_floats(*args, **kwargs)
        if rule.composite:
            with self:
                decomposed: object = func.decompose(*args, **kwargs)
            if decomposed is not NotImplemented:
                return decomposed
        if func.overloadpacket is _aten._local_scalar_dense:
            return self._read(func, args[0])
        return self._run(func, args, kwargs, operands)

    def _run_sparse(self, func: OpOverload[Any, Any], args: Sequence[Any], kwargs: dict[str, Any]) -> object:
        """Run an operation on a tensor without a storage."""
        result = self._sparse.run(func, args, kwargs, lambda tensor: bool(shares_of(tensor, self._origin(tensor))))
        if not isinstance(result, DenseCall):
            return result
        if result.of_data:
            self._remember(result.dense, Data(result.stored))
        operands = list(operands_of(rule_of(result.func), result.args, result.kwargs))
        return self._run(result.func, result.args, result.kwargs, operands, result.density)

    def _run(
        self,
        func: OpOverload[Any, Any],
        args: Sequence[Any],
        kwargs: dict[str, Any],
        operands: Sequence[tuple[int, Tensor]],
        density: Fraction | None = None,
    ) -> object:
        """Run one operation on tensors with storages and account for it."""
        rule = rule_of(func)
        operands = [(place, tensor) for place, tensor in operands if not is_lazy(tensor)]
        place = str(self._stack.current)
        check_operation(func, rule, args)
        result = self._constants.run(func, rule, args, kwargs, [tensor for _, tensor in operands], place)
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if outputs:
            known = self._with_origins(operands, rule)
            in_table = hasattr(self._stack.current.module, "num_embeddings")  # an unshared position has a whole table
            fixed = bool(known) and known[0].of_weights and not in_table
            select = self._constants.selection(func, args) if fixed else None
            operation = Operation(func, rule, args, known, outputs[0], density, select)
            if not operation.is_upkeep:
                self._account(operation, outputs)
        return result

    def _read(self, func: OpOverload[Any, Any], tensor: Tensor) -> object:
        """Return the number in a tensor of one element, or an assumption if the number is unknown."""
        if self._constants.are_known(tensor):
            return func(self._constants.values_of(tensor))
        origin = self._origin(tensor)
        of_data = isinstance(origin, Data) and not origin.learned
        source = "a constant" if isinstance(origin, Constant) else "the data" if of_data else "weights"
        return self.assumptions.value(tensor, source, str(self._stack.current))

    # Accounting.

    def _account(self, operation: Operation, outputs: Sequence[Tensor]) -> None:
        layer = self._stack.current.layer
        of_tangents = self._tangents.among(operation)
        self._count_macs(operation, self._tangents.layer or layer if of_tangents else layer)
        in_derivative = of_tangents or torch._C._current_autograd_node() is not self._outer_node
        if operation.of_data and not in_derivative:  # the derivative of a use is not another use
            for sites in operation.sites():
                if not sites.known:
                    self.notes.without_rule(str(self._stack.current), operation.rule.name)
                self._record_use(sites)
        if operation.rule.packed:
            self.notes.unpacked(str(self._stack.current), *operation.packed_weights)
        if operation.multiplies_quantised:
            self.notes.quantised(str(self._stack.current))
        stale = self._computed_before
        if stale and operation.of_data and any(storage_of(each.tensor) in stale for each in operation.operands):
            self.notes.computed_before(str(self._stack.current))
        result = Data(operation.out.numel()) if of_tangents else operation.result(layer)
        if of_tangents:
            self._tangents.add(outputs)
        for output in outputs:
            self._assign(output, result, operation.rule)
            if isinstance(result, Derived):
                result = result.without_places()  # for the other outputs

    def _count_macs(self, operation: Operation, layer: str) -> None:
        macs, dense = operation.macs
        if macs and not self._tangents.are_skipped(operation):
            self.macs[layer] += macs
            self.dense_macs[layer] += dense

    def _record_use(self, sites: Sites) -> None:
        """Record the use of every weight that has a share in a tensor."""
        call = self._stack.current
        tensor, origin = sites.operand.tensor, sites.operand.origin
        whole = max(tensor.numel(), 1)
        for share in shares_of(tensor, origin):
            if share.estimated and call.steps is None:  # a step of a recurrent layer uses all of its weights
                self.notes.estimated(str(call))
            if share.packed and whole > share.size:
                self.notes.unpacked(str(call), whole, share.size)
            share = share.as_stored()
            use = self.uses[Place(share.owner or call.layer, share.storage, share.region)]
            weight, elements = (share.storage, share.region), share.elements
            if call.steps is not None:
                before = call.steps.get(weight, 0)
                elements = min(elements, share.size - before)
                call.steps[weight] = before + elements
            use.times += call.steps is None or not before
            use.per_use += elements
            use.unshared += share.copies * sites.copies // whole
            use.live += share.live * sites.live // whole
            use.dense += share.dense * sites.dense // whole
            for region in share.more:
                self.uses[Place(share.owner or call.layer, share.storage, region)].times += 0

    def record_outputs(self, out: object, model: nn.Module) -> None:
        """Record a use of weights that no operation used, in the output or in a new tensor of the model."""
        used: defaultdict[int, set[Region]] = defaultdict(set)
        for place in self.uses:
            used[place.storage].add(place.region)
        before = set(map(id, self._held_before))
        kept = (tensor for tensor in held_tensors(model) if id(tensor) not in before and not is_lazy(tensor))
        derived = (tensor for tensor in kept if isinstance(self._origins.get(storage_of(tensor)), Derived))
        for tensor in (*(part for output in tensors_in(out) for part in stored(output)), *derived):
            new = []
            for share in shares_of(tensor, self._origin(tensor)):
                regions = used[share.storage]
                if covered({*regions, *share.regions}) > covered(regions):
                    regions.update(share.regions)
                    new.append(share)
            self._record_single_site(tensor, tuple(new))

    def _record_single_site(self, tensor: Tensor, shares: tuple[Share, ...]) -> None:
        """Record one use of the shares in a tensor, at one site."""
        operand = Operand(0, tensor, Derived((Patch.of(tensor, shares),), tensor.numel()))
        self._record_use(Sites(operand, *3 * (tensor.numel(),)))

    # Origins.

    def _with_origins(self, operands: Sequence[tuple[int, Tensor]], rule: Rule) -> list[Operand]:
        """Return the operands that an operation reads, with their origins."""
        if rule.kind == "fresh":
            return []
        known = [Operand(place, tensor, self._origin(tensor)) for place, tensor in operands]
        if rule.overwrites and not known[0].of_data:
            return known[1:]
        learned = self._learned_inputs.among(known, rule, self._stack.calls)
        for operand in learned:
            self._record_single_site(operand.tensor, self._learned_inputs.new_shares(operand, self._stack.calls))
        ids = set(map(id, learned))
        return [operand.as_data() if id(operand) in ids else operand for operand in known]

    def _assign(self, tensor: Tensor, origin: Origin, rule: Rule) -> None:
        """Set the origin of a result. A view keeps the origin of its storage, and a weight stays a weight."""
        former = self._origins.get(storage_of(tensor))
        if former is None:
            self._remember(tensor, origin)
        elif (rule.mutates or rule.outs) and isinstance(former, Constant | Derived):
            self._origins[storage_of(tensor)] = self._written(tensor, former, origin)

    def _written(self, tensor: Tensor, former: Constant | Derived, origin: Origin) -> Origin:
        """Return the origin of a storage after a write to a tensor in it."""
        elements = tensor.untyped_storage().nbytes() // tensor.element_size()
        rest = elements - tensor.numel()
        if isinstance(former, Constant) or not rest:
            return Derived(origin.patches, elements) if isinstance(origin, Derived) else origin
        if isinstance(origin, Data):  # the rest of the weights is placed beside data
            self._record_use(Sites(Operand(0, tensor.new_empty(rest), former.without_places()), *3 * (rest,)))
            return origin
        if not isinstance(origin, Derived):  # a mask: counted as if nothing were masked
            return former
        region = region_of(tensor)
        left = (patch.without(region) for patch in former.patches)
        return Derived((*(patch for patch in left if patch.elements), *origin.patches), elements)

    def _origin(self, tensor: Tensor) -> Origin:
        storage = storage_of(tensor)
        origin = self._origins.get(storage)
        if isinstance(tensor, nn.Parameter) and not isinstance(origin, Root | Data):
            origin = self._root(tensor)  # also a parameter that the pass creates, as lazy layers do
            self.encountered[storage] = (self._stack.current.layer, tensor)
        if origin is None:
            origin = Constant(quantised=is_quantised(tensor.dtype))
            self._remember(tensor, origin)
        return origin

    def _root(self, tensor: Tensor) -> Root:
        root = Root(storage_of(tensor), tensor.element_size())
        self._remember(tensor, root)
        return root

    def _remember(self, tensor: Tensor, origin: Origin) -> None:
        self._alive.append(tensor.untyped_storage())
        self._origins[storage_of(tensor)] = origin
