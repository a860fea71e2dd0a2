"""One forward pass on the meta device, watched: which weight is used where, how often, and with what.

Each tensor's origin is known by its storage; `accounts` says what an operation makes of its operands' origins. What
does not depend on the input or on weights is computed for real if it is small (`values`), so that constants can be
read; `guesses` answers for all other values.
"""

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from paramshare.errors import SpecError
from paramshare.sharing.inputs.sample import Sample
from paramshare.sharing.tensors.copies import held_tensors
from paramshare.sharing.tensors.object_tensors import tensors_in
from paramshare.sharing.tensors.regions import Region, covered, region_of, storage_of
from paramshare.sharing.tensors.wrapper_subclasses import is_plain, stored
from paramshare.sharing.tracing.batch_layout import Layouts
from paramshare.sharing.tracing.eager_mode import as_written
from paramshare.sharing.tracing.learned_inputs import Signals
from paramshare.sharing.tracing.module_stack import ROOT, Calls
from paramshare.sharing.tracing.operations.op_accounting import Operand, Operation, Sites
from paramshare.sharing.tracing.operations.op_rules import Rule, operands_of, rule_of
from paramshare.sharing.tracing.original_tensors import Originals
from paramshare.sharing.tracing.output_iterators import run_to_end
from paramshare.sharing.tracing.values.assumptions import Guesses
from paramshare.sharing.tracing.values.constant_propagation import Values
from paramshare.sharing.tracing.values.loop_limit import EndlessError
from paramshare.sharing.tracing.weights.origins import CONSTANT, Constant, Data, Derived, Origin, Patch, Root, shares_of
from paramshare.sharing.tracing.weights.weight_shares import Share

__all__ = ["Place", "Trace", "Use", "trace"]

_aten = torch.ops.aten


class Place(NamedTuple):
    """Which layer uses which weight.

    Args:
        layer: its name.
        storage: the address of the weight's storage.
        region: where the weight lies in it.
    """

    layer: str
    storage: int
    region: Region


@dataclass(slots=True)
class Use:
    """The uses of one weight by one layer, added up.

    Args:
        times: how often it was used.
        per_use, unshared, live, dense: copies, by regime.
    """

    times: int = 0
    per_use: int = 0
    unshared: int = 0
    live: int = 0
    dense: int = 0


@dataclass(frozen=True, slots=True)
class Trace:
    """What was seen.

    Args:
        uses: by layer and weight.
        macs, dense_macs: by layer.
        met: by storage, the parameters that the pass came upon, and the layer that was the first to use each.
        warnings: what could not be seen or was assumed.
        drawn: the generators that the pass drew from, or another thread meanwhile.
    """

    uses: Mapping[Place, Use]
    macs: Mapping[str, int]
    dense_macs: Mapping[str, int]
    met: Mapping[int, tuple[str, nn.Parameter]]
    warnings: tuple[str, ...]
    drawn: tuple[str, ...]


def trace(model: nn.Module, sample: Sample, stand_ins: Mapping[int, torch.UntypedStorage] | None = None) -> Trace:
    """Watch one forward pass of `model`.

    Args:
        model: on the meta device and nobody else's: hooks are put on it and stay there.
        sample: what it is called with.
        stand_ins: the storages of `model`, each by the address of the storage that it stands for: an original that the
            pass comes upon (by a global name) is taken for its copy. Defaults to none.

    Raises:
        SpecError: the model refuses the sample, or cannot be followed without values; the message names the layer.
    """
    watch, layouts = _Watch(model, sample, stand_ins or {}), Layouts(model, ROOT)
    with sample.recording(), warnings.catch_warnings(), as_written(), watch.guesses.watching_draws(model):
        warnings.simplefilter("ignore")  # what a pass warns of, it warns of where it is run for its values
        try:
            with watch:
                out = run_to_end(model(*sample.args, **sample.kwargs))
        except EndlessError:
            raise
        except Exception as error:  # whatever a model's own code raises
            raise SpecError(watch.refusal(error)) from error
    watch.hand_back(out, model)
    told = (*layouts.warnings(), *watch.guesses.warnings(), *watch.unknown_uses())
    return Trace(watch.uses, watch.macs, watch.dense_macs, watch.met, told, tuple(watch.guesses.drawn))


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation of a pass below autograd and keeps the books."""

    supports_higher_order_operators = True  # only to say which one it is that cannot be followed

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: torch's guard against torch.compile imports `torch._dynamo` (a second); see `as_written`."""
        return False

    def __init__(self, model: nn.Module, sample: Sample, stand_ins: Mapping[int, torch.UntypedStorage]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.uses: defaultdict[Place, Use] = defaultdict(Use)
        self.macs: Counter[str] = Counter()
        self.dense_macs: Counter[str] = Counter()
        self.met: dict[int, tuple[str, nn.Parameter]] = {}
        self.guesses = Guesses()
        self._originals = Originals(stand_ins)
        self._held_before = list(held_tensors(model))
        self._values = Values(self._held_before, self.guesses)
        self._signals = Signals()
        self._unknown: Counter[tuple[str, str]] = Counter()
        self._estimated: dict[str, None] = {}  # in order
        self._around = torch._C._current_autograd_node()  # of a backward pass that the caller is in, mostly None
        self._calls = Calls(model, sample)
        self._origins: dict[int, Origin] = {}
        self._alive: list[torch.UntypedStorage] = []  # a storage that ended would give its address to another
        for given in tensors_in((sample.args, dict(sample.kwargs))):
            for tensor in stored(given):
                self._remember(tensor, Data(tensor.numel()))
        for parameter in model.parameters():
            if not is_lazy(parameter):
                for tensor in stored(parameter):
                    self._root(tensor)

    def refusal(self, error: Exception) -> str:
        """One line: which layer refused what, and why."""
        guess = next(self.guesses.warnings(), "").partition(": ")[0]
        return self._calls.refusal(error) + (f"; this may follow from a guess: {guess}" if guess else "")

    def unknown_uses(self) -> Iterator[str]:
        """A sentence for each operation that used weights and for which no rule is known."""
        for (place, name), times in self._unknown.items():
            often = f", {times:,} times" if times > 1 else ""
            yield f"{place} uses weights in {name}{often}, for which no rule is known: counted as one site"
        for place in self._estimated:
            yield f"{place} uses a part of a rearranged weight: how many of its elements that are is an estimate"

    # Running an operation.

    def __torch_dispatch__(
        self,
        func: OpOverload[Any, Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        """Run one operation and keep the books on it."""
        if not isinstance(func, OpOverload):
            raise NotImplementedError(f"the functions that {func.name()} is given are not watched")
        if not all(map(is_plain, types)):  # its class comes next, and then what it does with the tensors within it
            return NotImplemented
        kwargs, rule = kwargs or {}, rule_of(func)
        args, kwargs = self._originals.replaced(args, kwargs)
        if rule.composite:
            with self:
                taken_apart: object = func.decompose(*args, **kwargs)
            if taken_apart is not NotImplemented:
                return taken_apart
        if func.overloadpacket is _aten._local_scalar_dense:
            return self._read(func, args[0])
        operands = [(place, tensor) for place, tensor in operands_of(rule, args, kwargs) if not is_lazy(tensor)]
        place = str(self._calls.current)
        result = self._values.run(func, rule, args, kwargs, [tensor for _, tensor in operands], place)
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if outputs:
            operation = Operation(func, rule, args, self._with_origins(operands, rule), outputs[0])
            if not operation.is_upkeep:
                self._account(operation, outputs)
        return result

    def _read(self, func: OpOverload[Any, Any], tensor: Tensor) -> object:
        """A number out of a tensor: its own where that is known."""
        if self._values.are_known(tensor):
            return func(self._values.of(tensor))
        origin = self._origin(tensor)
        of_data = isinstance(origin, Data) and not origin.learned
        source = "a constant" if isinstance(origin, Constant) else "the data" if of_data else "weights"
        return self.guesses.value(tensor, source, str(self._calls.current))

    # The books.

    def _account(self, operation: Operation, outputs: Sequence[Tensor]) -> None:
        layer = self._calls.current.layer
        macs, dense = operation.macs
        if macs:
            self.macs[layer] += macs
            self.dense_macs[layer] += dense
        if (
            operation.of_data and torch._C._current_autograd_node() is self._around
        ):  # a gradient of a use is no other use
            for sites in operation.sites():
                if not sites.known:
                    self._unknown[str(self._calls.current), operation.rule.name] += 1
                self._use(sites)
        result = operation.result(layer)
        for output in outputs:
            self._assign(output, result, operation.rule)
            if isinstance(result, Derived):
                result = result.without_places()  # of the further outputs

    def _use(self, sites: Sites) -> None:
        """Book the use of every weight that a tensor has a share of."""
        call = self._calls.current
        tensor, origin = sites.operand.tensor, sites.operand.origin
        whole = max(tensor.numel(), 1)
        for share in shares_of(tensor, origin):
            if share.estimated and call.steps is None:  # a step of a recurrent layer uses all of its weights
                self._estimated[str(call)] = None
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

    def hand_back(self, out: object, model: nn.Module) -> None:
        """Book what the model gives back, or holds now, and has made of weights that nothing else used."""
        used: defaultdict[int, set[Region]] = defaultdict(set)
        for place in self.uses:
            used[place.storage].add(place.region)
        before = set(map(id, self._held_before))
        kept = (tensor for tensor in held_tensors(model) if id(tensor) not in before and not is_lazy(tensor))
        made = (tensor for tensor in kept if isinstance(self._origins.get(storage_of(tensor)), Derived))
        for tensor in (*(part for given in tensors_in(out) for part in stored(given)), *made):
            new = []
            for share in shares_of(tensor, self._origin(tensor)):
                regions = used[share.storage]
                if covered({*regions, *share.regions}) > covered(regions):
                    regions.update(share.regions)
                    new.append(share)
            self._touch(tensor, tuple(new))

    def _touch(self, tensor: Tensor, shares: tuple[Share, ...]) -> None:
        """Book one use of what a tensor has of each weight, at one site."""
        operand = Operand(0, tensor, Derived((Patch.of(tensor, shares),), tensor.numel()))
        self._use(Sites(operand, *3 * (tensor.numel(),)))

    # Where tensors come from.

    def _with_origins(self, operands: Sequence[tuple[int, Tensor]], rule: Rule) -> list[Operand]:
        """The operands that an operation reads, with their origins."""
        if rule.kind == "fresh":
            return []
        found = [Operand(place, tensor, self._origin(tensor)) for place, tensor in operands]
        if rule.overwrites and not found[0].of_data:
            return found[1:]
        signals = self._signals.among(found, rule, self._calls.stack)
        for signal in signals:
            self._touch(signal.tensor, self._signals.new_shares(signal, self._calls.stack))
        given = set(map(id, signals))
        return [operand.as_data() if id(operand) in given else operand for operand in found]

    def _assign(self, tensor: Tensor, origin: Origin, rule: Rule) -> None:
        """Note where a result comes from. Views have their storage's origin, and weights stay weights."""
        former = self._origins.get(storage_of(tensor))
        if former is None:
            self._remember(tensor, origin)
        elif (rule.mutates or rule.outs) and isinstance(former, Constant | Derived):
            self._origins[storage_of(tensor)] = self._written(tensor, former, origin)

    def _written(self, tensor: Tensor, former: Constant | Derived, origin: Origin) -> Origin:
        """What a storage holds after a tensor in it was written."""
        elements = tensor.untyped_storage().nbytes() // tensor.element_size()
        rest = elements - tensor.numel()
        if isinstance(former, Constant) or not rest:
            return Derived(origin.patches, elements) if isinstance(origin, Derived) else origin
        if isinstance(origin, Data):  # what is left of the weights stands beside it
            self._use(Sites(Operand(0, tensor.new_empty(rest), former.without_places()), *3 * (rest,)))
            return origin
        if not isinstance(origin, Derived):  # a mask: all that is left is in use, and counted as if nothing were masked
            return former
        region = region_of(tensor)
        left = (patch.without(region) for patch in former.patches)
        return Derived((*(patch for patch in left if patch.elements), *origin.patches), elements)

    def _origin(self, tensor: Tensor) -> Origin:
        storage = storage_of(tensor)
        found = self._origins.get(storage)
        if isinstance(tensor, nn.Parameter) and not isinstance(found, Root | Data):
            found = self._root(tensor)  # also one that the pass has made, as lazy layers do
            self.met[storage] = (self._calls.current.layer, tensor)
        if found is None:
            found = CONSTANT
            self._remember(tensor, found)
        return found

    def _root(self, tensor: Tensor) -> Root:
        root = Root(storage_of(tensor), tensor.element_size())
        self._remember(tensor, root)
        return root

    def _remember(self, tensor: Tensor, origin: Origin) -> None:
        self._alive.append(tensor.untyped_storage())
        self._origins[storage_of(tensor)] = origin
