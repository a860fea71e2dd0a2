"""Proves that `paramshare ui` shows the store's pages, says where, and leaves nothing behind when it is ended."""

import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest
from program import PROGRAM

from paramshare.cli import main
from paramshare.tracking.store import StoreAddress, open_store


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(("ending", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 128 + signal.SIGTERM)])
def test_the_pages_are_there_until_it_is_ended_and_no_process_stays(
    ending: signal.Signals, code: int, address: StoreAddress, free_port: int, tmp_path: Path
) -> None:
    store = open_store(address)
    command = [*PROGRAM, "ui", "--no-browser", "--port", str(free_port)]
    pages = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert pages.stdout is not None
    url = pages.stdout.readline().strip()
    assert url.startswith(f"http://127.0.0.1:{free_port}/#/experiments/{store.experiment_id}/")
    with urllib.request.urlopen(url.partition("#")[0]) as page:
        assert b"<title>MLflow" in page.read()
    pages.send_signal(ending)
    pages.communicate(timeout=60)
    assert pages.returncode == code
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", free_port)) != 0


def test_a_port_that_is_taken_is_refused_in_one_line(
    address: StoreAddress, free_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", free_port)):
        assert main(["ui", "--no-browser", "--port", str(free_port)]) == 2
    said = capsys.readouterr().err
    assert f"port {free_port} of 127.0.0.1 is taken" in said
    assert said.count("\n") == 1
