"""SweepSpec: what to sweep. One pydantic model for the command line, the settings files, Python and Prefect's form."""

from dataclasses import replace
from typing import Annotated, Any, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    model_validator,
)

from paramshare.errors import SpecError
from paramshare.recipes.loading.find import find_target
from paramshare.recipes.loading.source import RecipeSource
from paramshare.recipes.parts import Metric, OptionValue
from paramshare.recipes.spec import Spec
from paramshare.recipes.spec_values import canonical_device
from paramshare.recipes.target import TARGETS, Target, recipe_target
from paramshare.sweep.form import complete_schema, reference_schema
from paramshare.sweep.lists import as_text, list_pattern, parse_list, parse_seeds
from paramshare.training.choice import ENGINES, Choice, Engine, choose_engine

__all__ = ["EngineAsked", "ExperimentName", "SweepSpec"]

_RECIPE: Final = "recipe"  # in the context of a validation


def _check_seeds(text: str) -> str:
    parse_seeds(text)
    return text


def _check_devices(text: str) -> str:
    for name in parse_list(text):
        if name != "auto":
            canonical_device(name)
    return text


def _check_engine(engine: Any) -> Any:
    if engine not in ENGINES:
        raise SpecError(f"there is no engine called {engine!r}; expected {', '.join(ENGINES)}")
    return engine


def _check_name(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise SpecError(f"experiment {text!r} is not a name; expected printable characters, at least one")
    return text


EngineAsked = Annotated[Engine, BeforeValidator(_check_engine)]
ExperimentName = Annotated[
    str, Field(max_length=250, json_schema_extra={"pattern": r"\S"}), AfterValidator(_check_name)
]


class SweepSpec(BaseModel):
    """A sweep: every variant with every seed on every device. The defaults train the article's net.

    Options of the recipe can be given by name, such as `SweepSpec(steps=100)`. They are kept in `options`.
    """

    model_config = ConfigDict(extra="forbid", json_schema_extra=complete_schema)

    target: str = Field(
        "dynamicnet",
        description="the recipe to train: dynamicnet (the article's net), digits (a small convolutional net and its "
        "locally connected and dense twins, on digits moved about a canvas), path/to/file.py:Class, or the name of an "
        "installed recipe",
        json_schema_extra=reference_schema,
    )
    seeds: Annotated[str, BeforeValidator(as_text), AfterValidator(_check_seeds)] = Field(
        "0:10",
        description="seeds: a:b (b excluded), single values, and lists of both, such as 0:100 or 3,7,9",
        json_schema_extra={"pattern": list_pattern(r"\d+(:\d+)?"), "examples": ["0:100", "3,7,9"]},
    )
    devices: Annotated[str, BeforeValidator(as_text), AfterValidator(_check_devices)] = Field(
        "auto",
        description="each seed is trained once on each of these devices: cpu, cuda, cuda:N, mps, a list such as "
        "cpu,cuda:0, or auto (all devices of this machine)",
        json_schema_extra={"pattern": list_pattern(r"auto|cpu|mps|cuda(:\d+)?"), "examples": ["cpu", "cpu,cuda:0"]},
    )
    spread: bool = Field(
        False,
        description="train each seed once, on whichever GPU of this machine is free; with --devices cuda. The runs are "
        "those of cuda:0",
    )
    variant: Annotated[str | None, BeforeValidator(as_text)] = Field(
        None,
        description="dynamicnet: shared (one middle layer), untied (one for each application); digits: conv, local, "
        "dense; of another recipe, its variants; or a list such as shared,untied; defaults to the first of these",
        json_schema_extra={"pattern": list_pattern(r"[A-Za-z0-9][A-Za-z0-9_.\-]*"), "examples": ["shared,untied"]},
    )
    options: dict[str, OptionValue] = Field(
        default_factory=dict,
        description='the options of the recipe by name, such as {"width": 64}; each can also stand beside the others',
    )
    engine: EngineAsked = Field(
        "auto",
        description="how runs are computed: reference (the plain loop), exact (the same bits at nearly twice the "
        "speed, on the CPU), gram (the same mathematics with other roundings at six times the speed, on CUDA many "
        "seeds at once), or auto (exact on the CPU, gram on CUDA)",
    )
    experiment: ExperimentName = Field("paramshare", description="the MLflow experiment that holds the runs")
    same_source: bool = Field(
        False, description="use finished runs of a recipe whose source has changed since, although its version has not"
    )
    force: bool = Field(False, description="train again, even if the store has finished runs")
    checkpoint_every: float = Field(
        60,
        ge=0,
        allow_inf_nan=False,
        description="seconds between two checkpoints of a recipe's training, which goes on from its last one if it is "
        "killed; 0 for none",
    )
    checkpoint_folder: str | None = Field(
        None,
        min_length=1,
        description="the folder of checkpoints, such as one that several machines share; defaults to checkpoints "
        "beside the store",
    )
    workers: int | None = Field(
        None,
        ge=1,
        description="processes of each device, on a GPU at most four; defaults to one per core, 1.5 per core with an "
        "MLflow server",
    )

    _trained: Target | None = PrivateAttr(None)

    @classmethod
    def of_recipe(cls, source: RecipeSource, **values: Any) -> Self:
        """Return the sweep of a recipe whose class this process has, such as one of a notebook.

        Args:
            values: the other fields by name.

        Raises:
            pydantic.ValidationError: a value is not valid.
        """
        return cls.model_validate({"target": source.reference, **values}, context={_RECIPE: source})

    @model_validator(mode="before")
    @classmethod
    def _takes_options(cls, values: Any, info: ValidationInfo) -> Any:
        """Move the options of the recipe that stand beside the other fields into `options`.

        Raises:
            SpecError: a value is neither a field nor an option of the recipe.
        """
        beside = [name for name in values if name not in cls.model_fields] if isinstance(values, dict) else []
        if not beside:
            return values
        target = _asked(values.get("target", cls.model_fields["target"].default), info)
        for name in beside:
            if name not in target.options and any(name in other.options for other in TARGETS.values()):
                option = f"--{name.replace('_', '-')}"
                raise SpecError(f"{option} is {values[name]!r}, which is not an option of {target.name}; leave it out")
        own = {name: values[name] for name in beside if name in target.options and values[name] is not None}
        rest = {name: value for name, value in values.items() if name not in beside or name not in target.options}
        return {**rest, "options": {**values.get("options", {}), **own}}

    @model_validator(mode="after")
    def _fits_the_target(self, info: ValidationInfo) -> Self:
        self._trained = target = _asked(self.target, info)
        for name in self.variant_list:
            if name not in target.variants:
                raise SpecError(
                    f"there is no variant {name!r} of {target.name}; "
                    f"expected {', '.join(target.variants)} or a list of them"
                )
        if self.spread and (others := [name for name in self.device_list if name.startswith("cuda:")]):
            raise SpecError(
                f"--spread trains on every GPU, and --devices names {', '.join(others)}; pass --devices cuda; "
                "CUDA_VISIBLE_DEVICES chooses GPUs"
            )
        valid = target.values_of(self.options)
        self.options = {name: valid[name] for name in valid if name in self.options}
        return self

    @property
    def trained(self) -> Target:
        """The target that is trained. A recipe is read once: changes of its file have no effect on this spec."""
        if self._trained is None:
            self._trained = find_target(self.target)
        return self._trained

    @property
    def headline(self) -> Metric:
        """The metric by which the variants are compared."""
        return self.trained.final_metrics_of(self.run_options)[0]

    @property
    def run_options(self) -> dict[str, object]:
        """The options of every run beside its seed, variant and device, defaults of the target included."""
        return dict(self.trained.values_of(self.options))

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds, in the order of the option."""
        return parse_seeds(self.seeds)

    @property
    def device_list(self) -> tuple[str, ...]:
        """The devices as given, which may include `auto`."""
        return parse_list(self.devices)

    @property
    def variant_list(self) -> tuple[str, ...]:
        """The variants, in the order of the option."""
        return self.trained.variants[:1] if self.variant is None else parse_list(self.variant)

    def choices(self, devices: tuple[str, ...]) -> tuple[Choice, ...]:
        """Return the engine of every variant on every device, for the seed 0.

        Args:
            devices: the names of the devices that `devices` means on this machine.

        Raises:
            SpecError: the engine does not run on one of the devices.
        """
        new, options = self.trained.new, self.run_options
        return tuple(
            choose_engine(new(seed=0, variant=variant, device=device, **options), self.engine)
            for variant in self.variant_list
            for device in devices
        )

    def run_choices(self, devices: tuple[str, ...]) -> tuple[Choice, ...]:
        """Return the spec and engine of every run: every variant, device and seed, in that order.

        Args:
            devices: see `choices`.

        Raises:
            SpecError: the engine does not run on one of the devices.
        """
        seeds = self.seed_list
        return tuple(
            replace(choice, spec=replace(choice.spec, seed=seed)) for choice in self.choices(devices) for seed in seeds
        )

    def train_specs(self, devices: tuple[str, ...]) -> tuple[Spec, ...]:
        """Return the spec of every run, see `run_choices`.

        Raises:
            SpecError: the engine does not run on one of the devices.
        """
        return tuple(choice.spec for choice in self.run_choices(devices))


def _asked(reference: Any, info: ValidationInfo) -> Target:
    """Return the recipe of a validation: that of its context, or the one that `target` names.

    Raises:
        SpecError: there is no such recipe.
    """
    if info.context and _RECIPE in info.context:
        return recipe_target(info.context[_RECIPE])
    return find_target(str(reference))
