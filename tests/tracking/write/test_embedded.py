"""A run written in one transaction has the same rows and files as one that MLflow's client writes.

Also, killed, simultaneous and failing writers leave complete runs only.
"""

import json
import math
import shutil
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from itertools import count
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.exceptions import MlflowException
from mlflow.utils.file_utils import local_file_uri_to_path
from sqlalchemy import event

from paramshare.signals import signals_raise
from paramshare.tracking.read.models import model_of
from paramshare.tracking.store import Store, StoreAddress, open_store, update_statistics
from paramshare.tracking.store.database import StoreWarning, open_database
from paramshare.tracking.write.record import (
    NIL_ID,
    NIL_MODEL_ID,
    Addition,
    Begun,
    ModelRecord,
    Point,
    Record,
    RunExistsError,
)
from paramshare.tracking.write.runs import add, add_by_client, write, write_by_client
from support.file_size_limit import files_of_at_most
from support.forked import forked

STEPS = 1234
DATA = Dataset("gaussian-ü-seed-3", "0123abcd", "code", '{"seed": 3}', '{"x": "…"}', '{"rows": 4}')
OTHER = Dataset("other", "0123abcd", "code", "{}")

FULL = Record(
    name="shared seed 3 on cpu – ünïcode 🧪",
    status="FINISHED",
    start=1_700_000_000_123,
    end=1_700_000_004_567,
    tags={
        "paramshare.key": "k",
        "mlflow.user": "jo ünïcode",
        "mlflow.note.content": f"![loss](get-artifact?path=loss.png&run_uuid={NIL_ID})\n\n| a | b |",
        "empty": "",
        "twice": f"{NIL_ID} {NIL_ID}",
    },
    params={"seed": "3", "learning_rate": "0.0001", "name": "ü × ’", "long": "x" * 7000},
    points=[
        *(Point("train/loss", 1 / (step + 1), 1_700_000_000_123 + step, step) for step in range(STEPS)),
        *(Point("depth", float(step % 4), 1_700_000_000_123 + step, step) for step in range(STEPS)),
        # The latest is the largest by step, then time, then value; not the last.
        *(Point("shuffled", float(step), 5, step) for step in (3, 1, 2)),
        *(Point("later", float(time), time, 1) for time in (7, 9, 8)),
        *(Point("larger", value, 5, 0) for value in (1.0, 3.0, 2.0)),
        Point("left the numbers", math.inf, 5, 0),
        Point("left the numbers", -math.inf, 6, 1),
        Point("left the numbers", math.nan, 7, 2),
        Point("negative nan", -1.0, 5, 0),
        Point("negative nan", math.nan, 5, 0),
        Point("tiny", 5e-324, 5, 0),
        Point("minus zero", -0.0, 5, 0),
    ],
    inputs=[
        DatasetInput(DATA, [InputTag("mlflow.data.context", "training"), InputTag("b", "ü")]),
        DatasetInput(OTHER, []),
    ],
    files={
        "loss.png": b"\x89PNG\x00" + NIL_ID.encode(),
        "notes/ü.txt": f"run_id: '{NIL_ID}'\nü\n",
    },
    model=ModelRecord(
        name="model",
        tags={"paramshare.key": "k", "ü": "", "mlflow.user": "jo ünïcode"},
        params={"seed": "3", "name": "ü × ’", "long": "x" * 7000},
        files={
            "MLmodel": f"run_id: '{NIL_ID}'\nmodel_id: {NIL_MODEL_ID}\nü\n",
            "data/model.pt2": bytes(range(256)) + NIL_MODEL_ID.encode(),
        },
        metrics=("tiny", "shuffled", "minus zero", "left the numbers", "negative nan", "not a metric"),
    ),
)
BARE = Record("failed", "FAILED", 1_700_000_000_123, 1_700_000_000_123, {"paramshare.error": "why"}, {"seed": "3"})


def database_of(store: Store) -> Path:
    assert store.address.database is not None
    return store.address.database


@pytest.fixture
def twin(store: Store, tmp_path: Path) -> Store:
    """Return a second store with a copy of the database: the same experiment, with the same folder for its files."""
    file = tmp_path / "twin" / "mlflow.db"
    file.parent.mkdir()
    with closing(sqlite3.connect(database_of(store))) as source, closing(sqlite3.connect(file)) as target:
        source.backup(target)
    address = StoreAddress(f"sqlite:///{file}", store.address.experiment)
    experiment = store.client.get_experiment(store.experiment_id)
    client = MlflowClient(tracking_uri=address.uri)
    return Store(address, store.experiment_id, lambda: client, open_database(address.uri, experiment))


def rows_of(store: Store) -> dict[str, list[str]]:
    """Return every row of every table with its types. Random ids are replaced by their kind and index."""
    with closing(sqlite3.connect(database_of(store))) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {name: [repr(row) for row in connection.execute(f"SELECT * FROM {name}")] for name in tables}
        names = {}
        for what, query in (
            ("run", "SELECT run_uuid FROM runs ORDER BY start_time"),
            ("dataset", "SELECT dataset_uuid FROM datasets ORDER BY name"),
            ("input", "SELECT input_uuid FROM inputs LEFT JOIN datasets ON source_id = dataset_uuid ORDER BY name"),
            ("model", "SELECT model_id FROM logged_models ORDER BY creation_timestamp_ms"),
        ):
            names |= {row_id: f"{what} {index}" for index, (row_id,) in enumerate(connection.execute(query))}
    for row_id, name in names.items():
        rows = {table: [row.replace(row_id, name) for row in of_table] for table, of_table in rows.items()}
    return {table: sorted(of_table) for table, of_table in rows.items()}


def files_of(store: Store, run_id: str) -> dict[str, str]:
    folder = database_of(store).parent / "artifacts" / run_id / "artifacts"
    files = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
    return {
        path: f"{file.stat().st_mode:o} {file.read_bytes()!r}".replace(run_id, "run") for path, file in files.items()
    }


def model_files_of(store: Store, run_id: str) -> dict[str, bytes]:
    model = model_of(store, run_id)
    if model is None:
        return {}
    folder = Path(local_file_uri_to_path(model.location))
    assert folder == database_of(store).parent / "artifacts" / "models" / model.model_id / "artifacts"
    files = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    ids = ((run_id, "run"), (model.model_id, "model"))
    for row_id, name in ids:
        files = {path: content.replace(row_id.encode(), name.encode()) for path, content in files.items()}
    return files


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock: each writer has its own time at which a run ends or a model is created."""
    monkeypatch.setattr(time, "time", lambda: 1_700_000_009.0)


@pytest.mark.usefixtures("still")
@pytest.mark.parametrize("record", [FULL, BARE], ids=["full", "bare"])
def test_a_run_has_the_same_rows_and_files_as_one_that_mlflows_client_writes(
    record: Record, store: Store, twin: Store
) -> None:
    ours, theirs = write(store, record), write_by_client(twin.client, twin.experiment_id, record)
    assert rows_of(store) == rows_of(twin)
    assert files_of(store, ours) == files_of(store, theirs)  # one place for both
    assert len(files_of(store, ours)) == len(record.files)
    assert described(store, ours) == described(twin, theirs)


def described(store: Store, run_id: str) -> object:
    """Return what MLflow's client reads of a run and its model, with their ids replaced."""
    run = store.client.get_run(run_id)
    models = [store.client.get_logged_model(output.model_id) for output in run.outputs.model_outputs]
    described = [run.to_dictionary()]
    for model in models:
        metrics = sorted(repr(metric) for metric in model.metrics or ())  # the client writes them in another order
        described.append({**model.to_dictionary(), "metrics": metrics})
    text = json.dumps(described)
    for row_id, name in ((run_id, "run"), *((model.model_id, "model") for model in models)):
        text = text.replace(row_id, name)
    return json.loads(text)


@pytest.mark.usefixtures("still")
def test_the_model_of_a_run_has_the_files_that_mlflows_client_writes(store: Store, twin: Store) -> None:
    ours, theirs = write(store, FULL), write_by_client(twin.client, twin.experiment_id, FULL)
    twin = replace(twin, database=None, address=store.address)  # reads by the client; one place for both
    assert model_files_of(store, ours) == model_files_of(twin, theirs)
    assert model_files_of(store, ours)["MLmodel"].decode() == "run_id: 'run'\nmodel_id: model\nü\n"
    assert model_files_of(store, ours)["data/model.pt2"].endswith(NIL_MODEL_ID.encode())


def test_a_model_is_ready_and_has_only_finite_values(store: Store) -> None:
    run_id = write(store, FULL)
    (model,) = store.client.search_logged_models([store.experiment_id], f"source_run_id = '{run_id}'")
    assert (str(model.status), model.name, model.source_run_id) == ("READY", "model", run_id)
    assert {(metric.key, metric.step, metric.value) for metric in model.metrics or ()} == {
        ("tiny", 0, 5e-324),
        ("minus zero", 0, 0.0),
        ("negative nan", 0, -1.0),
        *(("shuffled", step, step) for step in (1, 2, 3)),
    }
    assert [output.model_id for output in store.client.get_run(run_id).outputs.model_outputs] == [model.model_id]


@pytest.mark.usefixtures("still")
@pytest.mark.parametrize("steps", [0, 7, STEPS])
def test_a_run_that_has_begun_ends_with_the_rows_of_a_run_that_is_written_whole(
    steps: int, store: Store, twin: Store
) -> None:
    curve = [point for point in FULL.points if point.name == "train/loss"][:steps]
    record = replace(FULL, points=[point for point in FULL.points if point.name in ("train/loss", "later")])
    early = {key: value for key, value in FULL.tags.items() if NIL_ID not in value}
    running = replace(record, status="RUNNING", end=None, tags=early, points=curve, inputs=(), files={}, model=None)
    whole = write_by_client(twin.client, twin.experiment_id, record)
    begun = Begun(write(store, running), {"train/loss": steps})
    assert write(store, record, begun) == begun.run_id
    assert rows_of(store) == rows_of(twin)
    assert files_of(store, begun.run_id) == files_of(store, whole)


@pytest.mark.usefixtures("still")
def test_the_client_ends_a_run_that_has_begun_as_a_whole_run(store: Store, twin: Store) -> None:
    curve = [point for point in FULL.points if point.name == "train/loss"]
    early = {key: value for key, value in FULL.tags.items() if NIL_ID not in value}
    running = replace(FULL, status="RUNNING", end=None, tags=early, points=curve[:7], inputs=(), files={}, model=None)
    begun = Begun(write_by_client(twin.client, twin.experiment_id, running), {"train/loss": 7})
    write_by_client(twin.client, twin.experiment_id, FULL, begun)
    write(store, FULL)
    assert rows_of(twin) == rows_of(store)


def test_the_model_of_an_interrupted_write_is_replaced_when_the_client_ends_the_run(twin: Store) -> None:
    run_id = twin.client.create_run(twin.experiment_id).info.run_id
    interrupted = twin.client.create_logged_model(twin.experiment_id, "model", source_run_id=run_id)
    write_by_client(twin.client, twin.experiment_id, FULL, Begun(run_id, {}))
    models = twin.client.search_logged_models([twin.experiment_id])
    assert [(model.source_run_id, str(model.status)) for model in models] == [(run_id, "READY")]
    assert models[0].model_id != interrupted.model_id


STARTED = Record("sweep", "RUNNING", 1_700_000_000_123, None, {"mlflow.user": "jo"}, {"seeds": "0:3"})
ADDITIONS = (
    Addition(points=[Point("runs/done", 1.0, 5, 1), Point("loss", 2.0, 5, 0)], tags={"lease": "1"}),
    Addition(
        points=[Point("runs/done", 1.0, 5, 1), Point("runs/done", 2.0, 6, 2)], tags={"lease": "2"}
    ),  # the first point again
    Addition(points=[Point("loss", 9.0, 4, 0), Point("loss", math.nan, 6, 0), Point("late", math.inf, 1, 1)]),
    Addition(points=[Point("late", 1.0, 2, 0)]),  # of an earlier step: it does not become the latest
    Addition({"mlflow.note.content": "ü"}, FULL.points, {"a/b.txt": "ü", "c.png": b"\x89"}, status="KILLED"),
)


@pytest.mark.usefixtures("still")
def test_an_addition_to_a_run_has_the_same_rows_and_files_as_one_that_mlflows_client_writes(
    store: Store, twin: Store
) -> None:
    ours, theirs = write(store, STARTED), write_by_client(twin.client, twin.experiment_id, STARTED)
    assert rows_of(store) == rows_of(twin)
    for addition in ADDITIONS:
        add(store, ours, addition)
        add_by_client(twin.client, theirs, addition)
        assert rows_of(store) == rows_of(twin)
        assert files_of(store, ours) == files_of(store, theirs)
    assert store.client.get_run(ours).info.end_time == 1_700_000_009_000
    assert len(files_of(store, ours)) == 2


def test_an_addition_to_a_deleted_or_missing_run_is_refused(store: Store) -> None:
    deleted = write(store, STARTED)
    store.client.delete_run(deleted)
    before = rows_of(store)
    for run_id in (deleted, "0" * 32):
        for addition in (Addition(tags={"a": "b"}), Addition(status="FINISHED"), Addition(points=FULL.points[:3])):
            with pytest.raises(MlflowException):
                add(store, run_id, addition)
    with pytest.raises(MlflowException, match="does not exist"):
        add(store, "0" * 32, Addition(files={"a": "b"}))
    assert rows_of(store) == before


def test_a_dataset_that_the_experiment_has_is_not_inserted_again(store: Store, twin: Store) -> None:
    for _ in range(2):
        write(store, FULL)
        write_by_client(twin.client, twin.experiment_id, FULL)
    count = {name: len(rows) for name, rows in rows_of(store).items()}
    assert count == {name: len(rows) for name, rows in rows_of(twin).items()}
    assert (count["runs"], count["datasets"], count["inputs"], count["logged_models"]) == (2, 2, 6, 2)


def test_the_nil_id_in_tags_and_texts_is_replaced_by_the_runs_own_id_but_not_in_bytes(store: Store) -> None:
    run_id = write(store, FULL)
    run = store.client.get_run(run_id)
    assert run.data.tags["twice"] == f"{run_id} {run_id}"
    assert Path(store.client.download_artifacts(run_id, "notes/ü.txt")).read_text().startswith(f"run_id: '{run_id}'")
    assert Path(store.client.download_artifacts(run_id, "loss.png")).read_bytes() == FULL.files["loss.png"]


def test_after_an_update_of_statistics_sqlite_reads_the_curve_of_one_run_by_its_index(store: Store) -> None:
    for _ in range(20):
        write(store, FULL)
    update_statistics(store)
    with closing(sqlite3.connect(database_of(store))) as connection:
        plan = "EXPLAIN QUERY PLAN SELECT * FROM metrics WHERE run_uuid = 'a' AND key = 'b'"
        assert "index_metrics_run_uuid_key_step" in connection.execute(plan).fetchone()[-1]


def remains(store: Store) -> list[str]:
    """Return the names of the folders of runs and models."""
    artifacts = database_of(store).parent / "artifacts"
    return [folder.name for folder in (*artifacts.glob("*"), *artifacts.glob("models/*")) if folder.name != "models"]


def test_a_run_with_a_file_that_cannot_be_written_leaves_nothing(store: Store) -> None:
    files = {"a": b"a", "large": bytes(100_000)}
    large = Record("x", "FINISHED", 1, 2, {}, {}, files=files)
    large_model = Record("x", "FINISHED", 1, 2, {}, {}, files={"a": b"a"}, model=ModelRecord("m", {}, {}, files))
    for record in (large, large_model):
        with files_of_at_most(50_000), pytest.raises(OSError, match="too large"):
            write(store, record)
    assert list(store.client.search_runs([store.experiment_id])) == []
    assert remains(store) == []


def test_a_run_that_the_database_refuses_leaves_nothing(store: Store) -> None:
    twice = [Point("a", 1.0, 1, 1)] * 2
    with pytest.raises(MlflowException, match="UNIQUE constraint failed"):
        write(store, replace(FULL, points=twice))
    with pytest.raises(MlflowException, match="Invalid model name"):
        write(store, replace(FULL, model=replace(FULL.model, name="a/b")))  # type: ignore[type-var]
    with pytest.raises(MlflowException, match="Invalid value"):
        write(store, Record("x", "FINISHED", 1, 2, {}, {"what?": "no such name"}, files={"a": b"a"}))
    assert list(store.client.search_runs([store.experiment_id])) == []
    assert list(store.client.search_logged_models([store.experiment_id])) == []
    assert remains(store) == []


def test_a_run_of_a_deleted_experiment_is_refused(store: Store) -> None:
    store.client.delete_experiment(store.experiment_id)
    with pytest.raises(MlflowException, match="was deleted"):
        write(store, BARE)


ALONE = replace(BARE, status="FINISHED", tags={"who": "me"}, inputs=FULL.inputs, files={"a": b"a"}, identity="who")


def test_a_second_run_with_the_identity_of_a_finished_run_is_refused_and_leaves_nothing(store: Store) -> None:
    first = write(store, ALONE)
    before = rows_of(store)
    with pytest.raises(RunExistsError, match=first) as caught:
        write(store, ALONE)
    assert caught.value.run_id == first
    assert rows_of(store) == before
    assert [folder.name for folder in (database_of(store).parent / "artifacts").iterdir()] == [first]


@pytest.mark.parametrize(
    "other",
    [
        replace(ALONE, identity=""),
        replace(ALONE, tags={"who": "else"}),
        replace(ALONE, tags={"name": "me"}, identity="name"),
        replace(ALONE, inputs=[DatasetInput(Dataset("third", "0", "code", "{}"), [])]),
        replace(ALONE, status="FAILED", inputs=(), files={}),
    ],
    ids=["none asked for", "another value", "another tag", "another dataset", "a failure"],
)
def test_a_run_without_an_identity_or_with_another_one_is_written(other: Record, store: Store) -> None:
    assert len({write(store, ALONE), write(store, other)}) == 2


@pytest.mark.parametrize("gone", ["deleted", "killed", "of another experiment"])
def test_a_deleted_killed_or_foreign_run_does_not_prevent_a_run_with_the_same_identity(gone: str, store: Store) -> None:
    first = write(store, ALONE)
    if gone == "deleted":
        store.client.delete_run(first)
    elif gone == "killed":
        store.client.set_terminated(first, "KILLED")
    else:
        store = open_store(StoreAddress(store.address.uri, "other"))
    assert write(store, ALONE) != first


def test_of_simultaneous_writes_with_one_identity_one_run_is_written(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(write, store, ALONE) for _ in range(24)]:
            with suppress(RunExistsError):
                future.result()
    assert len(store.client.search_runs([store.experiment_id])) == 1


def test_the_query_for_a_runs_identity_uses_indexes_only(store: Store) -> None:
    assert store.database is not None
    queries: list[tuple[str, object]] = []
    event.listen(store.database.engine, "before_cursor_execute", lambda *arguments: queries.append(arguments[2:4]))
    write(store, ALONE)
    (statement, values) = next(query for query in queries if "tags" in query[0] and query[0].startswith("SELECT"))
    with closing(sqlite3.connect(database_of(store))) as connection:
        plan = [row[-1] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert not [step for step in plan if step.startswith("SCAN")], plan


def test_a_writer_waits_for_the_lock_of_another_writer(store: Store) -> None:
    with closing(sqlite3.connect(database_of(store), check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(0.5, other.rollback).start()
        write(store, BARE)
    assert len(store.client.search_runs([store.experiment_id])) == 1


def test_a_signal_at_any_moment_of_a_write_leaves_no_lock(store: Store) -> None:
    """The exception is alive meanwhile, as it is while the sweep closes the runs that it interrupted."""
    write(store, BARE)  # imports what writing needs
    with signals_raise(), events_counted() as events:
        write(store, BARE)
        moments = range(1, next(events), 7)
        assert len(moments) > 100
        for moment in moments:
            with pytest.raises(SystemExit) as end, events_counted(moment):
                write(store, BARE)
            assert end.value.__traceback__ is not None
            with closing(sqlite3.connect(database_of(store), timeout=0)) as other:
                other.execute("BEGIN IMMEDIATE")


@contextmanager
def events_counted(moment: int = 0) -> Iterator[Iterator[int]]:
    """Count the calls and returns of functions in the block, and send SIGTERM to this process at one of them.

    Args:
        moment: the number of the event, from 1; 0 for none.

    Yields:
        An iterator whose next item is the number of events.
    """
    events = count(1)

    def profile(*_: object) -> None:
        if next(events) == moment:
            sys.setprofile(None)
            signal.raise_signal(signal.SIGTERM)

    sys.setprofile(profile)
    try:
        yield events
    finally:
        sys.setprofile(None)


def write_until_killed(ready: Connection) -> None:
    """Write runs that have a file for each of their points."""
    store = open_store(StoreAddress.of(None, "paramshare"))
    points = [Point(f"m{index}", 1.0, 1, 1) for index in range(50)]
    files = {f"f/{point.name}": b"x" * 9000 for point in points}
    model = ModelRecord("model", {}, {}, files, {point.name for point in points})
    record = Record("x", "FINISHED", 1, 2, {}, {}, points, files=files, model=model)
    write(store, record)  # imports what writing needs
    ready.send("ready")
    while True:
        write(store, record)


def test_a_killed_writer_leaves_only_complete_runs(store: Store) -> None:
    for pause in (0.07, 0.12):
        received, sent = Pipe(duplex=False)
        with forked(write_until_killed, sent):
            assert received.recv() == "ready"
            time.sleep(pause)
    written = list(store.client.search_runs([store.experiment_id]))
    assert written
    for run in written:
        files = (files_of(store, run.info.run_id), model_files_of(store, run.info.run_id))
        assert (run.info.status, len(run.data.metrics), *map(len, files)) == ("FINISHED", 50, 50, 50)


def test_a_database_with_an_unknown_schema_is_written_by_mlflows_client_with_a_warning(store: Store) -> None:
    experiment = store.client.get_experiment(store.experiment_id)
    with closing(sqlite3.connect(database_of(store))) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'another'")
        connection.commit()
    with pytest.warns(StoreWarning, match="slower client: its tables have the schema another"):
        assert open_database(store.address.uri, experiment) is None
    other = replace(
        store, database=None
    )  # as `open_store` gives it where MLflow's schema is another than is known here
    run = other.client.get_run(write(other, FULL))
    assert run.data.params["seed"] == "3"
    assert run.info.status == "FINISHED"
    update_statistics(other)


def test_an_experiment_with_remote_files_is_written_by_mlflows_client(store: Store) -> None:
    store.client.create_experiment("elsewhere", "s3://bucket/folder")
    with pytest.warns(StoreWarning, match="'elsewhere' keeps its files at s3://bucket/folder"):
        assert open_store(StoreAddress(store.address.uri, "elsewhere")).database is None


def test_the_folder_of_a_store_can_have_special_characters_in_its_name(migrated: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ü 100% #1 & '+"
    folder.mkdir()
    shutil.copy(migrated, folder)
    store = open_store(StoreAddress(f"sqlite:///{folder / migrated.name}", "paramshare"))
    run_id = write(store, FULL)
    assert Path(store.client.download_artifacts(run_id, "loss.png")).read_bytes() == FULL.files["loss.png"]
