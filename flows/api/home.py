"""The folder in which Prefect keeps its history: `$PREFECT_HOME`, by default `~/.prefect`."""

import os
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

from paramshare.errors import SettingsError

__all__ = ["check_readable", "home_trouble", "make_home"]

_WRITTEN: Final = ("prefect.db", "paramshare.lock")
_ADVICE: Final = "set PREFECT_HOME to a folder that can be written"


def check_readable() -> None:
    """Check that Prefect can read its default folder, as it does when it is imported.

    Raises:
        SettingsError: the folder cannot be read.
    """
    try:
        (Path.home() / ".prefect" / "profiles.toml").exists()
    except (OSError, RuntimeError) as error:
        raise SettingsError(f"Prefect cannot read the home folder ({error}); {_ADVICE}") from error


def home_trouble() -> str:
    """Return why Prefect cannot keep its history in its folder; empty if it can. Nothing is left behind."""
    home = _home()
    try:
        there = next(path for path in (home, *home.parents) if path.exists())
        with TemporaryFile(dir=there):  # a mode does not decide: the disk may be read-only, and root may write anywhere
            pass
    except OSError as error:
        return _refusal(home, error)
    for file in (home / name for name in _WRITTEN):
        if file.exists() and not os.access(file, os.W_OK):
            return f"{file} cannot be written: it belongs to another user; {_ADVICE}"
    return ""


def make_home() -> Path:
    """Create the folder if it does not exist, and return its path.

    Raises:
        SettingsError: the folder cannot be created or written.
    """
    if trouble := home_trouble():
        raise SettingsError(trouble)
    home = _home()
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(_refusal(home, error)) from error
    return home


def _home() -> Path:
    from prefect.settings import get_current_settings

    return get_current_settings().home


def _refusal(home: Path, error: OSError) -> str:
    return f"Prefect cannot keep its history in {home} ({error.strerror}); {_ADVICE}"
