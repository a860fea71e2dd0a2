"""DynamicNet applies its middle as often as asked, and both variants start as the same function."""

import random

import pytest
import torch

from paramshare.recipes.dynamicnet.net import DynamicNet
from paramshare.recipes.dynamicnet.variants import DEPTHS


def numbers(net: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_the_variants_have_the_published_numbers_of_parameters() -> None:
    assert numbers(DynamicNet()) == 111_210
    assert numbers(DynamicNet(variant="untied")) == 131_410  # two more middle layers of 100 x 100 + 100


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_untied_net_starts_equal_to_the_shared_net_at_every_depth(depth: int) -> None:
    torch.manual_seed(0)
    shared = DynamicNet(8, 6, 3)
    torch.manual_seed(0)
    untied = DynamicNet(8, 6, 3, variant="untied")
    x = torch.randn(5, 8)
    assert shared(x, depth).equal(untied(x, depth))


def test_each_application_in_the_untied_net_has_its_own_layer() -> None:
    net = DynamicNet(8, 6, 3, variant="untied")
    net(torch.randn(5, 8), depth=2).sum().backward()
    assert [middle.weight.grad is not None for middle in net.middle_linears] == [True, True, False]
    assert len({middle.weight.data_ptr() for middle in net.middle_linears}) == 3


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_depth_is_the_number_of_applications_of_the_middle_layer(depth: int) -> None:
    net, x = DynamicNet(8, 6, 3), torch.randn(5, 8)
    hidden = torch.relu(net.input_linear(x))
    for _ in range(depth):
        hidden = torch.relu(net.middle_linears[0](hidden))
    torch.testing.assert_close(net(x, depth), net.output_linear(hidden))


def test_a_missing_depth_is_drawn_from_pythons_generator_as_in_the_article() -> None:
    net, x = DynamicNet(8, 6, 3), torch.randn(5, 8)
    random.seed(5)
    drawn = [net(x) for _ in range(20)]
    random.seed(5)
    depths = [random.randint(0, 3) for _ in range(20)]
    assert set(depths) == set(DEPTHS)
    assert all(result.equal(net(x, depth)) for result, depth in zip(drawn, depths, strict=True))


@pytest.mark.parametrize("depth", [-1, 4])
def test_a_depth_out_of_range_is_refused(depth: int) -> None:
    with pytest.raises(ValueError, match="expected a whole number from 0 to 3"):
        DynamicNet(8, 6, 3)(torch.randn(5, 8), depth)
