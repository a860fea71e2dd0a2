"""The tree of errors. Every message tells what is wrong, what is expected and what to do.

ParamshareError
├── UsageError           invalid input: exit code 2, nothing is written (a ValueError)
│   ├── SpecError        an invalid value of a spec
│   ├── DeviceError      an invalid name of a device, or a device that this machine lacks
│   ├── SettingsError    an unknown name of a setting, or a settings file that cannot be read
│   └── StoreError       a store that cannot be opened
├── ServerError          a server that did not start or does not answer: exit code 1
└── WorkerError          training processes that were killed repeatedly: exit code 1
"""

import difflib
import re
from collections.abc import Iterable
from typing import Final

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
    "nearest",
    "without_secrets",
]

_PREFIX: Final = 3  # letters
_LIKE: Final = 0.65
_VERY_LIKE: Final = 0.75


class ParamshareError(Exception):
    """The base class of all errors that paramshare raises."""


class UsageError(ParamshareError, ValueError):
    """An error of the input. Nothing was started and nothing was written."""


class SpecError(UsageError):
    """A malformed value of a spec, or a value out of range."""


class DeviceError(UsageError):
    """An invalid name of a device, or a device that this machine lacks."""


class SettingsError(UsageError):
    """An unknown name of a setting, or a settings file that cannot be read."""


class StoreError(UsageError):
    """A store of runs that cannot be opened."""


class ServerError(ParamshareError):
    """A required server that did not start, or that stopped answering."""


class WorkerError(ParamshareError):
    """Training processes that were killed repeatedly, as by a system that is out of memory."""


def in_a_line(error: object) -> str:
    """Return the type of an error and the first line of its message that is not blank."""
    lines = (line.strip() for line in str(error).splitlines())
    first = next((line for line in lines if line), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean NAME?` for the nearest of the known names, or nothing if none is near."""
    close = nearest(name, known)
    return f"; did you mean {close}?" if close else ""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that a person most likely meant; None if none is near.

    Dashes in front are not compared: otherwise `--help` would be near every short option. A name is near that begins
    with the given one, that shares three quarters of its letters, or two thirds and the first two letters.
    """
    given = name.lstrip("-").lower()
    candidates: list[tuple[float, str]] = []
    for each in known:
        bare = each.lstrip("-").lower()
        likeness = difflib.SequenceMatcher(None, bare, given).ratio()
        if len(given) >= _PREFIX and bare.startswith(given):
            candidates.append((1 + likeness, each))
        elif likeness >= (_LIKE if bare[:2] == given[:2] else _VERY_LIKE):
            candidates.append((likeness, each))
    return max(candidates, key=lambda candidate: candidate[0])[1] if candidates else None


def without_secrets(text: str) -> str:
    """Return a text with `***` in the place of the user and password of every address."""
    return re.sub(r"(?<=://)(?!/)[^\s'\"]*@", "***@", text)
