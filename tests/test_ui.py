"""`paramshare ui` shows the store's pages, says where, and leaves nothing behind when it is ended."""

import os
import signal
import socket
import subprocess
import urllib.request
import webbrowser
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from paramshare.cli import main
from paramshare.tracking.pages import served_pages
from paramshare.tracking.store import StoreAddress, open_store
from support.command_line import PROGRAM
from support.ports import free_port


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(("ending", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 128 + signal.SIGTERM)])
def test_the_pages_are_served_until_the_command_ends_and_no_process_stays(
    ending: signal.Signals, code: int, address: StoreAddress, tmp_path: Path
) -> None:
    store, port = open_store(address), free_port()
    command = [*PROGRAM, "ui", "--no-browser", "--port", str(port)]
    pages = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert pages.stdout is not None
    url = pages.stdout.readline().strip()
    assert url.startswith(f"http://127.0.0.1:{port}/#/experiments/{store.experiment_id}/")
    with urllib.request.urlopen(url.partition("#")[0]) as page:
        assert b"<title>MLflow" in page.read()
    pages.send_signal(ending)
    _, said = pages.communicate(timeout=60)
    assert "to resume" not in said
    assert pages.returncode == code
    assert not answers(port)


def test_ctrl_c_while_the_browser_opens_ends_the_pages_in_order(
    address: StoreAddress, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    open_store(address)
    port = free_port()

    def interrupted(url: str) -> None:
        assert answers(port)
        raise KeyboardInterrupt

    monkeypatch.setattr(webbrowser, "open", interrupted)
    assert main(["ui", "--port", str(port)]) == 0
    assert capsys.readouterr().err == ""
    assert not answers(port)


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGHUP])
def test_the_pages_server_ends_if_the_command_is_killed_or_its_terminal_closes(
    ending: signal.Signals, address: StoreAddress, tmp_path: Path
) -> None:
    """Killed, or its terminal closed. Nothing of the server's group stays, whoever started whom in it."""
    open_store(address)
    port = free_port()
    command = [*PROGRAM, "ui", "--no-browser", "--port", str(port)]
    former = signal.signal(signal.SIGHUP, lambda *_: None)  # what nohup has ignored would be by what is started here
    try:
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE) as pages:
            assert pages.stdout is not None
            pages.stdout.readline()
            started = psutil.Process(pages.pid).children(recursive=True)
            pages.send_signal(ending)
            with suppress(subprocess.TimeoutExpired):
                pages.wait(60)
            pages.kill()
    finally:
        signal.signal(signal.SIGHUP, former)
    assert pages.returncode == -ending
    assert started  # the server
    assert not psutil.wait_procs(started, timeout=60)[1]
    assert not answers(port)


def test_the_port_of_a_killed_server_is_free_at_once(address: StoreAddress) -> None:
    """Though the process that is waited for is gone before the one that listens has given its memory back."""
    port = free_port()
    with served_pages(open_store(address), port) as server:
        os.killpg(server.pid, signal.SIGKILL)
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_ui_refuses_a_port_in_use_in_one_line(address: StoreAddress, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        assert main(["ui", "--no-browser", "--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert f"port {port} of 127.0.0.1 is taken" in said
    assert said.count("\n") == 1
