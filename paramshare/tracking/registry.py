"""Register the model of a run in MLflow's model registry, so that it has a name, a version and an alias."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.environment_variables import MLFLOW_TRACKING_URI
from mlflow.exceptions import MlflowException
from mlflow.tracking._tracking_service.utils import _use_tracking_uri
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from paramshare.errors import UsageError
from paramshare.tracking.read.models import StoredModel, model_of
from paramshare.tracking.read.runs import find_run
from paramshare.tracking.store import Store, StoreAddress, open_existing_store, store_failures
from paramshare.tracking.tags import KIND, NOT_EXPORTED

__all__ = ["RegisteredVersion", "register"]

# MLflow forbids / and : in a name. Other characters have a meaning in the address of a model, as models:/name@alias.
_NAME: Final = re.compile(r"[^\W_](?:[\w .-]{0,254}[\w.-])?")
_ALIAS: Final = re.compile(r"[\w-]{1,255}")
_RESERVED_ALIAS: Final = re.compile(r"latest|v\d+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """A version of a registered model.

    Args:
        name, version, alias: of the registered model. The alias is None if none was requested.
        run_id: the run that trained the model.
        model_id: of the LoggedModel; empty for a run of a former version, which has none.
        is_new: false if the run's model had been registered with this name before.
    """

    name: str
    version: int
    alias: str | None
    run_id: str
    model_id: str
    is_new: bool

    @property
    def uri(self) -> str:
        """Return the address by which MLflow loads and serves the version."""
        return f"models:/{self.name}@{self.alias}" if self.alias else f"models:/{self.name}/{self.version}"


def register(address: StoreAddress, run_id: str, name: str, alias: str | None = None) -> RegisteredVersion:
    """Register the model of a FINISHED run. A model that has a version of this name gets no second one.

    Args:
        run_id: see `find_run`.
        name: of the registered model, which is created if it does not exist.
        alias: a name for the version, which another version of the name may have had. Defaults to None.

    Raises:
        UsageError: the name or the alias is invalid, there is no such run, it is not FINISHED, or it has no model.
            Nothing is written.
        ServerError: the store failed.
    """
    _check_names(name, alias)
    with store_failures(address):
        store = open_existing_store(address)
        run = find_run(store, run_id)
        model = _model_of(store, run)
        version = _existing_version(store.client, name, run.info.run_id)
        is_new = version is None
        if version is None:
            version = _create_version(store, run.info.run_id, name, model)
        if alias is not None:
            store.client.set_registered_model_alias(name, alias, version.version)
    return RegisteredVersion(name, int(version.version), alias, run.info.run_id, model.model_id, is_new)


def _check_names(name: str, alias: str | None) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not the name of a model; expected at most 256 letters, digits, spaces, '.', '_' or '-', the "
            "first a letter or a digit, and no space at the end"
        )
    if alias is not None and not _ALIAS.fullmatch(alias):
        raise UsageError(f"--alias is {alias!r}; expected at most 255 letters, digits, '_' or '-'")
    if alias is not None and _RESERVED_ALIAS.fullmatch(alias):
        raise UsageError(f"--alias is {alias!r}, which MLflow reserves for versions; choose another, such as champion")


def _model_of(store: Store, run: Run) -> StoredModel:
    """Return the model of a run.

    Raises:
        UsageError: the run is not FINISHED, or has no model.
    """
    run_id, tags = run.info.run_id, run.data.tags
    if run.info.status != "FINISHED":
        raise UsageError(f"the run {run_id} is {run.info.status}; pass the id of a FINISHED run")
    model = model_of(store, run_id)
    if model is not None:
        return model
    if NOT_EXPORTED in tags:
        raise UsageError(f"the run {run_id} has weights but no model that can be served: {tags[NOT_EXPORTED]}")
    if tags.get(KIND, "seed") != "seed":
        raise UsageError(f"the run {run_id} is a {tags[KIND]}, which has no model; pass the id of a run of one seed")
    raise UsageError(f"the run {run_id} has no model; pass the id of a run whose model was not deleted")


def _existing_version(client: MlflowClient, name: str, run_id: str) -> ModelVersion | None:
    """Return the newest version of the name that has the model of the run; None if there is none."""
    versions = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    return max(versions, key=lambda version: int(version.version), default=None)


def _create_version(store: Store, run_id: str, name: str, model: StoredModel) -> ModelVersion:
    """Create a version, and the registered model if it does not exist. Remove it again if the version is refused."""
    client = store.client
    created = _create_name(client, name)
    source = f"models:/{model.model_id}" if model.model_id else model.location
    try:
        with _as_default_store(store.address.uri):
            version = client.create_model_version(name, source, run_id, model_id=model.model_id or None)
        if model.model_id:
            _tag_model(client, model.model_id, version)
    except MlflowException:
        if created:
            client.delete_registered_model(name)
        raise
    return version


def _create_name(client: MlflowClient, name: str) -> bool:
    """Create a registered model. Return false if it exists.

    Raises:
        UsageError: a prompt has this name.
    """
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        if "prompt" in str(error).lower():
            raise UsageError(f"{name!r} is the name of a prompt in MLflow; choose another name") from error
        return False
    return True


def _tag_model(client: MlflowClient, model_id: str, version: ModelVersion) -> None:
    """Set the tag by which MLflow's pages show the versions of a model, unless the server has set it."""
    versions = json.loads(client.get_logged_model(model_id).tags.get(MLFLOW_MODEL_VERSIONS, "[]"))
    if not any(str(entry["version"]) == str(version.version) and entry["name"] == version.name for entry in versions):
        versions.append({"name": version.name, "version": version.version})
        client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: json.dumps(versions)})


@contextmanager
def _as_default_store(uri: str) -> Iterator[None]:
    """Make `uri` MLflow's default store: of an embedded store, it looks for the model of a version only there."""
    before = MLFLOW_TRACKING_URI.get_raw()
    try:
        with _use_tracking_uri(uri):
            yield
    finally:
        MLFLOW_TRACKING_URI.unset()
        if before is not None:
            MLFLOW_TRACKING_URI.set(before)
