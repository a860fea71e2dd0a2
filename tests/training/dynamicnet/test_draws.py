"""A seed means the article's draws, in the article's order, and nothing global is touched."""

import random
import threading

import pytest
import torch

from paramshare.recipes.dynamicnet.net import DynamicNet
from paramshare.recipes.dynamicnet.recipe import TrainSpec
from paramshare.recipes.spec import Spec
from paramshare.training.dynamicnet.draws import draw
from paramshare.training.engines import train, train_many
from support.specs import depth_losses, replace


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_the_draws_of_a_seed_equal_those_of_the_global_generators(seed: int, small: Spec) -> None:
    spec = replace(small, seed=seed)
    random.seed(seed)
    torch.manual_seed(seed)
    x, y = torch.randn(4, 8), torch.randn(4, 3)
    net = DynamicNet(8, 6, 3)

    draws = draw(spec)
    assert draws.x.equal(x)
    assert draws.y.equal(y)
    assert draws.depths == [random.randint(0, 3) for _ in range(spec.steps)]
    for name, value in net.state_dict().items():
        assert draws.net.state_dict()[name].equal(value), name


def test_draws_do_not_depend_on_a_thread_that_draws_from_the_global_generators(small: Spec) -> None:
    specs = [replace(small, seed=seed, steps=2000) for seed in range(20)]
    alone, ended = [draw(spec) for spec in specs], threading.Event()

    def disturb() -> None:
        while not ended.is_set():
            random.random()
            torch.rand(1)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        disturbed = [draw(spec) for spec in specs]
    finally:
        ended.set()
        thread.join()
    for one, other in zip(alone, disturbed, strict=True):
        assert one.depths == other.depths
        assert one.x.equal(other.x)
        assert all(a.equal(b) for a, b in zip(one.net.parameters(), other.net.parameters(), strict=True))


def test_the_untied_twin_has_the_draws_of_the_shared_net(small: Spec) -> None:
    shared, untied = draw(small), draw(replace(small, variant="untied"))
    assert shared.x.equal(untied.x)
    assert shared.depths == untied.depths
    assert all(middle.weight.equal(shared.net.middle_linears[0].weight) for middle in untied.net.middle_linears)


def test_training_does_not_change_global_random_state_and_thread_count(small: Spec) -> None:
    python, torchs, threads = random.getstate(), torch.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        train(small)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert random.getstate() == python
    assert torch.get_rng_state().equal(torchs)


def test_a_result_does_not_depend_on_earlier_trainings(small: Spec) -> None:
    alone = train(small)
    _, again = train_many([replace(small, seed=9), small])
    assert (alone.losses == again.losses).all()
    assert depth_losses(alone) == depth_losses(again)


def test_the_thread_count_of_the_process_does_not_change_a_bit() -> None:
    spec, before = TrainSpec(seed=0, steps=30), torch.get_num_threads()
    try:
        curves = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            curves.append(train(spec).losses)
    finally:
        torch.set_num_threads(before)
    assert (curves[0] == curves[1]).all()
