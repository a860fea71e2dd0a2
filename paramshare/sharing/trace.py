"""One forward pass on the meta device, watched: which weight is used where, how often, and with what.

Each tensor's origin is known by its storage; `accounts` says what an operation makes of its operands' origins. Tensors
that a model makes on the CPU keep their values, so that constants can be read; what lies on the meta device has none,
and `guesses` answers for it.
"""

import re
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from paramshare.errors import SpecError
from paramshare.sharing.accounts import Operand, Operation, Sites
from paramshare.sharing.guesses import Guesses
from paramshare.sharing.inputs import Sample, described
from paramshare.sharing.operations import Rule, operands_of, rule_of
from paramshare.sharing.origins import CONSTANT, Constant, Data, Derived, Origin, Root, merged, shares_of
from paramshare.sharing.outcomes import Outcomes
from paramshare.sharing.regions import Region, size_of

__all__ = ["ROOT", "Place", "Trace", "Use", "trace"]

ROOT: Final = "(model)"
"""What the model itself is called, whose own name is empty."""

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
        warnings: what could not be seen or was assumed.
    """

    uses: Mapping[Place, Use]
    macs: Mapping[str, int]
    dense_macs: Mapping[str, int]
    warnings: tuple[str, ...]


def trace(model: nn.Module, sample: Sample) -> Trace:
    """Watch one forward pass of `model`.

    Args:
        model: on the meta device and nobody else's: hooks are put on it and stay there.
        sample: what it is called with.

    Raises:
        SpecError: the model refuses the sample, or cannot be followed without values; the message names the layer.
    """
    watch = _Watch(model, sample)
    with torch.no_grad(), warnings.catch_warnings(), _compiling_nothing(), watch.guesses.watching_draws():
        warnings.simplefilter("ignore")  # what a pass warns of, it warns of where it is run for its values
        try:
            with watch:
                model(*sample.args, **sample.kwargs)
        except Exception as error:  # whatever a model's own code raises
            raise SpecError(watch.refusal(error, sample)) from error
    return Trace(watch.uses, watch.macs, watch.dense_macs, (*watch.guesses.warnings(), *watch.unknown_uses()))


@dataclass(frozen=True, slots=True)
class _Call:
    """A module that is being called.

    Args:
        layer: its name.
        module: the module; None for the caller of the model.
        inputs: what it was called with.
        steps: where repeated uses of a weight within a call are time steps of one use: how many elements of each were
            used so far. Else None.
    """

    layer: str
    module: nn.Module | None
    inputs: tuple[object, ...]
    steps: dict[tuple[int, Region], int] | None = None

    def __str__(self) -> str:
        return f"{self.layer} ({type(self.module).__name__})" if self.module is not None else self.layer


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation of a pass below autograd and keeps the books."""

    def __init__(self, model: nn.Module, sample: Sample) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.uses: defaultdict[Place, Use] = defaultdict(Use)
        self.macs: Counter[str] = Counter()
        self.dense_macs: Counter[str] = Counter()
        self.guesses = Guesses()
        self._outcomes = Outcomes()
        self._unknown: Counter[tuple[str, str]] = Counter()
        self._calls = [_Call(ROOT, None, sample.args)]
        self._failure: tuple[BaseException | None, _Call] = (None, self._calls[0])
        self._origins: dict[int, Origin] = {}
        self._alive: list[torch.UntypedStorage] = []  # a storage that ended would give its address to another
        self._unreadable: set[int] = set()
        for leaf in tree_leaves((sample.args, dict(sample.kwargs))):
            if isinstance(leaf, Tensor):
                self._remember(leaf, Data(leaf.numel()))
        for parameter in model.parameters():
            if not is_lazy(parameter):
                self._origin(parameter)
        for name, module in model.named_modules():
            module.register_forward_pre_hook(self._entering(name or ROOT), prepend=True, with_kwargs=True)
            module.register_forward_hook(self._leaving, always_call=True)

    # Whose operation it is.

    def _entering(self, layer: str) -> Callable[[nn.Module, tuple[object, ...], dict[str, object]], None]:
        def enter(module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
            steps: dict[tuple[int, Region], int] | None = {} if isinstance(module, nn.RNNBase) else None
            self._calls.append(_Call(layer, module, (*args, *kwargs.values()), steps))

        return enter

    def _leaving(self, _module: nn.Module, _args: object, _out: object) -> None:
        call, error = self._calls.pop(), sys.exc_info()[1]
        if error is not None and error is not self._failure[0]:  # the innermost call that it leaves, or has left
            self._failure = (error, call)

    def refusal(self, error: Exception, sample: Sample) -> str:
        """One line: which layer refused what, and why."""
        call = self._failure[1] if error is self._failure[0] else self._calls[-1]
        lines = (line.strip() for line in str(error).splitlines())
        reason = next((line for line in lines if line), type(error).__name__)
        follow = isinstance(error, NotImplementedError) or re.search(r"\bmeta\b", reason)
        what = "cannot be followed without values" if follow else "refuses its input"
        given = ", ".join(map(described, call.inputs)) or "nothing"
        own = call.module.named_parameters(recurse=False) if call.module is not None else ()
        has = "".join(f", {name} {described(parameter)}" for name, parameter in own if not is_lazy(parameter))
        return f"given one sample of {sample}, {call} {what} (input {given}{has}): {reason}"

    def unknown_uses(self) -> Iterator[str]:
        """A sentence for each operation that used weights and for which no rule is known."""
        for (place, name), times in self._unknown.items():
            often = f", {times:,} times" if times > 1 else ""
            yield f"{place} uses weights in {name}{often}, for which no rule is known: counted as one site"

    # Running an operation.

    def __torch_dispatch__(
        self, func: OpOverload[Any, Any], _types: object, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> object:
        """Run one operation and keep the books on it."""
        kwargs, rule = kwargs or {}, rule_of(func)
        if rule.composite:
            with self:
                taken_apart: object = func.decompose(*args, **kwargs)
            if taken_apart is not NotImplemented:
                return taken_apart
        if func.overloadpacket is _aten._local_scalar_dense:
            return self._read(func, args[0])
        operands = [(place, tensor) for place, tensor in operands_of(args, kwargs) if not is_lazy(tensor)]
        result = self._run(func, rule, args, kwargs, [tensor for _, tensor in operands])
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if outputs:
            operation = Operation(func, rule, args, self._with_origins(operands, rule), outputs[0])
            if not operation.is_upkeep:
                self._account(operation, outputs)
        return result

    def _read(self, func: OpOverload[Any, Any], tensor: Tensor) -> object:
        """A number out of a tensor: its own where that is known."""
        if not tensor.is_meta and tensor.untyped_storage()._cdata not in self._unreadable:
            return func(tensor)
        origin = self._origin(tensor)
        source = "a constant" if isinstance(origin, Constant) else "the data" if isinstance(origin, Data) else "weights"
        return self.guesses.value(tensor, source, str(self._calls[-1]))

    def _run(
        self,
        func: OpOverload[Any, Any],
        rule: Rule,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        operands: Sequence[Tensor],
    ) -> object:
        """What an operation gives: on the CPU where all that it is given lies there, else on the meta device."""
        on_meta = [tensor.is_meta for tensor in operands]
        device = kwargs.get("device")
        if device is not None and (any(on_meta) or torch.device(device).type != "cpu"):
            kwargs = {**kwargs, "device": torch.device("meta")}
        if not any(on_meta):
            return func(*args, **kwargs)
        if rule.mutates and isinstance(args[0], Tensor) and not args[0].is_meta:
            self._unreadable.add(args[0].untyped_storage()._cdata)
            return args[0]
        if not all(on_meta):
            args, kwargs = tree_map_only(Tensor, _on_meta, (tuple(args), kwargs))
        if func.overloadpacket in (_aten.index, _aten.index_put, _aten.index_put_):
            args = (args[0], self._indices(args[1]), *args[2:])
        guessed = self.guesses.outcome(func, args, kwargs, str(self._calls[-1]))
        return self._outcomes.run(func, args, kwargs) if guessed is None else guessed

    def _indices(self, given: Sequence[Tensor | None]) -> list[Tensor | None]:
        """An index's tensors, a mask as the indices of what it selects."""
        indices: list[Tensor | None] = []
        for index in given:
            if index is not None and index.dtype in (torch.bool, torch.uint8):
                indices += map(_on_meta, self.guesses.index(index, str(self._calls[-1])))
            else:
                indices.append(index)
        return indices

    # The books.

    def _account(self, operation: Operation, outputs: Sequence[Tensor]) -> None:
        layer = self._calls[-1].layer
        macs, dense = operation.macs()
        if macs:
            self.macs[layer] += macs
            self.dense_macs[layer] += dense
        if operation.of_data:
            for sites in operation.sites():
                if not sites.known:
                    self._unknown[str(self._calls[-1]), operation.rule.name] += 1
                self._use(sites)
        result = operation.result(layer)
        for output in outputs:
            self._assign(output, result, operation.rule)

    def _use(self, sites: Sites) -> None:
        """Book the use of every weight that a tensor has a share of."""
        call = self._calls[-1]
        tensor, origin = sites.operand.tensor, sites.operand.origin
        whole = max(tensor.numel(), 1)
        for share in shares_of(tensor, origin):
            use = self.uses[Place(share.owner or call.layer, share.storage, share.region)]
            weight, elements = (share.storage, share.region), share.elements
            if call.steps is not None:
                before = call.steps.get(weight, 0)
                elements = min(elements, size_of(share.region) - before)
                call.steps[weight] = before + elements
            use.times += call.steps is None or not before
            use.per_use += elements
            use.unshared += share.copies * sites.copies // whole
            use.live += share.live * sites.live // whole
            use.dense += share.dense * sites.dense // whole

    # Where tensors come from.

    def _with_origins(self, operands: Sequence[tuple[int, Tensor]], rule: Rule) -> list[Operand]:
        """The operands that an operation reads, with their origins."""
        if rule.kind == "fresh":
            return []
        found = [Operand(place, tensor, self._origin(tensor)) for place, tensor in operands]
        if rule.overwrites and not found[0].of_data:
            return found[1:]
        return found

    def _assign(self, tensor: Tensor, origin: Origin, rule: Rule) -> None:
        """Note where a result comes from. Views have their storage's origin, and weights stay weights."""
        storage = tensor.untyped_storage()
        former = self._origins.get(storage._cdata)
        if former is None:
            self._remember(tensor, origin)
        elif rule.mutates and isinstance(former, Constant | Derived):
            self._origins[storage._cdata] = self._written(tensor, former, origin)

    def _written(self, tensor: Tensor, former: Constant | Derived, origin: Origin) -> Origin:
        """What a storage holds after a tensor in it was written."""
        elements = tensor.untyped_storage().nbytes() // tensor.element_size()
        rest = elements - tensor.numel()
        if isinstance(former, Constant) or not rest:
            return Derived(origin.shares, elements) if isinstance(origin, Derived) else origin
        if isinstance(origin, Data):  # what is left of the weights stands beside it
            self._use(Sites(Operand(0, tensor.new_empty(rest), former), *3 * (rest,)))
            return origin
        added = origin.shares if isinstance(origin, Derived) else ()
        return Derived(merged((*former.shares, *added)), elements)

    def _origin(self, tensor: Tensor) -> Origin:
        storage = tensor.untyped_storage()
        found = self._origins.get(storage._cdata)
        if isinstance(tensor, nn.Parameter) and not isinstance(found, Root):
            found = Root(storage._cdata)  # also one that the pass has made of a tensor, as lazy layers do
            self._remember(tensor, found)
        if found is None:
            found = CONSTANT
            self._remember(tensor, found)
        return found

    def _remember(self, tensor: Tensor, origin: Origin) -> None:
        storage = tensor.untyped_storage()
        self._alive.append(storage)
        self._origins[storage._cdata] = origin


def _on_meta(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_meta else torch.empty_like(tensor, device="meta")


def _compiling_nothing() -> AbstractContextManager[object]:
    """Let compiled functions run as they were written. Nothing is compiled where the compiler was never loaded."""
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    eager: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return eager
