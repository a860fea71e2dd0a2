"""Prove what a command does when its streams are closed, full, unread, or of a small character set."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from paramshare.cli import main
from paramshare.tracking.store import StoreAddress
from support.command_line import PROGRAM, SMALL, without_progress

LAYER = ["layer", "linear", "--in", "4", "--out", "2"]
TRAIN = ["train", "--seeds", "0:1", "--workers", "1", *SMALL]
FULL = Path("/dev/full")  # every write to it fails as on a full disk
needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


def shell(redirection: str, arguments: list[str], **environment: str) -> "subprocess.CompletedProcess[bytes]":
    """Run a command whose streams a shell has redirected."""
    command = ["sh", "-c", f'exec "$@" {redirection}', "sh", *PROGRAM, *arguments]
    return subprocess.run(command, capture_output=True, timeout=120, check=False, env={**os.environ, **environment})


@pytest.fixture
def trained(address: StoreAddress, capsys: pytest.CaptureFixture[str]) -> StoreAddress:
    """Train TRAIN once: a process that reuses the run need not load torch."""
    assert main(TRAIN) == 0
    capsys.readouterr()
    return address


def test_a_sweep_with_closed_streams_trains_and_exits_with_0(
    address: StoreAddress, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shell(">&- 2>&- <&-", TRAIN).returncode == 0
    assert main([*TRAIN, "--json"]) == 0
    assert '"reused": true' in capsys.readouterr().out


def test_no_file_gets_the_descriptor_of_a_closed_stream(tmp_path: Path) -> None:
    program = "from paramshare.streams import prepare_streams as p; p(); print(open('file', 'w').fileno() > 2, file=f)"
    command = f"f = open('answer', 'w'); import os; os.close(1); os.close(2); {program}"
    done = subprocess.run([sys.executable, "-c", command], cwd=tmp_path, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0
    assert (tmp_path / "answer").read_text() == "True\n"


@needs_full
@pytest.mark.parametrize("arguments", [LAYER, ["article"], ["--help"], TRAIN], ids=lambda words: words[0])
def test_output_that_cannot_be_written_is_reported_in_one_line_and_exits_with_1(
    arguments: list[str], trained: StoreAddress
) -> None:
    done = shell(">/dev/full", arguments)
    assert done.returncode == 1
    said = without_progress(done.stderr.decode())
    assert said.startswith("paramshare: the output cannot be written: No space left on device; free space")
    assert said.count("\n") == 1


@needs_full
def test_an_error_that_cannot_be_printed_does_not_change_the_exit_code() -> None:
    assert shell("2>/dev/full", ["tran"]).returncode == 2
    done = shell("2>/dev/full", LAYER)
    assert (done.returncode, done.stdout[:6]) == (0, b"linear")


@pytest.mark.parametrize("arguments", [LAYER, ["--help"], TRAIN], ids=lambda words: words[0])
def test_a_command_whose_reader_has_ended_exits_with_141_without_an_error(
    arguments: list[str], trained: StoreAddress
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*PROGRAM, *arguments], stdout=writing, stderr=subprocess.PIPE, timeout=120, check=False)
    os.close(writing)
    assert (done.returncode, without_progress(done.stderr.decode())) == (141, "")


@pytest.mark.parametrize(
    ("encoding", "size"), [("ascii", b"3 x 3"), ("latin-1", b"3 \xd7 3"), ("utf-8", "3 × 3".encode())]
)
def test_every_character_set_shows_the_whole_answer(encoding: str, size: bytes) -> None:
    done = shell("", ["article"], PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"32 filters of " + size in done.stdout
    assert len(done.stdout.decode(encoding).splitlines()) > 10
