"""Test what equal and far mean: to the bit, NaN and infinity included, and by the log of ratios."""

import math

import numpy as np
import pytest

from paramshare.proof.compare import Deviation, Numbers, compare, deviation, within
from paramshare.recipes.spec import Spec
from paramshare.training.engines import train
from support.specs import replace


@pytest.fixture
def numbers(small: Spec) -> Numbers:
    return Numbers.of_result(train(small))


def with_loss(numbers: Numbers, step: int, loss: float) -> Numbers:
    losses = numbers.losses.copy()
    losses[step] = loss
    return replace(numbers, losses=losses)


def test_a_training_equals_itself_with_zero_deviation(numbers: Numbers) -> None:
    compared = compare(numbers, numbers)
    assert compared.equal
    assert (compared.first, compared.first_losses) == (None, None)
    assert compared.deviation == Deviation(0, 0, 0)


def test_a_loss_that_differs_in_its_last_float64_bit_is_a_difference(numbers: Numbers) -> None:
    changed = with_loss(numbers, 7, np.nextafter(numbers.losses[7], 1))  # less than a float32 can tell
    compared = compare(changed, numbers)
    assert not compared.equal
    assert (compared.first, compared.losses, compared.depths, compared.final_metrics, compared.weights) == (
        7,
        1,
        0,
        0,
        0,
    )
    assert compared.first_losses == (changed.losses[7], numbers.losses[7])


@pytest.mark.parametrize("loss", [math.inf, -math.inf, math.nan])
def test_a_loss_that_is_not_finite_equals_only_the_same_value(numbers: Numbers, loss: float) -> None:
    odd = with_loss(numbers, 3, loss)
    assert compare(odd, with_loss(numbers, 3, loss)).equal
    assert compare(odd, numbers).deviation.largest == math.inf
    assert not compare(odd, with_loss(numbers, 3, -1e300)).equal


def test_the_deviation_is_the_log_of_the_ratio(numbers: Numbers) -> None:
    found = deviation(with_loss(numbers, 4, 2 * numbers.losses[4]), numbers)
    assert found.largest == pytest.approx(math.log(2))
    assert found.rms == pytest.approx(math.log(2) / math.sqrt(20))
    assert found.final == 0
    assert deviation(replace(numbers, final_metrics=numbers.final_metrics / 3), numbers).final == pytest.approx(
        math.log(3)
    )


def test_depths_final_losses_and_weights_are_compared(numbers: Numbers) -> None:
    depths = numbers.depths.copy()
    depths[5] += 1
    compared = compare(replace(numbers, depths=depths), numbers)
    assert (compared.first, compared.losses, compared.depths) == (5, 0, 1)
    assert compare(replace(numbers, final_metrics=numbers.final_metrics + 1), numbers).final_metrics == 5
    assert numbers.weights is not None
    name = "input_linear.bias"
    flipped = {**numbers.weights, name: numbers.weights[name].copy()}
    flipped[name].view(np.uint32)[2] ^= 1
    assert compare(replace(numbers, weights=flipped), numbers).weights == 1
    fewer = {other: values for other, values in numbers.weights.items() if other != name}
    assert compare(replace(numbers, weights=fewer), numbers).weights == 6
    assert compare(replace(numbers, weights=None), numbers).weights is None


def test_within_is_up_to_three_times_the_furthest_of_the_bit_flips_in_each_measure() -> None:
    bit_flips = [Deviation(1, 2, 0), Deviation(2, 1, 1)]
    assert within(Deviation(6, 6, 3), bit_flips)
    assert not within(Deviation(6.1, 6, 3), bit_flips)
    assert not within(Deviation(6, 6, 3.1), bit_flips)
    assert not within(Deviation(1e-9, 0, 0), [])
