"""`paramshare train` and `paramshare flow sweep`: the same sweep, without Prefect or as a flow."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from paramshare.commands.answer import answer
from paramshare.commands.store import address_of, curves_place, flush_command, ui_command
from paramshare.settings import DaskSettings, StoreSettings
from paramshare.sweep.spec import SweepSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paramshare.sweep.run import Outcome
    from paramshare.training.devices import Device

__all__ = ["FlowSweep", "SweepCommand", "Train", "devices_of", "flow_prepared"]


class SweepCommand(StoreSettings, SweepSpec):
    """What the commands that sweep have in common."""

    model_config = SettingsConfigDict(extra="ignore")

    as_json: bool = Field(False, validation_alias="json", description="print one JSON object instead of a table")

    def sweep_spec(self) -> SweepSpec:
        """What to sweep, without where and how it is shown."""
        return SweepSpec(**{name: getattr(self, name) for name in SweepSpec.model_fields})

    def end(self, outcome: "Outcome") -> NoReturn:
        """Print what came out and leave with the exit code."""
        from paramshare.console import print_outcome

        curves = curves_place(self, outcome)
        show = partial(print_outcome, curves=curves, flush_command=flush_command(self))
        answer(outcome, self.as_json, show, ui_command(self), waits=outcome.kept)


class Train(SweepCommand):
    """Train every variant with every seed on this machine; each training is a run in MLflow.

    paramshare train --seeds 0:100 --devices cpu
    """

    def cli_cmd(self) -> None:
        """Run the sweep in this process and its own pool."""
        from paramshare.console import sweep_progress
        from paramshare.sweep.run import run_sweep

        with sweep_progress(flush_command(self)) as (on_open, on_row):
            tags = {"mlflow.source.name": "paramshare train", "mlflow.source.type": "LOCAL"}
            outcome = run_sweep(self.sweep_spec(), address_of(self), tags, on_open, on_row)
        self.end(outcome)


class FlowSweep(SweepCommand, DaskSettings):
    """Run the sweep of `train` as a Prefect flow, with history and a report, on your Prefect server or a temporary one.

    paramshare flow sweep --seeds 0:100 --devices auto
    """

    model_config = SettingsConfigDict(extra="ignore")

    def cli_cmd(self) -> None:
        """Run the flow, against a Prefect API that is there or one that ends with this process."""
        from paramshare.console import sweep_progress
        from paramshare.sweep.run import check_sweep

        with sweep_progress(flush_command(self)) as (on_open, on_row):
            address = address_of(self)
            check_sweep(self.sweep_spec(), address, devices_of(self))  # bad input is said at once, not by a failed flow
            with flow_prepared(self):
                from paramshare.flows.sweep import run_flow

                outcome = run_flow(self.sweep_spec(), address, on_open, on_row, self.dask_scheduler)
        self.end(outcome)


def devices_of(settings: DaskSettings) -> "Sequence[Device] | None":
    """The devices of the Dask cluster that is to train; None where this machine does.

    Raises:
        ServerError, UsageError: there is no cluster, or it cannot run this.
    """
    if settings.dask_scheduler is None:
        return None
    from paramshare.flows.cluster import find_cluster

    return find_cluster(settings.dask_scheduler, address_of(settings)).devices


@contextmanager
def flow_prepared(settings: DaskSettings) -> Iterator[None]:
    """Prepare for a flow that trains, which the block runs. To be entered before Prefect is imported.

    Prefect logs warnings alone if a bar shows the progress. The server that workers are forked from and Prefect's
    server start now: they import what they need while this process does.

    Raises:
        SettingsError: Prefect cannot read its folder, or keep its history there.
    """
    if sys.stderr.isatty():
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "WARNING")
    import paramshare.flows  # noqa: F401 - refuses a folder that cannot be read, before processes import Prefect

    if settings.dask_scheduler is None:
        from paramshare.sweep.pools import start_server

        start_server("paramshare.flows.sweep")
    from paramshare.flows.server import server_starting

    with server_starting():
        yield
