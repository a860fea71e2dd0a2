"""The written-out engine is the reference bit for bit: every loss, every parameter, the trained net's
losses, for both variants, over sizes that fit no vector of the machine, and where the training diverges.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from paramshare.recipes.dynamicnet.recipe import TrainSpec
from paramshare.recipes.dynamicnet.variants import VARIANTS, VariantName
from paramshare.recipes.spec import Spec
from paramshare.training.engines import train
from support.specs import depth_losses, replace
from support.training_specs import SPECS


def assert_bitwise_equal(spec: Spec) -> None:
    """Compare all results of both engines, including NaN and the signs of zeros."""
    exact, reference = train(spec, "exact"), train(spec, "reference")
    assert (exact.engine, reference.engine) == ("exact", "reference")
    np.testing.assert_array_equal(exact.losses.view(np.int32), reference.losses.view(np.int32))
    np.testing.assert_array_equal(exact.curves["depth"], reference.curves["depth"])
    assert np.array(depth_losses(exact)).tobytes() == np.array(depth_losses(reference)).tobytes()
    ours, theirs = exact.net.state_dict(), reference.net.state_dict()
    assert list(ours) == list(theirs)
    for name, value in ours.items():
        assert torch.equal(value.view(torch.int32), theirs[name].view(torch.int32)), name
    assert all(parameter.requires_grad for parameter in exact.net.parameters())


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("seed", [0, 7, 2**40 + 1])
def test_exact_trains_the_article_bit_for_bit_as_the_reference(seed: int, variant: VariantName) -> None:
    assert_bitwise_equal(TrainSpec(seed=seed, variant=variant))


@settings(max_examples=60, deadline=None)
@given(SPECS)
def test_exact_trains_any_size_bit_for_bit_as_the_reference(spec: Spec) -> None:
    assert_bitwise_equal(spec)


@pytest.mark.parametrize("sizes", [(300, 40, 30, 5), (7, 2000, 9, 3), (33, 64, 257, 130)])
def test_exact_trains_sizes_cut_into_blocks_bit_for_bit_as_the_reference(sizes: tuple[int, int, int, int]) -> None:
    names = ("batch_size", "input_size", "hidden_size", "output_size")
    assert_bitwise_equal(TrainSpec(seed=5, steps=15, **dict(zip(names, sizes, strict=True))))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("learning_rate", [1.0, 100.0, 1e30])
def test_exact_trains_a_diverging_run_bit_for_bit_as_the_reference(
    small: Spec, variant: VariantName, learning_rate: float
) -> None:
    spec = replace(small, variant=variant, learning_rate=learning_rate, steps=60)
    assert not np.isfinite(train(spec, "reference").losses).all()
    assert_bitwise_equal(spec)
