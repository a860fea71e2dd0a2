"""Test that a worker survives a run that is scheduled again while it reports the crash of the run's process."""

import asyncio
from uuid import uuid4

import anyio
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.workers.base import BaseWorker

from paramshare.flows.operations.prefect_worker import RepeatingWorker


def test_it_is_prefects_worker_for_processes() -> None:
    assert BaseWorker.get_worker_class_from_type("process") is RepeatingWorker


def test_a_run_whose_former_process_still_has_its_place_is_left_for_a_later_poll() -> None:
    run = FlowRun(flow_id=uuid4())
    response = WorkerFlowRunResponse(work_pool_id=uuid4(), work_queue_id=uuid4(), flow_run=run)

    async def submitted() -> list[FlowRun]:
        worker = RepeatingWorker(work_pool_name="cpu", limit=2)
        worker._limiter = anyio.CapacityLimiter(2)
        worker._limiter.acquire_on_behalf_of_nowait(run.id)
        return await worker._submit_scheduled_flow_runs([response])

    assert asyncio.run(submitted()) == []
