"""A program that serves MLflow's pages and API for one store: `mlflow server` with one worker, in a single process.

`mlflow server` imports MLflow twice, in a process that waits and in the one that serves, so it takes twice as long to
start.

Run as `python pages_server.py STORE ARTIFACTS PORT`. It ends when its stdin does: a pipe whose other end the parent
holds and never writes to, which is closed however the parent ends.
"""

import os
import signal
import sys
import threading
import time
from typing import Final

__all__ = ["main"]

_STOP: Final = 10.0  # seconds


def main() -> None:
    """Serve the store of the arguments on 127.0.0.1 until SIGTERM, SIGINT or the end of stdin."""
    store, artifacts, port = sys.argv[1:]
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _serve(store, artifacts, int(port))


def _serve(store: str, artifacts: str, port: int) -> None:
    """Set what `mlflow server` sets for the process that serves, open the store, and serve.

    Args:
        store: its database, `sqlite:///...`.
        artifacts: the folder of its runs' files.
        port: on 127.0.0.1.
    """
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

    initialize_backend_stores(store, store, "mlflow-artifacts:/")
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


def _end_with_parent() -> None:
    """Wait for the end of stdin, then end this process."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_STOP)
    os._exit(128 + signal.SIGTERM)  # a request is still under way


if __name__ == "__main__":
    main()
