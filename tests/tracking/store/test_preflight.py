"""Commands refuse an unusable store in one line with exit code 2 (`doctor`: 1) and change no byte of it."""

import json
import random
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from alembic import command
from click.testing import CliRunner
from mlflow.cli import cli
from mlflow.store.db.utils import _get_alembic_config, _initialize_tables
from mlflow.store.tracking.dbmodels.initial_models import Base as FirstSchema
from sqlalchemy import Engine, create_engine

from paramshare.cli import main
from paramshare.errors import StoreError
from paramshare.tracking.store import StoreAddress, check_store, open_store
from support.command_line import SMALL
from support.forked import forked

COMMANDS = (["train", *SMALL, "--seeds", "0:2"], ["ui", "--no-browser"], ["doctor"])


@pytest.fixture
def store(placed: Callable[[Path], Path], tmp_path: Path) -> Path:
    """Return the default folder of a store, with one run in it."""
    return placed(tmp_path / "mlruns")


def everything(folder: Path) -> dict[str, bytes | None]:
    """Return every file and folder below `folder` with its bytes, except SQLite's locks in -shm."""
    paths = sorted(path for path in folder.rglob("*") if not path.name.endswith("-shm"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


def refused(capsys: pytest.CaptureFixture[str], folder: Path) -> str:
    """Return the line with which every command refuses the store in `mlruns/` of `folder`, the working directory."""
    store = folder / "mlruns"
    before = everything(store), store.is_file() and store.read_bytes()
    capsys.readouterr()
    lines = set()
    for arguments in COMMANDS:
        is_doctor = arguments == ["doctor"]
        assert main(arguments) == (1 if is_doctor else 2)
        out, err = capsys.readouterr()
        if is_doctor:
            (line,) = [line for line in out.splitlines() if line.startswith("!!")]
            lines.add(line.removeprefix("!!  store").strip())
        else:
            assert out == ""
            assert err.count("\n") == 1
            lines.add(err.removeprefix("paramshare: ").strip())
    assert (everything(store), store.is_file() and store.read_bytes()) == before
    (message,) = lines
    return message


def older(database: Path, revision: str) -> None:
    """Create a database with the schema of a former MLflow."""
    engine = create_engine(f"sqlite:///{database}")
    FirstSchema.metadata.create_all(engine)
    config = _get_alembic_config(str(engine.url))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def schema_of(database: Path) -> str:
    with closing(sqlite3.connect(database)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def set_schema(database: Path, schema: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (schema,))


def test_a_store_of_a_newer_mlflow_is_refused_and_unchanged(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    set_schema(store / "mlflow.db", "ffffffffffff")
    message = refused(capsys, tmp_path)
    assert "is of a newer MLflow" in message
    assert "does not know its schema ffffffffffff); use the paramshare that wrote it, or name another" in message


@pytest.mark.parametrize("revision", ["acf3f17fdcc7", "-1"], ids=["without some tables", "the one before"])
def test_a_store_of_an_older_mlflow_is_refused_and_opens_after_the_migration_that_the_error_names(
    revision: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """MLflow itself would migrate the first of them without asking, since a table is missing."""
    database = tmp_path / "mlruns" / "mlflow.db"
    database.parent.mkdir()
    older(database, f"heads{revision}" if revision.startswith("-") else revision)
    message = refused(capsys, tmp_path)
    assert f"the store {database} is of an older MLflow (its schema is {schema_of(database)}, MLflow 3." in message
    assert "; copy the file, then run `mlflow db upgrade sqlite:///" in message
    mlflow, *named = shlex.split(message.split("`")[1])
    assert mlflow == "mlflow"
    done = CliRunner().invoke(cli, named)
    assert done.exit_code == 0, done.output
    assert open_store(StoreAddress.of(None, "paramshare")).database is not None


@pytest.mark.parametrize("kept", [0.5, 0.99, 0.02])
def test_a_truncated_database_is_refused_and_unchanged(
    kept: float, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = store / "mlflow.db"
    whole = database.read_bytes()
    database.write_bytes(whole[: int(len(whole) * kept)])
    message = refused(capsys, tmp_path)
    assert "cannot be opened as an SQLite database: database disk image is malformed; restore a copy, or" in message


def test_the_log_of_a_killed_process_beside_a_truncated_database_is_kept(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed = tmp_path / "killed"
    with closing(sqlite3.connect(store / "mlflow.db")) as connection:
        connection.execute("UPDATE runs SET name = 'late'")
        connection.commit()
        shutil.copytree(store, killed)  # as a kill leaves it: what was written last is in mlflow.db-wal
    shutil.rmtree(store)
    killed.rename(store)
    whole = (store / "mlflow.db").read_bytes()
    (store / "mlflow.db").write_bytes(whole[:4096])
    assert (store / "mlflow.db-wal").stat().st_size > 0
    message = refused(capsys, tmp_path)
    assert "malformed" in message
    assert message.endswith("move it away (with mlflow.db-wal and mlflow.db-shm beside it) or name another file")
    (store / "mlflow.db").write_bytes(whole)
    opened = open_store(StoreAddress.of(None, "paramshare"))
    assert opened.client.search_runs([opened.experiment_id])[0].info.run_name == "late"


@pytest.mark.parametrize("left", ["nothing", "an empty file"])
def test_the_log_of_a_killed_process_is_not_replayed_into_a_new_database(
    left: str, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the files that belong to the database, so that a person can restore them together."""
    program = (
        "import os, signal, sqlite3\n"
        "with sqlite3.connect('mlruns/mlflow.db') as connection:\n"
        "    connection.execute(\"UPDATE runs SET name = 'late'\")\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=tmp_path).returncode == -signal.SIGKILL
    away = tmp_path / "away.db"
    (store / "mlflow.db").rename(away)
    if left == "an empty file":
        (store / "mlflow.db").touch()
    message = refused(capsys, tmp_path)
    assert (
        f"{'is empty' if left == 'an empty file' else 'does not exist'}, but its last changes are in mlflow.db-wal"
        in message
    )
    assert "move mlflow.db-wal and mlflow.db-shm to where mlflow.db is now" in message
    away.replace(store / "mlflow.db")
    opened = open_store(StoreAddress.of(None, "paramshare"))
    assert opened.client.search_runs([opened.experiment_id])[0].info.run_name == "late"


def test_a_log_that_appears_while_a_database_is_created_is_detected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "mlruns" / "mlflow.db"
    log = database.with_name("mlflow.db-wal")

    def made_meanwhile(engine: Engine) -> None:
        _initialize_tables(engine)
        log.write_bytes(b"pages")

    monkeypatch.setattr("mlflow.store.db.utils._initialize_tables", made_meanwhile)
    with pytest.raises(StoreError, match=r"its last changes are in mlflow\.db-wal"):
        open_store(StoreAddress.of(None, "paramshare"))
    assert sorted(path.name for path in database.parent.iterdir()) == ["mlflow.db-wal", "mlflow.lock"]
    assert log.read_bytes() == b"pages"


def test_an_empty_database_beside_the_files_of_runs_is_refused(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (store / "mlflow.db").write_bytes(b"")
    assert "is empty, but the files of its runs are in" in refused(capsys, tmp_path)


def test_an_empty_file_without_files_of_runs_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / "mlflow.db").touch()
    assert open_store(StoreAddress.of(None, "paramshare")).database is not None


@pytest.mark.parametrize("garbage", [b"not a database at all", random.Random(0).randbytes(100_000)])
def test_a_file_that_is_not_a_database_is_refused_and_unchanged(
    garbage: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / "mlflow.db").write_bytes(garbage)
    message = refused(capsys, tmp_path)
    assert "cannot be opened as an SQLite database: file is not a database; restore a copy, or" in message


def test_a_database_of_another_program_is_refused_and_unchanged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mlruns").mkdir()
    with closing(sqlite3.connect(tmp_path / "mlruns" / "mlflow.db")) as connection, connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        connection.execute("CREATE TABLE flow_run (id INTEGER)")
    assert "is a database that MLflow did not create; name another file" in refused(capsys, tmp_path)


def test_a_file_in_place_of_the_stores_folder_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mlruns").write_text("a file")
    folder = tmp_path / "mlruns"
    assert f"cannot be created: {folder} is a file; expected a folder" in refused(capsys, tmp_path)


def test_a_folder_in_place_of_the_database_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mlruns" / "mlflow.db").mkdir(parents=True)
    assert "mlflow.db is a folder; expected an SQLite file" in refused(capsys, tmp_path)


READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" || exit 77; cd "$1/.."; shift; exec "$@"'


# Prints the exit code and the output of each command as JSON. One process runs all, since its start takes longest.
ONE_AFTER_THE_OTHER = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from paramshare.cli import main

message = []
for arguments in json.loads(sys.argv[1]):
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = main(arguments)
    message.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(message))
"""


@pytest.mark.parametrize("exists", [True, False], ids=["a store", "no store yet"])
def test_a_read_only_folder_is_reported_and_unchanged(exists: bool, address: StoreAddress, tmp_path: Path) -> None:
    """The folder is read-only by a mount, which restricts root, too."""
    folder = tmp_path / "mlruns"
    if exists:
        open_store(address)
    else:
        shutil.rmtree(folder)
        folder.mkdir()
    before = everything(folder)
    commands = COMMANDS if exists else COMMANDS[:1]
    program = [sys.executable, "-c", ONE_AFTER_THE_OTHER, json.dumps(commands)]
    inside = ["unshare", "-Urm", "sh", "-c", READ_ONLY, "sh", str(folder), *program]
    try:
        done = subprocess.run(inside, capture_output=True, text=True, timeout=120)
    except FileNotFoundError:
        pytest.skip("there is no unshare here")
    if done.returncode == 77 or done.stderr.startswith("unshare"):
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    assert (done.returncode, done.stderr) == (0, "")
    for arguments, (code, out, err) in zip(commands, json.loads(done.stdout), strict=True):
        message = out if arguments == ["doctor"] else err
        assert code == (1 if arguments == ["doctor"] else 2), message
        assert f"cannot be written: {folder} is read-only for this user or on a read-only file system" in message
        assert arguments == ["doctor"] or message.count("\n") == 1
    assert everything(folder) == before


def open_default(beginning: Connection) -> None:
    address = StoreAddress.of(None, "paramshare")
    beginning.send("now")
    open_store(address)


def test_a_store_opens_after_a_process_was_killed_while_it_created_the_store() -> None:
    """Whenever the process is killed, the database is complete or does not exist."""
    address = StoreAddress.of(None, "paramshare")
    assert address.database is not None
    drawn = random.Random(5)
    for _ in range(4):
        received, sent = Pipe(duplex=False)
        with forked(open_default, sent) as opening:
            assert received.recv() == "now"
            opening.join(drawn.uniform(0.05, 1.2))
        check_store(address)
        if address.database.exists():
            break
    assert open_store(address).database is not None
    assert not list(address.database.parent.glob("*.new*"))


def test_a_path_that_is_too_long_is_reported_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened: File name too long"):
        check_store(StoreAddress(f"sqlite:///{tmp_path / ('a' * 300)}.db", "paramshare"))
