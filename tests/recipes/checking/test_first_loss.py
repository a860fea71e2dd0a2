"""A faulty recipe is one line with file and line, before anything is written."""

import pytest

from paramshare.errors import SpecError
from paramshare.recipes.checking.first_loss import try_start
from paramshare.recipes.target import Target
from support.toy_recipe import Changed


def test_each_variant_of_a_sound_recipe_starts(toy: Target) -> None:
    for variant in toy.variants:
        try_start(toy.new(seed=0, variant=variant))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "x, y = batch",
            "x, z = batch",
            r"variant conv \(toy.py, line 39, in loss\): NameError: name 'y'",
        ),
        ("targets(x)), test", "targets(x, 3)), test", r"\(toy.py, line 32, in data\): TypeError: targets\(\) takes 1"),
        ("return Net(self.options.width)", "return Net('a')", r"\(toy.py, line 13, in __init__\): TypeError"),
        (".square().mean()", ".square().mean().log().log()", "the loss of step 0 is nan"),
        (".square().mean()", ".square()", "variant conv: loss returns a tensor of shape"),
    ],
)
def test_a_faulty_recipe_names_its_file_and_line(changed: Changed, old: str, new: str, message: str) -> None:
    target = changed(old, new)
    with pytest.raises(SpecError, match=message) as caught:
        try_start(target.new(seed=0))
    assert "\n" not in str(caught.value)


def test_the_faulty_variant_is_named(changed: Changed) -> None:
    target = changed('"twice": lambda model: model', '"twice": lambda model: None')
    try_start(target.new(seed=0))
    with pytest.raises(SpecError, match=r"the variant twice returns NoneType; expected a torch\.nn\.Module"):
        try_start(target.new(seed=0, variant="twice"))
