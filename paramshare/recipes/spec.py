"""RecipeSpec: everything that determines the numbers of one training of a recipe, and its key."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from paramshare.errors import SpecError
from paramshare.recipes.loading.source import RecipeSource
from paramshare.recipes.recipe import Recipe
from paramshare.training.spec import canonical_device, check_seed, hashed

if TYPE_CHECKING:
    from paramshare.recipes.target import RecipeTarget

__all__ = ["OptionValue", "RecipeSpec"]

OptionValue = int | float | bool | str | None

_DEFAULT_STEPS = 1000  # of the default loop


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeSpec:
    """One training of a recipe. `RecipeTarget.new` makes it from values by name.

    Args:
        recipe: the recipe.
        seed: of everything that is drawn; 0 ≤ seed < 2**63.
        variant: the name of a variant.
        device: `cpu`, `mps`, `cuda:N`; `cuda` means `cuda:0`.
        options: the name and value of every option, in the order of the recipe.
        arithmetic: `direct`; there is no other.

    Raises:
        SpecError: the seed is out of range, or the recipe has no such variant.
        DeviceError: `device` is not the name of a device.
    """

    recipe: RecipeSource
    seed: int
    variant: str
    device: str = "cpu"
    options: tuple[tuple[str, OptionValue], ...] = ()
    arithmetic: Literal["direct"] = "direct"

    def __post_init__(self) -> None:
        check_seed(self.seed)
        variants = self.recipe.load().variants
        if self.variant not in variants:
            raise SpecError(
                f"there is no variant {self.variant!r} of {self.recipe.name}; expected {', '.join(variants)}"
            )
        object.__setattr__(self, "device", canonical_device(self.device))

    @property
    def target(self) -> "RecipeTarget":
        """Return the target: what is known of the recipe."""
        from paramshare.recipes.target import recipe_target

        return recipe_target(self.recipe)

    @property
    def steps(self) -> int:
        """Return the maximum number of steps."""
        steps = dict(self.options).get("steps", _DEFAULT_STEPS)
        return steps if isinstance(steps, int) else _DEFAULT_STEPS

    def instance(self) -> Recipe:
        """Return a new instance of the recipe, with the options of the variant if it sets some."""
        recipe = self.recipe.load()
        variant = recipe.variants[self.variant]
        changed = variant if isinstance(variant, Mapping) else {}
        return recipe(**{**dict(self.options), **changed})

    def as_dict(self) -> dict[str, OptionValue]:
        """Return the seed, variant, device, every option and the arithmetic, by name."""
        options = dict(self.options)
        return {
            "seed": self.seed, "variant": self.variant, "device": self.device, **options, "arithmetic": self.arithmetic,
        }  # fmt: skip

    def key(self) -> str:
        """Return a hash (32 hex digits) of everything that determines the run's numbers, and of nothing else.

        The source of the recipe is not part of it: `version` is.
        """
        fields = self.as_dict()
        del fields["arithmetic"]
        return hashed(f"{self.recipe.name}/{self.recipe.version}", fields)
