"""Read the settings and the final metrics of every seed's run of an experiment in a few queries, to compare them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from paramshare.tracking.read.curves import as_trained
from paramshare.tracking.read.runs import target_of_params
from paramshare.tracking.read.summaries import Selection, Summary, read_seeds
from paramshare.tracking.store import Store
from paramshare.tracking.tags import DIVERGED, ENGINE, KEY, TARGET

__all__ = ["SeedValues", "read_values"]

_ENDED: Final = Selection(finished=False, datasets=None, tags=(KEY, DIVERGED, ENGINE))


@dataclass(frozen=True, slots=True)
class SeedValues:
    """A seed's run that has ended.

    Args:
        run_id: MLflow's id.
        seed: of its spec.
        finished: true if it is FINISHED, false if it is FAILED.
        facts: the settings as text by name: its target, all of its spec except the seed, and its engine.
        metrics: the last value of each metric. A value that was not finite is infinite or NaN. If the run diverged, all
            metrics of the net are NaN, since even a net of NaNs has an accuracy. Empty if the run failed.
    """

    run_id: str
    seed: int
    finished: bool
    facts: Mapping[str, str]
    metrics: Mapping[str, float]


def read_values(store: Store) -> list[SeedValues]:
    """Return the newest FINISHED run of each engine for every spec in the experiment, or else its newest FAILED run."""
    finished, failed = dict[tuple[str, str], SeedValues](), dict[str, SeedValues]()
    for run in read_seeds(store, _ENDED):
        key, values = run.tags.get(KEY, ""), _values(run)
        if values.finished:
            finished.setdefault((key, values.facts["engine"]), values)
        else:
            failed.setdefault(key, values)
    finished_keys = {key for key, _ in finished}
    return [*finished.values(), *(values for key, values in failed.items() if key not in finished_keys)]


def _values(run: Summary) -> SeedValues:
    target = target_of_params(run.params)
    facts = {TARGET: target.name, "arithmetic": "direct", **run.params}
    seed = int(facts.pop("seed"))
    metrics = {name: float(as_trained(value)) for name, value in run.metrics.items()}
    if DIVERGED in run.tags:
        metrics |= dict.fromkeys(metrics.keys() & {metric.name for metric in target.finals}, math.nan)
    engine = run.tags.get(ENGINE, "")
    return SeedValues(run.run_id, seed, run.status == "FINISHED", {**facts, "engine": engine}, metrics)
