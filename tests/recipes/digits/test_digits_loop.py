"""A run on digits is its spec's, bit for bit, it ends when its net fits, and what its numbers say."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from paramshare.recipes.digits.images import placed
from paramshare.recipes.digits.recipe import DigitsRecipe
from paramshare.training.engines import train
from paramshare.training.environment.torch_defaults import torch_defaults
from paramshare.training.result import Result
from paramshare.training.start import drawn_start
from support.specs import DIGITS_VARIANTS, digits_spec, options_of, replace

SMALL = digits_spec(seed=3, channels=4, examples=100, batch_size=20, steps=400, stop_loss=0.3)


EPOCH = 5  # steps


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    with torch_defaults():
        yield


def bits(result: Result) -> list[bytes]:
    weights = [tensor.numpy().tobytes() for tensor in result.net.state_dict().values()]
    return [result.losses.tobytes(), *weights, repr(result.final_metrics).encode()]


@pytest.mark.parametrize("variant", DIGITS_VARIANTS)
def test_a_digits_spec_trains_to_the_same_bits_twice(variant: Any) -> None:
    spec = replace(SMALL, variant=variant, steps=20)
    first = train(spec)
    train(replace(spec, seed=4))
    assert bits(train(spec)) == bits(first)


@pytest.mark.parametrize("variant", DIGITS_VARIANTS)
def test_training_digits_does_not_change_the_global_generators(variant: Any) -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    train(replace(SMALL, variant=variant, steps=10))
    assert torch.get_rng_state().equal(before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]  # type: ignore[index, union-attr]


def test_a_digits_training_ends_after_the_first_epoch_below_its_stop_loss() -> None:
    result = train(SMALL)
    means = result.losses.astype(float).reshape(-1, EPOCH).mean(axis=1)
    assert len(result.losses) == result.final_metrics["final/steps"] < SMALL.steps
    assert len(result.losses) % EPOCH == 0
    assert means[-1] <= options_of(SMALL).stop_loss < means[:-1].min()


def test_a_digits_training_ends_at_its_limit_of_steps() -> None:
    result = train(replace(SMALL, steps=13))
    assert len(result.losses) == result.final_metrics["final/steps"] == 13


def test_a_limit_of_steps_does_not_change_earlier_losses() -> None:
    whole, cut = train(SMALL), train(replace(SMALL, steps=13))
    np.testing.assert_array_equal(cut.losses, whole.losses[:13])


def test_a_stop_loss_of_0_never_ends_a_training() -> None:
    result = train(replace(SMALL, stop_loss=0, steps=150))
    assert len(result.losses) == 150


@pytest.mark.parametrize(
    ("losses", "ended"),
    [
        ([], False), ([0.0], False), ([0.1, 0.2], True), ([0.3, 0.3], True), ([0.3, 0.4], False),
        ([1.0, 0.1, 0.1], False), ([1.0, 0.1, 0.1, 0.1], True), ([1.0, float("nan")], True),
        ([1.0, float("inf")], True),
    ],
)  # fmt: skip
def test_a_digits_training_ends_at_the_end_of_an_epoch_that_fits_or_diverges(losses: list[float], ended: bool) -> None:
    recipe = replace(SMALL, examples=2, batch_size=1, stop_loss=0.3).instance()
    assert (bool(losses) and recipe.should_stop(losses, [])) is ended


def test_a_diverged_digits_training_ends_and_records_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def batches(recipe: DigitsRecipe, data: Any, generator: torch.Generator) -> Iterator[Any]:
        for step, (images, labels) in enumerate(whole(recipe, data, generator)):
            yield (torch.full_like(images, torch.nan) if step == 2 else images), labels

    whole = DigitsRecipe.batches
    monkeypatch.setattr(DigitsRecipe, "batches", batches)  # a high learning rate may leave the loss finite
    result = train(SMALL)
    assert result.diverged_at == 2
    np.testing.assert_array_equal(np.isfinite(result.losses), [True, True, False, False, False])
    monkeypatch.undo()
    assert train(replace(SMALL, steps=10)).diverged_at is None


def test_each_test_digit_is_scored_at_each_offset() -> None:
    result, (digits, digit_labels) = train(SMALL), drawn_start(SMALL).data.test
    recipe = SMALL.instance()
    for name, offsets in (("accuracy", recipe.seen_offsets), ("accuracy_unseen", recipe.unseen_offsets)):
        images = torch.cat([placed(digits, offset, recipe.canvas) for offset in offsets])
        labels = digit_labels.repeat(len(offsets))
        scores = result.net(images).detach()
        right = float((scores.argmax(1) == labels).double().mean())
        assert result.final_metrics[f"final/{name}"] == pytest.approx(right, abs=1e-4)
        if name == "accuracy":
            assert result.final_metrics["final/loss"] == pytest.approx(float(cross_entropy(scores, labels)), rel=1e-4)


def test_a_digits_result_has_named_numbers() -> None:
    result = train(SMALL)
    assert list(result.final_metrics) == ["final/accuracy", "final/accuracy_unseen", "final/loss", "final/steps"]
    assert list(result.curves) == ["train/loss"]
    assert result.curves["train/loss"].dtype == np.float32
    assert result.final_loss == result.losses[-1]
    assert (result.data["features"].shape, result.data["targets"].shape) == ((100, 1, 12, 12), (100,))
    parameters = sum(parameter.numel() for parameter in result.net.parameters())
    assert result.sizes == {"model/parameters": parameters, "model/macs": 144 * 9 * 4 + 36 * 9 * 4 * 8 + 8 * 10}
    assert (result.engine, result.threads) == ("reference", 1)


def test_the_training_data_depend_on_seed_and_placement_and_not_on_the_variant() -> None:
    data = [
        b"".join(tensor.numpy().tobytes() for tensor in train(replace(SMALL, steps=1, **changes)).data.values())  # type: ignore[arg-type]
        for changes in ({}, {"variant": "local"}, {"seed": 4}, {"placement": "plain"})
    ]
    assert data[0] == data[1]
    assert len(set(data)) == 3


def test_plain_digits_have_no_accuracy_at_unseen_offsets() -> None:
    result = train(replace(SMALL, placement="plain", steps=5))
    assert list(result.final_metrics) == ["final/accuracy", "final/loss", "final/steps"]


def test_only_the_shared_net_recognises_digits_at_unseen_offsets() -> None:
    """The experiment itself, on one seed and to a coarser fit: the effect is far larger than what seeds do."""
    spec = digits_spec(seed=0, stop_loss=0.1)
    conv, dense = (train(replace(spec, variant=variant)) for variant in ("conv", "dense"))
    assert conv.final_metrics["final/accuracy_unseen"] > 0.6
    assert dense.final_metrics["final/accuracy_unseen"] < 0.3
    assert dense.final_metrics["final/accuracy"] > 0.8
