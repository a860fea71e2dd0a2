"""Proves that runs are reproduced from a real MLflow server as from an embedded store, weights included."""

from collections.abc import Iterator

import pytest
from program import SIZES, free_port

from paramshare.proof.spec import VerifySpec
from paramshare.proof.verify import verify
from paramshare.sweep.run import run_sweep
from paramshare.sweep.spec import SweepSpec
from paramshare.tracking.pages import served_pages
from paramshare.tracking.store import StoreAddress, open_store


@pytest.fixture
def server(address: StoreAddress) -> Iterator[StoreAddress]:
    """An experiment on MLflow's own server."""
    port = free_port()
    with served_pages(open_store(address), port):
        yield StoreAddress(f"http://127.0.0.1:{port}", "remote")


def test_the_runs_of_a_server_come_out_again(server: StoreAddress) -> None:
    diverging = {**SIZES, "seeds": "0:2", "devices": "cpu", "workers": 1, "learning_rate": 1e6}
    run_sweep(SweepSpec.model_validate(diverging), server, {})
    outcome = verify(VerifySpec(experiment="remote"), server)
    assert [row.verdict for row in outcome.rows] == ["bitwise equal"] * 2
    assert [row.reproduction.compared.weights for row in outcome.rows if row.reproduction] == [0, 0]
