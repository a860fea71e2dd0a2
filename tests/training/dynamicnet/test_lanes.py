"""Nets trained together are what each is alone: the same mathematics, and bits that depend neither on the
neighbours nor on how many blocks run beside each other. On the CPU, where a step is called; and, where there is one, on
a GPU, where it is captured and replayed.
"""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paramshare.recipes.dynamicnet.recipe import TrainSpec
from paramshare.recipes.dynamicnet.variants import VARIANTS, VariantName
from paramshare.recipes.spec import Spec
from paramshare.training.dynamicnet import lanes
from paramshare.training.dynamicnet.draws import Draws, draw
from paramshare.training.dynamicnet.lanes import LANES, train_lanes
from paramshare.training.engines import train, train_many
from paramshare.training.result import Result
from support.specs import depth_losses, replace
from support.training_specs import specs_up_to

# Every matrix of a lane fills whole cache lines: the bits of the CPU's products depend on how their operands are
# aligned, and so, for other sizes, on the lane. A GPU's do not.
SMALL = TrainSpec(seed=0, batch_size=16, input_size=31, hidden_size=16, output_size=16, steps=30, arithmetic="gram")

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def specs(seeds: Sequence[int], **fields: object) -> list[Spec]:
    return [replace(SMALL, seed=seed, **fields) for seed in seeds]  # type: ignore[arg-type]


def assert_same_bits(one: Result, other: Result) -> None:
    assert one.spec == other.spec
    np.testing.assert_array_equal(one.losses.view(np.int32), other.losses.view(np.int32))
    assert depth_losses(one) == depth_losses(other)
    for ours, theirs in zip(one.net.parameters(), other.net.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def assert_close(together: Result, alone: Result) -> None:
    """Compare two results within the drift that float32 causes in few steps."""
    assert together.spec == alone.spec
    np.testing.assert_allclose(together.losses, alone.losses, rtol=2e-4)
    np.testing.assert_array_equal(together.curves["depth"], alone.curves["depth"])
    np.testing.assert_allclose(depth_losses(together), depth_losses(alone), rtol=2e-4)
    for ours, theirs in zip(together.net.parameters(), alone.net.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    specs_up_to(
        seed=2**62,
        batch_size=12,
        input_size=30,
        hidden_size=12,
        output_size=6,
        arithmetic=st.just("gram"),
    )
)
def test_nets_of_any_size_trained_together_equal_nets_trained_alone(spec: Spec) -> None:
    members = [replace(spec, seed=spec.seed + offset) for offset in range(3)]
    for together, member in zip(train_lanes(members), members, strict=True):
        assert_close(together, train(member))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_bits_of_a_seed_depend_neither_on_other_lanes_nor_on_its_own_lane(variant: VariantName) -> None:
    alone = {spec.seed: result for spec in specs(range(4), variant=variant) for result in train_lanes([spec])}
    for order in ([0, 1, 2, 3], [3, 0], [2, *range(10, 10 + LANES), 1]):
        for result in train_lanes(specs(order, variant=variant)):
            if result.spec.seed in alone:
                assert_same_bits(result, alone[result.spec.seed])


def test_the_bits_of_a_seed_do_not_depend_on_a_diverging_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    (alone,) = train_lanes([SMALL])

    def draw_wild(spec: Spec) -> Draws:
        draws = draw(spec)
        return draws if spec.seed == SMALL.seed else replace(draws, x=draws.x * 1e20)

    monkeypatch.setattr(lanes, "draw", draw_wild)
    wild, tame = train_lanes([replace(SMALL, seed=1), SMALL])
    assert not np.isfinite(wild.losses).all()
    assert_same_bits(tame, alone)


def test_the_bits_of_a_seed_do_not_depend_on_the_number_of_concurrent_blocks() -> None:
    members = specs(range(2 * LANES + 5))
    for one, three in zip(train_lanes(members, most_blocks=1), train_lanes(members, most_blocks=3), strict=True):
        assert_same_bits(one, three)


def test_specs_of_different_shapes_are_trained_in_their_order() -> None:
    mixed = [*specs([4, 5]), *specs([4], variant="untied"), *specs([6], steps=7)]
    results = list(train_lanes(mixed))
    assert [result.spec for result in results] == mixed
    assert [len(result.losses) for result in results] == [30, 30, 30, 7]


def test_fewer_blocks_run_without_changing_a_bit_if_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    members = specs(range(3 * LANES))
    expected = list(train_lanes(members))
    blocks: list[int] = []
    make = lanes._Block.__init__

    def crowded(block: lanes._Block, family: Spec) -> None:
        blocks.append(1)
        if len(blocks) == 3:  # of the first three the last
            raise torch.OutOfMemoryError("CUDA out of memory")
        make(block, family)

    monkeypatch.setattr(lanes._Block, "__init__", crowded)
    for crowded_one, result in zip(train_lanes(members), expected, strict=True):
        assert_same_bits(crowded_one, result)


def test_a_block_that_does_not_fit_into_memory_raises_torchs_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(lanes._Block, "__init__", full)
    with pytest.raises(torch.OutOfMemoryError):
        list(train_lanes([SMALL]))


@needs_cuda
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_captured_step_on_cuda_equals_the_mathematics_of_the_cpu(variant: VariantName) -> None:
    on_cuda = [replace(TrainSpec(seed=seed, variant=variant, steps=30), device="cuda:0") for seed in range(3)]
    for result in train_many(on_cuda):
        assert result.engine == "gram"
        alone = train(replace(result.spec, device="cpu"))
        np.testing.assert_allclose(result.losses, alone.losses, rtol=1e-3)


@needs_cuda
def test_the_bits_of_a_seed_on_cuda_depend_on_its_spec_only() -> None:
    on_cuda = [TrainSpec(seed=seed, device="cuda:0", arithmetic="gram") for seed in range(LANES + 3)]
    one, many = list(train_lanes(on_cuda, most_blocks=1)), list(train_lanes(on_cuda[::-1]))[::-1]
    for ours, theirs in zip(one, many, strict=True):
        assert_same_bits(ours, theirs)
    assert_same_bits(next(train_lanes(on_cuda[5:6])), one[5])
