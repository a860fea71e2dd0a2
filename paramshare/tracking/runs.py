"""Training results to MLflow runs, one whole run a seed, and back.

A run is written in one go after its training: made, its metrics, its artifacts, and FINISHED last. What was cut
short therefore never looks finished.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.models import Model
from numpy.typing import ArrayLike, NDArray

from paramshare.plots import VARIANT_COLORS, loss_curve
from paramshare.tracking.model import MODEL_FOLDER, save_model
from paramshare.tracking.pages import picture_url
from paramshare.tracking.store import Store
from paramshare.training.result import TrainResult
from paramshare.training.spec import TrainSpec

__all__ = [
    "KIND",
    "NOTE",
    "SeedRun",
    "find_finished",
    "log_metrics",
    "read_losses",
    "run_name",
    "search",
    "whole_run",
    "write_failure",
    "write_run",
]

KIND: Final = "paramshare.kind"
KEY: Final = "paramshare.key"
LOSS: Final = "train/loss"
DEPTH: Final = "depth"
MEAN_DEPTH_LOSS: Final = "final/loss_mean_depth"
NOTE: Final = "mlflow.note.content"
PLOT_FILE: Final = "loss.png"
SECONDS: Final = "time/seconds"

_METRICS_A_CALL: Final = 1000  # MLflow's limit
_RUNS_A_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class SeedRun:
    """A FINISHED run of one spec, as the store holds it.

    Args:
        key: the spec's key.
        run_id: MLflow's id.
        final_loss: the last step's loss; it depends on the depth that step drew.
        mean_depth_loss: the trained net's, averaged over the depths.
        seconds: how long the training took.
    """

    key: str
    run_id: str
    final_loss: float
    mean_depth_loss: float
    seconds: float


def write_run(store: Store, result: TrainResult, tags: Mapping[str, str]) -> SeedRun:
    """Write `result` as one whole run and return it.

    Args:
        tags: what the run carries beside its own: its parent, where it came from.
    """
    spec, client = result.spec, store.client
    name = run_name(spec)
    start = int(result.started * 1000)
    end = start + int(result.seconds * 1000)
    with whole_run(store, name, {**tags, **_own_tags(result)}, start, end) as run_id:
        with tempfile.TemporaryDirectory(prefix="paramshare-") as folder:
            model = save_model(result.net, run_id, Path(folder, MODEL_FOLDER))
            loss_curve(result.losses, result.depths, name).savefig(Path(folder, PLOT_FILE))
            client.log_artifacts(run_id, folder)
        client.log_inputs(run_id, [_dataset(result)])
        note = RunTag(NOTE, f"![loss at every step]({picture_url('', run_id, PLOT_FILE)})")
        client.log_batch(run_id, params=_params(spec), tags=[_model_tag(model), note])
        log_metrics(store, run_id, _metrics(result, start))
    return SeedRun(spec.key(), run_id, result.final_loss, result.mean_depth_loss, result.seconds)


@contextmanager
def whole_run(
    store: Store, name: str, tags: Mapping[str, str], start: int | None = None, end: int | None = None
) -> Iterator[str]:
    """Make a run to be written in one go and give its id: FINISHED where the block comes to its end, else FAILED.

    Args:
        start, end: of what the run tells of, in milliseconds since 1970; now unless given.
    """
    run = store.client.create_run(store.experiment_id, start_time=start, tags=dict(tags), run_name=name)
    run_id: str = run.info.run_id
    try:
        yield run_id
    except BaseException:
        store.client.set_terminated(run_id, "FAILED")
        raise
    store.client.set_terminated(run_id, "FINISHED", end_time=end)


def write_failure(store: Store, spec: TrainSpec, reason: str, tags: Mapping[str, str]) -> str:
    """Write that the training of `spec` failed, and why; returns the run's id."""
    run = store.client.create_run(
        store.experiment_id,
        tags={**tags, **_spec_tags(spec), "paramshare.error": reason},
        run_name=run_name(spec),
    )
    run_id: str = run.info.run_id
    store.client.log_batch(run_id, params=_params(spec))
    store.client.set_terminated(run_id, "FAILED")
    return run_id


def run_name(spec: TrainSpec) -> str:
    """What a person calls the run: `shared seed 3 on cpu`."""
    return f"{spec.variant} seed {spec.seed} on {spec.device}"


def find_finished(store: Store, keys: Sequence[str]) -> dict[str, SeedRun]:
    """The newest FINISHED run of each of `keys` that has one."""
    wanted, found = set(keys), {}
    for run in search(store, f"attributes.status = 'FINISHED' AND tags.`{KIND}` = 'seed'"):
        key = run.data.tags.get(KEY, "")
        if key in wanted and key not in found:
            found[key] = _seed_run(key, run)
    return found


def read_losses(store: Store, run_id: str) -> NDArray[np.float32]:
    """The loss of every step of a run, (steps,), bit for bit as it was trained."""
    history = store.client.get_metric_history(run_id, LOSS)
    values = [metric.value for metric in sorted(history, key=lambda metric: metric.step)]
    return _as_trained(values).astype(np.float32)


def log_metrics(store: Store, run_id: str, metrics: Sequence[Metric]) -> None:
    """Log any number of metrics in as few calls as MLflow's limit allows."""
    for begin in range(0, len(metrics), _METRICS_A_CALL):
        store.client.log_batch(run_id, metrics=metrics[begin : begin + _METRICS_A_CALL])


def search(store: Store, condition: str) -> Iterator[Run]:
    """Every run of the experiment under `condition`, the newest first."""
    token = None
    while True:
        page = store.client.search_runs([store.experiment_id], condition, max_results=_RUNS_A_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _seed_run(key: str, run: Run) -> SeedRun:
    metrics = run.data.metrics
    last, mean = (float(_as_trained(metrics[name])) for name in (LOSS, MEAN_DEPTH_LOSS))
    return SeedRun(key, run.info.run_id, last, mean, metrics[SECONDS])


def _as_trained(values: ArrayLike) -> NDArray[np.float64]:
    """Losses as they were before MLflow turned infinity into 1.8e308, which is more than any float32."""
    read = np.asarray(values, dtype=np.float64)
    return np.where(np.abs(read) > np.finfo(np.float32).max, np.copysign(np.inf, read), read)


def _metrics(result: TrainResult, start: int) -> list[Metric]:
    """All metrics of a run. Timestamps are start + step, so that writing the same twice changes nothing."""
    every_step = [
        Metric(name, float(value), start + step, step)
        for name, values in ((LOSS, result.losses), (DEPTH, result.depths))
        for step, value in enumerate(values)
    ]
    finals = {
        **{f"final/loss_depth_{depth}": loss for depth, loss in enumerate(result.depth_losses)},
        MEAN_DEPTH_LOSS: result.mean_depth_loss,
        "model/parameters": float(result.parameters),
        SECONDS: result.seconds,
        "time/steps_per_second": result.spec.steps / result.seconds,
    }
    # At step 0 MLflow's pages draw a bar a run; at any later one they draw a line with a single point.
    return every_step + [Metric(name, value, start, 0) for name, value in finals.items()]


def _params(spec: TrainSpec) -> list[Param]:
    return [Param(name, str(value)) for name, value in spec.as_dict().items()]


def _own_tags(result: TrainResult) -> dict[str, str]:
    how = {"paramshare.engine": result.engine, "paramshare.threads": str(result.threads)}
    return {**_spec_tags(result.spec), **how}


def _spec_tags(spec: TrainSpec) -> dict[str, str]:
    return {
        KIND: "seed",
        KEY: spec.key(),
        "paramshare.variant": spec.variant,
        "paramshare.device": spec.device,
        "mlflow.runColor": VARIANT_COLORS[spec.variant],
    }


def _model_tag(model: Model) -> RunTag:
    """Marks the folder as a model on MLflow's pages."""
    return RunTag("mlflow.log-model.history", json.dumps([model.get_tags_dict()]))


def _dataset(result: TrainResult) -> DatasetInput:
    """The data as an MLflow input: drawn, so its source is the seed and its digest that of its bytes."""
    spec = result.spec
    x, y = result.x.numpy(), result.y.numpy()
    source = {
        "generator": "torch.Generator",
        "seed": spec.seed,
        "order": ["x", "y"],
        "distribution": "N(0, 1)",
    }
    columns = {"features": x, "targets": y}
    tensors = {
        name: {"type": "tensor", "tensor-spec": {"dtype": str(value.dtype), "shape": [-1, *value.shape[1:]]}}
        for name, value in columns.items()
    }
    dataset = Dataset(
        name=f"gaussian-seed-{spec.seed}",
        digest=hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest()[:8],
        source_type="code",
        source=json.dumps(source),
        schema=json.dumps({"mlflow_tensorspec": {key: json.dumps([value]) for key, value in tensors.items()}}),
        profile=json.dumps({f"{name}_shape": list(value.shape) for name, value in columns.items()}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])
