"""Read all that a seed's run contains: its spec, its curves, its metrics and its provenance."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from mlflow.entities import Metric, Run
from numpy.typing import NDArray

from paramshare.errors import SpecError, UsageError
from paramshare.tracking.read.artifacts import changed_run
from paramshare.tracking.read.curves import as_trained
from paramshare.tracking.read.runs import find_run, target_of_run
from paramshare.tracking.store import Store
from paramshare.tracking.tags import COMMIT, ENGINE, KEY, KIND, PREFIX
from paramshare.training.targets import Spec

__all__ = ["RecordedRun", "read_run"]


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A seed's FINISHED run.

    Args:
        run_id: MLflow's id.
        spec: the spec of its training.
        engine: the engine that trained it.
        provenance: the origin of its numbers, by the names of `provenance()`, and `threads`.
        curves: float64 (steps,), the values of every step as they were trained, by metric.
        finals: the metrics of the trained net by name.
    """

    run_id: str
    spec: Spec
    engine: str
    provenance: dict[str, str]
    curves: dict[str, NDArray[np.float64]]
    finals: dict[str, float]


def read_run(store: Store, run_id: str) -> RecordedRun:
    """Read a seed's FINISHED run.

    Args:
        run_id: see `find_run`.

    Raises:
        UsageError: there is no such run, it is not a seed's run, is not FINISHED, was changed, or is of another
            version.
    """
    run = find_run(store, run_id)
    tags, full_id = run.data.tags, run.info.run_id
    if tags.get(KIND) != "seed":
        raise UsageError(f"the run {full_id} {_origin(tags)}; pass the id of a run that trained one seed")
    if run.info.status != "FINISHED":
        raise UsageError(f"the run {full_id} is {run.info.status}; pass the id of a FINISHED run")
    spec, target = _spec_of(run), target_of_run(run)
    steps = None if target.converges else spec.steps
    curves = {name: _curve(full_id, steps, store.client.get_metric_history(full_id, name)) for name in target.curves}
    return RecordedRun(
        run_id=full_id,
        spec=spec,
        engine=tags.get(ENGINE, ""),
        provenance=_provenance(tags),
        curves=curves,
        finals={
            metric.name: float(as_trained(_metric(run, metric.name))) for metric in target.finals_of(spec.as_dict())
        },
    )


def _spec_of(run: Run) -> Spec:
    """Return the spec that the run's parameters give.

    Raises:
        UsageError: they give no spec, or a spec with another key than the run's.
    """
    params = {"arithmetic": "direct", **run.data.params}  # runs of the first version have no such parameter
    try:
        spec_type = target_of_run(run).spec
        values: dict[str, Any] = {field.name: _parse(field.type, params[field.name]) for field in fields(spec_type)}
        spec = spec_type(**values)
    except KeyError as error:
        raise changed_run(run.info.run_id, f"it has no parameter {error.args[0]}") from error
    except (SpecError, ValueError) as error:
        raise changed_run(run.info.run_id, f"its parameters are not a valid spec ({error})") from error
    key = run.data.tags.get(KEY, "")
    if spec.key() != key:
        raise changed_run(
            run.info.run_id, f"its parameters have the key {spec.key()}, its tag {KEY} is {key or 'missing'}"
        )
    return spec


def _parse(kind: object, text: str) -> int | float | str:
    """Convert the text of a parameter to the type of its field."""
    return int(text) if kind is int else float(text) if kind is float else text


def _origin(tags: Mapping[str, str]) -> str:
    kind = tags.get(KIND)
    return f"is a {kind}" if kind else "was not created by paramshare"


def _curve(run_id: str, steps: int | None, history: list[Metric]) -> NDArray[np.float64]:
    """Return the value of every step as it was trained, (steps,).

    Args:
        steps: the expected number of steps. Defaults to None: any number.
    """
    ordered = sorted(history, key=lambda metric: metric.step)
    expected = len(history) if steps is None else steps
    if not history or [metric.step for metric in ordered] != list(range(expected)):
        name = history[0].key if history else "a metric"
        raise changed_run(run_id, f"it has {len(history)} values of {name}, and not one for each of {expected} steps")
    return as_trained([metric.value for metric in ordered])


def _metric(run: Run, name: str) -> float:
    if name not in run.data.metrics:
        raise changed_run(run.info.run_id, f"it has no metric {name}")
    return float(run.data.metrics[name])


def _provenance(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the run's tags by the names of `provenance()`."""
    provenance = {name.removeprefix(PREFIX): value for name, value in tags.items() if name.startswith(PREFIX)}
    if COMMIT in tags:
        provenance["git.commit"] = tags[COMMIT]
    return provenance
