"""Runs that a server could not take, kept on disk until it can: nothing that was trained is lost with the server.

A record lies in a folder of its own below `mlruns/spool/` of the working directory: `record.json`, and its artifacts as
files. It comes there under its name only when it is whole and on the disk, and goes when its run is FINISHED. It says
which store it is for, without user and password. An embedded store needs none of this: what cannot write to the
store's disk cannot write beside it.
"""

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from filelock import FileLock
from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.exceptions import MlflowException
from requests import RequestException

from paramshare.errors import StoreError
from paramshare.tracking.read.finished_seeds import KEY, PARENT, search
from paramshare.tracking.store import Store, StoreAddress, check_store, reason_of, redacted
from paramshare.tracking.write.orphans import close_seeds
from paramshare.tracking.write.record import Point, Record, RunExistsError, save_files
from paramshare.tracking.write.runs import write

__all__ = ["SPOOL", "Delivery", "OutageError", "answers", "attempt", "deliver", "elsewhere", "keep", "spooled"]

SPOOL: Final = Path("mlruns", "spool")
"""Where the records lie, in the working directory."""

_RECORD: Final = "record.json"
_FILES: Final = "files"
_UNFINISHED: Final = ".unfinished-"
_ABANDONED: Final = 3600.0  # seconds after which nobody is still writing an unfinished one
_PAUSE: Final = 5.0  # seconds after a failure in which a server is left alone
_TOO_MANY_REQUESTS: Final = 429

_asked = dict[str, float]()  # when each server that does not take runs has last been asked, in this process
_T = TypeVar("_T")


class OutageError(Exception):
    """A server cannot take what it was to take now, and may later. The message says how that shows."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of the records that were kept for a store.

    Args:
        written: how many are runs now.
        known: how many were dropped, since the store held the same run FINISHED already.
        left: how many are still kept.
        reason: why they are; empty where none is.
    """

    written: int = 0
    known: int = 0
    left: int = 0
    reason: str = ""


def attempt(address: StoreAddress, use: Callable[[], _T]) -> _T:
    """What `use` gives, which talks to the store at `address`.

    MLflow tries a server that is gone for seconds before it gives up. After that it is not called again before the
    server's own page says that it is well, and that page is not asked more often than every few seconds.

    Raises:
        OutageError: the server is gone, or has errors of its own. What an embedded store raises stands as it is.
    """
    asked = _asked.get(address.uri)
    if asked is not None and (time.monotonic() - asked < _PAUSE or not answers(address)):
        raise OutageError("the server does not answer")
    try:
        return use()
    except (MlflowException, StoreError, OSError) as error:
        if address.database is not None or not _may_pass(address, error):
            raise
        _asked[address.uri] = time.monotonic()
        reason = (
            f"the server has errors: {reason_of(error, address)}" if _is_up(address) else "the server does not answer"
        )
        raise OutageError(reason) from error


def answers(address: StoreAddress) -> bool:
    """Whether the server says within seconds that it is well; `attempt` goes by what it said."""
    if _is_up(address):
        _asked.pop(address.uri, None)
        return True
    _asked[address.uri] = time.monotonic()
    return False


def keep(record: Record, address: StoreAddress) -> Path:
    """Keep `record` for the store at `address`, whole and on the disk when this returns; returns its folder.

    Raises:
        OSError: it could not be written; then nothing of it stays.
    """
    name = f"{record.start}-{uuid.uuid4().hex[:12]}"
    folder = _folder_of(address)
    unfinished = folder / f"{_UNFINISHED}{name}"
    try:
        (unfinished / _FILES).mkdir(parents=True)
        save_files(record.files, unfinished / _FILES)
        (unfinished / _RECORD).write_text(json.dumps(_as_data(record, address)))
        for path in (*unfinished.rglob("*"), unfinished):
            _to_disk(path)
        unfinished.rename(folder / name)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    for path in (folder, *folder.parents[:2]):
        _to_disk(path)
    return folder / name


def spooled(address: StoreAddress) -> list[Path]:
    """The folders of the records kept for the store at `address`, the oldest first."""
    return _records_in(_folder_of(address))


def elsewhere(address: StoreAddress) -> dict[StoreAddress, int]:
    """How many records are kept for each other store; its address has no user and password."""
    found = {}
    for folder in sorted(SPOOL.glob("*/")):
        records = _records_in(folder)
        if records and folder.name != _folder_of(address).name:
            with suppress(OSError, ValueError, KeyError, TypeError):
                found[StoreAddress(**json.loads((records[0] / _RECORD).read_text())["store"])] = len(records)
    return found


def deliver(store: Store) -> Delivery:
    """Write every record that is kept for `store`, and drop each when its run is there.

    One that the store refuses stays, and the others go on; when the server is gone all the rest stay. Killed at any
    moment, this leaves every record in the spool or in the store, and the next one drops what is in both.
    """
    if not spooled(store.address):
        return Delivery()
    written = known = 0
    reason = ""
    folder = _folder_of(store.address)
    with FileLock(SPOOL / f"{folder.name}.lock"):
        _clear_abandoned(folder)
        for kept in spooled(store.address):
            try:
                is_new = attempt(store.address, partial(_write_once, store, _read(kept)))
            except OutageError as error:
                reason = str(error)
                break
            except (MlflowException, OSError, ValueError, KeyError, TypeError) as error:
                reason = f"{kept} cannot be delivered: {reason_of(error, store.address)}"
                continue
            written, known = written + is_new, known + (not is_new)
            _drop(kept)
    return Delivery(written, known, len(spooled(store.address)), reason)


def _write_once(store: Store, record: Record) -> bool:
    """Write the record, unless the store holds it FINISHED; tells whether it was written.

    What holds it is any run of its key; where the record may have others beside it, the one of the same training. What
    an earlier write of it has left RUNNING, as the server failed in the middle, is closed.
    """
    if PARENT in record.tags and KEY in record.tags:
        close_seeds(store, record.tags[PARENT], "its write was cut short", {record.tags[KEY]})
    if KEY in record.tags and record.status == "FINISHED":
        same_key = f"attributes.status = 'FINISHED' AND tags.`{KEY}` = '{record.tags[KEY]}'"
        same = same_key if record.identity else f"{same_key} AND attributes.start_time = {record.start}"
        if next(search(store, same), None) is not None:
            return False
    try:
        write(store, record)
    except RunExistsError:
        return False
    return True


def _may_pass(address: StoreAddress, error: Exception) -> bool:
    """Whether the same call may succeed later: the server is gone or fails, and does not refuse what it was given."""
    if isinstance(error, MlflowException):
        status = error.get_http_status_code()
        return bool(status >= 500 or status == _TOO_MANY_REQUESTS)
    if isinstance(error, RequestException):
        return error.response is None or error.response.status_code >= 500
    if isinstance(error, StoreError):  # it was to be opened: refused, or gone
        return not _is_up(address)
    return isinstance(error, ConnectionError | TimeoutError)


def _is_up(address: StoreAddress) -> bool:
    try:
        check_store(address)
    except StoreError:
        return False
    return True


def _folder_of(address: StoreAddress) -> Path:
    named = json.dumps(asdict(_public(address)), sort_keys=True)
    return SPOOL / hashlib.sha256(named.encode()).hexdigest()[:16]


def _public(address: StoreAddress) -> StoreAddress:
    """The address without who opens it: records are delivered by whoever may."""
    return StoreAddress(redacted(address.uri).replace("***@", "", 1).rstrip("/"), address.experiment)


def _records_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[0-9]*") if (path / _RECORD).is_file())


def _drop(kept: Path) -> None:
    """Remove a record at once: a folder that is half removed is none."""
    gone = kept.with_name(f"{_UNFINISHED}{kept.name}")
    kept.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _clear_abandoned(folder: Path) -> None:
    """Remove what a process that was killed while it wrote has left."""
    for path in folder.glob(f"{_UNFINISHED}*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _ABANDONED:
                shutil.rmtree(path)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _as_data(record: Record, address: StoreAddress) -> dict[str, Any]:
    """All but the artifacts' bytes, for JSON as Python has it: with NaN and Infinity, and every float exactly."""
    inputs = [
        {
            "dataset": {name: getattr(given.dataset, name) for name in _DATASET},
            "tags": [[tag.key, tag.value] for tag in given.tags],
        }
        for given in record.inputs
    ]
    return {
        "store": asdict(_public(address)),
        "name": record.name,
        "status": record.status,
        "start": record.start,
        "end": record.end,
        "tags": dict(record.tags),
        "params": dict(record.params),
        "points": [list(point) for point in record.points],
        "inputs": inputs,
        "identity": record.identity,
        "texts": sorted(path for path, content in record.files.items() if isinstance(content, str)),
    }


def _read(folder: Path) -> Record:
    """The record that `keep` wrote into `folder`."""
    data = json.loads((folder / _RECORD).read_text())
    texts = set(data["texts"])
    inputs = [
        DatasetInput(Dataset(**given["dataset"]), [InputTag(key, value) for key, value in given["tags"]])
        for given in data["inputs"]
    ]
    return Record(
        data["name"],
        data["status"],
        data["start"],
        data["end"],
        tags=data["tags"],
        params=data["params"],
        points=[Point(*point) for point in data["points"]],
        inputs=inputs,
        files={name: content.decode() if name in texts else content for name, content in _files_below(folder / _FILES)},
        identity=data["identity"],
    )


def _files_below(folder: Path) -> Iterator[tuple[str, bytes]]:
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            yield file.relative_to(folder).as_posix(), file.read_bytes()


_DATASET: Final = ("name", "digest", "source_type", "source", "schema", "profile")
