"""The tags by which a run describes its recipe, so that its readers need no code of a user's."""

from paramshare.recipes.target import RecipeTarget
from paramshare.tracking.tags import RECIPE, RECIPE_DIGEST
from paramshare.training.targets import Target

__all__ = ["recipe_tags"]


def recipe_tags(target: Target) -> dict[str, str]:
    """Return the tags of the runs of a recipe; none for a built-in target."""
    if not isinstance(target, RecipeTarget):
        return {}
    return {RECIPE: target.description(), RECIPE_DIGEST: target.digest}
