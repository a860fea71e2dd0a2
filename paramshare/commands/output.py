"""The output of commands: what they print, the files that they write, and their exit codes."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NoReturn, Protocol, TypeVar

from paramshare.errors import UsageError

__all__ = ["FAILED", "check_file", "print_json", "print_result", "write_file"]

FAILED: Final = 1
"""The exit code if a run, a model or a check failed."""


class _Result(Protocol):
    @property
    def failed(self) -> object:
        """A true value if a part of the result failed."""

    def as_dict(self) -> dict[str, object]:
        """Return the object that `--json` prints."""


AResult = TypeVar("AResult", bound=_Result)


def print_json(content: Mapping[str, object]) -> None:
    """Print a JSON object in one line."""
    print(json.dumps(content, allow_nan=False), flush=True)  # noqa: T201 - the output itself


def print_result(
    result: AResult,
    as_json: bool,
    show: Callable[[AResult, str], None],
    pages_place: str,
    *,
    incomplete: object = None,
) -> NoReturn:
    """Print a result and exit with its code.

    Args:
        as_json: whether to print one JSON object.
        show: prints the result as text, with the command that opens MLflow's pages.
        incomplete: a true value if a part of the result is missing although nothing in it failed. Exits with FAILED.
    """
    if as_json:
        print_json(result.as_dict())
    else:
        show(result, pages_place)
    raise SystemExit(FAILED if result.failed or incomplete else 0)


def check_file(file: Path) -> None:
    """Check that a file can be written, as far as its name and its folder tell.

    Raises:
        UsageError: the file is a folder, its folder does not exist, or the system does not allow the name.
    """
    try:
        if file.is_dir():
            raise UsageError(f"{file} cannot be written: it is a folder; expected the name of a file")
        if not file.absolute().parent.is_dir():
            raise UsageError(f"{file} cannot be written: there is no folder {file.parent}; create it first")
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from error


def write_file(file: Path, content: bytes) -> None:
    """Write a file completely or not at all. The former content is kept until then.

    Raises:
        UsageError: the file cannot be written.
    """
    written = file.with_name(f".paramshare-{os.getpid()}")
    try:
        written.write_bytes(content)
        written.replace(file)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from error
    finally:
        written.unlink(missing_ok=True)
