"""A seed's run read back: the spec that it was trained by, from the run alone, and every number that it holds."""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from io import BytesIO
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Metric, Run
from numpy.typing import ArrayLike, NDArray

from paramshare.errors import SpecError, StoreError, UsageError
from paramshare.tracking.read.finished_seeds import KEY, KIND, MODEL_FOLDER, search, target_of_run
from paramshare.tracking.store import Store, StoreAddress, check_store, open_store, redacted, sign_in
from paramshare.tracking.store.database import find_experiment
from paramshare.tracking.write.kinds.sweeps import artifact_location
from paramshare.training.targets import Spec

__all__ = [
    "Recalled",
    "find_run",
    "open_recorded",
    "read_artifact",
    "read_weights",
    "recall_run",
    "spec_of_run",
]

_OURS: Final = "paramshare."
_COMMIT: Final = "mlflow.source.git.commit"
_WEIGHTS: Final = f"{MODEL_FOLDER}/data/model.pt2"
_NAMES_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Recalled:
    """A seed's FINISHED run, as the store holds it.

    Args:
        run_id: MLflow's id.
        spec: what was trained.
        engine: what computed it.
        provenance: where its numbers came from, by the names of `provenance()`, and `threads`.
        curves: float64 (steps,), the values of every step as they were trained, by metric.
        finals: what the trained net comes to, by metric.
    """

    run_id: str
    spec: Spec
    engine: str
    provenance: dict[str, str]
    curves: dict[str, NDArray[np.float64]]
    finals: dict[str, float]


def open_recorded(address: StoreAddress) -> Store:
    """Open a store to read from. Other than `open_store` it makes neither a database nor an experiment.

    Raises:
        StoreError: the store or the experiment is not there, or cannot be opened.
    """
    check_store(address)
    shown = redacted(address.uri)
    if address.database is not None and not address.database.exists():
        raise StoreError(f"there is no store at {shown}; expected one that holds runs, named by --tracking-uri")
    sign_in(address)
    known = find_experiment(address.database, address.experiment) if address.database else None
    if not known and MlflowClient(tracking_uri=address.uri).get_experiment_by_name(address.experiment) is None:
        raise StoreError(f"the store {shown} has no experiment {address.experiment!r}; name another")
    return open_store(address)


def find_run(store: Store, run_id: str) -> Run:
    """The run whose id is `run_id` or begins so.

    Args:
        run_id: 8 to 32 hexadecimal digits.

    Raises:
        UsageError: the experiment has no such run, or several.
    """
    found = list(islice(search(store, f"attributes.run_id LIKE '{run_id}%'"), _NAMES_SHOWN))
    if not found:
        raise UsageError(
            f"there is no run {run_id} in the experiment {store.address.experiment!r} of "
            f"{redacted(store.address.uri)}; name another experiment"
        )
    if len(found) > 1:
        names = ", ".join(run.info.run_id for run in found)
        raise UsageError(f"several runs begin with {run_id}, such as {names}; expected more of its id")
    return found[0]


def recall_run(store: Store, run_id: str) -> Recalled:
    """All that a seed's FINISHED run says.

    Args:
        run_id: as of `find_run`.

    Raises:
        UsageError: there is no such run, it is none of a seed, is not FINISHED, was changed, or is of another version.
    """
    run = find_run(store, run_id)
    tags, found_id = run.data.tags, run.info.run_id
    if tags.get(KIND) != "seed":
        raise UsageError(f"the run {found_id} is {_kind(tags)}, not a seed's; expected a run that trained one seed")
    if run.info.status != "FINISHED":
        raise UsageError(f"the run {found_id} is {run.info.status}; expected one that is FINISHED")
    spec, target = spec_of_run(run), target_of_run(run)
    steps = None if target.converges else spec.steps
    curves = {name: _curve(found_id, steps, store.client.get_metric_history(found_id, name)) for name in target.curves}
    return Recalled(
        run_id=found_id,
        spec=spec,
        engine=tags.get(f"{_OURS}engine", ""),
        provenance=_provenance(tags),
        curves=curves,
        finals={
            metric.name: float(_as_trained(_metric(run, metric.name))) for metric in target.finals_of(spec.as_dict())
        },
    )


def spec_of_run(run: Run) -> Spec:
    """The spec that a seed's run was trained by, from its parameters alone.

    Raises:
        UsageError: they give no spec, or one whose key is not the run's.
    """
    params = {"arithmetic": "direct", **run.data.params}  # of the time when there was no other
    try:
        made = target_of_run(run).spec
        values: dict[str, Any] = {field.name: _parsed(field.type, params[field.name]) for field in fields(made)}
        spec = made(**values)
    except KeyError as error:
        raise _changed(run.info.run_id, f"it has no parameter {error.args[0]}") from error
    except (SpecError, ValueError) as error:
        raise _changed(run.info.run_id, f"its parameters are no spec ({error})") from error
    key = run.data.tags.get(KEY, "")
    if spec.key() != key:
        raise _changed(
            run.info.run_id, f"its parameters have the key {spec.key()}, its tag {KEY} is {key or 'missing'}"
        )
    return spec


def read_weights(store: Store, run_id: str) -> dict[str, NDArray[np.float32]] | None:
    """The weights of the run's model by their names in the net's `state_dict`; None where it has no model.

    They are read as the bytes that they are: nothing is unpickled, and nothing of the archive is executed.

    Raises:
        UsageError: what is there holds no weights.
    """
    content = read_artifact(store, run_id, _WEIGHTS)
    if content is None:
        return None
    try:
        return _weights(content)
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        raise _changed(run_id, f"its {_WEIGHTS} holds no weights that can be read ({error})") from error


def read_artifact(store: Store, run_id: str, path: str) -> bytes | None:
    """The content of a file among a run's artifacts; None where there is none."""
    folder = path.rpartition("/")[0]
    if path not in [file.path for file in store.client.list_artifacts(run_id, folder or None)]:
        return None
    if store.address.database is not None:
        return Path(artifact_location(store, run_id, path)).read_bytes()
    with TemporaryDirectory(prefix="paramshare-") as there:
        return Path(store.client.download_artifacts(run_id, path, there)).read_bytes()


def _weights(archive: bytes) -> dict[str, NDArray[np.float32]]:
    with zipfile.ZipFile(BytesIO(archive)) as file:
        (config,) = (name for name in file.namelist() if name.endswith("/data/weights/model_weights_config.json"))
        folder = config.rpartition("/")[0]
        found = {}
        for name, payload in json.loads(file.read(config))["config"].items():
            if payload["use_pickle"]:
                raise ValueError(f"{name} is pickled")
            content = np.frombuffer(file.read(f"{folder}/{payload['path_name']}"), dtype="<f4")
            shape = [size["as_int"] for size in payload["tensor_meta"]["sizes"]]
            found[name.removeprefix("net.")] = content.reshape(shape)
    return found


def _parsed(kind: object, text: str) -> int | float | str:
    """What a parameter's text says, for a field of the type `kind`."""
    return int(text) if kind is int else float(text) if kind is float else text


def _kind(tags: Mapping[str, str]) -> str:
    kind = tags.get(KIND)
    return f"a {kind}'s" if kind else "none of paramshare's"


def _curve(run_id: str, steps: int | None, history: list[Metric]) -> NDArray[np.float64]:
    """The value of every step as it was trained, (steps,); of as many steps as there are where `steps` is None."""
    ordered = sorted(history, key=lambda metric: metric.step)
    expected = len(history) if steps is None else steps
    if not history or [metric.step for metric in ordered] != list(range(expected)):
        name = history[0].key if history else "a metric"
        raise _changed(run_id, f"it holds {len(history)} values of {name}, and not one for each of {expected} steps")
    return _as_trained([metric.value for metric in ordered])


def _metric(run: Run, name: str) -> float:
    if name not in run.data.metrics:
        raise _changed(run.info.run_id, f"it has no metric {name}")
    return float(run.data.metrics[name])


def _as_trained(values: ArrayLike) -> NDArray[np.float64]:
    """Losses as they were before MLflow turned infinity into the largest float64."""
    read = np.asarray(values, dtype=np.float64)
    return np.where(np.abs(read) == np.finfo(np.float64).max, np.copysign(np.inf, read), read)


def _provenance(tags: Mapping[str, str]) -> dict[str, str]:
    """The run's tags by the names of `provenance()`."""
    found = {name.removeprefix(_OURS): value for name, value in tags.items() if name.startswith(_OURS)}
    if _COMMIT in tags:
        found["git.commit"] = tags[_COMMIT]
    return found


def _changed(run_id: str, reason: str) -> UsageError:
    return UsageError(f"the run {run_id} was changed, or is of another version of paramshare: {reason}")
