"""`paramshare train`: a sweep on this machine."""

from functools import partial
from typing import TYPE_CHECKING, NoReturn

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from paramshare.commands.options import address_of, curves_place, flush_command, pages_place
from paramshare.commands.output import print_result
from paramshare.commands.recipes.options import TrainingCommand
from paramshare.settings import StoreSettings
from paramshare.sweep.spec import SweepSpec

if TYPE_CHECKING:
    from paramshare.sweep.result import SweepResult

__all__ = ["SweepCommand", "Train"]


class SweepCommand(StoreSettings, TrainingCommand):
    """The options and the output of commands that run a sweep."""

    model_config = SettingsConfigDict(extra="ignore")

    as_json: bool = Field(False, validation_alias="json", description="print one JSON object instead of a table")

    def spec(self) -> SweepSpec:
        """Return the spec of the sweep, without the options of the store and the output."""
        return SweepSpec(**self.sweep_values())

    def finish(self, result: "SweepResult") -> NoReturn:
        """Print the result and exit with its code."""
        from paramshare.console import print_sweep

        show = partial(print_sweep, curves=curves_place(self, result), flush_command=flush_command(self))
        print_result(result, self.as_json, show, pages_place(self), incomplete=result.kept)


class Train(SweepCommand):
    """Train a recipe with every seed on this machine; each training is a run in MLflow.

    paramshare train --seeds 0:100 --devices cpu
    paramshare train digits --channels 4
    paramshare train digits --help                  # the options of another recipe
    """

    def cli_cmd(self) -> None:
        """Run the sweep in this process and its own pools."""
        from paramshare.console import sweep_progress
        from paramshare.sweep.run import run_sweep

        with sweep_progress(flush_command(self)) as (on_open, on_row):
            tags = {"mlflow.source.name": "paramshare train", "mlflow.source.type": "LOCAL"}
            result = run_sweep(self.spec(), address_of(self), tags, on_open, on_row)
        self.finish(result)
