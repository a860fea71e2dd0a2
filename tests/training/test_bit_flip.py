"""The control is the reference's training, each flip that of one bit of one weight, the same every time."""

from collections.abc import Callable

import numpy as np
import pytest

from paramshare.recipes.dynamicnet.net import DynamicNet
from paramshare.recipes.spec import Spec
from paramshare.training import bit_flip
from paramshare.training.bit_flip import one_bit_control
from paramshare.training.dynamicnet.exact import train_exact
from paramshare.training.engines import train
from paramshare.training.result import Result
from support.specs import replace


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return the weights of the first layer at the start of each training of a control."""
    seen = []

    def noted(spec: Spec, change: Callable[[DynamicNet], object] | None) -> Result:
        def changed(net: DynamicNet) -> None:
            if change is not None:
                change(net)
            seen.append(net.input_linear.weight.detach().numpy().tobytes())

        return train_exact(spec, changed)

    monkeypatch.setattr(bit_flip, "train_exact", noted)
    return seen


def test_the_control_begins_with_the_reference_for_any_arithmetic(small: Spec) -> None:
    plain, _ = one_bit_control(replace(small, arithmetic="gram"), flips=1)
    assert plain.spec == small
    np.testing.assert_array_equal(plain.losses, train(small, "reference").losses)


def test_each_flip_of_the_control_changes_one_bit_of_one_weight(small: Spec, starts: list[bytes]) -> None:
    assert len(list(one_bit_control(small, flips=5))) == 6
    plain, *flipped = (np.frombuffer(start, np.uint32) for start in starts)
    for one in flipped:
        assert sorted(one ^ plain)[-2:] == [0, 1]
    assert len({one.tobytes() for one in flipped}) > 1


def test_the_flips_of_the_control_depend_on_its_seed(small: Spec, starts: list[bytes]) -> None:
    for seed in (0, 0, 1):
        list(one_bit_control(small, flips=3, seed=seed))
    assert starts[:4] == starts[4:8]
    assert starts[:4] != starts[8:]
