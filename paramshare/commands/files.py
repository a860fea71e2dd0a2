"""The files that commands are asked to write: looked at before the work is done, and written whole or not at all."""

import os
from pathlib import Path

from paramshare.errors import UsageError

__all__ = ["check_place", "write_whole"]


def check_place(file: Path) -> None:
    """Refuse a file that cannot be written, as far as its name and folder tell.

    Raises:
        UsageError: it is a folder, its folder is not there, or the system takes no such name.
    """
    try:
        if file.is_dir():
            raise UsageError(f"{file} cannot be written: it is a folder; expected a file's name")
        if not file.absolute().parent.is_dir():
            raise UsageError(f"{file} cannot be written: there is no folder {file.parent}, make it first")
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from error


def write_whole(file: Path, content: bytes) -> None:
    """Write a file whole or not at all; what was there stays until then.

    Raises:
        UsageError: it cannot be written.
    """
    written = file.with_name(f".paramshare-{os.getpid()}")
    try:
        written.write_bytes(content)
        written.replace(file)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from error
    finally:
        written.unlink(missing_ok=True)
