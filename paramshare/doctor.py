"""What is here and whether it works, a line a check."""

from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from paramshare.errors import SettingsError, UsageError
from paramshare.provenance import provenance
from paramshare.settings import StoreSettings, attributed, origin_of, problems, unused_variables
from paramshare.tracking.store import StoreAddress, check_store, redacted
from paramshare.training.devices import find_devices
from paramshare.validation import sentences

__all__ = ["examine"]


def examine(given: Mapping[str, object]) -> list[tuple[str, str, bool]]:
    """Return what was looked at, what was found, and whether it is well. Write nothing.

    Args:
        given: the settings of the store that the command line has; the others are read here.
    """
    found = provenance()
    versions = ", ".join(f"{k.removeprefix('version.')} {v}" for k, v in found.items() if k.startswith("version."))
    commit = found.get("git.commit", "not run from a git checkout")
    checks = [
        ("versions", versions, True),
        ("source", commit + (" with changes" if found.get("git.dirty") == "true" else ""), True),
    ]
    checks += [(device.name, f"{device.model}; {device.why}", True) for device in find_devices()]
    checks += [("settings", line, True) for line in unused_variables()]
    wrong = [("settings", problem, False) for problem in problems()]
    options = [f"--{name.replace('_', '-')}" for name in given]
    try:
        settings = StoreSettings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        return [*checks, *wrong, ("settings", attributed(sentences(error), options), False)]
    except SettingsError as error:
        return [*checks, *wrong, ("settings", str(error), False)]
    except (OSError, ValueError):  # a file that cannot be read: it is among the problems
        return [*checks, *wrong]
    return [*checks, *wrong, _store(settings, options)]


def _store(settings: StoreSettings, options: Iterable[str]) -> tuple[str, str, bool]:
    try:
        address = StoreAddress.of(settings.tracking_uri, settings.experiment)
        shown = redacted(address.uri)
        check_store(address)
    except UsageError as error:
        return "store", attributed(str(error), options), False
    origin = origin_of(settings, "tracking_uri")
    by = f", by {origin}" if origin else ""
    if address.database is None:
        return "store", f"{shown} answers{by}", True
    return "store", f"{shown} ({'there' if address.database.exists() else 'made at the first run'}){by}", True
