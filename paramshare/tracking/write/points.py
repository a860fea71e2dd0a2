"""The rows of metrics' points in an embedded store, and the statements that insert them.

SQLite needs as much time to start a statement as to insert a row. So the points of a metric are inserted in blocks,
each by one statement that contains the metric's name and the run's id once. A statement keeps no journal of its own
(OR FAIL), since an error rolls back the whole transaction.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple

from mlflow.utils.validation import _validate_metric_name

from paramshare.tracking.write.record import Point

__all__ = ["ADD", "INSERT", "Row", "Rows", "Statements", "rows_of"]

Row = tuple[Any, ...]

_LARGEST: Final = 1.7976931348623157e308  # MLflow's value for infinity
_BLOCK: Final = 100  # points; SQLite before 3.32 takes 999 parameters, and a block has 4 a point and 2
_SINGLE: Final = "(key, run_uuid, value, timestamp, step, is_nan) VALUES (?, ?, ?, ?, ?, ?)"
_MANY: Final = "(key, run_uuid, value, timestamp, step, is_nan) VALUES " + ", ".join(
    f"(?1, ?2, ?{first}, ?{first + 1}, ?{first + 2}, ?{first + 3})" for first in range(3, 3 + 4 * _BLOCK, 4)
)
_UNLESS_THERE: Final = "ON CONFLICT (key, timestamp, step, run_uuid, value, is_nan) DO NOTHING"
_IF_LATER: Final = (
    "ON CONFLICT (key, run_uuid) DO UPDATE SET "
    "value = excluded.value, timestamp = excluded.timestamp, step = excluded.step, is_nan = excluded.is_nan "
    "WHERE (excluded.step, excluded.timestamp, excluded.value) > (step, timestamp, value)"
)


class Statements(NamedTuple):
    """The statements for `Rows`, field by field."""

    blocks: str
    singles: str
    latest: str


INSERT: Final = Statements(
    f"INSERT OR FAIL INTO metrics {_MANY}",
    f"INSERT INTO metrics {_SINGLE}",
    f"INSERT INTO latest_metrics {_SINGLE}",
)
"""For a new run."""

ADD: Final = Statements(
    f"{INSERT.blocks} {_UNLESS_THERE}", f"{INSERT.singles} {_UNLESS_THERE}", f"{INSERT.latest} {_IF_LATER}"
)
"""For an existing run, which can have some of the points."""


class Rows(NamedTuple):
    """The rows of points.

    Args:
        blocks: the parameters of full blocks, each of one metric.
        singles: the rows of the remaining points.
        latest: the row of the latest point of each metric: the largest by step, time and value.
    """

    blocks: list[Row]
    singles: list[Row]
    latest: list[Row]


class _Curve(NamedTuple):
    """Points of one metric as columns, with the values that MLflow stores."""

    name: str
    values: Sequence[float]
    times: Sequence[int]
    steps: Sequence[int]
    are_nan: Sequence[int]  # 0 or 1: Python's sqlite3 looks up an adapter for each bool


def rows_of(run_id: str, points: Sequence[Point]) -> Rows:
    """Return the rows of a run's points.

    Raises:
        MlflowException: MLflow refuses the name of a metric.
    """
    rows = Rows([], [], [])
    latest: dict[str, tuple[tuple[int, int, float], int]] = {}
    for curve in _curves(points):
        name, values, times, steps, are_nan = curve
        whole = len(values) // _BLOCK * _BLOCK
        flat: list[Any] = [None] * (4 * len(values))
        flat[::4], flat[1::4], flat[2::4], flat[3::4] = values, times, steps, are_nan
        size = 4 * _BLOCK
        rows.blocks.extend((name, run_id, *flat[begin : begin + size]) for begin in range(0, 4 * whole, size))
        rows.singles.extend((name, run_id, *flat[begin : begin + 4]) for begin in range(4 * whole, len(flat), 4))
        ages = list(zip(steps, times, values, strict=True))
        age = max(ages)
        if name not in latest or age > latest[name][0]:
            latest[name] = age, are_nan[ages.index(age)]
    for name, ((step, time, value), is_nan) in latest.items():
        rows.latest.append((name, run_id, value, time, step, is_nan))
    return rows


def _curves(points: Sequence[Point]) -> Iterator[_Curve]:
    """Yield consecutive points of one metric as columns, which are faster to process than points."""
    for name, group in groupby(points, key=itemgetter(0)):
        _validate_metric_name(name)
        _, values, times, steps = zip(*group, strict=True)
        if math.isfinite(sum(values)):  # so every value is finite
            yield _Curve(name, values, times, steps, [0] * len(values))
            continue
        are_nan = [int(math.isnan(value)) for value in values]
        stored = [0.0 if math.isnan(value) else min(max(value, -_LARGEST), _LARGEST) for value in values]
        yield _Curve(name, stored, times, steps, are_nan)
