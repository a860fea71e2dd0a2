"""A faulty declaration of a recipe is one line."""

import pytest

from paramshare.comparing.spec import StudySpec
from paramshare.errors import SpecError
from paramshare.recipes.loading.declarations import RESERVED
from paramshare.settings import DaskSettings
from support.toy_recipe import Changed


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("class Options(ps.Options)", "name = 'A b'\n    class Options(ps.Options)", "name is 'A b'; expected lower"),
        ("class Options(ps.Options)", "name = 'digits'\n    class Options(ps.Options)", "is that of a built-in recipe"),
        ("class Options(ps.Options)", "version = 0\n    class Options(ps.Options)", "version is 0; expected a whole"),
        ("def model(", "def build(", "has no method model; define it"),
        ("def loss(", "def cost(", "has no method loss; define it"),
        ("width: int = 3", "seed: int = 3", "an option cannot be called seed; choose another name"),
        ("width: int = 3", "width: list = []", "the option width is of type <class 'list'>; expected int, float"),
        ("width: int = 3", "width: int", "the option width has no default; every option needs one"),
        ("width: int = 3", "width: int = 'wide'", "a default of Options is not valid: width"),
        ("width: int = 3", "width: float = float('inf')", "a default of Options is not valid: width"),
        ("ps.Options)", "object)", "Options must be a class that inherits ps.Options"),
        ('{"space"}', '{"spcae"}', "the variant local is {'spcae'}; expected None, axes of untie"),
        ('{"space"}', '"space"', "the variant local is 'space'; expected None"),
        ('{"width": 5}', '{"widht": 5}', "the variant wide sets widht, which is not an option"),
        ('{"width": 5}', '{"width": "a"}', "an option of the variant wide is not valid: width"),
        ('"conv": None', '"a conv": None', "a variant is called 'a conv'; expected letters"),
        ('(ps.Metric("error", "mean absolute error"),)', "()", "metrics must be a tuple of ps.Metric"),
        ('"mean absolute error"', '"mean", "smaller"', "the metric error is better 'smaller'; expected"),
    ],
)  # fmt: skip
def test_a_faulty_declaration_is_one_line(changed: Changed, old: str, new: str, message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        changed(old, new)
    assert "\n" not in str(caught.value)


def test_no_option_can_have_the_name_of_a_field_of_every_sweep_or_study() -> None:
    assert set(StudySpec.model_fields) | set(DaskSettings.model_fields) <= set(RESERVED)
