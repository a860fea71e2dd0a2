"""Read the artifacts of a run."""

import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

from paramshare.errors import UsageError
from paramshare.tracking.store import Store
from paramshare.tracking.tags import CURVES_FILE

__all__ = ["artifact_location", "artifact_uri", "changed_run", "path_or_uri", "read_artifact", "read_figure"]


def artifact_location(store: Store, run_id: str, name: str) -> str:
    """Return the location of a run's artifact: a path on this machine for an embedded store, otherwise its URI."""
    return path_or_uri(artifact_uri(store, run_id, name))


def artifact_uri(store: Store, run_id: str, name: str) -> str:
    """Return the URI of a run's artifact."""
    folder = store.database.artifact_uri(run_id) if store.database else store.client.get_run(run_id).info.artifact_uri
    return f"{folder}/{name}"


def path_or_uri(uri: str) -> str:
    """Return the path of a file or folder on this machine; otherwise its URI."""
    return unquote(urlsplit(uri).path) if uri.startswith("file:") else uri


def read_artifact(store: Store, run_id: str, path: str) -> bytes | None:
    """Return the content of a file among a run's artifacts; None if it does not exist."""
    folder = path.rpartition("/")[0]
    if path not in [file.path for file in store.client.list_artifacts(run_id, folder or None)]:
        return None
    if store.address.database is not None:
        return Path(artifact_location(store, run_id, path)).read_bytes()
    return _download(store, run_id, path)


def read_figure(store: Store, run_id: str) -> bytes:
    """Return the figure of a sweep's curves, as PNG."""
    if store.database is not None:  # without the import of MLflow's client
        return Path(artifact_location(store, run_id, CURVES_FILE)).read_bytes()
    return _download(store, run_id, CURVES_FILE)


def changed_run(run_id: str, reason: str) -> UsageError:
    """Return the error for a run whose content is not what this version of paramshare writes."""
    return UsageError(f"the run {run_id} was changed, or is of another version of paramshare: {reason}")


def _download(store: Store, run_id: str, path: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="paramshare-") as folder:
        return Path(store.client.download_artifacts(run_id, path, folder)).read_bytes()
