"""Test what a training of a recipe is: the plain loop, whose numbers depend on the spec alone."""

import random
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from paramshare.errors import SpecError
from paramshare.recipes.target import Target
from paramshare.training import reference
from paramshare.training.engines import train
from paramshare.training.loop.random_state import derived_seed, restored_random_state, seed_all
from paramshare.training.reference import train_reference
from paramshare.training.start import begin
from support.toy_recipe import Changed

DROPOUT = ("x[:, None]", "nn.functional.dropout(x[:, None], 0.5, self.training)")


def same(one: Any, other: Any) -> bool:
    weights = zip(one.net.state_dict().values(), other.net.state_dict().values(), strict=True)
    curves = np.array_equal(one.losses, other.losses) and one.final_metrics == other.final_metrics
    return curves and all(torch.equal(left, right) for left, right in weights)


def test_the_default_loop_is_the_plain_loop(toy: Target) -> None:
    spec = toy.new(seed=5)
    result = train_reference(spec)

    with restored_random_state():
        seed_all(5)
        recipe = spec.instance()
        data = recipe.data(torch.Generator().manual_seed(derived_seed(5, "data")))
        model = recipe.model()
        order = torch.Generator().manual_seed(derived_seed(5, "order"))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        losses = []
        x, y = data.train
        for _ in range(2):  # epochs of 5 batches; 6 steps are trained
            for batch in torch.randperm(20, generator=order).view(5, 4):
                loss = (model(x[batch]) - y[batch]).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                if len(losses) == 6:
                    break
        with torch.no_grad():
            error = float((model(data.test[0]) - data.test[1]).abs().mean())
    assert result.losses.tolist() == np.array(losses[:6], dtype=np.float32).tolist()
    assert result.final_metrics == {"final/error": error}


@pytest.mark.parametrize("variant", ["conv", "local", "wide", "twice"])
def test_a_spec_gives_the_same_bits_again_and_leaves_random_state_alone(toy: Target, variant: str) -> None:
    spec = toy.new(seed=1, variant=variant)
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    states = (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist())
    first = train(spec)
    assert states == (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist())
    torch.manual_seed(4)
    assert same(first, train(spec))


def test_variants_start_as_one_function_on_the_same_data_in_the_same_order(toy: Target) -> None:
    conv, local, twice = (train_reference(toy.new(seed=2, variant=name)) for name in ("conv", "local", "twice"))
    np.testing.assert_allclose(local.losses[0], conv.losses[0], rtol=1e-6)
    assert same(conv, twice)
    assert not same(conv, local)
    assert all(torch.equal(conv.data[name], local.data[name]) for name in conv.data)


def test_what_is_drawn_in_training_does_not_depend_on_the_variant(changed: Changed) -> None:
    target = changed('"twice": lambda model: model', '"twice": lambda model: (torch.rand(3), model)[1]', *DROPOUT)
    assert same(train_reference(target.new(seed=2)), train_reference(target.new(seed=2, variant="twice")))


def test_the_sizes_of_each_variant_are_counted(toy: Target) -> None:
    sizes = {name: train_reference(toy.new(seed=0, variant=name)).sizes for name in ("conv", "local", "wide")}
    assert sizes["conv"] == {"model/parameters": 16.0, "model/macs": 75.0}
    assert sizes["local"] == {"model/parameters": 100.0, "model/macs": 75.0}
    assert sizes["wide"] == {"model/parameters": 26.0, "model/macs": 125.0}


def test_other_numbers_of_a_step_are_curves(changed: Changed) -> None:
    target = changed("return (model(x) - y).square().mean()", "return (model(x) - y).square().mean(), {'first': y[0]}")
    result = train_reference(target.new(seed=0))
    assert list(result.curves) == ["train/loss", "train/first"]
    assert set(result.curves["train/first"]) <= {-1.0, 1.0}


def test_progress_is_reported_with_the_curves_so_far_and_changes_no_number(
    changed: Changed, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, lengths = changed(*DROPOUT), []

    def report(started: float, curves: Mapping[str, NDArray[Any]]) -> None:
        torch.rand(1)
        assert started < time.time()
        lengths.append(len(curves["train/loss"]))

    plain = train_reference(target.new(seed=0), on_progress=report)
    assert lengths == []  # it is short
    monkeypatch.setattr(reference, "_FIRST_REPORT", 0)
    monkeypatch.setattr(reference, "_REPORT_EVERY", 0)
    assert same(train_reference(target.new(seed=0), on_progress=report), plain)
    assert lengths == [1, 2, 3, 4, 5, 6]


def test_evaluations_while_it_trains_are_curves_and_change_no_number(changed: Changed) -> None:
    target = changed("steps: int = 6", "steps: int = 6\n        evaluate_every: int = 0", *DROPOUT)
    plain, evaluated = (train_reference(target.new(seed=0, evaluate_every=every)) for every in (0, 2))
    curve = evaluated.curves["evaluation/error"]
    assert np.ma.getmaskarray(curve).tolist() == [True, False] * 3
    assert curve[-1] == evaluated.final_metrics["final/error"]
    assert same(plain, replace(evaluated, values={}))


def test_a_recipe_can_stop_early(changed: Changed) -> None:
    target = changed(
        "def model(", "def should_stop(self, losses, evaluations):\n        return len(losses) == 3\n\n    def model("
    )
    assert len(train_reference(target.new(seed=0)).losses) == 3


def test_a_recipe_can_have_a_loop_of_its_own(changed: Changed) -> None:
    loop = (
        "def fit(self, model, data, generator):\n        yield from (3.0, ps.Step(2.0, {'extra': 1}))\n\n    def model("
    )
    result = train_reference(changed("def model(", loop).new(seed=0))
    assert result.losses.tolist() == [3.0, 2.0]
    assert result.curves["train/extra"].tolist()[1:] == [1.0]


@pytest.mark.parametrize(
    "option", ["clip_norm: float | None = 0.01", "momentum: float = 0.9", "weight_decay: float = 0.1"]
)
def test_the_options_of_the_default_loop_have_an_effect(toy: Target, changed: Changed, option: str) -> None:
    plain = train_reference(toy.new(seed=0)).losses
    assert not np.array_equal(
        train_reference(changed("steps: int", f"{option}\n        steps: int").new(seed=0)).losses, plain
    )


@pytest.mark.parametrize(("precision", "near"), [("bfloat16", 0.05), ("float16", 0.5)])  # float16 skips early steps
def test_mixed_precision_is_near_full_precision(toy: Target, changed: Changed, precision: str, near: float) -> None:
    plain = train_reference(toy.new(seed=0)).losses
    mixed = train_reference(
        changed("steps: int", f'precision: str = "{precision}"\n        steps: int').new(seed=0)
    ).losses
    np.testing.assert_allclose(mixed, plain, rtol=near)
    assert not np.array_equal(mixed, plain)


def test_a_scheduler_changes_the_learning_rate(toy: Target, changed: Changed) -> None:
    schedule = "torch.optim.lr_scheduler.StepLR(optimizer, 2)"
    method = f"def scheduler(self, optimizer):\n        return {schedule}\n\n    def model("
    scheduled = train_reference(changed("def model(", method).new(seed=0)).losses
    plain = train_reference(toy.new(seed=0)).losses
    assert np.array_equal(scheduled[:3], plain[:3])
    assert not np.array_equal(scheduled, plain)


def test_a_diverged_training_names_the_step(toy: Target) -> None:
    result = train_reference(toy.new(seed=0, learning_rate=1e30, steps=20))
    assert result.diverged_at is not None
    assert not np.isfinite(result.losses[result.diverged_at])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (".square().mean()", ".square()", r"loss returns a tensor of shape \(4, 1\); expected a tensor"),
        (".square().mean()", ".square().mean().item()", "loss returns float; expected a tensor with one element"),
        ('{"error": ', '{"eror": ', "evaluate lacks error and returns eror, not declared in metrics; expected error"),
        ("return ps.Data(train=", "return dict(train=", r"data returns dict; expected ps.Data\(train=..., test=...\)"),
        ("return Net(self.options.width)", "return 3", "model returns int; expected a torch.nn.Module"),
        ("return Net(self.options.width)", "return nn.ReLU()", "a module without trainable parameters"),
        ("return Net(self.options.width)", "return Net(3).to('meta')", "model returns a module on meta; build"),
        ("torch.randn(20, 8, generator=generator)", "torch.empty(20, 8, device='meta')", "data returns tensors on"),
        ("batch_size: int = 4", "batch_size: int = 21", "batch_size is 21, and there are 20 examples"),
        ("targets(x)), test", "targets(x[1:])), test", r"the training data have tensors of \[19, 20\] examples"),
    ],
)  # fmt: skip
def test_a_recipe_that_cannot_be_trained_is_one_line(changed: Changed, old: str, new: str, message: str) -> None:
    target = changed(old, new)
    with pytest.raises(SpecError, match=message):
        train_reference(target.new(seed=0))


def test_a_start_is_on_the_cpu_in_training_mode(toy: Target) -> None:
    with restored_random_state():
        start = begin(toy.new(seed=0))
    assert start.model.training
    assert start.example[0].shape == (1, 8)
