"""The runs of a store: what they are called, how they are found, what is read of them."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from mlflow.entities import Run
from numpy.typing import ArrayLike, NDArray

from paramshare.tracking.read.curves import histories_of
from paramshare.tracking.read.summaries import Selection, Summary, summary_of
from paramshare.tracking.store import Store
from paramshare.training.targets import (
    LOSS,
    SECONDS,
    TARGETS,
    Spec,
    Target,
    target_named,
)

__all__ = [
    "KIND",
    "MODEL_FOLDER",
    "NOTE",
    "SeedRun",
    "find_finished",
    "finished_runs",
    "read_all_losses",
    "read_losses",
    "read_seeds",
    "search",
    "seed_run",
    "target_of_params",
    "target_of_run",
]

KIND: Final = "paramshare.kind"
KEY: Final = "paramshare.key"
PARENT: Final = "mlflow.parentRunId"
TARGET: Final = "target"
DIVERGED: Final = "paramshare.diverged"
NOTE: Final = "mlflow.note.content"

MODEL_FOLDER: Final = "model"
"""The folder among a run's artifacts: the model's URI is `runs:/<run id>/model`."""

FINISHED_SEEDS: Final = f"attributes.status = 'FINISHED' AND tags.`{KIND}` = 'seed'"
_ENDED_SEEDS: Final = f"tags.`{KIND}` = 'seed' AND attributes.status != 'RUNNING' AND attributes.status != 'KILLED'"
_FINALS: Final = tuple(metric for target in TARGETS.values() for metric in target.finals)
_SEED_PARAMS: Final = (TARGET, *dict.fromkeys(metric.only[0] for metric in _FINALS if metric.only))
_SEED_METRICS: Final = (LOSS, SECONDS, *dict.fromkeys(metric.name for metric in _FINALS))
_FIRST_TARGET: Final = "dynamicnet"  # what runs trained when there was no other, and none was named
_RUNS_A_PAGE: Final = 1000
_NAMES_A_SEARCH: Final = 200


@dataclass(frozen=True, slots=True)
class SeedRun:
    """A FINISHED run of one spec, as the store holds it.

    Args:
        key: the spec's key.
        run_id: MLflow's id.
        final_loss: the last step's loss.
        finals: what the trained net comes to, by metric; its target's headline first.
        seconds: how long the training took.
        diverged: whether one of its losses is not finite.
    """

    key: str
    run_id: str
    final_loss: float
    finals: Mapping[str, float]
    seconds: float
    diverged: bool = False


def find_finished(store: Store, specs: Sequence[Spec], parent_run_id: str | None = None) -> dict[str, SeedRun]:
    """The newest FINISHED run of each of `specs` that has one, by the spec's key; of one sweep alone if it is given."""
    wanted, found = {spec.key() for spec in specs}, dict[str, SeedRun]()
    for run in finished_runs(store, (spec.seed for spec in specs)):
        key = run.tags.get(KEY, "")
        of_sweep = parent_run_id is None or run.tags.get(PARENT) == parent_run_id
        if of_sweep and key in wanted and key not in found:
            found[key] = seed_run(run)
    return found


def seed_run(run: Summary) -> SeedRun:
    """A seed's FINISHED run as a sweep remembers it."""
    key, metrics = run.tags[KEY], run.metrics
    target = target_of_params(run.params)
    names = (LOSS, *(metric.name for metric in target.finals_of(run.params)))
    last, *finals = (as_trained(metrics[name]) for name in names)
    diverged = DIVERGED in run.tags or not all(map(math.isfinite, (last, *finals)))
    return SeedRun(key, run.run_id, last, dict(zip(names[1:], finals, strict=True)), metrics[SECONDS], diverged)


def target_of_run(run: Run) -> Target:
    """What a seed's run trained.

    Raises:
        SpecError: nothing that is known here.
    """
    return target_of_params(run.data.params)


def target_of_params(params: Mapping[str, str]) -> Target:
    """Return the target that a run's parameters name, as `target_of_run`."""
    return target_named(params.get(TARGET, _FIRST_TARGET))


def finished_runs(store: Store, seeds: Iterable[int]) -> Iterator[Summary]:
    """Yield what `seed_run` needs of every FINISHED run of these seeds; runs of one seed newest first.

    A tag's value has no index, and MLflow's search takes no list of them. It takes a list of datasets, and the name of
    a seed's dataset has the seed in it. So of a large store only the runs of these seeds are read.
    """
    names = tuple(target.dataset + str(seed) for seed in dict.fromkeys(seeds) for target in TARGETS.values())
    yield from read_seeds(store, Selection(True, names, (KEY, PARENT, DIVERGED), _SEED_PARAMS, _SEED_METRICS))


def read_seeds(store: Store, selection: Selection) -> Iterator[Summary]:
    """Yield the selected seeds' runs, the newest first: of an embedded store by SQL, of a server by MLflow's client.

    The client reads all parts of a run. It asks for some datasets at a time, and the order holds within each request.
    """
    if store.database is not None:
        yield from store.database.summaries((KIND, "seed"), selection)
    elif selection.datasets is None:
        yield from map(summary_of, search(store, _condition(selection)))
    else:
        for begin in range(0, len(selection.datasets), _NAMES_A_SEARCH):
            listed = ", ".join(f"'{name}'" for name in selection.datasets[begin : begin + _NAMES_A_SEARCH])
            yield from map(summary_of, search(store, f"{_condition(selection)} AND datasets.name IN ({listed})"))


def _condition(selection: Selection) -> str:
    return FINISHED_SEEDS if selection.finished else _ENDED_SEEDS


def read_losses(store: Store, run_id: str) -> NDArray[np.float32]:
    """The loss of every step of a run, (steps,), bit for bit as it was trained."""
    return read_all_losses(store, [run_id])[0]


def read_all_losses(store: Store, run_ids: Sequence[str]) -> list[NDArray[np.float32]]:
    """The losses of each of many runs, as of `read_losses`, in the order of `run_ids`."""
    if store.database is not None:
        histories = store.database.histories(run_ids, LOSS)
    else:
        histories = histories_of(store.client, run_ids, LOSS)
    return [_as_trained(histories[run_id]).astype(np.float32) for run_id in run_ids]


def search(store: Store, condition: str) -> Iterator[Run]:
    """Every run of the experiment under `condition`, the newest first."""
    token = None
    while True:
        page = store.client.search_runs([store.experiment_id], condition, max_results=_RUNS_A_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def as_trained(value: float) -> float:
    """A metric's value as it was before MLflow turned infinity into 1.8e308, which is more than any float32."""
    return float(_as_trained(value))


def _as_trained(values: ArrayLike) -> NDArray[np.float64]:
    """Losses as they were before MLflow turned infinity into 1.8e308, which is more than any float32."""
    read = np.asarray(values, dtype=np.float64)
    return np.where(np.abs(read) > np.finfo(np.float32).max, np.copysign(np.inf, read), read)
