"""Convert a trained net to an MLflow model, which loads without unpickling. DynamicNet has the depth as an input.

    mlflow.pytorch.load_model(uri)(x, depth=2)
    mlflow.pyfunc.load_model(uri).predict(x, params={"depth": 2})

MLflow's own `save_model` exports every model and infers its requirements by running it, which takes seconds. Here the
graph is exported once, the requirements are constants, and the texts that models of one shape share are made once.
"""

import platform
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final

import mlflow.pyfunc
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

from paramshare.recipes.spec import Spec
from paramshare.recipes.target import target_of
from paramshare.tracking.tags import MODEL_WEIGHTS
from paramshare.tracking.write.record import NIL_ID, NIL_MODEL_ID
from paramshare.training.export.archives import array_of, exported
from paramshare.training.export.programs import check_archive
from paramshare.training.result import Result

__all__ = ["model_files", "plain_weights"]

_PARAM_TYPES: Final = {int: "long", float: "double", bool: "boolean", str: "string"}

_TIME: Final = "1970-01-01 00:00:00.000000"  # a placeholder for the time of a model in the texts that all models share


def model_files(result: Result) -> dict[str, bytes | str]:
    """Return the files of the trained net of `result` as an MLflow model, by their paths in the model's folder.

    `NIL_ID` and `NIL_MODEL_ID` in a text are placeholders for the ids of the run and of the model.

    Raises:
        SpecError: torch cannot export the model of a recipe.
    """
    spec, net = result.spec, result.net
    archive = exported(spec, net)
    shape = target_of(spec).shape(spec)
    if shape not in _texts:
        _texts[shape] = _shared_texts(_signature(result, archive))
    created = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    files: dict[str, bytes | str] = {path: text.replace(_TIME, created) for path, text in _texts[shape].items()}
    return {**files, MODEL_WEIGHTS: archive}


def plain_weights(net: torch.nn.Module) -> bytes:
    """Return the `state_dict` of a module on the CPU in the format of safetensors. Tied weights are written twice."""
    from safetensors.torch import save

    return save({name: tensor.detach().clone().contiguous() for name, tensor in net.state_dict().items()})


_texts: dict[Spec, dict[str, str]] = {}
"""The texts of all models of a shape."""


def _signature(result: Result, archive: bytes) -> ModelSignature | None:
    """Return the signature of a model of one or several tensors that returns a tensor; None of any other.

    The exported graph of a user's recipe is checked.

    Raises:
        SpecError: the graph computes another function than the model.
    """
    net, example = result.net.eval(), result.example
    options = result.spec.recipe.load().call_options
    if not result.spec.target.built_in:  # the tests check those
        check_archive(archive, net, example, options)
    with torch.no_grad():
        output = net(*example, **options)
    tensors = (*example, output)
    if not all(isinstance(part, torch.Tensor) and part.dim() for part in tensors):
        return None
    try:
        *inputs, output_spec = (TensorSpec(array_of(part).dtype, (-1, *part.shape[1:])) for part in tensors)
    except (MlflowException, TypeError):  # a type that MLflow's signatures lack
        return None
    if len(inputs) > 1:
        inputs = [TensorSpec(entry.type, entry.shape, f"input {place}") for place, entry in enumerate(inputs, 1)]
    params = [ParamSpec(name, _PARAM_TYPES[type(value)], value) for name, value in options.items()]
    return ModelSignature(Schema(inputs), Schema([output_spec]), ParamSchema(params) if params else None)


def _shared_texts(signature: ModelSignature | None) -> dict[str, str]:
    """Return the texts of all models with this signature.

    They lack MLflow's `artifact_path`, which is the absolute address of the model: a store can be moved.
    """
    model = Model(
        run_id=NIL_ID, utc_time_created=_TIME, model_uuid=NIL_MODEL_ID, model_id=NIL_MODEL_ID, signature=signature
    )
    model.add_flavor("pytorch", model_data="data", pytorch_version=str(torch.__version__), code=None)
    mlflow.pyfunc.add_to_model(
        model,
        loader_module="mlflow.pytorch",
        data="data",
        python_env="python_env.yaml",
        model_config={"device": "cpu"},  # the weights are on the CPU, and an exported graph cannot be moved
    )
    return {
        "MLmodel": model.to_yaml(),
        "python_env.yaml": f"python: {platform.python_version()}\ndependencies:\n- -r requirements.txt\n",
        "requirements.txt": "".join(f"{line}\n" for line in _requirements()),
    }


def _requirements() -> list[str]:
    """Return the pinned requirements of loading the model, without a build's label such as +cpu."""
    return [f"{library}=={version(library).partition('+')[0]}" for library in ("mlflow", "numpy", "torch")]
