"""The tags by which a run describes its recipe, so that its readers need no code of a user's."""

from paramshare.recipes.target import Target
from paramshare.tracking.tags import RECIPE, RECIPE_DIGEST

__all__ = ["recipe_tags"]


def recipe_tags(target: Target) -> dict[str, str]:
    """Return the tags of the runs of a recipe; none for a built-in one."""
    if target.built_in:
        return {}
    return {RECIPE: target.description(), RECIPE_DIGEST: target.digest}
