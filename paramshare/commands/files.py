"""The files that commands are asked to write: looked at before the work is done."""

from pathlib import Path

from paramshare.errors import UsageError

__all__ = ["check_place"]


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
