"""Runs as plain data, before they are written: a whole run, and an addition to a run.

A run that is written in one piece is complete or absent, and can be compared.
"""

import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal, NamedTuple

from mlflow.entities import DatasetInput

__all__ = [
    "NIL_ID",
    "NIL_MODEL_ID",
    "Addition",
    "Begun",
    "ModelRecord",
    "Point",
    "Record",
    "RunClosedError",
    "RunExistsError",
    "Status",
    "now",
    "save_files",
]

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]

NIL_ID: Final = "0" * 32
"""The nil UUID, which no run has: a placeholder for the run's own id in the tags and texts of a record."""

NIL_MODEL_ID: Final = "m-" + "f" * 32
"""A placeholder for the id of the run's own model in the texts of the model. No model has this id."""


def now() -> int:
    """Return the current time in milliseconds since 1970."""
    return int(time.time() * 1000)


class Point(NamedTuple):
    """One value of a metric; `time` is in milliseconds since 1970."""

    name: str
    value: float
    time: int
    step: int


class RunExistsError(Exception):
    """The store has a FINISHED run with the record's identity, so the record was not written. Not a user's error."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"the run {run_id} has this identity already")
        self.run_id = run_id


class RunClosedError(Exception):
    """Another process has closed the run as orphaned and deleted its model while this one wrote it."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"another process has closed the run {run_id} while it was written")


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """The model of a run: MLflow's LoggedModel, which has an id and a folder of its own.

    Args:
        name: the name that MLflow's pages show; `runs:/<run id>/<name>` is an address of the model.
        tags, params: by name.
        files: the content of each file by its path in the folder of the model, such as `MLmodel`. `NIL_ID` and
            `NIL_MODEL_ID` in a text, not in bytes, are replaced by the ids of the run and of the model.
        metrics: the names of the run's metrics whose finite points the model has, too. MLflow stores NaN and infinity
            of a model as 0 and 1.8e308, and its pages would sort a model that diverged as the best.
    """

    name: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    files: Mapping[str, bytes | str]
    metrics: Collection[str] = ()

    def points_of(self, points: Sequence[Point]) -> list[Point]:
        """Return those points of the run that the model has, too."""
        names = frozenset(self.metrics)
        return [point for point in points if point.name in names and math.isfinite(point.value)]


@dataclass(frozen=True, slots=True)
class Record:
    """A whole run: an ended run, or a parent run at its start.

    Args:
        name: the name that MLflow's pages show.
        status: RUNNING, or how the run ended.
        start, end: times in milliseconds since 1970; `end` is None for a RUNNING run.
        tags, params: by name. `NIL_ID` in a tag's value is replaced by the run's own id.
        points: of the metrics, without duplicates.
        inputs: the datasets of the run, without duplicates.
        files: the content of each artifact by its path, such as `loss.png`. `NIL_ID` in a text, not in bytes, is
            replaced by the run's own id.
        model: the model that the run has trained. Defaults to None.
        identity: the name of a tag. An embedded store refuses the record if it has a FINISHED run with the same value
            of this tag and one of the same `inputs`. A server cannot check and write in one transaction: see
            `deduplication`. Defaults to empty: duplicates are allowed.
    """

    name: str
    status: Status
    start: int
    end: int | None
    tags: Mapping[str, str]
    params: Mapping[str, str]
    points: Sequence[Point] = ()
    inputs: Sequence[DatasetInput] = ()
    files: Mapping[str, bytes | str] = field(default_factory=dict)
    model: ModelRecord | None = None
    identity: str = ""

    def named(self, run_id: str, model_id: str = "") -> "Record":
        """Return the record with `NIL_ID` and `NIL_MODEL_ID` replaced by the ids of the run and of its model."""
        model = self.model and replace(self.model, files=_filled(self.model.files, run_id, model_id))
        tags = {key: value.replace(NIL_ID, run_id) for key, value in self.tags.items()}
        return replace(self, tags=tags, files=_filled(self.files, run_id, model_id), model=model)


@dataclass(frozen=True, slots=True)
class Begun:
    """A RUNNING run of a training that goes on. A record takes its place when the training has ended.

    Args:
        run_id: the id of the run.
        written: the number of points that the run has of each metric: those of the first steps.
    """

    run_id: str
    written: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Addition:
    """An addition to a run that the store already has.

    Args:
        tags: by name; an existing tag gets the new value.
        points: of the metrics; an existing point changes nothing.
        files: the content of each artifact by its path.
        status: the new status of the run, which ends now. Defaults to None: the run keeps its status.
    """

    tags: Mapping[str, str] = field(default_factory=dict)
    points: Sequence[Point] = ()
    files: Mapping[str, bytes | str] = field(default_factory=dict)
    status: Status | None = None


def _filled(files: Mapping[str, bytes | str], run_id: str, model_id: str) -> dict[str, bytes | str]:
    return {
        path: content.replace(NIL_ID, run_id).replace(NIL_MODEL_ID, model_id) if isinstance(content, str) else content
        for path, content in files.items()
    }


def save_files(files: Mapping[str, bytes | str], folder: Path) -> None:
    """Write each file by its path below `folder`, which is created if it does not exist."""
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
