"""Runs as plain data, before any of it is written: a whole run, and what is added to a run later.

What is written in one piece can be there whole or not at all, and can be compared.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal, NamedTuple

from mlflow.entities import DatasetInput

__all__ = ["NIL_ID", "Addition", "Point", "Record", "RunExistsError", "Status", "now", "save_files"]

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]

NIL_ID: Final = "0" * 32
"""The nil UUID, which no run has: it stands in a record's tags and texts where the run's own id belongs."""


def now() -> int:
    """Return the time as runs have it, in milliseconds since 1970."""
    return int(time.time() * 1000)


class Point(NamedTuple):
    """One value of a metric; `time` is in milliseconds since 1970."""

    name: str
    value: float
    time: int
    step: int


class RunExistsError(Exception):
    """A run of the same identity is FINISHED in the store, so that the record was not written; never a user's error."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"the run {run_id} has this identity already")
        self.run_id = run_id


@dataclass(frozen=True, slots=True)
class Record:
    """A whole run: one that has ended, or a parent run at its start.

    Args:
        name: the name that MLflow's pages show.
        status: RUNNING, or how the run ended.
        start, end: times in milliseconds since 1970; `end` is None for a RUNNING run.
        tags, params: by name. `NIL_ID` in a tag's value stands for the run's own id.
        points: of the metrics, no two alike.
        inputs: the datasets that it read, no two alike.
        files: the content of each artifact by its path, such as `model/MLmodel`. In a text, not in bytes, `NIL_ID`
            stands for the run's own id.
        identity: the name of a tag; empty where any number of runs may be alike. Else an embedded store takes the
            record only while it has no FINISHED run with the same value of this tag that read one of the same `inputs`.
            A server has no transaction to look and write in: see `settling`.
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
    identity: str = ""

    def named(self, run_id: str) -> "Record":
        """The record with the run's own id wherever it belongs."""
        return replace(
            self,
            tags={key: value.replace(NIL_ID, run_id) for key, value in self.tags.items()},
            files={
                path: content.replace(NIL_ID, run_id) if isinstance(content, str) else content
                for path, content in self.files.items()
            },
        )


@dataclass(frozen=True, slots=True)
class Addition:
    """An addition to a run that the store already has.

    Args:
        tags: by name; a tag that the run has gets the new value.
        points: of the metrics; a point that the run has already changes nothing.
        files: the content of each artifact by its path.
        status: the new status of the run, which ends now. Defaults to None: the run keeps its status.
    """

    tags: Mapping[str, str] = field(default_factory=dict)
    points: Sequence[Point] = ()
    files: Mapping[str, bytes | str] = field(default_factory=dict)
    status: Status | None = None


def save_files(files: Mapping[str, bytes | str], folder: Path) -> None:
    """Write each file by its path below `folder`, which is created if it does not exist."""
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
