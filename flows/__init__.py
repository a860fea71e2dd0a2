"""Prefect flows: the only package that imports prefect.

Usage data is turned off here, before Prefect is imported: `DO_NOT_TRACK` applies to the import,
`PREFECT_SERVER_ANALYTICS_ENABLED` to a server. Prefect reads its folder when it is imported: a folder that cannot be
read is refused here.

The folder `flows/` of a checkout is the package `paramshare.flows`. An import under its bare name is refused, so
that no module is loaded twice.
"""

import os
import sys
import warnings

from paramshare.errors import SettingsError
from paramshare.flows.api.home import check_readable


def _refuse(error: Exception) -> None:
    """Raise an error, or end in one line if Python imports this package to find one of its programs."""
    if sys.argv[:1] != ["-m"]:
        raise error
    sys.stderr.write(f"paramshare: {error}\n")
    raise SystemExit(2)


if __name__ != "paramshare.flows":
    _refuse(
        ImportError(
            "flows is a part of paramshare, such as in `python -m paramshare.flows.register`; "
            "run that command to update deployments of an earlier version"
        )
    )
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")  # of a server that Prefect starts by itself
warnings.filterwarnings("ignore", "Failed to create the Prefect home directory")
if not os.environ.get("PREFECT_HOME"):
    try:
        check_readable()
    except SettingsError as error:
        _refuse(error)
