"""`paramshare check`: try a recipe before it is trained."""

from functools import partial
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import AfterValidator, BaseModel, Field
from pydantic_settings import CliPositionalArg, SettingsConfigDict

from paramshare.commands.output import print_result
from paramshare.commands.recipes.options import DEFAULT, TrainingCommand
from paramshare.recipes.spec_values import canonical_device
from paramshare.recipes.target import Target

__all__ = ["Check"]


class _TrialOptions(BaseModel):
    """The options of a check."""

    seed: int = Field(0, ge=0, description="the seed of the trials")
    device: Annotated[str, AfterValidator(canonical_device)] = Field(
        "cpu", description="the device of the trials: cpu, cuda, cuda:N or mps"
    )


class _Asked(NamedTuple):
    """The recipe to check, and its options."""

    target: Target
    options: dict[str, Any]


class Check(TrainingCommand):
    """Build every variant of a recipe, count it, train some steps of it twice, and estimate what a sweep costs.

    Exit code 0: all is well. Exit code 1: a line that begins with !! names a problem. Nothing is written.

    paramshare check my_recipe.py:Spirals
    paramshare check my_recipe.py:Spirals --help    # the options of the recipe
    """

    model_config = SettingsConfigDict(extra="ignore")

    options_from: ClassVar[type[BaseModel]] = _TrialOptions

    target: CliPositionalArg[str] = Field(
        DEFAULT, description="the recipe to check: path/to/file.py:Class, or the name of a built-in or installed recipe"
    )
    as_json: bool = Field(False, validation_alias="json", description="print one JSON object instead of text")

    @classmethod
    def setting_names(cls) -> set[str]:
        """Return the names of settings. The seed and device of trials are not settings."""
        return super().setting_names() - set(_TrialOptions.model_fields)

    def spec(self) -> _Asked:
        """Return the recipe and its options."""
        assert self.trained is not None
        return _Asked(self.trained, self.recipe_options())

    def cli_cmd(self) -> None:
        """Check the recipe and print the result."""
        from paramshare.console import working
        from paramshare.console_recipes import print_check
        from paramshare.recipes.checking.check import check_recipe
        from paramshare.training.environment.devices import choose_devices, find_devices

        target, options = self.spec()
        (device,) = choose_devices((self.values.device,), find_devices())
        with working(f"checking {self.target}"):
            report = check_recipe(target, options, seed=self.values.seed, device=device)
        print_result(report, self.as_json, partial(print_check, reference=self.target), "")

    @property
    def values(self) -> _TrialOptions:
        """The options of the check."""
        return _TrialOptions(seed=getattr(self, "seed", 0), device=getattr(self, "device", "cpu"))
