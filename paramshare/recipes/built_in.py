"""The recipes that are part of this package, by name."""

from typing import Final

from paramshare.recipes.loading.source import RecipeSource

__all__ = ["BUILT_IN"]


def _source(name: str, module: str, attribute: str) -> RecipeSource:
    """Return the source of a recipe of this package. It has no digest: the package has a version."""
    return RecipeSource(name, 1, "", name, attribute, module=module)


BUILT_IN: Final = {
    "dynamicnet": _source("dynamicnet", "paramshare.recipes.dynamicnet.recipe", "DynamicNetRecipe"),
    "digits": _source("digits", "paramshare.recipes.digits.recipe", "DigitsRecipe"),
}
