"""Target: what is known of a recipe, from its class or from a run that it trained. Plain data."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import ValidationError

from paramshare.errors import SpecError
from paramshare.recipes.built_in import BUILT_IN
from paramshare.recipes.loading.declarations import option_types
from paramshare.recipes.loading.source import RecipeSource
from paramshare.recipes.metrics import COSTS, FINAL, LOSS, MACS
from paramshare.recipes.parts import Metric, OptionValue
from paramshare.recipes.recipe import Recipe
from paramshare.recipes.spec import Spec

__all__ = ["TARGETS", "Target", "described_target", "recipe_target", "target_named", "target_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A recipe: its identity, and everything that a reader of its runs needs.

    Args:
        name, version, digest: of the recipe.
        title: the name for titles.
        variants: the one that shares most first.
        loss: the loss in words.
        final_metrics: of a trained model, such as `final/accuracy`; the first that a run has is the headline.
        curves: the metrics of every step that each run has, the loss first.
        dataset: the beginning of the names of its datasets in MLflow, before the seed.
        source: the origin of the data, beside the seed.
        counts_macs: whether its runs have the multiply-accumulates of an example.
        converges: whether a training can end before its last step.
        recipe: the recipe; None if the target was read from a run. Then it makes no specs.
    """

    name: str
    version: int
    digest: str
    title: str
    variants: tuple[str, ...]
    loss: str
    final_metrics: tuple[Metric, ...]
    curves: tuple[str, ...] = (LOSS,)
    dataset: str
    source: Mapping[str, object] = field(hash=False)
    counts_macs: bool = True
    converges: bool = True
    recipe: RecipeSource | None

    @property
    def built_in(self) -> bool:
        """Return whether the recipe is part of this package."""
        return self.name in BUILT_IN

    @property
    def options(self) -> dict[str, OptionValue]:
        """Return the default of every option by name."""
        return dict(self._source().load().Options())

    def option_schemas(self) -> dict[str, Any]:
        """Return the JSON schema of every option by name."""
        return dict(self._source().load().Options.model_json_schema()["properties"])

    def final_metrics_of(self, options: Mapping[str, object]) -> tuple[Metric, ...]:
        """Return the metrics of a model that was trained with these options, the headline first."""
        return tuple(metric for metric in self.final_metrics if metric.applies_to(options))

    def metrics_of(self, options: Mapping[str, object]) -> tuple[Metric, ...]:
        """Return the metrics by which runs with these options can be compared."""
        costs = tuple(metric for metric in COSTS if self.counts_macs or metric.name != MACS)
        return (*self.final_metrics_of(options), *costs)

    def new(self, **values: Any) -> Spec:
        """Return a spec with these values; missing options have their defaults.

        Raises:
            SpecError: a value is not valid, there is no such option or variant, or the target was read from a run.
            DeviceError: `device` is not the name of a device.
        """
        source = self._source()
        own = {name: values.pop(name) for name in ("seed", "variant", "device", "arithmetic") if name in values}
        own.setdefault("variant", self.variants[0])
        return Spec(recipe=source, options=tuple(self.values_of(values).items()), **own)

    def values_of(self, options: Mapping[str, Any]) -> dict[str, OptionValue]:
        """Return the value of every option, in the order of the recipe; missing ones have their defaults.

        Raises:
            SpecError: a value is not valid, there is no such option, or the target was read from a run.
        """
        try:
            valid = self._source().load().Options(**options)
        except ValidationError as error:
            raise SpecError("; ".join(_sentence(entry, self.name) for entry in error.errors())) from error
        return {name: value + 0.0 if isinstance(value, float) else value for name, value in valid}  # 0.0 for -0.0

    def parse(self, params: Mapping[str, str]) -> Spec:
        """Return the spec that a run's parameters give.

        Raises:
            KeyError: a parameter is missing.
            SpecError, ValueError: the parameters are not a valid spec, or the target was read from a run.
        """
        types = option_types(self._source().load().Options)
        options = {name: _value(params[name], *types[name]) for name in types}
        own = {name: params[name] for name in ("variant", "device", "arithmetic")}
        return self.new(seed=int(params["seed"]), **own, **options)

    def shape(self, spec: Spec) -> Spec:
        """Return the spec of seed 0 on the CPU with the defaults of all options that do not change the model's graph.

        It is equal for models of one graph.
        """
        names = self._source().load().graph_options
        kept = {name: value for name, value in spec.options if names is None or name in names}
        return self.new(variant=spec.variant, seed=0, **kept)

    def description(self) -> str:
        """Return everything that a reader of runs needs of the recipe, as JSON. See `described_target`."""
        final_metrics = [
            [each.name, each.description, each.better, *([each.only] if each.only else [])]
            for each in self.final_metrics
        ]
        content = {
            "name": self.name, "version": self.version, "digest": self.digest, "title": self.title,
            "variants": self.variants, "loss": self.loss, "metrics": final_metrics,
            **({} if self.counts_macs else {"counts_macs": False}),
            **({} if self.dataset == f"{self.name}-seed-" else {"dataset": self.dataset}),
        }  # fmt: skip
        return json.dumps(content, separators=(",", ":"))

    def _source(self) -> RecipeSource:
        if self.recipe is None:
            raise SpecError(
                f"the code of the recipe {self.name} is not known here; pass it with --recipe path/to/file.py:Class"
            )
        return self.recipe


@lru_cache(maxsize=64)
def recipe_target(source: RecipeSource) -> Target:
    """Return the target of a recipe. Its code runs if this process has not loaded it."""
    recipe = source.load()
    final_metrics = tuple(
        replace(each, name=FINAL + each.name, description=each.description or each.name) for each in recipe.metrics
    )
    own_source = {"recipe": source.name, "version": source.version, "digest": source.digest}
    return Target(
        name=source.name,
        version=source.version,
        digest=source.digest,
        title=recipe.title,
        variants=tuple(recipe.variants),
        loss=recipe.loss_name,
        final_metrics=final_metrics,
        curves=(LOSS, *recipe._curves),
        dataset=f"{recipe.data_name or source.name}-seed-",
        source=recipe.data_source or own_source,
        counts_macs=recipe.counts_macs,
        converges=source.name not in BUILT_IN or recipe.should_stop is not Recipe.should_stop,
        recipe=source,
    )


@lru_cache(maxsize=256)
def described_target(text: str) -> Target:
    """Return the target that a run's description gives, without the recipe's code.

    Raises:
        SpecError: the text is not a description.
    """
    try:
        content = json.loads(text)
        own = {name: content[name] for name in ("name", "version", "digest")}
        return Target(
            **own,
            title=content["title"],
            variants=tuple(content["variants"]),
            loss=content["loss"],
            final_metrics=tuple(_metric(*values) for values in content["metrics"]),
            dataset=content.get("dataset", f"{content['name']}-seed-"),
            counts_macs=content.get("counts_macs", True),
            source={"recipe": own["name"], "version": own["version"], "digest": own["digest"]},
            recipe=None,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise SpecError(f"a run's description of its recipe is not valid ({error!r})") from error


def _metric(name: str, text: str, better: Any, only: list[Any] | None = None) -> Metric:
    return Metric(name, text, better, None if only is None else (only[0], only[1]))


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
    text = entry["msg"].removeprefix("Value error, ").replace("Input should be ", "expected ")
    text = re.sub(r"^expected (?=greater|less)", "expected a number ", text)
    return f"{name} is {entry['input']!r}; {text}"


TARGETS: Final = {name: recipe_target(source) for name, source in BUILT_IN.items()}
"""Every built-in recipe by its name."""


def target_named(name: str) -> Target:
    """Return the built-in recipe called `name`.

    Raises:
        SpecError: there is none.
    """
    if name not in TARGETS:
        raise SpecError(f"there is no recipe called {name!r}; expected {' or '.join(TARGETS)}")
    return TARGETS[name]


def target_of(spec: object) -> Target:
    """Return the recipe of a spec.

    Raises:
        SpecError: it is not a spec.
    """
    if not isinstance(spec, Spec):
        given = f"the class {spec.__name__}" if isinstance(spec, type) else f"of type {type(spec).__name__}"
        raise SpecError(f"spec is {given}; expected a spec, such as TrainSpec(seed=0)")
    return spec.target
