"""The spec of a recipe's run holds what determines its numbers, and comes back from a run's parameters."""

import pickle
from dataclasses import replace

import pytest

from paramshare.errors import DeviceError, SpecError
from paramshare.recipes.target import Target
from support.toy_recipe import Changed

TYPES = """
        flag: bool = True
        rate: float = 0.5
        kind: Literal["a", "b", 3] = "a"
        clip_norm: float | None = None
        label: str = "1"
"""


def test_a_spec_has_the_defaults_of_the_recipe(toy: Target) -> None:
    assert toy.new(seed=3).as_dict() == {
        "seed": 3, "variant": "conv", "device": "cpu", "width": 3, "steps": 6, "batch_size": 4, "learning_rate": 0.1,
        "arithmetic": "direct",
    }  # fmt: skip


def test_the_key_is_stable(toy: Target) -> None:
    assert toy.new(seed=3, device="cuda").key() == "5ba07cbccfbea62fcca398d925ed5340"


def test_each_field_and_the_version_change_the_key(toy: Target, changed: Changed) -> None:
    first = toy.new(seed=3)
    others = [
        replace(first, seed=4), replace(first, variant="local"), replace(first, device="cuda"),
        toy.new(seed=3, width=4), changed("class Options(ps", "version = 2\n    class Options(ps").new(seed=3),
    ]  # fmt: skip
    assert len({spec.key() for spec in (first, *others)}) == 6


def test_a_changed_source_does_not_change_the_key(toy: Target, changed: Changed) -> None:
    assert changed("20, 8", "24, 8").new(seed=3).key() == toy.new(seed=3).key()


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"flag": False},
        {"rate": 1e-30},
        {"rate": -0.0},
        {"kind": "b"},
        {"kind": 3},
        {"clip_norm": 2.0},
        {"label": ""},
    ],
)
def test_every_type_of_option_comes_back_from_the_parameters_of_a_run(
    changed: Changed, values: dict[str, object]
) -> None:
    target = changed(
        "width: int = 3", f"width: int = 3{TYPES}", "import torch\n", "import torch\nfrom typing import Literal\n"
    )
    spec = target.new(seed=2**63 - 1, variant="wide", **values)
    assert target.parse({name: str(value) for name, value in spec.as_dict().items()}) == spec


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": -1}, "seed is -1; expected a whole number from 0"),
        ({"seed": 0, "variant": "cnov"}, "there is no variant 'cnov' of toy; expected conv, local, wide, twice"),
        ({"seed": 0, "width": "a"}, "width is 'a'; expected a valid integer"),
        ({"seed": 0, "heigth": 1}, "toy has no option heigth; leave it out"),
    ],
)
def test_a_wrong_value_is_one_line(toy: Target, values: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        toy.new(**values)


def test_a_wrong_device_is_refused(toy: Target) -> None:
    with pytest.raises(DeviceError, match="there is no device called 'gpu'"):
        toy.new(seed=0, device="gpu")


def test_a_pickled_spec_is_equal(toy: Target) -> None:
    spec = toy.new(seed=0)
    assert pickle.loads(pickle.dumps(spec)) == spec
