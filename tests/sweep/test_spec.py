"""Proves which seeds a list contains, and that a sweep has every variant with every device and seed."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from paramshare.errors import SpecError
from paramshare.sweep.spec import SweepSpec, parse_seeds


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("0:3", (0, 1, 2)),
        ("7", (7,)),
        ("3,7,9", (3, 7, 9)),
        ("0:2, 5 ,1:4", (0, 1, 5, 2, 3)),
        ("9,0:2", (9, 0, 1)),
    ],
)
def test_a_seed_list_gives_its_seeds_in_order_each_once(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=20))
def test_a_seed_list_gives_exactly_its_seeds(seeds: list[int]) -> None:
    assert parse_seeds(",".join(map(str, seeds))) == tuple(dict.fromkeys(seeds))


@pytest.mark.parametrize(
    "text", ["", ",", "a", "1,", "-1", "3:1", "3:3", "1:2:3", "1.5", "0:", ":3", "1;2", "0x1", "²"]
)
def test_an_invalid_seed_list_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(SpecError, match=r"expected "):
        parse_seeds(text)


def test_too_many_or_too_large_seeds_are_refused_without_a_delay() -> None:
    with pytest.raises(SpecError, match="more than 1,000,000 seeds"):
        parse_seeds("0:1000000000000000000")
    with pytest.raises(SpecError, match=r"2\*\*63"):
        parse_seeds(str(2**63))


@given(st.text(max_size=12))
def test_any_text_is_a_seed_list_or_a_spec_error(text: str) -> None:
    with suppress(SpecError):
        assert parse_seeds(text)


def test_a_sweep_is_every_variant_with_every_device_and_seed() -> None:
    spec = SweepSpec(seeds="1,0", variant="untied,shared", steps=7, hidden_size=5)
    specs = spec.train_specs(("cpu", "cuda:0"))
    assert [(one.variant, one.device, one.seed) for one in specs] == [
        (variant, device, seed) for variant in ("untied", "shared") for device in ("cpu", "cuda:0") for seed in (1, 0)
    ]
    assert {(one.steps, one.hidden_size, one.input_size) for one in specs} == {(7, 5, 1000)}


def test_the_default_sweep_is_the_run_of_the_article() -> None:
    (first, *_) = SweepSpec().train_specs(("cpu",))
    from paramshare.training.spec import TrainSpec

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
