"""Find the model of a run: a LoggedModel, or, in runs of former versions, a folder among the run's artifacts."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlflow.entities import LoggedModelStatus
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.uri import is_local_uri

from paramshare.tracking.read.artifacts import artifact_uri, path_or_uri
from paramshare.tracking.store import Store
from paramshare.tracking.tags import MODEL_NAME

__all__ = ["StoredModel", "model_of", "read_model_file"]

_MLMODEL: Final = "MLmodel"


@dataclass(frozen=True, slots=True)
class StoredModel:
    """The model of a run.

    Args:
        model_id: the id of the LoggedModel; empty for a model of a former version.
        location: the URI of the folder with the model's files.
    """

    model_id: str
    location: str


def model_of(store: Store, run_id: str) -> StoredModel | None:
    """Return the model of a run of the store; None if it has none, or if the model was deleted."""
    logged = store.database.model(run_id) if store.database is not None else _search(store, run_id)
    if logged is not None:
        return StoredModel(*logged)
    former = StoredModel("", artifact_uri(store, run_id, MODEL_NAME))
    return None if read_model_file(store, former, _MLMODEL) is None else former


def read_model_file(store: Store, model: StoredModel, path: str) -> bytes | None:
    """Return the content of a file of a model; None if it does not exist."""
    if is_local_uri(model.location):
        file = Path(path_or_uri(model.location), path)
        return file.read_bytes() if file.is_file() else None
    repository = get_artifact_repository(model.location, store.client.tracking_uri)
    if path not in [file.path for file in repository.list_artifacts(path.rpartition("/")[0] or None)]:
        return None
    with tempfile.TemporaryDirectory(prefix="paramshare-") as folder:
        return Path(repository.download_artifacts(path, folder)).read_bytes()


def _search(store: Store, run_id: str) -> tuple[str, str] | None:
    """Return the id and the location of a run's LoggedModel on a server; None if it has none."""
    for model in store.client.search_logged_models([store.experiment_id], f"source_run_id = '{run_id}'"):
        if model.name == MODEL_NAME and model.status is LoggedModelStatus.READY:
            return model.model_id, model.artifact_location
    return None
