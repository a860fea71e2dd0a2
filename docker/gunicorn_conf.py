"""Configure gunicorn for an MLflow server with many writes: `mlflow server --gunicorn-opts "-c gunicorn_conf.py"`.

For each batch of metrics the server creates thousands of objects that live for one request. With Python's default
thresholds the garbage collector then traverses all of MLflow's modules repeatedly, which takes a fifth of the time.
"""

import gc

worker_class = "gthread"  # the default closes a connection after each request
threads = 8
keepalive = 30


def post_worker_init(_: object) -> None:
    """Exclude all imported objects from garbage collection, and collect rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
