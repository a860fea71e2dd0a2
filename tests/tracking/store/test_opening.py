"""A store opens, or one line reports why not and nothing is written."""

import http.server
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from paramshare.errors import StoreError
from paramshare.tracking.store import StoreAddress, check_store, open_store, redacted
from support.forked import forked
from support.tracking.sweep_checks import check_database


def sqlite(path: Path) -> StoreAddress:
    return StoreAddress(f"sqlite:///{path}", "paramshare")


@pytest.fixture
def other_server() -> Iterator[str]:
    """Start a server that is not MLflow's, and return its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_the_default_store_is_mlruns_in_the_working_directory(tmp_path: Path) -> None:
    assert StoreAddress.of(None, "x").database == tmp_path / "mlruns" / "mlflow.db"


def test_opening_a_store_creates_its_experiment_once_with_its_files_beside_the_database(address: StoreAddress) -> None:
    first, second = open_store(address), open_store(address)
    assert first.experiment_id == second.experiment_id
    location = first.client.get_experiment(first.experiment_id).artifact_location
    assert address.database is not None
    assert location == (address.database.parent / "artifacts").as_uri()


def test_a_new_database_is_in_wal_mode_so_that_readers_do_not_wait_for_a_writer(address: StoreAddress) -> None:
    open_store(address)
    assert address.database is not None
    with sqlite3.connect(address.database) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def write_experiment_id(file: Path) -> None:
    file.write_text(open_store(StoreAddress.of(None, "paramshare")).experiment_id)


def test_processes_that_open_a_new_store_together_all_succeed_on_one_experiment(tmp_path: Path) -> None:
    files = [tmp_path / str(number) for number in range(3)]
    with ExitStack() as running:
        processes = [running.enter_context(forked(write_experiment_id, file)) for file in files]
        for process in processes:
            process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len({file.read_text() for file in files}) == 1
    check_database(tmp_path / "mlruns" / "mlflow.db")


@pytest.mark.parametrize("uri", ["mlruns", "file:///tmp/mlruns", "postgresql://me:secret@host/db", "ftp://x"])
def test_an_unsupported_tracking_uri_is_refused_with_the_supported_kinds(uri: str) -> None:
    with pytest.raises(StoreError, match=r"expected sqlite:///.* or the http\(s\):// address") as caught:
        open_store(StoreAddress(uri, "paramshare"))
    assert "secret" not in str(caught.value)


def test_a_path_that_is_a_folder_or_below_a_file_or_not_a_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("not a database, whatever its name says")
    for path, message in (
        (tmp_path / "folder", "is a folder"),
        (tmp_path / "file" / "mlflow.db", "is a file"),
        (tmp_path / "file", "file is not a database"),
    ):
        with pytest.raises(StoreError, match=message):
            open_store(sqlite(path))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


def test_an_unreachable_server_is_reported_in_one_line_without_its_password() -> None:
    with pytest.raises(StoreError, match="no MLflow server answers") as caught:
        open_store(StoreAddress("http://me:secret@127.0.0.1:9", "paramshare"))
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_other_than_mlflows_is_refused(other_server: str) -> None:
    with pytest.raises(StoreError, match="not an MLflow server"):
        check_store(StoreAddress(other_server, "paramshare"))


def test_a_store_whose_experiment_was_deleted_is_not_opened(address: StoreAddress) -> None:
    store = open_store(address)
    store.client.delete_experiment(store.experiment_id)
    with pytest.raises(StoreError, match="was deleted; restore it with"):
        open_store(address)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://me:secret@host:5000/x", "http://***@host:5000/x"),
        ("http://host:5000", "http://host:5000"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
    ],
)
def test_a_redacted_address_has_no_user_and_no_password(uri: str, shown: str) -> None:
    assert redacted(uri) == shown
