"""A twin over the memory limit is refused before it takes memory."""

import re

import pytest
from torch import nn

from paramshare.errors import SpecError
from paramshare.sharing.twins.untie import untie
from support.models.twin_models import parameter_count


def test_twin_over_the_limit_is_refused_before_memory_is_allocated() -> None:
    model = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(64, 8, 1))
    message = (
        r"the twin would have 11,264,000,288,000,000 parameters in 40\.0 PiB, of which 29\.1 PiB in 1 \(Dense\); "
        r"the limit is [\d,.]+ GiB; give fewer axes, a smaller input, or a larger limit"
    )
    with pytest.raises(SpecError, match=message):
        untie(model, {"dense"}, (3, 2000, 2000))
    with pytest.raises(SpecError, match=re.escape("(model) cannot be untied for (3, 100000, 100000): ")):
        untie(model[0], {"dense"}, (3, 100_000, 100_000))


def test_twin_of_exactly_the_limit_in_bytes_is_made() -> None:
    conv = nn.Conv1d(1, 2, 3)
    assert parameter_count(untie(conv, {"space"}, (1, 6), limit=4 * 32)) == 32
    message = r"32 parameters in 128 B, of which 96 B in \(model\) \(LocalConv\); the limit is 127 B"
    with pytest.raises(SpecError, match=message):
        untie(conv, {"space"}, (1, 6), limit=4 * 32 - 1)
