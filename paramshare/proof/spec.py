"""What to reproduce, and how. Pydantic models for the command line, the settings files, Python and Prefect's form."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from paramshare.errors import SpecError
from paramshare.sweep.spec import EngineAsked, ExperimentName

__all__ = ["EngineSpec", "RunId", "SampleSpec", "VerifySpec"]

_RUN_ID: Final = re.compile(r"[0-9a-f]{8,32}")


def _check_run_id(text: str) -> str:
    if not _RUN_ID.fullmatch(text.strip().lower()):
        raise SpecError(f"{text!r} is no run's id; expected 32 hexadecimal digits, or the first 8 or more of them")
    return text.strip().lower()


RunId = Annotated[
    str, Field(json_schema_extra={"pattern": r"^\s*[0-9a-fA-F]{8,32}\s*$"}), AfterValidator(_check_run_id)
]


class EngineSpec(BaseModel):
    """What trains again."""

    engine: EngineAsked = Field(
        "auto",
        description="what trains the runs again: reference, exact or gram; auto is the engine that the run names",
    )
    recipe: str | None = Field(
        None,
        description="the recipe that trained the runs, such as path/to/file.py:Class; not needed for a built-in or an "
        "installed one",
    )


class SampleSpec(EngineSpec):
    """Which runs of which sweep."""

    sample: int = Field(3, ge=1, description="how many of the sweep's runs are trained again")
    sample_seed: int = Field(0, ge=0, description="which of them: the same seed chooses the same runs")


class VerifySpec(SampleSpec):
    """A sweep, a sample of whose runs is trained again and compared."""

    model_config = ConfigDict(extra="forbid")

    parent_run_id: RunId | None = Field(
        None, description="the sweep's run id, or its first 8 digits or more; the newest finished sweep unless given"
    )
    experiment: ExperimentName = Field("paramshare", description="the MLflow experiment that holds the sweep")
