"""A seed determines a run's data, start and batches, the same for every variant, and no digit of the
test is trained on.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from paramshare.recipes.digits.dataset import DIGITS
from paramshare.recipes.digits.images import load_digits, placed
from paramshare.recipes.spec import Spec
from paramshare.training.start import drawn_start
from support.specs import DIGITS_VARIANTS, digits_spec, replace


def batches(spec: Spec) -> Tensor:
    """Return which examples each step of a training sees, (steps, batch_size)."""
    start = drawn_start(spec)
    start.order.set_state(start.recipe._first_epoch)  # type: ignore[attr-defined]
    numbers = torch.arange(len(start.data.train[1]))
    seen = list[Tensor]()
    while len(seen) < spec.steps:
        seen += [batch for batch, _ in start.recipe.batches((numbers, numbers), start.order)]
    return torch.stack(seen[: spec.steps])


def tensors(spec: Spec) -> list[Tensor]:
    data = drawn_start(spec).data
    return [*data.train, *data.test, batches(spec)]


def test_the_digits_are_complete_and_distinct() -> None:
    digits, labels = load_digits()
    assert (digits.shape, digits.dtype) == ((DIGITS, 1, 8, 8), torch.float32)
    assert (float(digits.min()), float(digits.max())) == (0, 1)
    assert labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # UCI's table
    assert len(digits.unique(dim=0)) == DIGITS


@pytest.mark.parametrize("placement", ["moved", "plain"])
def test_every_digit_is_either_trained_on_at_a_seen_offset_or_tested(placement: Any) -> None:
    spec = digits_spec(seed=4, placement=placement)
    start = drawn_start(spec)
    (images, image_labels), (test_digits, test_labels) = start.data.train, start.data.test
    digits, labels = load_digits()
    number = {digit.numpy().tobytes(): at for at, digit in enumerate(digits)}

    trained = []
    for image in images:
        views = {
            offset: image[:, offset[0] : offset[0] + 8, offset[1] : offset[1] + 8].contiguous()
            for offset in start.recipe.seen_offsets
        }
        found = [number[view.numpy().tobytes()] for view in views.values() if view.numpy().tobytes() in number]
        trained.append([at for at in found if digits[at].sum() == image.sum()])  # no pixel lies elsewhere
    tested = [number[digit.numpy().tobytes()] for digit in test_digits]
    assert all(len(found) == 1 for found in trained)
    assert sorted([*(at for (at,) in trained), *tested]) == list(range(DIGITS))
    assert labels[[at for (at,) in trained]].equal(image_labels)
    assert labels[tested].equal(test_labels)


def test_training_sees_each_offset_about_equally_often() -> None:
    spec = digits_spec(seed=4)
    first_row = [int((image.sum(dim=(0, 2)) > 0).nonzero()[0]) for image in drawn_start(spec).data.train[0]]
    assert torch.tensor(first_row).bincount().tolist()[:3] == pytest.approx([333, 333, 333], abs=70)


def test_a_placed_digit_is_at_its_offset_on_an_empty_canvas() -> None:
    digits, _ = load_digits()
    images = placed(digits[:3], (1, 4), 12)
    assert images.shape == (3, 1, 12, 12)
    assert images[:, :, 1:9, 4:12].equal(digits[:3])
    assert images.sum() == digits[:3].sum()


def test_the_draws_of_digits_depend_on_the_seed_only() -> None:
    first, again, other = (tensors(digits_spec(seed=seed, steps=20)) for seed in (5, 5, 6))
    assert all(one.equal(two) for one, two in zip(first, again, strict=True))
    assert not any(one.equal(two) for one, two in zip(first, other, strict=True))


def test_the_variants_of_a_seed_have_the_same_data_and_batches() -> None:
    conv, local, dense = (tensors(digits_spec(seed=5, variant=variant, steps=20)) for variant in DIGITS_VARIANTS)
    assert all(one.equal(two) and one.equal(three) for one, two, three in zip(conv, local, dense, strict=True))


def test_an_epoch_has_each_example_once_in_its_own_order() -> None:
    first, second = batches(digits_spec(seed=5, steps=40)).split(20)
    assert first.flatten().sort().values.equal(torch.arange(1000))
    assert second.flatten().sort().values.equal(torch.arange(1000))
    assert not first.equal(second)


def test_an_epoch_omits_an_incomplete_batch() -> None:
    chosen = batches(digits_spec(seed=5, examples=10, batch_size=4, steps=3))
    assert chosen.shape == (3, 4)
    assert len(chosen[:2].unique()) == 8


def test_a_longer_training_of_digits_begins_with_the_same_draws() -> None:
    spec = digits_spec(seed=5, steps=33)
    longer = replace(spec, steps=100)
    assert batches(spec).equal(batches(longer)[:33])
    short, long = drawn_start(spec).model, drawn_start(longer).model
    assert all(one.equal(two) for one, two in zip(short.parameters(), long.parameters(), strict=True))


def test_the_initial_weights_of_digits_have_the_distribution_of_torchs_defaults() -> None:
    """As of `reset_parameters`: uniform, up to 1 / √inputs."""
    net = drawn_start(digits_spec(seed=5, channels=64, steps=1)).model
    for layer in net.children():
        bound = layer.weight[0].numel() ** -0.5  # type: ignore[union-attr, index, operator]
        for name, values in layer.named_parameters():
            assert values.abs().max() <= bound, name
            assert float(values.detach().abs().mean()) == pytest.approx(bound / 2, rel=0.35)
