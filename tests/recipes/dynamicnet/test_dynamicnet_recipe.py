"""A spec refuses what cannot be trained, and its key is its identity: stable, complete, minimal."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramshare.errors import DeviceError, SpecError
from paramshare.recipes.dynamicnet.recipe import TrainSpec
from support.specs import replace

OTHER: dict[str, Any] = {
    "seed": 1, "variant": "untied", "device": "mps", "batch_size": 65, "input_size": 999, "hidden_size": 101,
    "output_size": 11, "steps": 501, "learning_rate": 2e-4, "momentum": 0.8, "arithmetic": "gram",
}  # fmt: skip


def test_the_key_of_the_articles_run_is_unchanged() -> None:
    """A store's runs are found by it: whoever changes it on purpose raises `version` and changes this line."""
    assert TrainSpec(seed=0).key() == "141757e1a69a8a034d5e2e85df6adb93"


def test_every_field_of_a_spec_is_part_of_its_key() -> None:
    spec = TrainSpec(seed=0)
    assert set(spec.as_dict()) == set(OTHER)
    keys = {spec.key(), *(replace(spec, **{name: value}).key() for name, value in OTHER.items())}
    assert len(keys) == len(OTHER) + 1


def test_equal_specs_have_one_key_for_each_spelling() -> None:
    assert TrainSpec(seed=0, momentum=0).key() == TrainSpec(seed=0, momentum=0.0).key()
    assert TrainSpec(seed=0, device="cuda").key() == TrainSpec(seed=0, device="cuda:0").key()


@given(st.integers(0, 2**63 - 1), st.integers(1, 10**6), st.floats(0, 0.999))
def test_a_valid_spec_can_be_rebuilt_from_its_dict_with_the_same_key(seed: int, steps: int, momentum: float) -> None:
    spec = TrainSpec(seed=seed, steps=steps, momentum=momentum)
    assert TrainSpec(**spec.as_dict()).key() == spec.key()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", -1), ("seed", 2**63), ("seed", True), ("seed", 1.5), ("variant", "tied"), ("batch_size", 0),
        ("input_size", -1), ("hidden_size", 2.0), ("output_size", "3"), ("steps", 0), ("learning_rate", 0),
        ("learning_rate", float("nan")), ("learning_rate", float("inf")), ("momentum", 1), ("momentum", -0.1),
        ("arithmetic", "exact"),
    ],
)  # fmt: skip
def test_an_invalid_field_of_a_spec_is_refused_with_the_expected_values(field: str, value: object) -> None:
    with pytest.raises(SpecError, match=rf"^({field} is .*; |there is no variant .*; )expected "):
        TrainSpec(**{"seed": 0, field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", "cpu:0", "", 0])
def test_an_unknown_device_of_a_spec_is_refused(name: object) -> None:
    with pytest.raises(DeviceError, match=r"expected cpu, cuda, cuda:N or mps"):
        TrainSpec(seed=0, device=name)  # type: ignore[arg-type]
