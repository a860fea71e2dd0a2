"""A list of models is read as it is meant, refused in words where it is not, and has a form."""

from typing import Any

import pytest
from pydantic import ValidationError

from paramshare.counting.spec import CountSpec, ModelSpec

NET = {"model": "nets.py:Net", "input": "3,8,8"}


def test_call_arguments_are_accepted_as_an_object_or_as_json() -> None:
    assert ModelSpec.model_validate({**NET, "args": {"width": 2}}) == ModelSpec(**NET, args='{"width": 2}')


def test_a_count_of_one_model_is_named_after_the_model() -> None:
    assert ModelSpec(**NET).label == "nets.py:Net on 3,8,8"
    assert ModelSpec(**NET, args={"width": 2}).label == 'nets.py:Net {"width": 2} on 3,8,8'


def test_a_count_of_several_models_is_named_after_the_first() -> None:
    assert CountSpec(models=[ModelSpec(**NET)]).label == "nets.py:Net on 3,8,8"
    assert CountSpec(models=[ModelSpec(**NET)] * 3).label == "nets.py:Net on 3,8,8 and 2 more"


@pytest.mark.parametrize(
    "options", [{}, {"args": {"width": 2}, "dtype": "int64"}, {"training": True}, {"kwargs": {"scale": 2}}]
)
def test_the_source_of_a_model_gives_the_same_model_again(options: dict[str, Any]) -> None:
    model = ModelSpec(**NET, **options)
    assert model.source.keys() == {*NET, *options}
    assert ModelSpec(**model.source) == model


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"input": "3,x"}, "not a size"),
        ({"args": "{width"}, "expected a JSON object"),
        ({"args": "[1]"}, "valid dictionary"),
        ({"dtype": "no"}, "not a dtype of torch"),
        ({"model": ""}, "at least 1 character"),
        ({"modle": "x"}, "Extra inputs"),
    ],
)
def test_malformed_count_specs_are_refused(given: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ModelSpec.model_validate({**NET, **given})


def test_a_list_of_models_is_not_empty_and_not_longer_than_prefect_accepts() -> None:
    for count in (0, 201):
        with pytest.raises(ValidationError, match=r"at (least|most)"):
            CountSpec(models=[ModelSpec(**NET)] * count)


def test_every_field_of_the_count_form_has_a_description() -> None:
    schema = CountSpec.model_json_schema()
    for fields in (schema["properties"], schema["$defs"]["ModelSpec"]["properties"]):
        assert all(field.get("description") for field in fields.values())


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("width=4", {"width": 4}),
        ("width=4,bias=false,act=relu", {"width": 4, "bias": False, "act": "relu"}),
        ("bias=False, none=null, other=None", {"bias": False, "none": None, "other": None}),
        ("rate=1e-3,shift=-2", {"rate": 0.001, "shift": -2}),
        ("kernel=[3,5],size=(3,3),name='resnet-50',digit='4'", {
            "kernel": [3, 5], "size": [3, 3], "name": "resnet-50", "digit": "4",
        }),
        ('{"width": 4, "digit": "4"}', {"width": 4, "digit": "4"}),
        ("", {}),
    ],
)  # fmt: skip
def test_pairs_on_the_command_line_have_the_values_of_json(text: str, values: dict[str, object]) -> None:
    for given in (ModelSpec.model_validate({**NET, "args": text}), ModelSpec.model_validate({**NET, "kwargs": text})):
        assert values in (given.args, given.kwargs)


@pytest.mark.parametrize(
    "text",
    ["width", "width:4", "width=", "4", "width=4*2", "width=f(4)", "name=resnet-50", "a=1)(b=2", "**{'a': 1}", "a=1j"],
)
def test_pairs_without_a_plain_value_are_refused(text: str) -> None:
    with pytest.raises(ValidationError, match=r"(expected pairs such as|put a text into quotes)"):
        ModelSpec.model_validate({**NET, "args": text})


def test_kwargs_replace_an_input_or_accompany_it() -> None:
    tokens = {"ids": {"size": "7", "dtype": "long"}}
    alone = ModelSpec(model="nets.py:Net", kwargs=tokens)
    assert alone.label == 'nets.py:Net on {"ids": {"size": "7", "dtype": "long"}}'
    assert ModelSpec.model_validate(alone.source) == alone
    beside = ModelSpec(**NET, kwargs={"scale": 2})
    assert beside.sample == '3,8,8 {"scale": 2}'
    assert ModelSpec.model_validate(beside.source) == beside


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "input is missing"),
        ({"kwargs": {"x": {"size": "a"}}}, "size is 'a'; expected positive integers"),
        ({"kwargs": {"x": {"size": "3"}}, "dtype": "long"}, "dtype applies only to an input of sizes"),
        ({"input": "nets.py:sample", "dtype": "long"}, "dtype applies only to an input of sizes"),
    ],
)
def test_malformed_inputs_of_a_count_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ModelSpec.model_validate({"model": "nets.py:Net", **given})
