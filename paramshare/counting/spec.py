"""CountSpec: which models to count. One pydantic model for Python, the command line and Prefect's form."""

import json
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from paramshare.errors import SpecError
from paramshare.sharing.report import Sort
from paramshare.sweep.spec import ExperimentName

__all__ = ["CountSpec", "ModelSpec", "RowsSpec"]

_ARGS = '{"width": 64}'


def _from_json(value: Any) -> Any:
    """A command line gives the JSON of what a settings file or a form gives as an object."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise SpecError(f"args is {value!r}: {error}; expected a JSON object such as {_ARGS}") from error


def _check_sizes(text: str) -> str:
    from paramshare.sharing.inputs import parse_sizes  # torch

    parse_sizes(text)
    return text


def _check_dtypes(text: str) -> str:
    from paramshare.sharing.inputs import parse_dtypes  # torch

    parse_dtypes(text)
    return text


class ModelSpec(BaseModel):
    """A model and its input."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        min_length=1,
        description="package.module:attribute or path/to/file.py:Name, such as torchvision.models:resnet50",
    )
    input: Annotated[str, AfterValidator(_check_sizes)] = Field(
        description="the size of one sample, without the batch, such as 3,224,224; several inputs with ; between them",
        json_schema_extra={"pattern": r"^\s*\d+(\s*[,x;]\s*\d+)*\s*$", "examples": ["3,224,224", "7;7,5"]},
    )
    args: Annotated[dict[str, Any], BeforeValidator(_from_json)] = Field(
        {}, description=f"what the model is built with, as a JSON object such as {_ARGS}"
    )
    dtype: Annotated[str, AfterValidator(_check_dtypes)] | None = Field(
        None, description="the type of the inputs, such as int64; the model's own unless said otherwise"
    )
    training: bool = Field(False, description="count a pass of training, which can use more than one of evaluation")

    @property
    def built(self) -> str:
        """The model as it is built: `my_net.py:Net {"width": 64}`."""
        return f"{self.model} {json.dumps(self.args)}" if self.args else self.model

    @property
    def label(self) -> str:
        """What a person calls it: `torchvision.models:resnet50 on 3,224,224`."""
        return f"{self.built} on {self.input}"

    @property
    def source(self) -> dict[str, str]:
        """What was said, as text by name: enough to say it again."""
        said = {
            "model": self.model,
            "input": self.input,
            "args": self.args and json.dumps(self.args),
            "dtype": self.dtype,
            "training": self.training and "true",
        }
        return {name: value for name, value in said.items() if value}


class RowsSpec(BaseModel):
    """Which rows a report's table and chart have."""

    depth: int | None = Field(
        None, ge=1, description="join the rows of table and chart at this depth of names; every layer unless given"
    )
    sort: Sort = Field("order", description="rows in the model's order, or by a count, the largest first")


class CountSpec(RowsSpec):
    """Models to analyse, each a run in MLflow."""

    model_config = ConfigDict(extra="forbid")

    models: list[ModelSpec] = Field(min_length=1, max_length=200, description="the models and their inputs")
    experiment: ExperimentName = Field("paramshare", description="the MLflow experiment that the runs go to")

    @property
    def label(self) -> str:
        """What a person calls it: its first model, and how many more."""
        more = len(self.models) - 1
        return f"{self.models[0].label} and {more} more" if more else self.models[0].label
