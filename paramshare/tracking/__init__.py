"""Tracking: write results as the runs of a store, and read them. The only package that imports mlflow.

This module configures MLflow before it is imported: it sends no usage data, gives up on a dead server within seconds,
reports warnings only, and prints no address at the end of each run, for which it would request the whole run. Existing
environment variables take precedence. Child processes inherit the configuration.
"""

import os

for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}.items():
    os.environ.setdefault(_name, _value)
