"""Configure gunicorn for an MLflow server with many writes: `mlflow server --gunicorn-opts "-c gunicorn_conf.py"`.

For each batch of metrics the server creates thousands of objects that live for one request. With Python's default
thresholds the garbage collector then traverses all of MLflow's modules repeatedly, which takes a fifth of the time.
"""

import gc
import sys
from pathlib import Path

worker_class = "gthread"  # the default closes a connection after each request
threads = 8
keepalive = 30


def post_worker_init(_: object) -> None:
    """Make the pages open for trainings. Exclude all imported objects from garbage collection, and collect rarely."""
    sys.path.append(str(Path(__file__).parent))
    from page_defaults import set_page_defaults  # of paramshare/tracking, copied into the image

    set_page_defaults()
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
