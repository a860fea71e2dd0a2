"""Write the parent run of a sweep: create it, log its progress, and complete it when the sweep ends."""

import io
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from paramshare.bands import Band
from paramshare.tracking.display.tables import table_artifact
from paramshare.tracking.store import Store, tag_experiment
from paramshare.tracking.tags import CURVES_FILE, KIND, NOTE, RUNS_DONE, SWEEP_KEY, TABLE_FILE, loss_metric
from paramshare.tracking.write.record import Addition, Point, Record, now
from paramshare.tracking.write.runs import add, write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["finish_sweep", "log_progress", "log_report", "start_sweep"]


def start_sweep(store: Store, name: str, sweep_key: str, params: Mapping[str, str], tags: Mapping[str, str]) -> str:
    """Create the parent run as RUNNING and return its id."""
    own_tags = {KIND: "sweep", SWEEP_KEY: sweep_key}
    return write(store, Record(name, "RUNNING", now(), None, {**tags, **own_tags}, params))


def log_progress(store: Store, run_id: str, done: int) -> None:
    """Log the number of the sweep's runs that have ended, as a metric of the parent run."""
    add(store, run_id, Addition(points=[Point(RUNS_DONE, float(done), now(), done)]))


def finish_sweep(
    store: Store,
    run_id: str,
    *,
    status: Literal["FINISHED", "FAILED"],
    bands: Mapping[str, Band],
    metrics: Mapping[str, float],
    figure: "Figure",
    table: Mapping[str, list[object]],
    note: str,
    views: Mapping[str, str],
) -> None:
    """Add the aggregate results of its runs to the parent run, and end it.

    Args:
        status: FAILED if one of its runs is FAILED.
        bands: the curves of each group, logged at every step as `loss/median/<group>`, `loss/lower_quartile/<group>`
            and `loss/upper_quartile/<group>`: sorted by name, the medians of all groups are together. Steps at which a
            value is not finite are omitted.
        metrics: single numbers by name.
        figure: the plot of the curves.
        table: the cells by column, with a row for each run.
        note: Markdown, shown on the run's page.
        views: the experiment's tags with saved views.
    """
    end = now()
    content, table_tag = table_artifact(TABLE_FILE, table)
    picture = io.BytesIO()
    figure.savefig(picture)
    points = _band_points(bands, end)
    points += [Point(name, float(value), end, 0) for name, value in metrics.items()]
    files: dict[str, bytes | str] = {CURVES_FILE: picture.getvalue(), TABLE_FILE: content}
    add(store, run_id, Addition({NOTE: note, **table_tag}, points, files, status))
    tag_experiment(store, views)


def _band_points(bands: Mapping[str, Band], start: int) -> list[Point]:
    """Return the finite values of the bands: for infinity MLflow's chart would have an axis up to 1.8e308."""
    return [
        Point(loss_metric(statistic, group), float(value), start + step, step)
        for group, band in bands.items()
        for statistic, curve in (
            ("median", band.median),
            ("lower_quartile", band.lower),
            ("upper_quartile", band.upper),
        )
        for step, value in enumerate(curve)
        if math.isfinite(value)
    ]


def log_report(
    store: Store, run_id: str, files: Mapping[str, bytes | str], note: str, views: Mapping[str, str]
) -> None:
    """Add artifacts and a new note to a sweep that has ended, and saved views to its experiment.

    Args:
        files: the content of each artifact by its path.
        views: the experiment's tags with saved views.
    """
    add(store, run_id, Addition(tags={NOTE: note}, files=files))
    tag_experiment(store, views)
