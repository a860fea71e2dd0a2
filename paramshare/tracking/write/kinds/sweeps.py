"""The parent run of a sweep: made when it starts, told of progress while it goes, filled when it ends."""

import io
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import unquote, urlsplit

from paramshare.bands import Band
from paramshare.tracking.display.tables import table_artifact
from paramshare.tracking.read.finished_seeds import KIND, NOTE, search
from paramshare.tracking.store import Store
from paramshare.tracking.write.record import Addition, Point, Record, now
from paramshare.tracking.write.runs import add, tag_experiment, write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "CURVES_FILE",
    "artifact_location",
    "find_sweep",
    "finish_sweep",
    "log_progress",
    "log_report",
    "read_curves",
    "read_note",
    "start_sweep",
]

CURVES_FILE: Final = "loss_curves.png"
TABLE_FILE: Final = "seeds.json"
_SWEEP_KEY: Final = "paramshare.sweep_key"


def start_sweep(store: Store, name: str, sweep_key: str, params: Mapping[str, str], tags: Mapping[str, str]) -> str:
    """Make the parent run, RUNNING, and return its id."""
    own = {KIND: "sweep", _SWEEP_KEY: sweep_key}
    return write(store, Record(name, "RUNNING", now(), None, {**tags, **own}, params))


def find_sweep(store: Store, sweep_key: str) -> str | None:
    """The newest FINISHED parent run over exactly these specs, if there is one."""
    if store.database is not None:
        return store.database.newest_finished(_SWEEP_KEY, sweep_key)
    condition = f"attributes.status = 'FINISHED' AND tags.`{_SWEEP_KEY}` = '{sweep_key}'"
    run = next(search(store, condition), None)
    return run.info.run_id if run else None


def log_progress(store: Store, run_id: str, done: int) -> None:
    """Log how many runs of the sweep have ended, as a metric of the parent run."""
    add(store, run_id, Addition(points=[Point("runs/done", float(done), now(), done)]))


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
    """Give the parent run everything it says about its runs together, and end it.

    Args:
        status: FAILED where one of its runs is.
        bands: the curves of each group, logged at every step as `loss/median/<group>`, `loss/lower_quartile/<group>`
            and `loss/upper_quartile/<group>`: the medians of all groups stand side by side then. Steps at which one is
            not finite are left out.
        metrics: single numbers by name.
        figure: the curves drawn.
        table: a row a run, by column.
        note: Markdown, shown on the run's page.
        views: the tags of the experiment that hold saved views.
    """
    end = now()
    content, table_tag = table_artifact(TABLE_FILE, table)
    picture = io.BytesIO()
    figure.savefig(picture)
    points = [
        Point(f"loss/{name}/{group}", float(value), end + step, step)
        for group, band in bands.items()
        for name, curve in (
            ("median", band.median),
            ("lower_quartile", band.lower),
            ("upper_quartile", band.upper),
        )
        for step, value in enumerate(curve)
        if math.isfinite(value)  # MLflow would keep 1.8e308, and its pages draw no axis that shows anything beside it
    ]
    points += [Point(name, float(value), end, 0) for name, value in metrics.items()]
    files: dict[str, bytes | str] = {CURVES_FILE: picture.getvalue(), TABLE_FILE: content}
    add(store, run_id, Addition({NOTE: note, **table_tag}, points, files, status))
    tag_experiment(store, views)


def log_report(
    store: Store, run_id: str, files: Mapping[str, bytes | str], note: str, views: Mapping[str, str]
) -> None:
    """Add artifacts by their paths and a new note to a sweep that has ended, and saved views to its experiment.

    Args:
        views: the tags of the experiment that hold them.
    """
    add(store, run_id, Addition(tags={NOTE: note}, files=files))
    tag_experiment(store, views)


def read_note(store: Store, run_id: str) -> str:
    """The note on a run's page, in Markdown."""
    if store.database is not None:
        return store.database.tag(run_id, NOTE) or ""
    return str(store.client.get_run(run_id).data.tags.get(NOTE, ""))


def read_curves(store: Store, run_id: str) -> bytes:
    """The figure of a sweep's curves, as PNG."""
    with tempfile.TemporaryDirectory(prefix="paramshare-") as folder:
        return Path(store.client.download_artifacts(run_id, CURVES_FILE, folder)).read_bytes()


def artifact_location(store: Store, run_id: str, name: str) -> str:
    """Where an artifact of a run lies: a path on this machine for an embedded store, else its URI."""
    folder = store.database.artifact_uri(run_id) if store.database else store.client.get_run(run_id).info.artifact_uri
    uri = f"{folder}/{name}"
    return unquote(urlsplit(uri).path) if uri.startswith("file:") else uri
