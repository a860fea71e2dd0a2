"""Read the weights of a run's model. Nothing is unpickled or executed."""

import json
import zipfile
from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from paramshare.tracking.read.artifacts import changed_run, read_artifact
from paramshare.tracking.read.models import model_of, read_model_file
from paramshare.tracking.store import Store
from paramshare.tracking.tags import MODEL_WEIGHTS, WEIGHTS_FILE

__all__ = ["read_weights"]

_DTYPES: Final = {
    1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 6: "<f2", 7: "<f4", 8: "<f8", 10: "<c8", 11: "<c16", 12: "?",
    13: "<i2",
}  # fmt: skip
"""NumPy's types by the numbers of `torch._export.serde.schema.ScalarType`."""


def read_weights(store: Store, run_id: str, prefix: str = "net.") -> dict[str, NDArray[Any]] | None:
    """Return the weights of the run's model by their names in the net's `state_dict`; None if it has no model.

    The weights are raw bytes in the archive: nothing is unpickled or executed. Weights of bfloat16, which NumPy lacks,
    have the bits of int16.

    Args:
        prefix: the prefix of the names in the archive, beside those in the `state_dict`.

    Raises:
        UsageError: the file contains no weights.
    """
    model = model_of(store, run_id)
    if model is None:
        return _plain_weights(read_artifact(store, run_id, WEIGHTS_FILE))
    content = read_model_file(store, model, MODEL_WEIGHTS)
    if content is None:
        return None
    try:
        return _weights(content, prefix)
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        raise changed_run(run_id, f"the weights in its {MODEL_WEIGHTS} cannot be read ({error})") from error


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
