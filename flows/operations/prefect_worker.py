"""Prefect's own worker as a program that ends with its parent, and its flows with it.

    python -m paramshare.flows.operations.prefect_worker worker start ...

The arguments are those of `prefect`. Its stdin is a pipe without content: the end of the pipe tells that the parent has
ended.
"""

import os
import warnings
from typing import TYPE_CHECKING, Final

from prefect.workers.process import ProcessWorker

from paramshare.processes import children, end, end_with_parent

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun
    from prefect.client.schemas.responses import WorkerFlowRunResponse

__all__ = ["GRACE", "RepeatingWorker", "main"]

GRACE: Final = 45.0  # seconds until a flow that is told to end is killed


with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # Prefect warns that this class replaces its own, as intended

    class RepeatingWorker(ProcessWorker):
        """A worker that can be given a run again while it still reports the crash of the run's former process.

        The report takes seconds, since it imports the flow. Until then the run occupies its place under `--limit`. If
        the run is scheduled again before that, Prefect's own class ends the worker (issue 10632 of PrefectHQ/prefect);
        this class leaves the run for a later poll.
        """

        type = ProcessWorker.type

        async def _submit_scheduled_flow_runs(
            self, flow_run_response: "list[WorkerFlowRunResponse]"
        ) -> "list[FlowRun]":
            held = self._limiter.statistics().borrowers if self._limiter else ()
            free = [response for response in flow_run_response if response.flow_run.id not in held]
            return await super()._submit_scheduled_flow_runs(free)


def main() -> None:
    """Run the `prefect` command."""
    from prefect.cli import app

    end_with_parent(lambda: end(children(os.getpid()), GRACE), 0)
    app()


if __name__ == "__main__":
    main()
