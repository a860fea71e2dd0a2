"""A sweep has every variant with every device and seed."""

import pytest
from pydantic import ValidationError

from paramshare.errors import SpecError
from paramshare.sweep.spec import SweepSpec
from support.specs import options_of


def test_a_sweep_is_every_variant_with_every_device_and_seed() -> None:
    spec = SweepSpec(seeds="1,0", variant="untied,shared", steps=7, hidden_size=5)
    specs = spec.train_specs(("cpu", "cuda:0"))
    assert [(one.variant, one.device, one.seed) for one in specs] == [
        (variant, device, seed) for variant in ("untied", "shared") for device in ("cpu", "cuda:0") for seed in (1, 0)
    ]
    assert {(one.steps, options_of(one).hidden_size, options_of(one).input_size) for one in specs} == {(7, 5, 1000)}


def test_the_default_sweep_is_the_run_of_the_article() -> None:
    (first, *_) = SweepSpec().train_specs(("cpu",))
    from paramshare.recipes.dynamicnet.recipe import TrainSpec

    assert first == TrainSpec(seed=0)


def test_every_spec_has_the_arithmetic_of_its_engine() -> None:
    for engine, arithmetics in (("auto", ["direct", "gram"]), ("reference", ["direct"] * 2), ("gram", ["gram"] * 2)):
        specs = SweepSpec.model_validate({"seeds": 4, "engine": engine}).train_specs(("cpu", "cuda:0"))
        assert [one.arithmetic for one in specs] == arithmetics


def test_an_engine_that_does_not_run_on_a_device_is_refused() -> None:
    with pytest.raises(SpecError, match="the engine exact runs on cpu, not on mps"):
        SweepSpec(engine="exact").train_specs(("cpu", "mps"))


def test_a_sweep_spec_accepts_numbers_and_lists_from_a_settings_file() -> None:
    spec = SweepSpec.model_validate({"seeds": [3, 7], "devices": ["cpu"], "variant": ["shared", "untied"]})
    assert (spec.seed_list, spec.device_list, spec.variant_list) == ((3, 7), ("cpu",), ("shared", "untied"))
    assert SweepSpec.model_validate({"seeds": 4}).seed_list == (4,)


@pytest.mark.parametrize(
    "given_",
    [{"seeds": "x"}, {"devices": "tpu"}, {"variant": "tied"}, {"steps": 0}, {"momentum": 1}, {"experiment": " "},
     {"experiment": "a\nb"}, {"workers": 0}, {"learning_rate": float("inf")}, {"seed": "0:3"},
     {"engine": "fast"}],
)  # fmt: skip
def test_a_sweep_spec_refuses_a_value_out_of_range_and_an_unknown_name(given_: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SweepSpec.model_validate(given_)
