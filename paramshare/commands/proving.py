"""`paramshare reproduce` and `verify`: train runs again and compare the numbers with those in the store."""

from typing import TYPE_CHECKING, NoReturn

from pydantic import Field
from pydantic_settings import CliPositionalArg, SettingsConfigDict

from paramshare.commands.options import address_of, pages_place, spec_of
from paramshare.commands.output import print_result
from paramshare.proof.spec import EngineSpec, RunId, SampleSpec, VerifySpec
from paramshare.settings import StoreSettings

if TYPE_CHECKING:
    from paramshare.proof.report import Reproduction, Verification

__all__ = ["Reproduce", "Verify", "VerifyCommand"]


class Reproduce(StoreSettings, EngineSpec):
    """Train a run again from its id and compare every number with those in MLflow. Nothing is written.

    Exit code 0: all numbers are equal, bit for bit. If the processor, the versions, the number of threads, the device
    or the engine's arithmetic differ from those of the run, the deviation may be as large as that caused by one flipped
    bit in one weight. Exit code 1: the run was not reproduced.

    paramshare reproduce 209d02a9 --engine reference
    paramshare reproduce 209d02a9 --recipe my_recipe.py:Spirals
    """

    model_config = SettingsConfigDict(extra="ignore")

    run_id: CliPositionalArg[RunId] = Field(description="the run's id in MLflow, or its first 8 digits or more")
    as_json: bool = Field(False, validation_alias="json", description="print one JSON object instead of text")

    def cli_cmd(self) -> None:
        """Train the run again and print the result."""
        from paramshare.console import print_reproduction, working
        from paramshare.proof.reproduce import reproduce

        with working(f"training {self.run_id} again"):
            reproduction: Reproduction = reproduce(self.run_id, address_of(self), self.engine, self.recipe)
        print_result(reproduction, self.as_json, print_reproduction, pages_place(self))


class VerifyCommand(StoreSettings, SampleSpec):
    """The options and the output of commands that verify a sweep."""

    model_config = SettingsConfigDict(extra="ignore")

    parent_run_id: CliPositionalArg[RunId | None] = Field(
        None, description=VerifySpec.model_fields["parent_run_id"].description
    )
    as_json: bool = Field(False, validation_alias="json", description="print one JSON object instead of a table")

    def spec(self) -> VerifySpec:
        """Return the options of the verification, without those of the store and the output."""
        return spec_of(self, VerifySpec)

    def finish(self, result: "Verification") -> NoReturn:
        """Print the result and exit with its code."""
        from paramshare.console import print_verification

        print_result(result, self.as_json, print_verification, pages_place(self))


class Verify(VerifyCommand):
    """Train a sample of a sweep's runs again, as `reproduce` does, and compare. Nothing is written.

    paramshare verify --sample 10
    """

    def cli_cmd(self) -> None:
        """Train the sample again in this process."""
        from paramshare.console import working
        from paramshare.proof.verify import verify

        with working("training the sample again"):
            result = verify(self.spec(), address_of(self))
        self.finish(result)
