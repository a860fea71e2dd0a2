"""Every command refuses a store that was moved or copied, and `paramshare relocate` corrects it."""

import shlex
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import mlflow
import pytest

from paramshare.cli import main
from paramshare.errors import StoreError
from paramshare.tracking.store import StoreAddress, check_store, open_store, relocate_store
from support.command_line import SMALL

COMMANDS = (["train", *SMALL, "--seeds", "0:2"], ["ui", "--no-browser"], ["doctor"])


@pytest.fixture
def former(placed: Callable[[Path], Path], tmp_path: Path) -> Path:
    """Return the folder of a store with a sweep of one run."""
    return placed(tmp_path / "before" / "mlruns")


@pytest.fixture
def moved(former: Path, tmp_path: Path) -> StoreAddress:
    """Move this store to the default folder, and return its address."""
    former.rename(tmp_path / "mlruns")
    return StoreAddress.of(None, "paramshare")


def dump(address: StoreAddress) -> list[str]:
    with closing(sqlite3.connect(str(address.database))) as connection:
        return list(connection.iterdump())


def test_every_command_reports_that_the_store_was_moved_and_writes_nothing(
    moved: StoreAddress, former: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert moved.database is not None
    before, files = moved.database.read_bytes(), sorted(moved.database.parent.rglob("*"))
    capsys.readouterr()
    for arguments in COMMANDS:
        assert main(arguments) == (1 if arguments == ["doctor"] else 2)
        out, err = capsys.readouterr()
        message = out if arguments == ["doctor"] else err
        assert (
            f"the store {moved.database} was moved from {former}, which no longer exists, and still refers" in message
        )
        assert "to its runs' files there; run `paramshare relocate --tracking-uri sqlite:///" in message
        assert arguments == ["doctor"] or message.count("\n") == 1
    assert moved.database.read_bytes() == before
    assert sorted(moved.database.parent.rglob("*")) == files
    assert not former.exists()


def test_the_relocate_command_restores_access_to_all_runs_and_keeps_a_copy_of_the_database(
    moved: StoreAddress, former: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert moved.database is not None
    with pytest.raises(StoreError) as caught:
        open_store(moved)
    before = dump(moved)
    named = shlex.split(str(caught.value).split("`")[1])
    assert main(named[1:]) == 0
    copy = Path(capsys.readouterr().out.rstrip().rpartition(": ")[2])
    assert copy == moved.database.with_name("mlflow.db.before-relocate")
    assert dump(StoreAddress(f"sqlite:///{copy}", "paramshare")) == before
    old, new = former.as_uri(), moved.database.parent.as_uri()
    assert dump(moved) == [line.replace(f"'{old}/artifacts", f"'{new}/artifacts") for line in before]

    capsys.readouterr()
    assert main(["train", *SMALL, "--seeds", "0:2", "--workers", "1"]) == 0
    assert "1 trained, 1 re-used, 0 failed" in capsys.readouterr().out
    store = open_store(moved)
    runs = store.client.search_runs([store.experiment_id])
    assert len(runs) == 4  # two sweeps and two seeds
    mlflow.set_tracking_uri(moved.uri)
    for run in runs:
        names = {file.path for file in store.client.list_artifacts(run.info.run_id)}
        assert names == ({"loss.png"} if "seed" in run.data.params else {"loss_curves.png", "seeds.json"})
        for output in run.outputs.model_outputs:
            mlflow.pytorch.load_model(f"models:/{output.model_id}")
        assert len(run.outputs.model_outputs) == ("seed" in run.data.params)
    assert not former.exists()


def test_a_copied_store_does_not_write_into_the_original_store(former: Path, tmp_path: Path) -> None:
    shutil.copytree(former, tmp_path / "mlruns")
    copied, original = StoreAddress.of(None, "paramshare"), StoreAddress(f"sqlite:///{former}/mlflow.db", "paramshare")
    with pytest.raises(StoreError, match=f"was copied from {former}, and still refers to its runs' files there"):
        check_store(copied)
    check_store(original)
    assert relocate_store(copied) is not None
    before = sorted(former.rglob("*"))
    assert main(["train", *SMALL, "--seeds", "1:2", "--workers", "1"]) == 0
    assert sorted(former.rglob("*")) == before
    open_store(original)


def test_relocating_a_store_twice_changes_nothing_and_overwrites_no_copy(
    moved: StoreAddress, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert moved.database is not None
    first = relocate_store(moved)
    assert first is not None
    assert main(["relocate"]) == 0
    assert "was not moved: nothing is changed" in capsys.readouterr().out
    kept = first.copy.read_bytes()
    moved.database.parent.rename(tmp_path / "elsewhere")
    again = relocate_store(StoreAddress(f"sqlite:///{tmp_path}/elsewhere/mlflow.db", "paramshare"))
    assert again is not None
    assert again.copy.name == "mlflow.db.before-relocate-2"
    assert (tmp_path / "elsewhere" / first.copy.name).read_bytes() == kept


def test_a_database_that_was_moved_without_its_files_still_finds_them(former: Path, tmp_path: Path) -> None:
    (former / "mlflow.db").rename(tmp_path / "runs.db")
    address = StoreAddress(f"sqlite:///{tmp_path / 'runs.db'}", "paramshare")
    store = open_store(address)
    run = store.client.search_runs([store.experiment_id])[0]
    assert store.client.list_artifacts(run.info.run_id)
    assert relocate_store(address) is None


def test_a_store_behind_a_symbolic_link_is_not_taken_for_a_moved_one(former: Path, tmp_path: Path) -> None:
    (tmp_path / "mlruns").symlink_to(former)
    check_store(StoreAddress(f"sqlite:///{tmp_path / 'mlruns' / 'mlflow.db'}", "paramshare"))
    check_store(StoreAddress.of(None, "paramshare"))


def test_an_experiment_with_its_own_artifact_location_is_not_taken_for_a_moved_one(
    address: StoreAddress, tmp_path: Path
) -> None:
    open_store(address).client.create_experiment("theirs", (tmp_path / "theirs" / "artifacts").as_uri())
    (tmp_path / "mlruns" / "artifacts").mkdir()
    assert open_store(StoreAddress(address.uri, "theirs")).database is not None


def test_a_server_cannot_be_relocated() -> None:
    with pytest.raises(StoreError, match="only an embedded store can be relocated"):
        relocate_store(StoreAddress("http://127.0.0.1:9", "paramshare"))
