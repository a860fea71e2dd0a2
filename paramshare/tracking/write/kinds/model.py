"""A trained net as an MLflow model folder: loads without unpickling, DynamicNet with the depth as an input.

    mlflow.pytorch.load_model(uri)(x, depth=2)
    mlflow.pyfunc.load_model(uri).predict(x, params={"depth": 2})

MLflow's own `save_model` exports anew for every model and infers requirements by running each (seconds); here the
graph is exported once, the requirements are given, and what all models of one shape say is put together once.
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

from paramshare.tracking.read.finished_seeds import MODEL_FOLDER
from paramshare.tracking.write.record import NIL_ID
from paramshare.training.export import exported
from paramshare.training.targets import Spec, target_of

__all__ = ["SavedModel", "saved_model"]

_DEFAULT_DEPTH: Final = 1

# What stands for a model's own in the texts that all models share. Of digits, so that YAML puts it in quotes.
_UUID: Final = "1" * 32
_TIME: Final = "1970-01-01 00:00:00.000000"


@dataclass(frozen=True, slots=True)
class SavedModel:
    """A model as a record holds it; `NIL_ID` stands for the id of its run.

    Args:
        files: the content of each by its path among the run's artifacts.
        history: the value of the tag by which MLflow's pages know the folder as a model.
    """

    files: dict[str, bytes | str]
    history: str


def saved_model(spec: Spec, net: torch.nn.Module) -> SavedModel:
    """`net` of `spec`, on the CPU, as an MLflow model."""
    texts, history = _shared_texts(spec.input_shape, spec.output_size, target_of(spec).takes_depth)
    own = {_UUID: uuid.uuid4().hex, _TIME: datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")}
    files: dict[str, bytes | str] = {f"{MODEL_FOLDER}/{path}": _with(own, text) for path, text in texts.items()}
    files[f"{MODEL_FOLDER}/data/model.pt2"] = exported(spec, net)
    return SavedModel(files, _with(own, history))


def _with(own: Mapping[str, str], text: str) -> str:
    for placeholder, value in own.items():
        text = text.replace(placeholder, value)
    return text


@lru_cache(maxsize=4)
def _shared_texts(inputs: tuple[int, ...], outputs: int, takes_depth: bool) -> tuple[dict[str, str], str]:
    """The texts of any model of this signature, and its history."""
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
        model_config={"device": "cpu"},  # the weights lie on the CPU and an exported graph cannot be moved
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
    """What the model needs to be loaded, pinned; a build's label such as +cpu is not part of it."""
    return [f"{library}=={version(library).partition('+')[0]}" for library in ("mlflow", "numpy", "torch")]
