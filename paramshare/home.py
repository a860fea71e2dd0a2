"""Provide a home folder to a process without a writable one, such as that of an arbitrary user in a container."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

__all__ = ["prepare_home"]


def prepare_home() -> None:
    """Set the environment so that libraries work without a writable home folder. Child processes inherit it.

    A user without an entry in the system's list and without `HOME` gets the home `/`, as in Docker, since MLflow cannot
    be imported without a home. If matplotlib's folder of settings is not writable, matplotlib gets a temporary folder,
    which is deleted when this process exits. Otherwise each process would create one and print a warning.
    """
    try:
        home = Path.home()
    except RuntimeError:
        os.environ["HOME"] = "/"
        home = Path("/")
    if "MPLCONFIGDIR" in os.environ or "matplotlib" in sys.modules:
        return
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "matplotlib"
    if not _is_writable(settings):
        folder = tempfile.mkdtemp(prefix="paramshare-matplotlib-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["MPLCONFIGDIR"] = folder


def _is_writable(folder: Path) -> bool:
    """Return whether a folder is writable, or can be created if it does not exist."""
    try:
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
        with tempfile.TemporaryFile(dir=nearest):  # the mode is not enough: root ignores it, and disks can be read-only
            return True
    except OSError:
        return False
