"""Check the values of a spec: seeds, devices and numbers; and the hash that is its key. Plain data."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Final, TypeGuard

from paramshare.errors import DeviceError, SpecError

__all__ = ["LARGEST_FLOAT", "LARGEST_SIZE", "canonical_device", "check_seed", "hashed", "is_int"]

LARGEST_FLOAT: Final = (2 - 2**-23) * 2.0**127
"""The largest float32. Torch multiplies no float32 by a larger number."""

LARGEST_SIZE: Final = 2**31 - 1
"""The most steps, samples or features: the number of bytes of two such sizes fits no 64 bits."""

_SEED_END: Final = 2**63
_DEVICE: Final = re.compile(r"cpu|mps|cuda(:\d+)?")


def hashed(version: str, fields: Mapping[str, str | int | float | None]) -> str:
    """Return the key (32 hex digits) of a spec with these fields, of a recipe and version."""
    canonical = json.dumps({"key": version, **fields}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def canonical_device(name: str) -> str:
    """Return the name of a device as it stands in a spec: `cpu`, `mps` or `cuda:N`.

    Raises:
        DeviceError: `name` is none of these.
    """
    if not isinstance(name, str) or not _DEVICE.fullmatch(name):
        raise DeviceError(f"there is no device called {name!r}; expected cpu, cuda, cuda:N or mps")
    kind, _, index = name.partition(":")
    return f"cuda:{int(index or 0)}" if kind == "cuda" else name


def check_seed(seed: object) -> None:
    """Check that a value is a seed.

    Raises:
        SpecError: it is not a whole number from 0 to 2**63 - 1.
    """
    if not is_int(seed) or not 0 <= seed < _SEED_END:
        raise SpecError(f"seed is {seed!r}; expected a whole number from 0 to 2**63 - 1")


def is_int(value: object) -> TypeGuard[int]:
    """Return whether it is a whole number; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)
