"""What every command that has a store needs: its address, and the command that opens its pages."""

import os
import shlex
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from paramshare.errors import without_secrets
from paramshare.settings import StoreSettings, origin_of, unused_variables, without_options

if TYPE_CHECKING:
    from paramshare.sweep.run import Outcome
    from paramshare.tracking.store import StoreAddress

__all__ = ["address_of", "curves_place", "flush_command", "ui_command"]


def address_of(settings: StoreSettings) -> "StoreAddress":
    """Return the store that `settings` name, and tell on stderr which of MLflow's variables name it."""
    from paramshare.tracking.store import StoreAddress

    address = StoreAddress.of(settings.tracking_uri, settings.experiment)
    for name in ("tracking_uri", "experiment"):
        if (origin := origin_of(settings, name)).startswith("MLFLOW_"):
            _tell(f"{origin} is {without_secrets(getattr(settings, name))}")
    for line in unused_variables():
        _tell(line)
    return address


@cache
def _tell(line: str) -> None:
    """Tell a line on stderr, once."""
    print(f"paramshare: {line}", file=sys.stderr)  # noqa: T201


def ui_command(settings: StoreSettings, *options: str) -> str:
    """The command that opens MLflow's pages on the store of `settings`, as it can be pasted into this terminal.

    A user and password in the store's address are left for the person to put in.

    Args:
        options: of the command, beside those that name the store.
    """
    return _command(settings, "ui", *options)


def flush_command(settings: StoreSettings) -> str:
    """The command that delivers what is kept for the store of `settings`, likewise."""
    return _command(settings, "flush")


def curves_place(settings: StoreSettings, outcome: "Outcome") -> str:
    """Return where a person finds the figure of a sweep's curves: a file, or a page of MLflow's server.

    Empty while results are kept in the spool: then there is no figure.
    """
    if not outcome.curves or address_of(settings).database is not None:
        return outcome.curves
    from paramshare.tracking.display.urls import artifact_url
    from paramshare.tracking.pages import server_url
    from paramshare.tracking.tags import CURVES_FILE

    base = (settings.pages_url or server_url(address_of(settings))).rstrip("/") + "/"
    return artifact_url(base, outcome.experiment_id, outcome.parent_run_id, CURVES_FILE)


def _command(settings: StoreSettings, name: str, *options: str) -> str:
    program = Path(sys.argv[0])
    on_path = shutil.which(program.name)
    started_by_path = not program.is_file() or (on_path and Path(on_path).samefile(program))
    words = ["paramshare" if started_by_path else os.path.relpath(program), name]
    found_again = without_options()  # what the environment and the files say, they will say to that command too
    for option in StoreSettings.model_fields:
        if (value := getattr(settings, option)) != getattr(found_again, option):
            words += [f"--{option.replace('_', '-')}", without_secrets(str(value))]
    return shlex.join([*words, *options])
