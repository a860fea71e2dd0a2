"""`paramshare check`: try a recipe before it is trained."""

from functools import partial
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import AfterValidator, BaseModel, Field
from pydantic_settings import CliPositionalArg, SettingsConfigDict

from paramshare.commands.output import print_result
from paramshare.commands.recipes.options import DEFAULT, TrainingCommand
from paramshare.errors import UsageError
from paramshare.recipes.target import RecipeTarget
from paramshare.training.spec import canonical_device

__all__ = ["Check"]


class _TrialOptions(BaseModel):
    """The options of a check."""

    seed: int = Field(0, ge=0, description="the seed of the trials")
    device: Annotated[str, AfterValidator(canonical_device)] = Field(
        "cpu", description="the device of the trials: cpu, cuda, cuda:N or mps"
    )


class _Asked(NamedTuple):
    """The recipe to check, and its options."""

    target: RecipeTarget
    options: dict[str, Any]


class Check(TrainingCommand):
    """Build every variant of a recipe, count it, train some steps of it twice, and estimate what a sweep costs.

    Exit code 0: all is well. Exit code 1: a line that begins with !! names a problem. Nothing is written.

    paramshare check my_recipe.py:Spirals
    paramshare check my_recipe.py:Spirals --help    # the options of the recipe
    """

    model_config = SettingsConfigDict(extra="ignore")

    options_from: ClassVar[type[BaseModel]] = _TrialOptions
    trains_built_in: ClassVar[bool] = False

    target: CliPositionalArg[str] = Field(
        DEFAULT, description="the recipe to check: path/to/file.py:Class, or the name of an installed recipe"
    )
    as_json: bool = Field(False, validation_alias="json", description="print one JSON object instead of text")

    @classmethod
    def setting_names(cls) -> set[str]:
        """Return the names of settings. The seed and device of trials are not settings."""
        return super().setting_names() - set(_TrialOptions.model_fields)

    def spec(self) -> _Asked:
        """Return the recipe and its options."""
        if not isinstance(self.trained, RecipeTarget):
            raise UsageError(f"{self.target} is built in; pass a recipe of yours, such as path/to/file.py:Class")
        options = self.recipe_options()
        self.trained.new(variant=self.trained.variants[0], seed=0, **options)
        return _Asked(self.trained, options)

    def cli_cmd(self) -> None:
        """Check the recipe and print the result."""
        from paramshare.console import working
        from paramshare.console_recipes import print_check
        from paramshare.recipes.checking.check import check_recipe
        from paramshare.training.devices import choose_devices, find_devices

        target, options = self.spec()
        (device,) = choose_devices((self.values.device,), find_devices())
        with working(f"checking {self.target}"):
            report = check_recipe(target, options, seed=self.values.seed, device=device)
        print_result(report, self.as_json, partial(print_check, reference=self.target), "")

    @property
    def values(self) -> _TrialOptions:
        """The options of the check."""
        return _TrialOptions(seed=getattr(self, "seed", 0), device=getattr(self, "device", "cpu"))
