"""Check the class of a recipe: its name, options, variants and metrics. Nothing of it is trained here."""

import re
from collections.abc import Collection, Mapping
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

from paramshare.errors import SpecError
from paramshare.recipes.built_in import BUILT_IN
from paramshare.recipes.parts import Metric, Options
from paramshare.recipes.recipe import Recipe

__all__ = ["AXES", "RESERVED", "check_class", "option_types"]

AXES: Final = ("tie", "depth", "space", "dense")
"""The axes of `untie`, whose module loads torch."""

RESERVED: Final = (
    "arithmetic", "as_json", "checkpoint_every", "checkpoint_folder", "dask_scheduler", "device", "devices", "engine",
    "experiment", "force", "interest", "json", "key", "level", "metric", "options", "pages_url", "partial", "recipe",
    "same_source", "seed", "seeds", "spread", "target", "tracking_uri", "variant", "version", "workers",
)  # fmt: skip
"""Names of parameters and of the commands' own options, which an option of a recipe cannot have."""

_NAME: Final = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_METRIC: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_ .-]{0,99}")
_SCALARS: Final = (int, float, bool, str)


def check_class(recipe: type[Recipe], reference: str) -> None:
    """Check what a recipe declares.

    Raises:
        SpecError: a declaration is not valid.
    """
    if not isinstance(recipe.name, str) or not _NAME.fullmatch(recipe.name):
        raise SpecError(f"{reference}: name is {recipe.name!r}; expected lower-case letters, digits, _, . and -")
    if recipe.name in BUILT_IN:
        raise SpecError(f"{reference}: the name {recipe.name} is that of a built-in recipe; choose another `name`")
    if not isinstance(recipe.version, int) or isinstance(recipe.version, bool) or recipe.version < 1:
        raise SpecError(f"{reference}: version is {recipe.version!r}; expected a whole number from 1")
    for method in ("data", "model", "loss"):
        needed = method != "loss" or recipe.fit is Recipe.fit
        if needed and getattr(recipe, method) is getattr(Recipe, method):
            raise SpecError(f"{reference} has no method {method}; define it, see ps.Recipe")
    _check_options(recipe, reference)
    _check_variants(recipe, reference)
    _check_metrics(recipe, reference)


def option_types(options: type[Options]) -> dict[str, tuple[Any, bool]]:
    """Return the type of each option without None, and whether None is a value."""
    types = {}
    for name, field in options.model_fields.items():
        kinds = (
            get_args(field.annotation) if get_origin(field.annotation) in (Union, UnionType) else (field.annotation,)
        )
        rest = tuple(kind for kind in kinds if kind is not NoneType)
        types[name] = (rest[0] if len(rest) == 1 else rest, NoneType in kinds)
    return types


def _check_options(recipe: type[Recipe], reference: str) -> None:
    if not (isinstance(recipe.Options, type) and issubclass(recipe.Options, Options)):
        raise SpecError(f"{reference}: Options must be a class that inherits ps.Options")
    for name, (kind, _) in option_types(recipe.Options).items():
        field = recipe.Options.model_fields[name]
        if name in RESERVED or name.startswith("_"):
            raise SpecError(f"{reference}: an option cannot be called {name}; choose another name")
        if field.alias or field.validation_alias:
            raise SpecError(f"{reference}: the option {name} has an alias; name the option itself so")
        literal = get_origin(kind) is Literal and all(isinstance(value, _SCALARS) for value in get_args(kind))
        if kind not in _SCALARS and not literal:
            raise SpecError(
                f"{reference}: the option {name} is of type {kind}; expected int, float, bool, str, a Literal of "
                "these, or one of these or None"
            )
        if field.is_required():
            raise SpecError(f"{reference}: the option {name} has no default; every option needs one")
    try:
        recipe.Options()
    except ValueError as error:
        raise SpecError(f"{reference}: a default of Options is not valid: {_first(error)}") from error


def _check_variants(recipe: type[Recipe], reference: str) -> None:
    if not isinstance(recipe.variants, Mapping) or not recipe.variants:
        raise SpecError(f"{reference}: variants must be a dict with at least one entry")
    for name, variant in recipe.variants.items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            raise SpecError(f"{reference}: a variant is called {name!r}; expected letters, digits, _, . and -")
        if variant is None or callable(variant):
            continue
        if isinstance(variant, Mapping):
            unknown = sorted(set(variant) - set(recipe.Options.model_fields))
            if unknown:
                raise SpecError(f"{reference}: the variant {name} sets {', '.join(unknown)}, which is not an option")
            try:
                recipe.Options(**variant)
            except ValueError as error:
                raise SpecError(
                    f"{reference}: an option of the variant {name} is not valid: {_first(error)}"
                ) from error
        elif isinstance(variant, str) or not isinstance(variant, Collection) or not set(variant) <= set(AXES):
            raise SpecError(
                f"{reference}: the variant {name} is {variant!r}; expected None, axes of untie ({', '.join(AXES)}), a "
                "dict of options, or a function from module to module"
            )


def _check_metrics(recipe: type[Recipe], reference: str) -> None:
    names = [metric.name for metric in recipe.metrics if isinstance(metric, Metric)]
    if not names or len(names) != len(recipe.metrics) or len(set(names)) != len(names):
        raise SpecError(f"{reference}: metrics must be a tuple of ps.Metric with different names, at least one")
    for name in names:
        if not isinstance(name, str) or not _METRIC.fullmatch(name):
            raise SpecError(f"{reference}: a metric is called {name!r}; expected letters, digits, _, ., - and spaces")
    for metric in recipe.metrics:
        if metric.better not in ("lower", "higher"):
            raise SpecError(
                f"{reference}: the metric {metric.name} is better {metric.better!r}; expected lower or higher"
            )
        if metric.only and metric.only[0] not in recipe.Options.model_fields:
            raise SpecError(
                f"{reference}: the metric {metric.name} is only for {metric.only[0]}, which is not an option; expected "
                'the name and value of an option, such as ("noise", "none")'
            )


def _first(error: ValueError) -> str:
    """Return the first sentence of a validation error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[1:3]) if len(lines) > 2 else lines[0]
