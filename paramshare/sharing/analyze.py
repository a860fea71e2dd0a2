"""Analyse a model: trace one pass of a copy on the meta device, and add up the uses of each layer."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial

import torch
from torch import Tensor, nn

from paramshare.errors import SpecError
from paramshare.sharing.inputs.sample import Sample, Size, example_inputs, own_dtype
from paramshare.sharing.inputs.suggestions import suggestion
from paramshare.sharing.inputs.validation import check_model
from paramshare.sharing.report import REGIMES, Counts, LayerSharing, Memory, SharingReport, Tie
from paramshare.sharing.report_checks import contradictions, unlinked_products
from paramshare.sharing.tensors.copies import Copier, stray_parameters
from paramshare.sharing.tensors.quantised_layers import bytes_of_element, quantised_layers, quantised_sentence
from paramshare.sharing.tensors.regions import Region, claims, covered, covered_twice, region_of, storage_of
from paramshare.sharing.tensors.wrapper_subclasses import stored
from paramshare.sharing.tracing.batch_of_samples import find_batch
from paramshare.sharing.tracing.device_branches import device_branch
from paramshare.sharing.tracing.module_stack import ROOT
from paramshare.sharing.tracing.trace import Trace, trace
from paramshare.sharing.tracing.values.assumptions import draw_warnings, drawn_again
from paramshare.sharing.tracing.weights.use_notes import is_quantised
from paramshare.sharing.tracing.weights.uses import Use
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
    """Count the parameters of `model` as shared, per use, unshared and dense, with MACs and bytes.

    The count traces one forward pass of a copy on the meta device. The pass computes no values, and `model` is not
    changed.

    Args:
        model: any module, on any device.
        input_size: the size of one sample, without the batch, such as (3, 224, 224); a sequence of sizes for several
            inputs.
        dtypes: the dtypes of the inputs, one for all or one for each (`torch.long` for tokens). Defaults to the
            model's dtype.
        args, kwargs: the arguments of the call with one sample (a batch of 1), in place of a size or beside it. Of a
            larger batch, the first sample is counted, with a warning.
        training: True for a pass in training mode. In evaluation mode some parameters can be unused.
        name: the model's name in the report. Defaults to its class.

    Returns:
        The report, with a row for each layer.

    Raises:
        SpecError: the input is malformed, the model refuses the input, the model has no parameters, or the model
            cannot run without values.
        UsageError: torch traces or transforms the caller.
    """
    check_model(model, "analysed")
    title = name or type(model).__name__
    sample = example_inputs(model, input_size, dtypes, args, kwargs)
    if all(next(each, None) is None for each in (model.parameters(), stray_parameters(model), quantised_layers(model))):
        quantised = any(is_quantised(buffer.dtype) for buffer in model.buffers())
        advice = "its buffers may be quantised weights: give the model before quantisation" if quantised else ""
        raise SpecError(f"{title} has no parameters to count; {advice or 'give a model with parameters'}")
    try:
        clone, traced = _trace(model, training, sample)
    except SpecError as error:
        accepted = suggestion(sample, str(error), own_dtype(model), partial(_is_accepted, model, training))
        raise SpecError(f"{error}{accepted}") from error
    batch = find_batch(sample, traced, partial(_trace, model, training))
    if batch is not None and batch.single is not None:
        sample, clone, traced = batch.single
    strays = dict(stray_parameters(clone))
    weights = _weights(clone, strays)
    unheld = {place.storage: traced.encountered[place.storage] for place in traced.uses if place.storage not in weights}
    weights |= {
        storage: _weights_of([(f"{layer}.", parameter, parameter.requires_grad)])
        for storage, (layer, parameter) in unheld.items()
    }
    untrained = _untrained_warnings(strays, Counter(layer for layer, _ in unheld.values()))
    about_weights = (*untrained, *quantised_sentence(model, clone))
    rows = tuple(_rows(clone, traced, weights))
    totals = Counts.total([row.counts for row in rows], sum(row.counts.shared - row.counts.unused for row in rows))
    elements = sum(covered(weight.regions) for weight in weights.values())
    drawn = drawn_again(traced.drawn, lambda: _trace(model, training, sample)[1].drawn)
    branch = device_branch(sample, traced, lambda other: _trace(model, training, other)[1])
    about_input = (*([batch.sentence] if batch else ()), *([branch] if branch else ()))
    contradicted = (*contradictions(rows, totals, elements), *unlinked_products(clone, traced))
    return SharingReport(
        model=title,
        input=str(sample),
        totals=totals,
        layers=rows,
        ties=tuple(_ties(weights.values())),
        warnings=(*contradicted, *about_input, *about_weights, *traced.warnings, *draw_warnings(drawn)),
    )


def _untrained_warnings(strays: Iterable[str], outside: Mapping[str, int]) -> Iterator[str]:
    """Yield a sentence for each place of parameters that are not in `model.parameters()`.

    Args:
        strays: the paths of attributes that hold such parameters.
        outside: the number of used parameters that the model does not hold, by layer.
    """
    untrained = "they are counted, but an optimizer of `model.parameters()` will not train them"
    for place in strays:
        yield f"{place} holds parameters that are not in `model.parameters()`: {untrained}"
    for layer, number in outside.items():
        yield f"{layer} uses parameters that the model does not hold ({number:,}): {untrained}"


def _trace_once(model: nn.Module, training: bool, sample: Sample) -> tuple[nn.Module, Trace]:
    """Return a copy of the model, which has the hooks of one pass, and the trace of that pass.

    Raises:
        SpecError: the model cannot be copied, or `trace` fails.
    """
    copier = Copier(on_meta=True)
    clone = copier(model).train(training)
    return clone, trace(clone, sample, copier.stand_ins)


def _trace(model: nn.Module, training: bool, sample: Sample) -> tuple[nn.Module, Trace]:
    """Trace a model, with gradients if its forward computes some, and return the copy and the trace.

    Raises:
        SpecError: the model cannot be copied, or `trace` fails.
    """
    try:
        return _trace_once(model, training, sample)
    except SpecError as refusal:
        if not _needs_gradients(refusal):
            raise
    return _trace_once(model, training, replace(sample, gradients=True))


def _needs_gradients(refusal: SpecError) -> bool:
    """Return whether a pass failed because the model's forward computes gradients, which were not recorded."""
    return isinstance(refusal.__cause__, RuntimeError) and "require grad" in str(refusal.__cause__)


def _is_accepted(model: nn.Module, training: bool, sample: Sample) -> bool:
    try:
        _trace_once(model, training, sample)
    except SpecError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Weights:
    """The parameters in one storage.

    Args:
        names, regions: each registered name and the region of its parameter.
        element: bytes of an element; a fraction for quantised weights.
        trainable: True if one of the parameters requires a gradient.
    """

    names: list[str]
    regions: list[Region]
    element: int | Fraction
    trainable: bool


@dataclass(slots=True)
class _Row:
    """The running sums of a layer.

    Args:
        tied: the number of elements that an earlier layer counts, by the name of that layer.
        numbers: elements by regime, and `unused` and `used`.
        weights, trainable: bytes by regime.
        uses: the maximum number of uses of one weight.
    """

    tied: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    numbers: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    weights: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    trainable: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    uses: int = 0

    def add(self, regime: str, elements: int, weight: _Weights) -> None:
        """Add elements to a regime, with their bytes."""
        self.numbers[regime] += elements
        size = int(elements * weight.element)
        self.weights[regime] += size
        self.trainable[regime] += size * weight.trainable

    def add_use(self, use: Use, weight: _Weights) -> None:
        """Add the copies of one weight by regime."""
        self.uses = max(self.uses, use.times)
        for regime, copies in zip(REGIMES[1:], (use.per_use, use.unshared, use.live, use.dense), strict=True):
            self.add(regime, copies, weight)


def _weights(model: nn.Module, strays: Mapping[str, nn.Parameter]) -> dict[int, _Weights]:
    """Return the parameters by storage, with all of their names."""
    by_storage: dict[int, list[tuple[str, Tensor, bool]]] = defaultdict(list)
    for name, parameter in (*model.named_parameters(remove_duplicate=False), *strays.items()):
        for tensor in stored(parameter):
            by_storage[storage_of(tensor)].append((name, tensor, parameter.requires_grad))
    return {storage: _weights_of(named) for storage, named in by_storage.items()}


def _weights_of(named: Sequence[tuple[str, Tensor, bool]]) -> _Weights:
    element = named[0][1].element_size()
    return _Weights(
        [name for name, *_ in named],
        [region_of(tensor, element) for _, tensor, _ in named],
        bytes_of_element(named[0][1]),
        any(trainable for *_, trainable in named),
    )


def _rows(model: nn.Module, traced: Trace, weights: Mapping[int, _Weights]) -> Iterator[LayerSharing]:
    """Yield a row for each module that uses or owns weights or has MACs, in the model's order."""
    kinds = {path or ROOT: type(module).__name__ for path, module in model.named_modules()}
    order = {layer: number for number, layer in enumerate(kinds)}
    rows = {layer: _Row() for layer in kinds}
    users: dict[int, dict[str, list[Region]]] = defaultdict(lambda: defaultdict(list))
    for place, use in traced.uses.items():
        users[place.storage][place.layer].append(place.region)
        rows[place.layer].add_use(use, weights[place.storage])
    for storage, weight in weights.items():
        regions = {layer: users[storage][layer] for layer in sorted(users[storage], key=order.__getitem__)}
        _add_claims(rows, weight, regions)
    for layer, row in rows.items():
        if row.uses or row.numbers["unused"] or traced.macs[layer]:
            yield LayerSharing(layer, kinds[layer], row.uses, dict(row.tied), _counts(row, traced, layer))


def _add_claims(rows: Mapping[str, _Row], weight: _Weights, users: Mapping[str, list[Region]]) -> None:
    """Count each element of one storage in the first layer that uses the element, else in the first that owns it.

    Args:
        rows: the rows by layer.
        weight: the parameters in the storage.
        users: the regions that each layer uses, in the model's order.
    """
    layers = list(users)
    claimed_by = claims([*users.values(), *([region] for region in weight.regions)])
    for layer, claimed in zip(layers, claimed_by, strict=False):
        row = rows[layer]
        row.numbers["used"] += sum(claimed.values())
        for number, elements in claimed.items():
            if layers[number] == layer:
                row.add("shared", elements, weight)
            else:
                row.tied[layers[number]] += elements
    for number, name in enumerate(weight.names, len(layers)):
        if unused := claimed_by[number].get(number):
            row = rows[name.rpartition(".")[0] or ROOT]
            row.add("shared", unused, weight)
            row.numbers["unused"] += unused


def _counts(row: _Row, traced: Trace, layer: str) -> Counts:
    numbers = {name: row.numbers[name] for name in (*REGIMES, "unused", "used")}
    memory = {regime: Memory(row.weights[regime], row.trainable[regime]) for regime in REGIMES}
    return Counts(**numbers, macs=traced.macs[layer], dense_macs=traced.dense_macs[layer], memory=memory)


def _ties(weights: Iterable[_Weights]) -> Iterator[Tie]:
    """Yield the groups of names in one storage whose elements overlap."""
    for weight in weights:
        if len(weight.names) < 2:
            continue
        claimed_by = claims([[region] for region in weight.regions])
        tied = {
            name_number
            for number, claimed in enumerate(claimed_by)
            for first in claimed
            if first != number
            for name_number in (first, number)
        }
        if tied:
            yield Tie(tuple(weight.names[number] for number in sorted(tied)), covered_twice(weight.regions))
