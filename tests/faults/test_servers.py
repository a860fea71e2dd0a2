"""An MLflow server that fails loses nothing: down at the start, killed in the middle, back again.

Each with a real `mlflow server`, and sweeps by the real command line in processes of their own.
"""

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paramshare.sweep.chunks import make_chunks
from paramshare.sweep.spec import SweepSpec
from paramshare.sweep.workers.execution import run_chunk
from paramshare.tracking.read.curves import read_losses
from paramshare.tracking.read.runs import FINISHED_SEEDS, search
from paramshare.tracking.store import Store, open_store
from paramshare.tracking.tags import KEY, KIND
from paramshare.tracking.write.spool import Delivery, deliver, spooled
from paramshare.training.engines import train
from support.command_line import PROGRAM, SIZES, SMALL, clean_environment, run_here, without_progress
from support.processes import fork_servers, pool_processes
from support.repetitions import DRAWS
from support.tracking.mlflow_server import MlflowServer
from support.tracking.sweep_checks import check_parent, check_runs, trained

SEEDS = 24
TOLD = "paramshare: "
EXPERIMENT = "paramshare"


@pytest.fixture
def server(own_mlflow_server: MlflowServer) -> MlflowServer:
    return own_mlflow_server


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory of the sweeps, which is not the folder of the server's store."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def command(server: MlflowServer, seeds: int = SEEDS) -> list[str]:
    of_server = f"--tracking-uri={server.url}"
    return ["train", "--json", "--seeds", f"0:{seeds}", "--workers", "2", *SMALL, of_server]


def sweep(server: MlflowServer, seeds: int = SEEDS, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PROGRAM, *command(server, seeds)],
        env={**clean_environment(Path("prefect-home")), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def flush(server: MlflowServer) -> tuple[int, str, str]:
    """Run `paramshare flush`; its exit code, stdout and stderr."""
    return run_here("flush", f"--tracking-uri={server.url}")


@contextmanager
def suspended(process: subprocess.Popen[str]) -> Iterator[None]:
    """Suspend a sweep and its workers until the end of the block."""
    pids = [process.pid, *fork_servers(process.pid), *pool_processes(process.pid)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def wait_for(server: MlflowServer, finished: int, process: subprocess.Popen[str]) -> None:
    while server.finished_runs() < finished:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def ended(process: subprocess.Popen[str], code: int, within: float = 600) -> tuple[dict[str, Any], str]:
    """Wait for a sweep, check its exit code, and return its JSON and its stderr."""
    out, said = process.communicate(timeout=within)
    assert process.returncode == code, (out, said)
    assert "Traceback" not in said
    return json.loads(out or "{}"), without_progress(said)


def statuses(outcome: dict[str, Any]) -> Counter[str]:
    return Counter(run["status"] for run in outcome["runs"])


def check_whole(server: MlflowServer, seeds: int = SEEDS) -> Store:
    """Check that each seed has one FINISHED run with every loss to the bit, its picture and its model."""
    store = open_store(server.remote(EXPERIMENT))
    spec = SweepSpec.model_validate({**SIZES, "seeds": f"0:{seeds}", "devices": "cpu"})
    expected = {one.key(): one for one in spec.train_specs(("cpu",))}
    assert [run.info.run_id for run in search(store, f"tags.`{KIND}` = 'seed' AND attributes.status = 'RUNNING'")] == []
    runs = list(search(store, FINISHED_SEEDS))
    assert sorted(run.data.tags[KEY] for run in runs) == sorted(expected)
    for run in runs:
        np.testing.assert_array_equal(read_losses(store, run.info.run_id), train(expected[run.data.tags[KEY]]).losses)
        assert {file.path for file in store.client.list_artifacts(run.info.run_id)} == {"loss.png"}
        assert len(run.outputs.model_outputs) == 1
        assert len(run.inputs.dataset_inputs) == 1
    return store


def check_completes(server: MlflowServer) -> None:
    """Check that the same command completes the sweep and trains nothing again."""
    code, out, _ = run_here(*command(server))
    assert code == 0
    outcome = json.loads(out)
    assert statuses(outcome) == {"FINISHED": SEEDS}
    assert all(run["reused"] for run in outcome["runs"])
    store = open_store(server.remote(EXPERIMENT))
    specs = SweepSpec.model_validate({**SIZES, "seeds": f"0:{SEEDS}", "devices": "cpu"}).train_specs(("cpu",))
    check_parent(store, list(check_runs(store, trained(specs)).values()))


def test_a_server_that_is_down_at_the_start_is_reported_within_seconds_before_training(
    server: MlflowServer, here: Path
) -> None:
    server.kill()
    before = time.monotonic()
    _, said = ended(sweep(server), 2)
    assert time.monotonic() - before < 60  # of which the start of Python and torch is most, on a busy machine
    assert said.startswith(f"paramshare: no MLflow server answers at {server.url}")
    assert said.count("\n") == 1
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("moment", (7, 0, 1, 15)[:DRAWS])
def test_a_server_killed_during_a_sweep_loses_no_result_and_flush_delivers_the_kept_ones(
    moment: int, server: MlflowServer, here: Path
) -> None:
    process = sweep(server)
    wait_for(server, moment, process)
    if not moment:
        time.sleep(4)  # somewhere in its start, or a little later
    server.kill()
    written = server.finished_runs()
    out, said = process.communicate(timeout=400)
    assert "Traceback" not in said, said
    if process.returncode == 2:  # it had not opened the store yet
        assert moment == 0
        return
    assert process.returncode == 1, said
    if not out:  # it was at its start: nothing was trained yet
        assert moment == 0
        assert without_progress(said).startswith(TOLD)
        return
    outcome = json.loads(out)
    kept = statuses(outcome)["KEPT"]
    assert kept == len(spooled(server.remote(EXPERIMENT))) >= SEEDS - written
    assert statuses(outcome) == {"FINISHED": SEEDS - kept, "KEPT": kept} if kept < SEEDS else {"KEPT": SEEDS}
    assert all(run["run_id"] == "" and run["seconds"] > 0 for run in outcome["runs"] if run["status"] == "KEPT")
    assert said.count("kept in mlruns/spool") == 1
    assert "paramshare flush" in said
    assert server.finished_runs() == written

    code, _, refused = flush(server)
    assert code == 2
    assert refused.startswith("paramshare: no MLflow server answers")
    server.start()
    code, delivered, _ = flush(server)
    assert code == 0
    assert delivered.startswith(f"{SEEDS - written} of {kept} results delivered to {server.url}")
    assert spooled(server.remote(EXPERIMENT)) == []
    check_whole(server)
    check_completes(server)


def test_the_same_command_delivers_kept_results_and_trains_none_of_them_again(server: MlflowServer, here: Path) -> None:
    process = sweep(server)
    wait_for(server, 5, process)
    server.kill()
    outcome, _ = ended(process, 1)
    assert statuses(outcome)["KEPT"] == len(spooled(server.remote(EXPERIMENT))) > 0
    server.start()
    check_completes(server)
    assert spooled(server.remote(EXPERIMENT)) == []


def test_a_restarted_server_gets_all_kept_results_before_the_sweep_ends(server: MlflowServer, here: Path) -> None:
    seeds = 60
    process = sweep(server, seeds)
    wait_for(server, 5, process)
    server.kill()
    while not spooled(server.remote(EXPERIMENT)):
        assert process.poll() is None
        time.sleep(0.02)
    with suspended(process):  # the server takes seconds to start
        server.start()
    outcome, said = ended(process, 0)
    assert statuses(outcome) == {"FINISHED": seeds}
    assert "kept in mlruns/spool" in said
    assert spooled(server.remote(EXPERIMENT)) == []
    store = check_whole(server, seeds)
    assert store.client.get_run(outcome["parent_run_id"]).info.status == "FINISHED"


def test_a_server_that_stops_answering_delays_a_sweep_only_briefly(server: MlflowServer, here: Path) -> None:
    process = sweep(server, MLFLOW_HTTP_REQUEST_TIMEOUT="2")
    wait_for(server, 5, process)
    server.signal(signal.SIGSTOP)
    try:
        outcome, _ = ended(process, 1)
    finally:
        server.signal(signal.SIGCONT)
    assert statuses(outcome)["KEPT"] == len(spooled(server.remote(EXPERIMENT))) > 0
    check_completes(server)


def test_a_sweep_terminated_during_a_server_outage_ends_within_seconds_and_keeps_its_results(
    server: MlflowServer, here: Path
) -> None:
    process = sweep(server, 4000)
    wait_for(server, 3, process)
    server.kill()
    while len(spooled(server.remote(EXPERIMENT))) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    before = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - before < 30
    assert process.returncode == 128 + signal.SIGTERM
    assert said.endswith("paramshare: terminated; finished runs are kept; rerun the command to resume\n")
    kept = len(spooled(server.remote(EXPERIMENT)))
    server.start()
    _, flushed, _ = flush(server)
    assert f"of {kept} results delivered" in flushed
    store = open_store(server.remote(EXPERIMENT))
    keys = [run.data.tags[KEY] for run in search(store, FINISHED_SEEDS)]
    assert len(keys) == len(set(keys)) >= kept


def test_results_are_kept_if_a_server_starts_to_refuse_requests(
    server: MlflowServer, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choices = SweepSpec.model_validate({**SIZES, "seeds": "0:2", "devices": "cpu"}).run_choices(("cpu",))
    first, second = make_chunks(choices, 1, server.remote(EXPERIMENT))
    assert [row.status for row in run_chunk(first)] == ["FINISHED"]
    server.kill()
    with monkeypatch.context() as changed:
        changed.setenv("MLFLOW_SERVER_ALLOWED_HOSTS", "somebody.else")
        server.start()  # its page of health answers anybody
        with pytest.raises(Exception, match="403"):
            run_chunk(second)
    assert len(spooled(server.remote(EXPERIMENT))) == 1
    server.kill()
    server.start()
    assert deliver(open_store(server.remote(EXPERIMENT))) == Delivery(written=1)
    check_whole(server, seeds=2)
