"""The small recipe in a file, and changed copies of it."""

from pathlib import Path

import pytest

from paramshare.recipes.target import Target
from support.toy_recipe import NEIGHBOUR, RECIPE, Changed, load


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    """Return the file of the recipe, with a module beside it that the recipe imports."""
    (tmp_path / "noise.py").write_text(NEIGHBOUR)
    file = tmp_path / "toy.py"
    file.write_text(RECIPE)
    return file


@pytest.fixture
def toy(recipe_file: Path) -> Target:
    """Return the target of the recipe."""
    return load(recipe_file)


@pytest.fixture
def changed(recipe_file: Path) -> Changed:
    """Return a function that replaces texts in the recipe's file and loads it: `changed("6", "7", ...)`."""

    def change(*texts: str) -> Target:
        text = recipe_file.read_text()
        for old, new in zip(texts[::2], texts[1::2], strict=True):
            assert old in text
            text = text.replace(old, new)
        recipe_file.write_text(text)
        return load(recipe_file)

    return change
