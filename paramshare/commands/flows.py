"""The commands of `paramshare flow`: the spec of another command, run as a Prefect flow."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic_settings import SettingsConfigDict

from paramshare.commands.comparing import StudyCommand
from paramshare.commands.options import address_of, flush_command
from paramshare.commands.proving import VerifyCommand
from paramshare.commands.training import SweepCommand
from paramshare.settings import DaskSettings, StoreSettings

if TYPE_CHECKING:
    from paramshare.training.environment.devices import Device

__all__ = ["FlowCommand", "FlowStudy", "FlowSweep", "FlowVerify"]


class FlowCommand(StoreSettings):
    """A command whose spec a Prefect flow runs. Subclasses inherit first from the command with the spec's options."""

    def flow(self) -> Any:
        """Return the flow. Prefect is imported here, not before."""
        raise NotImplementedError

    def spec(self) -> Any:
        """Return the only parameter of the flow."""
        raise NotImplementedError

    def finish(self, result: Any) -> NoReturn:
        """Print the result and exit with its code."""
        raise NotImplementedError

    def check(self) -> None:
        """Check the options before the flow starts, so that bad input is an error of one line, not a failed flow."""

    @contextmanager
    def prepared(self) -> Iterator[dict[str, Any]]:
        """Yield the arguments of the flow's context, beside the address of the store."""
        self.check()
        yield {}

    def cli_cmd(self) -> None:
        """Run the flow, against the configured Prefect API or a server that ends with this process."""
        with self.prepared() as arguments:
            flow = self.flow()
            from paramshare.flows.context import FlowContext, run_flow

            result = run_flow(flow, self.spec(), FlowContext(address_of(self), **arguments))
        self.finish(result)


class _TrainingFlow(FlowCommand, DaskSettings):
    """A flow that trains: on this machine, or on a Dask cluster."""

    @contextmanager
    def prepared(self) -> Iterator[dict[str, Any]]:
        """Show the progress of the sweep, and start the servers that the flow needs.

        Prefect logs only warnings if a bar shows the progress. The server that workers are forked from and Prefect's
        server start now: they import what they need while this process does.

        Raises:
            SettingsError: Prefect cannot read its folder, or keep its history there.
        """
        from paramshare.console import sweep_progress
        from paramshare.sweep.plan import check_sweep

        with sweep_progress(flush_command(self)) as (on_open, on_row):
            plan = check_sweep(self.spec(), address_of(self), self._devices())
            if sys.stderr.isatty():
                os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "WARNING")
            import paramshare.flows  # noqa: F401 - refuses an unreadable folder before other processes import Prefect

            if self.dask_scheduler is None:
                from paramshare.sweep.workers.forkserver import start_server
                from paramshare.sweep.workers.pools import engine_modules

                start_server("paramshare.flows.tasks.training", *engine_modules(plan.choices))
            from paramshare.flows.api.server import server_starting

            with server_starting():
                yield {"on_open": on_open, "on_row": on_row, "dask_scheduler": self.dask_scheduler}

    def _devices(self) -> "Sequence[Device] | None":
        """Return the devices of the Dask cluster; None if this machine trains.

        Raises:
            ServerError, UsageError: there is no cluster, or its workers cannot train this.
        """
        if self.dask_scheduler is None:
            return None
        from paramshare.flows.tasks.cluster import find_cluster

        return find_cluster(self.dask_scheduler, address_of(self)).devices


class FlowSweep(SweepCommand, _TrainingFlow):
    """Run the sweep of `train` as a Prefect flow, with history and a report, on your Prefect server or a temporary one.

    paramshare flow sweep --seeds 0:100 --devices auto
    paramshare flow sweep digits --help             # the options of another recipe
    """

    model_config = SettingsConfigDict(extra="ignore")

    def flow(self) -> Any:
        """Return the flow."""
        from paramshare.flows.sweep import sweep

        return sweep


class FlowStudy(StudyCommand, _TrainingFlow):
    """Run `study` as a Prefect flow, with history and a report, on your Prefect server or a temporary one.

    paramshare flow study --variant shared,untied --seeds 0:100 --devices auto
    paramshare flow study digits --help             # the options of another recipe
    """

    model_config = SettingsConfigDict(extra="ignore")

    def flow(self) -> Any:
        """Return the flow."""
        from paramshare.flows.study import study

        return study


class FlowVerify(VerifyCommand, FlowCommand):
    """Run `verify` as a Prefect flow, a task for each run, with a report. It fails if a run is not reproduced.

    paramshare flow verify --sample 10
    """

    def flow(self) -> Any:
        """Return the flow."""
        from paramshare.flows.verify import verify

        return verify

    def check(self) -> None:
        """Check that the sweep exists."""
        from paramshare.proof.verify import draw_sample

        draw_sample(self.spec(), address_of(self))
