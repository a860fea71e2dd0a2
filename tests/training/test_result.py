"""A result says where it left the numbers."""

import numpy as np
import pytest

from paramshare.recipes.spec import Spec
from paramshare.training.engines import train
from support.specs import replace


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("step", [0, 7, 19])
def test_a_result_diverged_at_the_first_step_whose_loss_is_not_finite(bad: float, step: int, small: Spec) -> None:
    result = train(small)
    assert result.diverged_at is None
    losses = result.losses.copy()
    losses[[step, 19]] = bad
    assert replace(result, losses=losses).diverged_at == step


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_net_that_its_last_step_spoiled_diverged_after_that_step(bad: float, small: Spec) -> None:
    assert replace(train(small), final_metrics={"final/loss": 1.0, "final/other": bad}).diverged_at == small.steps


def test_a_far_too_high_learning_rate_diverges(small: Spec) -> None:
    result = train(replace(small, learning_rate=1e6))
    assert result.diverged_at is not None
    assert np.isfinite(result.losses[: result.diverged_at]).all()
