"""Worker processes receive the signal of their own pool."""

from concurrent.futures import ProcessPoolExecutor

from paramshare.sweep.workers.forkserver import start_server, start_worker, worker_arguments
from paramshare.sweep.workers.stop_signal import StopSignal, stop_requested


def test_a_worker_process_learns_that_its_pool_stops_and_no_other_process_does() -> None:
    stop, other = StopSignal(), StopSignal()
    with (
        ProcessPoolExecutor(1, start_server(), start_worker, worker_arguments(stop, ())) as pool,
        ProcessPoolExecutor(1, start_server(), start_worker, worker_arguments(other, ())) as other_pool,
    ):
        assert not pool.submit(stop_requested).result()
        stop.set()
        assert pool.submit(stop_requested).result()
        assert not other_pool.submit(stop_requested).result()
        assert not stop_requested()
