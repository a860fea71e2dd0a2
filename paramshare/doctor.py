"""Check versions, devices, settings and the store."""

from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from paramshare.errors import SettingsError, UsageError
from paramshare.provenance import provenance
from paramshare.setting_origins import attributed, origin_of, unused_variables
from paramshare.settings import StoreSettings, problems
from paramshare.tracking.store import StoreAddress, check_store, redacted
from paramshare.training.environment.devices import find_devices
from paramshare.validation import sentences

__all__ = ["examine"]


def examine(options: Mapping[str, object]) -> list[tuple[str, str, bool]]:
    """Check versions, devices, settings and the store. Write nothing.

    Args:
        options: the settings of the store on the command line. The others are read from the environment and the files.

    Returns:
        For each check its name, its result in one line, and whether it passed.
    """
    source = provenance()
    versions = ", ".join(f"{k.removeprefix('version.')} {v}" for k, v in source.items() if k.startswith("version."))
    commit = source.get("git.commit", "not run from a git checkout")
    checks = [
        ("versions", versions, True),
        ("source", commit + (" with uncommitted changes" if source.get("git.dirty") == "true" else ""), True),
    ]
    checks += [(device.name, f"{device.model}; {device.why}", True) for device in find_devices()]
    checks += [("settings", line, True) for line in unused_variables()]
    failures = [("settings", problem, False) for problem in problems()]
    arguments = [f"--{name.replace('_', '-')}" for name in options]
    try:
        settings = StoreSettings(**options)  # type: ignore[arg-type]
    except ValidationError as error:
        return [*checks, *failures, ("settings", attributed(sentences(error), arguments), False)]
    except SettingsError as error:
        return [*checks, *failures, ("settings", str(error), False)]
    except (OSError, ValueError):  # a file that cannot be read, which is among the problems
        return [*checks, *failures]
    if (origin := origin_of(settings, "experiment")).startswith("MLFLOW_"):
        checks.append(("settings", f"{origin} is {settings.experiment}", True))
    return [*checks, *failures, _store(settings, arguments)]


def _store(settings: StoreSettings, arguments: Iterable[str]) -> tuple[str, str, bool]:
    try:
        address = StoreAddress.of(settings.tracking_uri, settings.experiment)
        shown = redacted(address.uri)
        check_store(address)
    except UsageError as error:
        return "store", attributed(str(error), arguments), False
    origin = origin_of(settings, "tracking_uri")
    source = f", from {origin}" if origin else ""
    if address.database is None:
        return "store", f"{shown} answers{source}", True
    state = "exists" if address.database.exists() else "will be created by the first run"
    return "store", f"{shown} ({state}){source}", True
