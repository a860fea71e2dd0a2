"""Describe a recipe for help and lists: its options, variants and metrics. Plain data; nothing of it runs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Final, Literal, get_args, get_origin

from paramshare.recipes.loading.declarations import option_types
from paramshare.recipes.parts import Options, OptionValue, Variant
from paramshare.recipes.target import Target

__all__ = ["OptionInfo", "RecipeInfo", "recipe_info", "recipe_options"]

_LOOP: Final[Mapping[str, str]] = MappingProxyType(
    {
        "steps": "steps of each training",
        "batch_size": "examples of a step",
        "learning_rate": "the learning rate of the optimizer",
        "momentum": "the momentum of the optimizer",
        "weight_decay": "the weight decay of the optimizer",
        "clip_norm": "maximum norm of the gradient",
        "precision": "the precision of forward and backward passes",
        "evaluate_every": "steps between two evaluations; 0 evaluates at the end only",
    }
)
"""The options that the default loop reads."""


@dataclass(frozen=True, slots=True)
class OptionInfo:
    """An option of a recipe.

    Args:
        type: such as `int`, `float or none`, or the choices, such as `moved, plain`.
        default: the default value.
        description: a few words.
    """

    name: str
    type: str
    default: OptionValue
    description: str

    @property
    def help(self) -> str:
        """Return the help of the command line. A default that pydantic does not show is part of it."""
        if self.default is True:
            return f"{self.description}; defaults to yes, --no-{self.name.replace('_', '-')} turns it off"
        if self.default is None:
            return f"{self.description}; defaults to none"
        return self.description


@dataclass(frozen=True, slots=True)
class RecipeInfo:
    """A recipe as lists show it.

    Args:
        line: one line about it.
        variants: how each variant is made, by name.
        metrics: `name, better: description`, the headline first.
    """

    name: str
    line: str
    version: int
    options: tuple[OptionInfo, ...]
    variants: Mapping[str, str]
    metrics: tuple[tuple[str, str, str], ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the object that `--json` prints."""
        return {
            "name": self.name,
            "line": self.line,
            "version": self.version,
            "options": [asdict(option) for option in self.options],
            "variants": dict(self.variants),
            "metrics": [{"name": name, "better": better, "description": text} for name, better, text in self.metrics],
        }


def recipe_options(options: type[Options]) -> tuple[OptionInfo, ...]:
    """Return the options of a recipe, in their order."""
    types = option_types(options)
    defaults = dict(options())
    return tuple(
        OptionInfo(name, _type_words(*types[name]), defaults[name], field.description or _words(name))
        for name, field in options.model_fields.items()
    )


def recipe_info(target: Target) -> RecipeInfo:
    """Return what lists show of a recipe whose code is known."""
    assert target.recipe is not None
    recipe = target.recipe.load()
    own_text = vars(recipe).get("__doc__") or ""  # not that of the base class
    return RecipeInfo(
        name=target.name,
        line=next(iter(own_text.strip().splitlines()), target.title),
        version=target.version,
        options=recipe_options(recipe.Options),
        variants={name: _variant_words(variant) for name, variant in recipe.variants.items()},
        metrics=tuple((metric.name, metric.better, metric.description) for metric in target.final_metrics),
    )


def _words(name: str) -> str:
    return _LOOP.get(name, name.replace("_", " "))


def _type_words(kind: Any, optional: bool) -> str:
    words = ", ".join(map(str, get_args(kind))) if get_origin(kind) is Literal else kind.__name__
    return f"{words} or none" if optional else words


def _variant_words(variant: Variant) -> str:
    """Return how a variant is made."""
    if variant is None:
        return "the model as built"
    if isinstance(variant, Mapping):
        return ", ".join(f"{name} = {value}" for name, value in variant.items())
    if callable(variant):
        name = getattr(variant, "__name__", "<lambda>")
        if variant.__doc__:
            return variant.__doc__.strip().splitlines()[0].rstrip(".")
        return "changed by a function" if name == "<lambda>" else f"changed by {name}"
    return f"untied along {', '.join(sorted(variant))}"
