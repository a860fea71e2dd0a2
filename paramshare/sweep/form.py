"""The schema of a sweep's form: it refuses options and variants that the recipe does not have, and values out of range.

A schema knows the built-in recipes. The registration of a deployment adds those of its server, see `know`. A recipe
that a schema does not know is only checked when the sweep starts.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from typing import Any, Final

from paramshare.recipes.loading.find import installed_recipes
from paramshare.recipes.loading.forms import RecipeForm, form_of
from paramshare.recipes.target import TARGETS
from paramshare.sweep.lists import list_pattern

__all__ = ["as_json", "complete_schema", "know", "reference_schema", "without_null"]

_NULL: Final = {"type": "null"}
_WORDS: Final = ("default", "description")
_BOUNDS: Final = (
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern",
)  # fmt: skip

_known: list[RecipeForm] = []
"""The recipes that forms know beside those that are built in."""


def know(forms: str) -> None:
    """Add recipes to the forms that this process creates.

    Args:
        forms: the text of `as_json`.
    """
    _known[:] = [RecipeForm(**{**form, "references": tuple(form["references"])}) for form in json.loads(forms)]


def as_json(forms: Iterable[RecipeForm]) -> str:
    """Return forms as text, for `know` in another process."""
    return json.dumps([asdict(form) for form in forms])


def without_null(schema: dict[str, Any]) -> None:
    """Remove null from a schema: it stands for a default that the description names, and a form would offer it."""
    for field in schema["properties"].values():
        types = [schema for schema in field.get("anyOf", ()) if schema != _NULL]
        if len(types) == 1:
            del field["anyOf"]
            field.update(types[0])
        if field.get("default", ...) is None:
            del field["default"]


def reference_schema(schema: dict[str, Any]) -> None:
    """Add what a form accepts as a recipe: a built-in or installed one, a file or an import path."""
    names = "|".join(re.escape(name) for name in (*TARGETS, *installed_recipes()))
    examples = [form.references[0] for form in _known] or ["my_recipe.py:Spirals"]
    schema |= {"pattern": rf"^({names}|.+\.py|.+:.+)$", "examples": [*TARGETS, *examples]}


def complete_schema(schema: dict[str, Any]) -> None:
    """Complete the schema for a form: without null, with the options and variants of each known recipe."""
    default = schema["properties"]["target"]["default"]
    forms = [*(form_of(target, (name,)) for name, target in TARGETS.items()), *_known]
    own = list(schema["properties"])
    owners = dict[str, list[tuple[str, Mapping[str, Any]]]]()
    for form in forms:
        for name, field in form.options.items():
            owners.setdefault(name, []).append((form.name, field))
    fields = list(schema["properties"].items())
    place = own.index("options") + 1
    fields[place:place] = [(name, _option_schema(name, schemas)) for name, schemas in owners.items()]
    schema["properties"] = dict(fields)
    without_null(schema)
    schema["allOf"] = [_rule(form, own, is_default=default in form.references) for form in forms]


def _rule(form: RecipeForm, own: Collection[str], is_default: bool) -> dict[str, Any]:
    """Return what the values of a sweep of one recipe must fulfil.

    Args:
        own: the fields of every sweep.
        is_default: whether a sweep that names no recipe trains this one.
    """
    options = {name: _without(field, _WORDS) for name, field in form.options.items()}
    return {
        "if": {
            "properties": {"target": {"enum": list(form.references)}},
            "required": [] if is_default else ["target"],
        },
        "then": {
            "propertyNames": {"enum": [*own, *options]},
            "properties": {
                "variant": {"pattern": list_pattern("|".join(map(re.escape, form.variants)))},
                "options": {"properties": options, "additionalProperties": False},
                **{name: _or_null(field) for name, field in options.items()},
            },
        },
    }


def _option_schema(name: str, schemas: Collection[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return the field of an option of one or several recipes. It has no default, which is the recipe's.

    Args:
        schemas: the names of the recipes, each with the schema of its option.
    """
    (owner, first), *others = schemas
    defaults = [str(first["default"]), *(f"for {other} to {each['default']}" for other, each in others)]
    text = first["description"] if others else f"{owner}: {first['description']}"
    return {
        "title": name.replace("_", " ").title(),
        "description": f"{text}; defaults to {', '.join(defaults)}",
        **_shared([_without(each, _WORDS) for _, each in schemas]),
    }


def _shared(schemas: Collection[dict[str, Any]]) -> dict[str, Any]:
    """Return a schema for the values that one of several schemas accepts: its type, and bounds if all have the same."""
    for dropped in ((), _BOUNDS):
        different = {json.dumps(_without(each, dropped), sort_keys=True) for each in schemas}
        if len(different) == 1:
            return dict(json.loads(different.pop()))
    parts = [part for each in schemas for part in each.get("anyOf", [each])]
    return {"anyOf": [part for place, part in enumerate(parts) if part not in parts[:place]]}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that accepts null, too, as Prefect's server does: it stands for the default of the recipe."""
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], _NULL]}
    return {**schema, "type": [schema["type"], "null"]} if "type" in schema else schema


def _without(schema: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key not in names}
