"""A training that cannot fit is refused with its size, by a bound that no training stays below."""

from math import prod

import pytest

from paramshare.errors import SpecError
from paramshare.recipes.digits.net import DigitsNet
from paramshare.recipes.dynamicnet.net import DynamicNet
from paramshare.recipes.dynamicnet.recipe import TrainSpec
from paramshare.recipes.dynamicnet.variants import VariantName
from paramshare.training.environment.memory import check_memory, least_memory
from support.specs import digits_spec

FLOAT = 4  # bytes


@pytest.mark.parametrize("variant", ["shared", "untied"])
@pytest.mark.parametrize(("momentum", "copies"), [(0.9, 3), (0, 2)])
def test_the_memory_bound_of_dynamicnet_covers_parameters_gradients_velocities_and_data(
    variant: VariantName, momentum: float, copies: int
) -> None:
    spec = TrainSpec(
        seed=0, variant=variant, batch_size=5, input_size=7, hidden_size=11, output_size=3, momentum=momentum, steps=1
    )
    net = DynamicNet(7, 11, 3, variant)
    numbers = copies * sum(prod(parameter.shape) for parameter in net.parameters()) + 5 * (7 + 3)
    assert FLOAT * numbers <= least_memory(spec) <= FLOAT * numbers + 16


def test_the_memory_bound_of_digits_is_that_of_its_smallest_net() -> None:
    spec = digits_spec(seed=0, variant="local", channels=6, steps=1)
    numbers = 3 * sum(prod(parameter.shape) for parameter in DigitsNet(6).parameters())
    assert FLOAT * numbers <= least_memory(spec) <= FLOAT * numbers + 16


def test_a_training_larger_than_the_machine_is_refused_with_its_size() -> None:
    with pytest.raises(SpecError, match=r"takes at least 12 EB of memory, and this machine has [\d.]+ [MGT]B"):
        check_memory([TrainSpec(seed=0, hidden_size=10**9)])
    check_memory([TrainSpec(seed=0), digits_spec(seed=0)])
