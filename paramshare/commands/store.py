"""What every command that has a store needs: its address, and the command that opens its pages."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from paramshare.settings import StoreSettings

if TYPE_CHECKING:
    from paramshare.tracking.store import StoreAddress

__all__ = ["address_of", "ui_command"]


def address_of(settings: StoreSettings) -> "StoreAddress":
    """The store that `settings` name."""
    from paramshare.tracking.store import StoreAddress

    return StoreAddress.of(settings.tracking_uri, settings.experiment)


def ui_command(settings: StoreSettings, *options: str) -> str:
    """The command that opens MLflow's pages on the store of `settings`, as it can be pasted into this terminal.

    Args:
        options: of the command, beside those that name the store.
    """
    program = Path(sys.argv[0])
    on_path = shutil.which(program.name)
    started_by_path = not program.is_file() or (on_path and Path(on_path).samefile(program))
    words = ["paramshare" if started_by_path else os.path.relpath(program), "ui"]
    found_again = StoreSettings()  # what the environment and the files say, they will say to that command too
    for name in StoreSettings.model_fields:
        if (value := getattr(settings, name)) != getattr(found_again, name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join([*words, *options])
