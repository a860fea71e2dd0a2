"""Prefect flows: the only package that imports prefect.

Prefect is told here, before it is imported, to send no usage data anywhere; its own switch for that
(`PREFECT_SERVER_ANALYTICS_ENABLED`) does not cover what it does at import. Prefect looks into its folder when it is
imported: a folder that cannot be read is refused here. A folder that cannot be written is left to `flows.home`.
"""

import os
import warnings
from pathlib import Path

from paramshare.errors import SettingsError

os.environ.setdefault("DO_NOT_TRACK", "1")
warnings.filterwarnings("ignore", "Failed to create the Prefect home directory")

if not os.environ.get("PREFECT_HOME"):
    try:
        (Path.home() / ".prefect" / "profiles.toml").exists()
    except (OSError, RuntimeError) as error:
        raise SettingsError(
            f"Prefect cannot look into the home folder ({error}); set PREFECT_HOME to a folder that can be written"
        ) from error
