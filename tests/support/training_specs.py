"""Specs of any size, for the comparison of engines with the reference."""

from hypothesis import strategies as st

from paramshare.recipes.dynamicnet.recipe import VARIANTS, TrainSpec

SPECS = st.builds(
    TrainSpec,
    seed=st.integers(0, 2**63 - 1),
    variant=st.sampled_from(VARIANTS),
    batch_size=st.integers(1, 40),
    input_size=st.integers(1, 70),
    hidden_size=st.integers(1, 40),
    output_size=st.integers(1, 20),
    steps=st.integers(1, 25),
    learning_rate=st.sampled_from([1e-5, 1e-4, 1e-3]),
    momentum=st.sampled_from([0.0, 0.5, 0.9]),
)
