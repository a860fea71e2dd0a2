"""Convert a trained net to an MLflow model, which loads without unpickling. DynamicNet has the depth as an input.

    mlflow.pytorch.load_model(uri)(x, depth=2)
    mlflow.pyfunc.load_model(uri).predict(x, params={"depth": 2})

MLflow's own `save_model` exports every model and infers its requirements by running it, which takes seconds. Here the
graph is exported once, the requirements are constants, and the texts that models of one shape share are made once.
"""

import json
import platform
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from typing import Final

import mlflow.pyfunc
import numpy as np
import torch
from mlflow.models import Model, ModelSignature
from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

from paramshare.tracking.tags import MODEL_FOLDER
from paramshare.tracking.write.record import NIL_ID
from paramshare.training.export import exported
from paramshare.training.targets import Spec, target_of

__all__ = ["SavedModel", "saved_model"]

_DEFAULT_DEPTH: Final = 1

# Placeholders for a model's own values in the texts that all models share. They are digits, so that YAML quotes them.
_UUID: Final = "1" * 32
_TIME: Final = "1970-01-01 00:00:00.000000"


@dataclass(frozen=True, slots=True)
class SavedModel:
    """A model in the form of a record; `NIL_ID` is a placeholder for the id of its run.

    Args:
        files: the content of each file by its path among the run's artifacts.
        history: the value of the tag by which MLflow's pages recognize the folder as a model.
    """

    files: dict[str, bytes | str]
    history: str


def saved_model(spec: Spec, net: torch.nn.Module) -> SavedModel:
    """Return `net` of `spec`, on the CPU, as an MLflow model."""
    texts, history = _shared_texts(spec.input_shape, spec.output_size, target_of(spec).takes_depth)
    values = {_UUID: uuid.uuid4().hex, _TIME: datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")}
    files: dict[str, bytes | str] = {f"{MODEL_FOLDER}/{path}": _fill(values, text) for path, text in texts.items()}
    files[f"{MODEL_FOLDER}/data/model.pt2"] = exported(spec, net)
    return SavedModel(files, _fill(values, history))


def _fill(values: Mapping[str, str], text: str) -> str:
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return text


@lru_cache(maxsize=4)
def _shared_texts(inputs: tuple[int, ...], outputs: int, takes_depth: bool) -> tuple[dict[str, str], str]:
    """Return the texts of all models with this signature, and their history."""
    model = Model(
        artifact_path=MODEL_FOLDER,
        run_id=NIL_ID,
        utc_time_created=_TIME,
        model_uuid=_UUID,
        signature=_signature(inputs, outputs, takes_depth),
    )
    model.add_flavor("pytorch", model_data="data", pytorch_version=str(torch.__version__), code=None)
    mlflow.pyfunc.add_to_model(
        model,
        loader_module="mlflow.pytorch",
        data="data",
        python_env="python_env.yaml",
        model_config={"device": "cpu"},  # the weights are on the CPU, and an exported graph cannot be moved
    )
    files = {
        "MLmodel": model.to_yaml(),
        "python_env.yaml": f"python: {platform.python_version()}\ndependencies:\n- -r requirements.txt\n",
        "requirements.txt": "".join(f"{line}\n" for line in _requirements()),
    }
    return files, json.dumps([model.get_tags_dict()])


def _signature(inputs: tuple[int, ...], outputs: int, takes_depth: bool) -> ModelSignature:
    float32 = np.dtype(np.float32)
    return ModelSignature(
        inputs=Schema([TensorSpec(float32, (-1, *inputs))]),
        outputs=Schema([TensorSpec(float32, (-1, outputs))]),
        params=ParamSchema([ParamSpec("depth", "long", _DEFAULT_DEPTH)]) if takes_depth else None,
    )


def _requirements() -> list[str]:
    """Return the pinned requirements of loading the model, without a build's label such as +cpu."""
    return [f"{library}=={version(library).partition('+')[0]}" for library in ("mlflow", "numpy", "torch")]
