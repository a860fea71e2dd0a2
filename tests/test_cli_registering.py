"""Proves what `paramshare register` prints, and that MLflow serves the model by the command that it prints."""

import json
import os
import signal
import subprocess
import urllib.request
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from paramshare.cli import main
from paramshare.recipes.spec import Spec
from paramshare.tracking.store import StoreAddress, open_store
from paramshare.tracking.write.kinds.seeds import write_run
from paramshare.training.engines import train
from paramshare.training.result import Result
from support.command_line import refused
from support.ports import free_port
from support.waiting import wait_until


@pytest.fixture
def result(small: Spec) -> Result:
    return train(small)


@pytest.fixture
def run_id(address: StoreAddress, result: Result) -> str:
    return write_run(open_store(address), result, {}).run_id


def test_register_prints_the_version_and_how_to_load_and_serve_it(
    run_id: str, address: StoreAddress, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["register", run_id[:8].upper(), "net", "--alias", "champion"]) == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert first == f"net version 1, alias champion: the model of run {run_id}"
    assert second == "load it:  models:/net@champion"
    assert third.startswith("serve it: ")
    assert third.endswith("mlflow models serve --model-uri models:/net@champion --env-manager local --port 5001")
    assert f"MLFLOW_TRACKING_URI={address.uri} " in third
    assert main(["register", run_id, "net"]) == 0
    assert capsys.readouterr().out.startswith(f"net version 1: the model of run {run_id} (registered before)\n")


def test_register_prints_one_json_object(
    run_id: str, address: StoreAddress, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["register", run_id, "net", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed.pop("model_id").startswith("m-")
    assert "mlflow models serve --model-uri models:/net/1 " in printed.pop("serve")
    assert printed == {
        "store": address.uri,
        "experiment": "paramshare",
        "name": "net",
        "version": 1,
        "alias": None,
        "run_id": run_id,
        "model_uri": "models:/net/1",
        "is_new": True,
    }


@pytest.mark.usefixtures("run_id")
def test_register_refuses_wrong_usage_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "NAME" in refused(capsys, "register", "0" * 8)
    assert "'xyz' is not the id of a run" in refused(capsys, "register", "xyz", "net")
    assert "there is no run 00000000" in refused(capsys, "register", "0" * 8, "net")
    assert "'a/b' is not the name of a model" in refused(capsys, "register", "0" * 8, "a/b")
    assert "--alias is 'v1'" in refused(capsys, "register", "0" * 8, "net", "--alias", "v1")
    closed = f"http://127.0.0.1:{free_port()}"
    assert f"no MLflow server answers at {closed}" in refused(
        capsys, "register", "0" * 8, "net", "--tracking-uri", closed
    )


def test_register_creates_no_store(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "there is no store at sqlite:///" in refused(capsys, "register", "0" * 8, "net")
    assert list(tmp_path.iterdir()) == []


def test_the_printed_command_serves_the_model(
    run_id: str, result: Result, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # a terminal in which the environment is not activated
    assert main(["register", run_id, "net", "--alias", "champion", "--json"]) == 0
    port = free_port()
    command = json.loads(capsys.readouterr().out)["serve"].replace("--port 5001", f"--port {port}")
    body = json.dumps({"inputs": result.data["features"].tolist(), "params": {"depth": 2}}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"})

    def answer() -> bytes | None:
        assert server.poll() is None, output.read_text()
        with suppress(OSError), urllib.request.urlopen(request, timeout=60) as response:
            return bytes(response.read())
        return None

    output = Path("served")
    with output.open("wb") as file:
        server = subprocess.Popen(["sh", "-c", command], stdout=file, stderr=file, start_new_session=True)
    try:
        predictions = json.loads(wait_until(answer, output.read_text))["predictions"]
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)
    np.testing.assert_array_equal(
        np.array(predictions, np.float32), result.net(result.data["features"], 2).detach().numpy(), strict=True
    )
