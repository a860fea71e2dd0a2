"""Set the host names that MLflow's server accepts, then replace this process by the container's entry point.

The names are set in the environment, since MLflow refuses the corresponding options if gunicorn serves.
"""

import os
import sys
from collections.abc import Mapping

PORT = "5000"
ENTRYPOINT = ("python3", "-I", "/opt/entrypoint.py")


def own_names(environment: Mapping[str, str]) -> dict[str, str]:
    """Return MLflow's settings of the accepted Host headers and of the origins of pages that may call the server."""
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
