"""What can go wrong, as a tree. Every message says what was wrong, what was expected and what to do.

ParamshareError
├── UsageError           what was asked for cannot be done as asked: exit 2, nothing written (a ValueError)
│   ├── SpecError        a value of a spec
│   ├── DeviceError      a device that does not exist, or that is not there
│   ├── SettingsError    a setting with an unknown name, or a settings file that cannot be read
│   └── StoreError       the store of runs cannot be opened
├── ServerError          a server that paramshare needs did not start or did not answer: exit 1
└── WorkerError          the processes that train were ended from outside, again and again: exit 1
"""

import difflib
import re
from collections.abc import Iterable

__all__ = [
    "DeviceError",
    "ParamshareError",
    "ServerError",
    "SettingsError",
    "SpecError",
    "StoreError",
    "UsageError",
    "WorkerError",
    "did_you_mean",
    "in_a_line",
    "without_secrets",
]


class ParamshareError(Exception):
    """The root: catch this to catch everything that paramshare raises on purpose."""


class UsageError(ParamshareError, ValueError):
    """What was asked for cannot be done as asked; nothing was started and nothing written."""


class SpecError(UsageError):
    """A value in a spec is malformed or out of range."""


class DeviceError(UsageError):
    """A device name is not one, or the device is not on this machine."""


class SettingsError(UsageError):
    """A setting's name is unknown, or a settings file cannot be read."""


class StoreError(UsageError):
    """The store of runs cannot be opened."""


class ServerError(ParamshareError):
    """A server that is needed did not start, or stopped answering."""


class WorkerError(ParamshareError):
    """The processes that train were ended from outside again and again, as by a system that is out of memory."""


def in_a_line(error: object) -> str:
    """Return the type of an error and the first line of its message that is not blank."""
    lines = (line.strip() for line in str(error).splitlines())
    first = next((line for line in lines if line), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean NAME?` for the nearest of the known names, or nothing if none is near."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def without_secrets(text: str) -> str:
    """`text` with `***` for the user and password of every address in it."""
    return re.sub(r"(?<=://)(?!/)[^\s'\"]*@", "***@", text)
