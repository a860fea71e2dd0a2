"""The reference is the source article's script, bit for bit, and MLflow gives back the same bits."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from paramshare.recipes.dynamicnet.recipe import TrainSpec
from paramshare.recipes.spec import Spec
from paramshare.tracking.read.curves import read_losses
from paramshare.tracking.store import StoreAddress, open_store
from paramshare.tracking.write.kinds.seeds import write_run
from paramshare.training.engines import train
from support.specs import depth_losses, replace

PLAIN_SCRIPT = Path(__file__).with_name("plain_script.py")


def plain_losses(seed: int) -> np.ndarray:
    """Run the plain script in its own process, and return its losses."""
    done = subprocess.run([sys.executable, PLAIN_SCRIPT, str(seed)], capture_output=True, text=True, check=True)
    return np.array([float.fromhex(line) for line in done.stdout.split()])


@pytest.mark.parametrize("seed", [0, 7])
def test_the_losses_of_the_reference_are_those_of_the_plain_script_bit_for_bit_also_in_mlflow(
    seed: int, address: StoreAddress
) -> None:
    expected = plain_losses(seed)
    result = train(TrainSpec(seed=seed))
    assert expected.shape == (500,)
    np.testing.assert_array_equal(result.losses, expected)

    store = open_store(address)
    run = write_run(store, result, {})
    np.testing.assert_array_equal(read_losses(store, run.run_id), expected)


def test_a_depth_of_zero_does_not_change_the_middle_layer(small: Spec) -> None:
    """The loop skips what has no gradient: otherwise momentum would move the middle layer in every step."""

    from paramshare.training.dynamicnet.draws import draw

    seed = next(seed for seed in range(100) if set(draw(replace(small, seed=seed, steps=3)).depths) == {0})
    spec = replace(small, seed=seed, steps=3)
    before, after = draw(spec).net.middle_linears[0].weight, train(spec).net.middle_linears[0].weight
    assert before.equal(after)


def test_the_depth_losses_of_the_reference_are_those_of_its_trained_net(small: Spec) -> None:
    result = train(small)
    for depth, loss in enumerate(depth_losses(result)):
        prediction = result.net(result.data["features"], depth)
        assert loss == pytest.approx(float(((prediction - result.data["targets"]) ** 2).sum().detach()), rel=1e-6)
    assert len(depth_losses(result)) == 4
