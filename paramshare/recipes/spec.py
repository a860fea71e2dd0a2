"""Spec: everything that determines the numbers of one training, and its key."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from paramshare.errors import SpecError
from paramshare.recipes.loading.source import RecipeSource
from paramshare.recipes.parts import OptionValue
from paramshare.recipes.recipe import Recipe
from paramshare.recipes.spec_values import canonical_device, check_seed, hashed

if TYPE_CHECKING:
    from paramshare.recipes.target import Target

__all__ = ["Arithmetic", "Spec"]

Arithmetic = Literal["direct", "gram"]

_DEFAULT_STEPS = 1000  # of the default loop


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One training of a recipe. `Target.new` and `Recipe.spec` make it from values by name.

    Args:
        recipe: the recipe.
        seed: of everything that is drawn; 0 ≤ seed < 2**63.
        variant: the name of a variant.
        device: `cpu`, `mps`, `cuda:N`; `cuda` means `cuda:0`.
        options: the name and value of every option, in the order of the recipe.
        arithmetic: how numbers are added up. `direct` adds up as the reference does; the engine gram of DynamicNet
            computes the same mathematics with other roundings, and so other numbers.

    Raises:
        SpecError: the seed is out of range, or the recipe has no such variant or arithmetic.
        DeviceError: `device` is not the name of a device.
    """

    recipe: RecipeSource
    seed: int
    variant: str
    device: str = "cpu"
    options: tuple[tuple[str, OptionValue], ...] = ()
    arithmetic: Arithmetic = "direct"

    def __post_init__(self) -> None:
        check_seed(self.seed)
        recipe = self.recipe.load()
        if self.variant not in recipe.variants:
            raise SpecError(
                f"there is no variant {self.variant!r} of {self.recipe.name}; expected {', '.join(recipe.variants)}"
            )
        if self.arithmetic not in recipe._arithmetics:
            raise SpecError(
                f"arithmetic is {self.arithmetic!r}; expected {' or '.join(recipe._arithmetics)} for {self.recipe.name}"
            )
        object.__setattr__(self, "device", canonical_device(self.device))

    @property
    def target(self) -> "Target":
        """Return what is known of the recipe."""
        from paramshare.recipes.target import recipe_target

        return recipe_target(self.recipe)

    @property
    def steps(self) -> int:
        """Return the maximum number of steps."""
        steps = dict(self.options).get("steps", _DEFAULT_STEPS)
        return steps if isinstance(steps, int) else _DEFAULT_STEPS

    def replace(self, **values: Any) -> "Spec":
        """Return this spec with other values: of its fields, such as `seed`, or of options.

        Raises:
            SpecError: a value is not valid, or there is no such field or option.
        """
        own = {name: getattr(self, name) for name in ("seed", "variant", "device", "arithmetic")}
        return self.target.new(**{**own, **dict(self.options), **values})

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

        The source of the recipe is not part of it: `version` is. Equal keys mean equal numbers on the same device
        model, library build and thread count (PyTorch promises no more; those are provenance, not identity).
        """
        fields = self.as_dict()
        if self.arithmetic == "direct":  # as in the keys of the time when there was no other
            del fields["arithmetic"]
        fields |= self.recipe.load()._key_constants
        return hashed(f"{self.recipe.name}/{self.recipe.version}", fields)
