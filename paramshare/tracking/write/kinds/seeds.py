"""Write training results as runs, one for each seed. Importing this module loads torch and matplotlib."""

import hashlib
import json
from collections.abc import Collection, Mapping
from itertools import repeat
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from mlflow.entities import Dataset, DatasetInput, InputTag
from numpy.typing import NDArray

from paramshare.errors import SpecError
from paramshare.plots import LossPlot
from paramshare.recipes.metrics import DEPTH, LOSS, SECONDS, STEPS_PER_SECOND
from paramshare.recipes.spec import Spec
from paramshare.recipes.target import target_of
from paramshare.tracking.display.colors import seed_color
from paramshare.tracking.display.urls import picture_url
from paramshare.tracking.read.run_view import RunView
from paramshare.tracking.store import Store
from paramshare.tracking.tags import (
    DATASET_CONTEXT,
    DEVICE,
    DIVERGED,
    DIVERGED_AT,
    ENGINE,
    ENGINE_REASON,
    ERROR,
    KEY,
    KIND,
    MODEL_NAME,
    NOT_EXPORTED,
    NOTE,
    ORDER,
    RECIPE_DIGEST,
    RUN_COLOR,
    SOURCE,
    TARGET,
    THREADS,
    USER,
    VARIANT,
    WEIGHTS_FILE,
)
from paramshare.tracking.write.kinds.model import model_files, plain_weights
from paramshare.tracking.write.kinds.recipes import recipe_tags
from paramshare.tracking.write.record import NIL_ID, Addition, Begun, ModelRecord, Point, Record, now
from paramshare.tracking.write.runs import add, write
from paramshare.training.result import Result

__all__ = ["begin_run", "continue_run", "failure_record", "run_name", "seed_record", "write_failure", "write_run"]

PLOT_FILE: Final = "loss.png"
_DIGITS: Final = 19  # of the largest seed
_TAGS_OF_MODELS: Final = (KEY, RECIPE_DIGEST, DIVERGED, USER, SOURCE)  # the names, or their beginnings

_PLOT: Final = LossPlot()  # reused by the process: drawing axes takes longer than everything else


def begin_run(
    store: Store, spec: Spec, tags: Mapping[str, str], started: float, curves: Mapping[str, NDArray[Any]]
) -> Begun:
    """Write the RUNNING run of a training that goes on, with its curves so far.

    Args:
        tags: as of `write_run`.
        started: the start of the training, in seconds since 1970.
        curves: the values of every step so far by metric.
    """
    start = int(started * 1000)
    points = _curve_points(curves, start)
    record = Record(run_name(spec), "RUNNING", start, None, {**tags, **_spec_tags(spec)}, _params(spec), points)
    return Begun(write(store, record), _lengths(curves))


def continue_run(store: Store, begun: Begun, started: float, curves: Mapping[str, NDArray[Any]]) -> Begun:
    """Add the points that a RUNNING run does not have yet. Arguments as of `begin_run`."""
    add(store, begun.run_id, Addition(points=_curve_points(curves, int(started * 1000), begun.written)))
    return Begun(begun.run_id, _lengths(curves))


def write_run(
    store: Store, result: Result, tags: Mapping[str, str], *, again: bool = True, begun: Begun | None = None
) -> RunView:
    """Write `result` as one whole run and return it.

    Args:
        tags: further tags, such as its parent and its provenance.
        again: if true, write the run even if the store has a FINISHED run of its spec. If false, an embedded store
            refuses a second one; on a server sweeps delete it when they end.
        begun: the RUNNING run of this training, which becomes this run. Defaults to None: there is none.

    Raises:
        RunExistsError: `again` is false, and the store has a FINISHED run of the spec.
    """
    record = seed_record(result, tags, again=again)
    run_id = write(store, record, begun)
    metrics = {LOSS: result.final_loss, **result.final_metrics, SECONDS: result.seconds}
    return RunView(run_id, record.status, record.named(run_id).tags, record.params, metrics, store)


def seed_record(result: Result, tags: Mapping[str, str], *, again: bool = True) -> Record:
    """Return the content of the run of `result`. Arguments as of `write_run`."""
    spec, name = result.spec, run_name(result.spec)
    start, params, final_metrics = int(result.started * 1000), _params(result.spec), _final_metrics(result)
    curves, measure = result.curves, target_of(spec).loss
    files: dict[str, bytes | str] = {PLOT_FILE: _PLOT.picture(curves[LOSS], curves.get(DEPTH), name, measure)}
    own_tags = {
        **_spec_tags(spec),
        **_diverged_tags(result.diverged_at),
        ENGINE: result.engine,
        ENGINE_REASON: result.reason,
        THREADS: str(result.threads),
        NOTE: f"![loss at every step]({picture_url('', NIL_ID, PLOT_FILE)})\n\n*The loss of every step, on a log axis*",
    }
    model = None
    try:
        model = _model(result, {**tags, **own_tags}, params, final_metrics)
    except SpecError as error:
        own_tags[NOT_EXPORTED] = str(error)
        files[WEIGHTS_FILE] = plain_weights(result.net)
    return Record(
        name,
        "FINISHED",
        start,
        start + int(result.seconds * 1000),
        tags={**tags, **own_tags},
        params=params,
        points=_points(result, start, final_metrics),
        inputs=(_dataset(result),),
        files=files,
        model=model,
        identity="" if again else KEY,
    )


def _model(
    result: Result, tags: Mapping[str, str], params: Mapping[str, str], final_metrics: Collection[str]
) -> ModelRecord:
    """Return the trained model with some of its run's tags, and with its run's parameters and final metrics.

    Raises:
        SpecError: torch cannot export the model of a recipe.
    """
    own_tags = {name: value for name, value in tags.items() if name.startswith(_TAGS_OF_MODELS)}
    return ModelRecord(MODEL_NAME, own_tags, params, model_files(result), tuple(final_metrics))


def write_failure(store: Store, spec: Spec, reason: str, tags: Mapping[str, str], begun: Begun | None = None) -> str:
    """Write a FAILED run of `spec` with the reason, and return its id. A run that has begun keeps its curves."""
    if begun is not None:
        add(store, begun.run_id, Addition(tags={ERROR: reason}, status="FAILED"))
        return begun.run_id
    return write(store, failure_record(spec, reason, tags))


def failure_record(spec: Spec, reason: str, tags: Mapping[str, str]) -> Record:
    """Return the content of the run of a training that failed."""
    end = now()
    own_tags = {**_spec_tags(spec), ERROR: reason}
    return Record(run_name(spec), "FAILED", end, end, {**tags, **own_tags}, _params(spec))


def run_name(spec: Spec) -> str:
    """Return the run's name, such as `shared seed 3 on cpu`."""
    return f"{spec.variant} seed {spec.seed} on {spec.device}"


def _points(result: Result, start: int, final_metrics: Mapping[str, float]) -> list[Point]:
    """Return all points of a run. Times are start + step, so that writing a run twice changes nothing.

    The headline is first: MLflow's page of several runs shows the metric that was written first.
    """
    final_metrics = {
        **final_metrics,
        SECONDS: result.seconds,
        STEPS_PER_SECOND: len(result.curves[LOSS]) / result.seconds,
    }
    # For a point at step 0 MLflow's pages draw a bar; for a later step they draw a line with a single point.
    return [Point(name, value, start, 0) for name, value in final_metrics.items()] + _curve_points(result.curves, start)


def _curve_points(
    curves: Mapping[str, NDArray[Any]], start: int, written: Mapping[str, int] = MappingProxyType({})
) -> list[Point]:
    """Return the points of every step that has a value, without the first steps of each metric that are `written`."""
    points: list[Point] = []
    for name, curve in curves.items():
        steps = range(written.get(name, 0), len(curve))
        times = range(start + steps.start, start + steps.stop)
        every = map(Point._make, zip(repeat(name), curve[steps.start :].tolist(), times, steps, strict=False))
        points += every if not np.ma.isMaskedArray(curve) else (point for point in every if point.value is not None)
    return points


def _lengths(curves: Mapping[str, NDArray[Any]]) -> dict[str, int]:
    return {name: len(curve) for name, curve in curves.items()}


def _final_metrics(result: Result) -> dict[str, float]:
    """Return the metrics of the trained model, the headline first."""
    headline = target_of(result.spec).final_metrics_of(result.spec.as_dict())[0].name
    return {headline: result.final_metrics[headline], **result.final_metrics, **result.sizes}


def _params(spec: Spec) -> dict[str, str]:
    return {TARGET: target_of(spec).name, **{name: str(value) for name, value in spec.as_dict().items()}}


def _spec_tags(spec: Spec) -> dict[str, str]:
    target = target_of(spec)
    return {
        KIND: "seed",
        KEY: spec.key(),
        **recipe_tags(target),
        VARIANT: spec.variant,
        DEVICE: spec.device,
        ORDER: f"{spec.seed:0{_DIGITS}d} {spec.variant} {spec.device}",
        RUN_COLOR: seed_color(target.variants.index(spec.variant), spec.seed),
    }


def _diverged_tags(step: int | None) -> dict[str, str]:
    return {} if step is None else {DIVERGED: "true", DIVERGED_AT: str(step)}


def _dataset(result: Result) -> DatasetInput:
    """Return the data as an MLflow input.

    The data are random: their source is the seed. The digest is of their bytes.
    """
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
    return DatasetInput(dataset, [InputTag(DATASET_CONTEXT, "training")])
