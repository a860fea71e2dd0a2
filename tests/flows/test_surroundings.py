"""Proves that a flow run that nobody gave a store takes the one that the settings name: so it is on a worker."""

import os
import subprocess
import sys

HERE = (
    "from flows.surroundings import here; around = here('counts'); print(around.address.uri, around.address.experiment)"
)


def test_on_a_worker_the_store_is_that_of_the_settings() -> None:
    environment = {**os.environ, "PARAMSHARE_TRACKING_URI": "http://mlflow:5000"}
    done = subprocess.run([sys.executable, "-c", HERE], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["http://mlflow:5000", "counts"]
