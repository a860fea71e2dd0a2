"""The spool: runs on disk that a server could not accept, until it can. So no result is lost if a server fails.

A record is a folder below `mlruns/spool/` of the working directory: `record.json`, and its artifacts as files. The
folder gets its name when its content is complete and on the disk, and is removed when the run is FINISHED. The record
names its store, without user and password. An embedded store needs no spool: if its disk cannot be written, the spool
beside it cannot be written either.
"""

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Mapping
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
from paramshare.tracking.read.runs import search
from paramshare.tracking.store import LOCAL_FOLDER, Store, StoreAddress, check_store, reason_of, redacted
from paramshare.tracking.tags import KEY, PARENT
from paramshare.tracking.write.orphans import close_seeds
from paramshare.tracking.write.record import ModelRecord, Point, Record, RunClosedError, RunExistsError, save_files
from paramshare.tracking.write.runs import write

__all__ = [
    "SPOOL",
    "Delivery",
    "OutageError",
    "call_guarded",
    "deliver",
    "is_healthy",
    "keep",
    "other_stores",
    "spooled",
]

SPOOL: Final = LOCAL_FOLDER / "spool"
"""The folder of the records, in the working directory."""

_RECORD: Final = "record.json"
_FILES: Final = "files"
_MODEL: Final = "model"
_UNFINISHED: Final = ".unfinished-"
_ABANDONED: Final = 3600.0  # seconds after which an unfinished record is no longer being written
_PAUSE: Final = 5.0  # seconds after a failure without requests to the server
_TOO_MANY_REQUESTS: Final = 429

_failed_at = dict[str, float]()  # the time of the last failed request to each server, in this process
_T = TypeVar("_T")


class OutageError(Exception):
    """A server cannot be used now, but a later retry can succeed. The message names the symptom."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """The result of a delivery of the records for a store.

    Args:
        written: the number of records that were written as runs.
        known: the number of records that were removed, since the store had the same run FINISHED.
        left: the number of records that are still in the spool.
        reason: the reason for these; empty if there are none.
    """

    written: int = 0
    known: int = 0
    left: int = 0
    reason: str = ""


def call_guarded(address: StoreAddress, call: Callable[[], _T]) -> _T:
    """Return the result of `call`, which uses the store at `address`.

    MLflow retries for seconds if a server is down. So after a failure `call` is not called until the server's health
    page reports success, and this page is requested once in a few seconds at most.

    Raises:
        OutageError: the server is down, or has an internal error. Errors of an embedded store are raised unchanged.
    """
    failed_at = _failed_at.get(address.uri)
    if failed_at is not None and (time.monotonic() - failed_at < _PAUSE or not is_healthy(address)):
        raise OutageError("the server does not answer")
    try:
        return call()
    except (MlflowException, StoreError, OSError) as error:
        if address.database is not None or not _is_temporary(address, error):
            raise
        _failed_at[address.uri] = time.monotonic()
        reason = (
            f"the server has errors: {reason_of(error, address)}" if _is_up(address) else "the server does not answer"
        )
        raise OutageError(reason) from error


def is_healthy(address: StoreAddress) -> bool:
    """Return true if the store's health check succeeds within seconds. Update the state of `call_guarded`."""
    if _is_up(address):
        _failed_at.pop(address.uri, None)
        return True
    _failed_at[address.uri] = time.monotonic()
    return False


def keep(record: Record, address: StoreAddress) -> Path:
    """Write `record` to the spool for the store at `address`, flush it to the disk, and return its folder.

    Raises:
        OSError: the record could not be written; its files are removed.
    """
    name = f"{record.start}-{uuid.uuid4().hex[:12]}"
    folder = _folder_of(address)
    unfinished = folder / f"{_UNFINISHED}{name}"
    try:
        (unfinished / _FILES).mkdir(parents=True)
        save_files(record.files, unfinished / _FILES)
        if record.model is not None:
            save_files(record.model.files, unfinished / _MODEL)
        (unfinished / _RECORD).write_text(json.dumps(_as_data(record, address)))
        for path in (*unfinished.rglob("*"), unfinished):
            _flush(path)
        unfinished.rename(folder / name)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    for path in (folder, *folder.parents[:2]):
        _flush(path)
    return folder / name


def spooled(address: StoreAddress) -> list[Path]:
    """Return the folders of the records for the store at `address`, the oldest first."""
    return _records_in(_folder_of(address))


def other_stores(address: StoreAddress) -> dict[StoreAddress, int]:
    """Return the number of records for each other store. The addresses have no user and password."""
    counts = {}
    for folder in sorted(SPOOL.glob("*/")):
        records = _records_in(folder)
        if records and folder.name != _folder_of(address).name:
            with suppress(OSError, ValueError, KeyError, TypeError):
                counts[StoreAddress(**json.loads((records[0] / _RECORD).read_text())["store"])] = len(records)
    return counts


def deliver(store: Store) -> Delivery:
    """Write every record for `store` as a run, and remove it from the spool.

    A record that the store refuses is kept, and the next one is tried. If the server is down, all others are kept. If
    the process is killed, every record is in the spool or in the store; the next delivery removes records in both.
    """
    if not spooled(store.address):
        return Delivery()
    written = known = 0
    reason = ""
    folder = _folder_of(store.address)
    with FileLock(SPOOL / f"{folder.name}.lock"):
        _clear_abandoned(folder)
        for record_folder in spooled(store.address):
            try:
                is_new = call_guarded(store.address, partial(_write_once, store, _read(record_folder)))
            except OutageError as error:
                reason = str(error)
                break
            except (MlflowException, RunClosedError, OSError, ValueError, KeyError, TypeError) as error:
                reason = f"{record_folder} cannot be delivered: {reason_of(error, store.address)}"
                continue
            written, known = written + is_new, known + (not is_new)
            _remove(record_folder)
    return Delivery(written, known, len(spooled(store.address)), reason)


def _write_once(store: Store, record: Record) -> bool:
    """Write the record unless the store has it FINISHED. Return true if it was written.

    The same run is a run with the same key; if duplicates are allowed, also with the same start. A RUNNING run that an
    interrupted write of the record has left is closed.
    """
    if PARENT in record.tags and KEY in record.tags:
        close_seeds(store, record.tags[PARENT], "its write was interrupted", {record.tags[KEY]})
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


def _is_temporary(address: StoreAddress, error: Exception) -> bool:
    """Return true if a retry can succeed later: the server is down or has an internal error. A refusal is permanent."""
    if isinstance(error, MlflowException):
        status = error.get_http_status_code()
        return bool(status >= 500 or status == _TOO_MANY_REQUESTS)
    if isinstance(error, RequestException):
        return error.response is None or error.response.status_code >= 500
    if isinstance(error, StoreError):  # raised when opening the store: refused, or down
        return not _is_up(address)
    return isinstance(error, ConnectionError | TimeoutError)


def _is_up(address: StoreAddress) -> bool:
    try:
        check_store(address)
    except StoreError:
        return False
    return True


def _folder_of(address: StoreAddress) -> Path:
    public = json.dumps(asdict(_public(address)), sort_keys=True)
    return SPOOL / hashlib.sha256(public.encode()).hexdigest()[:16]


def _public(address: StoreAddress) -> StoreAddress:
    """Return the address without user and password: another user can deliver the records."""
    return StoreAddress(redacted(address.uri).replace("***@", "", 1).rstrip("/"), address.experiment)


def _records_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[0-9]*") if (path / _RECORD).is_file())


def _remove(record_folder: Path) -> None:
    """Remove a record: rename its folder first, so that a partly removed folder is not a record."""
    renamed = record_folder.with_name(f"{_UNFINISHED}{record_folder.name}")
    record_folder.rename(renamed)
    shutil.rmtree(renamed, ignore_errors=True)


def _clear_abandoned(folder: Path) -> None:
    """Remove unfinished records of processes that were killed."""
    for path in folder.glob(f"{_UNFINISHED}*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _ABANDONED:
                shutil.rmtree(path)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _as_data(record: Record, address: StoreAddress) -> dict[str, Any]:
    """Return all except the content of files, for Python's JSON: with NaN and Infinity, and every float exactly."""
    inputs = [
        {
            "dataset": {name: getattr(dataset_input.dataset, name) for name in _DATASET},
            "tags": [[tag.key, tag.value] for tag in dataset_input.tags],
        }
        for dataset_input in record.inputs
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
        "texts": _texts(record.files),
        "model": record.model and _model_data(record.model),
    }


def _model_data(model: ModelRecord) -> dict[str, Any]:
    return {
        "name": model.name,
        "tags": dict(model.tags),
        "params": dict(model.params),
        "metrics": list(model.metrics),
        "texts": _texts(model.files),
    }


def _texts(files: Mapping[str, bytes | str]) -> list[str]:
    return sorted(path for path, content in files.items() if isinstance(content, str))


def _read(folder: Path) -> Record:
    """Read the record that `keep` has written to `folder`."""
    data = json.loads((folder / _RECORD).read_text())
    model = data.get("model")  # records of former versions have the model among the files of the run
    inputs = [
        DatasetInput(Dataset(**entry["dataset"]), [InputTag(key, value) for key, value in entry["tags"]])
        for entry in data["inputs"]
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
        files=_files_below(folder / _FILES, data["texts"]),
        model=model and _read_model(folder / _MODEL, model),
        identity=data["identity"],
    )


def _read_model(folder: Path, data: Mapping[str, Any]) -> ModelRecord:
    files = _files_below(folder, data["texts"])
    return ModelRecord(data["name"], data["tags"], data["params"], files, data["metrics"])


def _files_below(folder: Path, texts: Collection[str]) -> dict[str, bytes | str]:
    """Return the content of each file by its path below `folder`: as text for those in `texts`."""
    files: dict[str, bytes | str] = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            path, content = file.relative_to(folder).as_posix(), file.read_bytes()
            files[path] = content.decode() if path in texts else content
    return files


_DATASET: Final = ("name", "digest", "source_type", "source", "schema", "profile")
