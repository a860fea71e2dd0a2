"""The specs of proofs. Pydantic models for the command line, the settings files, Python and Prefect's form."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from paramshare.errors import SpecError
from paramshare.sweep.spec import EngineAsked, ExperimentName

__all__ = ["EngineSpec", "RunId", "SampleSpec", "VerifySpec"]

_RUN_ID: Final = re.compile(r"[0-9a-f]{8,32}")


def _check_run_id(text: str) -> str:
    if not _RUN_ID.fullmatch(text.strip().lower()):
        raise SpecError(f"{text!r} is not the id of a run; expected 32 hexadecimal digits, or at least the first 8")
    return text.strip().lower()


RunId = Annotated[
    str, Field(json_schema_extra={"pattern": r"^\s*[0-9a-fA-F]{8,32}\s*$"}), AfterValidator(_check_run_id)
]


class EngineSpec(BaseModel):
    """The engine that trains runs again."""

    engine: EngineAsked = Field(
        "auto",
        description="the engine that trains the runs again: reference, exact or gram; auto is the engine of the run",
    )
    recipe: str | None = Field(
        None,
        description="the recipe that trained the runs, such as path/to/file.py:Class; not needed for a built-in or an "
        "installed one",
    )


class SampleSpec(EngineSpec):
    """A sample of a sweep's runs."""

    sample: int = Field(3, ge=1, description="the number of the sweep's runs to train again")
    sample_seed: int = Field(0, ge=0, description="the seed of the sample: the same seed draws the same runs")


class VerifySpec(SampleSpec):
    """A sweep and the sample of its runs that is trained again and compared."""

    model_config = ConfigDict(extra="forbid")

    parent_run_id: RunId | None = Field(
        None,
        description="the run id of the sweep, or at least its first 8 digits; defaults to the newest finished sweep",
    )
    experiment: ExperimentName = Field("paramshare", description="the MLflow experiment that holds the sweep")
