"""Make the unshared twin of a model, as a real module that can be trained.

`untie` covers ties between parameters and modules, repeated calls of a module, and torch's layers over positions:
convolutions and transposed convolutions, Linear and Bilinear over extra axes, attention, RNNs over time, tables, norms
and PReLU; and weight norm and other parametrizations of convolutions, Linear and Bilinear layers and tables. A warning
names what `untie` does not cover: layers of other classes, tables with `sparse` or `scale_grad_by_freq`, layers whose
input has the batch and positions merged in one axis, functions on parameters, and dense tables and Bilinear layers.
"""

import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from paramshare.errors import SpecError
from paramshare.sharing.inputs.batches import batch_axes
from paramshare.sharing.inputs.sample import Sample, Size, example_inputs
from paramshare.sharing.inputs.validation import check_model
from paramshare.sharing.tensors.copies import Copier, meta_clone
from paramshare.sharing.tensors.quantised_layers import quantised_layers
from paramshare.sharing.tracing.batch_of_samples import find_batch
from paramshare.sharing.tracing.device_branches import device_branch
from paramshare.sharing.tracing.trace import Trace
from paramshare.sharing.tracing.values.assumptions import drawn_again
from paramshare.sharing.twins.captured_weights import check_captured_weights
from paramshare.sharing.twins.depth.repeated_calls import repeated_modules, unroll
from paramshare.sharing.twins.memory_limit import available_memory, check_size
from paramshare.sharing.twins.observed_pass import ObservedPass
from paramshare.sharing.twins.pretrained import keep_untied
from paramshare.sharing.twins.remaining_sharing import remaining_sharing
from paramshare.sharing.twins.space.batch_axis import BatchAxes
from paramshare.sharing.twins.space.unsharing import unshare, unshareable_layers
from paramshare.sharing.twins.ties import untie_names
from paramshare.torch_modes import outside_modes

__all__ = ["AXES", "UntieWarning", "untie"]

AXES: Final = ("tie", "depth", "space", "dense")

_Step = Callable[[nn.Module], nn.Module]


class UntieWarning(UserWarning):
    """A warning that weights stay shared along a requested axis, or were untied on an assumption."""


@outside_modes("untie")
def untie(
    model: nn.Module,
    axes: Iterable[str] = ("tie", "depth", "space"),
    input_size: Size | Sequence[Size] | None = None,
    *,
    dtypes: torch.dtype | Sequence[torch.dtype | None] | None = None,
    args: Sequence[object] | None = None,
    kwargs: Mapping[str, object] | None = None,
    limit: int | None = None,
) -> nn.Module:
    """Return a copy of `model` that computes the same function and does not share its weights along `axes`.

    One pass over one sample on the meta device finds which weights are shared. The pass computes no values, and
    `model` is not changed.

    Args:
        model: any module; the twin shares no memory with the module.
        axes: the axes to untie, out of
            `tie`: each name of a parameter and each place of a module gets its own weights;
            `depth`: a module that is called n times in one pass becomes n copies, and the i-th call uses the i-th copy;
            `space`: convolutions, Linear layers, attention, tables and norms get weights for each position, RNNs for
            each time step;
            `dense`: in place of `space`, these layers become full matrices from all inputs to all outputs. Norms and
            RNNs have no dense form and are untied as with `space`.
            Without `tie`, ties are kept.
        input_size, dtypes, args, kwargs: one sample, as for `analyze`: the first axis is a batch of 1. The twin accepts
            any batch of samples of this size, and at most as many calls in a pass as this sample needs.
        limit: maximum number of bytes of the twin's parameters. Defaults to half of the free memory on the model's
            device, which leaves the other half for gradients.

    Raises:
        SpecError: the model is not a module, or is quantised; an axis is unknown; the model refuses the input; a module
            is called with several sizes; the twin is larger than `limit`; a function within the model holds the model's
            own weights.
        UsageError: torch traces or transforms the caller.

    Warns:
        UntieWarning: weights stay shared along `axes`, or the twin holds for this pass only.
    """
    check_model(model, "untied")
    wanted = _checked_axes(axes)
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        raise SpecError(f"limit is {limit!r}; expected a whole number of bytes, or None")
    if layer := next(quantised_layers(model), None):
        raise SpecError(f"{layer} is quantised, so its weights cannot train; untie the model before quantisation")
    if any(map(is_lazy, model.parameters())):
        raise SpecError("the model has lazy layers without a size; call the model once, then untie it")
    sample = example_inputs(model, input_size, dtypes, args, kwargs)
    sample = _one_sample(model, sample)
    steps = _plan(model, sample, wanted)
    meta_twin = _apply(meta_clone(model), steps)
    check_size(meta_twin, available_memory(model) // 2 if limit is None else limit)
    observed = ObservedPass.of(meta_twin, sample)
    check_captured_weights(model, observed)

    def again(other: Sample) -> Trace:
        return ObservedPass.of(_apply(meta_clone(model), steps), other).trace

    drawn = drawn_again(observed.trace.drawn, lambda: again(sample).drawn)
    branch = device_branch(sample, observed.trace, again)
    if sentences := list(remaining_sharing(observed, wanted, drawn, branch)):
        warnings.warn("; ".join(sentences), UntieWarning, stacklevel=3)
    return keep_untied(_apply(Copier()(model), steps), wanted)


def _checked_axes(axes: Iterable[str]) -> frozenset[str]:
    names = [axes] if isinstance(axes, str) else list(axes) if isinstance(axes, Iterable) else [axes]
    if unknown := [name for name in names if name not in AXES]:
        raise SpecError(f"axes has {', '.join(map(repr, unknown))}; expected some of {', '.join(AXES)}")
    if not names:
        raise SpecError(f"axes is empty; expected some of {', '.join(AXES)}")
    wanted = frozenset(names)
    if {"space", "dense"} <= wanted:
        raise SpecError("axes has both 'space' and 'dense'; give one: dense layers have nothing left to untie in space")
    return wanted


def _one_sample(model: nn.Module, sample: Sample) -> Sample:
    """Return the first sample of a batch; the same sample if it is not a batch."""
    if next(batch_axes(sample), None) is None:
        return sample

    def again(other: Sample) -> tuple[nn.Module, Trace]:
        observed = ObservedPass.of(meta_clone(model), other)
        return observed.model, observed.trace

    batch = find_batch(sample, again(sample)[1], again)
    return batch.single[0] if batch is not None and batch.single is not None else sample


def _plan(model: nn.Module, sample: Sample, wanted: Collection[str]) -> list[_Step]:
    """Return the steps that make the twin. They are tried on the meta device, then applied to a copy with memory."""
    steps: list[_Step] = []

    def observe() -> ObservedPass:
        return ObservedPass.of(_apply(meta_clone(model), steps), sample)

    if "tie" in wanted:
        steps.append(untie_names)
    while "depth" in wanted and (counts := repeated_modules(observe())):  # the outermost modules first
        steps.append(partial(unroll, counts=counts))
    if "space" in wanted or "dense" in wanted:
        single, dense = observe(), "dense" in wanted
        batch_axes = BatchAxes(single, lambda: _apply(meta_clone(model), steps), sample)
        places = unshareable_layers(single, batch_axes, refuse_sizes="depth" not in wanted, dense=dense)
        steps.append(partial(unshare, places=places, dense=dense))
    return steps


def _apply(model: nn.Module, steps: Iterable[_Step]) -> nn.Module:
    for step in steps:
        model = step(model)
    return model
