"""Analyse a module: clone it to the meta device with its ties, watch one pass, add up what each layer uses."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from paramshare.errors import SpecError
from paramshare.sharing.inputs.sample import Sample, Size, example_inputs
from paramshare.sharing.inputs.suggestions import suggestion
from paramshare.sharing.inputs.validation import check_model
from paramshare.sharing.report import REGIMES, Counts, LayerSharing, Memory, SharingReport, Tie
from paramshare.sharing.report_checks import contradictions, unlinked_products
from paramshare.sharing.tensors.copies import Copier, stray_parameters
from paramshare.sharing.tensors.packed_weights import packed_module
from paramshare.sharing.tensors.regions import Region, claims, covered, covered_twice, region_of, storage_of
from paramshare.sharing.tensors.wrapper_subclasses import stored
from paramshare.sharing.tracing.module_stack import ROOT
from paramshare.sharing.tracing.trace import Trace, Use, trace
from paramshare.sharing.tracing.values.assumptions import draw_warnings, drawn_again
from paramshare.torch_modes import outside_modes

__all__ = ["analyze"]


@outside_modes("a count")
def analyze(
    model: nn.Module,
    input_size: Size | Sequence[Size] | None = None,
    *,
    dtypes: torch.dtype | Sequence[torch.dtype | None] | None = None,
    args: Sequence[object] | None = None,
    kwargs: Mapping[str, object] | None = None,
    training: bool = False,
    name: str | None = None,
) -> SharingReport:
    """What `model` shares: its parameters as shared, per use, unshared and dense, with MACs and bytes.

    One forward pass of a clone on the meta device is watched: nothing is computed, and the model is left as it is.

    Args:
        model: any module, on any device.
        input_size: of one sample, without the batch, such as (3, 224, 224); a sequence of sizes for several inputs.
        dtypes: of the inputs, one for all or one each; the model's own unless given (`torch.long` for tokens).
        args, kwargs: instead of a size, or beside it: what the model is called with, one sample (a batch of 1).
        training: whether the pass is one of training. In evaluation some parameters can stay unused.
        name: what the report calls the model; its class unless given.

    Raises:
        SpecError: the input is malformed or the model refuses it, or the model has no parameters or cannot be followed.
        UsageError: torch traces or transforms the caller.
    """
    check_model(model, "analysed")
    title = name or type(model).__name__
    sample = example_inputs(model, input_size, dtypes, args, kwargs)
    if packed := packed_module(model):
        raise SpecError(f"{packed} has packed weights, which are no parameters: give the model as before quantisation")
    if next(model.parameters(), None) is None and next(stray_parameters(model), None) is None:
        raise SpecError(f"{title} has no parameters: there is nothing to count")
    try:
        clone, traced = _followed(model, training, sample)
    except SpecError as error:
        raise SpecError(f"{error}{suggestion(sample, str(error), partial(_is_accepted, model, training))}") from error
    strays = dict(stray_parameters(clone))
    weights = _weights(clone, strays)
    unheld = {place.storage: traced.met[place.storage] for place in traced.uses if place.storage not in weights}
    weights |= {
        storage: _weights_of([(f"{layer}.", parameter, parameter.requires_grad)])
        for storage, (layer, parameter) in unheld.items()
    }
    unregistered = (
        f"{place} holds parameters that `model.parameters()` does not give: they are counted, but an optimizer that "
        "is given the model's parameters will not train them"
        for place in strays
    )
    elsewhere = (
        f"{layer} uses parameters that the model does not hold ({times:,}): they are counted, but `model.parameters()` "
        "does not give them to an optimizer"
        for layer, times in Counter(layer for layer, _ in unheld.values()).items()
    )
    rows = tuple(_rows(clone, traced, weights))
    totals = Counts.total([row.counts for row in rows], sum(row.counts.shared - row.counts.unused for row in rows))
    elements = sum(covered(of.regions) for of in weights.values())
    drawn = drawn_again(traced.drawn, lambda: _followed(model, training, sample)[1].drawn)
    wrong = (*contradictions(rows, totals, elements), *unlinked_products(clone, traced))
    return SharingReport(
        model=title,
        input=str(sample),
        totals=totals,
        layers=rows,
        ties=tuple(_ties(weights.values())),
        warnings=(*wrong, *unregistered, *elsewhere, *traced.warnings, *draw_warnings(drawn)),
    )


def _traced(model: nn.Module, training: bool, sample: Sample) -> tuple[nn.Module, Trace]:
    """Return a copy that one pass was made of, and the trace of the pass. A pass leaves its hooks on the copy.

    Raises:
        SpecError: as `Copier` and `trace`.
    """
    copier = Copier(on_meta=True)
    clone = copier(model).train(training)
    return clone, trace(clone, sample, copier.stand_ins)


def _followed(model: nn.Module, training: bool, sample: Sample) -> tuple[nn.Module, Trace]:
    """Return what `_traced` does, from a second pass with gradients if the model takes some.

    Raises:
        SpecError: as `_traced`.
    """
    try:
        return _traced(model, training, sample)
    except SpecError as refusal:
        if not _needs_gradients(refusal):
            raise
    return _traced(model, training, replace(sample, gradients=True))


def _needs_gradients(refusal: SpecError) -> bool:
    """Return whether a model was refused since it takes gradients in its forward, which a pass does not record."""
    return isinstance(refusal.__cause__, RuntimeError) and "require grad" in str(refusal.__cause__)


def _is_accepted(model: nn.Module, training: bool, sample: Sample) -> bool:
    try:
        _traced(model, training, sample)
    except SpecError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Weights:
    """The parameters that lie in one storage.

    Args:
        names, regions: each registered name, and what it covers.
        element: bytes of an element.
        trainable: whether one of them requires a gradient.
    """

    names: list[str]
    regions: list[Region]
    element: int
    trainable: bool


@dataclass(slots=True)
class _Row:
    """The numbers of a layer while they are added up.

    Args:
        tied: by the name of an earlier layer, elements that were counted there.
        numbers: elements by regime, and `unused` and `used`.
        weights, trainable: bytes by regime.
        uses: the most that one weight is used.
    """

    tied: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    numbers: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    weights: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    trainable: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    uses: int = 0

    def add(self, regime: str, elements: int, of: _Weights) -> None:
        """Add elements to a regime, with their bytes."""
        self.numbers[regime] += elements
        self.weights[regime] += elements * of.element
        self.trainable[regime] += elements * of.element * of.trainable

    def add_use(self, use: Use, of: _Weights) -> None:
        """Add what one weight's uses would be copies of, by regime."""
        self.uses = max(self.uses, use.times)
        for regime, copies in zip(REGIMES[1:], (use.per_use, use.unshared, use.live, use.dense), strict=True):
            self.add(regime, copies, of)


def _weights(model: nn.Module, strays: Mapping[str, nn.Parameter]) -> dict[int, _Weights]:
    """The parameters by storage, under every name that they have."""
    found: dict[int, list[tuple[str, Tensor, bool]]] = defaultdict(list)
    for name, parameter in (*model.named_parameters(remove_duplicate=False), *strays.items()):
        for tensor in stored(parameter):
            found[storage_of(tensor)].append((name, tensor, parameter.requires_grad))
    return {storage: _weights_of(named) for storage, named in found.items()}


def _weights_of(named: Sequence[tuple[str, Tensor, bool]]) -> _Weights:
    element = named[0][1].element_size()
    return _Weights(
        [name for name, *_ in named],
        [region_of(tensor, element) for _, tensor, _ in named],
        element,
        any(trainable for *_, trainable in named),
    )


def _rows(model: nn.Module, traced: Trace, weights: Mapping[int, _Weights]) -> Iterator[LayerSharing]:
    """A row for each module that uses, multiplies or owns something, in the model's order."""
    kinds = {path or ROOT: type(module).__name__ for path, module in model.named_modules()}
    order = {layer: number for number, layer in enumerate(kinds)}
    rows = {layer: _Row() for layer in kinds}
    users: dict[int, dict[str, list[Region]]] = defaultdict(lambda: defaultdict(list))
    for place, use in traced.uses.items():
        users[place.storage][place.layer].append(place.region)
        rows[place.layer].add_use(use, weights[place.storage])
    for storage, of in weights.items():
        _add_claims(rows, of, {layer: users[storage][layer] for layer in sorted(users[storage], key=order.__getitem__)})
    for layer, row in rows.items():
        if row.uses or row.numbers["unused"] or traced.macs[layer]:
            yield LayerSharing(layer, kinds[layer], row.uses, dict(row.tied), _counts(row, traced, layer))


def _add_claims(rows: Mapping[str, _Row], of: _Weights, users: Mapping[str, list[Region]]) -> None:
    """Give each element of one storage to the first layer that uses it, else to the first with a name for it.

    Args:
        rows: by layer.
        users: what each layer uses of the storage, in the model's order.
    """
    layers = list(users)
    found = claims([*users.values(), *([region] for region in of.regions)])
    for layer, claimed in zip(layers, found, strict=False):
        row = rows[layer]
        row.numbers["used"] += sum(claimed.values())
        for number, elements in claimed.items():
            if layers[number] == layer:
                row.add("shared", elements, of)
            else:
                row.tied[layers[number]] += elements
    for number, name in enumerate(of.names, len(layers)):
        if idle := found[number].get(number):
            row = rows[name.rpartition(".")[0] or ROOT]
            row.add("shared", idle, of)
            row.numbers["unused"] += idle


def _counts(row: _Row, traced: Trace, layer: str) -> Counts:
    numbers = {name: row.numbers[name] for name in (*REGIMES, "unused", "used")}
    memory = {regime: Memory(row.weights[regime], row.trainable[regime]) for regime in REGIMES}
    return Counts(**numbers, macs=traced.macs[layer], dense_macs=traced.dense_macs[layer], memory=memory)


def _ties(weights: Iterable[_Weights]) -> Iterator[Tie]:
    """The names over one storage, where elements of one are another's too."""
    for of in weights:
        if len(of.names) < 2:
            continue
        found = claims([[region] for region in of.regions])
        tied = {
            one
            for number, claimed in enumerate(found)
            for first in claimed
            if first != number
            for one in (first, number)
        }
        if tied:
            yield Tie(tuple(of.names[number] for number in sorted(tied)), covered_twice(of.regions))
