"""The command line in this process and as a process, with sizes that train in milliseconds."""

import os
import re
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from paramshare.cli import main

PROGRAM = [sys.executable, "-c", "import sys; from paramshare.cli import main; sys.exit(main())"]
SIZES = {"batch_size": 4, "input_size": 8, "hidden_size": 6, "output_size": 3, "steps": 20}
SMALL = ["--devices", "cpu", *(f"--{name.replace('_', '-')}={size}" for name, size in SIZES.items())]


def clean_environment(home: Path) -> dict[str, str]:
    """Return the environment of this process without settings, for a process with `home` as its `$PREFECT_HOME`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "PARAMSHARE_", "MLFLOW_"))}
    return {**kept, "PREFECT_HOME": str(home)}


def run_here(*arguments: str) -> tuple[int, str, str]:
    """Run a command in this process, which has imported its modules; its exit code, stdout and stderr."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        code = main(arguments)
    return code, out.getvalue(), without_progress(err.getvalue())


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the error of a command that must fail: one line, exit code 2, nothing on stdout, nothing written."""
    before = _files()
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("paramshare: ")
    assert err.count("\n") == 1
    assert _files() == before
    return err


def _files() -> list[Path]:
    """Return the files in the working directory, without compiled modules and the files of open SQLite databases."""
    return sorted(
        file
        for file in Path.cwd().rglob("*")
        if "__pycache__" not in file.parts and not file.name.endswith(("-wal", "-shm"))
    )


def without_progress(stderr: str) -> str:
    """Return what a process printed to stderr, less its lines of progress: there are some only if it takes 30 s."""
    return re.sub(r"^paramshare: .*, (\d+ h \d+ min|\d+ min \d+ s|\d+ s)\n", "", stderr, flags=re.MULTILINE)
