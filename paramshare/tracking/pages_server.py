"""A program that serves MLflow's pages and API for one store: `mlflow server` with one worker, in a single process.

`mlflow server` imports MLflow in two processes, so it takes twice as long to start.

Run by `pages.served_pages` as `python pages_server.py STORE ARTIFACTS SOCKET`. It ends with its parent.
"""

import gc
import os
import signal
import socket
import sys
from threading import Thread
from typing import Final

from paramshare.processes import end_with_parent
from paramshare.tracking.page_defaults import set_page_defaults

__all__ = ["STOP", "main"]

STOP: Final = 10.0
"""Seconds after SIGTERM until the server ends even if a request is not finished."""


def main() -> None:
    """Serve the store that the arguments name until SIGTERM, SIGINT or the end of the parent."""
    store, artifacts, descriptor = sys.argv[1:]
    end_with_parent(lambda: os.kill(os.getpid(), signal.SIGTERM), STOP)
    _serve(store, artifacts, socket.socket(fileno=int(descriptor)))


def _serve(store: str, artifacts: str, listener: socket.socket) -> None:
    """Set the variables that `mlflow server` sets for its worker, open the store, and serve.

    Args:
        store: its database, `sqlite:///...`.
        artifacts: the folder of its runs' files.
        listener: the socket that listens.
    """
    gc.disable()  # imports leave no garbage, and looking for it takes a fifth of their time
    from mlflow.server import constants

    os.environ.update(
        {
            constants.BACKEND_STORE_URI_ENV_VAR: store,
            constants.REGISTRY_STORE_URI_ENV_VAR: store,
            constants.ARTIFACT_ROOT_ENV_VAR: "mlflow-artifacts:/",
            constants.SERVE_ARTIFACTS_ENV_VAR: "true",
            constants.ARTIFACTS_DESTINATION_ENV_VAR: artifacts,
            "MLFLOW_ENABLE_WORKSPACES": "false",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "_MLFLOW_IN_JOB_EXECUTOR": "false",
            "_MLFLOW_SGI_NAME": "uvicorn",
        }
    )
    import uvicorn
    from mlflow.server.fastapi_app import app
    from mlflow.server.handlers import initialize_backend_stores

    set_page_defaults()
    initialize_backend_stores(store, store, "mlflow-artifacts:/")
    gc.freeze()
    gc.enable()
    Thread(target=_import_graphql, daemon=True).start()
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listener])


def _import_graphql() -> None:
    """Import what MLflow imports when a page asks for its experiment: a browser still reads the scripts now."""
    import mlflow.server.graphql.graphql_schema_extensions  # noqa: F401


if __name__ == "__main__":
    main()
