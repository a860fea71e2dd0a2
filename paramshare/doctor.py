"""What is here and whether it works, a line a check."""

from paramshare.errors import StoreError
from paramshare.provenance import provenance
from paramshare.tracking.store import StoreAddress, check_store, redacted
from paramshare.training.devices import find_devices

__all__ = ["examine"]


def examine(address: StoreAddress, origin: str = "") -> list[tuple[str, str, bool]]:
    """Return what was looked at, what was found, and whether it is well. Writes nothing.

    Args:
        origin: the setting that names the store; empty for the default.
    """
    found = provenance()
    versions = ", ".join(f"{k.removeprefix('version.')} {v}" for k, v in found.items() if k.startswith("version."))
    commit = found.get("git.commit", "not run from a git checkout")
    checks = [
        ("versions", versions, True),
        ("source", commit + (" with changes" if found.get("git.dirty") == "true" else ""), True),
    ]
    checks += [(device.name, f"{device.model}; {device.why}", True) for device in find_devices()]
    return [*checks, _store(address, f", by {origin}" if origin else "")]


def _store(address: StoreAddress, by: str) -> tuple[str, str, bool]:
    shown = redacted(address.uri)
    try:
        check_store(address)
    except StoreError as error:
        return "store", str(error), False
    if address.database is None:
        return "store", f"{shown} answers{by}", True
    return "store", f"{shown} ({'there' if address.database.exists() else 'made at the first run'}){by}", True
