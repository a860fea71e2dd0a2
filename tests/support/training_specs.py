"""Specs of any size, for the comparison of engines with the reference."""

from typing import Any

from hypothesis import strategies as st

from paramshare.recipes.dynamicnet.recipe import TrainSpec
from paramshare.recipes.dynamicnet.variants import VARIANTS
from paramshare.recipes.spec import Spec


def specs_up_to(
    *, seed: int, batch_size: int, input_size: int, hidden_size: int, output_size: int, **others: Any
) -> st.SearchStrategy[Spec]:
    """Return a strategy of specs with at most this seed and these sizes.

    Args:
        others: strategies of further values.
    """
    return st.builds(
        TrainSpec,
        seed=st.integers(0, seed),
        variant=st.sampled_from(VARIANTS),
        batch_size=st.integers(1, batch_size),
        input_size=st.integers(1, input_size),
        hidden_size=st.integers(1, hidden_size),
        output_size=st.integers(1, output_size),
        steps=st.integers(1, 25),
        learning_rate=st.sampled_from([1e-5, 1e-4, 1e-3]),
        momentum=st.sampled_from([0.0, 0.5, 0.9]),
        **others,
    )


SPECS = specs_up_to(seed=2**63 - 1, batch_size=40, input_size=70, hidden_size=40, output_size=20)
