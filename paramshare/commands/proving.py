"""`paramshare reproduce`, `verify` and `flow verify`: whether what the store holds comes out again."""

from typing import TYPE_CHECKING

from pydantic import Field
from pydantic_settings import CliPositionalArg, SettingsConfigDict

from paramshare.commands.answer import answer
from paramshare.commands.store import address_of, ui_command
from paramshare.proof.spec import EngineSpec, RunId, SampleSpec, VerifySpec
from paramshare.settings import StoreSettings

if TYPE_CHECKING:
    from paramshare.proof.report import Reproduction, Verification

__all__ = ["FlowVerify", "Reproduce", "Verify"]


class Reproduce(StoreSettings, EngineSpec):
    """Train a run again from its id and compare every number with those in MLflow. Nothing is written.

    Exit code 0: all numbers are equal, bit for bit. If the processor, the versions, the number of threads, the device
    or the engine's arithmetic differ from those of the run, the deviation may be as large as that caused by one flipped
    bit in one weight. Exit code 1: the run was not reproduced.

    paramshare reproduce 209d02a9 --engine reference
    """

    model_config = SettingsConfigDict(extra="ignore")

    run_id: CliPositionalArg[RunId] = Field(description="the run's id in MLflow, or its first 8 digits or more")
    as_json: bool = Field(False, validation_alias="json", description="print one JSON object instead of text")

    def cli_cmd(self) -> None:
        """Train the run again and print the result."""
        from paramshare.console import print_reproduction, working
        from paramshare.proof.reproduce import reproduce

        with working(f"training {self.run_id} again"):
            outcome: Reproduction = reproduce(self.run_id, address_of(self), self.engine)
        answer(outcome, self.as_json, print_reproduction, ui_command(self))


class _VerifyCommand(StoreSettings, SampleSpec):
    model_config = SettingsConfigDict(extra="ignore")

    parent_run_id: CliPositionalArg[RunId | None] = Field(
        None, description=VerifySpec.model_fields["parent_run_id"].description
    )
    as_json: bool = Field(False, validation_alias="json", description="print one JSON object instead of a table")

    def verify_spec(self) -> VerifySpec:
        """Return the options of the verification, without those of the store and the output."""
        return VerifySpec(**{name: getattr(self, name) for name in VerifySpec.model_fields})

    def end(self, outcome: "Verification") -> None:
        """Print the result and exit with its code."""
        from paramshare.console import print_verification

        answer(outcome, self.as_json, print_verification, ui_command(self))


class Verify(_VerifyCommand):
    """Train a sample of a sweep's runs again, as `reproduce` does, and compare. Nothing is written.

    paramshare verify --sample 10
    """

    def cli_cmd(self) -> None:
        """Train the sample again in this process."""
        from paramshare.console import working
        from paramshare.proof.verify import verify

        with working("training the sample again"):
            outcome = verify(self.verify_spec(), address_of(self))
        self.end(outcome)


class FlowVerify(_VerifyCommand):
    """Run `verify` as a Prefect flow, a task for each run, with a report. It fails if a run is not reproduced.

    paramshare flow verify --sample 10
    """

    def cli_cmd(self) -> None:
        """Run the flow, against a Prefect API that is there or one that ends with this process."""
        from paramshare.proof.verify import draw_sample

        draw_sample(self.verify_spec(), address_of(self))  # bad input is said at once, and not by a failed flow
        from paramshare.flows.verify import run_verify_flow

        self.end(run_verify_flow(self.verify_spec(), address_of(self)))
