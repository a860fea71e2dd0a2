"""A view of a seed's run: the values that were read from the store, and its curves and weights when they are used."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from mlflow.entities import Metric, Run
from numpy.typing import NDArray

from paramshare.errors import SpecError, UsageError
from paramshare.recipes.metrics import LOSS, SECONDS
from paramshare.recipes.spec import Spec
from paramshare.recipes.target import Target
from paramshare.tracking.read.artifacts import changed_run
from paramshare.tracking.read.curves import as_trained, value_as_trained
from paramshare.tracking.read.runs import find_run, target_of_run
from paramshare.tracking.read.weights import read_weights
from paramshare.tracking.store import Store
from paramshare.tracking.tags import COMMIT, DIVERGED, ENGINE, KEY, KIND, PREFIX, TARGET

__all__ = ["RunView", "read_run", "view_of"]

_FORMER_PREFIXES = {"dynamicnet": "net."}  # of the weights' names in models of former versions
_FIRST_ARITHMETIC = {"arithmetic": "direct"}  # of runs of the first version, which have no such parameter


@dataclass(frozen=True)
class RunView:
    """A seed's run. Two views are equal if they are of the same run with the same status.

    Args:
        run_id: MLflow's id.
        status: of the run, in MLflow's words.
        tags, params: by name, those that were read.
        metrics: the last value of each metric that was read, as it was trained.
        store: the store of the run. Defaults to None: the view has no curves and no weights, and can be pickled.
        code: the target of the run's recipe with the recipe's code. Defaults to None: the view of a recipe's run has
            no spec.
    """

    run_id: str
    status: str
    tags: Mapping[str, str] = field(compare=False)
    params: Mapping[str, str] = field(compare=False)
    metrics: Mapping[str, float] = field(compare=False)
    store: Store | None = field(default=None, repr=False, compare=False)
    code: Target | None = field(default=None, repr=False, compare=False)

    @classmethod
    def listed(cls, run_id: str, seed: int, variant: str, device: str) -> "RunView":
        """Return the view of a FINISHED run in a sweep's table: without tags, metrics and store."""
        return cls(run_id, "FINISHED", {}, {"seed": str(seed), "variant": variant, "device": device}, {})

    @property
    def key(self) -> str:
        """Return the key of the spec; empty if the run has none."""
        return self.tags.get(KEY, "")

    @property
    def seed(self) -> int:
        """Return the seed of the spec."""
        return int(self.params["seed"])

    @property
    def variant(self) -> str:
        """Return the variant of the spec."""
        return self.params["variant"]

    @property
    def device(self) -> str:
        """Return the device of the spec."""
        return self.params["device"]

    @property
    def engine(self) -> str:
        """Return the engine that trained the run."""
        return self.tags.get(ENGINE, "")

    @property
    def finished(self) -> bool:
        """Return true if the run is FINISHED."""
        return self.status == "FINISHED"

    @cached_property
    def target(self) -> Target:
        """Return the target that was trained.

        Raises:
            SpecError: the target is unknown.
        """
        return target_of_run(self.params, self.tags)

    @cached_property
    def facts(self) -> dict[str, str]:
        """Return the settings as text by name: the target, all of the spec except the seed, and the engine."""
        facts = {TARGET: self.target.name, **_FIRST_ARITHMETIC, **self.params}
        del facts["seed"]
        if not self.target.built_in:
            facts["version"] = str(self.target.version)
        return {**facts, "engine": self.engine}

    @property
    def final_loss(self) -> float:
        """Return the loss of the last step."""
        return self._metric(LOSS)

    @cached_property
    def final_metrics(self) -> dict[str, float]:
        """Return the metrics of the trained net by name; the target's headline first.

        Raises:
            UsageError: the run lacks one of them.
        """
        return {metric.name: self._metric(metric.name) for metric in self.target.final_metrics_of(self.params)}

    @property
    def seconds(self) -> float:
        """Return the duration of the training."""
        return self._metric(SECONDS)

    @property
    def diverged(self) -> bool:
        """Return true if one of the losses is not finite. Runs of former versions have no tag that says so."""
        return DIVERGED in self.tags or not all(map(math.isfinite, (self.final_loss, *self.final_metrics.values())))

    @cached_property
    def scores(self) -> dict[str, float]:
        """Return the metrics for a comparison: those of a net that diverged are NaN, since even it has an accuracy."""
        scores = dict(self.metrics)
        if DIVERGED in self.tags:
            scores |= dict.fromkeys(scores.keys() & {metric.name for metric in self.target.final_metrics}, math.nan)
        return scores

    @cached_property
    def spec(self) -> Spec:
        """Return the spec that the parameters give.

        Raises:
            UsageError: they give no spec, or a spec with another key than the run's.
        """
        params = {**_FIRST_ARITHMETIC, **self.params}
        try:
            spec = (self.code or self.target).parse(params)
        except KeyError as error:
            raise changed_run(self.run_id, f"it has no parameter {error.args[0]}") from error
        except (SpecError, ValueError) as error:
            if self.code is None and self.target.recipe is None:
                raise
            raise changed_run(self.run_id, f"its parameters are not a valid spec ({error})") from error
        if spec.key() != self.key:
            raise changed_run(
                self.run_id, f"its parameters have the key {spec.key()}, its tag {KEY} is {self.key or 'missing'}"
            )
        return spec

    @property
    def provenance(self) -> dict[str, str]:
        """Return the origin of the numbers, by the names of `provenance()`, and `threads`."""
        provenance = {name.removeprefix(PREFIX): text for name, text in self.tags.items() if name.startswith(PREFIX)}
        if COMMIT in self.tags:
            provenance["git.commit"] = self.tags[COMMIT]
        return provenance

    @cached_property
    def curves(self) -> dict[str, NDArray[np.float64]]:
        """Read the values of every step as they were trained, (steps,), by metric.

        Raises:
            UsageError: a curve has not exactly one value for each step.
        """
        assert self.store is not None
        steps, client = None if self.target.converges else self.spec.steps, self.store.client
        return {
            name: _curve(self.run_id, steps, client.get_metric_history(self.run_id, name))
            for name in self.target.curves
        }

    @cached_property
    def weights(self) -> dict[str, NDArray[Any]] | None:
        """Read the weights of the model by name; see `read_weights`."""
        assert self.store is not None
        return read_weights(self.store, self.run_id, _FORMER_PREFIXES.get(self.target.name, ""))

    def _metric(self, name: str) -> float:
        if name not in self.metrics:
            raise changed_run(self.run_id, f"it has no metric {name}")
        return self.metrics[name]


def view_of(run: Run, store: Store) -> RunView:
    """Return the view of a run that MLflow's client has read from `store`."""
    metrics = {name: value_as_trained(value) for name, value in run.data.metrics.items()}
    return RunView(run.info.run_id, run.info.status, run.data.tags, run.data.params, metrics, store)


def read_run(store: Store, run_id: str, code_of: Callable[[Target], Target | None] = lambda _: None) -> RunView:
    """Read a seed's FINISHED run and check that its spec, curves and metrics are complete.

    Args:
        run_id: see `find_run`.
        code_of: returns the recipe with its code for the target that the run describes; None for a built-in target.
            Defaults to None for each: the run of a user's recipe has no spec.

    Raises:
        UsageError: there is no such run, it is not a seed's run, is not FINISHED, was changed, or is of another
            version.
    """
    view = view_of(find_run(store, run_id), store)
    if view.tags.get(KIND) != "seed":
        raise UsageError(f"the run {view.run_id} {_origin(view.tags)}; pass the id of a run that trained one seed")
    if not view.finished:
        raise UsageError(f"the run {view.run_id} is {view.status}; pass the id of a FINISHED run")
    view = replace(view, code=code_of(view.target))
    for part in ("spec", "curves", "final_metrics"):
        getattr(view, part)
    return view


def _origin(tags: Mapping[str, str]) -> str:
    kind = tags.get(KIND)
    return f"is a {kind}" if kind else "was not created by paramshare"


def _curve(run_id: str, steps: int | None, history: list[Metric]) -> NDArray[np.float64]:
    """Return the value of every step as it was trained, (steps,).

    Args:
        steps: the expected number of steps; None for any number.
    """
    ordered = sorted(history, key=lambda metric: metric.step)
    expected = len(history) if steps is None else steps
    if not history or [metric.step for metric in ordered] != list(range(expected)):
        name = history[0].key if history else "a metric"
        raise changed_run(run_id, f"it has {len(history)} values of {name}, and not one for each of {expected} steps")
    return as_trained([metric.value for metric in ordered])
