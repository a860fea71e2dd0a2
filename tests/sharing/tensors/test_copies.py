"""A copy of a model is independent of the model.

Functions, hooks and references that hold the model hold the copy; classes and attributes of tensors are kept; objects
that cannot be copied do not stop the copy.
"""

import functools
import io
import itertools
import random
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing._internal.two_tensor import TwoTensor

from paramshare import SharingReport, analyze
from paramshare.errors import SpecError
from paramshare.sharing.tensors.copies import Copier, meta_clone


def square() -> nn.Linear:
    return nn.Linear(4, 4, bias=False)


class Lambda(nn.Module):
    """A function as a module, as many write it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


# What holds the model.


def by_patched_forward() -> nn.Module:
    model = square()
    former = model.forward
    model.forward = lambda x: 2 * former(x)  # type: ignore[method-assign]
    return model


def by_patched_child() -> nn.Module:
    model = nn.Sequential(square())
    former = model[0].forward

    @functools.wraps(former)
    def forward(*args: Tensor, scale: int = 2, inner: Any = former) -> Tensor:
        result: Tensor = scale * inner(*args)
        return result

    model[0].forward = forward
    return model


class HoldsItself(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = square()
        self.step = Lambda(lambda x: self.layer(x))

    def forward(self, x: Tensor) -> Any:
        return self.step(x)


def by_partial() -> nn.Module:
    model = nn.Sequential(square())
    return nn.Sequential(model, Lambda(functools.partial(lambda module, x: x + module[0].weight.sum(), model)))


def by_hook() -> nn.Module:
    first, second = square(), square()
    first.register_forward_hook(lambda _module, _args, out: second(out))
    return nn.Sequential(first, nn.Sequential(second))


def by_list_of_functions() -> nn.Module:
    layer = square()
    steps = [lambda x: layer(x)]
    model = Lambda(lambda x: steps[0](x))
    model.layer = layer
    return model


def by_weak_reference() -> nn.Module:
    layer = square()
    reference = weakref.ref(layer)
    model = Lambda(lambda x: reference()(x))  # type: ignore[misc]
    model.layer = layer
    return model


def by_weak_method() -> nn.Module:
    layer = square()
    method = weakref.WeakMethod(layer.forward)
    model = Lambda(lambda x: method()(x))  # type: ignore[misc]
    model.layer = layer
    return model


def by_proxy() -> nn.Module:
    layer = square()
    model = Lambda(functools.partial(lambda proxy, x: proxy(x), weakref.proxy(layer)))
    model.layer = layer
    return model


def by_weak_mapping() -> nn.Module:
    layer = square()
    model = Lambda(lambda x: x)
    model.layer, model.scales = layer, weakref.WeakKeyDictionary({layer: 2.0})
    model.forward = lambda x: layer(x) * model.scales[model.layer]  # type: ignore[method-assign]
    return model


class Trainer:
    def __init__(self, model: nn.Module) -> None:
        self.model = model


def by_object() -> nn.Module:
    trainer = Trainer(square())
    model = Lambda(lambda x: trainer.model(x))
    model.layer = trainer.model
    return model


def by_global() -> nn.Module:
    global global_layer
    global_layer = square()
    model = Lambda(lambda x: global_layer(x))
    model.layer = global_layer
    return model


def by_class() -> nn.Module:
    layer = square()

    class Reaches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = layer(x)
            return result

    return Reaches()


@pytest.mark.parametrize(
    "build",
    [
        by_patched_forward, by_patched_child, HoldsItself, by_list_of_functions, by_weak_reference,
        by_weak_method, by_proxy, by_weak_mapping, by_object, by_global, by_class,
    ],
)  # fmt: skip
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_layer_counts_once_in_any_object_that_holds_it(build: Callable[[], nn.Module], device: str) -> None:
    model = build()
    if device == "meta":
        model = model.to("meta")
    report = analyze(model, (4,))
    totals = report.totals
    assert (totals.shared, totals.per_use, totals.unused, totals.macs) == (16, 16, 0, 16)
    assert report.warnings == ()


def test_a_function_over_the_model_and_a_hook_use_the_layers_that_the_report_names() -> None:
    assert [(row.name, row.uses) for row in analyze(HoldsItself(), (4,)).layers] == [("layer", 1)]
    report = analyze(by_hook(), (4,))
    assert [(row.name, row.uses) for row in report.layers] == [("0", 1), ("1.0", 2)]
    assert (report.totals.shared, report.totals.per_use, report.totals.unused) == (32, 48, 0)


def test_weight_used_by_a_partial_function_and_its_layer_counts_once() -> None:
    report = analyze(by_partial(), (4,))
    assert (report.totals.shared, report.totals.unused, report.warnings) == (16, 0, ())


def test_analysis_changes_neither_a_closure_nor_a_global_layer() -> None:
    norm = nn.BatchNorm1d(4)
    calls = 0

    def forward(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        result: Tensor = norm(x)
        return result

    model = Lambda(forward)
    model.norm = norm
    analyze(model, (4, 6), training=True)
    assert calls == 0
    assert norm.num_batches_tracked == 0
    assert torch.equal(norm.running_mean, torch.zeros(4))


def test_functions_without_references_to_the_model_are_not_copied() -> None:
    scale = [2.0]
    model = nn.Sequential(square(), Lambda(lambda x: x * scale[0]))
    assert meta_clone(model)[1].function is model[1].function  # type: ignore[index]


# Tensors' classes and attributes.


class Scaled(nn.Parameter):
    """A parameter of a class of its own, with an attribute."""


class Labelled(Tensor):
    """A tensor of a class of its own."""


class HoldsClasses(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = Scaled(torch.ones(4, 4))
        self.weight.settings = {"scale": torch.ones(2), "name": "w"}  # type: ignore[attr-defined]
        self.register_buffer("mask", torch.ones(4).as_subclass(Labelled))
        self.mask.label = "m"

    def forward(self, x: Tensor) -> Tensor:
        assert type(self.weight) is Scaled
        assert type(self.mask) is Labelled
        return x @ self.weight * self.mask


@pytest.mark.parametrize("on_meta", [True, False])
def test_copy_keeps_the_classes_and_attributes_of_tensors(on_meta: bool) -> None:
    model = HoldsClasses()
    copied = Copier(on_meta)(model)
    assert isinstance(copied, HoldsClasses)
    assert type(copied.weight) is Scaled
    assert copied.weight.requires_grad
    settings = copied.weight.settings  # type: ignore[attr-defined]
    assert settings["name"] == "w"
    assert settings["scale"].is_meta is on_meta
    assert settings["scale"] is not model.weight.settings["scale"]  # type: ignore[attr-defined]
    assert type(copied.mask) is Labelled
    assert copied.mask.label == "m"


def test_model_with_custom_tensor_classes_is_counted() -> None:
    totals = analyze(HoldsClasses(), (4,)).totals
    assert (totals.shared, totals.per_use, totals.macs) == (16, 16, 16)


def test_tensor_class_without_a_list_of_wrapped_tensors_is_refused_in_one_line() -> None:
    class Opaque(Tensor):
        @classmethod
        def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return NotImplemented

    model = square()
    model.register_buffer("opaque", Tensor._make_wrapper_subclass(Opaque, (2,)))  # type: ignore[attr-defined]
    assert "a Opaque does not list the tensors that it wraps" in refused(model)


def test_weights_of_a_wrapper_subclass_are_counted_as_stored() -> None:
    model = square()
    model.weight = nn.Parameter(TwoTensor(torch.randn(4, 4), torch.randn(4, 4)))
    totals = analyze(model, (3, 4)).totals
    assert (totals.shared, totals.per_use, totals.unshared, totals.unused) == (32, 32, 3 * 32, 0)
    assert totals.memory["shared"].weights == totals.memory["shared"].trainable == 32 * 4


# What cannot be copied.


def refused(model: nn.Module, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(SpecError) as error:
        analyze(model, *(args or ((4,),)), **kwargs)
    assert "\n" not in str(error.value)
    return str(error.value)


def with_attribute(value: object) -> nn.Module:
    model = square()
    model.value = value
    return model


@pytest.mark.parametrize(
    "make",
    [
        threading.Lock, threading.RLock, threading.Event, threading.local, torch.Generator, random.Random,
        lambda: (index for index in range(3)), lambda: itertools.cycle([1]), lambda: iter(map(abs, [1])),
        lambda: torch.ones(2, requires_grad=True) * 2, lambda: {"deep": [torch.ones(2, requires_grad=True) * 2]},
        lambda: Trainer(threading.Lock()), lambda: torch.ops.aten.mm.default, lambda: io.StringIO('text'),
    ],
)  # fmt: skip
def test_model_with_attributes_that_cannot_be_copied_is_counted(make: Callable[[], object]) -> None:
    value = make()
    report: SharingReport = analyze(with_attribute(value), (4,))
    assert (report.totals.shared, report.totals.macs, report.warnings) == (16, 16, ())
    if hasattr(value, "close"):
        value.close()


def test_acquired_lock_does_not_stop_the_copy() -> None:
    class Locked(nn.Linear):
        def __init__(self) -> None:
            super().__init__(4, 4, bias=False)
            self.lock = threading.Lock()

        def forward(self, x: Tensor) -> Tensor:
            with self.lock:
                return super().forward(x)

    model = Locked()
    with model.lock:
        assert analyze(model, (4,)).totals.macs == 16


def test_copy_does_not_consume_an_iterator_and_a_pass_that_does_is_refused() -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.depths = square(), (depth for depth in (2, 3))

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(next(self.depths)):
                x = self.layer(x)
            return x

    model = Reads()
    line = refused(model)
    assert "(model) (Reads)" in line
    assert "the model holds a generator, which cannot be copied" in line
    assert next(model.depths) == 2


def test_module_that_cannot_be_copied_is_named_in_the_error() -> None:
    class Single(nn.Linear):
        def __deepcopy__(self, memo: object) -> None:
            raise TypeError("there is only one of me")

    line = refused(nn.Sequential(Single(4, 4)))
    assert line.startswith("a Single cannot be copied (TypeError: there is only one of me)")


def test_copy_keeps_ties_through_a_list_of_objects() -> None:
    layer = square()
    model = Lambda(lambda x: x)
    model.layer, model.trainers = layer, [Trainer(layer), Trainer(layer)]
    copied: Any = meta_clone(model)
    assert copied.trainers[0].model is copied.trainers[1].model is copied.layer
    assert copied.layer is not layer
