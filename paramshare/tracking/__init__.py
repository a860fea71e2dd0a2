"""Tracking: the only package that imports mlflow. Results in, runs out; and back.

MLflow is told here, before it is imported, to send no usage data anywhere, to give up on a dead server within seconds,
and to print no address at the end of each run, for which it would ask the server for all of the run. What the
environment says already stands. Child processes inherit all three.
"""

import os

for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}.items():
    os.environ.setdefault(_name, _value)
