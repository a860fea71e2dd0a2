"""Tells MLflow's server the names under which it may be called, then becomes the container's entry point.

By the environment: MLflow refuses the options of its command line for this where gunicorn serves.
"""

import os
import sys
from collections.abc import Mapping

PORT = "5000"
ENTRYPOINT = ("python3", "-I", "/opt/entrypoint.py")


def own_names(environment: Mapping[str, str]) -> dict[str, str]:
    """The Host headers that are answered, and the pages from which it may be called, as MLflow's own settings."""
    published = environment.get("STACK_PORT") or PORT
    extra = [name.strip().lower() for name in environment.get("STACK_HOSTS", "").split(",") if name.strip()]
    hosts = ["localhost", "127.0.0.1", *extra]
    outside = [*hosts, *(f"{host}:{published}" for host in hosts if ":" not in host)]
    origins = [f"{kind}://{name}" for kind in ("http", "https") for name in outside]
    return {
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join([f"mlflow:{PORT}", *outside]),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(origins),
    }


if __name__ == "__main__":
    os.environ.update(own_names(os.environ))
    os.execvp(ENTRYPOINT[0], [*ENTRYPOINT, *sys.argv[1:]])  # noqa: S606
