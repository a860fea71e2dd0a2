"""Prefect flows: the only package that imports prefect.

Prefect is told here, before it is imported, to send no usage data anywhere; its own switch for that
(`PREFECT_SERVER_ANALYTICS_ENABLED`) does not cover what it does at import. Prefect looks into its folder when it is
imported: a folder that cannot be read is refused here.
"""

import os
import warnings

from flows.home import check_readable

os.environ.setdefault("DO_NOT_TRACK", "1")
warnings.filterwarnings("ignore", "Failed to create the Prefect home directory")
if not os.environ.get("PREFECT_HOME"):
    check_readable()
