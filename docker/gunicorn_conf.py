"""How gunicorn runs MLflow's server where much is written: `mlflow server --gunicorn-opts "-c gunicorn_conf.py"`.

For each batch of metrics the server makes thousands of objects that are gone when it has answered. With Python's
defaults its collector walks through all of MLflow's modules again and again meanwhile, for a fifth of the time.
"""

import gc

worker_class = "gthread"  # the default closes a connection after each request
threads = 8
keepalive = 30


def post_worker_init(_: object) -> None:
    """Leave what was imported out of every collection, and collect seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
