"""Analyse a module: clone it to the meta device with its ties, watch one pass, add up what each layer uses."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from paramshare.errors import SpecError
from paramshare.sharing.copies import meta_clone, stray_parameters
from paramshare.sharing.inputs import Size, example_inputs
from paramshare.sharing.regions import Region, covered, covered_twice, region_of, size_of
from paramshare.sharing.report import REGIMES, Counts, LayerSharing, Memory, SharingReport, Tie
from paramshare.sharing.trace import ROOT, Trace, Use, trace

__all__ = ["analyze"]


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
    """
    if not isinstance(model, nn.Module):
        raise SpecError(f"a {type(model).__name__} cannot be analysed; expected a torch.nn.Module")
    title = name or type(model).__name__
    clone = meta_clone(model).train(training)
    sample = example_inputs(clone, input_size, dtypes, args, kwargs)
    strays = dict(stray_parameters(clone))
    if not strays and next(clone.parameters(), None) is None:
        raise SpecError(f"{title} has no parameters: there is nothing to count")
    traced = trace(clone, sample)
    weights = _weights(clone, strays)
    unregistered = (
        f"{place} holds parameters that `model.parameters()` does not give: they are counted, but an optimizer that "
        "is given the model's parameters will not train them"
        for place in strays
    )
    rows = tuple(_rows(clone, traced, weights))
    used = sum(row.counts.shared - row.counts.unused for row in rows)
    return SharingReport(
        model=title,
        input=str(sample),
        totals=Counts.total([row.counts for row in rows], used),
        layers=rows,
        ties=tuple(_ties(weights.values())),
        warnings=(*unregistered, *traced.warnings),
    )


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


def _weights(model: nn.Module, strays: Mapping[str, nn.Parameter]) -> dict[int, _Weights]:
    """The parameters by storage, under every name that they have."""
    found: dict[int, list[tuple[str, Tensor]]] = defaultdict(list)
    for name, parameter in (*model.named_parameters(remove_duplicate=False), *strays.items()):
        found[parameter.untyped_storage()._cdata].append((name, parameter))
    return {
        storage: _Weights(
            [name for name, _ in named],
            [region_of(parameter) for _, parameter in named],
            named[0][1].element_size(),
            any(parameter.requires_grad for _, parameter in named),
        )
        for storage, named in found.items()
    }


def _rows(model: nn.Module, traced: Trace, weights: Mapping[int, _Weights]) -> Iterator[LayerSharing]:
    """A row for each module that uses, multiplies or owns something, in the model's order."""
    uses: dict[str, dict[int, dict[Region, Use]]] = defaultdict(lambda: defaultdict(dict))
    for place, use in traced.uses.items():
        uses[place.layer][place.storage][place.region] = use
    unused = _unused(traced, weights)
    earlier: dict[int, dict[str, list[Region]]] = defaultdict(dict)
    for path, module in model.named_modules():
        layer = path or ROOT
        if not (uses[layer] or unused[layer] or traced.macs[layer]):
            continue
        row = _Row()
        for storage, by_region in uses[layer].items():
            _add_uses(row, by_region, weights[storage], earlier[storage])
            earlier[storage][layer] = list(by_region)
        for storage, elements in unused[layer].items():
            row.add("shared", elements, weights[storage])
            row.numbers["unused"] += elements
        yield LayerSharing(layer, type(module).__name__, row.uses, dict(row.tied), _counts(row, traced, layer))


def _add_uses(row: _Row, uses: Mapping[Region, Use], of: _Weights, earlier: Mapping[str, list[Region]]) -> None:
    """Add what a layer uses of one storage.

    Args:
        earlier: what the layers before it use of that storage.
    """
    here = list(uses)
    used = covered(here)
    before = [region for regions in earlier.values() for region in regions]
    row.add("shared", covered(before + here) - covered(before), of)
    row.numbers["used"] += used
    for layer, regions in earlier.items():
        if both := covered(regions) + used - covered(regions + here):
            row.tied[layer] += both
    for use in uses.values():
        row.uses = max(row.uses, use.times)
        for regime, copies in zip(REGIMES[1:], (use.per_use, use.unshared, use.live, use.dense), strict=True):
            row.add(regime, copies, of)


def _unused(traced: Trace, weights: Mapping[int, _Weights]) -> dict[str, dict[int, int]]:
    """By layer and storage, elements that the pass did not touch, each at the first layer with a name for it."""
    touched: dict[int, list[Region]] = defaultdict(list)
    for place in traced.uses:
        touched[place.storage].append(place.region)
    found: dict[str, dict[int, int]] = defaultdict(dict)
    for storage, of in weights.items():
        seen = list(dict.fromkeys(touched[storage]))
        for name, region in zip(of.names, of.regions, strict=True):
            if region in seen:
                continue
            if elements := covered([*seen, region]) - covered(seen):
                layer = name.rpartition(".")[0] or ROOT
                found[layer][storage] = found[layer].get(storage, 0) + elements
            seen.append(region)
    return defaultdict(dict, found)


def _counts(row: _Row, traced: Trace, layer: str) -> Counts:
    numbers = {name: row.numbers[name] for name in (*REGIMES, "unused", "used")}
    memory = {regime: Memory(row.weights[regime], row.trainable[regime]) for regime in REGIMES}
    return Counts(**numbers, macs=traced.macs[layer], dense_macs=traced.dense_macs[layer], memory=memory)


def _ties(weights: Iterable[_Weights]) -> Iterator[Tie]:
    """The names over one storage, where elements of one are another's too."""
    for of in weights:
        if len(of.names) < 2:
            continue
        tied = [
            number
            for number, region in enumerate(of.regions)
            if covered(others := of.regions[:number] + of.regions[number + 1 :]) + size_of(region)
            > covered([*others, region])
        ]
        if tied:
            yield Tie(tuple(of.names[number] for number in tied), covered_twice(of.regions))
