"""Runs are reproduced from a real MLflow server as from an embedded store, weights included."""

from paramshare.proof.spec import VerifySpec
from paramshare.proof.verify import verify
from paramshare.sweep.run import run_sweep
from paramshare.sweep.spec import SweepSpec
from paramshare.tracking.store import StoreAddress
from support.command_line import SIZES


def test_runs_of_a_server_are_reproduced_to_the_bit(server_address: StoreAddress) -> None:
    diverging = {**SIZES, "seeds": "0:2", "devices": "cpu", "workers": 1, "learning_rate": 1e6}
    run_sweep(SweepSpec.model_validate(diverging), server_address, {})
    outcome = verify(VerifySpec(experiment=server_address.experiment), server_address)
    assert [row.verdict for row in outcome.rows] == ["bitwise equal"] * 2
    assert [row.reproduction.compared.weights for row in outcome.rows if row.reproduction] == [0, 0]
