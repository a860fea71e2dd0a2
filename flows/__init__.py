"""Prefect flows: the only package that imports prefect.

Prefect is told here, before it is imported, to send no usage data anywhere: `DO_NOT_TRACK` covers what it does at
import, `PREFECT_SERVER_ANALYTICS_ENABLED` a server. Prefect looks into its folder when it is
imported: a folder that cannot be read is refused here.

The folder `flows/` of a checkout is the package `paramshare.flows`. It is refused under its bare name, so that no
module is loaded twice.
"""

import os
import warnings

from paramshare.flows.home import check_readable

if __name__ != "paramshare.flows":
    raise ImportError(
        "flows is a part of paramshare, such as in `python -m paramshare.flows.register`; "
        "deployments of an earlier version work again after that command"
    )
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")  # of a server that Prefect starts by itself
warnings.filterwarnings("ignore", "Failed to create the Prefect home directory")
if not os.environ.get("PREFECT_HOME"):
    check_readable()
