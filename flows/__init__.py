"""Prefect flows: the only package that imports prefect.

Prefect is told here, before it is imported, to send no usage data anywhere; its own switch for that
(`PREFECT_SERVER_ANALYTICS_ENABLED`) does not cover what it does at import.
"""

import os

os.environ.setdefault("DO_NOT_TRACK", "1")
