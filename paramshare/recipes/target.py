"""RecipeTarget: what is known of a recipe, from its class or from a run that it trained. Plain data."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import ValidationError

from paramshare.errors import SpecError
from paramshare.recipes.loading.declarations import option_types
from paramshare.recipes.loading.source import RecipeSource
from paramshare.recipes.spec import OptionValue, RecipeSpec
from paramshare.training.targets import LOSS, Metric, Target

__all__ = ["RecipeTarget", "described_target", "recipe_target"]

_PREFIX: Final = "final/"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeTarget(Target):
    """A recipe as a target.

    Args:
        version, digest: of the recipe.
        recipe: the recipe; None if the target was read from a run. Then it makes no specs.
    """

    version: int
    digest: str
    recipe: RecipeSource | None

    @property
    def options(self) -> dict[str, object]:
        """Return the default of every option by name."""
        return dict(self._source().load().Options())

    def new(self, **values: object) -> RecipeSpec:
        """Return a spec with these values; missing options have their defaults.

        Raises:
            SpecError: a value is not valid, there is no such option or variant, or the target was read from a run.
            DeviceError: `device` is not the name of a device.
        """
        source = self._source()
        own: dict[str, Any] = {name: values.pop(name) for name in ("seed", "variant", "device") if name in values}
        values.pop("arithmetic", None)
        own.setdefault("variant", self.variants[0])
        try:
            options = source.load().Options(**values)
        except ValidationError as error:
            raise SpecError("; ".join(_sentence(entry, self.name) for entry in error.errors())) from error
        return RecipeSpec(recipe=source, options=tuple(map(_canonical, dict(options).items())), **own)

    def parse(self, params: Mapping[str, str]) -> RecipeSpec:
        """Return the spec that a run's parameters give.

        Raises:
            KeyError: a parameter is missing.
            SpecError: the parameters are not a valid spec, or the target was read from a run.
        """
        types = option_types(self._source().load().Options)
        options = {name: _value(params[name], *types[name]) for name in types}
        return self.new(seed=int(params["seed"]), variant=params["variant"], device=params["device"], **options)

    def shape(self, spec: Any) -> RecipeSpec:
        """Return the spec of seed 0 on the CPU: equal for models of one graph."""
        return self.new(variant=spec.variant, seed=0, device="cpu", **dict(spec.options))

    def description(self) -> str:
        """Return everything that a reader of runs needs of the recipe, as JSON. See `described_target`."""
        finals = [[metric.name, metric.description, metric.better] for metric in self.finals]
        content = {
            "name": self.name, "version": self.version, "digest": self.digest, "title": self.title,
            "variants": self.variants, "loss": self.loss, "metrics": finals,
        }  # fmt: skip
        return json.dumps(content, separators=(",", ":"))

    def _source(self) -> RecipeSource:
        if self.recipe is None:
            raise SpecError(
                f"the code of the recipe {self.name} is not known here; pass it with --recipe path/to/file.py:Class"
            )
        return self.recipe


@lru_cache(maxsize=64)
def recipe_target(source: RecipeSource) -> RecipeTarget:
    """Return the target of a recipe. Its code runs if this process has not loaded it."""
    recipe = source.load()
    finals = tuple(
        Metric(_PREFIX + metric.name, metric.description or metric.name, metric.better) for metric in recipe.metrics
    )
    return _target(
        source.name, source.version, source.digest, recipe.__name__, tuple(recipe.variants), recipe.loss_name, finals,
        source,
    )  # fmt: skip


@lru_cache(maxsize=256)
def described_target(text: str) -> RecipeTarget:
    """Return the target that a run's description gives, without the recipe's code.

    Raises:
        SpecError: the text is not a description.
    """
    try:
        content = json.loads(text)
        finals = tuple(Metric(*values) for values in content["metrics"])
        return _target(
            content["name"], content["version"], content["digest"], content["title"], tuple(content["variants"]),
            content["loss"], finals, None,
        )  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        raise SpecError(f"a run's description of its recipe is not valid ({error!r})") from error


def _target(
    name: str,
    version: int,
    digest: str,
    title: str,
    variants: tuple[str, ...],
    loss: str,
    finals: tuple[Metric, ...],
    source: RecipeSource | None,
) -> RecipeTarget:
    return RecipeTarget(
        name=name,
        title=title,
        spec=RecipeSpec,
        variants=variants,
        loss=loss,
        curves=(LOSS,),
        finals=finals,
        dataset=f"{name}-seed-",
        source={"recipe": name, "version": version, "digest": digest},
        shapes=(),
        counts_macs=True,
        converges=True,
        version=version,
        digest=digest,
        recipe=source,
    )


def _canonical(option: tuple[str, OptionValue]) -> tuple[str, OptionValue]:
    """Return an option with 0.0 for -0.0: the two have one key."""
    name, value = option
    return name, value + 0.0 if isinstance(value, float) else value


def _value(text: str, kind: Any, optional: bool) -> OptionValue:
    """Return the value of an option whose text a run has."""
    if optional and text == "None":
        return None
    if get_origin(kind) is Literal:
        matches = [value for value in get_args(kind) if str(value) == text]
        if not matches:
            raise SpecError(f"{text!r} is not one of {', '.join(map(str, get_args(kind)))}")
        return matches[0]  # type: ignore[no-any-return]
    if kind is bool:
        return {"True": True, "False": False}[text]
    return kind(text)  # type: ignore[no-any-return]


def _sentence(entry: Any, recipe: str) -> str:
    """Return one sentence about a value that an option does not accept."""
    name = ".".join(map(str, entry["loc"])) or "the options"
    if entry["type"] == "extra_forbidden":
        return f"{recipe} has no option {name}; leave it out"
    if not entry["loc"]:
        return str(entry["msg"]).removeprefix("Value error, ")
    return f"{name} is {entry['input']!r}; {entry['msg'].removeprefix('Value error, ')}"
