"""The schema of a sweep accepts what the spec accepts, for each recipe that it knows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paramshare.comparing.spec import StudySpec
from paramshare.recipes.loading.forms import form_of
from paramshare.recipes.target import Target
from paramshare.sweep.form import as_json, know
from paramshare.sweep.spec import SweepSpec
from support.toy_recipe import load

OPTIONS = """
    class Options(ps.Options):
        width: int = Field(3, ge=1, le=64)
        steps: int = 6
        batch_size: int = 4
        learning_rate: float = 0.1
        noise: Literal["none", "some"] = "none"
        placement: bool = False
        dropout: float | None = Field(None, lt=1)
"""


@pytest.fixture
def toy(recipe_file: Path) -> Iterator[Target]:
    """Add a recipe to the schemas. It shares names of options with both built-in recipes."""
    text = recipe_file.read_text()
    begin, end = text.index("    class Options"), text.index("    variants =")
    head = "from typing import Literal\nfrom pydantic import Field\n"
    recipe_file.write_text(head + text[:begin] + OPTIONS + "\n" + text[end:])
    target = load(recipe_file)
    know(as_json([form_of(target, ("toy.py:Toy", "toy.py"))]))
    yield target
    know("[]")


def errors(spec: dict[str, Any], kind: type[SweepSpec] = SweepSpec) -> list[str]:
    validator = jsonschema.Draft202012Validator(kind.model_json_schema())
    return [error.message for error in validator.iter_errors(spec)]


@pytest.mark.parametrize("kind", [SweepSpec, StudySpec])
@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"width": "nonsense"}, "'nonsense' is not of type 'integer'"),
        ({"width": 0}, "0 is less than the minimum of 1"),
        ({"width": 65}, "65 is greater than the maximum"),
        ({"options": {"width": 0}}, "0 is less than the minimum of 1"),
        ({"options": {"widht": 3}}, "'widht' was unexpected"),
        ({"channels": 3}, "'channels' is not one of"),  # of digits
        ({"placement": "moved"}, "'moved' is not of type 'boolean'"),  # a Literal of digits
        ({"noise": "much"}, "'much' is not one of ['none', 'some']"),
        ({"dropout": 1.5}, "not valid under any"),
        ({"variant": "conv,shared"}, "does not match"),
    ],
)
def test_values_that_a_known_recipe_does_not_accept_are_refused(
    values: dict[str, Any], word: str, kind: type[SweepSpec], toy: Target
) -> None:
    for reference in ("toy.py:Toy", "toy.py"):
        assert any(word in error for error in errors({"target": reference, **values}, kind))


@pytest.mark.parametrize(
    "spec",
    [
        {"target": "toy.py:Toy", "width": 64, "steps": 0, "placement": True, "noise": "some", "dropout": 0.5},
        {"target": "toy.py", "options": {"width": 1, "dropout": None}, "variant": "wide, twice"},
        {"target": "digits", "placement": "moved", "channels": 2, "variant": "dense"},
        {"steps": 1, "hidden_size": 3, "variant": "untied"},
        {"target": "later.py:Later", "options": {"width": "any"}, "variant": "other"},
    ],
)
def test_values_of_a_known_recipe_and_options_of_an_unknown_one_are_accepted(spec: dict[str, Any], toy: Target) -> None:
    assert errors(spec) == []


def test_a_built_in_recipe_keeps_its_bounds_beside_a_recipe_without_them(toy: Target) -> None:
    assert errors({"steps": 0})
    assert errors({"target": "digits", "steps": 0})
    field = SweepSpec.model_json_schema()["properties"]["steps"]
    assert field["type"] == "integer"
    assert "minimum" not in field
    assert field["description"] == "SGD steps of each run; defaults to 500, for digits to 5000, for toy to 6"


VALUES = st.one_of(st.integers(-2, 70), st.floats(-1, 2), st.booleans(), st.sampled_from(["none", "some", "moved", ""]))
NAMES = st.sampled_from(["width", "steps", "learning_rate", "noise", "placement", "dropout", "channels", "other"])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(options=st.dictionaries(NAMES, VALUES, max_size=3))
def test_the_schema_of_a_known_recipe_accepts_the_options_that_the_recipe_accepts(
    options: dict[str, Any], toy: Target
) -> None:
    whole = [value for value in options.values() if isinstance(value, float) and value.is_integer()]
    try:
        toy.values_of(options)
        valid = True
    except ValueError:
        valid = False
    refused = bool(errors({"target": "toy.py:Toy", "options": options}))
    assert refused != valid or (whole and not refused)  # JSON has no difference between 3 and 3.0
