"""Read the artifacts of a run. Weights are read without unpickling."""

import json
import tempfile
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from paramshare.errors import UsageError
from paramshare.tracking.store import Store
from paramshare.tracking.tags import CURVES_FILE, MODEL_FOLDER, WEIGHTS_FILE

__all__ = ["artifact_location", "changed_run", "read_artifact", "read_figure", "read_weights"]

_WEIGHTS: Final = f"{MODEL_FOLDER}/data/model.pt2"

_DTYPES: Final = {
    1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 6: "<f2", 7: "<f4", 8: "<f8", 10: "<c8", 11: "<c16", 12: "?",
    13: "<i2",
}  # fmt: skip
"""NumPy's types by the numbers of `torch._export.serde.schema.ScalarType`."""


def artifact_location(store: Store, run_id: str, name: str) -> str:
    """Return the location of a run's artifact: a path on this machine for an embedded store, otherwise its URI."""
    folder = store.database.artifact_uri(run_id) if store.database else store.client.get_run(run_id).info.artifact_uri
    uri = f"{folder}/{name}"
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
    return _download(store, run_id, CURVES_FILE)


def read_weights(store: Store, run_id: str, prefix: str = "net.") -> dict[str, NDArray[Any]] | None:
    """Return the weights of the run's model by their names in the net's `state_dict`; None if it has no model.

    The weights are raw bytes in the archive: nothing is unpickled or executed. Weights of bfloat16, which NumPy lacks,
    have the bits of int16.

    Args:
        prefix: the prefix of the names in the archive, beside those in the `state_dict`.

    Raises:
        UsageError: the file contains no weights.
    """
    content = read_artifact(store, run_id, _WEIGHTS)
    if content is None:
        return _plain_weights(read_artifact(store, run_id, WEIGHTS_FILE))
    try:
        return _weights(content, prefix)
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        raise changed_run(run_id, f"the weights in its {_WEIGHTS} cannot be read ({error})") from error


def changed_run(run_id: str, reason: str) -> UsageError:
    """Return the error for a run whose content is not what this version of paramshare writes."""
    return UsageError(f"the run {run_id} was changed, or is of another version of paramshare: {reason}")


def _download(store: Store, run_id: str, path: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="paramshare-") as folder:
        return Path(store.client.download_artifacts(run_id, path, folder)).read_bytes()


def _plain_weights(content: bytes | None) -> dict[str, NDArray[Any]] | None:
    """Return the weights of a model that torch could not export; None if the run has no weights."""
    if content is None:
        return None
    from safetensors.numpy import load

    return dict(load(content))


def _weights(archive: bytes, prefix: str) -> dict[str, NDArray[Any]]:
    with zipfile.ZipFile(BytesIO(archive)) as file:
        (config,) = (name for name in file.namelist() if name.endswith("/data/weights/model_weights_config.json"))
        folder = config.rpartition("/")[0]
        weights = {}
        for name, payload in json.loads(file.read(config))["config"].items():
            if payload["use_pickle"]:
                raise ValueError(f"{name} is pickled")
            kind = _DTYPES[payload["tensor_meta"]["dtype"]]
            content = np.frombuffer(file.read(f"{folder}/{payload['path_name']}"), dtype=kind)
            shape = [size["as_int"] for size in payload["tensor_meta"]["sizes"]]
            weights[name.removeprefix(prefix)] = content.reshape(shape)
    return weights
