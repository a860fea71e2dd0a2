"""The specs of counting. Pydantic models for Python, the command line and Prefect's form."""

import json
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from paramshare.counting.named_values import named_values
from paramshare.errors import SpecError
from paramshare.sharing.report import Sort
from paramshare.sweep.spec import ExperimentName

__all__ = ["CountSpec", "ModelSpec", "RowsSpec", "args_of", "kwargs_of"]

_ARGS = '{"width": 64}'
_KWARGS = '{"input_ids": {"size": "128", "dtype": "long"}, "use_cache": false}'
_SIZES = r"\s*\d+(\s*[,x;]\s*\d+)*\s*"


def args_of(value: Any) -> Any:
    """Parse `args`, which is a text on the command line and an object in a settings file or a form."""
    return named_values("args", value, _ARGS)


def kwargs_of(value: Any) -> Any:
    """Parse `kwargs` as `args_of` parses `args`."""
    return named_values("kwargs", value, _KWARGS)


def _check_input(text: str) -> str:
    from paramshare.sharing.inputs.sample import parse_sizes  # torch
    from paramshare.sharing.loading.call_arguments import is_import_path

    if not is_import_path(text):
        parse_sizes(text)
    return text


def _check_dtypes(text: str) -> str:
    from paramshare.sharing.inputs.sample import parse_dtypes  # torch

    parse_dtypes(text)
    return text


def _check_tensors(kwargs: dict[str, Any]) -> dict[str, Any]:
    from paramshare.sharing.loading.call_arguments import tensors_of  # torch

    for value in kwargs.values():
        tensors_of(value)
    return kwargs


def _require_input(schema: dict[str, Any]) -> None:
    """Require the input in Prefect's form, so that a missing input is refused before a run. Null is for `kwargs`."""
    schema["required"] = [*schema["required"], "input"]


class ModelSpec(BaseModel):
    """A model and its input."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=_require_input)

    model: str = Field(
        min_length=1,
        description="package.module:attribute or path/to/file.py:Name, such as torchvision.models:resnet50",
    )
    input: Annotated[str, AfterValidator(_check_input)] | None = Field(
        None,
        description="the size of one sample, without the batch, such as 3,224,224; several inputs with ; between them; "
        "or a function that returns (args, kwargs) of the call, such as my_net.py:sample",
        json_schema_extra={
            "pattern": f"^({_SIZES}|.+:.+)$",
            "examples": ["3,224,224", "7;7,5", "my_net.py:sample"],
        },
    )
    args: Annotated[dict[str, Any], BeforeValidator(args_of)] = Field(
        {},
        description="the arguments that build the model: pairs such as width=64,bias=false, or a JSON object such as "
        f"{_ARGS}",
    )
    kwargs: Annotated[dict[str, Any], BeforeValidator(kwargs_of), AfterValidator(_check_tensors)] | None = Field(
        None,
        description="the keyword arguments of forward, in addition to the input or instead of it, in the form of args; "
        f"an object with a size (without the batch) or a shape (of all axes) is a tensor: {_KWARGS}",
    )
    dtype: Annotated[str, AfterValidator(_check_dtypes)] | None = Field(
        None,
        description="the dtype of inputs with a size, such as long for tokens, or long;float32 for two inputs; "
        "defaults to the dtype of the model",
    )
    training: bool = Field(
        False, description="count a pass in training mode, which can use more weights than a pass in evaluation mode"
    )

    @model_validator(mode="after")
    def _check_one_input(self) -> "ModelSpec":
        if self.input is None and self.kwargs is None:
            raise SpecError(
                "input is missing; pass the size of one sample without the batch, such as 3,224,224, or kwargs"
            )
        if self.dtype is not None and (self.input is None or ":" in self.input):
            raise SpecError('dtype applies only to an input of sizes; give a tensor of kwargs its own "dtype"')
        return self

    @property
    def built(self) -> str:
        """The model with its arguments: `my_net.py:Net {"width": 64}`."""
        return f"{self.model} {json.dumps(self.args)}" if self.args else self.model

    @property
    def sample(self) -> str:
        """The input with its keyword arguments: `3,224,224 {"scale": 2}`."""
        named = None if self.kwargs is None else json.dumps(self.kwargs)
        return " ".join(part for part in (self.input, named) if part)

    @property
    def label(self) -> str:
        """The name of the model for people: `torchvision.models:resnet50 on 3,224,224`."""
        return f"{self.built} on {self.sample}"

    @property
    def source(self) -> dict[str, str]:
        """The options that name the model, as text by name: they are enough to repeat the count."""
        options = {
            "model": self.model,
            "input": self.input,
            "args": self.args and json.dumps(self.args),
            "kwargs": None if self.kwargs is None else json.dumps(self.kwargs),
            "dtype": self.dtype,
            "training": self.training and "true",
        }
        return {name: value for name, value in options.items() if value}


class RowsSpec(BaseModel):
    """The rows of a report's table and chart."""

    depth: int | None = Field(
        None, ge=1, description="join the rows of table and chart at this depth of names; defaults to every layer"
    )
    sort: Sort = Field("order", description="rows in the model's order, or by a count, the largest first")


class CountSpec(RowsSpec):
    """Models to count, each of which becomes a run in MLflow."""

    model_config = ConfigDict(extra="forbid")

    models: list[ModelSpec] = Field(min_length=1, max_length=200, description="the models and their inputs")
    experiment: ExperimentName = Field("paramshare", description="the MLflow experiment that receives the runs")

    @property
    def label(self) -> str:
        """The name of the count for people: its first model and the number of further ones."""
        more = len(self.models) - 1
        return f"{self.models[0].label} and {more} more" if more else self.models[0].label
