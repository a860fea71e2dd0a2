"""Training results to MLflow runs, one whole run a seed, and back."""

import hashlib
import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from mlflow.entities import Dataset, DatasetInput, InputTag, Run
from numpy.typing import ArrayLike, NDArray

from paramshare.plots import VARIANT_COLORS, LossPlot
from paramshare.tracking.histories import histories_of
from paramshare.tracking.model import saved_model
from paramshare.tracking.pages import picture_url
from paramshare.tracking.record import NIL_ID, Point, Record
from paramshare.tracking.store import Store
from paramshare.tracking.writing import write
from paramshare.training.result import Result
from paramshare.training.targets import (
    DEPTH,
    LOSS,
    SECONDS,
    STEPS_PER_SECOND,
    TARGETS,
    Spec,
    Target,
    target_named,
    target_of,
)

__all__ = [
    "KIND",
    "NOTE",
    "SeedRun",
    "failure_record",
    "find_finished",
    "finished_runs",
    "read_all_losses",
    "read_losses",
    "run_name",
    "search",
    "seed_record",
    "seed_run",
    "target_of_run",
    "write_failure",
    "write_run",
]

KIND: Final = "paramshare.kind"
KEY: Final = "paramshare.key"
PARENT: Final = "mlflow.parentRunId"
TARGET: Final = "target"
DIVERGED: Final = "paramshare.diverged"
NOTE: Final = "mlflow.note.content"
PLOT_FILE: Final = "loss.png"

FINISHED_SEEDS: Final = f"attributes.status = 'FINISHED' AND tags.`{KIND}` = 'seed'"
_FIRST_TARGET: Final = "dynamicnet"  # what runs trained when there was no other, and none was named
_RUNS_A_PAGE: Final = 1000
_NAMES_A_SEARCH: Final = 200
_PLOT: Final = LossPlot()  # the process's: drawing axes costs more than all else


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


def write_run(store: Store, result: Result, tags: Mapping[str, str], *, again: bool = True) -> SeedRun:
    """Write `result` as one whole run and return it.

    Args:
        tags: what the run carries beside its own: its parent, where it came from.
        again: whether it is written though the store may hold a FINISHED run of its spec. If not, an embedded store
            takes one alone; a server's sweeps see to that when they end.

    Raises:
        RunExistsError: not `again`, and there is one.
    """
    run_id = write(store, seed_record(result, tags, again=again))
    diverged = result.diverged_at is not None
    return SeedRun(result.spec.key(), run_id, result.final_loss, dict(result.finals), result.seconds, diverged)


def seed_record(result: Result, tags: Mapping[str, str], *, again: bool = True) -> Record:
    """All that the run of `result` says. Arguments as of `write_run`."""
    spec, name = result.spec, run_name(result.spec)
    start = int(result.started * 1000)
    model = saved_model(spec, result.net)
    curves, measure = result.curves, target_of(spec).loss
    own_tags = {
        **_spec_tags(spec),
        **_diverged_tags(result.diverged_at),
        "paramshare.engine": result.engine,
        "paramshare.engine_reason": result.reason,
        "paramshare.threads": str(result.threads),
        "mlflow.log-model.history": model.history,
        NOTE: f"![loss at every step]({picture_url('', NIL_ID, PLOT_FILE)})",
    }
    return Record(
        name,
        "FINISHED",
        start,
        start + int(result.seconds * 1000),
        tags={**tags, **own_tags},
        params=_params(spec),
        points=_points(result, start),
        inputs=(_dataset(result),),
        files={PLOT_FILE: _PLOT.picture(curves[LOSS], curves.get(DEPTH), name, measure), **model.files},
        identity="" if again else KEY,
    )


def write_failure(store: Store, spec: Spec, reason: str, tags: Mapping[str, str]) -> str:
    """Write that the training of `spec` failed, and why; returns the run's id."""
    return write(store, failure_record(spec, reason, tags))


def failure_record(spec: Spec, reason: str, tags: Mapping[str, str]) -> Record:
    """All that the run of a training that failed says."""
    now = int(time.time() * 1000)
    own_tags = {**_spec_tags(spec), "paramshare.error": reason}
    return Record(run_name(spec), "FAILED", now, now, {**tags, **own_tags}, _params(spec))


def run_name(spec: Spec) -> str:
    """What a person calls the run: `shared seed 3 on cpu`."""
    return f"{spec.variant} seed {spec.seed} on {spec.device}"


def find_finished(store: Store, specs: Sequence[Spec], parent_run_id: str | None = None) -> dict[str, SeedRun]:
    """The newest FINISHED run of each of `specs` that has one, by the spec's key; of one sweep alone if it is given."""
    wanted, found = {spec.key() for spec in specs}, dict[str, SeedRun]()
    for run in finished_runs(store, (spec.seed for spec in specs)):
        key = run.data.tags.get(KEY, "")
        of_sweep = parent_run_id is None or run.data.tags.get(PARENT) == parent_run_id
        if of_sweep and key in wanted and key not in found:
            found[key] = seed_run(run)
    return found


def seed_run(run: Run) -> SeedRun:
    """A seed's FINISHED run as a sweep remembers it."""
    key, metrics = run.data.tags[KEY], run.data.metrics
    target = target_of_run(run)
    names = (LOSS, *(metric.name for metric in target.finals_of(run.data.params)))
    last, *finals = (as_trained(metrics[name]) for name in names)
    diverged = DIVERGED in run.data.tags or not all(map(math.isfinite, (last, *finals)))
    return SeedRun(key, run.info.run_id, last, dict(zip(names[1:], finals, strict=True)), metrics[SECONDS], diverged)


def target_of_run(run: Run) -> Target:
    """What a seed's run trained.

    Raises:
        SpecError: nothing that is known here.
    """
    return target_named(run.data.params.get(TARGET, _FIRST_TARGET))


def finished_runs(store: Store, seeds: Iterable[int]) -> Iterator[Run]:
    """Every FINISHED run of these seeds, of whatever spec; the newest first within some seeds.

    MLflow's search takes no list of a tag's values. A list of datasets it takes, and a seed's dataset has its name:
    so that of a large store only the runs of these seeds are read.
    """
    names = [target.dataset + str(seed) for seed in dict.fromkeys(seeds) for target in TARGETS.values()]
    for begin in range(0, len(names), _NAMES_A_SEARCH):
        listed = ", ".join(f"'{name}'" for name in names[begin : begin + _NAMES_A_SEARCH])
        yield from search(store, f"{FINISHED_SEEDS} AND datasets.name IN ({listed})")


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


def _points(result: Result, start: int) -> list[Point]:
    """All points of a run. Times are start + step, so that writing the same twice changes nothing."""
    every_step = [
        Point(name, value, start + step, step)
        for name, curve in result.curves.items()
        for step, value in enumerate(curve.tolist())
    ]
    finals = {
        **result.finals,
        **result.sizes,
        SECONDS: result.seconds,
        STEPS_PER_SECOND: len(result.curves[LOSS]) / result.seconds,
    }
    # At step 0 MLflow's pages draw a bar a run; at any later one they draw a line with a single point.
    return every_step + [Point(name, value, start, 0) for name, value in finals.items()]


def _params(spec: Spec) -> dict[str, str]:
    return {TARGET: target_of(spec).name, **{name: str(value) for name, value in spec.as_dict().items()}}


def _spec_tags(spec: Spec) -> dict[str, str]:
    return {
        KIND: "seed",
        KEY: spec.key(),
        "paramshare.variant": spec.variant,
        "paramshare.device": spec.device,
        "mlflow.runColor": VARIANT_COLORS[spec.variant],
    }


def _diverged_tags(step: int | None) -> dict[str, str]:
    return {} if step is None else {DIVERGED: "true", f"{DIVERGED}_at": str(step)}


def _dataset(result: Result) -> DatasetInput:
    """The data as an MLflow input: drawn, so its source is the seed and its digest that of its bytes."""
    target = target_of(result.spec)
    columns = {name: tensor.numpy() for name, tensor in result.data.items()}
    tensors = {
        name: {"type": "tensor", "tensor-spec": {"dtype": str(value.dtype), "shape": [-1, *value.shape[1:]]}}
        for name, value in columns.items()
    }
    dataset = Dataset(
        name=f"{target.dataset}{result.spec.seed}",
        digest=hashlib.sha256(b"".join(value.tobytes() for value in columns.values())).hexdigest()[:8],
        source_type="code",
        source=json.dumps({**target.source, "seed": result.spec.seed}),
        schema=json.dumps({"mlflow_tensorspec": {key: json.dumps([value]) for key, value in tensors.items()}}),
        profile=json.dumps({f"{name}_shape": list(value.shape) for name, value in columns.items()}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])
