"""A trained net as an MLflow model folder: loads without unpickling, with the depth as an input.

    mlflow.pytorch.load_model(uri)(x, depth=2)
    mlflow.pyfunc.load_model(uri).predict(x, params={"depth": 2})

MLflow's own `save_model` exports anew for every model and infers requirements by running each (seconds); here the
graph is exported once a process and the requirements are given.
"""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Final

import mlflow.pyfunc
import numpy as np
import torch
from mlflow.models import Model, ModelSignature
from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

from paramshare.training.export import save_exported
from paramshare.training.nets import DynamicNet

__all__ = ["MODEL_FOLDER", "save_model"]

MODEL_FOLDER: Final = "model"
"""The folder among a run's artifacts: the model's URI is `runs:/<run id>/model`."""

_DEFAULT_DEPTH: Final = 1


def save_model(net: DynamicNet, run_id: str, folder: Path) -> Model:
    """Write `net` as an MLflow model into the new folder `folder`.

    Args:
        net: on the CPU.
        run_id: the run that it will belong to.
    """
    data = folder / "data"
    data.mkdir(parents=True)
    save_exported(net, data / "model.pt2")
    (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in _requirements()))
    python = f"python: {platform.python_version()}\ndependencies:\n- -r requirements.txt\n"
    (folder / "python_env.yaml").write_text(python)
    model = Model(artifact_path=MODEL_FOLDER, run_id=run_id, signature=_signature(net))
    model.add_flavor("pytorch", model_data="data", pytorch_version=str(torch.__version__), code=None)
    mlflow.pyfunc.add_to_model(
        model,
        loader_module="mlflow.pytorch",
        data="data",
        python_env="python_env.yaml",
        model_config={"device": "cpu"},  # the weights lie on the CPU and an exported graph cannot be moved
    )
    model.save(folder / "MLmodel")
    return model


def _signature(net: DynamicNet) -> ModelSignature:
    float32 = np.dtype(np.float32)
    return ModelSignature(
        inputs=Schema([TensorSpec(float32, (-1, net.input_linear.in_features))]),
        outputs=Schema([TensorSpec(float32, (-1, net.output_linear.out_features))]),
        params=ParamSchema([ParamSpec("depth", "long", _DEFAULT_DEPTH)]),
    )


def _requirements() -> list[str]:
    """What the model needs to be loaded, pinned; a build's label such as +cpu is not part of it."""
    return [f"{library}=={version(library).partition('+')[0]}" for library in ("mlflow", "numpy", "torch")]
