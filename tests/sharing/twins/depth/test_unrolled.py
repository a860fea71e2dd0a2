"""An `Unrolled` uses one copy for each call."""

import copy

import pytest
import torch
from torch import nn

from paramshare.errors import SpecError
from paramshare.sharing.twins.depth.unrolled import Unrolled

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")  # torch's, once


def test_unrolled_uses_a_copy_for_each_call_and_refuses_one_more() -> None:
    copies = [nn.Linear(2, 2) for _ in range(2)]
    unrolled, x = Unrolled(copies, "body.cell"), torch.randn(1, 2)
    assert unrolled(x).equal(copies[0](x))
    assert unrolled(x).equal(copies[1](x))
    with pytest.raises(SpecError, match=r"body\.cell was called more than 2 times in one pass and has 2 copies"):
        unrolled(x)
    unrolled.restart()
    assert unrolled(x).equal(copies[0](x))


def test_unrolled_has_the_attributes_of_the_first_copy() -> None:
    unrolled = copy.deepcopy(Unrolled([nn.Linear(2, 3), nn.Linear(2, 3)], "cell"))
    assert unrolled.out_features == 3
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        unrolled.nothing  # noqa: B018
