"""The recipe of a command line is found wherever it stands, and never taken from an option's value."""

import pytest

from paramshare.commands.recipes.argument import separate
from paramshare.errors import UsageError

WITH_VALUE, FLAGS = {"--seeds", "--experiment"}, {"--force", "--json", "--help"}


@pytest.mark.parametrize(
    ("line", "recipe", "others"),
    [
        ("", None, ""),
        ("digits", "digits", ""),
        ("my.py:Net --seeds 0:3", "my.py:Net", "--seeds 0:3"),
        ("--seeds 0:3 my.py:Net", "my.py:Net", "--seeds 0:3"),
        ("--seeds=0:3 my.py --force", "my.py", "--seeds=0:3 --force"),
        ("--force my_recipe", "my_recipe", "--force"),
        ("--width 64 my.py", "my.py", "--width 64"),
        ("--augment my.py:Net --width 64", "my.py:Net", "--augment --width 64"),
        ("--augment package.module:Net", "package.module:Net", "--augment"),
        ("--augment --width 3", None, "--augment --width 3"),
        ("--shift -1 digits", "digits", "--shift -1"),
        ("--experiment digits", None, "--experiment digits"),
        ("--target digits --seeds 3", "digits", "--seeds 3"),
        ("--seeds 3 --target=digits", "digits", "--seeds 3"),
        ("digits --target digits", "digits", ""),
        ("my.py:Net --kind digits", "my.py:Net", "--kind digits"),
        ("--help my.py", "my.py", "--help"),
    ],
)
def test_the_recipe_is_separated_from_the_other_arguments(line: str, recipe: str | None, others: str) -> None:
    assert separate(line.split(), WITH_VALUE, FLAGS) == (recipe, tuple(others.split()))


@pytest.mark.parametrize(
    "line", ["digits --target dynamicnet", "--target digits --target=dynamicnet", "digits --seeds 3 dynamicnet"]
)
def test_two_different_recipes_are_refused(line: str) -> None:
    with pytest.raises(UsageError, match=r"two recipes are named, digits and dynamicnet; name one"):
        separate(line.split(), WITH_VALUE, FLAGS)


def test_the_option_of_the_recipe_without_a_value_is_refused() -> None:
    with pytest.raises(UsageError, match="--target needs a value: the recipe to train"):
        separate(["--target"], WITH_VALUE, FLAGS)
