"""The home folder of a process that has none that can be written, such as an arbitrary user's in a container."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

__all__ = ["prepare_home"]


def prepare_home() -> None:
    """Let libraries work without a home folder; processes that are started from here inherit it.

    A user without an entry in the system's list and without `HOME` has the home `/`, as in Docker: MLflow cannot be
    imported without any. Where matplotlib cannot keep its fonts, it gets a temporary folder, which ends with this
    process: else each process would make its own and tell so.
    """
    try:
        home = Path.home()
    except RuntimeError:
        os.environ["HOME"] = "/"
        home = Path("/")
    if "MPLCONFIGDIR" in os.environ or "matplotlib" in sys.modules:
        return
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "matplotlib"
    if not _can_be_written(settings):
        folder = tempfile.mkdtemp(prefix="paramshare-matplotlib-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["MPLCONFIGDIR"] = folder


def _can_be_written(folder: Path) -> bool:
    """Return whether a folder can be written, or made if it is not there."""
    try:
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
        with tempfile.TemporaryFile(dir=nearest):  # a mode does not tell: root may write anywhere, a disk be read-only
            return True
    except OSError:
        return False
