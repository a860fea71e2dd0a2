"""Prove that progress goes to stderr: a bar in a terminal, plain lines elsewhere, and no bar of another library."""

import os
import pty
import subprocess
import sys
import time
from functools import partial

import pytest

from paramshare import console
from paramshare.progress_lines import lines_of_progress, readable_seconds
from paramshare.sweep.chunks import Row
from paramshare.sweep.run import run_sweep
from paramshare.sweep.spec import SweepSpec
from paramshare.sweep.state import Sweep
from paramshare.tracking.store import StoreAddress
from support.command_line import PROGRAM, SIZES, SMALL

SOON = partial(lines_of_progress, first=0.02, between=0.02)


def lines_of(capsys: pytest.CaptureFixture[str], wanted: str) -> list[str]:
    """Wait until a line with `wanted` stands on stderr, and return all lines."""
    text, deadline = "", time.monotonic() + 30
    while wanted not in text:
        assert time.monotonic() < deadline, text
        time.sleep(0.01)
        text += capsys.readouterr().err
    return text.splitlines()


def test_a_sweep_without_a_terminal_prints_the_number_of_finished_runs(
    address: StoreAddress, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "lines_of_progress", SOON)
    spec = SweepSpec.model_validate({**SIZES, "devices": "cpu", "workers": 1, "seeds": "0:4"})
    run_sweep(spec.model_copy(update={"seeds": "0:2"}), address, {})
    finished = iter((3, 4))
    with console.sweep_progress() as (opened, ended):
        assert lines_of(capsys, "paramshare: opening the store, 0 s\n")

        def on_open(sweep: Sweep) -> None:
            opened(sweep)
            assert lines_of(capsys, "paramshare: training (exact): 2 of 4 runs, ")

        def on_row(row: Row) -> None:
            ended(row)
            assert lines_of(capsys, f"paramshare: training (exact): {next(finished)} of 4 runs, ")

        run_sweep(spec, address, {}, on_open, on_row)
    assert list(finished) == []


def test_a_long_step_without_a_terminal_prints_repeated_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "lines_of_progress", SOON)
    with console.working("reading the runs"):
        for _ in range(2):
            assert lines_of(capsys, "paramshare: reading the runs, ")
    capsys.readouterr()
    time.sleep(0.1)
    assert capsys.readouterr().err == ""


def test_a_short_step_without_a_terminal_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with console.working("reading the runs"):
        pass
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0 s"), (59.4, "59 s"), (185, "3 min 5 s"), (7440, "2 h 4 min")])
def test_a_duration_is_printed_in_readable_units(seconds: float, text: str) -> None:
    assert readable_seconds(seconds) == text


def test_the_progress_bar_is_drawn_on_a_stderr_terminal_while_stdout_is_a_pipe(address: StoreAddress) -> None:
    terminal, its_end = pty.openpty()
    command = [*PROGRAM, "train", "--seeds", "0:1", "--workers", "1", "--json", *SMALL]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=its_end, env=environment) as program:
        os.close(its_end)
        drawn = b""
        try:
            while part := os.read(terminal, 4096):
                drawn += part
        except OSError:  # Linux: the other end is closed
            pass
        assert program.stdout is not None
        assert program.stdout.read().startswith(b'{"experiment_id"')
    os.close(terminal)
    assert b"opening the store" in drawn
    assert b"1/1" in drawn


def test_progress_bars_of_other_libraries_are_disabled_unless_the_user_enables_them() -> None:
    program = (
        "from paramshare.progress_lines import no_foreign_bars; no_foreign_bars()\n"
        "from tqdm import tqdm; list(tqdm(range(3)))\n"
        "from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR as bar; print(bar.get())\n"
    )
    kept = {name: value for name, value in os.environ.items() if name != "TQDM_DISABLE"}
    for environment, expected in ((kept, 0), ({**kept, "TQDM_DISABLE": ""}, 1)):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
        assert done.stdout == "False\n"
        assert done.stderr.count("3/3") == expected
