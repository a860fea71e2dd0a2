"""The control is the reference's training, each flip that of one bit of one weight, the same every time."""

from dataclasses import replace

import numpy as np
import pytest

from paramshare.training import control
from paramshare.training.control import one_bit_control
from paramshare.training.draws import Draws, draw
from paramshare.training.engines import train
from paramshare.training.exact import train_exact
from paramshare.training.reference import train_reference
from paramshare.training.result import TrainResult
from paramshare.training.spec import TrainSpec


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return the weights of the first layer at the start of each training of a control."""
    seen = []

    def noted(spec: TrainSpec, draws: Draws) -> TrainResult:
        seen.append(draws.net.input_linear.weight.detach().numpy().tobytes())
        return train_exact(spec, draws)

    monkeypatch.setattr(control, "train_exact", noted)
    return seen


def test_the_control_begins_with_the_reference_for_any_arithmetic(small: TrainSpec) -> None:
    plain, _ = one_bit_control(replace(small, arithmetic="gram"), flips=1)
    assert plain.spec == small
    np.testing.assert_array_equal(plain.losses, train(small, "reference").losses)


def test_each_flip_of_the_control_changes_one_bit_of_one_weight(small: TrainSpec, starts: list[bytes]) -> None:
    assert len(list(one_bit_control(small, flips=5))) == 6
    plain, *flipped = (np.frombuffer(start, np.uint32) for start in starts)
    for one in flipped:
        assert sorted(one ^ plain)[-2:] == [0, 1]
    assert len({one.tobytes() for one in flipped}) > 1


def test_the_flips_of_the_control_depend_on_its_seed(small: TrainSpec, starts: list[bytes]) -> None:
    for seed in (0, 0, 1):
        list(one_bit_control(small, flips=3, seed=seed))
    assert starts[:4] == starts[4:8]
    assert starts[:4] != starts[8:]


@pytest.mark.parametrize("trained_by", [train_exact, train_reference])
def test_a_training_starts_from_the_given_draws(trained_by: object, small: TrainSpec) -> None:
    assert callable(trained_by)
    other = replace(small, seed=4)
    given, own = trained_by(small, draw(other)), trained_by(other)
    assert given.losses.tobytes() == own.losses.tobytes()
